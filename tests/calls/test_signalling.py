"""LiveKit's signalling at its wire, in front of a Janus that is the test's own."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from livekit.protocol import models as m
from livekit.protocol import rtc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kerwen.base import limits
from tests.calls.fake_janus import SECRET, FakeJanus
from tests.calls.stage import Person
from tests.conftest import PortBase, Server

MEMBER = "org.matrix.msc3401.call.member"


class Line:
    """A client's line: requests out, responses in, by their kind."""

    def __init__(self, socket: ClientConnection, person: Person) -> None:
        self.socket = socket
        self.person = person
        self.sid = ""
        self.tracks: dict[str, str] = {}  # sids by cid

    async def say(self, **what: Any) -> None:
        await self.socket.send(rtc.SignalRequest(**what).SerializeToString())

    async def hear(self, kind: str, fits: Any = lambda _: True) -> Any:
        """The next response of a kind that fits; others before it are passed over, offers are
        answered."""
        async with asyncio.timeout(8):
            while True:
                found = rtc.SignalResponse.FromString(bytes(await self.socket.recv()))
                name = found.WhichOneof("message")
                if name == "offer":
                    answer = rtc.SessionDescription(type="answer", sdp="v=0\r\n")
                    await self.say(answer=answer)
                if name == kind and fits(getattr(found, name)):
                    return getattr(found, name)

    async def offer(self, *cids: str, video: bool = True) -> None:
        """Offers tracks, one section for each; the mid of each is its place; '' ends one."""
        lines = ["v=0"]
        for mid, cid in enumerate(cids):
            lines += ["m=video 9 x 96", f"a=mid:{mid}", "a=sendonly" if cid else "a=inactive"]
            lines += [f"a=msid:stream {cid}"] if cid else []
        sdp = "\r\n".join(lines)
        await self.say(offer=rtc.SessionDescription(type="offer", sdp=sdp))
        await self.hear("answer")

    async def publish(self, cid: str, *, layers: int = 3) -> str:
        """Announces a video and offers it, as the first; its sid."""
        sizes = [(0, 320, 180), (1, 640, 360), (2, 1280, 720)][:layers]
        request = rtc.AddTrackRequest(
            cid=cid,
            type=m.TrackType.VIDEO,
            source=m.TrackSource.CAMERA,
            encryption=m.Encryption.GCM,
            layers=[m.VideoLayer(quality=q, width=w, height=h) for q, w, h in sizes],  # type: ignore[arg-type]
        )
        await self.say(add_track=request)
        told = await self.hear("track_published")
        assert told.cid == cid
        assert told.track.encryption == m.Encryption.GCM
        await self.offer(cid)
        self.tracks[cid] = told.track.sid
        return str(told.track.sid)


class House:
    """A server in front of the fake Janus."""

    def __init__(self, server: Server, janus: FakeJanus) -> None:
        self.server = server
        self.janus = janus
        self._lines: list[ClientConnection] = []

    def person(self, name: str) -> Person:
        return Person(self.server.url, name)

    async def line(self, person: Person, room_id: str, **query: Any) -> Line:
        """A line that was accepted."""
        given = await asyncio.to_thread(person.call_pass, room_id)
        words = urlencode({"access_token": given["jwt"], "auto_subscribe": "1", **query})
        socket = await connect(f"{given['url']}/rtc?{words}", compression=None)
        self._lines.append(socket)
        return Line(socket, person)

    async def join(self, person: Person, room_id: str, **query: Any) -> Line:
        """Somebody in the call."""
        line = await self.line(person, room_id, **query)
        joined = await line.hear("join")
        line.sid = joined.participant.sid
        assert joined.participant.identity == person.identity
        await line.hear("offer")
        return line

    async def close(self) -> None:
        for line in self._lines:
            line.transport.abort()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """A server for all, and the port at which it looks for a Janus."""
    with PortBase() as base, socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
        place.close()
        flags = ("--janus", f"ws://127.0.0.1:{port}", "--janus-secret", SECRET, "--mail", "off")
        data = tmp_path_factory.mktemp("calls")
        server = Server(data, base.port, "kerwen.test", (*flags, "--cheap-passwords"))
        server.start()
        yield server, port
        assert server.stop() == 0, server.log.read_text()


@pytest.fixture
async def house(shared: tuple[Server, int]) -> AsyncIterator[House]:
    server, port = shared
    janus = FakeJanus()
    janus.port = port
    await janus.start()
    await janus.met.wait()
    found = House(server, janus)
    yield found
    await found.close()
    await janus.fall()


