"""Pages of what relates to an event, and of the threads of a room."""

from __future__ import annotations

import msgspec

from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.bundle import Viewer, ignored_users, render_bundled
from kerwen.rooms.actions.read import Read, Who
from kerwen.rooms.actions.visible import visible_events, visible_room
from kerwen.rooms.event import redact_event
from kerwen.rooms.store import events, heads, relations
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.names import Names
from kerwen.rooms.versions import RoomVersion, room_version
from kerwen.storage.database import Database, Snap

_PAGES_MAX = 10  # pages read to fill a filtered answer
_START, _END = -(2**62), 2**62


class Related(msgspec.Struct):
    """A page of children. `depth` is None where nobody asked for more than one step."""

    chunk: list[bytes]
    next_batch: str | None
    prev_batch: str | None
    depth: int | None


class Wanted(msgspec.Struct):
    """Which children. `start` and `end` are tokens."""

    rel_type: str | None
    event_type: str | None
    start: str | None
    end: str | None
    limit: int
    backwards: bool
    recurse: bool


class Relations:
    """Answers questions about relations (CS #relationships-api, #querying-threads-in-a-room)."""

    def __init__(self, db: Database, names: Names, read: Read, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._read = read
        self._clock = clock

    async def children(self, who: Who, room_id: str, event_id: str, wanted: Wanted) -> Related:
        """What relates to an event. Says `NOT_FOUND` if the asker may not see that."""
        async with self._db.read() as snap:
            room_no, viewer = await self._viewer(snap, who, room_id)
            parent = await events.event_by_id(snap, event_id)
            if (
                parent is None
                or parent.room_no != room_no
                or parent.seq is None
                or not viewer.sight.sees(parent.seq)
            ):
                raise Refused(Reason.NOT_FOUND, "There is no such event, or you may not see it")
            first, last = await self._bounds(snap, room_no, wanted)
            found, following = await self._page(
                snap, room_no, event_id, wanted, viewer, first, last
            )
            return Related(
                await render_bundled(snap, room_no, found, viewer),
                None if following is None else f"t{following}",
                wanted.start,
                relations.DEPTH_MAX if wanted.recurse else None,
            )

    async def _bounds(self, snap: Snap, room_no: int, wanted: Wanted) -> tuple[int, int]:
        """The places between which the page lies, both in it."""
        place = self._read.place
        start = None if wanted.start is None else await place(snap, room_no, wanted.start)
        end = None if wanted.end is None else await place(snap, room_no, wanted.end)
        if wanted.backwards:
            return _START if end is None else end, _END if start is None else start - 1
        return _START if start is None else start, _END if end is None else end - 1

    async def _page(
        self,
        snap: Snap,
        room_no: int,
        event_id: str,
        wanted: Wanted,
        viewer: Viewer,
        first: int,
        last: int,
    ) -> tuple[list[Stored], int | None]:
        """A page, and the place where the next one begins."""
        kept: list[Stored] = []
        depth = relations.DEPTH_MAX if wanted.recurse else 1
        for _ in range(_PAGES_MAX):
            if first > last:
                return kept, None
            count = max(wanted.limit - len(kept), 1)
            rows = await relations.below(
                snap, room_no, event_id, depth, first, last, wanted.backwards, count + 1
            )
            for event, rel_type in rows[:count]:
                if _fits(event, rel_type, wanted) and _seen(event, viewer):
                    kept.append(event)
            if len(rows) <= count:
                return kept, None
            if wanted.backwards:
                last = rows[count - 1][0].seq - 1
            else:
                first = rows[count - 1][0].seq + 1
            if len(kept) >= wanted.limit:
                break
        return kept, last + 1 if wanted.backwards else first

    async def threads(
        self, who: Who, room_id: str, start: str | None, limit: int, participated: bool
    ) -> tuple[list[bytes], str | None]:
        """(roots, token of the next page), the thread that was spoken in last first."""
        async with self._db.read() as snap:
            room_no, viewer = await self._viewer(snap, who, room_id)
            before = _END if start is None else await self._read.place(snap, room_no, start)
            head = await heads.get_head(snap, room_no)
            assert head is not None
            roots: list[Stored] = []
            more = True
            for _ in range(_PAGES_MAX):
                page = await relations.threads(snap, room_no, before, limit - len(roots) + 1)
                more = len(page) > limit - len(roots)
                page = page[: limit - len(roots)]
                found = await events.events_by_id(snap, [root for root, _ in page])
                chosen = [found[r] for r, _ in page if viewer.sight.sees(found[r].seq)]
                if participated:
                    chosen = await self._participated(snap, room_no, chosen, who.user_id)
                roots += chosen
                if page:
                    before = page[-1][1]
                if not more or len(roots) >= limit:
                    break
            version = room_version(head.version)
            shown = [await self._unheard(snap, r, viewer, version) for r in roots]
            chunk = await render_bundled(snap, room_no, shown, viewer)
            return chunk, f"t{before}" if more else None

    async def _participated(
        self, snap: Snap, room_no: int, roots: list[Stored], user_id: str
    ) -> list[Stored]:
        said = await relations.related(snap, room_no, [r.event_id for r in roots])
        mine = {root for root, kind, sender in said if kind == "m.thread" and sender == user_id}
        return [r for r in roots if r.sender == user_id or r.event_id in mine]

    async def _unheard(
        self, snap: Snap, root: Stored, viewer: Viewer, version: RoomVersion
    ) -> Stored:
        """The root of somebody whom the viewer ignores shows redacted."""
        if root.sender not in viewer.ignored or root.state_key is not None:
            return root
        whole = await events.pdu(snap, root.event_no, version)
        return msgspec.structs.replace(
            root, client=events.client_prefix(redact_event(whole)), unsigned_json=None
        )

    async def _viewer(self, snap: Snap, who: Who, room_id: str) -> tuple[int, Viewer]:
        room_no = await self._names.room(snap, room_id)
        found, _ = await visible_room(snap, room_no, who.user_no, who.user_id)
        sight = await visible_events(snap, found, who.user_id)
        ignored = await ignored_users(snap, who.user_no)
        viewer = Viewer(who.user_id, who.device_no, ignored, sight, self._clock(), room_id)
        return found, viewer


def _fits(event: Stored, rel_type: str | None, wanted: Wanted) -> bool:
    if wanted.rel_type is not None and rel_type != wanted.rel_type:
        return False
    return wanted.event_type is None or event.type == wanted.event_type


def _seen(event: Stored, viewer: Viewer) -> bool:
    return event.sender not in viewer.ignored and viewer.sight.sees(event.seq)
