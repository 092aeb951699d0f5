"""`/sync`: what changed for a device since it last asked, or as soon as something does.

The order is register, read, wait: a waiter stands in the wake index before the database is
read, so no change between reading and waiting is lost. What the watch remembers of its account
decides what is read at all; an answer without news costs no query.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import msgspec
import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.base import feed_token
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken
from kerwen.base.limits import SYNC_TIMEOUT_MAX_MS, TO_DEVICE_AT_ONCE
from kerwen.keys.store import (
    delete_to_device,
    more_to_device,
    to_device,
)
from kerwen.keys.store.key_counts import KeyCounts
from kerwen.rooms.actions.bundle import ignored_users as ignored_users
from kerwen.rooms.actions.device_lists import device_lists
from kerwen.rooms.actions.long_poll import LongPolls
from kerwen.rooms.actions.membership import blocks_invites
from kerwen.rooms.actions.places import place_in
from kerwen.rooms.actions.sync_rooms import Asker, RoomSync, Window
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.filters import Filter
from kerwen.rooms.store import heads, members, receipts
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Database, Snap
from kerwen.storage.feed import Feed
from kerwen.storage.lazy import LazySnap
from kerwen.storage.wake import LINGER_MS, WakeIndex, Watch

NOWHERE = FeedToken(0)
_ROOMS_A_TURN = 16  # rooms of a long answer that are made before others get their turn

_BEFORE_IMPORT = re.compile(r"[sm]\d{1,20}[_~][\d_~.]{1,500}")  # as Synapse gives them


class Asked(msgspec.Struct, gc=False):
    """A request."""

    user_no: int
    user_id: str
    device_no: int
    since: str | None
    wanted: Filter
    timeout_ms: int
    full_state: bool = False
    state_after: bytes = b""  # the name under which the state after the timeline is wanted


class Sync:
    """Answers syncs; `stopping` ends all that wait."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        wake: WakeIndex,
        rooms: RoomSync,
        typing: Typing,
        key_counts: KeyCounts,
        clock: Clock,
    ) -> None:
        self._db = db
        self._feed = feed
        self._wake = wake
        self._rooms = rooms
        self._typing = typing
        self._key_counts = key_counts
        self._clock = clock
        self._polls = LongPolls(feed, wake, clock)

    @property
    def parked(self) -> int:
        """How many requests wait."""
        return self._polls.parked

    def stop(self) -> None:
        """Answers everybody who waits."""
        self._polls.stop()

    async def __call__(self, asked: Asked) -> bytes:
        """The answer's JSON (CS #get-sync)."""
        token = await self._token(asked.since) if asked.since else None
        if token is not None and not asked.timeout_ms and self._is_up_to_date(asked, token):
            return await self._close(asked, None, token._replace(pos=self._feed.settled))
        watch = await self._polls.enter(asked.user_no, self._read_rooms)
        try:
            self._wake.add_device(watch, asked.device_no)
            if token is not None:
                await self._acknowledge(asked, token, watch)
            poll = _Poll(self, asked, token, watch)
            await self._polls.wait(watch, poll, min(asked.timeout_ms, SYNC_TIMEOUT_MAX_MS))
            return await self._close(asked, poll.body, poll.following)
        finally:
            self._polls.leave(watch)

    def _is_up_to_date(self, asked: Asked, token: FeedToken) -> bool:
        """Whether memory alone proves that there is no news and nothing to acknowledge: then one
        that does not wait is answered at once."""
        watch = self._wake.get(asked.user_no)
        if watch is None or watch.pending.get(asked.device_no, 0) is not None:
            return False
        if not self._quiet(asked, token, watch):
            return False
        watch.expires_ms = self._clock() + LINGER_MS
        return True

    def _quiet(self, asked: Asked, token: FeedToken, watch: Watch) -> bool:
        """Whether nothing happened since the token."""
        return (
            watch.base <= token.pos
            and watch.last <= token.pos
            and token.to_device_lag == 0
            and token.soft == self._typing.count
            and token.soft_origin == self._typing.origin
            and not asked.full_state
        )

    async def _token(self, text: str) -> FeedToken | None:
        """The token of `since`; None for one that is to begin anew. Says `INVALID_PARAM`: `/sync`
        knows no M_UNKNOWN_POS.
        """
        try:
            token = feed_token.decode(text)
            if token.pos <= self._feed.settled or await self._feed.until(token.pos):
                return token
        except Refused:
            pass
        if _BEFORE_IMPORT.fullmatch(text):
            return None  # QUIRK: whoever was brought over from another server is told everything
        raise Refused(Reason.INVALID_PARAM, "since is no token of this server")

    async def _read_rooms(self, watch: Watch) -> None:
        """The rooms of the account, and whom it ignores; again if they changed meanwhile."""
        while True:
            before = (watch.memberships, watch.account_data)
            async with self._db.read() as snap:
                rooms = await members.joined_rooms(snap, watch.account_no)
                watch.ignored = await ignored_users(snap, watch.account_no)
            if before == (watch.memberships, watch.account_data):
                self._wake.set_rooms(watch, rooms)
                return

    async def _acknowledge(self, asked: Asked, token: FeedToken, watch: Watch) -> None:
        """The device has what it was sent up to its token: to-device messages go."""
        oldest = watch.pending.get(asked.device_no, 0)
        if oldest is not None and oldest <= token.to_device:
            async with self._db.read() as snap:
                waiting = await to_device(snap, asked.device_no, token.to_device, 1)
            if waiting:
                async with self._db.write() as tx:
                    await delete_to_device(tx, asked.device_no, token.to_device)
            watch.pending[asked.device_no] = None

    async def look(
        self, asked: Asked, token: FeedToken | None, watch: Watch
    ) -> tuple[list[bytes] | None, FeedToken]:
        """The answer's parts (None: nothing is news) and the token that goes with them."""
        soft = self._typing.count
        following = FeedToken(self._feed.settled, 0, self._typing.origin, soft)
        if token is None:
            return await self._first(asked, watch, following)
        if self._quiet(asked, token, watch):
            return None, following
        return await self._news(asked, token, watch, following)

    async def _close(self, asked: Asked, body: list[bytes] | None, following: FeedToken) -> bytes:
        parts = [b'"next_batch":"%b"' % feed_token.encode(following).encode()]
        parts += body or ()
        parts.append(await self._key_counts.of(asked.device_no))
        return b"{" + b",".join(parts) + b"}"

    # --- everything -------------------------------------------------------------------------

    async def _first(
        self, asked: Asked, watch: Watch, following: FeedToken
    ) -> tuple[list[bytes], FeedToken]:
        """The first answer to a device: all rooms with their state."""
        me = self._asker(asked, watch)
        window = Window(0, following.pos, self._clock())
        async with self._db.read() as snap:
            places = await receipts.standings(snap, asked.user_no)
            by_room = await self._room_data(snap, asked, 0, following.pos)
            blocks = _Blocks()
            for number, place in enumerate(places):
                await self._place(snap, me, place, window, blocks, by_room, None, True)
                if number % _ROOMS_A_TURN == _ROOMS_A_TURN - 1:
                    await asyncio.sleep(0)
            parts = blocks.parts()
            parts += await self._account_data(snap, asked, 0, following.pos)
            more, following = await self._to_device(snap, asked, watch, following)
        return parts + more, following

    async def _place(
        self,
        snap: Snap,
        me: Asker,
        place: Standing,
        window: Window,
        blocks: _Blocks,
        by_room: dict[int, list[bytes]],
        typing: set[int] | None,
        receipts_too: bool,
    ) -> None:
        """One room into the section where it belongs."""
        if not me.wanted.room(place.room_id):
            return
        if place.membership == "join":
            typists: list[str] | None = None
            if typing is None:
                typists = self._typing.users(place.room_no) or None
            elif place.room_no in typing:
                typists = self._typing.users(place.room_no)
            data = by_room.get(place.room_no, ())
            if data and not me.wanted.room_account_data.room(place.room_id):
                data = ()
            block = await self._rooms.joined(snap, me, place, window, data, typists, receipts_too)
            if block is not None:
                blocks.join.append((place.room_id, block))
        elif place.membership in ("invite", "knock"):
            await self._asked_in(snap, me, place, blocks)
        elif (window.since and place.pos > window.since) or (
            me.wanted.include_leave and not place.forgotten
        ):  # who forgot a room that they left meanwhile is told of the leaving all the same
            blocks.leave.append((place.room_id, await self._rooms.left(snap, me, place, window)))

    async def _asked_in(self, snap: Snap, me: Asker, place: Standing, blocks: _Blocks) -> None:
        member = await members.member(snap, place.room_no, me.user_no)
        if member is None or member.stripped is None:
            return
        if place.membership == "invite":
            if me.ignored and _inviter(member.stripped, me.user_id) in me.ignored:
                return
            if await blocks_invites(snap, me.user_no):
                return
            block = b'{"invite_state":{"events":%b}}' % member.stripped
            blocks.invite.append((place.room_id, block))
        else:
            block = b'{"knock_state":{"events":%b}}' % member.stripped
            blocks.knock.append((place.room_id, block))

    # --- news -------------------------------------------------------------------------------

    async def _news(
        self, asked: Asked, token: FeedToken, watch: Watch, following: FeedToken
    ) -> tuple[list[bytes] | None, FeedToken]:
        """What changed after a token."""
        since, upto = token.pos, following.pos
        known = watch.base <= since
        moved = not known or watch.memberships > since
        data_changed = not known or watch.account_data > since
        if (known and data_changed) or moved:
            await self._read_rooms(watch)
        me = self._asker(asked, watch)
        window = Window(since, upto, self._clock())
        typing = set(self._typing.changed_since(token.soft_origin, token.soft, watch.rooms))
        blocks = _Blocks()
        async with LazySnap(self._db) as snap:
            changed = await self._changed_rooms(snap, asked, watch, since, known)
            by_room = await self._room_data(snap, asked, since, upto) if data_changed else {}
            places = await self._places(snap, asked, watch, window, changed, by_room, typing, moved)
            for number, place in enumerate(places):
                receipts_too = not known or watch.receipts.get(place.room_no, 0) > since
                await self._place(snap, me, place, window, blocks, by_room, typing, receipts_too)
                if number % _ROOMS_A_TURN == _ROOMS_A_TURN - 1:
                    await asyncio.sleep(0)
            parts = blocks.parts()
            if data_changed:
                parts += await self._account_data(snap, asked, since, upto)
            if not known or watch.device_lists > since or moved or me.encrypted:
                found = await device_lists(snap, me.user_no, since, upto, places, me.encrypted)
                parts += [found] if found is not None else []
            more, following = await self._to_device(snap, asked, watch, following, token)
            parts += more
        return (parts or None), following

    async def _changed_rooms(
        self, snap: Snap, asked: Asked, watch: Watch, since: int, known: bool
    ) -> Iterable[int]:
        if asked.full_state:
            return await members.joined_rooms(snap, asked.user_no)
        if known:
            return watch.rooms_since(since)
        return await heads.changed_rooms(snap, asked.user_no, since)

    async def _places(
        self,
        snap: Snap,
        asked: Asked,
        watch: Watch,
        window: Window,
        changed: Iterable[int],
        by_room: dict[int, list[bytes]],
        typing: set[int],
        moved: bool,
    ) -> list[Standing]:
        """The rooms to look at: changed ones, and those where the asker came or went."""
        found: dict[int, Standing] = {}
        if moved:
            for place in await receipts.changed_standings(
                snap, asked.user_no, window.since, window.upto
            ):
                found[place.room_no] = place
        for room_no in {*changed, *by_room, *typing}:
            if room_no not in found:
                one = await place_in(
                    snap, self._rooms.said_since, watch, asked.user_id, room_no, window.upto
                )
                if one is not None and one.membership == "join":
                    found[room_no] = one
        return list(found.values())

    # --- sections ---------------------------------------------------------------------------

    async def _room_data(
        self, snap: Snap, asked: Asked, since: int, upto: int
    ) -> dict[int, list[bytes]]:
        """Account data of rooms, rendered."""
        wanted = asked.wanted.room_account_data
        by_room: dict[int, list[bytes]] = {}
        if wanted.nothing:
            return by_room
        rows = await account_data.room_account_data(snap, asked.user_no, since, upto)
        for room_no, data_type, content in rows:
            if wanted.type(data_type):
                by_room.setdefault(room_no, []).append(_data_event(data_type, content))
        return by_room

    async def _account_data(self, snap: Snap, asked: Asked, since: int, upto: int) -> list[bytes]:
        wanted = asked.wanted.account_data
        if wanted.nothing:
            return []
        rows = await account_data.global_account_data(snap, asked.user_no, since, upto)
        shown = [_data_event(t, c) for t, c in rows if wanted.type(t)]
        return [b'"account_data":{"events":[%b]}' % b",".join(shown)] if shown else []

    async def _to_device(
        self,
        snap: Snap,
        asked: Asked,
        watch: Watch,
        following: FeedToken,
        token: FeedToken | None = None,
    ) -> tuple[list[bytes], FeedToken]:
        """Messages to this device: about 100 a time, the token tells how many lie behind."""
        newest = watch.devices.get(asked.device_no, 0)
        lag = token is not None and token.to_device_lag > 0
        if token is not None and watch.base <= token.pos and newest <= token.pos and not lag:
            return [], following
        waiting = await to_device(snap, asked.device_no, following.pos, TO_DEVICE_AT_ONCE)
        if not waiting:
            return [], following
        last = waiting[-1][0]
        if last < following.pos and await more_to_device(
            snap, asked.device_no, last, following.pos
        ):
            following = FeedToken(
                following.pos, following.pos - last, following.soft_origin, following.soft
            )
        watch.pending[asked.device_no] = waiting[0][0]
        body = b",".join(bytes(row[2]) for row in waiting)
        return [b'"to_device":{"events":[%b]}' % body], following

    def _asker(self, asked: Asked, watch: Watch) -> Asker:
        return Asker(
            asked.user_no,
            asked.user_id,
            asked.device_no,
            asked.wanted,
            asked.state_after,
            watch.ignored,
            asked.full_state,
        )


