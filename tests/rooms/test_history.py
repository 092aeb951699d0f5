"""GET messages, context, event, members, timestamp_to_event: pages, tokens, filters, sight."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rooms.house import House, Json, Person, bodies, ids

VISIBILITIES = ("world_readable", "shared", "invited", "joined")


async def talk(ayna: Person, room: str, count: int, word: str = "m") -> list[str]:
    return [await ayna.say(room, f"{word}{n}") for n in range(count)]


async def pages(who: Person, room: str, dir: str, limit: int, **query: Any) -> list[list[Json]]:
    """All pages until there is no `end`."""
    found, token = [], query.pop("from", None)
    for _ in range(200):
        more = {"from": token} if token else {}
        page = await who.messages(room, dir, limit=limit, **more, **query)
        found.append(page["chunk"])
        token = page.get("end")
        if token is None:
            return found
    raise AssertionError("no end")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
async def test_pages_in_both_directions(both: House, limit: int) -> None:
    ayna = await both.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    await talk(ayna, room, 9)
    back = await pages(ayna, room, "b", limit)
    onward = await pages(ayna, room, "f", limit)
    whole = ids([e for page in back for e in page])
    assert ids([e for page in onward for e in page]) == whole[::-1]
    assert len(set(whole)) == len(whole) == 15
    assert all(len(page) <= limit for page in back + onward)
    assert all(len(page) == limit for page in back[:-1])


async def test_a_page_names_both_its_ends(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    said = await talk(ayna, room, 6)
    page = await ayna.messages(room, "b", limit=2)
    assert ids(page["chunk"]) == said[:3:-1]
    back = await ayna.messages(room, "b", limit=2, **{"from": page["end"]})
    assert back["start"] == page["end"]
    assert ids(back["chunk"]) == [said[3], said[2]]
    again = await ayna.messages(room, "f", limit=2, **{"from": back["end"]})
    assert ids(again["chunk"]) == [said[2], said[3]]
    onward = await ayna.messages(room, "f", limit=9, **{"from": again["end"]})
    assert ids(onward["chunk"]) == [said[4], said[5]]
    whole = await ayna.messages(room, "b", limit=1000)
    assert "end" not in whole


async def test_tokens_of_every_kind(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    said = await talk(ayna, room, 4)
    since = (await ayna.sync())["next_batch"]
    later = await talk(ayna, room, 4, "n")
    filter = {"room": {"timeline": {"limit": 2}}}
    sync = await ayna.sync(since, filter=filter)
    timeline = sync["rooms"]["join"][room]["timeline"]
    assert ids(timeline["events"]) == later[2:]

    async def read(dir: str, start: str, **more: Any) -> list[str]:
        page = await ayna.messages(room, dir, limit=3, **{"from": start}, **more)
        return ids(page["chunk"])

    assert await read("b", timeline["prev_batch"]) == [later[1], later[0], said[3]]
    assert await read("f", timeline["prev_batch"]) == later[2:]
    assert await read("b", since) == [said[3], said[2], said[1]]
    assert await read("f", since) == later[:3]
    assert await read("f", sync["next_batch"]) == []
    assert await read("b", timeline["prev_batch"], to=since) == [later[1], later[0]]
    assert await read("f", since, to=timeline["prev_batch"]) == later[:2]
    context = await ayna.must("GET", "rooms", room, "context", said[2], limit=2)
    assert await read("b", context["start"]) == ids(
        (await ayna.messages(room, "b", limit=3, **{"from": context["start"]}))["chunk"]
    )
    assert (await read("b", context["start"]))[0] == said[0]
    assert await read("f", context["end"]) == later[:3]


@pytest.mark.parametrize("token", ["x", "t", "tx", "t1.5", "t" + "9" * 30, "s1", "t-", "é", "0"])
async def test_tokens_that_are_none(house: House, token: str) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    path = ("GET", "rooms", room, "messages")
    await ayna.refused(400, "M_INVALID_PARAM", *path, dir="b", **{"from": token})
    await ayna.refused(400, "M_INVALID_PARAM", *path, dir="b", to=token)
    await ayna.refused(400, "M_INVALID_PARAM", "GET", "rooms", room, "members", at=token)


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "M_MISSING_PARAM"),
    ({"dir": "x"}, "M_INVALID_PARAM"),
    ({"dir": "b", "limit": "x"}, "M_INVALID_PARAM"),
    ({"dir": "b", "limit": "-1"}, "M_INVALID_PARAM"),
    ({"dir": "b", "limit": "1.5"}, "M_INVALID_PARAM"),
    ({"dir": "b", "filter": "{"}, "M_NOT_JSON"),
    ({"dir": "b", "filter": "[]"}, "M_BAD_JSON"),
    ({"dir": "b", "filter": '{"types":5}'}, "M_BAD_JSON"),
    ({"dir": "b", "filter": '{"limit":"x"}'}, "M_BAD_JSON"),
    ({"dir": "b", "filter": '{"senders":["x"]}'}, "M_INVALID_PARAM"),
    ({"dir": "b", "filter": "1" * 20_000}, "M_NOT_JSON"),
]


@pytest.mark.parametrize(("query", "errcode"), BAD, ids=range(len(BAD)))
async def test_bad_queries(house: House, query: dict[str, Any], errcode: str) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    answer = await ayna.call("GET", "rooms", room, "messages", **query)
    assert answer.status == 400, answer
    if errcode == "M_NOT_JSON":
        assert answer.errcode in ("M_NOT_JSON", "M_BAD_JSON")
    else:
        assert answer.errcode == errcode


async def test_huge_limits_are_cut(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    for limit in (0, 10**9, 10**18):
        assert (await ayna.messages(room, limit=limit))["chunk"]


FILTERS: list[tuple[Json, Any]] = [
    ({"types": ["m.room.message"]}, lambda e: e["type"] == "m.room.message"),
    ({"types": ["m.room.*"]}, lambda e: e["type"].startswith("m.room.")),
    ({"not_types": ["m.room.*"]}, lambda e: not e["type"].startswith("m.room.")),
    ({"senders": ["@batyr:kerwen.test"]}, lambda e: e["sender"].startswith("@batyr")),
    ({"not_senders": ["@batyr:kerwen.test"]}, lambda e: not e["sender"].startswith("@batyr")),
    ({"contains_url": True}, lambda e: "url" in e["content"]),
    ({"contains_url": False}, lambda e: "url" not in e["content"]),
    ({"types": []}, lambda e: False),
]


@pytest.mark.parametrize(("filter", "passes"), FILTERS, ids=range(len(FILTERS)))
@pytest.mark.parametrize("limit", [1, 4, 50])
async def test_filters(house: House, filter: Json, passes: Any, limit: int) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    for number in range(6):
        await ayna.say(room, "x")
        await batyr.send(room, "test.type", {"url": "mxc://a/b"} if number % 2 else {})
        await batyr.say(room, "y")
    whole = await ayna.history(room)
    for dir, expected in (("b", whole), ("f", whole[::-1])):
        found = await pages(ayna, room, dir, limit, filter=filter)
        assert ids([e for page in found for e in page]) == ids([e for e in expected if passes(e)])


async def test_relation_filters(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    root, liked, edited = [await ayna.say(room, w) for w in "abc"]
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await batyr.say(room, **thread)
    relates = {"rel_type": "m.annotation", "event_id": liked, "key": "+"}
    await batyr.send(room, "m.reaction", {"m.relates_to": relates})
    replace = {"m.relates_to": {"rel_type": "m.replace", "event_id": edited}, "m.new_content": {}}
    await ayna.say(room, **replace)

    async def read(**filter: Any) -> set[str]:
        return set(ids((await ayna.messages(room, filter=filter, limit=50))["chunk"]))

    assert await read(related_by_rel_types=["m.thread"]) == {root}
    assert await read(related_by_senders=[batyr.id]) == {root, liked}
    assert await read(related_by_senders=[ayna.id]) == {edited}
    both = {"related_by_senders": [ayna.id], "related_by_rel_types": ["m.thread"]}
    assert await read(**both) == set()


async def test_lazy_members_of_a_page(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat")
    for person in (batyr, cemal):
        await person.join(room)
    await batyr.say(room)
    page = await ayna.messages(room, limit=1, filter={"lazy_load_members": True})
    assert [e["state_key"] for e in page["state"]] == [batyr.id]
    assert "state" not in await ayna.messages(room, limit=1)
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "New"})
    page = await ayna.messages(room, limit=2, filter={"lazy_load_members": True})
    # as they were when they said it
    assert [e["content"].get("displayname") for e in page["state"]] == [None]


# --- what one may see -------------------------------------------------------------------------


async def stations(visibility: str, ayna: Person, batyr: Person) -> tuple[str, dict[str, str]]:
    """A message while batyr is: nobody, invited, in, out, in again."""
    state = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
    room = await ayna.create_room(preset="private_chat", initial_state=[state])
    said = {"before": await ayna.say(room)}
    await ayna.invite(room, batyr)
    said["invited"] = await ayna.say(room)
    await batyr.join(room)
    said["joined"] = await ayna.say(room)
    await batyr.leave(room)
    said["left"] = await ayna.say(room)
    return room, said


SEEN = {  # while out, and when in again
    "world_readable": ("before invited joined left", "before invited joined left"),
    "shared": ("before invited joined", "before invited joined left"),
    "invited": ("invited joined", "invited joined"),
    "joined": ("joined", "joined"),
}


@pytest.mark.parametrize("visibility", VISIBILITIES)
async def test_history_visibility(both: House, visibility: str) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room, said = await stations(visibility, ayna, batyr)
    out, again = (set(seen.split()) for seen in SEEN[visibility])
    await only_seen(batyr, room, said, out)
    await ayna.invite(room, batyr)
    await batyr.join(room)
    said["again"] = await ayna.say(room)
    await only_seen(batyr, room, said, again | {"again"})
    fresh = await batyr.sync(filter={"room": {"timeline": {"limit": 50}}})
    timeline = fresh["rooms"]["join"][room]["timeline"]
    shown = set(ids(timeline["events"]))
    assert said["again"] in shown
    assert {name for name, event_id in said.items() if event_id in shown} <= again | {"again"}


async def only_seen(who: Person, room: str, said: dict[str, str], seen: set[str]) -> None:
    for dir in "bf":
        shown = set(ids(await who.history(room, dir, 3)))
        assert {name for name, event_id in said.items() if event_id in shown} == seen, dir
    for name, event_id in said.items():
        for path in (("event",), ("context",)):
            answer = await who.call("GET", "rooms", room, *path, event_id)
            assert (answer.status == 200) is (name in seen), (name, path, answer)
            if answer.status != 200:
                assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize("visibility", VISIBILITIES)
async def test_the_invited_read_only_open_rooms(house: House, visibility: str) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    state = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
    room = await ayna.create_room(invite=[batyr.id], initial_state=[state])
    for path in (("messages",), ("state",), ("members",)):
        answer = await batyr.call("GET", "rooms", room, *path, dir="b")
        assert answer.status == (200 if visibility == "world_readable" else 403)


async def test_a_hidden_past_costs_no_pages(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    state = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = await ayna.create_room(preset="public_chat", initial_state=[state])
    await talk(ayna, room, 60)
    await batyr.join(room)
    said = await ayna.say(room)
    found = await pages(batyr, room, "b", 2)
    assert len(found) <= 5
    assert ids(found[0])[0] == said


async def test_whoever_left_reads_the_room_as_it_was(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", name="Then")
    await batyr.join(room)
    await batyr.leave(room)
    since = await ayna.now()
    await ayna.set_state(room, "m.room.name", {"name": "Now"})
    cemal = await house.person("cemal")
    await cemal.join(room)
    assert await batyr.state(room, "m.room.name") == {"name": "Then"}
    whole = await batyr.must("GET", "rooms", room, "state")
    assert {e["content"].get("name") for e in whole if e["type"] == "m.room.name"} == {"Then"}
    for at in (None, await ayna.now(), since):
        shown = await batyr.must("GET", "rooms", room, "members", at=at)
        assert {e["state_key"] for e in shown["chunk"]} == {ayna.id, batyr.id}
    await batyr.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "joined_members")
    # a ban, and an invite, from outside show nothing more
    await ayna.ban(room, batyr)
    assert await batyr.state(room, "m.room.name") == {"name": "Then"}
    await ayna.unban(room, batyr)
    await ayna.invite(room, batyr)
    assert await batyr.state(room, "m.room.name") == {"name": "Then"}
    await batyr.join(room)
    assert await batyr.state(room, "m.room.name") == {"name": "Now"}


# --- context ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 100, 10**9])
async def test_context(house: House, limit: int) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    said = await talk(ayna, room, 8)
    found = await ayna.must("GET", "rooms", room, "context", said[4], limit=limit)
    whole = ids(await ayna.history(room))
    at = whole.index(said[4])
    half = min(limit, 100) // 2
    assert found["event"]["event_id"] == said[4]
    assert ids(found["events_before"]) == whole[at + 1 : at + 1 + half]
    after = whole[:at][::-1][: min(limit, 100) - half]
    assert ids(found["events_after"]) == after
    assert {e["type"] for e in found["state"]} >= {"m.room.create", "m.room.member"}


async def test_context_with_a_filter(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    mine, theirs = await ayna.say(room), await batyr.say(room)
    said = await ayna.say(room)
    await batyr.say(room)
    filter = json.dumps({"senders": [ayna.id], "lazy_load_members": True})
    found = await ayna.must("GET", "rooms", room, "context", said, limit=4, filter=filter)
    assert ids(found["events_before"])[0] == mine
    assert theirs not in ids(found["events_before"])
    assert found["events_after"] == []
    members = {e["state_key"] for e in found["state"] if e["type"] == "m.room.member"}
    assert members == {ayna.id}


# --- members ----------------------------------------------------------------------------------


async def test_members_by_membership_and_time(both: House) -> None:
    ayna, batyr, cemal, dursun = await both.people("ayna", "batyr", "cemal", "dursun")
    room = await ayna.create_room(preset="public_chat", invite=[dursun.id])
    await batyr.join(room)
    before = await ayna.now()
    await cemal.join(room)
    await batyr.leave(room)

    async def names(**query: Any) -> set[str]:
        found = await ayna.must("GET", "rooms", room, "members", **query)
        return {e["state_key"][1:].split(":")[0] for e in found["chunk"]}

    assert await names() == {"ayna", "batyr", "cemal", "dursun"}
    assert await names(membership="join") == {"ayna", "cemal"}
    assert await names(not_membership="join") == {"batyr", "dursun"}
    assert await names(membership="invite") == {"dursun"}
    assert await names(membership="leave", not_membership="leave") == set()
    assert await names(at=before) == {"ayna", "batyr", "dursun"}
    assert await names(at=before, membership="join") == {"ayna", "batyr"}
    await ayna.refused(400, "M_INVALID_PARAM", "GET", "rooms", room, "members", membership="odd")


async def test_joined_members(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat", invite=[cemal.id])
    await batyr.join(room)
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "B"})
    await batyr.must("PUT", "profile", batyr.id, "avatar_url", body={"avatar_url": "mxc://a/b"})
    found = await ayna.must("GET", "rooms", room, "joined_members")
    shown = {"display_name": "B", "avatar_url": "mxc://a/b"}
    assert found["joined"] == {ayna.id: {}, batyr.id: shown}
    await cemal.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "joined_members")


# --- time -------------------------------------------------------------------------------------


async def test_the_event_nearest_to_a_time(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    state = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = await ayna.create_room(preset="public_chat", initial_state=[state])
    house.clock.ms += 10_000
    said = await talk(ayna, room, 3)
    times = {e: (await ayna.event(room, e))["origin_server_ts"] for e in said}
    house.clock.ms += 10_000
    await batyr.join(room)
    path = ("rooms", room, "timestamp_to_event")

    async def nearest(who: Person, ts: int, dir: str) -> str | None:
        answer = await who.call("GET", *path, v="v1", ts=ts, dir=dir)
        if answer.status == 404:
            assert answer.errcode == "M_NOT_FOUND"
            return None
        assert answer.status == 200, answer
        return str(answer.json["event_id"])

    assert await nearest(ayna, times[said[1]], "f") == said[1]
    assert await nearest(ayna, times[said[1]], "b") == said[1]
    assert await nearest(ayna, times[said[0]] + 1, "f") == said[1]
    assert await nearest(ayna, times[said[2]] + 5_000, "b") == said[2]
    assert await nearest(ayna, times[said[2]] + 60_000, "f") is None
    assert await nearest(ayna, 0, "b") is None
    # what is hidden is not the nearest
    found = await nearest(batyr, times[said[0]], "f")
    assert found is not None
    assert found not in said
    query: Json
    for query in ({}, {"ts": "x"}, {"ts": "1", "dir": "x"}, {"ts": "9" * 30}):
        answer = await ayna.call("GET", *path, v="v1", **query)
        assert answer.status == 400, answer


async def test_texts_come_back_as_they_were(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    words = ["çäňşýž", "😀", '"\\\n\t', "\u0000", "\u2028", "</script>", "{}"]
    said = [await ayna.say(room, w) for w in words]
    assert bodies((await ayna.messages(room, limit=50))["chunk"])[::-1] == words
    for event_id, word in zip(said, words, strict=True):
        assert (await ayna.event(room, event_id))["content"]["body"] == word