async def two(house: House) -> tuple[Line, Line, str]:
    """Two people in a call."""
    a, b = house.person("ayna"), house.person("batyr")
    room_id = a.room(b)
    first = await house.join(a, room_id)
    return first, await house.join(b, room_id), room_id


def of(line: Line) -> Any:
    """Whether an update tells of somebody."""
    return lambda told: any(p.sid == line.sid for p in told.participants)


def how(line: Line, told: Any) -> Any:
    return next(p for p in told.participants if p.sid == line.sid)


async def test_a_call_from_its_first_to_its_last(house: House) -> None:
    a, b, _ = await two(house)
    seen = how(b, await a.hear("update", of(b)))
    assert (seen.identity, seen.state) == (b.person.identity, m.ParticipantInfo.ACTIVE)
    assert not seen.permission.can_publish_data
    created = await house.janus.until("create")
    assert created["dummy_publisher"]
    assert created["bitrate"] == limits.CALL_BITRATE_MAX

    sid = await a.publish("cam")
    told = how(a, await b.hear("update", lambda u: of(a)(u) and how(a, u).tracks))
    assert [(t.sid, t.mime_type, t.mid) for t in told.tracks] == [(sid, "video/VP8", "0")]
    offer = await b.hear("offer")
    assert f"a=msid:{a.sid}|{sid} {sid}\r\n" in offer.sdp
    assert dict(offer.mid_to_track_id) == {"1": sid}
    chosen = await house.janus.until(
        "configure", streams=[{"mid": "1", "send": True, "substream": 1}]
    )
    assert chosen["handle"] != house.janus.of(a.sid)

    await a.say(mute=rtc.MuteTrackRequest(sid=sid, muted=True))
    assert how(a, await b.hear("update", of(a))).tracks[0].muted

    await a.offer("")  # the track ends
    assert not how(a, await b.hear("update", of(a))).tracks
    await house.janus.until("update", unsubscribe=[{"sub_mid": "1"}])

    await a.say(leave=rtc.LeaveRequest(reason=m.DisconnectReason.CLIENT_INITIATED))
    left = how(a, await b.hear("update", of(a)))
    assert left.state == m.ParticipantInfo.DISCONNECTED
    await b.say(leave=rtc.LeaveRequest())
    await house.janus.until("destroy")
    assert not house.janus.rooms


async def test_who_comes_late_gets_what_is_sent_in_the_first_offer(house: House) -> None:
    a = house.person("ayna")
    b = house.person("batyr")
    room_id = a.room(b)
    first = await house.join(a, room_id)
    sid = await first.publish("cam")
    late = await house.line(b, room_id)
    joined = await late.hear("join")
    assert [t.sid for p in joined.other_participants for t in p.tracks] == [sid]
    assert f"{first.sid}|{sid}" in (await late.hear("offer")).sdp


async def test_layers_go_by_what_is_shown(house: House) -> None:
    a, b, _ = await two(house)
    sid = await a.publish("cam")
    await b.hear("offer")

    async def shown(**setting: Any) -> None:
        await b.say(track_setting=rtc.UpdateTrackSettings(track_sids=[sid], **setting))

    await shown(width=1_200, height=700)
    await house.janus.until("configure", streams=[{"mid": "1", "send": True, "substream": 2}])
    every = await a.hear("subscribed_quality_update")
    assert [q.enabled for q in every.subscribed_qualities] == [True, True, True]
    await shown(width=200, height=100)
    await house.janus.until("configure", streams=[{"mid": "1", "send": True, "substream": 0}])
    less = await a.hear("subscribed_quality_update")
    assert [q.enabled for q in less.subscribed_qualities] == [True, False, False]
    await shown(disabled=True)
    await house.janus.until("configure", streams=[{"mid": "1", "send": False, "substream": 0}])


async def test_a_narrow_line_is_sent_less_and_told_so(house: House) -> None:
    a, b, _ = await two(house)
    sid = await a.publish("cam")
    await b.hear("offer")
    chosen = await house.janus.until(
        "configure", streams=[{"mid": "1", "send": True, "substream": 1}]
    )
    number = chosen["handle"]
    for layer in (None, 0):
        await house.janus.say(number, janus="slowlink", media="video", uplink=False, lost=9)
        if layer is not None:
            await house.janus.until(
                "configure", streams=[{"mid": "1", "send": True, "substream": layer}]
            )
        await asyncio.sleep(3.1)
    await house.janus.say(number, janus="slowlink", media="video", uplink=False, lost=9)
    held = await b.hear("stream_state_update")
    assert [(s.track_sid, s.state) for s in held.stream_states] == [(sid, rtc.StreamState.PAUSED)]


