"""Puts messages into the queues of devices."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.keys.actions.federation import Federation, server_of
from kerwen.keys.actions.upload import Device
from kerwen.keys.store.device_keys import all_devices
from kerwen.keys.store.messages import add_to_device, add_txn, pending_counts, sweep_txns
from kerwen.keys.to_device import ALL_DEVICES, Messages, event, event_end, txn_name
from kerwen.storage.database import Database, Tx

log = logging.getLogger("kerwen.keys")

_COUNTED_MAX = 100_000  # devices whose queue length is kept in memory
_SWEEP_EVERY = 1_000  # transactions


class Queues:
    """About how long devices' queues are. It rises with each message and falls at a recount."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    async def open_for(self, tx: Tx, devices: list[int]) -> set[int]:
        """The devices that may get one more message."""
        counts, most = self._counts, limits.TO_DEVICE_PENDING_MAX
        unsure = [no for no in devices if counts.get(no, most) >= most]
        if not unsure:
            return set(devices)
        if len(counts) + len(unsure) > _COUNTED_MAX:
            counts.clear()
        counted = await pending_counts(tx, unsure)
        counts.update((no, counted.get(no, 0)) for no in unsure)
        return {no for no in devices if counts.get(no, 0) < most}

    def add(self, devices: Iterable[int]) -> None:
        """One more message for each device."""
        for no in devices:
            self._counts[no] = self._counts.get(no, 0) + 1


class SendToDevice:
    """CS #put_matrixclientv3sendtodeviceeventtypetxnid."""

    def __init__(
        self, db: Database, server_name: str, federation: Federation, clock: Clock
    ) -> None:
        self._db = db
        self._here = ":" + server_name
        self._federation = federation
        self._clock = clock
        self._queues = Queues()
        self._sent = 0

    async def __call__(
        self, sender: Device, event_type: str, client_txn_id: str, messages: Messages
    ) -> None:
        """Delivers once, however often the same transaction is asked for."""
        txn = txn_name(event_type, client_txn_id)
        ours, remote = self._split(messages)
        batch = await self._db.take_id("to_device_batch")
        now_ms = self._clock()
        async with self._db.write() as tx:
            if not await add_txn(tx, sender.device_no, txn, now_ms):
                return
            if ours:
                end = event_end(sender.user_id, event_type)
                await self._deliver(tx, ours, end, batch)
            for server, to in remote.items():
                self._federation.send_to_devices(tx, server, sender.user_id, event_type, txn, to)
            self._sent += 1
            if self._sent % _SWEEP_EVERY == 0:
                await sweep_txns(tx, now_ms - limits.TO_DEVICE_TXN_LIFE_MS)

    def _split(self, messages: Messages) -> tuple[Messages, dict[str, Messages]]:
        """What is for our users, and what goes to other servers."""
        ours: Messages = {}
        remote: dict[str, Messages] = defaultdict(dict)
        for user_id, by_device in messages.items():
            if user_id.endswith(self._here) and "\0" not in user_id:
                ours[user_id] = by_device  # ids that are none are of nobody
            elif server := server_of(user_id):
                remote[server][user_id] = by_device
        return ours, remote

    async def _deliver(self, tx: Tx, messages: Messages, end: bytes, batch: int) -> None:
        by_content: dict[bytes, list[int]] = {}
        named: list[int] = []
        size = 0
        for user_id, device_id, no in await all_devices(tx, list(messages)):
            contents = messages[user_id]
            content = contents.get(device_id)
            if content is None and (content := contents.get(ALL_DEVICES)) is None:
                continue  # a device named by its id does not get what is for all
            by_content.setdefault(content, []).append(no)
            named.append(no)
            size += len(content) + len(end)
        if len(named) > limits.TO_DEVICE_TARGETS_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many devices")
        if size > limits.TO_DEVICE_REQUEST_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many bytes for all devices together")
        takers = await self._queues.open_for(tx, named)
        if len(takers) < len(named):
            log.warning("full to-device queues: %d", len(named) - len(takers))
            by_content = {
                content: open_ones
                for content, devices in by_content.items()
                if (open_ones := [no for no in devices if no in takers])
            }
        if takers:
            by_text = {event(content, end): devices for content, devices in by_content.items()}
            await add_to_device(tx, by_text, batch)
            self._queues.add(takers)
