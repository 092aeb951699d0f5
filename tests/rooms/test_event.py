from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import signing
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import event as ev
from kerwen.rooms.build import add_signature, build_event, put_signature, sign_template
from kerwen.rooms.redact import redact
from kerwen.rooms.versions import ROOM_VERSIONS

from .forge import ALICE, BOB, VERSIONS, Forge, from_to, key_of

V = ROOM_VERSIONS
KEY = signing.SigningKey("1", signing.decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"))

# SPEC appendices #event-signing
MINIMAL = {
    "room_id": "!x:domain",
    "sender": "@a:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "signatures": {},
    "hashes": {},
    "type": "X",
    "content": {},
    "prev_events": [],
    "auth_events": [],
    "depth": 3,
    "unsigned": {"age_ts": 1000000},
}
WITH_CONTENT = {
    "content": {"body": "Here is the message content"},
    "event_id": "$0:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "type": "m.room.message",
    "room_id": "!r:domain",
    "sender": "@u:domain",
    "signatures": {},
    "unsigned": {"age_ts": 1000000},
}
VECTORS = [
    (
        MINIMAL,
        "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
        "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
    ),
    (
        WITH_CONTENT,
        "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
        "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
    ),
]


@pytest.mark.parametrize("version", from_to(3, 10))
@pytest.mark.parametrize(("pdu", "content_hash", "signature"), VECTORS)
def test_vectors(version, pdu, content_hash, signature):
    assert ev.content_hash(pdu, V[version]) == content_hash
    hashed = {**pdu, "hashes": {"sha256": content_hash}}
    assert KEY.sign(ev.signed_bytes(hashed, V[version])) == signature


def test_a_signed_template_is_the_vector():
    event = sign_template(MINIMAL, V["4"], KEY, "domain")
    pdu = event.pdu()
    assert pdu["hashes"]["sha256"] == VECTORS[0][1]
    assert pdu["signatures"] == {"domain": {"ed25519:1": VECTORS[0][2]}}
    ev.verify_event(event, "domain", "ed25519:1", KEY.public_key)


# --- building and parsing -----------------------------------------------------------------


def room_events(version):
    room = Forge(version).furnish("public")
    yield from room.events.values()
    yield room.make(ALICE, "m.room.message", {"msgtype": "m.text", "body": 'ä"\\\n\u2028😀'})
    yield room.make(ALICE, "m.room.redaction", {"reason": "x"}, redacts="$x")
    yield room.make(ALICE, "m.ünïcode", {}, "“key”")
    yield room.make(BOB, "m.room.aliases", {"aliases": ["#a:b"], "x": 1}, "b.test")
    yield room.make(ALICE, "m.room.history_visibility", {"history_visibility": "joined"}, "")
    yield room.make(BOB, "m.room.message", {}, prev=tuple(f"$e{i}" for i in range(20)))


@pytest.mark.parametrize("version", VERSIONS)
def test_parse_is_the_inverse_of_build(version):
    for event in room_events(version):
        parsed = ev.parse_pdu(event.raw, V[version])
        assert parsed == event
        assert hash(parsed) == hash(event)
        stored = ev.stored_event(event.raw, event.event_id, V[version])
        from_dict = ev.parse_pdu({**event.pdu(), "unsigned": {"age": 3}}, V[version])
        for other in (parsed, stored, from_dict):
            for field in ev.Event.__struct_fields__:
                if field != "_content":
                    assert getattr(other, field) == getattr(event, field), field
            assert other.content == event.content
            assert other.redacts == event.redacts
        # the raw bytes are canonical JSON, as the general encoder makes it
        assert ev.dialect_encode(event.pdu(), V[version]) == event.raw
        assert event.content_json in event.raw
        key = key_of(event.server)
        ev.verify_event(event, event.server, key.key_id, key.public_key)


@pytest.mark.parametrize("version", VERSIONS)
def test_identifiers(version):
    room = Forge(version).furnish()
    message = room.make(ALICE, "m.room.message", {"body": "x"})
    assert len(message.event_id) == 44
    unsafe = any({"+", "/"} & set(room.make(ALICE, "x", {"n": n}).event_id) for n in range(40))
    assert unsafe is (version == "3")
    if version == "12":
        assert room.room_id == "!" + room.create.event_id[1:]
        assert "room_id" not in room.create.pdu()
    else:
        assert room.create.pdu()["room_id"] == "!room:a.test"
    assert (message.is_state, room.create.is_state) == (False, True)
    assert room.create.key == ("m.room.create", "")
    assert message.server == "a.test"
    assert message != "x"


def test_the_id_does_not_depend_on_what_redaction_takes():
    event = Forge("12").make(ALICE, "m.room.message", {"body": "x"})
    redacted = ev.redact_event(event)
    assert redacted.event_id == event.event_id
    assert redacted.content == {}
    assert redacted != event
    pdu = event.pdu()
    pdu["content"]["body"] = "changed on the way"
    pdu["new"] = True
    assert ev.parse_pdu(pdu, V["12"]) == redacted  # the content hash does not fit


def test_padding_of_the_content_hash_does_not_matter():
    event = Forge("12").make(ALICE, "m.room.message", {"body": "x"})
    pdu = event.pdu()
    pdu["hashes"]["sha256"] += "="
    assert ev.parse_pdu(pdu, V["12"]).content == {"body": "x"}


def test_signatures_can_be_added():
    room = Forge("12").furnish()
    event = room.make(ALICE, "m.room.member", {"membership": "invite"}, BOB)
    both = add_signature(event, key_of("b.test"), "b.test")
    for server in ("a.test", "b.test"):
        key = key_of(server)
        ev.verify_event(both, server, key.key_id, key.public_key)
        with pytest.raises(Refused):
            ev.verify_event(both, server, key.key_id, key_of("c.test").public_key)
    with pytest.raises(Refused):
        ev.verify_event(event, "b.test", "ed25519:k1", key_of("b.test").public_key)
    assert both.event_id == event.event_id
    assert ev.parse_pdu(both.raw, V["12"]) == both
    with pytest.raises(Refused) as caught:
        put_signature(event, "x.test", "ed25519:1", "A" * 66_000)
    assert caught.value.reason is Reason.TOO_LARGE


# --- what building refuses ----------------------------------------------------------------


def build(**more):
    fields = {
        "room_id": "!" + "x" * 43,
        "sender": ALICE,
        "type": "m.room.message",
        "content": {},
        "prev_events": [],
        "auth_events": [],
        "depth": 1,
        "origin_server_ts": 1,
        "key": key_of("a.test"),
        "server_name": "a.test",
    }
    return build_event(V["12"], **(fields | more))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"content": {"x": 1.5}}, Reason.BAD_JSON),
        ({"content": {"x": 2**53}}, Reason.BAD_JSON),
        ({"content": {"x": "\ud800"}}, Reason.BAD_JSON),
        ({"type": "\ud800"}, Reason.BAD_JSON),
        ({"content": {"x": "a" * 66_000}}, Reason.TOO_LARGE),
        ({"type": "a" * 256}, Reason.TOO_LARGE),
        ({"type": "ä" * 128}, Reason.TOO_LARGE),
        ({"state_key": "😀" * 64}, Reason.TOO_LARGE),
        ({"sender": "@" + "a" * 255 + ":a"}, Reason.TOO_LARGE),
        ({"state_key": "a\0"}, Reason.INVALID_PARAM),
    ],
)
def test_build_refuses(more, reason):
    with pytest.raises(Refused) as caught:
        build(**more)
    assert caught.value.reason is reason