async def test_who_speaks_is_told_and_not_too_often(house: House) -> None:
    a, b, _ = await two(house)
    number = house.janus.of(a.sid)
    for _ in range(50):
        for kind in ("talking", "stopped-talking", "talking"):
            level = {"audio-level-dBov-avg": 20.0}
            await house.janus.plugin_says(number, videoroom=kind, id=a.sid, **level)
    told = await b.hear("speakers_changed")
    assert [(s.sid, s.active, round(s.level, 1)) for s in told.speakers] == [(a.sid, True, 0.1)]
    await house.janus.plugin_says(number, videoroom="stopped-talking", id=a.sid)
    told = await b.hear("speakers_changed", lambda s: not s.speakers[0].active)


async def test_a_line_is_taken_up_again(house: House) -> None:
    a, b, room_id = await two(house)
    await a.publish("cam")
    await house.janus.say(
        house.janus.of(a.sid), janus="media", mid="0", type="video", receiving=True
    )
    a.socket.transport.abort()
    await asyncio.sleep(1.2)  # longer than somebody without media has
    back = await house.line(a.person, room_id, reconnect="1", sid=a.sid)
    await back.hear("reconnect")
    assert {p.sid for p in (await back.hear("update")).participants} == {a.sid, b.sid}
    await back.hear("offer")
    assert await house.janus.until("configure", restart=True)
    await b.say(ping_req=rtc.Ping(timestamp=7))
    while True:
        found = rtc.SignalResponse.FromString(bytes(await b.socket.recv()))
        kind = found.WhichOneof("message")
        if kind == "pong_resp":
            assert found.pong_resp.last_ping_timestamp == 7
            break
        assert kind != "update" or all(
            p.state != m.ParticipantInfo.DISCONNECTED for p in found.update.participants
        )


async def test_whoever_is_dead_is_gone_soon(house: House) -> None:
    a, b, room_id = await two(house)
    await a.publish("cam")
    a.socket.transport.abort()
    async with asyncio.timeout(3):
        gone = await b.hear(
            "update", lambda u: of(a)(u) and how(a, u).state == m.ParticipantInfo.DISCONNECTED
        )
    assert gone
    late = await house.line(a.person, room_id, reconnect="1", sid=a.sid)
    told = await late.hear("leave")
    assert told.action == rtc.LeaveRequest.Action.RECONNECT


async def test_nobody_takes_up_anothers_line(house: House) -> None:
    a, b, room_id = await two(house)
    thief = await house.line(b.person, room_id, reconnect="1", sid=a.sid)
    assert (await thief.hear("leave")).action == rtc.LeaveRequest.Action.RECONNECT
    await a.say(ping=1)
    assert await a.hear("pong")


async def test_the_same_device_is_in_a_call_once(house: House) -> None:
    a, _, room_id = await two(house)
    await house.join(a.person, room_id)
    told = await a.hear("leave")
    assert told.reason == m.DisconnectReason.DUPLICATE_IDENTITY
    assert told.action == rtc.LeaveRequest.Action.DISCONNECT


async def test_when_janus_is_back_everybody_comes_anew(house: House) -> None:
    a, b, room_id = await two(house)
    await house.janus.fall()
    await house.janus.start()
    for line in (a, b):
        assert (await line.hear("leave")).action == rtc.LeaveRequest.Action.RECONNECT
    again = await house.join(a.person, room_id)
    assert again.sid != a.sid


async def test_while_janus_is_away_nobody_comes_in(house: House) -> None:
    a = house.person("ayna")
    room_id = a.room()
    await house.janus.fall()
    with pytest.raises(InvalidStatus) as caught:
        await house.line(a, room_id)
    assert caught.value.response.status_code == 503
    await house.janus.start()
    await house.join(a, room_id)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rtc", 401),
        ("/rtc?access_token=nonsense", 401),
        ("/rtc/v1?access_token={jwt}", 404),
        ("/rtc?access_token={jwt}", 101),
    ],
)
async def test_who_may_open_a_line(house: House, path: str, status: int) -> None:
    a = house.person("ayna")
    given = a.call_pass(a.room())
    url = given["url"] + path.format(jwt=given["jwt"])
    if status == 101:
        async with connect(url):
            return
    with pytest.raises(InvalidStatus) as caught:
        await connect(url)
    assert caught.value.response.status_code == status
    # browsers ask again by plain HTTP, from another origin
    assert caught.value.response.headers["access-control-allow-origin"] == "*"


