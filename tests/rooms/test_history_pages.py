"""Pages of history in memory: never older than what the database says, and never too many."""

from __future__ import annotations

import pytest

from kerwen.rooms.actions import history_pages
from kerwen.rooms.actions.history_pages import Asked, HistoryPages
from kerwen.rooms.store.events import Stored
from kerwen.storage.database import Kind
from tests.rooms.house import House, bodies


def stored(seq: int, size: int = 100) -> Stored:
    return Stored(
        seq, 7, seq, seq, f"$e{seq}", "m.room.message", None, "@a:k", 0, 0, 0, 0, None, None, None,
        None, None, b"x" * size,
    )  # fmt: skip


async def test_a_second_reader_needs_no_rows_and_sees_the_same(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    for n in range(6):
        await ayna.say(room, f"m{n}")
    first = await ayna.messages(room, "b", limit=3)
    pages = both.messenger.recent.pages
    held = pages.bytes
    assert held > 0
    assert bodies((await batyr.messages(room, "b", limit=3))["chunk"]) == bodies(first["chunk"])
    assert pages.bytes == held


async def test_a_redaction_is_seen_at_once(both: House) -> None:
    ayna = await both.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    said = [await ayna.say(room, f"secret{n}") for n in range(4)]
    assert "secret1" in bodies((await ayna.messages(room, "b", limit=10))["chunk"])
    await ayna.redact(room, said[1])
    page = (await ayna.messages(room, "b", limit=11))["chunk"]
    assert "secret1" not in str(page)
    assert "secret1" not in str((await ayna.messages(room, "b", limit=10))["chunk"])


async def test_what_another_worker_wrote_drops_the_room(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    await ayna.say(room)
    await ayna.messages(room, "b", limit=10)
    pages = house.messenger.recent.pages
    assert pages.bytes
    pos = house.feed.settled + 1
    house.feed.tell(pos, [(Kind.EVENT, 1, 10_000)])
    assert not pages.bytes


@pytest.mark.parametrize("kind", [Kind.PURGE, Kind.BACKFILL])
async def test_what_went_or_came_before_drops_the_room(house: House, kind: Kind) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    await ayna.messages(room, "b", limit=10)
    assert house.messenger.recent.pages.bytes
    house.feed.tell(house.feed.settled + 1, [(kind, 1, 0)])
    assert not house.messenger.recent.pages.bytes


def test_a_page_that_a_change_overtook_is_not_kept() -> None:
    pages = HistoryPages()
    drops = pages.drops
    pages.drop(8)  # any room: it cannot be told which one the reader has seen
    pages.keep(7, Asked(9, 3, 0), [stored(8)], drops)
    assert pages.get(7, Asked(9, 3, 0)) is None
    pages.keep(7, Asked(9, 3, 0), [stored(8)], pages.drops)
    assert pages.get(7, Asked(9, 3, 0)) == [stored(8)]
    assert pages.get(7, Asked(9, 4, 0)) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_pages, "_BYTES_MAX", 50_000)
    monkeypatch.setattr(history_pages, "_PAGE_BYTES_MAX", 20_000)
    pages = HistoryPages()
    for room_no in range(100):
        pages.keep(room_no, Asked(9, 3, 0), [stored(8, 5_000)], pages.drops)
        assert pages.bytes <= 50_000
    assert pages.get(0, Asked(9, 3, 0)) is None
    assert pages.get(99, Asked(9, 3, 0)) is not None
    pages.keep(5, Asked(9, 3, 0), [stored(8, 30_000)], pages.drops)
    assert pages.get(5, Asked(9, 3, 0)) is None
    for room_no in range(100):
        pages.drop(room_no)
    assert pages.bytes == 0