class _Poll:
    """A request that looks until something is news. `body`: what the last look found."""

    __slots__ = ("_asked", "_sync", "_token", "_watch", "body", "following")

    def __init__(self, sync: Sync, asked: Asked, token: FeedToken | None, watch: Watch) -> None:
        self._sync = sync
        self._asked = asked
        self._token = token
        self._watch = watch
        self.body: list[bytes] | None = None
        self.following = NOWHERE

    async def look(self) -> bool:
        asked, token = self._asked, self._token
        self.body, self.following = await self._sync.look(asked, token, self._watch)
        return self.body is not None or token is None or asked.full_state


class _Blocks:
    """The rooms of an answer by section."""

    __slots__ = ("invite", "join", "knock", "leave")

    def __init__(self) -> None:
        self.join: list[tuple[str, bytes]] = []
        self.invite: list[tuple[str, bytes]] = []
        self.knock: list[tuple[str, bytes]] = []
        self.leave: list[tuple[str, bytes]] = []

    def parts(self) -> list[bytes]:
        """The `rooms` section, if there is anything in it."""
        sections = []
        for name in self.__slots__:
            rooms: list[tuple[str, bytes]] = getattr(self, name)
            if rooms:
                inner = b",".join(orjson.dumps(i) + b":" + block for i, block in rooms)
                sections.append(b'"%b":{%b}' % (name.encode(), inner))
        return [b'"rooms":{%b}' % b",".join(sections)] if sections else []


def _inviter(stripped: bytes, user_id: str) -> str | None:
    for event in orjson.loads(stripped):
        if event.get("type") == "m.room.member" and event.get("state_key") == user_id:
            sender = event.get("sender")
            return sender if isinstance(sender, str) else None
    return None


def _data_event(data_type: str, content: bytes) -> bytes:
    return b'{"type":%b,"content":%b}' % (orjson.dumps(data_type), content)
