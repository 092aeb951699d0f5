"""Searching: what is found, what is not, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerwen.rooms.actions import search
from kerwen.rooms.search_words import indexed, question, text_of, words_of
from kerwen.rooms.store import users
from kerwen.storage.feed import Feed
from kerwen.storage.move import move_to_postgres
from kerwen.storage.postgres_open import open_postgres
from kerwen.storage.sql import sql
from tests.api.checked import Checked
from tests.rooms.house import House, Json, Person, ids, sqlite_house
from tests.storage.engines import emptied

_LEFT = sql("select event_no from search_pending")
_KEPT = sql("select rowid from search_index")


async def found(who: Person, term: str, batch: str | None = None, **criteria: Any) -> Json:
    """The `room_events` of an answer, whose shape is compared with the specified one."""
    body = {"search_categories": {"room_events": {"search_term": term, **criteria}}}
    query = {"next_batch": batch} if batch else None
    answer = await Checked(who.house).do(who, "search", body, query=query)
    events: Json = answer["search_categories"]["room_events"]
    return events


def results(answer: Json) -> list[str]:
    """Event ids."""
    return ids([r["result"] for r in answer["results"]])


async def open_room(who: Person, *others: Person, **wish: Any) -> str:
    """A public room with some people in it."""
    room = await who.create_room(preset="public_chat", **wish)
    for other in others:
        await other.join(room)
    return room


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("Salam, dünýä!", "salam"),
        ("Salam, dünýä!", "DUNYA"),
        ("Salam, dünýä!", "dünýä salam"),
        ("täze kitaplarymyz", "kitap"),
        ("Ёлка в лесу", "елка"),
        ("İstanbul", "ıstanbul"),
        ("straße", "STRASSE"),
        ("a.b@c.test https://kerwen.test/x_y", "kerwen"),
        ("e-poçta", "poçta"),
        ("1 200 manat", "200"),
        ("日本語 の 本", "日本語"),
    ],
)
async def test_words_are_found(both: House, said: str, asked: str) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    event_id = await ayna.say(room, said)
    await ayna.say(room, "başga zat")
    answer = await found(ayna, asked)
    assert results(answer) == [event_id]
    assert answer["count"] == 1
    assert answer["highlights"] == words_of(asked)


@pytest.mark.parametrize(
    "asked", ["", "!!!", "salamlar", "alam", "sa", "salam ýok", "NOT salam", 'room1" OR "a']
)
async def test_other_words_are_not_found(both: House, asked: str) -> None:
    ayna = await both.person("ayna")
    await ayna.say(await open_room(ayna), "salam dünýä")
    answer = await found(ayna, asked)
    assert (answer["results"], answer["count"]) == ([], 0)
    assert "next_batch" not in answer


async def test_only_what_the_asker_may_see(both: House) -> None:
    ayna, batyr, merdan = await both.people("ayna", "batyr", "merdan")
    late = {"type": "m.room.history_visibility", "state_key": ""}
    room = await open_room(
        ayna, initial_state=[late | {"content": {"history_visibility": "joined"}}]
    )
    before = await ayna.say(room, "alma bir")
    await batyr.join(room)
    inside = await ayna.say(room, "alma iki")
    await batyr.leave(room)
    after = await ayna.say(room, "alma üç")
    assert results(await found(ayna, "alma", order_by="recent")) == [after, inside, before]
    assert results(await found(batyr, "alma")) == [inside]
    assert results(await found(merdan, "alma")) == []
    await batyr.must("POST", "rooms", room, "forget")
    assert results(await found(batyr, "alma")) == []
    await batyr.must(
        "PUT",
        *("user", batyr.id, "account_data", "m.ignored_user_list"),
        body={"ignored_users": {ayna.id: {}}},
    )
    other = await open_room(merdan, ayna, batyr)
    theirs, _ = await merdan.say(other, "nar"), await ayna.say(other, "nar")
    assert results(await found(batyr, "nar")) == [theirs]


@pytest.mark.parametrize("order", ["recent", "rank"])
async def test_no_word_leads_into_anothers_room(both: House, order: str) -> None:
    """The index tells rooms apart by a word; nobody can write one, nor ask for it."""
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna)
    said = await ayna.say(room, "alma")
    async with both.db.read() as snap:
        room_no = await users.room_no(snap, room)
    assert room_no is not None
    word = indexed(room_no, "").strip()
    await batyr.say(await open_room(batyr), f"alma {word} room{room_no} {room_no}")
    answer = await found(ayna, "alma", order_by=order)
    assert (results(answer), answer["count"]) == ([said], 1)
    for asked in (word, "room", f"room{room_no}"):
        assert (await found(ayna, asked, order_by=order))["count"] == 0


async def test_nothing_of_redacted_events_is_left(both: House) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    first = await ayna.say(room, "gizlin söz")
    assert results(await found(ayna, "gizlin")) == [first]
    second = await ayna.say(room, "gizlin başga")  # not taken in yet
    topic = await ayna.set_state(room, "m.room.topic", {"topic": "gizlin tema"})
    for event_id in (first, second, topic):
        await ayna.redact(room, event_id)
    assert (await found(ayna, "gizlin"))["count"] == 0
    await both.messenger.search_index.purge()
    async with both.db.read() as snap:
        assert await snap.all(_LEFT) == []
        assert await snap.all(_KEPT) == []


async def test_encrypted_rooms_are_not_looked_into(both: House) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    await ayna.send(room, "m.room.encrypted", {"ciphertext": "salam", "body": "salam"})
    await ayna.send(room, "x.y", {"body": "salam"})
    await ayna.send(room, "m.room.message", {"msgtype": "m.text", "body": ["salam"]})
    async with both.db.read() as snap:
        assert await snap.all(_LEFT) == []
    assert (await found(ayna, "salam"))["count"] == 0


async def test_names_and_topics(both: House) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna, name="Alma bazary", topic="Alma we nar")
    said = await ayna.say(room, "alma")
    types = {r["result"]["type"] for r in (await found(ayna, "alma"))["results"]}
    assert types == {"m.room.message", "m.room.name", "m.room.topic"}
    assert results(await found(ayna, "alma", keys=["content.body"])) == [said]
    topic = await found(ayna, "alma", keys=["content.topic"])
    assert [r["result"]["content"]["topic"] for r in topic["results"]] == ["Alma we nar"]
    some = await found(ayna, "alma", filter={"types": ["m.room.name"]})
    assert [r["result"]["type"] for r in some["results"]] == ["m.room.name"]


async def test_filters(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    one, two = await open_room(ayna, batyr), await open_room(ayna, batyr)
    a = await ayna.say(one, "alma")
    b = await batyr.say(two, "alma", url="mxc://kerwen.test/a")
    recent = {"order_by": "recent"}
    assert results(await found(ayna, "alma", **recent)) == [b, a]
    assert results(await found(ayna, "alma", filter={"rooms": [one]})) == [a]
    assert results(await found(ayna, "alma", filter={"not_rooms": [one]})) == [b]
    assert results(await found(ayna, "alma", filter={"senders": [batyr.id]})) == [b]
    assert results(await found(ayna, "alma", filter={"contains_url": True})) == [b]
    assert results(await found(ayna, "alma", filter={"contains_url": False})) == [a]


async def test_pages_by_time(both: House) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    said = [await ayna.say(room, f"alma {n}") for n in range(7)]
    seen: list[str] = []
    batch, counts = None, []
    while True:
        answer = await found(ayna, "alma", batch, order_by="recent", filter={"limit": 3})
        seen += results(answer)
        counts.append(answer["count"])
        batch = answer.get("next_batch")
        if batch is None:
            break
        await ayna.say(room, "alma soň")  # what comes meanwhile shifts nothing
    assert seen == said[::-1]
    assert counts == [7, 7, 7]


async def test_what_is_left_out_hides_nothing_behind_it(
    both: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_HITS_MAX", 3)
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    said = [await ayna.say(room, f"alma {n}") for n in range(2)]
    for number in range(7):
        await batyr.say(room, f"alma {number}")
    wish: Json = {"order_by": "recent", "filter": {"senders": [ayna.id]}}
    seen, batch, pages = [], None, 0
    while pages == 0 or batch is not None:
        answer = await found(ayna, "alma", batch, **wish)
        seen += results(answer)
        batch, pages = answer.get("next_batch"), pages + 1
    assert seen == said[::-1]
    assert pages == 4


async def test_pages_by_closeness(both: House) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    long = await ayna.say(room, "alma " + " ".join(f"söz{n}" for n in range(60)))
    short = await ayna.say(room, "alma")
    answer = await found(ayna, "alma", filter={"limit": 1})
    ranks = [answer["results"][0]["rank"]]
    assert len(answer["results"]) == 1
    rest = await found(ayna, "alma", answer["next_batch"], filter={"limit": 1})
    ranks.append(rest["results"][0]["rank"])
    assert "next_batch" not in rest
    assert {*results(answer), *results(rest)} == {long, short}
    assert ranks == sorted(ranks, reverse=True)
    assert results(answer) == [short]


async def test_context_and_profiles(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    await ayna.must("PUT", "profile", ayna.id, "displayname", body={"displayname": "Aýna"})
    room = await open_room(ayna, batyr)
    said = [await ayna.say(room, text) for text in ("bir", "iki", "alma", "dört", "bäş")]
    wish = {"before_limit": 1, "after_limit": 5, "include_profile": True}
    (one,) = (await found(batyr, "alma", event_context=wish))["results"]
    context = one["context"]
    assert ids(context["events_before"]) == [said[1]]
    assert ids(context["events_after"]) == said[3:]
    assert context["profile_info"] == {ayna.id: {"displayname": "Aýna"}}
    earlier = await batyr.messages(room, "b", limit=1, **{"from": context["start"]})
    assert ids(earlier["chunk"]) == [said[0]]
    await ayna.say(room, "soň")
    later = await batyr.messages(room, "f", **{"from": context["end"]})
    assert [e["content"]["body"] for e in later["chunk"]] == ["soň"]
    (plain,) = (await found(batyr, "alma"))["results"]
    assert "context" not in plain


async def test_groups_have_pages_of_their_own(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    one, two = await open_room(ayna, batyr), await open_room(ayna, batyr)
    first = [await ayna.say(one, f"alma {n}") for n in range(3)]
    second = [await batyr.say(two, f"alma {n}") for n in range(2)]
    group_by = [{"key": "room_id"}, {"key": "sender"}]
    wish: Json = {
        "groupings": {"group_by": group_by},
        "order_by": "recent",
        "filter": {"limit": 3},
    }
    answer = await found(ayna, "alma", **wish)
    rooms, senders = answer["groups"]["room_id"], answer["groups"]["sender"]
    assert rooms[two] == {"order": 1, "results": second[::-1]}
    assert rooms[one]["results"] == senders[ayna.id]["results"] == first[:1:-1]
    for token in (rooms[one]["next_batch"], senders[ayna.id]["next_batch"]):
        assert results(await found(ayna, "alma", token, **wish)) == first[1::-1]


async def test_the_state_of_the_rooms(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await open_room(ayna, batyr, name="Bazar")
    await ayna.say(room, "alma")
    await batyr.leave(room)
    await ayna.set_state(room, "m.room.name", {"name": "Soň"})
    for who, name in ((ayna, "Soň"), (batyr, "Bazar")):
        state = (await found(who, "alma", include_state=True))["state"][room]
        names = [e["content"]["name"] for e in state if e["type"] == "m.room.name"]
        assert names == [name]


async def test_the_worker_takes_in_what_is_pending(both: House) -> None:
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    for number in range(5):
        await ayna.say(room, f"alma {number}")
    index = both.messenger.search_index
    assert await index.take_in() == 5
    assert await index.take_in() == 0
    assert (await found(ayna, "alma"))["count"] == 5


@pytest.mark.parametrize(
    ("body", "batch", "errcode"),
    [
        ({}, None, "M_BAD_JSON"),
        ({"search_categories": {"room_events": {}}}, None, "M_BAD_JSON"),
        ({"search_categories": {"room_events": {"search_term": 7}}}, None, "M_BAD_JSON"),
        (
            {"search_categories": {"room_events": {"search_term": "a", "order_by": "x"}}},
            None,
            "M_BAD_JSON",
        ),
        (
            {"search_categories": {"room_events": {"search_term": "a", "keys": ["x"]}}},
            None,
            "M_BAD_JSON",
        ),
        (
            {"search_categories": {"room_events": {"search_term": "a" * 1001}}},
            None,
            "M_INVALID_PARAM",
        ),
        (
            {
                "search_categories": {
                    "room_events": {"search_term": "a", "event_context": {"before_limit": -1}}
                }
            },
            None,
            "M_INVALID_PARAM",
        ),
        ({"search_categories": {"room_events": {"search_term": "a"}}}, "x", "M_INVALID_PARAM"),
        ({"search_categories": {"room_events": {"search_term": "a"}}}, "ä", "M_INVALID_PARAM"),
        (
            {"search_categories": {"room_events": {"search_term": "a"}}},
            "eyJvcmRlciI6InJlY2VudCIsImF0IjoxLCJzZWVuIjowfQ",  # of another order
            "M_INVALID_PARAM",
        ),
    ],
)
async def test_bad_questions(house: House, body: Json, batch: str | None, errcode: str) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(400, errcode, "POST", "search", body=body, next_batch=batch)


async def test_nothing_asked_nothing_found(house: House) -> None:
    ayna = await house.person("ayna")
    answer = await ayna.must("POST", "search", body={"search_categories": {}})
    assert answer == {"search_categories": {}}


def test_a_question_in_both_tongues() -> None:
    asked = question("Salam ol", [7, 9])
    assert asked is not None
    assert asked.words == ["salam", "ol"]
    assert asked.lite == '("\ue0007" OR "\ue0009") AND "salam"* AND "ol"'
    assert asked.postgres == "('\ue0007' | '\ue0009') & salam:* & ol"
    assert question(" ,. ", [7]) is None
    many = question("salam", range(1000))
    assert many is not None
    assert many.lite == '"salam"*'
    assert indexed(7, "Salam, \ue0009 salam ol") == "\ue0007 salam 9 ol"


@pytest.mark.parametrize("content", [None, [], {}, {"body": 7}, {"body": ""}, {"name": "x"}])
def test_no_text(content: Any) -> None:
    assert text_of("m.room.message", content) is None
    assert text_of("m.room.member", {"body": "x"}) is None


async def test_the_index_is_made_anew_on_the_other_engine(
    tmp_path: Path, sqlite_template: Path, postgres_template: str
) -> None:
    lite = sqlite_house(tmp_path, sqlite_template)
    ayna = await lite.person("ayna")
    room = await open_room(ayna)
    old = await ayna.say(room, "alma bir")
    assert results(await found(ayna, "alma")) == [old]
    new = await ayna.say(room, "alma iki")  # not taken in yet
    await lite.close()
    dsn = await emptied(postgres_template)
    await move_to_postgres(tmp_path / "kerwen.db", dsn)
    feed = Feed()
    moved = House(await open_postgres(dsn, feed), feed, tmp_path, lite.clock)
    there = Person(moved, ayna.id, ayna.device_id, ayna.token)
    assert results(await found(there, "alma", order_by="recent")) == [new, old]
    await moved.close()


async def test_the_words_of_what_was_redacted_leave_the_index(both: House) -> None:
    """Also from segments in which FTS5 keeps deleted words; what is left is found as before."""
    ayna = await both.person("ayna")
    room = await open_room(ayna)
    index = both.messenger.search_index
    for number in range(30):
        gone = await ayna.say(room, f"alma gizlin{number}")
        await index.take_in()
    await ayna.must("PUT", "rooms", room, "redact", gone, "r", body={})
    assert await index.purge()
    assert not await index.purge()
    assert (await found(ayna, "alma"))["count"] == 29
    assert (await found(ayna, "gizlin29"))["count"] == 0
