"""Who is woken by what; no change is lost between reading and waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from kerwen.storage.database import Change, Kind
from kerwen.storage.wake import WakeIndex, Watch
from tests.rooms.house import House, Json, Person, ids, parked, soon

ROOM, OTHER = 10, 11


# --- the index alone --------------------------------------------------------------------------


class Index:
    """People 1, 2 in ROOM, person 3 in OTHER; each with a device of ten times the number."""

    def __init__(self) -> None:
        self.lists: list[tuple[int, int]] = []
        self.index = WakeIndex(lambda pos, account: self.lists.append((pos, account)))
        self.watches: dict[int, Watch] = {}
        for person, rooms in ((1, [ROOM]), (2, [ROOM]), (3, [OTHER])):
            watch = self.index.open(person, rooms, 0)
            self.index.add_device(watch, person * 10)
            self.watches[person] = watch

    async def woken(self, *changes: Change, pos: int = 1) -> set[int]:
        loop = asyncio.get_running_loop()
        waiters = {}
        for person, watch in self.watches.items():
            waiters[person] = loop.create_future()
            watch.waiters.append(waiters[person])
        self.index.follow(pos, changes)
        return {person for person, waiter in waiters.items() if waiter.done()}


WAKES: list[tuple[list[Change], set[int]]] = [
    ([(Kind.EVENT, ROOM, 5)], {1, 2}),
    ([(Kind.EVENT, OTHER, 5)], {3}),
    ([(Kind.EVENT, 99, 5)], set()),
    ([(Kind.RECEIPT, ROOM, 1)], {1, 2}),
    ([(Kind.ACCOUNT_DATA, 3, 0)], {3}),
    ([(Kind.TO_DEVICE, 20, 0)], {2}),
    ([(Kind.TO_DEVICE, 99, 0)], set()),
    ([(Kind.DEVICE_LIST, 1, 0)], {1, 2}),
    ([(Kind.DEVICE_LIST, 3, 0)], {3}),
    ([(Kind.DEVICE_LIST, 99, 0)], set()),
    ([(Kind.MEMBERSHIP, ROOM, 3)], {1, 2, 3}),
    ([(Kind.MEMBERSHIP, OTHER, 99)], {3}),
    ([(Kind.MAIL, 1, 5)], set()),
    ([(Kind.BACKFILL, ROOM, -1)], set()),
    ([(Kind.EVENT, OTHER, 5), (Kind.TO_DEVICE, 10, 0)], {1, 3}),
    ([(Kind.JUMP, 0, 100)], {1, 2, 3}),
    ([], set()),
]


@pytest.mark.parametrize(("changes", "woken"), WAKES, ids=range(len(WAKES)))
async def test_exactly_those_are_woken(changes: list[Change], woken: set[int]) -> None:
    index = Index()
    assert await index.woken(*changes) == woken
    if (Kind.DEVICE_LIST, 99, 0) in changes:
        assert index.lists == [(1, 99)]  # not connected: whoever knows their rooms is asked


async def test_after_a_membership_the_rooms_are_read_anew() -> None:
    index = Index()
    await index.woken((Kind.MEMBERSHIP, ROOM, 3))
    assert await index.woken((Kind.EVENT, ROOM, 6), pos=2) == {1, 2, 3}
    index.index.set_rooms(index.watches[3], [OTHER])
    assert await index.woken((Kind.EVENT, ROOM, 7), pos=3) == {1, 2}
    index.index.set_rooms(index.watches[1], [])
    assert await index.woken((Kind.EVENT, ROOM, 8), pos=4) == {2}


async def test_a_watch_remembers_what_changed() -> None:
    index = Index()
    for pos in (1, 2, 3):
        await index.woken((Kind.EVENT, ROOM, pos), pos=pos)
    await index.woken((Kind.RECEIPT, ROOM, 2), pos=4)
    watch = index.watches[1]
    assert watch.rooms_since(2) == {ROOM: 4}
    assert watch.rooms_since(4) == {}
    assert watch.last == 4
    assert index.watches[3].last == 0


async def test_what_does_not_fit_into_memory_raises_the_base() -> None:
    index = WakeIndex()
    rooms = list(range(1, 2_100))
    watch = index.open(1, rooms, 0)
    for pos, room_no in enumerate(rooms, 1):
        index.follow(pos, [(Kind.EVENT, room_no, 1)])
    assert 0 < watch.base <= 2_100 - 2_000
    assert set(watch.rooms_since(watch.base)) == set(rooms[watch.base :])


# --- in the house -----------------------------------------------------------------------------


async def poll(who: Person) -> asyncio.Task[Json]:
    """A sync that waits."""
    since = await who.now()
    return asyncio.create_task(who.sync(since, timeout=30_000))


async def test_only_members_are_answered(house: House) -> None:
    ayna, batyr, cemal, dursun = await house.people("ayna", "batyr", "cemal", "dursun")
    room = await ayna.create_room(preset="public_chat", invite=[dursun.id])
    await batyr.join(room)
    await cemal.join(room)
    await cemal.leave(room)
    polls = {who: await poll(who) for who in (batyr, cemal, dursun)}
    await parked(house, 3)
    await ayna.say(room)
    await soon(polls[batyr])
    await asyncio.sleep(0)
    assert not polls[cemal].done()
    assert not polls[dursun].done()
    assert house.messenger.sync.parked == 2
    for task in polls.values():
        task.cancel()


DEEDS: list[tuple[str, Callable[[Person, Person, str], Any]]] = [
    ("join", lambda a, b, room: b.join(room)),
    ("leave", lambda a, b, room: b.leave(room)),
    ("kick", lambda a, b, room: a.kick(room, b)),
    ("ban", lambda a, b, room: a.ban(room, b)),
    ("invite", lambda a, b, room: a.invite(room, b)),
]


@pytest.mark.parametrize("verb", [name for name, _ in DEEDS])
async def test_membership_between_register_and_wait(house: House, verb: str) -> None:
    """Something happens while the sync reads, after it stands in the index."""
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    if verb in ("leave", "kick"):
        await batyr.join(room)
    act = dict(DEEDS)[verb]
    since = await batyr.now()
    while_it_reads(house, batyr, lambda: act(ayna, batyr, room))
    sync = await soon(batyr.sync(since, timeout=30_000))
    section = {"join": "join", "invite": "invite"}.get(verb, "leave")
    assert room in sync["rooms"][section]


async def test_a_message_between_register_and_wait(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    said: list[str] = []

    async def say() -> None:
        said.append(await ayna.say(room))

    since = await batyr.now()
    while_it_reads(both, batyr, say)
    sync = await soon(batyr.sync(since, timeout=30_000))
    assert ids(sync["rooms"]["join"][room]["timeline"]["events"]) == said


async def test_a_message_before_the_rooms_are_read(both: House) -> None:
    """The first sync after a while: the watch is new, and its rooms are read just now."""
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    since = await batyr.now()
    both.clock.ms += 10**9
    both.messenger.wake.sweep(both.clock())
    said: list[str] = []

    async def say() -> None:
        said.append(await ayna.say(room))

    before_next_read(both, say)
    sync = await soon(batyr.sync(since, timeout=30_000))
    assert ids(sync["rooms"]["join"][room]["timeline"]["events"]) == said


def while_it_reads(house: House, who: Person, deed: Callable[[], Any]) -> None:
    """Runs a deed once, when the sync has looked and found nothing, before it waits."""
    sync = house.messenger.sync
    look = sync.look
    todo = [deed]

    async def looked(asked: Any, *rest: Any) -> Any:
        found = await look(asked, *rest)
        if todo and asked.user_id == who.id:
            await todo.pop()()
        return found

    sync.look = looked  # type: ignore[method-assign]


def before_next_read(house: House, deed: Callable[[], Any]) -> None:
    """Runs a deed once, when somebody begins to read their rooms."""
    sync = house.messenger.sync
    read = sync._read_rooms
    todo = [deed]

    async def reading(watch: Watch) -> None:
        await read(watch)
        if todo:
            await todo.pop()()

    sync._read_rooms = reading  # type: ignore[method-assign]


async def test_a_jump_of_the_feed_answers_everybody(house: House) -> None:
    ayna = await house.person("ayna")
    task = await poll(ayna)
    await parked(house)
    house.messenger.wake.follow(house.feed.settled, [(Kind.JUMP, 0, house.feed.settled + 1)])
    await soon(task)


async def test_no_waiter_is_left_behind(house: House) -> None:
    ayna = await house.person("ayna")
    since = await ayna.now()
    for _ in range(5):
        await ayna.sync(since, timeout=1)
    task = asyncio.create_task(ayna.sync(since, timeout=30_000))
    await parked(house)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    watches = list(house.messenger.wake._watches.values())
    assert [len(w.waiters) for w in watches] == [0]
    assert [w.parked for w in watches] == [0]


async def test_quiet_polls_ask_the_database_nothing(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    since = await batyr.now()
    since = (await batyr.sync(since))["next_batch"]
    await ayna.say(await ayna.create_room())
    asked = count_reads(house)
    await batyr.sync(since)
    assert asked == []


def count_reads(house: House) -> list[int]:
    asked: list[int] = []
    read = house.db.read

    def counted(**more: Any) -> AbstractAsyncContextManager[Any]:
        asked.append(1)
        return read(**more)

    house.db.read = counted  # type: ignore[method-assign]
    return asked
