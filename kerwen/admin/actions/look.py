"""What an administrator may look at: accounts and rooms by their numbers, never their content."""

from __future__ import annotations

from typing import Final

import msgspec
import orjson

from kerwen.accounts.address import localpart_named, split_user_id
from kerwen.admin.store import overview
from kerwen.admin.store.overview import AccountRow, RoomRow
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store import aliases, events, state
from kerwen.storage.database import Database, Snap

# Types of state that the specification names: others are a room's own words, and only counted.
KNOWN_TYPES: Final = frozenset(
    """
    m.room.create m.room.member m.room.power_levels m.room.join_rules m.room.guest_access
    m.room.history_visibility m.room.encryption m.room.canonical_alias m.room.name m.room.topic
    m.room.avatar m.room.pinned_events m.room.server_acl m.room.tombstone m.room.retention
    m.room.third_party_invite m.room.policy m.space.child m.space.parent
    """.split()  # noqa: SIM905 a list of names reads better so
)
# How the room is run; values that no specification knows could be somebody's words.
_SETTINGS: Final[dict[str, dict[str, tuple[str | bool, ...]]]] = {
    "m.room.create": {"type": ("m.space",), "m.federate": (True, False)},
    "m.room.join_rules": {
        "join_rule": ("public", "knock", "invite", "private", "restricted", "knock_restricted")
    },
    "m.room.history_visibility": {
        "history_visibility": ("world_readable", "shared", "invited", "joined")
    },
    "m.room.guest_access": {"guest_access": ("can_join", "forbidden")},
    "m.room.encryption": {"algorithm": ("m.megolm.v1.aes-sha2",)},
}


class RoomDetails(msgspec.Struct):
    """`settings`: how the room is run; `state`: how many entries of which type it has."""

    row: RoomRow
    aliases: list[str]
    settings: dict[str, str | bool]
    state: dict[str, int]


class Look:
    """Reads; changes nothing."""

    def __init__(self, db: Database, domain: str, clock: Clock) -> None:
        self._db = db
        self._domain = domain
        self._clock = clock

    async def accounts(
        self, search: str, standing: str, after: str, count: int
    ) -> list[AccountRow]:
        """Accounts whose name contains a text and that stand so, in the order of names."""
        async with self._db.read(long=True) as snap:
            return await overview.accounts(snap, search, standing, after, count)

    async def account(self, user_id: str) -> AccountRow:
        """One account, a closed one too; `Refused`: INVALID_PARAM, NOT_FOUND."""
        name, domain = split_user_id(user_id)
        if domain != self._domain:
            raise Refused(Reason.INVALID_PARAM, "This user is not of this server")
        async with self._db.read() as snap:
            found = await overview.account(snap, localpart_named(user_id, self._domain) or name)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        return found

    async def rooms(self, search: str, after: int, count: int) -> list[RoomRow]:
        """Rooms whose id contains a text, or the room of an alias."""
        async with self._db.read(long=True) as snap:
            if search.startswith("#"):
                room_no = await aliases.room_of(snap, search)
                if room_no is None or room_no <= after:
                    return []
                found = await overview.rooms(snap, "", room_no - 1, 1)
                return [row for row in found if row.room_no == room_no]
            return await overview.rooms(snap, search, after, count)

    async def room(self, room_id: str) -> RoomDetails:
        """One room; `Refused(NOT_FOUND)`."""
        async with self._db.read(long=True) as snap:
            row = await overview.room(snap, room_id)
            if row is None:
                raise Refused(Reason.NOT_FOUND, "There is no such room")
            types: dict[str, int] = {}
            for event_type, count in (await overview.state_types(snap, row.room_no)).items():
                name = event_type if event_type in KNOWN_TYPES else "other"
                types[name] = types.get(name, 0) + count
            names = await aliases.aliases_of(snap, row.room_no)
            return RoomDetails(row, names, await self._settings(snap, row.room_no), types)

    async def _settings(self, snap: Snap, room_no: int) -> dict[str, str | bool]:
        found: dict[str, str | bool] = {}
        for event_type, fields in _SETTINGS.items():
            event = await state.current_event(snap, room_no, event_type, "")
            if event is None:
                continue
            content = orjson.loads(events.orjson_content(event.client))
            for field, known in fields.items():
                value = content.get(field)
                if isinstance(value, (str, bool)):
                    found[field] = value if value in known else "other"
        return found

    async def counts(self) -> dict[str, int]:
        """The whole house in numbers."""
        async with self._db.read(long=True) as snap:
            return await overview.counts(snap, self._clock())
