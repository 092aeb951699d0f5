"""Aliases of rooms and the published directory (CS #room-aliases, #published-room-directory)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.base.folding import fold_letters
from kerwen.rooms.actions.append import Append, Draft, RoomWriter
from kerwen.rooms.actions.create_room import make_alias
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.visible import is_world_readable
from kerwen.rooms.auth import POWER_LEVELS
from kerwen.rooms.event import server_of
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.store import aliases, members
from kerwen.rooms.store.cards import Card, cards
from kerwen.rooms.store.users import room_ids
from kerwen.storage.database import Snap

PAGE_DEFAULT = 50
PAGE_MAX = 500
_CARDS_AT_ONCE = 500
_ALIASES_MAX = 1_000  # of one room
_CANONICAL = "m.room.canonical_alias"


class Search(msgspec.Struct):
    """Which rooms of the directory. `room_types`: None for all; a None in it for untyped ones."""

    limit: int = PAGE_DEFAULT
    since: str | None = None
    term: str | None = None
    room_types: list[str | None] | None = None
    network: str | None = None  # of an application service's directory, not our own
    all_networks: bool = False


class Found(msgspec.Struct):
    """A page of the directory."""

    chunk: list[dict[str, object]]
    next_batch: str | None
    prev_batch: str | None
    total: int


class Directory:
    """Names for rooms, and the list of those that want to be found."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._cards: dict[int, Card] = {}

    # --- aliases ----------------------------------------------------------------------------

    async def find(self, alias: str) -> tuple[str, list[str]]:
        """(room id, servers) of an alias."""
        _check_alias(alias)
        async with self._append.db.read() as snap:
            known = await aliases.room_of(snap, alias)
        if known is None:
            await self._append.bridges.make_alias(alias)
        async with self._append.db.read() as snap:
            room_no = await aliases.room_of(snap, alias)
            if room_no is None:
                raise Refused(Reason.NOT_FOUND, "There is no such room alias")
            room_id = (await room_ids(snap, [room_no]))[room_no]
        return room_id, [self._append.server_name]

    async def add(self, who: Who, alias: str, room_id: str, service: str = "") -> None:
        """Names a room; only its members may. Says `CONFLICT` if the name is taken."""
        _check_alias(alias)
        if server_of(alias) != self._append.server_name:
            raise Refused(Reason.INVALID_PARAM, "The alias is of another server")
        make_alias(alias[1:].partition(":")[0], self._append.server_name)
        self._append.bridges.check_alias(who.user_id, alias, service)
        async with self._append.room(room_id) as room:
            await _need_member(room, who)
            if len(await aliases.aliases_of(room.tx, room.room_no)) >= _ALIASES_MAX:
                raise Refused(Reason.FORBIDDEN, "The room has too many aliases")
            now = self._append.clock()
            if not await aliases.add_alias(room.tx, alias, room.room_no, who.user_id, now):
                raise Refused(Reason.CONFLICT, "The alias is taken")

    async def remove(self, who: Who, alias: str, admin: bool, service: str = "") -> None:
        """Takes a name away: who gave it, who may set the room's own, or an administrator."""
        self._append.bridges.check_alias(who.user_id, alias, service)
        room_id, _ = await self.find(alias)
        async with self._append.room(room_id) as room:
            known = await aliases.alias(room.tx, alias)
            if known is None:
                raise Refused(Reason.NOT_FOUND, "There is no such room alias")
            if known[1] != who.user_id and not admin and not await _may_name(room, who):
                raise Refused(Reason.FORBIDDEN, "You did not make this alias")
            await aliases.drop_alias(room.tx, alias)
            await self._unsay(room, who, alias)

    async def _unsay(self, room: RoomWriter, who: Who, alias: str) -> None:
        """Takes the name out of the room's state too, where the person may change that."""
        now = await room.view.state_event(room.tx, _CANONICAL)
        if now is None or not await _may_name(room, who):
            return
        content = dict(now.content)
        if content.get("alias") == alias:
            del content["alias"]
        others = content.get("alt_aliases")
        if isinstance(others, list) and alias in others:
            content["alt_aliases"] = [other for other in others if other != alias]
        if content != now.content:
            await room.add(Draft(who.user_id, who.user_no, _CANONICAL, content, state_key=""))

    async def of_room(self, who: Who, room_id: str) -> list[str]:
        """The aliases of a room, for its members and those who may read it anyway."""
        async with self._append.db.read() as snap:
            room_no = await self._append.names.room(snap, room_id)
            if room_no is None:
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            member = await members.member(snap, room_no, who.user_no)
            inside = member is not None and member.membership == "join"
            if not inside and not await is_world_readable(snap, room_no):
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            return await aliases.aliases_of(snap, room_no)

    # --- the list ---------------------------------------------------------------------------

    async def published(self, room_id: str) -> bool:
        """Whether a room stands in the list."""
        async with self._append.db.read() as snap:
            room_no = await self._append.names.room(snap, room_id)
            if room_no is None:
                raise Refused(Reason.UNKNOWN_ROOM, "There is no such room")
            return await aliases.published(snap, room_no)

    async def publish(self, who: Who, room_id: str, shown: bool, admin: bool) -> None:
        """Shows a room in the list or hides it; for those who may name it."""
        async with self._append.room(room_id) as room:
            if not admin:
                await _need_member(room, who)
                if not await _may_name(room, who):
                    raise Refused(Reason.FORBIDDEN, "You may not publish this room")
            await aliases.publish(room.tx, room.room_no, shown, self._append.clock())

    async def page(self, search: Search) -> Found:
        """A page of the list, largest rooms first."""
        limit = min(search.limit or PAGE_DEFAULT, PAGE_MAX)
        backwards, start = _token(search.since)
        async with self._append.db.read(long=True) as snap:
            rows = await self._rows(snap, search)
            keys = [(-joined, room_no) for room_no, joined, _ in rows]
            if search.term or search.room_types is not None:
                found = await self._some(snap, rows)
                keys = [key for key in keys if _fits(found.get(key[1]), search)]
            page, before, after = _page(keys, backwards, start, limit)
            shown = {room_no for _, room_no in page}
            found = await self._some(snap, [row for row in rows if row[0] in shown])
        return Found(
            [found[room_no].chunk() for _, room_no in page if room_no in found],
            _token_of("n", page[-1]) if after else None,
            _token_of("p", page[0]) if before else None,
            len(keys),
        )

    async def _rows(self, snap: Snap, search: Search) -> list[tuple[int, int, int]]:
        """(room, joined, state_seq) of the rooms in the directories that are asked for."""
        rows = [] if search.network is not None else await aliases.directory(snap)
        if search.network is None and not search.all_networks:
            return rows
        known = {row[0] for row in rows}
        listed = await self._append.bridges.listed(snap, search.network)
        more = await aliases.directory_of(snap, [no for no in listed if no not in known])
        return sorted(rows + more, key=lambda row: (-row[1], row[0]))

    async def _some(self, snap: Snap, rows: Sequence[tuple[int, int, int]]) -> dict[int, Card]:
        """Cards of rooms in the list: remembered ones where nothing of the state changed."""
        found: dict[int, Card] = {}
        missing = []
        for room_no, joined, state_seq in rows:
            card = self._cards.get(room_no)
            if card is not None and (card.joined, card.state_seq) == (joined, state_seq):
                found[room_no] = card
            else:
                missing.append(room_no)
        for at in range(0, len(missing), _CARDS_AT_ONCE):
            found |= await cards(snap, missing[at : at + _CARDS_AT_ONCE])
        self._cards |= {no: found[no] for no in missing if no in found}
        if len(self._cards) > len(rows) * 2 + PAGE_MAX * 20:
            self._cards = dict(found)
        return found


