"""The pure rules of calls: tokens, session descriptions, layers."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.calls import layers, sdp, token
from kerwen.calls.layers import Chosen, Line, Setting, Shown
from kerwen.calls.token import Grant

SECRET = b"secret"
GRANT = Grant("call", "!r:a", "@u:a:D", "@u:a", "D", True)


# --- tokens


def test_a_token_comes_back() -> None:
    assert token.read(token.make(GRANT, SECRET, 1_000), SECRET, 1_000 + token.LIFE_S - 1) == GRANT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t[:-2] + ("AA" if t[-2:] != "AA" else "BB"), Reason.UNKNOWN_TOKEN),
        (lambda t: t.replace(".", "", 1), Reason.UNKNOWN_TOKEN),
        (lambda t: "eyJhbGciOiJub25lIn0" + t[t.index(".") :], Reason.UNKNOWN_TOKEN),
        (lambda t: t + "ä", Reason.UNKNOWN_TOKEN),
        (lambda t: "", Reason.UNKNOWN_TOKEN),
        (lambda t: "." * 5_000, Reason.UNKNOWN_TOKEN),
    ],
)
def test_a_changed_token_is_none(change: object, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        token.read(change(token.make(GRANT, SECRET, 0)), SECRET, 0)  # type: ignore[operator]
    assert caught.value.reason is reason


def test_a_token_ends_and_belongs_to_one_server() -> None:
    made = token.make(GRANT, SECRET, 0)
    with pytest.raises(Refused) as caught:
        token.read(made, SECRET, token.LIFE_S)
    assert caught.value.reason is Reason.EXPIRED_TOKEN
    with pytest.raises(Refused):
        token.read(made, b"other", 0)


def test_names_are_those_of_the_proposal() -> None:
    # sha256 of the JSON text ["!r:a","m.call#ROOM"], base64 without padding
    assert token.call_name("!r:a", "m.call#ROOM") == "ijuh++EdlalT+PzbDJBWbw0eR1PyG7siQeubW7H4zCk"
    assert token.plain_identity("@u:a", "D") == "@u:a:D"
    assert token.member_identity("@u:a", "D", "m") != token.member_identity("@u:a", "m", "D")


# --- session descriptions

OFFER = """v=0
o=- 1 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2 3
m=audio 9 UDP/TLS/RTP/SAVPF 111
a=mid:0
a=msid:stream mic-id
a=sendonly
m=video 9 UDP/TLS/RTP/SAVPF 96
a=mid:1
a=msid:stream cam-id extra
a=sendrecv
a=simulcast:send q;h;f
m=video 9 UDP/TLS/RTP/SAVPF 96
a=mid:2
a=inactive
a=msid:stream old-id
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:3
""".replace("\n", "\r\n")


def test_sections_say_what_is_sent() -> None:
    found = [(s.kind, s.mid, s.track, s.sends) for s in sdp.sections(OFFER)]
    assert found == [
        ("audio", "0", "mic-id", True),
        ("video", "1", "cam-id", True),
        ("video", "2", "old-id", False),
        ("application", "3", "", True),
    ]


def test_a_rejected_section_sends_nothing() -> None:
    rejected = OFFER.replace("m=audio 9", "m=audio 0")
    assert not sdp.sections(rejected)[0].sends
    assert sdp.sections(rejected.replace("a=mid:0", "a=mid:0\r\na=bundle-only"))[0].sends


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "v=0\0",
        "v=0\r\n" + "a=x\r\n" * limits.CALL_SDP_MAX,
        "v=0\r\n" + "m=audio 9 x\r\n" * (sdp.SECTIONS_MAX + 1),
        "v=0\r\na=" + "x" * sdp.LINE_MAX,
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        sdp.sections(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        sdp.sections("v=0\n" + text)
    except Refused:
        pass
    sdp.with_tracks("v=0\n" + text, {"0": ("PA", "TR")})


def test_an_offer_is_told_whose_tracks_it_carries() -> None:
    janus = OFFER.replace(
        "a=mid:1", "a=mid:1\r\na=ssrc:7 msid:janus x\r\na=ssrc:7 cname:janus\r\na=ssrc:7 label:l"
    )
    told = sdp.with_tracks(janus, {"1": ("PA_a", "TR_b")})
    lines = told.split("\r\n")
    assert [line for line in lines if "msid" in line] == ["a=msid:PA_a|TR_b TR_b"]
    assert "a=ssrc:7 cname:janus" in lines
    assert told.index("a=mid:1") < told.index("a=msid:PA_a") < told.index("a=mid:2")
    kept = [line for line in janus.split("\r\n") if "msid" not in line and ":l" not in line]
    assert [line for line in lines if "msid" not in line] == kept


# --- layers

THREE = [(320, 180), (640, 360), (1280, 720)]


@pytest.mark.parametrize(
    ("sizes", "setting", "layer"),
    [
        (THREE, Setting(), 1),
        (THREE, Setting(quality=layers.LOW), 0),
        (THREE, Setting(quality=layers.HIGH), 2),
        (THREE, Setting(width=300, height=170), 0),
        (THREE, Setting(width=330, height=190), 0),
        (THREE, Setting(width=570, height=320), 1),
        (THREE, Setting(width=1_000, height=600), 2),
        (THREE, Setting(width=4_000, height=2_000), 2),
        (THREE, Setting(quality=layers.HIGH, width=200, height=100), 0),
        ([(180, 320), (360, 640)], Setting(width=100, height=600), 1),
        (THREE[:2], Setting(quality=layers.HIGH), 1),
        (THREE[:1], Setting(quality=layers.HIGH), 0),
        ([], Setting(quality=layers.HIGH), 0),
    ],
)
def test_the_smallest_layer_that_fills_the_tile(
    sizes: list[tuple[int, int]], setting: Setting, layer: int
) -> None:
    assert layers.layer_for(sizes, setting) == layer


def camera(name: str, width: int = 300, spoke: float = 0.0, **more: object) -> Shown:
    setting = Setting(width=width, height=width // 2)
    return dataclasses.replace(Shown(name, True, False, THREE, setting, spoke), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "layer"), [(0, 2), (1, 1), (2, 0)])
def test_a_narrow_line_gets_smaller_layers(step: int, layer: int) -> None:
    assert layers.choose([camera("a", 1_280)], step)["a"] == Chosen(True, layer)


def test_audio_outlives_video() -> None:
    sound = Shown("s", False, False, [], Setting(), 0.0)
    chosen = layers.choose([camera("a"), sound], layers.STEPS)
    assert chosen["s"] == Chosen(True)
    assert not chosen["a"].send
    assert chosen["a"].paused


def test_what_is_not_wanted_is_not_sent_and_takes_no_place() -> None:
    off = camera("off", setting=Setting(disabled=True))
    many = [camera(str(n)) for n in range(limits.CALL_VIDEOS_MAX)]
    chosen = layers.choose([off, *many], 0)
    assert chosen.pop("off") == Chosen(False)
    assert all(one.send for one in chosen.values())


def test_of_too_many_videos_screens_large_tiles_and_speakers_stay() -> None:
    many = [camera(f"{n:02}", spoke=n) for n in range(20)]
    chosen = layers.choose([*many, camera("big", 900), camera("scr", 0, screen=True)], 0)
    sent = {sid for sid, one in chosen.items() if one.send}
    assert sent == {"big", "scr", *(f"{n:02}" for n in range(13, 20))}
    assert all(one.paused for one in chosen.values() if not one.send)


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ([], [False, False, False]),
        ([None, None], [False, False, False]),
        ([Chosen(True, 0)], [True, False, False]),
        ([Chosen(True, 0), None, Chosen(True, 2)], [True, True, True]),
        ([Chosen(False, 2), Chosen(True, 1)], [True, True, False]),
        ([Chosen(False, 2)], [True, False, False]),
    ],
)
def test_publishers_are_asked_for_what_is_looked_at(
    chosen: list[Chosen | None], wanted: list[bool]
) -> None:
    assert layers.qualities_wanted(3, chosen) == list(enumerate(wanted))


def test_a_line_falls_quickly_and_rises_slowly() -> None:
    line, now = Line(), 1_000.0
    assert line.slow(now)
    assert not line.slow(now + 1)  # the step has not had time to work
    assert line.slow(now + 3)
    assert line.step == 2
    assert not line.look(now + 15)
    assert line.look(now + 60)
    assert line.look(now + 120)
    assert line.step == 0
    assert not line.look(now + 500)


def test_a_line_that_stays_bad_loses_its_video_and_does_not_swing() -> None:
    line, changes = Line(), 0
    for tenth in range(6_000):  # ten minutes with a loss every second
        now = tenth / 10
        changes += line.look(now)
        if tenth % 10 == 0:
            changes += line.slow(now)
    assert line.step == layers.STEPS
    assert changes == layers.STEPS


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_a_line_stays_within_its_steps(events: list[tuple[float, bool]]) -> None:
    line = Line()
    times = itertools.accumulate(pause for pause, _ in events)
    for now, (_, slow) in zip(times, events, strict=True):
        before = line.step
        moved = line.slow(now) if slow else line.look(now)
        assert abs(line.step - before) == moved
        assert 0 <= line.step <= layers.STEPS
