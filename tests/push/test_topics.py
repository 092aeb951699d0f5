"""UnifiedPush: topics of one's own, wake-ups that wait, streams; and our gateway in front."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
import pytest

from kerwen.base import limits
from kerwen.push import ntfy
from kerwen.rooms.store.users import user_no
from tests.push.world import push, set_pusher
from tests.rooms.house import Answer, House, Person, soon

NOTIFY = "/_matrix/push/v1/notify"
Json = dict[str, Any]


async def endpoint(person: Person, app: str = "im.app") -> str:
    """A new endpoint's path."""
    answer = await person.house.call(person.token, "POST", "/_kerwen/push/topics", {"app": app})
    assert answer.status == 200, answer
    url: str = answer.json["endpoint"]
    assert url.startswith("http://127.0.0.1:")
    return url[url.index("/_kerwen") :]


async def poll(person: Person, path: str, since: str | None = None) -> list[Json]:
    """What waits."""
    query = "poll=1" + (f"&since={since}" if since else "")
    answer = await person.house.call(person.token, "GET", path + "/json", query=query)
    assert answer.status == 200, answer
    return [orjson.loads(line) for line in answer.body.splitlines()]


def basic(name: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode())


class Stream:
    """A listening phone."""

    def __init__(self, person: Person, path: str, query: str = "") -> None:
        self.lines: asyncio.Queue[Json] = asyncio.Queue()
        house = person.house
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": (path + "/json").encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", b"Bearer " + person.token.encode())],
            "client": ("127.0.0.1", 1),
        }
        self.task = asyncio.ensure_future(house.app(scope, self._receive, self._send))

    async def _receive(self) -> Json:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Json) -> None:
        for line in message.get("body", b"").splitlines():
            self.lines.put_nowait(orjson.loads(line))

    async def next(self) -> Json:
        return await soon(self.lines.get())

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_wake_up_waits_and_is_fetched(both: House) -> None:
    ayna = await both.person("ayna")
    path = await endpoint(ayna)
    answer = await both.call(None, "POST", path, b"hello", "up=1")
    assert answer.status == 201
    (told,) = await poll(ayna, path)
    assert (told["event"], told["message"]) == ("message", "hello")
    assert told == answer.json
    await both.call(None, "POST", path, b"\xff\x00")
    (second,) = await poll(ayna, path, told["id"])
    assert second["encoding"] == "base64"
    assert base64.b64decode(second["message"]) == b"\xff\x00"
    assert await poll(ayna, path, second["id"]) == []


async def test_the_same_app_keeps_its_endpoint(both: House) -> None:
    ayna = await both.person("ayna")
    first = await endpoint(ayna)
    assert await endpoint(ayna) == first
    assert await endpoint(ayna, "other") != first
    assert await endpoint(await ayna.log_in()) != first
    found = (await both.call(ayna.token, "GET", "/_kerwen/push/topics")).json["topics"]
    assert len(found) == 3
    topic = first.rpartition("/")[2]
    assert (await both.call(ayna.token, "DELETE", f"/_kerwen/push/topics/{topic}")).status == 200
    assert (await both.call(None, "POST", first, b"x")).status == 404


async def test_only_its_owner_listens(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    path = await endpoint(ayna)
    for token, status in ((batyr.token, 403), (None, 401), ("wrong", 401)):
        answer = await both.call(token, "GET", path + "/json", query="poll=1")
        assert answer.status == status, answer
        assert (await both.call(token, "GET", path + "/auth")).status == (
            401 if status == 401 else 200
        )
    topic = path.rpartition("/")[2]
    answer = await both.call(batyr.token, "DELETE", f"/_kerwen/push/topics/{topic}")
    assert answer.status == 404


async def _raw(house: House, path: str, authorization: bytes, query: str = "poll=1") -> Answer:
    sent: list[Json] = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", authorization)],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Json:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Json) -> None:
        sent.append(message)

    await house.app(scope, receive, send)
    return Answer(sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]))


