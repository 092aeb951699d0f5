"""Thread subscriptions (MSC4306), and how sliding sync tells of them (MSC4308)."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest

from kerwen.rooms.actions import follow_thread
from tests.rooms.house import Answer, House, Json, Person
from tests.rooms.sliding_client import ask, post
from tests.rooms.test_sliding_positions import parked

NAME = "io.element.msc4308.thread_subscriptions"
BASE = "/_matrix/client/unstable/io.element.msc4306/rooms"
CHANGES = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
WISH: Json = {"extensions": {NAME: {"enabled": True}}}


async def thread(
    who: Person, method: str, room: str, root: str, cause: str | None = None
) -> Answer:
    body = None
    if method == "PUT":
        body = {} if cause is None else {"automatic": cause}
    path = f"{BASE}/{room}/thread/{root}/subscription"
    return await who.house.call(who.token, method, path, body)


async def reply(who: Person, room: str, root: str) -> str:
    relation = {"rel_type": "m.thread", "event_id": root}
    content = {"msgtype": "m.text", "body": "x", "m.relates_to": relation}
    return await who.send(room, "m.room.message", content)


async def followed(who: Person, room: str, root: str) -> bool | None:
    answer = await thread(who, "GET", room, root)
    return None if answer.status == 404 else bool(answer.json["automatic"])


async def begun(house: House, *names: str) -> tuple[list[Person], str, str]:
    people = await house.people(*names)
    room = await people[0].create_room(preset="public_chat")
    for who in people[1:]:
        await who.join(room)
    root = await people[0].say(room, "root")
    return people, room, root


async def test_it_is_announced(house: House) -> None:
    answer = await house.call(None, "GET", "/_matrix/client/versions")
    assert answer.json["unstable_features"]["org.matrix.msc4306"] is True


async def test_a_thread_is_followed_and_left(both: House) -> None:
    (ayna, batyr), room, root = await begun(both, "ayna", "batyr")
    assert await followed(batyr, room, root) is None
    assert (await thread(batyr, "PUT", room, root)).json == {}
    assert await followed(batyr, room, root) is False
    assert await followed(ayna, room, root) is None  # it is one person's own
    for _ in range(2):  # as often as one likes
        assert (await thread(batyr, "DELETE", room, root)).json == {}
        assert await followed(batyr, room, root) is None


async def test_what_one_wants_counts_more_than_what_a_client_does(both: House) -> None:
    (ayna, batyr), room, root = await begun(both, "ayna", "batyr")
    cause = await reply(ayna, room, root)
    assert (await thread(batyr, "PUT", room, root, cause)).status == 200
    assert await followed(batyr, room, root) is True
    assert (await thread(batyr, "PUT", room, root)).status == 200
    assert (await thread(batyr, "PUT", room, root, cause)).status == 200
    assert await followed(batyr, room, root) is False


async def test_what_was_left_is_begun_again_only_by_what_came_after(both: House) -> None:
    (ayna, batyr), room, root = await begun(both, "ayna", "batyr")
    cause = await reply(ayna, room, root)
    await thread(batyr, "PUT", room, root, cause)
    await thread(batyr, "DELETE", room, root)
    answer = await thread(batyr, "PUT", room, root, cause)
    assert answer.status == 409
    assert answer.json["errcode"] == "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"
    assert await followed(batyr, room, root) is None
    later = await reply(ayna, room, root)
    assert (await thread(batyr, "PUT", room, root, later)).status == 200
    assert await followed(batyr, room, root) is True


async def test_a_cause_stands_in_the_thread(house: House) -> None:
    (ayna, batyr), room, root = await begun(house, "ayna", "batyr")
    other = await ayna.say(room, "another")
    elsewhere = await reply(ayna, room, other)
    for cause in (root, other, elsewhere, "$nothing"):
        answer = await thread(batyr, "PUT", room, root, cause)
        assert answer.status == 400, cause
        assert answer.json["errcode"] == "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"


async def test_what_one_may_not_see_is_no_thread(house: House) -> None:
    (ayna, batyr), room, root = await begun(house, "ayna", "batyr")
    cemal = await house.person("cemal")
    own = await ayna.create_room()
    child = await reply(ayna, room, root)
    tries: list[tuple[Person, str, str]] = [
        (cemal, room, "$nothing"),
        (cemal, "!nowhere:kerwen.test", root),
        (batyr, own, root),
        (ayna, own, root),
        (ayna, room, child),
    ]
    hidden = await ayna.say(own, "hidden")
    tries += [(cemal, own, hidden), (batyr, own, hidden)]
    for who, at, event in tries:
        for method in ("GET", "PUT", "DELETE"):
            answer = await thread(who, method, at, event)
            assert (answer.status, answer.json["errcode"]) == (404, "M_NOT_FOUND"), (who, method)


async def test_sliding_sync_tells_what_changed(both: House) -> None:
    (ayna, batyr), room, root = await begun(both, "ayna", "batyr")
    other = await ayna.say(room, "another")
    gone = await ayna.say(room, "a third")
    for event in (root, gone):
        await thread(batyr, "PUT", room, event)
    await thread(batyr, "PUT", room, other, await reply(ayna, room, other))
    await thread(batyr, "DELETE", room, gone)
    answer = await ask(batyr, WISH)
    told = answer["extensions"][NAME]
    assert set(told) == {"subscribed"}  # who begins need not know what is no more
    assert {k: v["automatic"] for k, v in told["subscribed"][room].items()} == {
        root: False,
        other: True,
    }
    again = await ask(batyr, WISH, answer["pos"])
    assert NAME not in again["extensions"]
    await thread(batyr, "DELETE", room, root)
    found = (await ask(batyr, WISH, again["pos"]))["extensions"][NAME]
    assert set(found) == {"unsubscribed"}
    before = told["subscribed"][room][root]["bump_stamp"]
    assert found["unsubscribed"][room][root]["bump_stamp"] > before
    assert NAME not in (await ask(ayna, WISH))["extensions"]
    assert NAME not in (await ask(batyr, {"extensions": {NAME: {"enabled": False}}}))["extensions"]


async def test_who_waits_is_told_at_once(house: House) -> None:
    (ayna, batyr), room, root = await begun(house, "ayna", "batyr")
    pos = (await ask(batyr, WISH))["pos"]
    poll = asyncio.create_task(ask(batyr, WISH, pos, timeout=30_000))
    await parked(house)
    await thread(ayna, "PUT", room, root)
    await thread(batyr, "PUT", room, root)
    told = (await asyncio.wait_for(poll, 5))["extensions"][NAME]
    assert list(told["subscribed"][room]) == [root]


async def test_what_is_too_much_is_asked_for_backwards(both: House) -> None:
    (ayna, batyr), room, root = await begun(both, "ayna", "batyr")
    pos = (await ask(batyr, WISH))["pos"]
    roots = [root, *[await ayna.say(room, str(n)) for n in range(6)]]
    for event in roots:
        await thread(batyr, "PUT", room, event)
    wish = {"extensions": {NAME: {"enabled": True, "limit": 2}}}
    told = (await ask(batyr, wish, pos))["extensions"][NAME]
    seen = list(told["subscribed"][room])
    assert sorted(seen) == sorted(roots[-2:])
    token = told["prev_batch"]
    while token is not None:
        page = await changes(batyr, **{"from": token, "to": pos, "limit": 3})
        assert page.status == 200
        seen += page.json["subscribed"][room]
        token = page.json.get("end")
    assert sorted(seen) == sorted(roots)
    assert len((await changes(batyr)).json["subscribed"][room]) == len(roots)
    assert (await changes(batyr, to=(await ask(batyr, WISH))["pos"])).json == {}


async def changes(who: Person, **query: Any) -> Answer:
    return await who.house.call(who.token, "GET", CHANGES, None, urlencode({"dir": "b", **query}))


@pytest.mark.parametrize(
    "query",
    [{"dir": "f"}, {"from": "x1"}, {"from": "s"}, {"from": "s-1"}, {"to": "1"}, {"limit": 0}],
)
async def test_nonsense_is_refused(house: House, query: Json) -> None:
    ayna = await house.person("ayna")
    assert (await changes(ayna, **query)).status == 400
    wish = {"extensions": {NAME: {"enabled": True, "limit": 0}}}
    assert (await post(ayna, wish)).status == 400


async def test_there_is_a_limit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (ayna,), room, root = await begun(house, "ayna")
    other = await ayna.say(room, "another")
    monkeypatch.setattr(follow_thread, "THREADS_FOLLOWED_MAX", 1)
    assert (await thread(ayna, "PUT", room, root)).status == 200
    assert (await thread(ayna, "PUT", room, other)).status == 429
    assert (await thread(ayna, "DELETE", room, root)).status == 200
    assert (await thread(ayna, "PUT", room, root)).status == 200
