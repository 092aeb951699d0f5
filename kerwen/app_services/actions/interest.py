"""Which events a service is to be told of: by room, never by user.

A service is interested in a room by its id, by an alias, or because one of its users is in it
(AS #registration). Who of ours is in a room is kept in memory for the rooms that speak, of those
users only whom any service covers; a change of membership drops it. Whoever came or went after
the event in question is looked up as things stood then, so a service that comes back after days
is told neither too much nor too little.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from kerwen.app_services import store
from kerwen.app_services.registration import Service, Services
from kerwen.app_services.store import Local
from kerwen.rooms.store import aliases, events, state
from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Change, Database, Kind, Snap

_ROOMS_MAX: Final = 5_000


class Interest:
    """`follow` must be told by the feed."""

    def __init__(self, db: Database, services: Services, domain: str) -> None:
        self._db = db
        self._services = services
        self._ours = ":" + domain
        self._kept: OrderedDict[int, list[Local]] = OrderedDict()
        self._told = 0

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed."""
        for kind, subject, _ in changes:
            if kind == Kind.MEMBERSHIP:
                self._told += 1
                self._kept.pop(subject, None)
            elif kind == Kind.JUMP:
                self._told += 1
                self._kept.clear()

    async def in_event(self, snap: Snap, service: Service, event: Stored, room_id: str) -> bool:
        """Whether a service is told of an event."""
        if event.type == "m.room.member" and service.has_user(event.state_key or ""):
            return True
        if await self._in_name(snap, service, event.room_no, room_id):
            return True
        later: list[str] = []
        for local in await self._locals(event.room_no):
            if not service.has_user(local.user_id):
                continue
            if local.membership == "join" and local.joined_pos <= event.pos:
                return True
            if local.pos > event.pos:
                later.append(local.user_id)
        return bool(later) and await _was_in(snap, event, later)

    async def in_room(self, snap: Snap, service: Service, room_no: int, room_id: str) -> bool:
        """Whether a service is told of what passes in a room now."""
        if await self._in_name(snap, service, room_no, room_id):
            return True
        return any(
            local.membership == "join" and service.has_user(local.user_id)
            for local in await self._locals(room_no)
        )

    async def _in_name(self, snap: Snap, service: Service, room_no: int, room_id: str) -> bool:
        if service.rooms and service.rooms.covers(room_id):
            return True
        if not service.aliases:
            return False
        known = await aliases.aliases_of(snap, room_no)
        return any(service.aliases.covers(alias) for alias in known)

    async def _locals(self, room_no: int) -> list[Local]:
        found = self._kept.get(room_no)
        if found is not None:
            self._kept.move_to_end(room_no)
            return found
        told = self._told
        async with self._db.read(long=True) as snap:
            everybody = await store.local_members(snap, room_no, self._ours)
        found = [local for local in everybody if self._services.of_user(local.user_id)]
        if told == self._told:
            self._kept[room_no] = found
            if len(self._kept) > _ROOMS_MAX:
                self._kept.popitem(last=False)
        return found


async def _was_in(snap: Snap, event: Stored, users: Iterable[str]) -> bool:
    """Whether any of some users was in the room when an event came."""
    for member in await state.members_at(snap, event.room_no, event.seq, users):
        content = orjson.loads(events.orjson_content(member.client))
        if content.get("membership") == "join":
            return True
    return False
