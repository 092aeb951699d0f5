"""Removing what was said: when its time is over, when a room is closed, when somebody is erased.

Everything goes in small transactions with rests between them, so that who writes hardly waits.
How far it came is written down with each: a removal goes on after a crash where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import orjson

from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.rooms import retention
from kerwen.rooms.actions.append import Append
from kerwen.rooms.actions.membership import Membership
from kerwen.rooms.event import redact_event
from kerwen.rooms.store import events, expiry, heads, members, purge, state
from kerwen.rooms.store.events import LOUD, MARKED
from kerwen.rooms.store.expiry import BEGINNING, Expiry, Job
from kerwen.rooms.store.heads import Head
from kerwen.rooms.store.users import user_ids
from kerwen.rooms.versions import room_version
from kerwen.storage.database import Kind, Snap, Tx, retrying

log = logging.getLogger("kerwen.purge")

_BATCH: Final = 100  # events of one transaction: a few milliseconds
_STATE_BATCH: Final = 500
_LEAVES: Final = 20  # people who are shown out in one step
_WINDOW: Final = 5_000  # places that are looked through for one person's words
_ROOMS: Final = 20  # due rooms of one round
_JOBS: Final = 5
_LOOK_S: Final = 5.0
_REST: Final = 4  # a step of 1 ms is followed by a rest of 4
_DAY_MS: Final = 86_400_000
_ENLIST_S: Final = 3_600.0
_ENLIST: Final = 500
_URLS_MAX: Final = 8  # files of one message

DropFiles = Callable[[Sequence[tuple[str, str]]], Awaitable[None]]
"""`[(user id, mxc), …]`: deletes those files that these people have uploaded."""
DropAllFiles = Callable[[int], Awaitable[Any]]


class _Step(msgspec.Struct):
    """What one transaction did. `next_ms`: the time of the oldest message that stays."""

    cursor: int
    removed: int
    more: bool
    next_ms: int | None = None


class Purge:
    """`house_ms`: how long the server keeps messages, 0 for ever."""

    def __init__(
        self,
        append: Append,
        membership: Membership,
        drop_files: DropFiles,
        drop_all_files: DropAllFiles,
        house_ms: int = 0,
    ) -> None:
        self._append = append
        self._db = append.db
        self._clock = append.clock
        self._membership = membership
        self._drop_files = drop_files
        self._drop_all_files = drop_all_files
        self._house_ms = house_ms
        self._within: dict[int, int] = {}  # job → place in the room that it is at

    # --- asking -----------------------------------------------------------------------------

    async def block(self, room_id: str, blocked: bool) -> None:
        """Whether anybody may enter a room, also one that this server never met."""
        if not room_id.startswith("!") or len(room_id) > 255:
            raise Refused(Reason.INVALID_PARAM, "That is no room id")
        async with self._db.write() as tx:
            await expiry.block(tx, room_id, blocked, self._clock())

    async def history(self, room_id: str, before_ms: int) -> Job:
        """Asks for the removal of a room's messages from before a time; state stays."""
        if not 0 < before_ms <= self._clock():
            raise Refused(Reason.INVALID_PARAM, "That time is not past")
        return await self._ask("history", room_id, 0, before_ms)

    async def room(self, room_id: str) -> Job:
        """Asks for the end of a room: nobody finds it or enters it from now on, those who are in
        are shown out, then everything goes."""
        return await self._ask("room", room_id, 0, 0)

    async def erase(self, account_no: int) -> Job:
        """Asks that what somebody said be emptied, as if each message had been redacted."""
        return await self._ask("erase", "", account_no, 0)

    async def after_deactivated(self, account_no: int, user_id: str, erase: bool) -> None:
        """An account was closed."""
        if erase:
            await self.erase(account_no)

    async def _ask(self, kind: str, room_id: str, account_no: int, before_ms: int) -> Job:
        job_no = await self._db.take_id("room_job")
        now = self._clock()
        job = Job(job_no, kind, room_id, account_no, before_ms, BEGINNING, 0, now, 0)
        async with self._db.write() as tx:
            if room_id:
                room_no = await self._append.names.room(tx, room_id)
                if room_no is None:
                    raise Refused(Reason.NOT_FOUND, "There is no such room")
                if kind == "room":
                    await expiry.block(tx, room_id, True, now)
                    await purge.hide(tx, room_no)
            under_way = await expiry.open_job(tx, kind, room_id, account_no)
            if under_way is not None and kind != "history":
                return under_way
            await expiry.add_job(tx, job)
        return job

    async def jobs(self, before: int, count: int) -> list[Job]:
        """Removals, the newest first."""
        async with self._db.read() as snap:
            return await expiry.jobs(snap, before, count)

    # --- the worker -------------------------------------------------------------------------

    async def work(self) -> None:
        """Does what is due, and rests between."""
        clock = asyncio.get_running_loop().time
        enlist_at = 0.0
        await self._remember_erasures()
        while True:
            begun = clock()
            if self._house_ms and begun >= enlist_at:
                enlist_at = begun + _ENLIST_S if not await self._enlist() else begun
            more = await self.round()
            await asyncio.sleep((clock() - begun) * _REST + 0.001 if more else _LOOK_S)

    async def _enlist(self) -> bool:
        async with self._db.write() as tx:
            return await expiry.enlist(tx, _ENLIST) == _ENLIST

    async def _remember_erasures(self) -> None:
        """Asks for what a crash kept from being asked for, just after an account was closed."""
        async with self._db.read(long=True) as snap:
            forgotten = await expiry.unerased(snap)
        for account_no in forgotten:
            await self.erase(account_no)

    async def round(self) -> bool:
        """One step of each removal and of each room that is due; whether there is more to do."""
        async with self._db.read() as snap:
            jobs = await expiry.open_jobs(snap, _JOBS)
            due = await expiry.due(snap, self._clock(), _ROOMS)
        more = len(due) == _ROOMS
        for job in jobs:
            more |= await self._guarded(partial(self._job, job))
        for entry in due:
            more |= await self._guarded(partial(self._expire, entry))
        return more

    async def _guarded(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """What fails is tried again at the next look; the others go on."""
        try:
            return await retrying(step)
        except (Refused, Unavailable) as error:
            log.warning("not removed", extra={"why": str(error)})
        except Exception:
            log.exception("not removed")
        return False

    async def run(self) -> None:
        """Rounds until nothing is left to do."""
        await self._remember_erasures()
        if self._house_ms:
            while await self._enlist():
                pass
        while await self.round():
            pass

    # --- messages whose time is over --------------------------------------------------------

    async def _expire(self, entry: Expiry) -> bool:
        now = self._clock()
        async with self._db.read() as snap:
            head = await heads.get_head(snap, entry.room_no)
            lives_ms = await self._lifetime(snap, entry.room_no)
        if head is None or not lives_ms:
            async with self._db.write() as tx:
                await expiry.drop(tx, entry.room_no)
            return False
        step = await self._oldest(head, entry.purged_seq, now - lives_ms)
        if step.more:
            next_ms = 0
        else:
            since = now if step.next_ms is None else min(step.next_ms, now)
            next_ms = min(since + lives_ms + 1, now + _DAY_MS)
        async with self._db.write() as tx:
            await expiry.move(tx, entry, step.cursor, next_ms)
        return step.more

    async def _lifetime(self, snap: Snap, room_no: int) -> int:
        found = []
        for event_type in (retention.RETENTION, retention.TIMER):
            event = await state.current_event(snap, room_no, event_type, "")
            found.append(
                None if event is None else orjson.loads(events.orjson_content(event.client))
            )
        return retention.lifetime(found[0], found[1], self._house_ms)

    async def _oldest(self, head: Head, after: int, before_ms: int) -> _Step:
        """Removes the oldest messages behind a place that were said before a time."""
        async with self._db.read() as snap:
            rows = await purge.messages(snap, head.room_no, after, _BATCH)
        count = retention.expired([row.ts for row in rows], before_ms, self._clock())
        if not count:
            return _Step(after, 0, False, rows[0].ts if rows else None)
        gone, last = rows[:count], rows[count - 1]
        await self._drop_files(files_in((row.sender, row.client) for row in gone))
        async with self._db.write() as tx:
            await self._remove(tx, head, gone)
            marked = any(row.flags & MARKED for row in gone)
            if marked or any(row.flags & LOUD for row in gone):
                await purge.read_up(tx, head.room_no, last.seq, last.loud)
                await purge.clear_marks(tx, head.room_no, last.seq, single=marked)
            self._tell(tx, head.room_no, last.seq)
        stays = rows[count].ts if count < len(rows) else None
        return _Step(last.seq, count, count == _BATCH, stays)

    async def _remove(self, tx: Tx, head: Head, gone: Sequence[purge.Row]) -> None:
        """Tips of the graph leave their signed bones until other events have followed them."""
        now = await heads.get_head(tx, head.room_no)
        assert now is not None, "a room's row stays"
        version, tips = room_version(head.version), set(now.tips)
        old = await purge.bones(tx, head.room_no)
        plain = [(row.event_no, row.event_id) for row in gone] + old
        await purge.delete_messages(tx, head.room_id, [p for p in plain if p[1] not in tips])
        for row in gone:
            if row.event_id in tips:
                whole = await events.pdu(tx, row.event_no, version)
                await purge.strip(tx, row.event_no, redact_event(whole))

    def _tell(self, tx: Tx, room_no: int, seq: int) -> None:
        tx.after(lambda: self._append.recent.drop(room_no))
        tx.change(Kind.PURGE, room_no, seq)

    # --- removals that were asked for -------------------------------------------------------

    async def _job(self, job: Job) -> bool:
        step = await {"history": self._history, "room": self._room, "erase": self._erase}[job.kind](
            job
        )
        async with self._db.write() as tx:
            await expiry.move_job(tx, job.job_no, step.cursor, step.removed)
            if not step.more:
                await expiry.end_job(tx, job.job_no, self._clock())
        return step.more

    async def _history(self, job: Job) -> _Step:
        async with self._db.read() as snap:
            room_no = await self._append.names.room(snap, job.room_id)
            head = await heads.get_head(snap, room_no) if room_no is not None else None
        if head is None:
            return _Step(job.cursor, 0, False)
        return await self._oldest(head, job.cursor, job.before_ms)

    async def _room(self, job: Job) -> _Step:
        """First everybody goes, then the events, the state, the rest. Each step finds out anew
        what is left, so it does not matter where the last one stopped."""
        async with self._db.read() as snap:
            room_no = await self._append.names.room(snap, job.room_id)
            assert room_no is not None, "a room's row stays"
            people = await purge.still_in(snap, room_no, ("join", "invite", "knock"), _LEAVES)
            some = await purge.any_events(snap, room_no, _BATCH)
            files = files_in(await purge.messages_of(snap, [no for no, _ in some]))
        if await self._show_out(job.room_id, people):
            return _Step(job.cursor, 0, True)
        if some:
            await self._drop_files(files)
            async with self._db.write() as tx:
                await purge.delete(tx, job.room_id, some)
                self._tell(tx, room_no, 0)
                tx.after(lambda: self._append.views.drop(room_no))
            return _Step(job.cursor, len(some), True)
        async with self._db.write() as tx:
            if await purge.delete_state(tx, room_no, _STATE_BATCH):
                return _Step(job.cursor, 0, True)
            last = await purge.bare_members(tx, room_no, max(job.cursor, 0), _STATE_BATCH)
            if last is not None:
                return _Step(last, 0, True)
            await purge.hide(tx, room_no)
            await expiry.drop(tx, room_no)
            await purge.end_room(tx, room_no, job.room_id, self._clock())
            self._tell(tx, room_no, 0)
            tx.after(lambda: self._append.views.drop(room_no))
        return _Step(job.cursor, 0, False)

    async def _show_out(self, room_id: str, people: Sequence[tuple[int, str]]) -> bool:
        """Lets people of ours leave; whether any did."""
        any_left = False
        for user_no, user_id in people:
            try:
                await self._membership.leave((user_id, user_no), room_id, None)
                any_left = True
            except Refused as error:
                log.warning("cannot leave", extra={"why": error.reason.value})
        return any_left

    async def _erase(self, job: Job) -> _Step:
        async with self._db.read() as snap:
            user_id = (await user_ids(snap, [job.account_no]))[job.account_no]
            rooms = sorted(m.room_no for m in await members.members_of(snap, job.account_no))
            room_no = next((no for no in rooms if no > job.cursor), None)
            head = await heads.get_head(snap, room_no) if room_no is not None else None
        if room_no is None:
            self._within.pop(job.job_no, None)
            await self._drop_all_files(job.account_no)
            return _Step(job.cursor, 0, False)
        after = self._within.get(job.job_no, -1)
        if head is None or after >= head.head:
            self._within.pop(job.job_no, None)
            return _Step(room_no, 0, True)
        after, removed = await self._empty(head, user_id, after)
        self._within[job.job_no] = after
        return _Step(job.cursor, removed, True)

    async def _empty(self, head: Head, user_id: str, after: int) -> tuple[int, int]:
        """Empties some of what somebody said behind a place: (the place reached, how many)."""
        upto = min(after + _WINDOW, head.head)
        async with self._db.read(long=True) as snap:
            rows = await purge.said_by(snap, head.room_no, user_id, after, upto, _BATCH)
        if not rows:
            return upto, 0
        version = room_version(head.version)
        async with self._db.write() as tx:
            for row in rows:
                whole = await events.pdu(tx, row.event_no, version)
                await purge.empty(tx, row.event_no, redact_event(whole))
            self._tell(tx, head.room_no, rows[-1].seq)
        return (rows[-1].seq if len(rows) == _BATCH else upto), len(rows)


def files_in(said: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """(sender, mxc) of the files that clear messages brought: (sender, client form) each.

    A sticker's picture belongs to its pack, so only messages are looked at.
    """
    found: list[tuple[str, str]] = []
    for sender, client in said:
        if b"mxc://" not in client:
            continue
        event = orjson.loads(client + b"}")
        content = event.get("content")
        if event.get("type") != "m.room.message" or not isinstance(content, dict):
            continue
        found += [(sender, url) for url in _urls(content, 2)[:_URLS_MAX]]
    return found


def _urls(content: dict[str, Any], depth: int) -> list[str]:
    named = [content.get(name) for name in ("url", "thumbnail_url")]
    found = [url for url in named if isinstance(url, str) and url.startswith("mxc://")]
    if depth:
        for name in ("file", "info", "thumbnail_file"):
            inner = content.get(name)
            if isinstance(inner, dict):
                found += _urls(inner, depth - 1)
    return found