def test_build_takes_what_just_fits():
    assert build(type="a" * 255).type == "a" * 255
    assert build(state_key="ä" * 127).state_key == "ä" * 127
    assert build(depth=2**60).depth == 2**53 - 1
    spare = 65_536 - len(build(content={"x": ""}).raw)
    assert len(build(content={"x": "a" * spare}).raw) == 65_536
    with pytest.raises(Refused):
        build(content={"x": "a" * (spare + 1)})


@pytest.mark.parametrize("template", [{}, {"type": "x"}, {"type": "x", "content": []}])
def test_templates_are_checked(template):
    with pytest.raises(Refused):
        sign_template(template, V["12"], KEY, "domain")


# --- what parsing refuses -----------------------------------------------------------------

ABSENT = object()
BAD_JSON, TOO_LARGE = Reason.BAD_JSON, Reason.TOO_LARGE
FAULTS = [
    ("type", ABSENT, BAD_JSON),
    ("type", 1, BAD_JSON),
    ("type", "a" * 256, TOO_LARGE),
    ("type", "a\0", BAD_JSON),
    ("sender", ABSENT, BAD_JSON),
    ("sender", "alice", BAD_JSON),
    ("sender", "@alice", BAD_JSON),
    ("sender", "@alice:", BAD_JSON),
    ("sender", "@alice:a b", BAD_JSON),
    ("sender", "@" + "a" * 255 + ":a", TOO_LARGE),
    ("state_key", None, BAD_JSON),
    ("state_key", 5, BAD_JSON),
    ("state_key", "a" * 256, TOO_LARGE),
    ("room_id", ABSENT, BAD_JSON),
    ("room_id", "room", BAD_JSON),
    ("room_id", "!" + "a" * 255 + ":a", TOO_LARGE),
    ("content", ABSENT, BAD_JSON),
    ("content", [], BAD_JSON),
    ("depth", ABSENT, BAD_JSON),
    ("depth", -1, BAD_JSON),
    ("depth", True, BAD_JSON),
    ("depth", "1", BAD_JSON),
    ("depth", 2**63, BAD_JSON),
    ("origin_server_ts", ABSENT, BAD_JSON),
    ("origin_server_ts", "1", BAD_JSON),
    ("origin_server_ts", 2**63, BAD_JSON),
    ("prev_events", ABSENT, BAD_JSON),
    ("prev_events", "x", BAD_JSON),
    ("prev_events", [1], BAD_JSON),
    ("prev_events", [["$x", {}]], BAD_JSON),
    ("prev_events", ["x"], BAD_JSON),
    ("prev_events", ["$" + "x" * 255], BAD_JSON),
    ("prev_events", [f"${n}" for n in range(21)], BAD_JSON),
    ("auth_events", ABSENT, BAD_JSON),
    ("auth_events", [f"${n}" for n in range(11)], BAD_JSON),
    ("hashes", ABSENT, BAD_JSON),
    ("hashes", {}, BAD_JSON),
    ("hashes", {"sha256": 1}, BAD_JSON),
    ("signatures", ABSENT, BAD_JSON),
    ("signatures", [], BAD_JSON),
    ("signatures", {"a.test": []}, BAD_JSON),
    ("signatures", {"a.test": {"ed25519:1": 1}}, BAD_JSON),
    ("signatures", {"a.test": {"ed25519:1": "A" * 66_000}}, TOO_LARGE),
]


