"""Somebody's place in a room, kept in memory while they are connected."""

from __future__ import annotations

from collections.abc import Callable

from kerwen.rooms.store import receipts
from kerwen.rooms.store.events import MARKED, Stored
from kerwen.rooms.store.receipts import Standing
from kerwen.storage.database import Snap
from kerwen.storage.wake import Watch

_PLACES_MAX = 64  # rooms whose place is kept for a connected account

SaidAfter = Callable[[int, int, int], list[Stored] | None]
"""`Recent.after`: room, seq, upto → what was said; None if memory does not hold all of it."""


async def place_in(
    snap: Snap, said_after: SaidAfter, watch: Watch, user_id: str, room_no: int, upto: int
) -> Standing | None:
    """A person's place in a room: as it was kept, brought up to date by what was said since, if
    memory holds all of that; else as the database has it.
    """
    kept: Standing | None = watch.places.get(room_no)
    if kept is not None:
        said = said_after(room_no, kept.head, upto)
        if said is not None and all(e.sender != user_id for e in said):
            for event in said:
                kept.head, kept.loud = event.seq, event.loud
                if event.flags & MARKED:
                    kept.marked = event.seq
                if event.thread is not None:
                    kept.threaded = event.seq
            return kept
        del watch.places[room_no]
    place = await receipts.standing(snap, room_no, watch.account_no)
    if place is not None and place.membership == "join" and watch.last <= upto:
        watch.places[room_no] = place
        if len(watch.places) > _PLACES_MAX:
            del watch.places[next(iter(watch.places))]
    return place
