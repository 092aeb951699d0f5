"""Messages, state, redactions: PUT send, state, redact; GET state, event."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rooms.house import DOMAIN, House, Json, Person, ids

SEND = "send"
TEXT = {"msgtype": "m.text", "body": "x"}


async def open_room(*people: Person, **wish: Any) -> str:
    """A public room of the first, joined by all."""
    room = await people[0].create_room(preset="public_chat", **wish)
    for person in people[1:]:
        await person.join(room)
    return room


# --- transaction ids --------------------------------------------------------------------------


async def test_a_transaction_id_is_good_for_one_event_of_one_endpoint(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room, other = await open_room(ayna, batyr), await open_room(ayna)
    laptop = await ayna.log_in()

    async def put(who: Person, *path: str, **content: Any) -> str:
        sent = await who.must("PUT", "rooms", *path, body=content or TEXT)
        return str(sent["event_id"])

    first = await put(ayna, room, SEND, "m.room.message", "1")
    assert await put(ayna, room, SEND, "m.room.message", "1", body="other") == first
    distinct = {
        first,
        await put(ayna, room, SEND, "test.type", "1"),
        await put(ayna, other, SEND, "m.room.message", "1"),
        await put(laptop, room, SEND, "m.room.message", "1"),
        await put(batyr, room, SEND, "m.room.message", "1"),
        await put(ayna, room, "redact", first, "1"),
    }
    assert len(distinct) == 6
    again = await put(ayna, room, "redact", first, "1")
    assert again in distinct
    assert len(await ayna.history(room)) == len(await ayna.history(other)) + 5


async def test_repeated_at_the_same_time_it_is_said_once(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    path = ("rooms", room, SEND, "m.room.message", "t")
    sent = await asyncio.gather(*(ayna.must("PUT", *path, body=TEXT) for _ in range(10)))
    assert len({s["event_id"] for s in sent}) == 1
    assert len([e for e in await ayna.history(room) if e["type"] == "m.room.message"]) == 1


async def test_only_its_device_sees_a_transaction_id(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    laptop = await ayna.log_in()
    sent = await ayna.must("PUT", "rooms", room, SEND, "m.room.message", "mine", body=TEXT)
    for who, seen in ((ayna, "mine"), (laptop, None), (batyr, None)):
        event = await who.event(room, sent["event_id"])
        assert event["unsigned"].get("transaction_id") == seen
        timeline = (await who.sync())["rooms"]["join"][room]["timeline"]["events"]
        assert timeline[-1]["unsigned"].get("transaction_id") == seen


# --- state ------------------------------------------------------------------------------------


async def test_state_that_is_so_already_is_not_said_again(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    levels = {"state_default": 0, "events": {}}
    room = await open_room(ayna, batyr, power_level_content_override=levels)
    first = await ayna.set_state(room, "test", {"a": 1, "b": [2]}, "k")
    assert await ayna.set_state(room, "test", {"b": [2], "a": 1}, "k") == first
    assert await batyr.set_state(room, "test", {"a": 1, "b": [2]}, "k") != first
    assert await ayna.set_state(room, "test", {"a": 1, "b": [3]}, "k") != first
    assert await ayna.set_state(room, "test", {"a": 1, "b": [3]}, "other") != first


async def test_what_a_state_event_replaced(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    first = await ayna.set_state(room, "test", {"n": 1})
    second = await ayna.set_state(room, "test", {"n": 2})
    assert "prev_content" not in (await ayna.event(room, first))["unsigned"]
    unsigned = (await ayna.event(room, second))["unsigned"]
    assert unsigned["prev_content"] == {"n": 1}
    assert unsigned["replaces_state"] == first
    assert unsigned["prev_sender"] == ayna.id


async def test_reading_state(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    path = ("rooms", room, "state", "test")
    await ayna.set_state(room, "test", {"n": 1})
    await ayna.set_state(room, "test", {"n": 2}, "a/b ç%")
    assert await ayna.must("GET", *path) == {"n": 1}
    assert await ayna.must("GET", *path, "") == {"n": 1}
    assert await ayna.must("GET", *path, "a/b ç%") == {"n": 2}
    event = await ayna.must("GET", *path, format="event")
    assert (event["type"], event["room_id"], event["content"]) == ("test", room, {"n": 1})
    await ayna.refused(400, "M_INVALID_PARAM", "GET", *path, format="odd")
    await ayna.refused(404, "M_NOT_FOUND", "GET", *path, "none")
    await ayna.must("PUT", *path, body={"n": 3})
    assert await ayna.must("GET", *path, "") == {"n": 3}


async def test_state_under_ones_own_name(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    levels = {"state_default": 0, "events": {}}
    room = await open_room(ayna, batyr, power_level_content_override=levels)
    await batyr.set_state(room, "test", {}, batyr.id)
    path = ("rooms", room, "state", "test", ayna.id)
    await batyr.refused(403, "M_FORBIDDEN", "PUT", *path, body={})


ALIASES: list[tuple[Json, int, str]] = [
    ({"alias": f"#here:{DOMAIN}"}, 200, ""),
    ({"alias": f"#here:{DOMAIN}", "alt_aliases": [f"#here:{DOMAIN}"]}, 200, ""),
    ({"alias": None}, 200, ""),
    ({}, 200, ""),
    ({"alias": f"#there:{DOMAIN}"}, 400, "M_BAD_ALIAS"),
    ({"alias": f"#none:{DOMAIN}"}, 400, "M_BAD_ALIAS"),
    ({"alt_aliases": [f"#none:{DOMAIN}"]}, 400, "M_BAD_ALIAS"),
    ({"alias": "here"}, 400, "M_INVALID_PARAM"),
    ({"alias": 5}, 400, "M_INVALID_PARAM"),
    ({"alt_aliases": 5}, 400, "M_INVALID_PARAM"),
    ({"alt_aliases": {"a": 1}}, 400, "M_INVALID_PARAM"),
    ({"alt_aliases": [5]}, 400, "M_INVALID_PARAM"),
    ({"alt_aliases": ["#a:b"] * 5000}, 413, "M_TOO_LARGE"),
]


@pytest.mark.parametrize(("content", "status", "errcode"), ALIASES, ids=range(len(ALIASES)))
async def test_canonical_aliases(house: House, content: Json, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    await open_room(ayna, room_alias_name="there")
    room = await open_room(ayna, room_alias_name="here")
    path = ("rooms", room, "state", "m.room.canonical_alias", "")
    answer = await ayna.call("PUT", *path, body=content)
    assert answer.status == status, answer
    if status != 200:
        assert answer.errcode == errcode


# --- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3", "6", "10", "12"])
async def test_levels_decide_who_says_what(house: House, version: str) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, room_version=version)
    change = {"users": {batyr.id: 50}, "events_default": 50, "events": {"test.loud": 60}}
    if version != "12":
        change["users"][ayna.id] = 100
    await ayna.levels(room, **change)
    await cemal.join(room)
    await batyr.say(room)
    path = ("rooms", room, SEND)
    await cemal.refused(403, "M_FORBIDDEN", "PUT", *path, "m.room.message", "1", body=TEXT)
    await batyr.refused(403, "M_FORBIDDEN", "PUT", *path, "test.loud", "1", body={})
    await batyr.set_state(room, "test.state", {})
    state = ("rooms", room, "state")
    await cemal.refused(403, "M_FORBIDDEN", "PUT", *state, "test.state", "", body={})
    levels = await ayna.state(room, "m.room.power_levels")
    for bad in (levels | {"events_default": 60}, levels | {"users": {cemal.id: 60}}):
        await batyr.refused(403, "M_FORBIDDEN", "PUT", *state, "m.room.power_levels", body=bad)


async def test_outsiders_say_and_see_nothing(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room()
    said = await ayna.say(room)
    for path in (("send", "m.room.message", "1"), ("state", "test", ""), ("redact", said, "1")):
        await batyr.refused(403, "M_FORBIDDEN", "PUT", "rooms", room, *path)
    for path in (("state",), ("members",), ("joined_members",), ("state", "m.room.name")):
        await batyr.refused(403, "M_FORBIDDEN", "GET", "rooms", room, *path)
    await batyr.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "messages", dir="b")
    await batyr.refused(404, "M_NOT_FOUND", "GET", "rooms", room, "event", said)
    other = await open_room(batyr)
    await batyr.refused(404, "M_NOT_FOUND", "GET", "rooms", other, "event", said)
    await batyr.refused(404, "M_NOT_FOUND", "PUT", "rooms", other, "redact", said, "1")


@pytest.mark.parametrize("event_type", ["m.room.create", "m.room.member", "m.room.power_levels"])
async def test_state_types_as_messages(house: House, event_type: str) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    body = {"membership": "join"}
    await batyr.refused(403, "M_FORBIDDEN", "PUT", "rooms", room, SEND, event_type, "1", body=body)


# --- redactions -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3", "10", "11", "12"])
async def test_redacting_a_message(house: House, version: str) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr, room_version=version)
    said = await batyr.say(room, "a secret word")
    since = await ayna.now()
    redaction = await batyr.redact(room, said, "oops")
    event = await ayna.event(room, said)
    assert event["content"] == {}
    because = event["unsigned"]["redacted_because"]
    assert because["event_id"] == redaction
    assert because["content"]["reason"] == "oops"
    told = (await ayna.sync(since))["rooms"]["join"][room]["timeline"]["events"][0]
    # both where old clients look and where new ones do
    assert told["redacts"] == told["content"]["redacts"] == said
    for dump in (await ayna.history(room), await ayna.sync(), await batyr.sync()):
        assert "a secret word" not in str(dump)


async def test_redacted_words_leave_the_disk(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    said = await ayna.say(room, "a secret word")
    await ayna.redact(room, said)
    for _ in range(3):
        await ayna.redact(room, said)
    house = await house.reopen()
    rows = house.db._conn.execute(  # type: ignore[attr-defined]
        "select client, rest, unsigned_json from events"
    ).fetchall()
    await house.close()
    assert not [r for r in rows if b"secret word" in b"".join(c or b"" for c in r)]


async def test_who_may_redact(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await open_room(ayna, batyr, cemal)
    by_ayna, by_batyr = await ayna.say(room), await batyr.say(room)
    path = ("rooms", room, "redact")
    await cemal.refused(403, "M_FORBIDDEN", "PUT", *path, by_batyr, "1")
    await batyr.refused(403, "M_FORBIDDEN", "PUT", *path, by_ayna, "1")
    await ayna.redact(room, by_batyr)
    assert (await cemal.event(room, by_batyr))["content"] == {}
    await ayna.refused(404, "M_NOT_FOUND", "PUT", *path, "$none", "1")
    await cemal.leave(room)
    await cemal.refused(403, "M_FORBIDDEN", "PUT", *path, by_ayna, "1")


async def test_redacting_by_send(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    said = await ayna.say(room)
    await ayna.send(room, "m.room.redaction", {"redacts": said})
    assert (await ayna.event(room, said))["content"] == {}
    path = ("rooms", room, SEND, "m.room.redaction", "x")
    for content in ({}, {"redacts": 5}):
        await ayna.refused(400, "M_MISSING_PARAM", "PUT", *path, body=content)


async def test_redacted_state_keeps_what_rules_need(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    name = await ayna.set_state(room, "m.room.name", {"name": "A bad word"})
    rules = ids(
        [e for e in await ayna.must("GET", "rooms", room, "state") if "join_rules" in e["type"]]
    )[0]
    await ayna.redact(room, name)
    await ayna.redact(room, rules)
    assert await ayna.state(room, "m.room.name") == {}
    assert await ayna.state(room, "m.room.join_rules") == {"join_rule": "public"}
    after = await ayna.set_state(room, "m.room.name", {"name": "Good"})
    assert (await ayna.event(room, after))["unsigned"]["prev_content"] == {}


async def test_no_trace_of_redacted_state(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "Rude word"})
    room = await ayna.create_room(name="Rude word", invite=[cemal.id])
    await ayna.invite(room, batyr)
    await batyr.join(room)
    state = {(e["type"], e["state_key"]): e for e in await ayna.must("GET", "rooms", room, "state")}
    named, joined = state["m.room.name", ""], state["m.room.member", batyr.id]
    invited = joined["unsigned"]["replaces_state"]
    later = await ayna.set_state(room, "m.room.name", {"name": "Polite"})
    for event_id in (named["event_id"], joined["event_id"], invited):
        await ayna.redact(room, event_id)
    later_event = await ayna.event(room, later)
    assert later_event["unsigned"]["prev_content"] == {}
    assert later_event["unsigned"]["replaces_state"] == named["event_id"]
    joined_members = await ayna.must("GET", "rooms", room, "joined_members")
    assert joined_members["joined"][batyr.id] == {}
    for dump in (await ayna.history(room), await ayna.sync()):
        assert "Rude word" not in str(dump)
    assert await batyr.state(room, "m.room.member", batyr.id) == {"membership": "join"}
    await batyr.say(room)


async def test_the_invited_no_longer_see_a_redacted_name(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(name="Rude word", invite=[batyr.id])
    assert "Rude word" in str((await batyr.sync())["rooms"]["invite"])
    state = await ayna.must("GET", "rooms", room, "state")
    (named,) = [e["event_id"] for e in state if e["type"] == "m.room.name"]
    await ayna.redact(room, named)
    shown = (await batyr.sync())["rooms"]["invite"][room]["invite_state"]["events"]
    assert [e["content"] for e in shown if e["type"] == "m.room.name"] == [{}]


# --- relations that are refused -----------------------------------------------------------------


async def test_one_reaction_of_a_kind(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await open_room(ayna, batyr)
    said = await ayna.say(room)

    def reaction(key: str) -> Json:
        relates = {"rel_type": "m.annotation", "event_id": said, "key": key}
        return {"m.relates_to": relates}

    path = ("rooms", room, SEND, "m.reaction")
    first = await batyr.send(room, "m.reaction", reaction("+"))
    await batyr.refused(400, "M_DUPLICATE_ANNOTATION", "PUT", *path, "x", body=reaction("+"))
    await batyr.send(room, "m.reaction", reaction("-"))
    await batyr.send(room, "test.other", reaction("+"))
    await ayna.send(room, "m.reaction", reaction("+"))
    await batyr.redact(room, first)
    await batyr.send(room, "m.reaction", reaction("+"))


async def test_threads_begin_at_plain_events(house: House) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    root = await ayna.say(room)

    def in_thread(event_id: str) -> Json:
        return {"m.relates_to": {"rel_type": "m.thread", "event_id": event_id}}

    reply = await ayna.say(room, **in_thread(root))
    path = ("rooms", room, SEND, "m.room.message")
    await ayna.refused(400, "M_UNKNOWN", "PUT", *path, "x", body=TEXT | in_thread(reply))
    await ayna.say(room, **in_thread("$elsewhere"))
    for odd in (5, [], {"rel_type": 5, "event_id": root}, {"rel_type": "m.thread"}, {}):
        await ayna.say(room, **{"m.relates_to": odd})


# --- bad input --------------------------------------------------------------------------------

CONTENTS: list[tuple[Any, int, str]] = [
    (b"", 200, ""),
    (b"[]", 400, "M_BAD_JSON"),
    (b'"x"', 400, "M_BAD_JSON"),
    (b"null", 400, "M_BAD_JSON"),
    (b"{", 400, "M_NOT_JSON"),
    (b"\xff", 400, "M_NOT_JSON"),
    (b'{"a":"\xff"}', 400, "M_NOT_JSON"),
    (b'{"a":"\xed\xa0\x80"}', 400, "M_NOT_JSON"),
    (b'{"a":"\\ud800"}', 400, "M_NOT_JSON"),
    (b'{"\\udc00":1}', 400, "M_NOT_JSON"),
    (b'{"a":"\\ud83d\\ude00"}', 200, ""),
    (b'{"a":"\\u0000"}', 200, ""),
    (b'{"a":1.5}', 400, "M_BAD_JSON"),
    (b'{"a":[{"b":1e3}]}', 400, "M_BAD_JSON"),
    (b'{"a":NaN}', 400, "M_NOT_JSON"),
    (b'{"a":Infinity}', 400, "M_NOT_JSON"),
    (b'{"a":1e999}', 400, "M_NOT_JSON"),
    (b'{"a":9007199254740991}', 200, ""),
    (b'{"a":9007199254740992}', 400, "M_BAD_JSON"),
    (b'{"a":123456789012345678901234567890}', 400, "M_BAD_JSON"),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "M_NOT_JSON"),
    (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", 400, "M_BAD_JSON"),
    (b'{"a":"' + b"x" * 70_000 + b'"}', 413, "M_TOO_LARGE"),
    (b'{"a":"' + b"x" * 2_000_000 + b'"}', 413, "M_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "status", "errcode"), CONTENTS, ids=range(len(CONTENTS)))
async def test_contents(house: House, body: bytes, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    for version in ("5", "12"):
        room = await open_room(ayna, room_version=version)
        said = await ayna.say(room)
        paths = (
            (SEND, "test", "t"),
            ("state", "test", ""),
            ("state", "test"),
            ("redact", said, "t2"),
        )
        for path in paths:
            answer = await ayna.call("PUT", "rooms", room, *path, body=body)
            assert answer.status == status, (version, path, answer)
            if status != 200:
                assert answer.errcode == errcode, (path, answer)


NAMES: list[tuple[str, ...]] = [
    (SEND, "", "t"),
    (SEND, "a" * 300, "t"),
    (SEND, "a\0", "t"),
    (SEND, "a", "t" * 300),
    (SEND, "a", "t\0"),
    ("state", "a" * 300, ""),
    ("state", "a", "k" * 300),
    ("state", "a", "k\0"),
    ("state", "ç" * 200, ""),
    ("redact", "$a", "t" * 300),
    ("redact", "$a\0", "t"),
]


@pytest.mark.parametrize("path", NAMES, ids=range(len(NAMES)))
async def test_names_that_do_not_fit(house: House, path: tuple[str, ...]) -> None:
    ayna = await house.person("ayna")
    room = await open_room(ayna)
    answer = await ayna.call("PUT", "rooms", room, *path, body={})
    assert answer.status in (400, 413), answer
    assert answer.errcode in ("M_INVALID_PARAM", "M_TOO_LARGE")
