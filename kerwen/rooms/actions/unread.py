"""How many events somebody has not read: a subtraction, not a count.

A room counts its loud events (those that notify by the default rules) once for everyone; a
member's unread events are that number less what it was where the member has read to, corrected
by the marks of the member's own. Threads and rules of one's own cost more, only where they are.
"""

from __future__ import annotations

import msgspec

from kerwen.rooms.store import events, marks, receipts
from kerwen.rooms.store.events import LOUD
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Snap


class Unread(msgspec.Struct):
    """Counts as clients get them. `threads`: root → (notifications, highlights)."""

    notifications: int
    highlights: int
    threads: dict[str, tuple[int, int]]


NOTHING = Unread(0, 0, {})


async def unread(
    snap: Snap, place: Standing, user_no: int, user_id: str, *, threads: bool
) -> Unread:
    """Unread counts (CS #receiving-notifications). With `threads`, those in threads apart."""
    if place.read_seq >= place.head and not place.threaded:
        return NOTHING
    said = await _threads(snap, place, user_no) if place.threaded else _Threads({}, [])
    lowest = min(place.read_seq, said.unthreaded) if place.threaded else place.read_seq
    found = (
        await marks.marks_since(snap, place.room_no, user_no, lowest)
        if place.marked > lowest
        else []
    )
    # the main timeline: a subtraction
    outside = sum(1 for _, seq, _, flags in said.events if flags & LOUD and seq > place.read_seq)
    notify = max(place.loud - place.read_loud, 0) - outside
    highlight = 0
    for _, seq, more, high, thread in found:
        if not thread and seq > place.read_seq:
            notify += more
            highlight += high
    counts = said.counts(user_id, found)
    if threads:
        return Unread(max(notify, 0), max(highlight, 0), counts)
    notify = max(notify, 0) + sum(n for n, _ in counts.values())
    return Unread(notify, max(highlight, 0) + sum(h for _, h in counts.values()), {})


class _Threads:
    """What was said in a room's threads that may be unread: (thread, seq, sender, flags), newest
    first. `reads`: how far each thread was read, and the whole room ('')."""

    __slots__ = ("events", "reads")

    def __init__(self, reads: dict[str, int], said: list[tuple[str, int, str, int]]) -> None:
        self.reads = reads
        self.events = said

    @property
    def unthreaded(self) -> int:
        return self.reads.get("", 0)

    def counts(
        self, user_id: str, found: list[tuple[int, int, int, int, str]]
    ) -> dict[str, tuple[int, int]]:
        """(notifications, highlights) of threads with anything unread. Who speaks has read."""
        read: dict[str, int] = {}
        for thread, seq, sender, _ in self.events:
            known = read.setdefault(thread, max(self.reads.get(thread, 0), self.unthreaded))
            if sender == user_id and seq > known:
                read[thread] = seq
        counts: dict[str, list[int]] = {thread: [0, 0] for thread in read}
        unread = set()
        for thread, seq, _, flags in self.events:
            if seq > read[thread]:
                unread.add(seq)
                counts[thread][0] += bool(flags & LOUD)
        for _, seq, more, high, thread in found:
            if seq in unread and thread in counts:
                counts[thread][0] += more
                counts[thread][1] += high
        return {t: (max(n, 0), max(h, 0)) for t, (n, h) in counts.items() if n > 0 or h > 0}


async def _threads(snap: Snap, place: Standing, user_no: int) -> _Threads:
    reads = await receipts.thread_reads(snap, place.room_no, user_no)
    unthreaded = reads.get("", 0)
    if place.threaded <= unthreaded:
        return _Threads(reads, [])
    said = await events.threaded_since(snap, place.room_no, unthreaded, place.joined_pos)
    return _Threads(reads, said)