@pytest.mark.parametrize("version", ["3", "5", "6", "10", "11", "12"])
@pytest.mark.parametrize(("field", "value", "reason"), FAULTS)
def test_format_faults(version, field, value, reason):
    pdu = Forge(version).make(ALICE, "m.room.message", {"body": "x"}).pdu()
    ev.parse_pdu(pdu, V[version])
    if value is ABSENT:
        del pdu[field]
    else:
        pdu[field] = value
    with pytest.raises(Refused) as caught:
        ev.parse_pdu(pdu, V[version])
    assert caught.value.reason is reason


@pytest.mark.parametrize("source", [b"[]", b"1", b"null", b"{}", b"", b"\xff", b"{"])
@pytest.mark.parametrize("version", ["5", "12"])
def test_not_even_an_object(source, version):
    with pytest.raises(Refused):
        ev.parse_pdu(source, V[version])


# (a change to the PDU, the versions that take it)
DIFFERENCES = [
    ({"depth": 2**53}, from_to(3, 5)),
    ({"content": {"x": 1.5}}, from_to(3, 5)),
    ({"content": {"x": 2**70}}, from_to(3, 5)),
    ({"other": -(2**53)}, from_to(3, 5)),
    ({"type": "ä" * 255}, from_to(3, 10)),
    ({"state_key": "ä" * 128}, from_to(3, 10)),
    ({"redacts": 7}, from_to(11, 12)),
    ({"room_id": "!x:a.test"}, from_to(3, 11)),
    ({"room_id": "!" + "x" * 43}, ["12"]),
    ({"depth": 2**53 - 1}, from_to(3)),
    ({"depth": 0}, from_to(3)),
    ({"unsigned": {"x": 1.5}}, from_to(3)),
    ({"sender": "@:a.test"}, from_to(3)),
    ({"sender": "@Ö😀 x:[::1]:80"}, from_to(3)),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("change", "takers"), DIFFERENCES)
