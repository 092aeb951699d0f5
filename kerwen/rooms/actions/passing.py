"""Which events a filter lets through, where that takes more than the event's own fields."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from kerwen.rooms.filters import EventFilter
from kerwen.rooms.store import relations
from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Snap


def passes(wanted: EventFilter, stored: Stored) -> bool:
    """Whether a section's filter lets an event through; its content is parsed only if asked.

    Relations are left to `related_only`.
    """
    if wanted.passes_all:
        return True
    if not wanted.type(stored.type) or not wanted.sender(stored.sender):
        return False
    if wanted.contains_url is None:
        return True
    content = orjson.loads(stored.client + b"}").get("content")
    return (isinstance(content, dict) and "url" in content) is wanted.contains_url


async def related_only(
    snap: Snap, room_no: int, found: list[Stored], wanted: EventFilter
) -> list[Stored]:
    """Those to which something relates as a filter asks (CS #filtering-1)."""
    senders, rel_types = wanted.related_by_senders, wanted.related_by_rel_types
    if (senders is None and rel_types is None) or not found:
        return found
    kept = {
        event_id
        for event_id, rel_type, sender in await _related(snap, room_no, found)
        if (senders is None or sender in senders) and (rel_types is None or rel_type in rel_types)
    }
    return [e for e in found if e.event_id in kept]


async def _related(snap: Snap, room_no: int, found: Sequence[Stored]) -> list[tuple[str, str, str]]:
    return await relations.related(snap, room_no, [e.event_id for e in found])
