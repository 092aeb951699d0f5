"""Puts messages into the queues of devices."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.keys.actions.federation import Federation, server_of
from kerwen.keys.actions.upload import Device
from kerwen.keys.store.device_keys import devices_of
from kerwen.keys.store.messages import add_to_device, add_txn, pending_counts, sweep_txns
from kerwen.keys.to_device import ALL_DEVICES, Delivery, Messages, event, event_end, txn_name
from kerwen.storage.database import Database, Tx

log = logging.getLogger("kerwen.keys")

_COUNTED_MAX = 100_000  # devices whose queue length is kept in memory
_SWEEP_EVERY = 1_000  # transactions


class Queues:
    """About how long devices' queues are. It rises with each message and falls at a recount."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    async def open_for(self, tx: Tx, devices: Iterable[int]) -> set[int]:
        """The devices that may get one more message."""
        unsure = [
            no for no in devices if not 0 <= self._counts.get(no, -1) < limits.TO_DEVICE_PENDING_MAX
        ]
        if unsure:
            if len(self._counts) + len(unsure) > _COUNTED_MAX:
                self._counts.clear()
            counted = await pending_counts(tx, unsure)
            self._counts.update((no, counted.get(no, 0)) for no in unsure)
        return {no for no in devices if self._counts.get(no, 0) < limits.TO_DEVICE_PENDING_MAX}

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
        self._server_name = server_name
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
            server = server_of(user_id)
            if server is None:
                continue
            if server == self._server_name:
                ours[user_id] = by_device
            else:
                remote[server][user_id] = by_device
        return ours, remote

    async def _deliver(self, tx: Tx, messages: Messages, end: bytes, batch: int) -> None:
        devices = await devices_of(tx, list(messages))
        deliveries = [
            Delivery(no, 0, event(content, end))
            for user_id, of_user in devices.items()
            for no, content in _for_user(messages[user_id], of_user)
        ]
        if len(deliveries) > limits.TO_DEVICE_TARGETS_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many devices")
        if sum(len(to.body) for to in deliveries) > limits.TO_DEVICE_REQUEST_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many bytes for all devices together")
        takers = await self._queues.open_for(tx, [to.device_no for to in deliveries])
        kept = [to for to in deliveries if to.device_no in takers]
        if len(kept) < len(deliveries):
            log.warning("full to-device queues: %d", len(deliveries) - len(kept))
        if kept:
            await add_to_device(tx, kept, batch)
            self._queues.add(to.device_no for to in kept)


def _for_user(contents: Mapping[str, bytes], devices: Mapping[str, int]) -> list[tuple[int, bytes]]:
    """Which device of a user gets what; one named by its id does not get what is for all."""
    everybody = contents.get(ALL_DEVICES)
    if everybody is None:
        return [(devices[name], content) for name, content in contents.items() if name in devices]
    return [(no, contents.get(name, everybody)) for name, no in devices.items()]
