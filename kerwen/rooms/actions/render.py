"""Events as clients read them: stored bytes with `unsigned` spliced on, nothing parsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from kerwen.rooms.store.events import Stored, events_by_id
from kerwen.storage.database import Snap

NO_BUNDLES: Mapping[str, bytes] = {}
DELAYED = "org.matrix.msc4140.delay_id:"  # begins the transaction ids of delayed events


def render(
    stored: Stored,
    now_ms: int,
    device_no: int = 0,
    room_id: str | None = None,
    because: bytes | None = None,
    relations: bytes | None = None,
) -> bytes:
    """One event (CS #room-event-format). `device_no` sees its own transaction id."""
    age = now_ms - stored.ts
    unsigned = b'"age":%d' % (age if age > 0 else 0)
    if stored.unsigned_json is not None:
        unsigned += b"," + stored.unsigned_json
    if stored.txn_id is not None and stored.device_no == device_no:
        unsigned += _own(stored.txn_id)
    if because is not None:
        unsigned += b',"redacted_because":' + because
    if relations is not None:
        unsigned += b',"m.relations":' + relations
    if room_id is None:
        return b'%b,"unsigned":{%b}}' % (stored.client, unsigned)
    return b'%b,"room_id":%b,"unsigned":{%b}}' % (stored.client, orjson.dumps(room_id), unsigned)


def _own(txn_id: str) -> bytes:
    """By what the device that said it knows it again."""
    if txn_id.startswith(DELAYED):
        delay_id = orjson.dumps(txn_id.removeprefix(DELAYED))
        return b',"org.matrix.msc4140.delay_id":' + delay_id  # MSC4140
    return b',"transaction_id":' + orjson.dumps(txn_id)


async def render_all(
    snap: Snap,
    stored: Iterable[Stored],
    now_ms: int,
    device_no: int = 0,
    room_id: str | None = None,
    bundles: Mapping[str, bytes] = NO_BUNDLES,
) -> list[bytes]:
    """Several events; redacted ones with the event that redacted them, others with their
    aggregations if the caller gathered those.
    """
    found = list(stored)
    because = await reasons(snap, found, now_ms)
    return [
        render(e, now_ms, device_no, room_id, because.get(e.event_id), bundles.get(e.event_id))
        for e in found
    ]


async def reasons(snap: Snap, stored: Iterable[Stored], now_ms: int) -> Mapping[str, bytes]:
    """Event id → the redaction that took its words, rendered."""
    redacted = {e.redacted_by: e.event_id for e in stored if e.redacted_by is not None}
    if not redacted:
        return {}
    redactions = await events_by_id(snap, redacted)
    return {redacted[i]: render(e, now_ms) for i, e in redactions.items()}