def test_format_differences(version, change, takers):
    pdu = Forge(version).make(ALICE, "m.room.message", {"body": "x"}).pdu() | change
    raw = json.dumps(pdu).encode()
    if version in takers:
        event = ev.parse_pdu(raw, V[version])
        again = ev.stored_event(event.raw, event.event_id, V[version])
        assert (again, again.content) == (event, event.content)
        assert ev.parse_pdu(event.raw, V[version]) == event
    else:
        with pytest.raises(Refused):
            ev.parse_pdu(raw, V[version])


def test_numbers_of_old_rooms_hash_as_they_were_written():
    pdu = Forge("5").make(ALICE, "m.room.message", {}).pdu()
    pdu["content"] = {"x": 10**30, "y": 1e10, "z": 0.1}
    pdu["hashes"]["sha256"] = ev.content_hash(pdu, V["5"])
    event = ev.parse_pdu(json.dumps(pdu).encode(), V["5"])
    assert event.content == pdu["content"]
    assert b'"x":1000000000000000000000000000000,"y":10000000000.0,"z":0.1' in event.raw
    assert json.loads(ev.client_format(event))["content"]["x"] == 10**30


def test_create_events_of_version_12_have_no_room_id():
    create = Forge("12").create
    assert ev.parse_pdu(create.raw, V["12"]).room_id == create.room_id
    with pytest.raises(Refused):
        ev.parse_pdu({**create.pdu(), "room_id": create.room_id}, V["12"])


# --- to clients ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_client_format(version):
    room = Forge(version).furnish()
    for event in (room.create, room.make(ALICE, "m.room.message", {"body": "ä"})):
        shown = orjson.loads(ev.client_format(event, {"age": 5}))
        state = {} if event.state_key is None else {"state_key": event.state_key}
        assert shown == {
            "content": event.content,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
            "room_id": room.room_id,
            "sender": ALICE,
            "type": event.type,
            "unsigned": {"age": 5},
            **state,
        }
        assert set(shown) - set(orjson.loads(ev.client_format(event, room_id=False))) == {
            "room_id",
            "unsigned",
        }
    assert orjson.loads(ev.stripped_format(room.create)) == {
        "content": room.create.content,
        "sender": ALICE,
        "state_key": "",
        "type": "m.room.create",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_redactions_say_what_they_redact_in_both_places(version):
    event = Forge(version).make(ALICE, "m.room.redaction", {"reason": "r"}, redacts="$gone")
    in_content = version in from_to(11)
    assert ("redacts" in event.content) is in_content
    assert ("redacts" in event.pdu()) is not in_content
    shown = orjson.loads(ev.client_format(event))
    assert shown["redacts"] == "$gone"
    assert shown["content"] == {"reason": "r", "redacts": "$gone"}
    redacted = ev.redact_event(event)
    assert redacted.redacts == ("$gone" if in_content else None)
    assert redacted.event_id == event.event_id


def test_redacts_of_the_wrong_kind():
    event = Forge("11").make(ALICE, "m.room.redaction", {"redacts": 5})
    assert event.redacts is None
    assert "redacts" not in orjson.loads(ev.client_format(event))
    assert Forge("11").make(ALICE, "m.room.message", {"redacts": "$x"}).redacts is None
    assert Forge("11").make(ALICE, "m.room.member", {"membership": 5}, ALICE).membership is None


# --- names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("matrix.org", True),
        ("matrix.org:8888", True),
        ("1.2.3.4:1234", True),
        ("[1234:5678::abcd]", True),
        ("[1234:5678::abcd]:5678", True),
        ("localhost", True),
        ("", False),
        ("a:123456", False),
        ("a:", False),
        ("a_b", False),
        ("a/b", False),
        ("a b", False),
        ("ä.test", False),
        ("a\n", False),
    ],
)
def test_server_names(name, good):
    assert ev.is_server_name(name) is good
    assert ev.is_user_id(f"@x:{name}") is good


