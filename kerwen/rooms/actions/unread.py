"""How many events somebody has not read: a subtraction, not a count.

A room counts its loud events (those that notify by the default rules) once for everyone; a
member's unread events are that number less what it was where the member has read to, corrected
by the marks of the member's own. Threads and rules of one's own cost more, only where they are.
"""

from __future__ import annotations

import msgspec

from kerwen.rooms.store import events, marks, receipts
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
    if place.read_seq >= place.head and not threads:
        return NOTHING
    loud = place.loud - place.read_loud
    notify = max(loud, 0)
    highlight = 0
    own: dict[str, list[int]] = {}
    reads = None
    marked = place.marked > place.read_seq
    for _, seq, more, high, thread in (
        await marks.marks_since(snap, place.room_no, user_no, place.read_seq) if marked else ()
    ):
        if thread:
            if reads is None:
                reads = await receipts.thread_reads(snap, place.room_no, user_no)
            if seq > _read(reads, thread):
                counts = own.setdefault(thread, [0, 0])
                counts[0] += more
                counts[1] += high
        else:
            notify += more
            highlight += high
    in_threads, loud_threaded = await _threads(snap, place, user_no, user_id, own, reads)
    notify = max(notify - loud_threaded, 0)
    if threads:
        return Unread(notify, highlight, in_threads)
    notify += sum(n for n, _ in in_threads.values())
    highlight += sum(h for _, h in in_threads.values())
    return Unread(notify, highlight, {})


async def _threads(
    snap: Snap,
    place: Standing,
    user_no: int,
    user_id: str,
    own: dict[str, list[int]],
    reads: dict[str, int] | None,
) -> tuple[dict[str, tuple[int, int]], int]:
    """Counts by thread, and how many loud events after the read place are in threads."""
    since = place.read_seq
    threaded = (
        await events.loud_threaded(snap, place.room_no, since, user_id)
        if place.threaded > since
        else []
    )
    if not threaded and not own:
        return {}, 0
    if reads is None:
        reads = await receipts.thread_reads(snap, place.room_no, user_no)
    for thread, seq in threaded:
        if seq > _read(reads, thread):
            own.setdefault(thread, [0, 0])[0] += 1
    counted = {t: (max(n, 0), h) for t, (n, h) in own.items() if n > 0 or h > 0}
    return counted, len(threaded)


def _read(reads: dict[str, int], thread: str) -> int:
    return max(reads.get(thread, 0), reads.get("", 0))
