"""Lets a device sleep here: it gets messages while nobody of the account is logged in (MSC3814).

The data is sealed by its owner's secret storage. A device that wakes it reads the messages in
batches, which stay until the sleeping device is replaced or removed: who is interrupted begins
anew, also from another device.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from kerwen.accounts.store import devices
from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.keys.actions.upload import Device, Upload, read
from kerwen.keys.store import cross_signing
from kerwen.keys.store.dehydrated import dehydrated, set_dehydrated
from kerwen.keys.store.messages import more_to_device, to_device
from kerwen.storage.database import Database, Retry, Tx
from kerwen.storage.feed import Feed

Remove = Callable[[Tx, int, Sequence[int]], Awaitable[None]]
"""`(tx, account_no, device_nos)`: removes devices with all that hangs on them, this too."""


class Dehydrate:
    """One sleeping device of each account."""

    def __init__(
        self, db: Database, feed: Feed, upload: Upload, remove: Remove, clock: Clock
    ) -> None:
        self._db = db
        self._feed = feed
        self._upload = upload
        self._remove = remove
        self._clock = clock

    async def put(self, account_no: int, user_id: str, body: dict[str, Any]) -> str:
        """Replaces the account's sleeping device; its id. `Refused`: BAD_JSON, MISSING_PARAM,
        INVALID_PARAM (the id is another device's), FORBIDDEN (a cross-signing key's), and what an
        upload of keys is refused for.
        """
        device_id, name, data = _named(body)
        device_no = await self._db.take_id("device")
        device = Device(account_no, user_id, device_no, device_id)
        parts = read(device, body)
        if parts[0] is None:
            raise Refused(Reason.MISSING_PARAM, "device_keys is missing")
        async with self._db.write() as tx:
            if await cross_signing.is_cross_signing_key(tx, account_no, device_id):
                raise Refused(Reason.FORBIDDEN, "The device id is a cross-signing key")
            former = await set_dehydrated(tx, account_no, device_no, data)
            if former is not None:
                await self._remove(tx, account_no, [former])
            elif len(await devices.of(tx, account_no)) >= limits.DEVICES_MAX:
                raise Refused(Reason.FORBIDDEN, "There are too many devices")
            if await devices.one(tx, account_no, device_id) is not None:
                raise Refused(Reason.INVALID_PARAM, "The device id is another device's")
            now = self._clock()
            if not await devices.add(tx, device_no, account_no, device_id, name, "", now):
                raise Retry
            await self._upload.within(tx, device, parts)
        return device_id

    async def get(self, account_no: int) -> dict[str, Any]:
        """`device_id` and `device_data`; `Refused(NOT_FOUND)`."""
        async with self._db.read() as snap:
            found = await dehydrated(snap, account_no)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "There is no dehydrated device")
        return {"device_id": found[1], "device_data": orjson.Fragment(found[2])}

    async def remove(self, account_no: int) -> str:
        """Removes it; its id. `Refused(NOT_FOUND)`."""
        async with self._db.write() as tx:
            found = await dehydrated(tx, account_no)
            if found is None:
                raise Refused(Reason.NOT_FOUND, "There is no dehydrated device")
            await self._remove(tx, account_no, [found[0]])
        return found[1]

    async def events(
        self, account_no: int, device_id: str, after: str | None, limit: int
    ) -> tuple[list[bytes], str, bool]:
        """Messages of the sleeping device, where the next batch begins, whether there is one.

        `Refused`: FORBIDDEN (another device), UNKNOWN_POSITION.
        """
        start = _position(after)
        upto = self._feed.settled
        async with self._db.read() as snap:
            found = await dehydrated(snap, account_no)
            if found is None or found[1] != device_id:
                raise Refused(Reason.FORBIDDEN, "This is not the dehydrated device")
            rows = await to_device(snap, found[0], upto, limit, start)
            last = rows[-1][0] if rows else start
            more = await more_to_device(snap, found[0], last, upto)
        return [bytes(body) for _, _, body in rows], str(last), more


def _named(body: dict[str, Any]) -> tuple[str, str | None, bytes]:
    """Device id, display name and data of a body."""
    device_id, data = body.get("device_id"), body.get("device_data")
    if not isinstance(device_id, str):
        raise Refused(Reason.BAD_JSON, "device_id must be a string")
    if not 1 <= len(device_id) <= limits.DEVICE_ID_MAX or not device_id.isprintable():
        raise Refused(Reason.INVALID_PARAM, "This device id cannot be used")
    if not isinstance(data, dict) or not isinstance(data.get("algorithm"), str):
        raise Refused(Reason.BAD_JSON, "device_data must be an object with an algorithm")
    name = body.get("initial_device_display_name")
    if name is not None and not isinstance(name, str):
        raise Refused(Reason.BAD_JSON, "initial_device_display_name must be a string")
    kept = orjson.dumps(data)
    if len(kept) > limits.DEHYDRATED_DATA_MAX:
        raise Refused(Reason.TOO_LARGE, "device_data is too large")
    shown = "".join(c for c in name or "" if c.isprintable())[: limits.DEVICE_NAME_MAX]
    return device_id, shown or None, kept


def _position(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(Reason.UNKNOWN_POSITION, "This is no token of a batch")
    return int(text)