def _check_alias(alias: str) -> None:
    local, _, server = alias[1:].partition(":")
    if alias[:1] != "#" or not local or not server or len(alias.encode("utf-8", "replace")) > 255:
        raise Refused(Reason.INVALID_PARAM, "That is no room alias")


async def _need_member(room: RoomWriter, who: Who) -> None:
    member = await room.view.state_event(room.tx, "m.room.member", who.user_id)
    if member is None or member.membership != "join":
        raise Refused(Reason.FORBIDDEN, "You are not in this room")


async def _may_name(room: RoomWriter, who: Who) -> bool:
    """Whether somebody may set the room's canonical alias."""
    member = await room.view.state_event(room.tx, "m.room.member", who.user_id)
    if member is None or member.membership != "join":
        return False
    levels = PowerLevels.of_state(await room.auth_state([POWER_LEVELS]), room.view.version)
    return levels.user(who.user_id) >= levels.required(_CANONICAL, is_state=True)


def _fits(card: Card | None, search: Search) -> bool:
    if card is None:
        return False
    if search.room_types is not None and card.room_type not in search.room_types:
        return False
    if not search.term:
        return True
    if search.term.strip() == card.room_id:
        return True
    term = fold_letters(search.term).strip()
    texts = (card.name, card.topic, card.canonical_alias)
    return any(term in fold_letters(text) for text in texts if text is not None)


Key = tuple[int, int]


def _page(
    keys: list[Key], backwards: bool, start: Key | None, limit: int
) -> tuple[list[Key], bool, bool]:
    """(page, whether there is more before it, and after it)."""
    if start is None:
        return keys[:limit], False, len(keys) > limit
    if backwards:
        before = [key for key in keys if key < start]
        page = before[-limit:]
        return page, len(before) > limit, bool(page) and keys[-1] > page[-1]
    after = [key for key in keys if key > start]
    page = after[:limit]
    return page, bool(page) and keys[0] < page[0], len(after) > limit


def _token_of(way: str, key: Key) -> str:
    return f"{way}{-key[0]}_{key[1]}"


def _token(text: str | None) -> tuple[bool, Key | None]:
    if text is None:
        return False, None
    joined, _, room_no = text[1:].partition("_")
    digits = joined.isdecimal() and room_no.isdecimal() and len(text) < 40 and text.isascii()
    if text[:1] not in ("n", "p") or not digits:
        raise Refused(Reason.INVALID_PARAM, "That is no token of this server")
    return text[0] == "p", (-int(joined), int(room_no))
