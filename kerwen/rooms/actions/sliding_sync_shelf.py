"""An account's rooms as sliding sync lists them, kept while the account is connected.

What all members share of a room (when it was last active, its state) is in `Facts`; what is the
account's own (membership, direct or not, tags, how far read) stands in its `Entry`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from operator import attrgetter
from sys import intern

import msgspec
import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.rooms.actions.bundle import ignored_users
from kerwen.rooms.actions.membership import blocks_invites
from kerwen.rooms.actions.sliding_sync_facts import Facts, RoomFacts, stripped_facts
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.sliding import Filters
from kerwen.rooms.sliding_state import direct_rooms
from kerwen.rooms.store import receipts, sliding, users
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Change, Database, Kind, Snap
from kerwen.storage.wake import WakeIndex, Watch

_FEW = 64  # rooms that are looked through one by one
_NO_TAGS: frozenset[str] = frozenset()
_NONE: dict[int, frozenset[str]] = {}
_by_activity = attrgetter("facts.activity")
_numbers = itertools.count(1)


class Entry(msgspec.Struct, gc=False):
    """A room of an account. `read_pos`: where its own receipts changed last, as far as seen.

    There are as many as people have rooms, so it is small, and what all share is in `facts`.
    """

    facts: Facts
    membership: str
    pos: int
    joined_pos: int
    direct: bool = False
    listed: bool = True
    read_pos: int = 0

    @property
    def room_no(self) -> int:
        return self.facts.room_no

    @property
    def room_id(self) -> str:
        return self.facts.room_id

    @property
    def encrypted(self) -> bool:
        return self.facts.encrypted

    @property
    def room_type(self) -> str | None:
        return self.facts.room_type

    @property
    def name(self) -> str | None:
        return self.facts.name


def entry_of(place: Standing, facts: Facts) -> Entry:
    """A room where somebody stands so."""
    joined_pos = place.pos if place.pos == place.joined_pos else place.joined_pos  # one object
    return Entry(facts, intern(place.membership), place.pos, joined_pos)


class Shelf:
    """The rooms of one account, the most recently active first.

    `number` is another one whenever more changed than who was active when.
    """

    __slots__ = (
        "_by_id",
        "_by_no",
        "_unlisted",
        "direct_pos",
        "number",
        "order",
        "pos",
        "tags",
        "tags_pos",
        "watch",
    )

    def __init__(self, watch: Watch, entries: Iterable[Entry]) -> None:
        self.watch = watch
        self.number = 0
        self.pos = 0  # memberships are so as of here
        self.direct_pos = -1  # likewise `direct`; tags
        self.tags_pos = -1
        self.tags = _NONE
        self.order = list(entries)
        self._unlisted: tuple[Entry, ...] = ()
        self._by_id: dict[str, Entry] | None = None
        self._by_no: dict[int, Entry] | None = None

    def set_direct(self, direct: AbstractSet[str], ignored: AbstractSet[str], closed: bool) -> None:
        """Which rooms are direct chats; whose invitations are not listed (`closed`: nobody's)."""
        entries = [*self.order, *self._unlisted]
        for entry in entries:
            entry.direct = entry.room_id in direct
            entry.listed = entry.facts.inviter not in ignored
            if closed and entry.membership == "invite":
                entry.listed = False
        self.order = [entry for entry in entries if entry.listed]
        self._unlisted = tuple(entry for entry in entries if not entry.listed)
        self._by_id = self._by_no = None
        self.number = next(_numbers)

    def sort(self) -> None:
        """Brings the order up to date."""
        self.order.sort(key=_by_activity, reverse=True)

    def get(self, room_no: int) -> Entry | None:
        """A room by its number, listed or not. Few are looked for, where one has few."""
        if self._by_no is None:
            if len(self.order) <= _FEW:
                for entry in (*self.order, *self._unlisted):
                    if entry.facts.room_no == room_no:
                        return entry
                return None
            self._by_no = {entry.room_no: entry for entry in (*self.order, *self._unlisted)}
        return self._by_no.get(room_no)

    def by_id(self, room_id: str) -> Entry | None:
        """A listed room by its id."""
        if len(self.order) <= _FEW:
            return next((e for e in self.order if e.facts.room_id == room_id), None)
        if self._by_id is None:
            self._by_id = {entry.room_id: entry for entry in self.order}
        return self._by_id.get(room_id)

    def tags_of(self, entry: Entry) -> frozenset[str]:
        """The tags of a room, once they were read."""
        return self.tags.get(entry.room_no, _NO_TAGS)


class Shelves:
    """The shelves of connected accounts. Follows the feed."""

    def __init__(self, db: Database, wake: WakeIndex, facts: RoomFacts) -> None:
        self._db = db
        self._wake = wake
        self._facts = facts
        self._shelves: dict[int, Shelf] = {}

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed: how far somebody has read."""
        for kind, room_no, account_no in changes:
            if kind == Kind.RECEIPT:
                shelf = self._shelves.get(account_no)
                entry = shelf.get(room_no) if shelf is not None else None
                if entry is not None:
                    entry.read_pos = pos

    def sweep(self) -> None:
        """Drops the shelves of those who are not connected any more."""
        for account_no, shelf in list(self._shelves.items()):
            if self._wake.get(account_no) is not shelf.watch:
                del self._shelves[account_no]

    async def of(self, watch: Watch, user_id: str) -> tuple[Shelf, list[Standing]]:
        """An account's shelf, and its places, if they were read just now."""
        shelf = self._shelves.get(watch.account_no)
        places: list[Standing] = []
        if shelf is None or shelf.watch is not watch or shelf.pos < watch.memberships:
            shelf, places = await self._read(watch, user_id)
        if shelf.direct_pos < watch.account_data or shelf.direct_pos < 0:
            await self._read_direct(shelf)
        return shelf, places

    async def _read(self, watch: Watch, user_id: str) -> tuple[Shelf, list[Standing]]:
        while True:
            before = watch.memberships
            async with self._db.read() as snap:
                places = await sliding.places(snap, watch.account_no)
                entries = await self._entries(snap, watch, user_id, places)
            if before == watch.memberships:
                break
        shelf = Shelf(watch, entries)
        shelf.pos = before
        old = self._shelves.get(watch.account_no)
        if old is not None and old.watch is watch:
            for entry in entries:
                known = old.get(entry.room_no)
                if known is not None:
                    entry.read_pos = known.read_pos
        if self._wake.get(watch.account_no) is watch:
            joined = [entry.room_no for entry in entries if entry.membership == "join"]
            self._wake.set_rooms(watch, joined)
            self._shelves[watch.account_no] = shelf
        return shelf, places

    async def _entries(
        self, snap: Snap, watch: Watch, user_id: str, places: Sequence[Standing]
    ) -> list[Entry]:
        joined = {p.room_no: p.room_id for p in places if p.membership == "join"}
        facts = await self._facts.rooms(snap, joined)
        entries = [entry_of(p, facts[p.room_no]) for p in places if p.membership == "join"]
        if len(joined) < len(places):
            shown = await sliding.stripped(snap, watch.account_no)
            for place in places:
                body = shown.get(place.room_no)
                if place.membership != "join" and body is not None:
                    told = stripped_facts(place, body)
                    if place.membership == "invite":
                        told.inviter = inviter(body, user_id)
                    entries.append(entry_of(place, told))
        for place in await sliding.put_out(snap, watch.account_no, user_id):
            sight = await visible_events(snap, place.room_no, user_id)
            if sight.membership_at(place.seq - 1) == "join":  # else it is nothing to them
                entries.append(entry_of(place, gone_facts(place)))
        return entries

    async def _read_direct(self, shelf: Shelf) -> None:
        """Which rooms are direct chats, and whom the account ignores."""
        watch = shelf.watch
        while True:
            before = watch.account_data
            async with self._db.read() as snap:
                stored = await account_data.get_global(snap, watch.account_no, "m.direct")
                watch.ignored = await ignored_users(snap, watch.account_no)
                closed = await blocks_invites(snap, watch.account_no)
            if before == watch.account_data:
                break
        content = orjson.loads(stored) if stored is not None else None
        direct = direct_rooms(content) if isinstance(content, dict) else frozenset()
        shelf.set_direct(direct, watch.ignored, closed)
        shelf.direct_pos = before

    async def former(self, snap: Snap, user_no: int, user_id: str, room_id: str) -> Entry | None:
        """A room in which somebody was once and is no more; None if they never were."""
        room_no = await users.room_no(snap, room_id)
        place = await receipts.standing(snap, room_no, user_no) if room_no is not None else None
        if place is None or place.forgotten or place.membership not in ("leave", "ban"):
            return None
        sight = await visible_events(snap, place.room_no, user_id)
        if sight.membership_at(place.seq - 1) != "join":
            return None
        return entry_of(place, gone_facts(place))

    # --- filters ----------------------------------------------------------------------------

    async def admitted(self, snap: Snap, shelf: Shelf, filters: Filters | None) -> list[Entry]:
        """The rooms of a list, in order."""
        shelf.sort()
        if filters is None:
            return shelf.order
        if filters.of_state:
            await self._facts.learned(snap, [e.facts for e in shelf.order])
        if filters.of_tags and shelf.tags_pos < shelf.watch.account_data:
            await self._read_tags(shelf)
        children = await self._children(snap, shelf, filters.spaces)
        return self.judge(shelf, shelf.order, filters, children)

    def judge(
        self,
        shelf: Shelf,
        entries: list[Entry],
        filters: Filters | None,
        children: frozenset[str] = _NO_TAGS,
    ) -> list[Entry]:
        """Those of some rooms that a list holds, once all is known that its filter looks at."""
        if filters is None:
            return entries
        if filters.of_tags:
            return [e for e in entries if filters.admit(e, shelf.tags_of(e), children)]
        return [e for e in entries if filters.admit(e, _NO_TAGS, children)]

    async def _read_tags(self, shelf: Shelf) -> None:
        before = shelf.watch.account_data
        found: dict[int, frozenset[str]] = {}
        async with self._db.read() as snap:
            stored_tags = await sliding.tags(snap, shelf.watch.account_no)
        for room_no, stored in stored_tags.items():
            content = orjson.loads(stored)
            given = content.get("tags") if isinstance(content, dict) else None
            if isinstance(given, dict) and given:
                found[room_no] = frozenset(given)
        shelf.tags = found
        shelf.tags_pos = before
        shelf.number = next(_numbers)

    async def _children(
        self, snap: Snap, shelf: Shelf, spaces: Sequence[str] | None
    ) -> frozenset[str]:
        """The rooms that joined spaces name (CS #mspacechild); a child without `via` is none."""
        if not spaces:
            return frozenset()
        named = [e for e in (shelf.by_id(space) for space in spaces) if e is not None]
        joined = [e.facts for e in named if e.membership == "join"]
        found: set[str] = set()
        for entries in (await self._facts.states(snap, joined)).values():
            for (event_type, room_id), event in entries.items():
                if event_type == "m.space.child":
                    via = orjson.loads(event.client + b"}")["content"].get("via")
                    if isinstance(via, list):
                        found.add(room_id)
        return frozenset(found)


def inviter(stripped: bytes, user_id: str) -> str | None:
    """Who asked somebody in."""
    for event in orjson.loads(stripped):
        if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
            sender = event.get("sender")
            return sender if isinstance(sender, str) else None
    return None


def gone_facts(place: Standing) -> Facts:
    """Of a room that somebody was put out of: when that was."""
    facts = Facts(place.room_no, place.room_id)
    facts.activity = facts.bump = place.pos
    facts.known = True
    return facts
