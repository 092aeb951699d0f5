"""What sliding sync keeps in memory of rooms: the same for all who are in them.

Of each room that a connected account is in: where it stands in lists. Of those that were looked
at lately, within a budget of bytes: the current state, the member events that were asked for,
and by whom it is called. The feed tells when any of it is no longer so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakValueDictionary

import msgspec
import orjson

from kerwen.base.limits import SLIDING_ROOMS_BYTES, SLIDING_ROOMS_KEPT
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.sliding_sync_block import Block, State
from kerwen.rooms.sliding import BUMP_TYPES, MEMBER
from kerwen.rooms.store import relations, sliding, state
from kerwen.rooms.store.events import REJECTED, SOFT_FAILED, Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.rooms.store.state import StateKey
from kerwen.rooms.visibility import SHARED, WORLD_READABLE, visibility_named
from kerwen.storage.database import Change, Kind, Snap

_ROOM_BYTES_MAX = 1024 * 1024  # the state of a larger room is read whenever it is asked for
_EVENT_BYTES = 500  # what an event takes beside its text
_MEMBERS_MAX = 512  # member events kept of one room
_MEMBERS_READ_MAX = 2_000  # at once, for several rooms
_OPEN = frozenset({SHARED, WORLD_READABLE})
_BUMPS = frozenset(BUMP_TYPES)

Hero = tuple[int, str, str | None, str | None]


class Facts:
    """One room. `activity`, `bump`: positions of its newest event, its newest "proper" one.

    `odd`: the newest position at which the state changed otherwise than by the event told
    there; `born`: from which position on that is known. `known`: the fields below are so.
    """

    __slots__ = (
        "__weakref__",
        "activity",
        "avatar",
        "block",
        "born",
        "bump",
        "bytes",
        "encrypted",
        "group",
        "heroes",
        "inviter",
        "known",
        "members",
        "name",
        "odd",
        "open",
        "related",
        "room_id",
        "room_no",
        "room_type",
        "state",
        "version",
    )

    def __init__(self, room_no: int, room_id: str, born: int = 0) -> None:
        self.room_no = room_no
        self.room_id = room_id
        self.activity = 0
        self.bump = 0
        self.group = 0
        self.odd = 0
        self.born = born
        self.version = 0  # how often the state changed: a read that a change overtook is not kept
        self.open: bool | None = None  # history was never hidden from members
        self.related: bool | None = None  # any event relates to another
        self.state: dict[StateKey, Stored] | None = None
        self.block: Block | None = None  # the room as it was shown last
        self.members: dict[str, Stored] | None = None
        self.heroes: list[Hero] | None = None
        self.bytes = 0
        self.known = False
        self.inviter: str | None = None  # of an invitation, whose facts are one reader's
        self.encrypted = False
        self.room_type: str | None = None
        self.name: str | None = None
        self.avatar: str | None = None

    def learn(self, found: State) -> None:
        """What the state says of the room."""
        self.encrypted = ("m.room.encryption", "") in found
        self.room_type = _text(found.get(("m.room.create", "")), "type")
        self.name = _text(found.get(("m.room.name", "")), "name") or None
        self.avatar = _text(found.get(("m.room.avatar", "")), "url") or None
        self.known = True

    def forget(self) -> None:
        """Nothing is known of the state any more."""
        self.version += 1
        self.state = self.block = self.members = self.heroes = None
        self.open = None
        self.known = False

    def event(self, stored: Stored, pos: int) -> None:
        """An event was told."""
        if stored.type in _BUMPS:
            self.bump = pos
        if self.related is False and b'"m.relates_to"' in stored.client:
            self.related = None
        if stored.state_group != self.group:
            self.odd = pos
            self.forget()
        self.group = _group_after(stored)
        if stored.state_key is None:
            if stored.type == "m.room.redaction":
                self.forget()
        elif self.group == stored.event_no:
            if stored.type == MEMBER:
                self.version += 1
                self.heroes = None
                if self.members is not None:
                    self.members.pop(stored.state_key, None)
            else:
                self.forget()


def _group_after(stored: Stored) -> int:
    """The state group of a room after an event."""
    if stored.state_key is None or stored.flags & (REJECTED | SOFT_FAILED):
        return stored.state_group
    return stored.event_no


class RoomFacts:
    """Follows the feed; `Recent` must follow it before."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._all: WeakValueDictionary[int, Facts] = WeakValueDictionary()
        self._kept: OrderedDict[int, Facts] = OrderedDict()
        self._bytes = 0
        self._settled = 0

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed, strictly in order."""
        self._settled = pos
        for kind, room_no, seq in changes:
            if kind == Kind.EVENT:
                facts = self._all.get(room_no)
                if facts is not None:
                    self._event(facts, pos, seq)
            elif kind == Kind.PURGE:
                facts = self._all.get(room_no)
                if facts is not None:
                    facts.forget()
                    facts.related = None
            elif kind == Kind.JUMP:
                self._all.clear()
                self._kept.clear()
                self._bytes = 0

    def _event(self, facts: Facts, pos: int, seq: int) -> None:
        facts.activity = pos
        for stored in self._recent.after(facts.room_no, seq - 1, pos) or ():
            if stored.seq == seq:
                facts.event(stored, pos)
                return
        facts.forget()  # another worker's, or it changed an older one
        facts.related = None
        facts.bump = facts.odd = pos
        facts.group = -1

    # --- asking -----------------------------------------------------------------------------

    async def rooms(self, snap: Snap, wanted: Mapping[int, str]) -> dict[int, Facts]:
        """The facts of rooms (number → id). They stay true as long as somebody holds them."""
        found: dict[int, Facts] = {}
        fresh: dict[int, Facts] = {}
        for room_no, room_id in wanted.items():
            facts = self._all.get(room_no)
            if facts is None:
                # known before it is read, so that no change between is lost
                facts = self._all[room_no] = Facts(room_no, room_id, self._settled)
            if not facts.bump:
                fresh[room_no] = facts
            found[room_no] = facts
            self._keep(facts)
        if fresh:
            await self._read_stands(snap, fresh)
        return found

    async def _read_stands(self, snap: Snap, fresh: dict[int, Facts]) -> None:
        """Where rooms stand: of busy ones memory knows it."""
        missing = [no for no, facts in fresh.items() if not self._stands_held(facts)]
        for stand in await sliding.stands(snap, missing) if missing else ():
            facts = fresh[stand.room_no]
            if not facts.activity:
                facts.group = stand.group
            facts.activity = max(facts.activity, stand.activity)
            facts.bump = max(facts.bump, stand.bump)

    def _stands_held(self, facts: Facts) -> bool:
        held = self._recent.held(facts.room_no)
        bump = next((e.pos for e in reversed(held) if e.type in _BUMPS), 0)
        if not bump:
            return False
        newest = held[-1]
        if not facts.activity:
            facts.group = _group_after(newest)
        facts.activity = max(facts.activity, newest.pos)
        facts.bump = max(facts.bump, bump)
        return True

    def _keep(self, facts: Facts) -> None:
        kept = self._kept
        if facts.room_no in kept:
            kept.move_to_end(facts.room_no)
            return
        kept[facts.room_no] = facts
        if len(kept) > SLIDING_ROOMS_KEPT:
            self._lighten(kept.popitem(last=False)[1])

    async def states(self, snap: Snap, wanted: Sequence[Facts]) -> dict[int, State]:
        """Room → its current state, without member events."""
        found: dict[int, State] = {}
        missing: dict[int, Facts] = {}
        for facts in wanted:
            if facts.state is not None:
                found[facts.room_no] = facts.state
            else:
                missing[facts.room_no] = facts
        if missing:
            versions = {room_no: facts.version for room_no, facts in missing.items()}
            read = await sliding.states(snap, missing)
            for room_no, facts in missing.items():
                entries = {(e.type, e.state_key or ""): e for e in read.get(room_no, ())}
                found[room_no] = entries
                if facts.version == versions[room_no]:
                    facts.learn(entries)
                    self._keep_state(facts, entries)
        return found

    def keep_block(self, facts: Facts, block: Block) -> None:
        """Keeps a room as somebody was shown it just now, for others of its members."""
        if facts.state is None or facts.version != block.version or block.size > _ROOM_BYTES_MAX:
            return
        before = facts.block.size if facts.block is not None else 0
        facts.block = block
        self._charge(facts, block.size - before)

    async def learned(self, snap: Snap, wanted: Iterable[Facts]) -> None:
        """Sees to it that what filters look at is known of rooms."""
        unknown = [facts for facts in wanted if not facts.known]
        for start in range(0, len(unknown), 200):
            await self.states(snap, unknown[start : start + 200])

    def _keep_state(self, facts: Facts, entries: dict[StateKey, Stored]) -> None:
        size = sum(len(e.client) + _EVENT_BYTES for e in entries.values())
        if size <= _ROOM_BYTES_MAX:
            self._lighten(facts)
            facts.state = entries
            self._charge(facts, size)

    async def members(self, snap: Snap, facts: Facts, user_ids: Iterable[str]) -> list[Stored]:
        """The current member events of some users; those who have none are left out.

        They are kept: for whom one member is shown, others are.
        """
        kept = facts.members or {}
        found: list[Stored] = []
        missing: list[str] = []
        for user_id in user_ids:
            event = kept.get(user_id)
            if event is None:
                missing.append(user_id)
            else:
                found.append(event)
        if missing:
            version = facts.version
            read = await state.member_events(snap, facts.room_no, missing)
            found += read
            if version == facts.version:
                self._keep_members(facts, read)
        return found

    def _keep_members(self, facts: Facts, read: Sequence[Stored]) -> None:
        if facts.members is None:
            facts.members = {}
        if len(facts.members) + len(read) > _MEMBERS_MAX:
            return
        for event in read:
            facts.members[event.state_key or ""] = event
        self._charge(facts, sum(len(e.client) + _EVENT_BYTES for e in read))

    async def heroes(self, snap: Snap, facts: Facts, user_no: int) -> list[Hero]:
        """Up to five others by whom a nameless room is called (CS #room-summary)."""
        kept = facts.heroes
        if kept is None:
            version = facts.version
            kept = await sliding.heroes(snap, facts.room_no, ("join", "invite"))
            if version == facts.version:
                facts.heroes = kept
        others = [hero for hero in kept if hero[0] != user_no][:5]
        if not others:
            gone = await sliding.heroes(snap, facts.room_no, ("leave", "ban"))
            others = [hero for hero in gone if hero[0] != user_no][:5]
        return others

    async def is_open(self, snap: Snap, facts: Facts) -> bool:
        """Whether whoever is in the room may see all of it."""
        if facts.open is not None:
            return facts.open
        return (await self._open(snap, [facts]))[facts.room_no]

    async def _open(self, snap: Snap, wanted: Sequence[Facts]) -> dict[int, bool]:
        versions = [facts.version for facts in wanted]
        shown = {facts.room_no: True for facts in wanted}
        for room_no, client in await sliding.visibilities(snap, shown):
            shown[room_no] = shown[room_no] and _visibility(client) in _OPEN
        for facts, version in zip(wanted, versions, strict=True):
            if version == facts.version:
                facts.open = shown[facts.room_no]
        return shown

    async def is_related(self, snap: Snap, facts: Facts) -> bool:
        """Whether any event of the room relates to another."""
        if facts.related is not None:
            return facts.related
        return (await self._related(snap, [facts]))[facts.room_no]

    async def _related(self, snap: Snap, wanted: Sequence[Facts]) -> dict[int, bool]:
        before = [facts.activity for facts in wanted]
        found = await relations.have_relations(snap, [facts.room_no for facts in wanted])
        for facts, activity in zip(wanted, before, strict=True):
            if activity == facts.activity:
                facts.related = found[facts.room_no]
        return found

    async def prepare(self, snap: Snap, wanted: Sequence[Facts]) -> None:
        """Reads at once what a first look at rooms needs, one statement of each kind."""
        await self.states(snap, wanted)
        hidden = [facts for facts in wanted if facts.open is None]
        if hidden:
            await self._open(snap, hidden)
        unknown = [facts for facts in wanted if facts.related is None]
        if unknown:
            await self._related(snap, unknown)

    async def prepare_members(self, snap: Snap, wanted: Sequence[tuple[Facts, set[str]]]) -> None:
        """Reads the member events of several rooms that memory lacks, in one statement.

        It reads each user in each room; where that would be many, it reads none.
        """
        missing: dict[int, tuple[Facts, set[str], int]] = {}
        users: set[str] = set()
        for facts, user_ids in wanted:
            lacking = user_ids - facts.members.keys() if facts.members else user_ids
            if lacking:
                missing[facts.room_no] = (facts, lacking, facts.version)
                users |= lacking
        if not 0 < len(users) * len(missing) <= _MEMBERS_READ_MAX:
            return
        found: dict[int, list[Stored]] = {}
        for event in await sliding.members_in(snap, missing, users):
            if event.state_key in missing[event.room_no][1]:
                found.setdefault(event.room_no, []).append(event)
        for room_no, read in found.items():
            facts, _, version = missing[room_no]
            if facts.version == version:
                self._keep_members(facts, read)

    # --- the budget -------------------------------------------------------------------------

    def _charge(self, facts: Facts, size: int) -> None:
        facts.bytes += size
        self._bytes += size
        if facts.room_no not in self._kept:
            self._kept[facts.room_no] = facts
        for room_no in list(self._kept) if self._bytes > SLIDING_ROOMS_BYTES else ():
            if self._bytes <= SLIDING_ROOMS_BYTES * 3 // 4:
                break
            if room_no != facts.room_no:
                self._lighten(self._kept[room_no])

    def _lighten(self, facts: Facts) -> None:
        """Drops what weighs; what lists need stays."""
        self._bytes -= facts.bytes
        facts.bytes = 0
        facts.state = facts.block = facts.members = facts.heroes = None


def stripped_facts(place: Standing, stripped: bytes | None) -> Facts:
    """What somebody who is asked in knows of a room; it is nobody else's."""
    facts = Facts(place.room_no, place.room_id)
    facts.activity = facts.bump = place.pos
    facts.known = True
    for event in orjson.loads(stripped) if stripped else ():
        content = event.get("content")
        if not isinstance(content, dict):
            continue
        if event.get("type") == "m.room.encryption":
            facts.encrypted = True
        elif event.get("type") == "m.room.create" and isinstance(content.get("type"), str):
            facts.room_type = content["type"]
        elif event.get("type") == "m.room.name" and isinstance(content.get("name"), str):
            facts.name = content["name"]
    return facts


class _Content(msgspec.Struct):
    content: dict[str, msgspec.Raw]


_decode = msgspec.json.Decoder(_Content).decode
_text_of = msgspec.json.Decoder(str).decode


def _text(stored: Stored | None, name: str) -> str | None:
    """A text in a piece of state's content."""
    if stored is None:
        return None
    value = _decode(stored.client + b"}").content.get(name)
    try:
        return None if value is None else _text_of(value)
    except msgspec.ValidationError:
        return None


class _Visibility(msgspec.Struct):
    history_visibility: str | None = None


class _VisibilityForm(msgspec.Struct):
    content: _Visibility


_visibility_of = msgspec.json.Decoder(_VisibilityForm).decode


def _visibility(client: bytes) -> str:
    try:
        return visibility_named(_visibility_of(client + b"}").content.history_visibility)
    except msgspec.ValidationError:
        return SHARED
