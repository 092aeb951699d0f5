"""Reads the feed for one service and makes the next transaction of what it is to be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec

from kerwen.app_services import store
from kerwen.app_services.actions.interest import Interest
from kerwen.app_services.registration import Service
from kerwen.app_services.store import Place
from kerwen.app_services.transaction import Contents, merged, receipt, typing
from kerwen.keys.store import one_time_key_counts, to_device, unused_fallback_types
from kerwen.rooms.store import events, users
from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Change, Database, Kind, Snap

_POSITIONS: Final = 500  # read at once
_MESSAGES: Final = 500  # to one device, in one transaction
END: Final = 2**31  # an index after all of one position

Render = Callable[[Snap, Stored, str], Awaitable[bytes]]
"""(snap, event, room id) → the event as clients read it."""
WhoTypes = Callable[[int], Iterable[str]]
"""Room → user ids."""


class Gathered(msgspec.Struct):
    """A transaction to be. `upto`: everything to there is in it, or does not concern the service.

    `fetched`: (device, position) of the messages in it, to be deleted when they are taken.
    """

    contents: Contents
    upto: Place
    fetched: list[tuple[int, int]]


class Gather:
    """Makes transactions. `who_types` knows this process' soft facts."""

    def __init__(
        self, db: Database, interest: Interest, render: Render, who_types: WhoTypes
    ) -> None:
        self._db = db
        self._interest = interest
        self._render = render
        self._who_types = who_types

    async def __call__(
        self, service: Service, done: Place, settled: int, soft_rooms: Iterable[int]
    ) -> Gathered:
        """What comes after `done`, as much as one transaction may hold."""
        found = Gathered(Contents(), done, [])
        async with self._db.read() as snap:
            rows = await store.feed(snap, done[0] - 1, settled, _POSITIONS)
            whole = len(rows) < _POSITIONS
            for pos, changes in rows:
                if not await self._position(snap, service, found, pos, changes, done):
                    return found
            if whole:
                found.upto = max(found.upto, (settled, END))
                await self._typing(snap, service, found, soft_rooms)
        return found

    async def _position(
        self,
        snap: Snap,
        service: Service,
        found: Gathered,
        pos: int,
        changes: list[Change],
        done: Place,
    ) -> bool:
        """The changes of one position; false when the transaction is full."""
        for n, (kind, subject, ref) in enumerate(changes):
            if (pos, n) <= done:
                continue
            if found.contents.full:
                return False
            if not await self._change(snap, service, found, pos, kind, subject, ref):
                return False
            found.upto = (pos, n)
        found.upto = max(found.upto, (pos, END))
        return True

    async def _change(
        self,
        snap: Snap,
        service: Service,
        found: Gathered,
        pos: int,
        kind: int,
        subject: int,
        ref: int,
    ) -> bool:
        """One change; false where the next transaction must come back to it."""
        if kind == Kind.EVENT:
            await self._event(snap, service, found.contents, subject, ref)
        elif kind == Kind.RECEIPT and service.ephemeral:
            await self._receipt(snap, service, found.contents, subject, ref, pos)
        elif service.encryption:
            if kind == Kind.TO_DEVICE:
                return await self._to_device(snap, service, found, subject, pos)
            if kind == Kind.KEY_COUNT:
                await self._keys(snap, service, found.contents, subject)
            elif kind == Kind.DEVICE_LIST:
                await self._device_list(snap, service, found.contents, subject)
        return True

    async def _event(
        self, snap: Snap, service: Service, contents: Contents, room_no: int, seq: int
    ) -> None:
        rows = await events.forward(snap, room_no, seq - 1, 1, seq)
        if not rows or rows[0].seq != seq:
            return
        room_id = (await users.room_ids(snap, [room_no]))[room_no]
        if await self._interest.in_event(snap, service, rows[0], room_id):
            contents.add_event(await self._render(snap, rows[0], room_id))

    async def _receipt(
        self, snap: Snap, service: Service, contents: Contents, room_no: int, user_no: int, pos: int
    ) -> None:
        room_id = (await users.room_ids(snap, [room_no]))[room_no]
        if not await self._interest.in_room(snap, service, room_no, room_id):
            return
        rows = await store.receipts(snap, room_no, user_no, pos)
        if any(row[1] == "m.read.private" for row in rows):
            own = await store.service_of(snap, user_no) == service.id
            shown = [row for row in rows if own or row[1] != "m.read.private"]
        else:
            shown = rows
        if shown:
            contents.ephemeral.append(receipt(room_id, shown))

    async def _typing(
        self, snap: Snap, service: Service, found: Gathered, rooms: Iterable[int]
    ) -> None:
        wanted = list(rooms) if service.ephemeral else []
        ids = await users.room_ids(snap, wanted) if wanted else {}
        for room_no, room_id in ids.items():
            if await self._interest.in_room(snap, service, room_no, room_id):
                found.contents.ephemeral.append(typing(room_id, self._who_types(room_no)))

    # --- encryption (MSC2409, MSC3202) ----------------------------------------------------------

    async def _to_device(
        self, snap: Snap, service: Service, found: Gathered, device_no: int, pos: int
    ) -> bool:
        owner = await store.owner(snap, service.id, device_no)
        if owner is None:
            return True
        had = max((at for no, at in found.fetched if no == device_no), default=0)
        rows = await to_device(snap, device_no, pos, _MESSAGES)
        for at, _, body in rows:
            if at > had:
                found.contents.add_to_device(bytes(body), owner.user_id, owner.device_id)
        if rows:
            found.fetched.append((device_no, rows[-1][0]))
        await self._keys(snap, service, found.contents, device_no)
        return len(rows) < _MESSAGES

    async def _keys(self, snap: Snap, service: Service, contents: Contents, device_no: int) -> None:
        owner = await store.owner(snap, service.id, device_no)
        if owner is None:
            return
        counts = merged(await one_time_key_counts(snap, device_no))
        contents.counts.setdefault(owner.user_id, {})[owner.device_id] = counts
        unused = await unused_fallback_types(snap, device_no)
        contents.fallbacks.setdefault(owner.user_id, {})[owner.device_id] = unused

    async def _device_list(
        self, snap: Snap, service: Service, contents: Contents, account_no: int
    ) -> None:
        user_id = await store.user_id(snap, account_no)
        if user_id is None or user_id in contents.changed:
            return
        if not service.has_user(user_id):
            sharing = await store.sharing_ids(snap, account_no)
            if not any(service.has_user(other) for other in sharing):
                return
        contents.changed.add(user_id)
