"""What is kept in memory for speed is bounded in bytes, whatever people send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from kerwen.rooms.actions import recent
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.event import Event
from kerwen.rooms.store import view
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.heads import Head
from kerwen.rooms.store.view import RoomView, RoomViews


def stored(room_no: int, seq: int, size: int) -> Stored:
    head = (seq, room_no, seq, seq, f"$e{seq}", "m.room.message", None, "@a:b", 0, 0, 0, 0)
    return Stored(*head, None, None, None, None, None, b"x" * size)


def test_recent_events_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_BYTES_MAX", 100_000)
    kept = Recent()
    for seq in range(1, 2_000):
        kept.add(stored(seq % 50, seq, 5_000))
        assert kept.bytes <= 100_000
    newest = kept.since(1_999 % 50, 1_998, 1_999)
    assert newest is not None
    assert [event.seq for event in newest] == [1_999]
    assert kept.since(1, 0, 1_999) is None, "an old room is forgotten, not half remembered"
    for room_no in range(50):
        kept.drop(room_no)
    assert kept.bytes == 0


def test_a_large_event_is_not_kept() -> None:
    kept = Recent()
    for seq in (1, 2):
        kept.add(stored(1, seq, 100))
    kept.add(stored(1, 3, 60_000))
    assert kept.bytes == 0
    assert kept.since(1, 2, 3) is None
    assert kept.since(1, 3, 3) == []
    kept.add(stored(1, 4, 100))
    assert kept.since(1, 2, 4) is None
    assert [event.seq for event in kept.since(1, 3, 4) or ()] == [4]


@dataclass
class Text:
    """As much of an event as a view counts."""

    raw: bytes
    content_json: bytes


def head(room_no: int) -> Head:
    given: dict[str, Any] = dict.fromkeys(Head.__struct_fields__, 0)
    given |= {"room_no": room_no, "room_id": f"!{room_no}", "version": "11", "tips": ()}
    return Head(**given)


def test_what_writers_know_of_rooms_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_BYTES_MAX", 1_000_000)
    views, event = RoomViews(), cast(Event, Text(b"x" * 60_000, b"x" * 59_000))
    for room_no in range(100):
        room = RoomView(head(room_no))
        views.put(room)
        room.put(("m.room.topic", ""), 1, event)
        assert views.tally.bytes <= 1_200_000
    room.put(("m.room.topic", ""), 2, event)
    before = views.tally.bytes
    for room_no in range(100):
        views.drop(room_no)
    assert before > views.tally.bytes == 0
    room.put(("m.room.name", ""), 3, event)  # its transaction still runs
    assert views.tally.bytes == 0


def test_a_room_of_much_state_is_cut_between_transactions() -> None:
    room, event = RoomView(head(1)), cast(Event, Text(b"x" * 60_000, b"x" * 59_000))
    for number in range(100):
        room.put(("x", str(number)), number, event)
    assert room.bytes > view._ROOM_BYTES_MAX, "within a transaction nothing is forgotten"
    room.trim()
    assert room.bytes <= view._ROOM_BYTES_MAX


EVENT = 1


def test_the_feed_may_be_ahead_of_who_committed() -> None:
    """On PostgreSQL the feed's reader may tell two commits before the first one's own task has
    gone on. A ring that then begins with the first would lack the second."""
    kept = Recent()
    for seq in (93, 94):
        kept.follow(seq, [(EVENT, 1, seq)])
    kept.add(stored(1, 93, 100))
    assert kept.since(1, 93, 94) is None
    kept.add(stored(1, 94, 100))
    assert kept.since(1, 93, 94) is None
    kept.add(stored(1, 95, 100))
    kept.follow(95, [(EVENT, 1, 95)])
    assert [event.seq for event in kept.since(1, 94, 95) or ()] == [95]


def test_who_asks_may_be_ahead_of_memory() -> None:
    """On PostgreSQL a reader may see a commit before the writer's own task has gone on."""
    kept = Recent()
    for seq in (1, 2, 3):
        kept.add(stored(1, seq, 100))
    assert kept.after(1, 4, 4) is None
    assert kept.after(1, 3, 4) == []
    assert [event.seq for event in kept.after(1, 1, 3) or ()] == [2, 3]
    kept.drop(1)
    kept.add(stored(1, 3, 100))
    assert kept.after(1, 1, 3) is None


def test_an_event_whose_position_is_not_known_breaks_the_ring() -> None:
    """Its number could not be asked for after the commit."""
    kept = Recent()
    kept.add(stored(1, 1, 100))
    kept.follow(1, [(EVENT, 1, 1)])
    lost = stored(1, 2, 100)
    lost.pos = 0
    kept.add(lost)
    assert kept.since(1, 1, 2) is None


def test_out_of_turn() -> None:
    """The second's task went on first; neither is settled yet."""
    kept = Recent()
    for seq in (2, 1):
        kept.add(stored(1, seq, 100))
    for seq in (1, 2):
        kept.follow(seq, [(EVENT, 1, seq)])
    assert kept.since(1, 1, 2) is None