async def test_an_app_password_listens_and_names_its_topic(both: House) -> None:
    """As the app of ntfy does: it makes up the topic's name itself."""
    ayna = await both.person("ayna")
    _, keys = await both.messenger.accounts.prove.password("ayna", "a-password")
    async with both.db.read() as snap:
        account_no = await user_no(snap, ayna.id)
    assert account_no is not None
    _, text = await both.messenger.accounts.app_passwords.make(account_no, "phone", keys.slot)
    path = "/_kerwen/push/upAbCdEfGhIjKl"
    assert (await both.call(None, "POST", path, b"early")).status == 404
    answer = await _raw(both, path + "/json", basic("ayna", text))
    assert (answer.status, answer.body) == (200, b"")
    assert (await both.call(None, "POST", path, b"x")).status == 201
    answer = await _raw(both, path + "/json", basic(ayna.id, text))
    assert orjson.loads(answer.body)["message"] == "x"
    for wrong in (basic("ayna", "a-password"), basic("batyr", text), b"Basic !!", b"Basic /w=="):
        assert (await _raw(both, path + "/json", wrong)).status == 401


async def test_a_stream_tells_at_once(both: House) -> None:
    ayna = await both.person("ayna")
    one, two = await endpoint(ayna, "one"), await endpoint(ayna, "two")
    await both.call(None, "POST", one, b"old")
    names = ",".join(p.rpartition("/")[2] for p in (one, two))
    stream = Stream(ayna, "/_kerwen/push/" + names)
    assert (await stream.next())["event"] == "open"
    await both.call(None, "POST", two, b"new")
    told = await stream.next()
    assert (told["message"], told["topic"]) == ("new", two.rpartition("/")[2])
    await both.call(None, "POST", one, b"newer")
    last = await stream.next()
    assert last["message"] == "newer"
    await stream.close()
    await both.call(None, "POST", one, b"missed")
    stream = Stream(ayna, "/_kerwen/push/" + names, f"since={last['id']}")
    assert [(await stream.next())["event"] for _ in range(2)] == ["open", "message"]
    assert both.messenger.push.topics.listening == 1
    both.messenger.push.topics.stop()
    await soon(asyncio.wait_for(stream.task, 10))
    assert both.messenger.push.topics.listening == 0


