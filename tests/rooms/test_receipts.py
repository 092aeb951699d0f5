"""Receipts, read markers, typing, and how many events are unread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rooms.house import House, Json, Person, parked, soon

THREADS = {"room": {"timeline": {"unread_thread_notifications": True}}}


async def open_room(*people: Person, **wish: Any) -> str:
    room = await people[0].create_room(preset="public_chat", **wish)
    for person in people[1:]:
        await person.join(room)
    return room


async def counts(who: Person, room: str) -> tuple[int, int]:
    """(notifications, highlights) as a fresh sync tells."""
    return pair((await who.sync())["rooms"]["join"][room]["unread_notifications"])


async def by_thread(who: Person, room: str) -> tuple[tuple[int, int], dict[str, tuple[int, int]]]:
    block = (await who.sync(filter=THREADS))["rooms"]["join"][room]
    apart = block.get("unread_thread_notifications", {})
    return pair(block["unread_notifications"]), {k: pair(v) for k, v in apart.items()}


def pair(found: Json) -> tuple[int, int]:
    return found["notification_count"], found["highlight_count"]


def mention(*people: Person, room: bool = False) -> Json:
    return {"m.mentions": {"user_ids": [p.id for p in people], **({"room": True} if room else {})}}


def thread(root: str) -> Json:
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


async def receipts(who: Person, room: str, since: str | None = None) -> Json:
    """The content of the `m.receipt` event of a sync."""
    block = (await who.sync(since)).get("rooms", {}).get("join", {}).get(room, {})
    for event in block.get("ephemeral", {}).get("events", []):
        if event["type"] == "m.receipt":
            found: Json = event["content"]
            return found
    return {}


# --- receipts ---------------------------------------------------------------------------------


async def test_receipts_are_told_to_the_room(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    first, second = await ayna.say(room), await ayna.say(room)
    since = await ayna.now()
    await batyr.read(room, first)
    told = await receipts(ayna, room, since)
    assert set(told) == {first}
    assert set(told[first]) == {"m.read"}
    assert set(told[first]["m.read"][batyr.id]) == {"ts"}
    since = await ayna.now()
    await batyr.read(room, first)
    assert await receipts(ayna, room, since) == {}
    await batyr.read(room, second)
    assert set(await receipts(ayna, room, since)) == {second}
    since = await ayna.now()
    await batyr.read(room, first)  # never backwards
    assert await receipts(ayna, room, since) == {}
    assert set(await receipts(ayna, room)) == {second}


async def test_private_receipts_are_ones_own(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    said = await ayna.say(room)
    since, mine = await ayna.now(), await batyr.now()
    await batyr.read(room, said, "m.read.private")
    assert await receipts(ayna, room, since) == {}
    assert await receipts(ayna, room) == {}
    assert set((await receipts(batyr, room, mine))[said]) == {"m.read.private"}
    assert await counts(batyr, room) == (0, 0)


async def test_the_further_of_two_receipts_counts(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    said = [await ayna.say(room) for _ in range(4)]
    await batyr.read(room, said[2], "m.read.private")
    assert await counts(batyr, room) == (1, 0)
    await batyr.read(room, said[0])
    assert await counts(batyr, room) == (1, 0)
    await batyr.read(room, said[3])
    assert await counts(batyr, room) == (0, 0)


async def test_receipts_by_thread(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    root, main = await ayna.say(room), await ayna.say(room)
    reply = await ayna.say(room, **thread(root))
    await batyr.read(room, main)
    await batyr.read(room, main, thread_id="main")
    await batyr.read(room, reply, thread_id=root)
    told = await receipts(ayna, room)
    assert told[reply]["m.read"][batyr.id]["thread_id"] == root
    assert "thread_id" not in told[main]["m.read"][batyr.id]
    since = await ayna.now()
    later = await ayna.say(room)
    await batyr.read(room, later, thread_id="main")
    told = await receipts(ayna, room, since)
    assert told[later]["m.read"][batyr.id]["thread_id"] == "main"


async def test_events_and_threads_must_fit(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    root, other = await ayna.say(room), await ayna.say(room)
    reply = await ayna.say(room, **thread(root))
    liked = {"m.relates_to": {"rel_type": "m.annotation", "event_id": reply, "key": "+"}}
    like = await ayna.send(room, "m.reaction", liked)
    await batyr.read(room, root, thread_id="main")
    await batyr.read(room, root, thread_id=root)
    await batyr.read(room, like, thread_id=root)
    path = ("rooms", room, "receipt", "m.read")
    for event_id, thread_id in ((reply, "main"), (other, root), (reply, other), (like, "main")):
        body = {"thread_id": thread_id}
        await batyr.refused(400, "M_INVALID_PARAM", "POST", *path, event_id, body=body)
    await ayna.redact(room, reply)  # clients show what was redacted in the main timeline
    await batyr.read(room, reply, thread_id="main")


BAD_RECEIPTS: list[tuple[str, Any, int, str]] = [
    ("m.read", {"thread_id": ""}, 400, "M_INVALID_PARAM"),
    ("m.read", {"thread_id": 5}, 400, "M_BAD_JSON"),
    ("m.read", {"thread_id": "x" * 1000}, 400, "M_INVALID_PARAM"),
    ("m.read", b"{", 400, "M_NOT_JSON"),
    ("m.read", b"[]", 400, "M_BAD_JSON"),
    ("m.odd", {}, 400, "M_INVALID_PARAM"),
    ("m.fully_read", {"thread_id": "main"}, 400, "M_INVALID_PARAM"),
]


@pytest.mark.parametrize(
    ("kind", "body", "status", "errcode"), BAD_RECEIPTS, ids=range(len(BAD_RECEIPTS))
)
async def test_bad_receipts(house: House, kind: str, body: Any, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    said = await ayna.say(room)
    await ayna.refused(status, errcode, "POST", "rooms", room, "receipt", kind, said, body=body)


async def test_receipts_of_others_rooms(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room, own = await open_room(ayna), await open_room(batyr)
    said = await ayna.say(room)
    await batyr.refused(403, "M_FORBIDDEN", "POST", "rooms", room, "receipt", "m.read", said)
    await batyr.refused(403, "M_FORBIDDEN", "POST", "rooms", "!x:y", "receipt", "m.read", said)
    since = await batyr.now()
    await batyr.read(own, said)  # no event of that room: nothing to mark
    await batyr.read(own, "$none")
    assert await receipts(batyr, own, since) == {}


async def test_read_markers(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    first, second = await ayna.say(room), await ayna.say(room)
    since = await batyr.now()
    body = {"m.fully_read": first, "m.read": second, "m.read.private": second}
    await batyr.must("POST", "rooms", room, "read_markers", body=body)
    block = (await batyr.sync(since))["rooms"]["join"][room]
    marker = {"type": "m.fully_read", "content": {"event_id": first}}
    assert marker in block["account_data"]["events"]
    assert set(block["ephemeral"]["events"][0]["content"][second]) == {"m.read", "m.read.private"}
    since = await ayna.now()
    await batyr.read(room, second, "m.fully_read")
    assert "rooms" not in await ayna.sync(since)
    await batyr.must("POST", "rooms", room, "read_markers", body={})
    for bad in ([], {"m.read": 5}, {"m.fully_read": []}):
        path = ("rooms", room, "read_markers")
        await batyr.refused(400, "M_BAD_JSON", "POST", *path, body=bad)


# --- unread -----------------------------------------------------------------------------------


async def test_what_is_unread(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    assert await counts(batyr, room) == (0, 0)
    first = await ayna.say(room)
    await ayna.send(room, "m.room.encrypted", {"ciphertext": "x"})
    await ayna.say(room, msgtype="m.notice")
    await ayna.send(room, "test.type", {})
    await ayna.set_state(room, "m.room.topic", {"topic": "t"})
    assert await counts(batyr, room) == (2, 0)
    assert await counts(ayna, room) == (0, 0)
    await batyr.read(room, first)
    assert await counts(batyr, room) == (1, 0)
    await batyr.say(room)
    assert await counts(batyr, room) == (0, 0)
    assert await counts(ayna, room) == (1, 0)


async def test_counts_come_with_the_event(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    said = await ayna.say(room)
    sync = await batyr.sync(since)
    assert pair(sync["rooms"]["join"][room]["unread_notifications"]) == (1, 0)
    await batyr.read(room, said)
    sync = await batyr.sync(sync["next_batch"])
    assert pair(sync["rooms"]["join"][room]["unread_notifications"]) == (0, 0)


async def test_mentions_highlight(both: House) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    await ayna.say(room, **mention(batyr))
    await ayna.say(room, **mention(batyr, cemal))
    assert await counts(batyr, room) == (2, 2)
    assert await counts(cemal, room) == (2, 1)
    await ayna.say(room, **mention(room=True))
    assert await counts(batyr, room) == (3, 3)
    await ayna.say(room, **mention(batyr, room=True))
    assert await counts(batyr, room) == (4, 4)
    # batyr may not notify everybody
    await batyr.say(room, **mention(room=True))
    assert await counts(cemal, room) == (5, 3)
    assert await counts(batyr, room) == (0, 0)


async def test_quiet_events_may_still_mention(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    said = await ayna.say(room)
    await batyr.read(room, said)
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": said}, "m.new_content": {}}
    await ayna.say(room, **edit)
    assert await counts(batyr, room) == (0, 0)
    await ayna.say(room, **edit, **mention(batyr))
    assert await counts(batyr, room) == (1, 1)


async def test_redacted_events_are_read(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    plain, loud = await ayna.say(room), await ayna.say(room, **mention(batyr))
    await ayna.say(room)
    assert await counts(batyr, room) == (3, 1)
    await ayna.redact(room, loud)
    assert await counts(batyr, room) == (2, 0)
    await ayna.redact(room, plain)
    await ayna.redact(room, plain)
    assert await counts(batyr, room) == (1, 0)


async def mute(who: Person, room: str) -> None:
    await who.must("PUT", "pushrules", "global", "room", room, body={"actions": []})


async def test_rules_of_ones_own(both: House) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    await ayna.say(room)
    await mute(batyr, room)
    await ayna.say(room)
    await ayna.say(room, **mention(batyr))
    assert await counts(batyr, room) == (2, 1)  # from before, and the mention
    assert await counts(cemal, room) == (3, 0)
    word = {"pattern": "çay", "actions": ["notify", {"set_tweak": "highlight"}]}
    await cemal.must("PUT", "pushrules", "global", "content", "tea", body=word)
    await ayna.say(room, "çay bar")
    await ayna.say(room, "çaýnik")
    assert await counts(cemal, room) == (5, 1)
    assert await counts(batyr, room) == (2, 1)
    await cemal.must("DELETE", "pushrules", "global", "content", "tea")
    await ayna.say(room, "çay bar")
    assert await counts(cemal, room) == (6, 1)


async def test_joining_begins_at_nothing(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna)
    root = await ayna.say(room, **mention(batyr, room=True))
    await ayna.say(room, **thread(root), **mention(room=True))
    await batyr.join(room)
    assert await counts(batyr, room) == (0, 0)
    assert await by_thread(batyr, room) == ((0, 0), {})
    await ayna.say(room)
    await batyr.leave(room)
    await ayna.say(room)
    await batyr.join(room)
    assert await counts(batyr, room) == (0, 0)


async def test_threads_are_counted_apart(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    one, two = await ayna.say(room), await ayna.say(room)
    await ayna.say(room, **thread(one))
    last = await ayna.say(room, **thread(one), **mention(batyr))
    await ayna.say(room, **thread(two))
    assert await counts(batyr, room) == (5, 1)
    assert await by_thread(batyr, room) == ((2, 0), {one: (2, 1), two: (1, 0)})
    await batyr.read(room, two, thread_id="main")
    assert await by_thread(batyr, room) == ((0, 0), {one: (2, 1), two: (1, 0)})
    assert await counts(batyr, room) == (3, 1)
    await batyr.read(room, last, thread_id=one)
    assert await by_thread(batyr, room) == ((0, 0), {two: (1, 0)})
    main = await ayna.say(room)
    assert await by_thread(batyr, room) == ((1, 0), {two: (1, 0)})
    await batyr.read(room, main)  # unthreaded: all of it
    assert await by_thread(batyr, room) == ((0, 0), {})
    assert await counts(batyr, room) == (0, 0)


async def test_speaking_in_a_thread_reads_that_thread(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    one, two = await ayna.say(room), await ayna.say(room)
    for root in (one, two):
        await ayna.say(room, **thread(root), **mention(batyr))
    await batyr.say(room, **thread(one))
    assert await by_thread(batyr, room) == ((2, 0), {two: (1, 1)})
    await batyr.say(room)
    assert await by_thread(batyr, room) == ((0, 0), {two: (1, 1)})
    await ayna.say(room, **thread(one))
    assert await by_thread(batyr, room) == ((0, 0), {one: (1, 0), two: (1, 1)})


# --- typing -----------------------------------------------------------------------------------


async def typists(who: Person, room: str, since: str | None = None) -> list[str] | None:
    block = (await who.sync(since)).get("rooms", {}).get("join", {}).get(room, {})
    for event in block.get("ephemeral", {}).get("events", []):
        if event["type"] == "m.typing":
            return list(event["content"]["user_ids"])
    return None


async def types(who: Person, room: str, typing: bool = True, **more: Any) -> None:
    body = {"typing": typing, **more}
    await who.must("PUT", "rooms", room, "typing", who.id, body=body)


async def test_typing(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room, other = await open_room(ayna, batyr), await open_room(ayna, batyr)
    since = await ayna.now()
    await types(batyr, room)
    assert await typists(ayna, room, since) == [batyr.id]
    assert await typists(ayna, other, since) is None
    assert await typists(ayna, room) == [batyr.id]
    since = await ayna.now()
    assert await typists(ayna, room, since) is None
    await types(batyr, room)
    assert await typists(ayna, room, since) is None
    await types(batyr, room, False)
    assert await typists(ayna, room, since) == []
    await types(batyr, room, timeout=1)
    await asyncio.sleep(0.01)
    assert await typists(ayna, room) is None


async def test_who_waits_is_told_of_typing(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr)
    since = await ayna.now()
    waiting = asyncio.create_task(ayna.sync(since, timeout=30_000))
    await asyncio.sleep(0)
    await types(batyr, room)
    assert (await soon(waiting))["rooms"]["join"][room]["ephemeral"]
    for who, typist in ((cemal, cemal), (ayna, batyr)):
        path = ("rooms", room, "typing", typist.id)
        await who.refused(403, "M_FORBIDDEN", "PUT", *path, body={"typing": True})
    path = ("rooms", room, "typing", ayna.id)
    for bad in ({}, {"typing": "yes"}, {"typing": True, "timeout": "x"}, []):
        await ayna.refused(400, "M_BAD_JSON", "PUT", *path, body=bad)
    for timeout in (-5, 0, 10**18):
        await types(ayna, room, timeout=timeout)


async def test_typing_over_a_restart(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    await types(batyr, room)
    since = await ayna.now()
    waiting = asyncio.create_task(ayna.sync(since, timeout=30_000))
    await parked(house)
    house = await house.reopen()
    for person in (ayna, batyr):
        person.house = house
    # who waited was told that nobody types any more, for the new process does not know
    last = (await soon(waiting))["rooms"]["join"][room]["ephemeral"]["events"]
    assert [e["content"] for e in last if e["type"] == "m.typing"] == [{"user_ids": []}]
    assert await typists(ayna, room, since) is None
    await types(batyr, room, False)  # began before the restart
    assert await typists(ayna, room, since) == []
    since = (await ayna.sync(since))["next_batch"]
    await types(batyr, room)
    assert await typists(ayna, room, since) == [batyr.id]
    await house.close()
