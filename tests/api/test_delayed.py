"""Events that are said later (MSC4140)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerwen.rooms.actions.delay import DELAY_MAX_MS, WAITING_MAX
from tests.rooms.house import House, Json, Person, bodies, soon

V = "unstable/org.matrix.msc4140"
MEMBER = "org.matrix.msc3401.call.member"
TEXT = {"msgtype": "m.text", "body": "soň"}


async def later(
    who: Person, room: str, content: Json | None = None, delay_ms: int = 1000, **more: Any
) -> str:
    """Schedules a message, or with `state_key` a piece of state."""
    txn = more.pop("txn", f"d{next(who._txns)}")
    event_type = more.pop("type", "m.room.message")
    body = {"delay_ms": delay_ms, "content": TEXT if content is None else content, **more}
    answer = await who.must("PUT", "rooms", room, "delayed_event", event_type, txn, body=body)
    assert set(answer) == {"delay_id"}
    return str(answer["delay_id"])


async def scheduled(who: Person) -> list[str]:
    """What waits."""
    answer = await who.must("GET", "delayed_events", v="v1")
    return [d["delay_id"] for d in answer["delayed_events"]]


async def one(who: Person, delay_id: str) -> Json:
    found: Json = await who.must("GET", "delayed_events", delay_id, v="v1")
    return found


async def do(who: Person, delay_id: str, action: str) -> Json:
    done: Json = await who.must("POST", "delayed_events", delay_id, action, v="v1")
    return done


async def said(who: Person, room: str) -> list[str]:
    """The texts of a room, oldest first."""
    return bodies(await who.history(room, "f"))


async def test_it_is_said_when_its_time_comes_and_not_before(both: House) -> None:
    ayna = await both.person("ayna")
    room, delay = await ayna.create_room(), both.messenger.delay
    second = await later(ayna, room, TEXT | {"body": "iki"}, 2000)
    first = await later(ayna, room, TEXT | {"body": "bir"}, 1000)
    assert await scheduled(ayna) == [first, second]
    both.clock.ms += 900
    assert await delay.send_due() == 0
    both.clock.ms += 2000
    assert await delay.send_due() == 2
    assert await said(ayna, room) == ["bir", "iki"]
    assert await delay.send_due() == 0
    assert await scheduled(ayna) == []
    found = await one(ayna, first)
    event = await ayna.event(room, found["finalised"]["event_id"])
    assert event["unsigned"]["org.matrix.msc4140.delay_id"] == first
    assert "transaction_id" not in event["unsigned"]
    other = await ayna.log_in()
    event = await other.event(room, event["event_id"])
    assert "org.matrix.msc4140.delay_id" not in event["unsigned"]
    assert event["content"] == TEXT | {"body": "bir"}
    assert event["origin_server_ts"] <= found["finalised"]["finalised_ts"]
    assert event["origin_server_ts"] >= found["delayed_since_ts"] + 1000


async def test_what_is_shown_of_one_that_waits(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room()
    before = both.clock.ms
    delay_id = await later(ayna, room, {"memberships": []}, type=MEMBER, state_key="_ayna")
    found = await one(ayna, delay_id)
    since = found.pop("delayed_since_ts")
    assert before <= since <= both.clock.ms
    assert found == {
        "delay_id": delay_id,
        "room_id": room,
        "type": MEMBER,
        "state_key": "_ayna",
        "content": {"memberships": []},
        "delay_ms": 1000,
        "delay": 1000,
        "running_since": since,
    }
    await batyr.refused(404, "M_NOT_FOUND", "GET", "delayed_events", delay_id, v="v1")
    for action in ("send", "cancel", "restart"):
        await batyr.refused(404, "M_NOT_FOUND", "POST", "delayed_events", delay_id, action, v="v1")
    assert await scheduled(batyr) == []


async def test_a_heart_beats_then_stops(both: House) -> None:
    """A call: the leave is put off as long as the client lives."""
    ayna = await both.person("ayna")
    room, delay = await ayna.create_room(), both.messenger.delay
    await ayna.set_state(room, MEMBER, {"here": True}, "_ayna")
    delay_id = await later(ayna, room, {}, 8000, type=MEMBER, state_key="_ayna")
    for _ in range(5):
        both.clock.ms += 5000
        assert await delay.send_due() == 0
        assert await do(ayna, delay_id, "restart") == {}
    assert await ayna.state(room, MEMBER, "_ayna") == {"here": True}
    both.clock.ms += 8000
    assert await delay.send_due() == 1
    assert await ayna.state(room, MEMBER, "_ayna") == {}
    await ayna.refused(409, "M_UNKNOWN", "POST", "delayed_events", delay_id, "restart", v="v1")


async def test_taken_back(both: House) -> None:
    ayna = await both.person("ayna")
    room = await ayna.create_room()
    delay_id = await later(ayna, room)
    await do(ayna, delay_id, "cancel")
    assert await do(ayna, delay_id, "cancel") == {}  # asked again
    for action in ("send", "restart"):
        await ayna.refused(409, "M_UNKNOWN", "POST", "delayed_events", delay_id, action, v="v1")
    both.clock.ms += 5000
    assert await both.messenger.delay.send_due() == 0
    assert await said(ayna, room) == []
    assert set((await one(ayna, delay_id))["finalised"]) == {"finalised_ts"}


async def test_said_at_once(both: House) -> None:
    ayna = await both.person("ayna")
    room = await ayna.create_room()
    delay_id = await later(ayna, room)
    await do(ayna, delay_id, "send")
    await do(ayna, delay_id, "send")
    await ayna.refused(409, "M_UNKNOWN", "POST", "delayed_events", delay_id, "cancel", v="v1")
    both.clock.ms += 5000
    assert await both.messenger.delay.send_due() == 0
    assert await said(ayna, room) == ["soň"]


async def test_the_room_decides_when_it_is_said(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    early = await later(batyr, room)  # not even in the room: nobody asks yet
    await batyr.refused(403, "M_FORBIDDEN", "POST", "delayed_events", early, "send", v="v1")
    assert await scheduled(batyr) == [early]  # it may be allowed later
    await batyr.join(room)
    await do(batyr, early, "send")
    late = await later(batyr, room)
    await ayna.kick(room, batyr)
    both.clock.ms += 5000
    assert await both.messenger.delay.send_due() == 1
    assert (await one(batyr, late))["finalised"]["error"]["errcode"] == "M_FORBIDDEN"
    assert await said(ayna, room) == ["soň"]
    answer = await batyr.must("GET", "delayed_events", v="v1", status="finalised")
    ends = [
        (d["delayed_event"]["delay_id"], d["outcome"], d["reason"]) for d in answer["finalised"]
    ]
    assert ends == [(late, "cancel", "error"), (early, "send", "action")]
    assert "scheduled" not in answer


async def test_nothing_is_said_for_who_is_locked_or_gone(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    room, moderate = await ayna.create_room(preset="public_chat"), both.messenger.accounts.moderate
    ids = {}
    for who in (batyr, maral):
        await who.join(room)
        ids[who] = await later(who, room)
    await moderate.suspend(0, batyr.id, True)
    auth = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": maral.id},
        "password": "a-password",
    }
    await maral.must("POST", "account", "deactivate", body={"auth": auth})
    both.clock.ms += 5000
    assert await both.messenger.delay.send_due() == 1
    assert await said(ayna, room) == []
    error = (await one(batyr, ids[batyr]))["finalised"]["error"]
    assert error["errcode"] == "M_USER_SUSPENDED"
    suspended = await batyr.call(
        "PUT",
        *("rooms", room, "delayed_event", "m.room.message", "x"),
        body={"delay_ms": 1, "content": TEXT},
    )
    assert (suspended.status, suspended.errcode) == (403, "M_USER_SUSPENDED")


async def test_a_restart_loses_nothing(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    await later(ayna, room)
    again = await house.reopen()
    again.clock.ms += 5000
    assert await again.messenger.delay.send_due() == 1
    ayna = Person(again, ayna.id, ayna.device_id, ayna.token)
    assert await said(ayna, room) == ["soň"]
    await again.close()


async def test_a_crash_between_saying_and_noting_says_nothing_twice(both: House) -> None:
    ayna = await both.person("ayna")
    room, delay = await ayna.create_room(), both.messenger.delay
    delay_id = await later(ayna, room)
    both.clock.ms += 5000
    finish = delay._finish

    async def power_cut(*args: Any) -> None:
        raise ConnectionError

    delay._finish = power_cut  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await delay.send_due()
    delay._finish = finish  # type: ignore[method-assign]
    assert await delay.send_due() == 1
    assert await said(ayna, room) == ["soň"]
    assert "event_id" in (await one(ayna, delay_id))["finalised"]


async def test_the_worker_wakes_for_what_is_new(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    start = (await ayna.sync())["next_batch"]
    worker = asyncio.create_task(house.messenger.delay.work())
    await asyncio.sleep(0)
    wait = asyncio.create_task(ayna.sync(start, timeout=20000))
    await later(ayna, room, delay_ms=1)
    answer = await soon(wait)
    assert bodies(answer["rooms"]["join"][room]["timeline"]["events"]) == ["soň"]
    worker.cancel()


async def test_asked_twice_it_is_one(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room()
    first = await later(ayna, room, txn="t")
    assert await later(ayna, room, txn="t") == first
    assert await later(ayna, room, txn="u") != first
    assert await later(ayna, room, txn="t", type="x.y") != first
    assert await later(batyr, room, txn="t") != first


async def test_only_so_many_may_wait(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    ids = [await later(ayna, room, delay_ms=5000) for _ in range(WAITING_MAX)]
    body = {"delay_ms": 5000, "content": TEXT}
    path = ("rooms", room, "delayed_event", "m.room.message", "more")
    answer = await ayna.call("PUT", *path, body=body)
    assert (answer.status, answer.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert 0 < answer.json["retry_after_ms"] <= 5000
    await do(ayna, ids[0], "cancel")
    await ayna.must("PUT", *path, body=body)


async def test_finished_ones_are_forgotten_in_time(both: House) -> None:
    ayna = await both.person("ayna")
    room, delay = await ayna.create_room(), both.messenger.delay
    delay_id = await later(ayna, room)
    await do(ayna, delay_id, "cancel")
    both.clock.ms += 6 * 24 * 3_600_000
    await delay._tidy()
    await one(ayna, delay_id)
    both.clock.ms += 2 * 24 * 3_600_000
    await delay._tidy()
    await ayna.refused(404, "M_NOT_FOUND", "GET", "delayed_events", delay_id, v="v1")


async def test_as_clients_asked_before(both: House) -> None:
    """A delay in the query of `/send` and `/state`, the action in the body."""
    ayna = await both.person("ayna")
    room = await ayna.create_room()
    wish = {"org.matrix.msc4140.delay": 1000}
    sent = await ayna.must(
        "PUT", *("rooms", room, "send", "m.room.message", "t"), body=TEXT, **wish
    )
    again = await ayna.must(
        "PUT", *("rooms", room, "send", "m.room.message", "t"), body=TEXT, **wish
    )
    assert sent == again
    path = ("rooms", room, "state", MEMBER, "_ayna")
    state = await ayna.must("PUT", *path, body={"here": True}, **wish)
    listed = await ayna.must("GET", "delayed_events", v=V)
    assert [d["delay_id"] for d in listed["scheduled"]] == [sent["delay_id"], state["delay_id"]]
    for action in ("restart", "send"):
        await ayna.must("POST", "delayed_events", state["delay_id"], v=V, body={"action": action})
    await ayna.must("POST", "delayed_events", sent["delay_id"], "send", v=V)
    assert await ayna.state(room, MEMBER, "_ayna") == {"here": True}
    assert await said(ayna, room) == ["soň"]
    wish = {"org.matrix.msc4140.delay": DELAY_MAX_MS + 1}
    answer = await ayna.call("PUT", *path, body={}, **wish)
    assert answer.json["errcode"] == "M_UNKNOWN"
    assert answer.json["org.matrix.msc4140.errcode"] == "M_MAX_DELAY_EXCEEDED"
    assert answer.json["org.matrix.msc4140.max_delay"] == DELAY_MAX_MS


async def test_clients_are_told_that_it_is_there(house: House) -> None:
    ayna = await house.person("ayna")
    versions = (await house.call(None, "GET", "/_matrix/client/versions")).json
    assert versions["unstable_features"]["org.matrix.msc4140"] is True
    found = (await ayna.must("GET", "capabilities"))["capabilities"]
    limits = {"max_delay_ms": DELAY_MAX_MS, "max_scheduled": WAITING_MAX}
    assert found["m.delayed_events"] == found["org.matrix.msc4140.delayed_events"] == limits


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_BAD_JSON"),
        ({"delay_ms": 1000}, 400, "M_BAD_JSON"),
        ({"content": {}}, 400, "M_BAD_JSON"),
        ({"delay_ms": "1000", "content": {}}, 400, "M_BAD_JSON"),
        ({"delay_ms": 1000, "content": []}, 400, "M_BAD_JSON"),
        ({"delay_ms": 1000, "content": {"a": 1.5}}, 400, "M_BAD_JSON"),
        ({"delay_ms": 0, "content": {}}, 400, "M_INVALID_PARAM"),
        ({"delay_ms": -5, "content": {}}, 400, "M_INVALID_PARAM"),
        ({"delay_ms": DELAY_MAX_MS + 1, "content": {}}, 403, "M_FORBIDDEN"),
        ({"delay_ms": 1000, "content": {}, "state_key": 7}, 400, "M_BAD_JSON"),
        ({"delay_ms": 1000, "content": {"a": "x" * 70_000}}, 413, "M_TOO_LARGE"),
        (b"{", 400, "M_NOT_JSON"),
    ],
)
async def test_bad_wishes(house: House, body: Any, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    path = ("rooms", "!a:kerwen.test", "delayed_event", "m.room.message", "t")
    await ayna.refused(status, errcode, "PUT", *path, body=body)


@pytest.mark.parametrize(
    ("method", "parts", "body", "status", "errcode"),
    [
        ("POST", ("none", "send"), None, 404, "M_NOT_FOUND"),
        ("POST", ("none", "explode"), None, 400, "M_INVALID_PARAM"),
        ("POST", ("none",), {"action": "explode"}, 400, "M_INVALID_PARAM"),
        ("POST", ("none",), {}, 400, "M_BAD_JSON"),
        ("GET", ("none",), None, 404, "M_NOT_FOUND"),
    ],
)
async def test_bad_deeds(
    house: House,
    method: str,
    parts: tuple[str, ...],
    body: Any,
    status: int,
    errcode: str,
) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(status, errcode, method, "delayed_events", *parts, body=body, v=V)


async def test_a_status_that_nobody_has(house: House) -> None:
    ayna = await house.person("ayna")
    answer = await ayna.call("GET", "delayed_events", v=V, status="x")
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("delay", ["x", "0", "-1", ""])
async def test_bad_delays_in_a_query(house: House, delay: str) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    path = ("rooms", room, "send", "m.room.message", "t")
    answer = await ayna.call("PUT", *path, body=TEXT, **{"org.matrix.msc4140.delay": delay})
    assert answer.status == 400
    assert await said(ayna, room) == []