def test_user_ids():
    assert ev.is_user_id("@" + "a" * 252 + ":a")
    assert not ev.is_user_id("@" + "a" * 253 + ":a")
    assert not ev.is_user_id("@" + "ä" * 130 + ":a")
    assert not ev.is_user_id("@a\0:a")
    assert not ev.is_user_id("a:a")
    assert not ev.is_user_id(None)
    assert not ev.is_server_name(5)
    assert (ev.server_of("@a:b:80"), ev.server_of("!abc")) == ("b:80", "")


# --- anything at all ----------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
FIELDS = [
    "type", "sender", "state_key", "room_id", "content", "depth", "origin_server_ts",
    "prev_events", "auth_events", "hashes", "signatures", "redacts", "unsigned", "event_id",
]  # fmt: skip
BASES = {v: Forge(v).make(ALICE, "m.room.member", {"membership": "join"}, ALICE) for v in VERSIONS}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(VERSIONS), st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON))
def test_fuzz_fields(version, change):
    try:
        event = ev.parse_pdu({**BASES[version].pdu(), **change}, V[version])
    except Refused:
        return
    assert ev.parse_pdu(event.raw, V[version]) == event
    again = ev.stored_event(event.raw, event.event_id, V[version])
    assert (again, again.content) == (event, event.content)
    redacted = ev.redact_event(event)
    assert redacted.event_id == event.event_id
    assert ev.redact_event(redacted) == redacted
    orjson.loads(ev.client_format(event)) if version not in from_to(3, 5) else None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(VERSIONS), st.binary(max_size=100) | JSON.map(lambda j: json.dumps(j).encode())
)
def test_fuzz_bytes(version, raw):
    with pytest.raises(Refused):
        ev.parse_pdu(raw, V[version])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(VERSIONS), st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_fuzz_damage(version, at, junk):
    raw = BASES[version].raw
    at %= len(raw)
    try:
        ev.parse_pdu(raw[:at] + junk + raw[at + len(junk) :], V[version])
    except Refused:
        pass


CONTENT = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
)
TYPES = st.sampled_from(
    ["m.room.message", "m.room.create", "m.room.member", "m.room.join_rules", "m.room.redaction",
     "m.room.power_levels", "m.room.aliases", "m.room.history_visibility"]
)  # fmt: skip
KNOWN = st.sampled_from(
    ["membership", "creator", "join_rule", "allow", "users", "invite", "aliases", "redacts",
     "history_visibility", "third_party_invite", "join_authorised_via_users_server", "ban"]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(VERSIONS), TYPES, CONTENT, st.dictionaries(KNOWN, CONTENT | st.text()))
def test_any_content_survives_build_and_parse(version, type_, content, known):
    room = Forge(version)
    event = room.make(ALICE, type_, content | known, prev=())
    if type_ == "m.room.create" and version == "12":
        return  # needs a room of its own
    parsed = ev.parse_pdu(event.raw, V[version])
    assert parsed == event
    assert parsed.content == content | known
    once = redact(event.pdu(), V[version])
    assert redact(once, V[version]) == once
    assert ev.event_id_of(once, V[version]) == event.event_id
