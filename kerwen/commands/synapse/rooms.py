"""Rooms with their history: every event goes through the writer by which rooms are written daily.

A room's timeline is read in Synapse's order. Each event is checked (format, hash, id), its bytes
are kept, and what follows from it (state, members, unread counts, threads) is made anew. Where two
histories met, Synapse's present state is the one that stays.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from kerwen.accounts.push_rules_store import PushRules
from kerwen.base.errors import Refused
from kerwen.commands.synapse.ledger import Ledger
from kerwen.commands.synapse.room_state import adopt_state, seed_state
from kerwen.commands.synapse.source import read
from kerwen.rooms.actions.append import Append, Draft, RoomWriter, relation_of
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.send import Send
from kerwen.rooms.event import PREV_EVENTS_MAX, Event, parse_pdu, redact_event, server_of
from kerwen.rooms.store import aliases, events, heads
from kerwen.rooms.store.events import REJECTED, SOFT_FAILED, Stored
from kerwen.rooms.store.names import Names
from kerwen.rooms.store.view import RoomView, RoomViews
from kerwen.rooms.versions import ROOM_VERSIONS, RoomVersion
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql

_TRIM_EVERY = 256
_SET_TAIL = sql("update rooms set tail = :tail where room_no = :room_no")

# an event, and the redaction of it that Synapse holds good, if there is one
_COLUMNS = (
    "select e.event_id, e.stream_ordering, e.outlier, e.rejection_reason, j.json,"
    " j.internal_metadata, r.event_id, rj.internal_metadata, re.sender, t.user_id, t.device_id,"
    " t.txn_id"
    " from events e join event_json j on j.event_id = e.event_id"
    " left join redactions r on r.redacts = e.event_id"
    " left join events re on re.event_id = r.event_id and re.room_id = e.room_id"
    " and re.rejection_reason is null"
    " left join event_json rj on rj.event_id = re.event_id"
    " left join event_txn_id_device_id t on t.event_id = e.event_id"
    " where e.room_id = ?"
)
_OUTLIERS = _COLUMNS + " and e.outlier order by e.stream_ordering"
_TIMELINE = _COLUMNS + " and not e.outlier and e.stream_ordering > 0 order by e.stream_ordering"
_EARLIER = (
    _COLUMNS + " and not e.outlier and e.stream_ordering <= 0"
    " order by e.topological_ordering, e.stream_ordering"
)
_COUNT_EARLIER = (
    "select count(*) from events where room_id = ? and not outlier and stream_ordering <= 0"
)
_TIPS = (
    "select f.event_id, e.depth from event_forward_extremities f"
    " join events e on e.event_id = f.event_id where f.room_id = ? order by e.depth desc"
)


class Found(msgspec.Struct, gc=False):
    """One event as it was found. `redacted_by`: the redaction that holds, if any."""

    event: Event
    stream: int
    flags: int
    redacted_by: str | None
    said_by: tuple[str, str, str] | None  # user, device, transaction id


class Rooms:
    """Brings rooms over, one after the other."""

    def __init__(self, ledger: Ledger, key: Any) -> None:
        self._ledger = ledger
        db: Database = _Nowhere()  # type: ignore[assignment]
        self._append = Append(
            db,
            ledger.domain,
            key,
            lambda: ledger.now_ms,
            RoomViews(),
            Recent(),
            Names(),
            PushRules(db, Feed()),
        )
        self._send = Send(self._append)

    async def run(self) -> None:
        """All rooms, then their names and who may find them."""
        ledger = self._ledger
        rows = list(read(ledger.source, "rooms", "room_id", "room_version", "is_public"))
        for room_id, version_id, public in ledger.counted("rooms", rows):
            version = ROOM_VERSIONS.get(version_id or "")
            if version is None:
                ledger.left_out[f"rooms of version {version_id}"] += 1
                continue
            room_no = await self._room(room_id, version)
            if room_no is not None and public:
                await aliases.publish(ledger.tx, room_no, True, ledger.now_ms)
        named = read(ledger.source, "room_aliases", "room_alias", "room_id", "creator")
        for alias, room_id, creator in ledger.counted("aliases", named):
            if room_id in ledger.rooms and server_of(alias) == ledger.domain:
                await aliases.add_alias(
                    ledger.tx, alias, ledger.rooms[room_id], creator or "", ledger.now_ms
                )

    async def _room(self, room_id: str, version: RoomVersion) -> int | None:
        ledger, source = self._ledger, self._ledger.source
        timeline = self._events(_TIMELINE, room_id, version)
        first = next(timeline, None)
        if first is None:
            ledger.left_out["rooms in which nobody of ours was"] += 1
            return None
        room_no = ledger.rooms[room_id] = ledger.take("room")
        created = first.event.origin_server_ts
        head = await heads.add_room(ledger.tx, room_no, room_id, version.id, created)
        view = RoomView(head)
        self._append.views.put(view)
        numbers = iter(lambda: ledger.take("event"), None)
        writer = RoomWriter(self._append, ledger.tx, view, numbers)
        ledger.tx.pos = first.stream
        await self._outliers(room_id, writer)
        await seed_state(ledger, room_id, writer)
        await self._earlier(room_id, writer)
        await self._timeline(itertools.chain([first], timeline), writer)
        await adopt_state(ledger, room_id, writer)
        tips = list(source.rows(_TIPS, room_id))[:PREV_EVENTS_MAX]
        if tips:
            ids, depth = tuple(row[0] for row in tips), max(row[1] for row in tips)
            writer.view.head = msgspec.structs.replace(writer.view.head, tips=ids, depth=depth)
        heads.move_head(ledger.tx, writer.view.head)
        self._append.views.drop(room_no)
        return room_no

    async def _timeline(self, found: Iterator[Found], writer: RoomWriter) -> None:
        ledger = self._ledger
        for number, each in enumerate(ledger.counted("events", found)):
            ledger.tx.pos = each.stream
            ledger.end = max(ledger.end, each.stream + 1)
            if each.flags:
                await self._add_aside(each, writer)
            else:
                await self._add(each, writer)
            if number % _TRIM_EVERY == 0:
                writer.view.trim()

    async def _add(self, each: Found, writer: RoomWriter) -> None:
        ledger, event = self._ledger, each.event
        draft = Draft(event.sender, await ledger.user(event.sender), event.type, {})
        if event.type == "m.room.member" and event.state_key is not None:
            await ledger.user(event.state_key)
        draft.marked = each.redacted_by is not None
        if each.said_by is not None:
            user_id, device_id, txn_id = each.said_by
            draft.device_no = ledger.devices.get((user_id, device_id))
            if draft.device_no is not None:
                draft.txn_id = txn_id
                await writer.sent_before(draft.device_no, event.redacts or event.type, txn_id)
        stored = await writer.put(event, draft.sender_no, draft)
        writer.said.clear()
        if each.redacted_by is not None:
            redacted = redact_event(event)
            await self._send.blank(writer, stored, redacted, each.redacted_by)
            if event.state_key is not None:
                writer.view.put(event.key, stored.event_no, redacted)

    # --- events that are not in the timeline ------------------------------------------------

    async def _outliers(self, room_id: str, writer: RoomWriter) -> None:
        """Events that are known because others name them: state before a join, invitations."""
        found = self._events(_OUTLIERS, room_id, writer.view.version)
        for each in self._ledger.counted("events aside", found):
            await self._add_aside(each, writer)

    async def _earlier(self, room_id: str, writer: RoomWriter) -> None:
        """History from before somebody of ours came: its places are negative."""
        source, tx = self._ledger.source, self._ledger.tx
        ((count,),) = source.rows(_COUNT_EARLIER, room_id)
        if not count:
            return
        seq, here = -count - 1, tx.pos
        tx.pos = 0
        found = self._events(_EARLIER, room_id, writer.view.version)
        for each in self._ledger.counted("earlier events", found):
            seq += 1
            await self._add_aside(each, writer, None if each.flags else seq)
        await tx.run(_SET_TAIL, room_no=writer.room_no, tail=-count)
        tx.pos = here

    async def _add_aside(self, each: Found, writer: RoomWriter, seq: int | None = None) -> None:
        event = each.event if each.redacted_by is None else redact_event(each.event)
        relates_to, rel_type, thread = relation_of(event)
        stored = Stored(
            self._ledger.take("event"),
            writer.room_no,
            seq,  # type: ignore[arg-type]
            0,
            event.event_id,
            event.type,
            event.state_key,
            event.sender,
            event.origin_server_ts,
            each.flags,
            0,
            0,
            thread,
            None,
            None,
            None,
            None,
            events.client_prefix(event),
        )
        events.add_event(self._ledger.tx, event, stored, relates_to=relates_to, rel_type=rel_type)
        if each.redacted_by is not None:
            events.redact_row(self._ledger.tx, stored.event_no, event, each.redacted_by, None)

    # --- reading ----------------------------------------------------------------------------

    def _events(self, query: str, room_id: str, version: RoomVersion) -> Iterator[Found]:
        rows = self._ledger.source.rows(query, room_id)
        for _, group in itertools.groupby(rows, lambda row: row[0]):
            found = self._found(list(group), version)
            if found is not None:
                yield found

    def _found(self, rows: list[tuple[Any, ...]], version: RoomVersion) -> Found | None:
        event_id, stream, _, rejected, text, metadata = rows[0][:6]
        try:
            event = _parsed(text, version)
        except Refused:
            event = None
        if event is None or event.event_id != event_id:
            self._ledger.left_out["events whose id does not fit their words"] += 1
            return None
        flags = REJECTED if rejected else 0
        flags |= SOFT_FAILED if orjson.loads(metadata).get("soft_failed") else 0
        said = rows[0][9:12]
        return Found(
            event,
            stream,
            flags,
            next((row[6] for row in rows if _holds(event, row[7], row[8])), None),
            said if said[0] is not None else None,
        )


def _parsed(text: str, version: RoomVersion) -> Event:
    """Synapse keeps an event as JSON with `unsigned` in it; rooms of old count on its bytes."""
    return parse_pdu(text.encode("utf-8", "surrogatepass"), version)


def _holds(event: Event, metadata: str | None, sender: str | None) -> bool:
    """Whether a redaction takes away an event's words (RV #handling-redactions): Synapse marks
    those that only the sender's own server may make."""
    if metadata is None or sender is None:
        return False  # there is none, or it was rejected, or it is of another room
    said = orjson.loads(metadata)
    if said.get("soft_failed"):
        return False
    return not said.get("recheck_redaction") or server_of(sender) == event.server


class _Nowhere:
    """No database: all that the writer of rooms needs is in the transaction."""
