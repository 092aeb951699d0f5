"""GET /sync, section by section."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kerwen.keys.store import add_to_device
from kerwen.storage.sql import sql
from tests.rooms.house import DOMAIN, House, Json, Person, ids, parked, soon


async def open_room(*people: Person, **wish: Any) -> str:
    room = await people[0].create_room(preset="public_chat", **wish)
    for person in people[1:]:
        await person.join(room)
    return room


def joined(sync: Json, room: str) -> Json:
    found: Json = sync.get("rooms", {}).get("join", {}).get(room, {})
    return found


def left(sync: Json, room: str) -> Json:
    found: Json = sync.get("rooms", {}).get("leave", {}).get(room, {})
    return found


def members_of(events: list[Json]) -> dict[str, str]:
    return {
        e["state_key"]: e["content"]["membership"] for e in events if e["type"] == "m.room.member"
    }


async def account_data(who: Person, kind: str, content: Json, room: str | None = None) -> None:
    place = ("rooms", room) if room else ()
    await who.must("PUT", "user", who.id, *place, "account_data", kind, body=content)


# --- the whole answer -------------------------------------------------------------------------


async def test_nothing_at_all(both: House) -> None:
    ayna = await both.person("ayna")
    sync = await ayna.sync()
    assert set(sync) == {
        "next_batch",
        "account_data",
        "device_one_time_keys_count",
        "device_unused_fallback_key_types",
    }
    again = await ayna.sync(sync["next_batch"])
    assert set(again) == set(sync) - {"account_data"}


async def test_a_repeated_token_gives_the_same_again(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    said = await ayna.say(room)
    for _ in range(3):
        assert ids(joined(await batyr.sync(since), room)["timeline"]["events"]) == [said]


@pytest.mark.parametrize("since", ["x", "EgE", "EgH_", "s1-2-3", "é", "x" * 500, "EgH_____fw"])
async def test_tokens_that_are_none(house: House, since: str) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(400, "M_INVALID_PARAM", "GET", "sync", since=since)


@pytest.mark.parametrize(
    "query",
    [
        {"timeout": "x"},
        {"timeout": "-1"},
        {"full_state": "maybe"},
        {"use_state_after": "1"},
        {"set_presence": "away"},
        {"filter": "{"},
        {"filter": "{}x"},
        {"filter": "9999"},
        {"filter": "x"},
        {"filter": '{"room":5}'},
        {"filter": '{"room":{"timeline":{"limit":-1}}}'},
        {"filter": '{"room":{"timeline":{"types":[5]}}}'},
        {"filter": '{"event_format":"odd"}'},
    ],
)
async def test_bad_queries(house: House, query: dict[str, str]) -> None:
    ayna = await house.person("ayna")
    answer = await ayna.call("GET", "sync", **query)
    assert answer.status == 400, answer
    assert answer.errcode in ("M_INVALID_PARAM", "M_NOT_JSON", "M_BAD_JSON")


async def test_stored_filters_are_ones_own(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    await ayna.say(room)
    body = {"room": {"timeline": {"limit": 1}}}
    made = await ayna.must("POST", "user", ayna.id, "filter", body=body)
    found = joined(await ayna.sync(filter=made["filter_id"]), room)["timeline"]
    assert (len(found["events"]), found["limited"]) == (1, True)
    await batyr.refused(400, "M_INVALID_PARAM", "GET", "sync", filter=made["filter_id"])


# --- waiting ----------------------------------------------------------------------------------


async def test_waiting_ends_with_news_and_not_before(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room, other = await open_room(ayna, batyr), await open_room(ayna)
    since = await batyr.now()
    waiting = asyncio.create_task(batyr.sync(since, timeout=30_000))
    await parked(both)
    await ayna.say(other)
    assert not waiting.done()
    said = await ayna.say(room)
    sync = await soon(waiting)
    assert ids(joined(sync, room)["timeline"]["events"]) == [said]


async def test_no_news_in_time(house: House) -> None:
    ayna = await house.person("ayna")
    since = await ayna.now()
    sync = await soon(ayna.sync(since, timeout=30))
    assert set(sync) == {
        "next_batch",
        "device_one_time_keys_count",
        "device_unused_fallback_key_types",
    }
    # without a token, and with full_state, nobody waits
    await soon(ayna.sync(timeout=30_000))
    await soon(ayna.sync(sync["next_batch"], timeout=30_000, full_state=True))


async def test_those_who_wait_are_answered_when_the_server_stops(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    waiting = [
        asyncio.create_task(who.sync(await who.now(), timeout=30_000)) for who in (ayna, batyr)
    ]
    await parked(house, 2)
    for deed in house.messenger.at_stop:
        deed()
    for sync in await soon(asyncio.gather(*waiting)):
        assert sync["next_batch"]


async def test_two_devices_wait_and_both_are_told(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    laptop = await ayna.log_in()
    room = await open_room(batyr, ayna)
    waiting = [
        asyncio.create_task(who.sync(await who.now(), timeout=30_000)) for who in (ayna, laptop)
    ]
    await parked(house, 2)
    said = await batyr.say(room)
    for sync in await soon(asyncio.gather(*waiting)):
        assert ids(joined(sync, room)["timeline"]["events"]) == [said]


async def test_many_first_syncs_at_once(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(batyr, ayna)
    since = await ayna.now()
    both.messenger.wake.close(both.messenger.wake.get(1) or both.messenger.wake.open(1, (), 0))
    waiting = [asyncio.create_task(ayna.sync(since, timeout=30_000)) for _ in range(5)]
    await parked(both, 5)
    said = await batyr.say(room)
    for sync in await soon(asyncio.gather(*waiting)):
        assert ids(joined(sync, room)["timeline"]["events"]) == [said]


async def test_a_sweep_closes_nobody_who_waits(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(batyr, ayna)
    since = await ayna.now()
    waiting = asyncio.create_task(ayna.sync(since, timeout=30_000))
    await parked(house)
    house.clock.ms += 10**9
    house.messenger.wake.sweep(house.clock())
    assert not waiting.done()
    await batyr.say(room)
    since = (await soon(waiting))["next_batch"]
    house.clock.ms += 10**9
    house.messenger.wake.sweep(house.clock())
    assert len(house.messenger.wake) == 0
    said = await batyr.say(room)
    assert ids(joined(await ayna.sync(since), room)["timeline"]["events"]) == [said]


# --- timelines --------------------------------------------------------------------------------


async def test_gaps_are_marked_and_can_be_filled(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    said = [await ayna.say(room, str(n)) for n in range(12)]
    filter = {"room": {"timeline": {"limit": 4}}}
    timeline = joined(await batyr.sync(since, filter=filter), room)["timeline"]
    assert timeline["limited"] is True
    assert ids(timeline["events"]) == said[8:]
    page = await batyr.messages(room, "b", limit=8, **{"from": timeline["prev_batch"]}, to=since)
    assert ids(page["chunk"]) == said[7::-1]
    whole = joined(await batyr.sync(since, filter={"room": {"timeline": {"limit": 12}}}), room)
    assert whole["timeline"]["limited"] is False
    assert ids(whole["timeline"]["events"]) == said


async def test_state_of_a_gap(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    await ayna.set_state(room, "m.room.topic", {"topic": "old"})
    topic = await ayna.set_state(room, "m.room.topic", {"topic": "gap"})
    await cemal.join(room)
    for _ in range(3):
        await ayna.say(room)
    newest = await ayna.set_state(room, "m.room.topic", {"topic": "new"})
    filter = {"room": {"timeline": {"limit": 2}}}
    block = joined(await batyr.sync(since, filter=filter), room)
    assert newest in ids(block["timeline"]["events"])
    told = {e["type"]: e["event_id"] for e in block["state"]["events"]}
    assert told["m.room.topic"] == topic
    assert set(told) == {"m.room.topic", "m.room.member"}
    assert block["summary"]["m.joined_member_count"] == 3
    after = joined(await batyr.sync(since, filter=filter, use_state_after=True), room)
    told = {e["type"]: e["event_id"] for e in after["state_after"]["events"]}
    assert told["m.room.topic"] == newest
    assert "state" not in after


async def test_state_after_is_always_there(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    await ayna.say(room)
    for name, field in (
        ("use_state_after", "state_after"),
        ("org.matrix.msc4222.use_state_after", "org.matrix.msc4222.state_after"),
    ):
        block = joined(await batyr.sync(since, **{name: True}), room)
        assert block[field] == {"events": []}
        assert "state" not in block
    topic = await ayna.set_state(room, "m.room.topic", {"topic": "t"})
    block = joined(await batyr.sync(since, use_state_after=True), room)
    assert ids(block["state_after"]["events"]) == [topic]
    await batyr.leave(room)
    block = left(await batyr.sync(since, use_state_after=True), room)
    assert topic in ids(block["state_after"]["events"])
    whole = joined(await ayna.sync(use_state_after=True), room)
    kinds = {e["type"] for e in whole["state_after"]["events"]}
    assert {"m.room.create", "m.room.topic", "m.room.member"} <= kinds


async def test_full_state_is_told_once_more(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room, quiet = await open_room(ayna, batyr), await open_room(ayna, batyr)
    since = await batyr.now()
    said = await ayna.say(room)
    sync = await batyr.sync(since, full_state=True)
    block = joined(sync, room)
    assert ids(block["timeline"]["events"]) == [said]
    kinds = {e["type"] for e in block["state"]["events"]}
    assert {"m.room.create", "m.room.member", "m.room.power_levels"} <= kinds
    assert joined(sync, quiet)["timeline"]["events"] == []
    assert len(joined(sync, quiet)["state"]["events"]) == len(
        await batyr.must("GET", "rooms", quiet, "state")
    )


async def test_a_room_newly_joined_comes_whole(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna)
    for _ in range(20):
        await ayna.say(room)
    since = await batyr.now()
    await batyr.join(room)
    block = joined(await batyr.sync(since), room)
    assert block["timeline"]["limited"] is True
    assert len(block["timeline"]["events"]) == 10
    state = {(e["type"], e["state_key"]) for e in block["state"]["events"]}
    assert ("m.room.create", "") in state
    assert ("m.room.member", ayna.id) in state
    assert block["summary"] == {
        "m.heroes": [ayna.id],
        "m.joined_member_count": 2,
        "m.invited_member_count": 0,
    }


async def test_heroes(house: House) -> None:
    people = await house.people("ayna", "b", "c", "d", "e", "f", "g")
    ayna, rest = people[0], people[1:]
    room = await open_room(ayna, *rest)
    await ayna.say(room)
    lazy = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}}
    sync = await ayna.sync(filter=lazy)
    block = joined(sync, room)
    heroes = block["summary"]["m.heroes"]
    assert heroes == [p.id for p in rest[:5]]
    assert set(heroes) <= set(members_of(block["state"]["events"]))
    await rest[0].leave(room)
    sync = await ayna.sync(sync["next_batch"], filter=lazy)
    block = joined(sync, room)
    assert block["summary"]["m.heroes"] == [p.id for p in rest[1:6]]
    # the new hero was never told of before
    told = members_of(block["state"]["events"]) | members_of(block["timeline"]["events"])
    assert rest[5].id in told
    await ayna.set_state(room, "m.room.name", {"name": "N"})
    sync = await ayna.sync(sync["next_batch"], filter=lazy)
    assert "m.heroes" not in joined(sync, room)["summary"]
    await ayna.set_state(room, "m.room.name", {})
    sync = await ayna.sync(sync["next_batch"], filter=lazy)
    assert joined(sync, room)["summary"]["m.heroes"] == [p.id for p in rest[1:6]]
    for person in rest:
        await ayna.call("POST", "rooms", room, "kick", body={"user_id": person.id})
    sync = await ayna.sync(sync["next_batch"], filter=lazy)
    assert len(joined(sync, room)["summary"]["m.heroes"]) == 5


# --- lazy members -----------------------------------------------------------------------------

LAZY = {"room": {"state": {"lazy_load_members": True}}}


async def test_each_member_is_told_once(house: House) -> None:
    ayna, batyr, cemal, dursun = await house.people("ayna", "batyr", "cemal", "dursun")
    room = await open_room(ayna, batyr, cemal, dursun, name="N")
    for _ in range(10):
        await ayna.say(room)
    sync = await dursun.sync(filter=LAZY)
    first = members_of(joined(sync, room)["state"]["events"])
    assert set(first) == {ayna.id, dursun.id}
    await batyr.say(room)
    since = sync["next_batch"]
    for _ in range(2):  # the first answer is lost
        sync = await dursun.sync(since, filter=LAZY)
        assert set(members_of(joined(sync, room)["state"]["events"])) == {batyr.id}
    since = sync["next_batch"]
    await batyr.say(room)
    await ayna.say(room)
    sync = await dursun.sync(since, filter=LAZY)
    assert "state" not in joined(sync, room)
    redundant = {"room": {"state": {**LAZY["room"]["state"], "include_redundant_members": True}}}
    sync = await dursun.sync(since, filter=redundant)
    assert set(members_of(joined(sync, room)["state"]["events"])) == {ayna.id, batyr.id}


async def test_who_spoke_and_left(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr, name="N")
    for _ in range(10):
        await ayna.say(room)
    since = (await ayna.sync(filter=LAZY))["next_batch"]
    await batyr.say(room)
    await batyr.leave(room)
    block = joined(await ayna.sync(since, filter=LAZY), room)
    assert members_of(block["state"]["events"]) == {batyr.id: "join"}
    assert members_of(block["timeline"]["events"]) == {batyr.id: "leave"}


async def test_changes_in_a_gap_are_told(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr)
    lazy = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 2}}}
    since = (await ayna.sync(filter=lazy))["next_batch"]
    await cemal.join(room)
    await batyr.leave(room)
    for _ in range(3):
        await ayna.say(room)
    block = joined(await ayna.sync(since, filter=lazy), room)
    told = members_of(block["state"]["events"])
    assert {batyr.id: "leave", cemal.id: "join"}.items() <= told.items()


# --- filters ----------------------------------------------------------------------------------


async def test_rooms_and_sections(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    one, two = await open_room(ayna, batyr), await open_room(ayna, batyr)
    await account_data(ayna, "test.room", {}, one)
    await account_data(ayna, "test.room", {}, two)
    await account_data(ayna, "test.global", {})
    await ayna.read(one, await batyr.say(one))

    async def rooms(**filter: Any) -> Any:
        found = await ayna.sync(filter={"room": filter})
        return found.get("rooms", {}).get("join", {})

    assert set(await rooms()) == {one, two}
    assert set(await rooms(rooms=[one])) == {one}
    assert set(await rooms(not_rooms=[one])) == {two}
    assert await rooms(rooms=[]) == {}
    found = await rooms(timeline={"rooms": [one]}, state={"not_rooms": [one]})
    assert found[one]["timeline"]["events"]
    assert "state" not in found[one]
    assert found[two]["timeline"]["events"] == []
    assert found[two]["state"]["events"]
    found = await rooms(account_data={"rooms": [two]}, ephemeral={"not_rooms": [one]})
    assert "account_data" not in found[one]
    assert "ephemeral" not in found[one]
    assert found[two]["account_data"]["events"]
    found = await rooms(account_data={"not_types": ["test.*"]}, ephemeral={"types": []})
    assert "account_data" not in found[one]
    whole = await ayna.sync(filter={"account_data": {"types": ["test.global"]}})
    assert [e["type"] for e in whole["account_data"]["events"]] == ["test.global"]
    whole = await ayna.sync(filter={"account_data": {"types": []}})
    assert "account_data" not in whole


async def test_filters_of_timelines_and_state(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    mine = await ayna.say(room)
    theirs = await batyr.say(room)
    link = await ayna.say(room, url="mxc://a/b")

    async def read(**filter: Any) -> set[str]:
        block = joined(await ayna.sync(filter={"room": {"timeline": filter}}), room)
        assert block["timeline"]["limited"] in (True, False)
        return set(ids(block["timeline"]["events"]))

    assert await read(types=["m.room.message"]) == {mine, theirs, link}
    assert await read(types=["m.room.message"], senders=[batyr.id]) == {theirs}
    assert await read(types=["m.room.message"], not_senders=[batyr.id]) == {mine, link}
    assert await read(contains_url=True) == {link}
    assert await read(types=["m.room.m*"], not_types=["m.room.message"]) & {mine} == set()
    block = joined(await ayna.sync(filter={"room": {"state": {"types": ["m.room.name"]}}}), room)
    assert "state" not in block
    only = {"timeline": {"limit": 1}, "state": {"types": ["m.room.create"]}}
    block = joined(await ayna.sync(filter={"room": only}), room)
    assert [e["type"] for e in block["state"]["events"]] == ["m.room.create"]


async def test_state_that_a_filter_keeps_out_of_the_timeline(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    filter = {"room": {"timeline": {"types": ["m.room.message"]}}}
    since = (await batyr.sync(filter=filter))["next_batch"]
    topic = await ayna.set_state(room, "m.room.topic", {"topic": "t"})
    said = await ayna.say(room)
    block = joined(await batyr.sync(since, filter=filter), room)
    assert ids(block["timeline"]["events"]) == [said]
    assert ids(block["state"]["events"]) == [topic]
    fresh = joined(await batyr.sync(filter=filter), room)
    assert topic in ids(fresh["state"]["events"])


async def test_a_filter_that_finds_little_marks_a_gap(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    rare = await ayna.send(room, "test.rare", {})
    for number in range(700):
        await ayna.say(room, str(number))
    filter = {"room": {"timeline": {"types": ["test.rare"], "limit": 5}}}
    timeline = joined(await batyr.sync(since, filter=filter), room)["timeline"]
    assert timeline["events"] == []
    assert timeline["limited"] is True
    found: list[Json] = []
    token: str | None = timeline["prev_batch"]
    while token is not None:
        page = await batyr.messages(
            room, limit=100, filter={"types": ["test.rare"]}, **{"from": token}
        )
        found += page["chunk"]
        token = page.get("end")
    assert ids(found) == [rare]


async def test_event_fields(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    await ayna.say(room, "x")
    filter = {
        "event_fields": ["type", "content.body", "content.membership"],
        "room": {"timeline": {"limit": 1}},
    }
    block = joined(await batyr.sync(filter=filter), room)
    assert block["timeline"]["events"] == [{"type": "m.room.message", "content": {"body": "x"}}]
    assert block["state"]["events"]
    for event in block["state"]["events"]:
        assert set(event) <= {"type", "content"}
        assert set(event.get("content", {})) <= {"body", "membership"}


# --- rooms that are left, invites, knocks -------------------------------------------------------


async def test_leaving(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    said = await ayna.say(room)
    await ayna.kick(room, batyr)
    hidden = await ayna.say(room)
    sync = await batyr.sync(since)
    block = left(sync, room)
    assert ids(block["timeline"]["events"])[0] == said
    assert members_of(block["timeline"]["events"]) == {batyr.id: "leave"}
    assert hidden not in str(sync)
    assert joined(sync, room) == {}
    sync = await batyr.sync(sync["next_batch"])
    assert "rooms" not in sync
    assert "rooms" not in await batyr.sync()
    whole = left(await batyr.sync(filter={"room": {"include_leave": True}}), room)
    assert said in ids(whole["timeline"]["events"])
    assert hidden not in str(whole)


async def test_joined_and_left_between_two_syncs(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna)
    said = await ayna.say(room)
    since = await batyr.now()
    await batyr.join(room)
    await batyr.leave(room)
    block = left(await batyr.sync(since, filter={"room": {"timeline": {"limit": 3}}}), room)
    assert ids(block["timeline"]["events"])[0] == said
    kinds = {e["type"] for e in block["state"]["events"]}
    assert {"m.room.create", "m.room.join_rules"} <= kinds


async def test_invites_come_and_go(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(name="Secret", topic="T")
    said = await ayna.say(room)
    since = await batyr.now()
    await ayna.invite(room, batyr)
    sync = await batyr.sync(since)
    events = sync["rooms"]["invite"][room]["invite_state"]["events"]
    shown = {e["type"]: e for e in events if e["type"] != "m.room.member"}
    assert shown["m.room.name"]["content"] == {"name": "Secret"}
    assert members_of(events) == {ayna.id: "join", batyr.id: "invite"}
    assert said not in str(sync)
    assert set((await batyr.sync())["rooms"]) == {"invite"}
    again = await batyr.sync(sync["next_batch"])
    assert "rooms" not in again
    await ayna.say(room)
    assert "rooms" not in await batyr.sync(sync["next_batch"])
    await batyr.leave(room)
    sync = await batyr.sync(sync["next_batch"])
    assert members_of(left(sync, room)["timeline"]["events"]) == {batyr.id: "leave"}
    assert left(sync, room).get("state", {"events": []})["events"] == []


async def test_knocks(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room = await ayna.create_room(name="Door", initial_state=[rules])
    since = await batyr.now()
    await batyr.must("POST", "knock", room)
    sync = await batyr.sync(since)
    events = sync["rooms"]["knock"][room]["knock_state"]["events"]
    assert {"m.room.create", "m.room.name", "m.room.join_rules"} <= {e["type"] for e in events}
    assert members_of(events) == {batyr.id: "knock"}
    assert set((await batyr.sync())["rooms"]) == {"knock"}
    await ayna.kick(room, batyr)
    assert left(await batyr.sync(sync["next_batch"]), room)


async def test_a_ban_from_afar(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room()
    since = await batyr.now()
    await ayna.ban(room, batyr)
    block = left(await batyr.sync(since), room)
    assert members_of(block["timeline"]["events"]) == {batyr.id: "ban"}
    assert len(block["timeline"]["events"]) == 1
    assert "state" not in block


# --- ignored people ---------------------------------------------------------------------------


async def test_the_ignored_are_not_heard(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    levels = {"state_default": 0, "events": {}}
    room = await open_room(ayna, batyr, power_level_content_override=levels)
    since = (await ayna.sync())["next_batch"]
    await account_data(ayna, "m.ignored_user_list", {"ignored_users": {batyr.id: {}}})
    heard = await ayna.say(room)
    unheard = await batyr.say(room)
    state = await batyr.set_state(room, "m.room.topic", {"topic": "t"})
    invited = await batyr.create_room(invite=[ayna.id])
    for sync in (await ayna.sync(since), await ayna.sync()):
        timeline = ids(joined(sync, room)["timeline"]["events"])
        assert heard in timeline
        assert state in timeline
        assert unheard not in timeline
        assert invited not in str(sync)
    waiting = asyncio.create_task(ayna.sync(await ayna.now(), timeout=30_000))
    await parked(both)
    await account_data(ayna, "m.ignored_user_list", {"ignored_users": {}})
    since = (await soon(waiting))["next_batch"]
    said = await batyr.say(room)
    assert ids(joined(await ayna.sync(since), room)["timeline"]["events"]) == [said]


# --- account data -----------------------------------------------------------------------------


async def test_account_data(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since, theirs = await ayna.now(), await batyr.now()
    waiting = asyncio.create_task(ayna.sync(since, timeout=30_000))
    await parked(both)
    await account_data(ayna, "test.a", {"n": 1})
    sync = await soon(waiting)
    assert sync["account_data"]["events"] == [{"type": "test.a", "content": {"n": 1}}]
    await account_data(ayna, "test.b", {"n": 2}, room)
    again = await ayna.sync(sync["next_batch"])
    assert joined(again, room)["account_data"]["events"] == [
        {"type": "test.b", "content": {"n": 2}}
    ]
    assert "account_data" not in again
    assert "rooms" not in await ayna.sync(again["next_batch"])
    fresh = joined(await ayna.sync(), room)["account_data"]["events"]
    assert {"type": "test.b", "content": {"n": 2}} in fresh
    assert set(await batyr.sync(theirs)) & {"rooms", "account_data"} == set()


# --- to-device messages -------------------------------------------------------------------------

_DEVICE = sql("select device_no from devices where device_id = :device_id")


async def send(who: Person, to: Person, *numbers: int, device: str = "*") -> None:
    for number in numbers:
        body = {"messages": {to.id: {device: {"n": number}}}}
        await who.must("PUT", "sendToDevice", "test.type", f"{number}", body=body)


def got(sync: Json) -> list[int]:
    return [e["content"]["n"] for e in sync.get("to_device", {}).get("events", [])]


async def test_messages_to_devices_come_once_each(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    laptop = await batyr.log_in()
    since, on_laptop = await batyr.now(), await laptop.now()
    waiting = asyncio.create_task(batyr.sync(since, timeout=30_000))
    await parked(both)
    await send(ayna, batyr, 1)
    first = await soon(waiting)
    while not got(first):  # the laptop's log-in may be news, too
        first = await soon(batyr.sync(first["next_batch"], timeout=30_000))
    assert got(first) == [1]
    for _ in range(2):  # lost answers are given again
        sync = await batyr.sync(since)
        assert got(sync) == [1]
    await send(ayna, batyr, 2)
    sync = await batyr.sync(sync["next_batch"])
    assert got(sync) == [2]
    assert got(await batyr.sync(sync["next_batch"])) == []
    assert got(await batyr.sync(since)) == []  # what a newer token acknowledged is gone
    assert got(await laptop.sync(on_laptop)) == [1, 2]


async def test_more_messages_than_fit(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    since = await batyr.now()
    await send(ayna, batyr, *range(250))
    found: list[int] = []
    sizes = []
    for _ in range(10):
        sync = await soon(batyr.sync(since, timeout=30_000 if len(found) < 250 else 0))
        again = await batyr.sync(since)
        assert got(again) == got(sync)
        sizes.append(len(got(sync)))
        found += got(sync)
        since = sync["next_batch"]
    assert found == list(range(250))
    assert sizes == [100, 100, 50] + [0] * 7


async def test_bursts_that_do_not_fit_together(house: House) -> None:
    batyr = await house.person("batyr")
    since = await batyr.now()
    for burst in range(3):
        async with house.db.write() as tx:
            row = await tx.one(_DEVICE, device_id=batyr.device_id)
            assert row is not None
            deliveries = {
                b'{"type":"t","content":{"n":%d}}' % (burst * 60 + n): [row[0]] for n in range(60)
            }
            await add_to_device(tx, deliveries, 1_000 + burst)
    found: list[int] = []
    for _ in range(6):
        sync = await batyr.sync(since)
        found += got(sync)
        since = sync["next_batch"]
    assert found == list(range(180))


# --- device lists -------------------------------------------------------------------------------


async def upload_keys(who: Person) -> None:
    keys = {
        "user_id": who.id,
        "device_id": who.device_id,
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {
            f"curve25519:{who.device_id}": "c" * 43,
            f"ed25519:{who.device_id}": "e" * 43,
        },
        "signatures": {who.id: {f"ed25519:{who.device_id}": "s" * 86}},
    }
    await who.must("POST", "keys", "upload", body={"device_keys": keys})


def lists(sync: Json) -> tuple[set[str], set[str]]:
    found = sync.get("device_lists", {})
    return set(found.get("changed", [])), set(found.get("left", []))


async def test_whose_keys_to_look_at(both: House) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    for person in (ayna, batyr, cemal):
        await upload_keys(person)
    room, second = await open_room(ayna), await open_room(ayna)
    since, theirs = await ayna.now(), await batyr.now()
    await batyr.join(room)
    sync = await ayna.sync(since)
    assert lists(sync) == ({batyr.id}, set())
    assert lists(await batyr.sync(theirs)) == ({ayna.id}, set())
    await batyr.join(second)
    since = (await ayna.sync(sync["next_batch"]))["next_batch"]
    # somebody who shares no room is nobody's business
    await upload_keys(await cemal.log_in())
    assert lists(await ayna.sync(since)) == (set(), set())
    waiting = asyncio.create_task(ayna.sync(since, timeout=30_000))
    await parked(both)
    laptop = await batyr.log_in()
    await upload_keys(laptop)
    sync = await soon(waiting)
    assert lists(sync) == ({batyr.id}, set())
    # a name is no key
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "B"})
    sync = await ayna.sync(sync["next_batch"])
    assert lists(sync) == (set(), set())
    await batyr.leave(second)
    sync = await ayna.sync(sync["next_batch"])
    assert lists(sync) == (set(), set())
    theirs = await batyr.now()
    await batyr.leave(room)
    sync = await ayna.sync(sync["next_batch"])
    assert lists(sync) == (set(), {batyr.id})
    assert lists(await batyr.sync(theirs)) == (set(), {ayna.id})


async def test_everybody_who_was_there_is_left(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    since = await ayna.now()
    await cemal.leave(room)
    await ayna.leave(room)
    await batyr.leave(room)
    sync = await ayna.sync(since)
    assert lists(sync) == (set(), {batyr.id, cemal.id})
    assert await changes(ayna, since, sync["next_batch"]) == (set(), {batyr.id, cemal.id})


async def changes(who: Person, since: str, upto: str) -> tuple[set[str], set[str]]:
    """What /keys/changes says between two tokens."""
    path = "/_matrix/client/v3/keys/changes"
    answer = await who.house.call(who.token, "GET", path, None, f"from={since}&to={upto}")
    assert answer.status == 200, answer
    return set(answer.json["changed"]), set(answer.json["left"])


async def test_changes_of_keys_are_told_again_as_they_were_told(both: House) -> None:
    ayna, batyr, cemal, dowran = await both.people("ayna", "batyr", "cemal", "dowran")
    room = await open_room(ayna, batyr)
    other = await open_room(ayna, batyr, cemal)
    tokens = [await ayna.now()]

    async def told() -> tuple[set[str], set[str]]:
        sync = await ayna.sync(tokens[-1])
        tokens.append(sync["next_batch"])
        again = await changes(ayna, tokens[-2], tokens[-1])
        assert again == lists(sync)
        return again

    assert await told() == (set(), set())
    await dowran.join(room)
    assert await told() == ({dowran.id}, set())
    await cemal.leave(other)
    assert await told() == (set(), {cemal.id})
    await batyr.leave(other)  # they still share a room
    await upload_keys(batyr)
    assert await told() == ({batyr.id}, set())
    await ayna.leave(room)
    assert await told() == (set(), {batyr.id, dowran.id})
    assert await changes(ayna, tokens[0], tokens[-1]) == (set(), {batyr.id, cemal.id, dowran.id})


async def test_a_room_becomes_encrypted(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    since = await batyr.now()
    await ayna.set_state(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    assert lists(await batyr.sync(since)) == ({ayna.id}, set())


async def test_a_device_logs_out(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    await open_room(ayna, batyr)
    laptop = await batyr.log_in()
    await upload_keys(laptop)
    since = await ayna.now()
    await laptop.must("POST", "logout")
    assert lists(await ayna.sync(since)) == ({batyr.id}, set())


async def test_key_counts(house: House) -> None:
    ayna = await house.person("ayna")
    await upload_keys(ayna)
    sync = await ayna.sync()
    assert sync["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert sync["device_unused_fallback_key_types"] == []
    key = {"key": "k" * 43, "signatures": {ayna.id: {f"ed25519:{ayna.device_id}": "s" * 86}}}
    body = {
        "one_time_keys": {"signed_curve25519:A": key, "signed_curve25519:B": key},
        "fallback_keys": {"signed_curve25519:F": key | {"fallback": True}},
    }
    await ayna.must("POST", "keys", "upload", body=body)
    sync = await ayna.sync(sync["next_batch"])
    assert sync["device_one_time_keys_count"] == {"signed_curve25519": 2}
    assert sync["device_unused_fallback_key_types"] == ["signed_curve25519"]


# --- profiles -----------------------------------------------------------------------------------


async def test_a_new_name_reaches_those_who_wait(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    waiting = asyncio.create_task(ayna.sync(await ayna.now(), timeout=30_000))
    await parked(house)
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "B"})
    event = joined(await soon(waiting), room)["timeline"]["events"][0]
    assert event["content"]["displayname"] == "B"
    assert event["unsigned"]["prev_content"] == {"membership": "join"}


async def test_inline_filters_in_any_form(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    for text in ('{"room":{"timeline":{"limit":1}}}', '{ "room": {"timeline": {"limit": 1}}}'):
        block = joined(await ayna.sync(filter=text), room)
        assert len(block["timeline"]["events"]) == 1
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    answer = await ayna.call("GET", "sync", filter=deep[:20_000])
    assert answer.status == 400
    assert json.loads(answer.body)["errcode"] in ("M_NOT_JSON", "M_BAD_JSON")
    assert DOMAIN in ayna.id


async def test_events_as_other_servers_get_them(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    gone = await ayna.say(room, "gone")
    await ayna.redact(room, gone)
    since = await ayna.now()
    await batyr.say(room, "here")
    wish = {"event_format": "federation", "room": {"timeline": {"limit": 3}}}
    for start in (None, since):
        block = (await ayna.sync(start, filter=wish))["rooms"]["join"][room]
        events = [*block["timeline"]["events"], *block.get("state", {}).get("events", [])]
        assert events
        for event in events:
            assert {"auth_events", "prev_events", "hashes", "signatures", "depth"} <= set(event)
            assert "event_id" not in event
        assert block["timeline"]["events"][-1]["content"]["body"] == "here"
        assert "gone" not in str([e["content"] for e in events])
    wish = {"event_format": "federation", "event_fields": ["depth", "type"]}
    block = (await ayna.sync(since, filter=wish))["rooms"]["join"][room]
    assert [set(e) for e in block["timeline"]["events"]] == [{"depth", "type"}]
    plain = (await ayna.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert "event_id" in plain[0]
