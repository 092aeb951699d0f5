"""Replacing a room by one of another version (CS #room-upgrades).

Two rooms cannot be written in one transaction: first the right is checked and the state read,
then the new room is made whole, then the old one is closed. If the last step is refused, the
new room stays, unnamed and empty but for its maker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.append import Append, Draft, RoomWriter
from kerwen.rooms.actions.carry_over import carry_over
from kerwen.rooms.actions.create_room import CreateRoom, InitialState, Wish
from kerwen.rooms.auth import POWER_LEVELS
from kerwen.rooms.event import Event
from kerwen.rooms.power import PowerLevels, level_of
from kerwen.rooms.store import aliases, members, state
from kerwen.rooms.versions import RoomVersion, room_version

TOMBSTONE = "m.room.tombstone"
_CANONICAL = "m.room.canonical_alias"
# CS #server-behaviour-19 (3), in the order in which they are set; what stands for none
_COPIED: dict[str, dict[str, Any]] = {
    "m.room.join_rules": {"join_rule": "invite"},
    "m.room.history_visibility": {"history_visibility": "shared"},
    "m.room.guest_access": {"guest_access": "forbidden"},
    "m.room.encryption": {},
    "m.room.server_acl": {},
    "m.room.name": {},
    "m.room.topic": {},
    "m.room.avatar": {},
}
_TOMBSTONE_LEVEL = 150
_CREATOR_LEVEL = 100
_CHILDREN_MAX = 1_000  # of a space
_AT_ONCE = 100  # state events of one transaction


class _Old(msgspec.Struct):
    """The room that is replaced, as far as it is carried over."""

    room_no: int
    version: RoomVersion
    tip: str
    create: Mapping[str, Any]
    levels: Mapping[str, Any]
    initial: list[InitialState]
    children: list[InitialState]  # of a space
    banned: list[str]
    published: bool
    canonical: Mapping[str, Any] | None


class UpgradeRoom:
    """`who` is (user id, user number)."""

    def __init__(self, append: Append, create: CreateRoom) -> None:
        self._append = append
        self._create = create

    async def __call__(
        self, who: tuple[str, int], room_id: str, new_version: str, creators: list[str]
    ) -> str:
        """The id of the new room."""
        version = room_version(new_version)
        old = await self._look(who, room_id, version)
        wish = self._wish(room_id, old, version, creators)
        final = _levels(old, version, who[0], creators)
        new_id = await self._create(who, wish, _strong_enough(final, version, who[0]))
        await self._finish_new(who, new_id, old, final)
        await self._close_old(who, room_id, new_id)
        await carry_over(self._append.db, who[1], room_id, new_id)
        return new_id

    async def _look(self, who: tuple[str, int], room_id: str, version: RoomVersion) -> _Old:
        """Checks the right to close the room, and reads what is carried over."""
        async with self._append.room(room_id) as room:
            await _check_right(room, who[0])
            create = await room.view.state_event(room.tx, "m.room.create")
            levels = await room.view.state_event(room.tx, *POWER_LEVELS)
            canonical = await room.view.state_event(room.tx, _CANONICAL)
            assert create is not None
            return _Old(
                room.room_no,
                room.view.version,
                room.head.tips[0],
                create.content,
                levels.content if levels is not None else {},
                await _initial(room, version),
                await _children(room, create),
                await members.banned(room.tx, room.room_no),
                await aliases.published(room.tx, room.room_no),
                canonical.content if canonical is not None else None,
            )

    def _wish(self, room_id: str, old: _Old, version: RoomVersion, creators: list[str]) -> Wish:
        predecessor = {"room_id": room_id}
        if not version.room_id_is_create_hash:
            predecessor["event_id"] = old.tip
        content: dict[str, Any] = {"predecessor": predecessor}
        for key in ("type", "m.federate"):
            if key in old.create:
                content[key] = old.create[key]
        if version.privileged_creators and creators:
            content["additional_creators"] = creators
        return Wish(
            room_version=version.id,
            creation_content=content,
            initial_state=old.initial,
            preset="public_chat",  # all that it sets is in `initial_state`
        )

    async def _finish_new(
        self, who: tuple[str, int], new_id: str, old: _Old, levels: dict[str, Any]
    ) -> None:
        """Bans, names and the true power levels of the new room."""
        ban = {"membership": "ban"}
        carried = [InitialState("m.room.member", ban, user) for user in old.banned]
        carried += old.children
        for at in range(0, len(carried), _AT_ONCE):
            part = carried[at : at + _AT_ONCE]
            async with self._append.room(new_id, len(part)) as room:
                for entry in part:
                    await _say(room, who, entry.type, entry.content, entry.state_key)
        async with self._append.room(new_id, 2) as room:
            await aliases.move_aliases(room.tx, old.room_no, room.room_no)
            if old.canonical is not None:
                await _say(room, who, _CANONICAL, dict(old.canonical))
            if old.published:
                now = self._append.clock()
                await aliases.publish(room.tx, old.room_no, False, now)
                await aliases.publish(room.tx, room.room_no, True, now)
            await _say(room, who, "m.room.power_levels", levels)

    async def _close_old(self, who: tuple[str, int], room_id: str, new_id: str) -> None:
        """The tombstone; nobody says or invites anything any more, where that can be set."""
        content = {"body": "This room has been replaced", "replacement_room": new_id}
        async with self._append.room(room_id, 3) as room:
            await _say(room, who, TOMBSTONE, content)
            canonical = await room.view.state_event(room.tx, _CANONICAL)
            levels = await room.view.state_event(room.tx, *POWER_LEVELS)
            if canonical is not None and canonical.content:
                await _try(room, who, _CANONICAL, {})
            if levels is not None:
                default = level_of(levels.content.get("users_default", 0), room.view.version)
                least = max(50, (default or 0) + 1)
                closed = {"events_default": least, "invite": least}
                await _try(room, who, "m.room.power_levels", {**levels.content, **closed})


async def _check_right(room: RoomWriter, user_id: str) -> None:
    member = await room.view.state_event(room.tx, "m.room.member", user_id)
    if member is None or member.membership != "join":
        raise Refused(Reason.FORBIDDEN, "You are not in this room")
    levels = PowerLevels.of_state(await room.auth_state([POWER_LEVELS]), room.view.version)
    if levels.user(user_id) < levels.required(TOMBSTONE, is_state=True):
        raise Refused(Reason.FORBIDDEN, "You may not replace this room")


async def _initial(room: RoomWriter, version: RoomVersion) -> list[InitialState]:
    found = []
    for event_type, default in _COPIED.items():
        event = await room.view.state_event(room.tx, event_type)
        content = dict(event.content) if event is not None else default
        if event_type == "m.room.join_rules":
            content = _join_rules(content, version)
        if content:
            found.append(InitialState(event_type, content))
    return found


async def _children(room: RoomWriter, create: Event) -> list[InitialState]:
    """The rooms of a space."""
    if create.content.get("type") != "m.space":
        return []
    now = await state.current(room.tx, room.room_no, members=False)
    keys = [key for key in now if key[0] == "m.space.child"][:_CHILDREN_MAX]
    found = []
    for event_type, state_key in keys:
        event = await room.view.state_event(room.tx, event_type, state_key)
        if event is not None and event.content:
            found.append(InitialState(event_type, dict(event.content), state_key))
    return found


def _join_rules(content: dict[str, Any], version: RoomVersion) -> dict[str, Any]:
    """Rules that the new version does not know become the closed one."""
    rule = content.get("join_rule")
    known = {"public", "invite"}
    known |= {"knock"} if version.knock else set()
    known |= {"restricted"} if version.restricted else set()
    known |= {"knock_restricted"} if version.knock_restricted else set()
    return content if rule in known else {"join_rule": "invite"}


def _levels(old: _Old, version: RoomVersion, maker: str, creators: list[str]) -> dict[str, Any]:
    """The old power levels as the new version writes them."""
    content = {k: _whole(v, old.version) for k, v in old.levels.items()}
    users = dict(content["users"]) if isinstance(content.get("users"), dict) else {}
    if version.privileged_creators:
        for user_id in (maker, *creators):
            users.pop(user_id, None)
        events = dict(content["events"]) if isinstance(content.get("events"), dict) else {}
        at = level_of(events.get(TOMBSTONE), version) or 0
        content["events"] = {**events, TOMBSTONE: max(at, _TOMBSTONE_LEVEL)}
    elif old.version.privileged_creators or not old.levels:
        users[maker] = max(level_of(users.get(maker), version) or 0, _CREATOR_LEVEL)
    return {**content, "users": users}


def _whole(value: Any, version: RoomVersion) -> Any:
    """Levels as integers: earlier versions took strings and floats too."""
    if isinstance(value, dict):
        return {k: _whole(v, version) for k, v in value.items()}
    level = level_of(value, version)
    return value if level is None else level


def _strong_enough(levels: dict[str, Any], version: RoomVersion, maker: str) -> dict[str, Any]:
    """Levels with which the maker can set up the room, whatever they may do afterwards."""
    if version.privileged_creators:
        return levels
    numbers = [_CREATOR_LEVEL]
    for value in levels.values():
        numbers += value.values() if isinstance(value, dict) else [value]
    most = max(n for n in numbers if type(n) is int)
    return {**levels, "users": {**levels["users"], maker: most}}


async def _say(
    room: RoomWriter,
    who: tuple[str, int],
    event_type: str,
    content: dict[str, Any],
    state_key: str = "",
) -> None:
    await room.add(Draft(who[0], who[1], event_type, content, state_key=state_key))


async def _try(
    room: RoomWriter, who: tuple[str, int], event_type: str, content: dict[str, Any]
) -> None:
    """Says it if that is allowed."""
    try:
        await _say(room, who, event_type, content)
    except Refused as error:
        if error.reason is not Reason.FORBIDDEN:
            raise
