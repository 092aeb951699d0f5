"""Aggregations with events; pages of relations and threads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.rooms.house import House, Json, Person, ids


async def open_room(*people: Person, **wish: Any) -> str:
    room = await people[0].create_room(preset="public_chat", **wish)
    for person in people[1:]:
        await person.join(room)
    return room


def relates(event_id: str, rel_type: str, **more: Any) -> Json:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


async def edit(who: Person, room: str, event_id: str, text: str) -> str:
    new = {"m.new_content": {"msgtype": "m.text", "body": text}}
    return await who.say(room, "* " + text, **new, **relates(event_id, "m.replace"))


async def reply(who: Person, room: str, root: str, text: str = "r") -> str:
    return await who.say(room, text, **relates(root, "m.thread"))


async def bundle(who: Person, room: str, event_id: str) -> Json:
    found: Json = (await who.event(room, event_id))["unsigned"].get("m.relations", {})
    return found


async def everywhere(who: Person, room: str, event_id: str) -> list[Json]:
    """The event as each endpoint that bundles gives it."""
    limited = {"room": {"timeline": {"limit": 20}}}
    sync = (await who.sync(filter=limited))["rooms"]["join"][room]["timeline"]["events"]
    context = await who.must("GET", "rooms", room, "context", event_id, limit=0)
    found = [await who.event(room, event_id), context["event"]]
    for events in (sync, (await who.messages(room, limit=100))["chunk"]):
        found += [e for e in events if e["event_id"] == event_id]
    assert len(found) == 4
    return found


# --- aggregations -----------------------------------------------------------------------------


async def test_the_newest_edit_is_told(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    said = await ayna.say(room, "one")
    await edit(ayna, room, said, "two")
    newest = await edit(ayna, room, said, "three")
    for event in await everywhere(batyr, room, said):
        assert event["content"]["body"] == "one"
        told = event["unsigned"]["m.relations"]["m.replace"]
        assert told["event_id"] == newest
        assert told["content"]["m.new_content"]["body"] == "three"
        assert told["sender"] == ayna.id
    await ayna.redact(room, newest)
    told = (await bundle(batyr, room, said))["m.replace"]
    assert told["content"]["m.new_content"]["body"] == "two"
    await ayna.redact(room, said)
    assert "m.replace" not in await bundle(batyr, room, said)


async def test_edits_that_do_not_count(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room, other = await open_room(ayna, batyr), await open_room(ayna)
    said = await ayna.say(room)
    good = await edit(ayna, room, said, "good")
    await edit(batyr, room, said, "not his")
    await edit(ayna, other, said, "elsewhere")
    await ayna.send(room, "test.type", {"m.new_content": {}, **relates(said, "m.replace")})
    await ayna.say(room, **relates(said, "m.replace"))
    await ayna.say(room, **{"m.new_content": 5}, **relates(said, "m.replace"))
    await edit(ayna, room, good, "an edit of an edit")
    assert (await bundle(batyr, room, said))["m.replace"]["event_id"] == good
    assert await bundle(batyr, room, good) == {}
    state = await ayna.set_state(room, "test", {})
    await ayna.send(room, "test", {"m.new_content": {}, **relates(state, "m.replace")})
    assert await bundle(batyr, room, state) == {}


async def test_encrypted_edits_need_no_new_content(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    said = await ayna.send(room, "m.room.encrypted", {"ciphertext": "a"})
    newest = await ayna.send(
        room, "m.room.encrypted", {"ciphertext": "b", **relates(said, "m.replace")}
    )
    assert (await bundle(ayna, room, said))["m.replace"]["event_id"] == newest


async def test_threads_are_summed_up(both: House) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    root = await ayna.say(room, "root")
    replies = [await reply(batyr, room, root, f"r{n}") for n in range(3)]
    newest = await edit(batyr, room, replies[-1], "better")
    for who, took_part in ((ayna, True), (batyr, True), (cemal, False)):
        for event in await everywhere(who, room, root):
            told = event["unsigned"]["m.relations"]["m.thread"]
            assert told["count"] == 3
            assert told["current_user_participated"] is took_part
            latest = told["latest_event"]
            assert latest["event_id"] == replies[-1]
            assert latest["unsigned"]["m.relations"]["m.replace"]["event_id"] == newest
    await batyr.redact(room, replies[-1])
    told = (await bundle(ayna, room, root))["m.thread"]
    assert (told["count"], told["latest_event"]["event_id"]) == (2, replies[1])


async def test_references_are_listed(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    said = await ayna.say(room)
    first, second = [await ayna.say(room, **relates(said, "m.reference")) for _ in range(2)]
    await ayna.send(room, "m.reaction", relates(said, "m.annotation", key="+"))
    expected = {"m.reference": {"chunk": [{"event_id": first}, {"event_id": second}]}}
    assert await bundle(ayna, room, said) == expected


async def test_the_ignored_do_not_count(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    root = await ayna.say(room)
    await reply(cemal, room, root)
    await reply(batyr, room, root)
    ignored = {"ignored_users": {batyr.id: {}}}
    await ayna.must("PUT", "user", ayna.id, "account_data", "m.ignored_user_list", body=ignored)
    told = (await bundle(ayna, room, root))["m.thread"]
    assert (told["count"], told["latest_event"]["sender"]) == (1, cemal.id)
    page = await ayna.must("GET", "rooms", room, "relations", root, v="v1")
    assert {e["sender"] for e in page["chunk"]} == {cemal.id}
    by_batyr = await batyr.say(room)
    await reply(cemal, room, by_batyr)
    threads = await ayna.must("GET", "rooms", room, "threads", v="v1")
    shown = {e["event_id"]: e["content"] for e in threads["chunk"]}
    assert shown[by_batyr] == {}
    assert shown[root] != {}
    page = await ayna.messages(room, limit=100)
    assert all("state_key" in e for e in page["chunk"] if e["sender"] == batyr.id)


async def test_what_is_hidden_does_not_count(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna)
    root = await ayna.say(room)
    await ayna.set_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    await reply(ayna, room, root, "hidden")
    await batyr.join(room)
    seen = await reply(ayna, room, root, "seen")
    told = (await bundle(batyr, room, root))["m.thread"]
    assert (told["count"], told["latest_event"]["event_id"]) == (1, seen)
    page = await batyr.must("GET", "rooms", room, "relations", root, v="v1")
    assert ids(page["chunk"]) == [seen]


async def test_complete_timelines_tell_no_aggregations(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    since = await ayna.now()
    said = await ayna.say(room)
    await edit(ayna, room, said, "two")
    events = (await ayna.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert "m.relations" not in events[0]["unsigned"]


# --- pages ------------------------------------------------------------------------------------


async def pages(who: Person, *path: str, limit: int, **query: Any) -> list[Json]:
    found, token = [], None
    for _ in range(50):
        page = await who.must("GET", *path, v="v1", limit=limit, **query, **_from(token))
        found.append(page)
        token = page.get("next_batch")
        if token is None:
            return found
    raise AssertionError("no end")


def _from(token: str | None) -> dict[str, str]:
    return {} if token is None else {"from": token}


@pytest.mark.parametrize("limit", [1, 2, 100])
@pytest.mark.parametrize("dir", ["b", "f"])
async def test_relations_in_pages(both: House, limit: int, dir: str) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    root = await ayna.say(room)
    children = []
    for number in range(3):
        children.append(await reply(batyr, room, root))
        children.append(
            await batyr.send(room, "m.reaction", relates(root, "m.annotation", key=str(number)))
        )
    nested = await batyr.send(room, "m.reaction", relates(children[0], "m.annotation", key="n"))
    path = ("rooms", room, "relations", root)

    async def read(*more: str, **query: Any) -> list[str]:
        found = await pages(ayna, *path, *more, limit=limit, dir=dir, **query)
        assert all(len(p["chunk"]) <= limit for p in found)
        whole = [e for p in found for e in p["chunk"]]
        return ids(whole if dir == "f" else whole[::-1])

    assert await read() == children
    assert await read("m.thread") == children[::2]
    assert await read("m.annotation", "m.reaction") == children[1::2]
    assert await read("m.thread", "m.reaction") == []
    assert await read(recurse=True) == [*children, nested]
    assert await read("m.annotation", recurse=True) == [*children[1::2], nested]
    first = await ayna.must("GET", *path, v="v1", recurse=True)
    assert first["recursion_depth"] >= 2
    assert "recursion_depth" not in await ayna.must("GET", *path, v="v1")


async def test_between_two_tokens(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    root = await ayna.say(room)
    children = []
    tokens = []
    for _ in range(4):
        tokens.append(await ayna.now())
        children.append(await reply(ayna, room, root))
    path = ("rooms", room, "relations", root)
    query = {"from": tokens[3], "to": tokens[1]}
    page = await ayna.must("GET", *path, v="v1", **query)
    assert ids(page["chunk"]) == [children[2], children[1]]
    query = {"from": tokens[1], "to": tokens[3]}
    assert (await ayna.must("GET", *path, v="v1", **query))["chunk"] == []
    page = await ayna.must("GET", *path, v="v1", dir="f", **query)
    assert ids(page["chunk"]) == [children[1], children[2]]


async def test_relations_that_are_refused(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room, other = await ayna.create_room(), await open_room(ayna, batyr)
    said = await ayna.say(room)
    path = ("rooms", room, "relations")
    await batyr.refused(403, "M_FORBIDDEN", "GET", *path, said, v="v1")
    await ayna.refused(404, "M_NOT_FOUND", "GET", *path, "$none", v="v1")
    await ayna.refused(404, "M_NOT_FOUND", "GET", "rooms", other, "relations", said, v="v1")
    for query in ({"dir": "x"}, {"from": "x"}, {"to": "t"}, {"limit": "x"}, {"recurse": "maybe"}):
        await ayna.refused(400, "M_INVALID_PARAM", "GET", *path, said, v="v1", **query)


@pytest.mark.parametrize("limit", [1, 2, 50])
async def test_threads_in_pages(both: House, limit: int) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    roots = [await ayna.say(room) for _ in range(3)] + [await cemal.say(room)]
    for root in roots:
        await reply(batyr, room, root)
    await reply(cemal, room, roots[1])
    order = [roots[1], roots[3], roots[2], roots[0]]

    async def read(who: Person, **query: Any) -> list[str]:
        found = await pages(who, "rooms", room, "threads", limit=limit, **query)
        assert all(len(p["chunk"]) <= limit for p in found)
        for page in found:
            for event in page["chunk"]:
                assert event["unsigned"]["m.relations"]["m.thread"]["count"] >= 1
        return ids([e for p in found for e in p["chunk"]])

    assert await read(ayna) == order
    assert await read(ayna, include="participated") == [roots[1], roots[2], roots[0]]
    assert await read(cemal, include="participated") == [roots[1], roots[3]]
    assert await read(batyr, include="participated") == order
    path = ("GET", "rooms", room, "threads")
    for query in ({"include": "x"}, {"limit": "0"}, {"limit": "x"}, {"from": "x"}):
        await ayna.refused(400, "M_INVALID_PARAM", *path, v="v1", **query)
    outsider = await both.person("dursun")
    await outsider.refused(403, "M_FORBIDDEN", *path, v="v1")


async def test_event_fields_and_filters_work_on_bundled_events(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    said = await ayna.say(room)
    await edit(ayna, room, said, "two")
    filter = json.dumps({"event_fields": ["type", "unsigned.m\\.relations"]})
    events = (await ayna.sync(filter=filter))["rooms"]["join"][room]["timeline"]["events"]
    assert all(set(e) <= {"type", "unsigned"} for e in events)
    assert "m.replace" in events[-2]["unsigned"]["m.relations"]