async def test_a_line_over_tls(house: House) -> None:
    a = house.person("ayna")
    given = a.call_pass(a.room())
    trust = ssl.create_default_context(cafile=str(house.server.ca))
    base = house.server.https_url.replace("https", "wss")
    url = f"{base}/_kerwen/calls/rtc?access_token={given['jwt']}"
    async with connect(url, ssl=trust, compression=None) as wire:
        line = Line(wire, a)
        await line.hear("join")
        await line.say(ping=1)
        await line.hear("pong")


async def test_a_token_needs_the_room_and_a_proof(house: House) -> None:
    a, b = house.person("ayna"), house.person("batyr")
    room_id = a.room()
    with pytest.raises(AssertionError, match="403"):
        b.call_pass(room_id)
    service = f"{house.server.url}/_kerwen/calls"
    proof = {"access_token": "x", "matrix_server_name": "other.test", "token_type": "Bearer"}
    body = {"room": room_id, "openid_token": proof, "device_id": "D"}
    with pytest.raises(AssertionError, match="other servers"):
        a.ask("POST", f"{service}/sfu/get", body)
    proof["matrix_server_name"] = "kerwen.test"
    with pytest.raises(AssertionError, match="401"):
        a.ask("POST", f"{service}/sfu/get", body)
    own = "/_matrix/client/v1/rtc/livekit/get_token"
    member = {"id": "m", "claimed_device_id": a.device_id}
    found = a.ask("POST", own, {"room_id": room_id, "slot_id": "m.call#ROOM", "member": member})
    assert found["url"].startswith("ws://127.0.0.1")
    with pytest.raises(AssertionError, match="403"):
        b.ask("POST", own, {"room_id": room_id, "member": member})
    known = a.ask("GET", "/.well-known/matrix/client")
    assert known["org.matrix.msc4143.rtc_foci"][0]["livekit_service_url"] == service


async def test_who_leaves_the_room_leaves_the_call(house: House) -> None:
    a, b, room_id = await two(house)
    kick = f"/_matrix/client/v3/rooms/{room_id}/kick"
    await asyncio.to_thread(a.person.ask, "POST", kick, {"user_id": b.person.user_id})
    assert (await b.hear("leave")).reason == m.DisconnectReason.PARTICIPANT_REMOVED
    gone = how(b, await a.hear("update", lambda u: of(b)(u) and how(b, u).state == 3))
    assert gone.disconnect_reason == m.DisconnectReason.PARTICIPANT_REMOVED


async def test_a_device_that_is_logged_out_leaves_the_call(house: House) -> None:
    a, b, room_id = await two(house)
    a.person.device_id, known = "UNKNOWN", a.person.device_id
    with pytest.raises(AssertionError, match="no such device"):
        await asyncio.to_thread(a.person.call_pass, room_id)
    a.person.device_id = known
    await asyncio.to_thread(b.person.ask, "POST", "/_matrix/client/v3/logout", {})
    assert (await b.hear("leave")).reason == m.DisconnectReason.PARTICIPANT_REMOVED


async def test_moderators_rule_and_others_do_not(house: House) -> None:
    a, b, room_id = await two(house)
    sid = await b.publish("cam")
    track = {"room_id": room_id, "identity": b.person.identity, "track_sid": sid}
    rule = "/_kerwen/calls/rule"
    await asyncio.to_thread(a.person.ask, "POST", rule, {**track, "action": "mute"})
    assert (await b.hear("mute")).muted
    await house.janus.until("moderate", mid="0", mute=True)
    await b.say(mute=rtc.MuteTrackRequest(sid=sid, muted=False))  # it may not
    await asyncio.to_thread(a.person.ask, "POST", rule, {**track, "action": "unmute"})
    await house.janus.until("moderate", mid="0", mute=False)
    other = {"room_id": room_id, "identity": a.person.identity, "action": "remove"}
    with pytest.raises(AssertionError, match="403"):
        await asyncio.to_thread(b.person.ask, "POST", rule, other)
    with pytest.raises(AssertionError, match="404"):
        await asyncio.to_thread(a.person.ask, "POST", rule, {**other, "identity": "nobody"})
    await asyncio.to_thread(a.person.ask, "POST", rule, {**track, "action": "remove"})
    assert (await b.hear("leave")).reason == m.DisconnectReason.PARTICIPANT_REMOVED