async def test_a_quiet_stream_shows_a_sign_of_life(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kerwen.push.actions import topics

    monkeypatch.setattr(topics, "KEEPALIVE_S", 0.01)
    ayna = await house.person("ayna")
    stream = Stream(ayna, await endpoint(ayna))
    assert [(await stream.next())["event"] for _ in range(2)] == ["open", "keepalive"]
    await stream.close()


async def test_limits(both: House) -> None:
    ayna = await both.person("ayna")
    path = await endpoint(ayna)
    answer = await both.call(None, "POST", path, b"x" * (ntfy.MESSAGE_MAX + 1))
    assert answer.status == 413
    for n in range(limits.WAKE_UPS_MAX + 10):
        assert (await both.call(None, "POST", path, b"%d" % n)).status == 201
    found = await poll(ayna, path)
    assert [m["message"] for m in found] == [str(n) for n in range(10, limits.WAKE_UPS_MAX + 10)]
    for n in range(ntfy.TOPICS_MAX - 1):
        await endpoint(ayna, f"app{n}")
    answer = await both.call(ayna.token, "POST", "/_kerwen/push/topics", {"app": "more"})
    assert answer.errcode == "M_FORBIDDEN"
    for bad in ("", "x" * 256, "a\nb"):
        answer = await both.call(ayna.token, "POST", "/_kerwen/push/topics", {"app": bad})
        assert answer.errcode == "M_INVALID_PARAM"
    assert (await both.call(ayna.token, "GET", "/_kerwen/push/short/json")).status == 400


async def test_what_nobody_fetches_goes(both: House) -> None:
    ayna = await both.person("ayna")
    path = await endpoint(ayna)
    await both.call(None, "POST", path, b"old")
    both.clock.ms += ntfy.KEPT_MS
    await both.call(None, "POST", path, b"new")
    await both.messenger.push.topics.sweep()
    assert [m["message"] for m in await poll(ayna, path)] == ["new"]
    both.clock.ms += limits.TOPIC_UNUSED_MS + 1
    await both.messenger.push.topics.sweep()
    assert (await both.call(None, "POST", path, b"x")).status == 404


async def test_topics_end_with_their_device_and_account(both: House) -> None:
    ayna = await both.person("ayna")
    second = await ayna.log_in()
    one, two = await endpoint(ayna), await endpoint(second)
    await second.must("POST", "logout")
    assert (await both.call(None, "POST", two, b"x")).status == 404
    assert (await both.call(None, "POST", one, b"x")).status == 201
    auth = {"type": "m.login.password", "password": "a-password"}
    auth["identifier"] = {"type": "m.id.user", "user": ayna.id}  # type: ignore[assignment]
    await ayna.must("POST", "account", "deactivate", body={"auth": auth})
    assert (await both.call(None, "POST", one, b"x")).status == 404


# --- the gateway ------------------------------------------------------------------------------


async def test_clients_find_the_gateway(house: House) -> None:
    answer = await house.call(None, "GET", NOTIFY)
    assert answer.json == {"unifiedpush": {"gateway": "matrix"}}
    ayna = await house.person("ayna")
    answer = await house.call(None, "GET", await endpoint(ayna), query="up=1")
    assert answer.json == {"unifiedpush": {"version": 1}}
    assert (await house.call(None, "GET", "/_kerwen/push/v1/health")).json == {"healthy": True}


async def notify(house: House, *keys: str, **more: Any) -> Answer:
    told = {"devices": [{"app_id": "a", "pushkey": key} for key in keys], **more}
    return await house.call(None, "POST", NOTIFY, {"notification": told})


async def test_the_gateway_hands_on_to_our_own_topics_only(both: House) -> None:
    ayna = await both.person("ayna")
    path = await endpoint(ayna)
    base = both.messenger.push.topics._base
    gone = base + "/_kerwen/push/upgoneupgoneupgone"
    foreign = "https://ntfy.sh/upabcdefghijkl?up=1"
    odd = ["", "x", "https://[", base + "/", "http://a@127.0.0.1:1/", base + path + "/../x"]
    answer = await notify(
        both,
        base + path + "?up=1",
        gone,
        foreign,
        *odd,
        event_id="$e",
        room_id="!r",
        counts={"unread": 3},
        content={"body": "secret"},
        sender="@a:b.test",
    )
    assert answer.json == {"rejected": [gone, foreign, *odd]}
    (told,) = await poll(ayna, path)
    assert orjson.loads(told["message"])["notification"] == {
        "event_id": "$e",
        "room_id": "!r",
        "counts": {"unread": 3},
        "devices": [{"app_id": "a", "pushkey": base + path + "?up=1"}],
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"notification": 1},
        {"notification": {}},
        {"notification": {"devices": 1}},
        {"notification": {"devices": [1]}},
        {"notification": {"devices": [{"pushkey": 1}]}},
    ],
)
async def test_the_gateway_refuses_nonsense(house: House, body: Json) -> None:
    answer = await house.call(None, "POST", NOTIFY, body)
    assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")


async def test_a_push_fits_into_a_wake_up(house: House) -> None:
    ayna = await house.person("ayna")
    path = await endpoint(ayna)
    key = house.messenger.push.topics._base + path
    devices = [{"app_id": "a", "pushkey": key, "data": {"x": "y" * 9_000}}]
    body = {"notification": {"event_id": "$e", "devices": devices}}
    assert (await house.call(None, "POST", NOTIFY, body)).json == {"rejected": []}
    (told,) = await poll(ayna, path)
    assert orjson.loads(told["message"])["notification"]["event_id"] == "$e"
    many = [{"app_id": "a", "pushkey": key}] * (limits.PUSH_DEVICES_MAX + 1)
    answer = await house.call(None, "POST", NOTIFY, {"notification": {"devices": many}})
    assert answer.status == 413


async def test_from_a_message_to_the_phone_without_a_foreign_host(both: House) -> None:
    """The whole way: pusher at our own gateway, endpoint at our own provider, no socket."""
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(invite=[batyr.id])
    await batyr.join(room)
    path = await endpoint(ayna)
    base = both.messenger.push.topics._base
    await set_pusher(ayna, base + NOTIFY, base + path)
    said = await batyr.say(room)
    await push(both)
    told = [orjson.loads(m["message"])["notification"] for m in await poll(ayna, path)]
    assert [t.get("event_id") for t in told] == [said]
    assert told[0]["counts"] == {"unread": 1}
    assert both.messenger.outgoing.sent == 0
    topic = path.rpartition("/")[2]
    await both.call(ayna.token, "DELETE", f"/_kerwen/push/topics/{topic}")
    await batyr.say(room)
    await push(both)
    assert (await ayna.must("GET", "pushers"))["pushers"] == [], "an endpoint that ended"