async def test_a_handed_over_leave_is_put_off_and_then_said(house: House) -> None:
    a, b, room_id = await two(house)
    person = a.person
    place = f"/_matrix/client/v3/rooms/{room_id}/state/{MEMBER}"
    key = f"_{person.user_id}_{person.device_id}_m.call"
    ask = person.ask
    await asyncio.to_thread(ask, "PUT", f"{place}/{key}", {"application": "m.call"})
    later = f"{place}/{key}?org.matrix.msc4140.delay=1500"
    delay_id = (await asyncio.to_thread(ask, "PUT", later, {}))["delay_id"]
    await asyncio.to_thread(lambda: person.call_pass(room_id, delay_id=delay_id))
    await asyncio.sleep(3)
    assert await asyncio.to_thread(ask, "GET", f"{place}/{key}") == {"application": "m.call"}
    await a.say(leave=rtc.LeaveRequest())
    async with asyncio.timeout(5):
        while await asyncio.to_thread(ask, "GET", f"{place}/{key}"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    wrong = f"/_matrix/client/v3/rooms/{room_id}/state/m.room.topic?org.matrix.msc4140.delay=9000"
    delay_id = (await asyncio.to_thread(ask, "PUT", wrong, {"topic": "x"}))["delay_id"]
    body = {"room_id": room_id, "member": {"id": "m"}, "delay_id": delay_id}
    for who, status in ((person, "400"), (b.person, "404")):
        path = "/_matrix/client/v1/rtc/livekit/delegate_delayed_leave"
        with pytest.raises(AssertionError, match=status):
            await asyncio.to_thread(who.ask, "POST", path, body)


async def test_a_call_has_room_for_so_many(house: House) -> None:
    a = house.person("ayna")
    room_id = a.room()
    for _ in range(limits.CALL_PEOPLE_MAX):
        await asyncio.to_thread(a.log_in)
        line = await house.line(a, room_id)
        await line.hear("join")
    await asyncio.to_thread(a.log_in)
    with pytest.raises(InvalidStatus) as caught:
        await house.line(a, room_id)
    assert caught.value.response.status_code == 429


async def test_tracks_have_a_limit_but_those_given_up_do_not_count(house: House) -> None:
    a, _, _ = await two(house)
    for number in range(2 * limits.CALL_TRACKS_MAX):
        request = rtc.AddTrackRequest(cid=f"never{number}", type=m.TrackType.AUDIO)
        await a.say(add_track=request)
        await a.hear("track_published")
    names = [f"cam{number}" for number in range(limits.CALL_TRACKS_MAX)]
    for name in names:
        await a.say(add_track=rtc.AddTrackRequest(cid=name, type=m.TrackType.VIDEO))
        await a.hear("track_published")
    await a.offer(*names)
    await a.say(add_track=rtc.AddTrackRequest(cid="more", type=m.TrackType.VIDEO))
    told = await a.hear("request_response")
    assert told.reason == rtc.RequestResponse.Reason.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff",
        rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp="x")).SerializeToString(),
        rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit="{" * 100)).SerializeToString(),
        bytes(limits.CALL_MESSAGE_MAX + 1),
    ],
)
async def test_nonsense_ends_the_line_and_nothing_else(house: House, message: bytes) -> None:
    a, b, _ = await two(house)
    await a.socket.send(message)
    with pytest.raises(ConnectionClosed):
        await drain(a)
    await b.say(ping=1)
    assert await b.hear("pong")


async def flood(line: Line) -> None:
    for _ in range(3 * limits.CALL_MESSAGES_BURST):
        await line.say(ping=1)
    await drain(line)


async def drain(line: Line) -> None:
    while True:
        await asyncio.wait_for(line.socket.recv(), 5)


async def test_a_flood_ends_the_line(house: House) -> None:
    a, _, _ = await two(house)
    with pytest.raises(ConnectionClosed) as caught:
        await flood(a)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1008


async def test_candidates_go_to_janus_without_more(house: House) -> None:
    a, _, _ = await two(house)
    given = json.dumps(
        {"candidate": "candidate:1 1 udp 1 1.2.3.4 5 typ host", "sdpMid": "0", "x": 1}
    )
    target = rtc.SignalTarget.SUBSCRIBER
    await a.say(trickle=rtc.TrickleRequest(candidateInit=given, target=target))
    await a.say(trickle=rtc.TrickleRequest(target=target, final=True))
    await a.say(ping=1)
    await a.hear("pong")
    await house.janus.completed.wait()
    kept = {"candidate": "candidate:1 1 udp 1 1.2.3.4 5 typ host", "sdpMid": "0"}
    assert kept in house.janus.trickled
