"""Authorization rules as tables: what passes and what does not, in one room, by version."""

from __future__ import annotations

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.base.signing import SigningKey, sign_json
from kerwen.rooms import auth
from kerwen.rooms.build import add_signature, sign_template
from kerwen.rooms.event import parse_pdu

from .forge import ALICE, BOB, CAROL, MOD, VERSIONS, Forge, from_to, key_of

# --- memberships --------------------------------------------------------------------------
# (join rule, Bob's membership now, sender, new membership of Bob, versions that allow it)
ALL, NONE = from_to(3), []
MEMBERSHIPS = [
    ("public", None, BOB, "join", ALL),
    ("public", "leave", BOB, "join", ALL),
    ("public", "join", BOB, "join", ALL),
    ("public", "ban", BOB, "join", NONE),
    ("public", None, ALICE, "join", NONE),
    ("invite", None, BOB, "join", NONE),
    ("invite", "invite", BOB, "join", ALL),
    ("invite", "join", BOB, "join", ALL),
    ("invite", "ban", BOB, "join", NONE),
    ("invite", "knock", BOB, "join", NONE),
    (None, None, BOB, "join", NONE),
    (None, "invite", BOB, "join", ALL),
    ("private", "invite", BOB, "join", NONE),
    ("knock", "invite", BOB, "join", from_to(7)),
    ("knock", None, BOB, "join", NONE),
    ("restricted", "invite", BOB, "join", from_to(8)),
    ("restricted", "join", BOB, "join", from_to(8)),
    ("restricted", None, BOB, "join", NONE),
    ("knock_restricted", "invite", BOB, "join", from_to(10)),
    ("knock_restricted", None, BOB, "join", NONE),
    ("knock", None, BOB, "knock", from_to(7)),
    ("knock", "leave", BOB, "knock", from_to(7)),
    ("knock", "knock", BOB, "knock", from_to(7)),
    ("knock", None, ALICE, "knock", NONE),
    ("knock", "ban", BOB, "knock", NONE),
    ("knock", "invite", BOB, "knock", NONE),
    ("knock", "join", BOB, "knock", NONE),
    ("knock_restricted", None, BOB, "knock", from_to(10)),
    ("restricted", None, BOB, "knock", NONE),
    ("invite", None, BOB, "knock", NONE),
    (None, None, BOB, "knock", NONE),
    ("invite", None, ALICE, "invite", ALL),
    ("invite", None, MOD, "invite", ALL),
    ("invite", "leave", ALICE, "invite", ALL),
    ("invite", "invite", ALICE, "invite", ALL),
    ("invite", "knock", ALICE, "invite", ALL),
    ("invite", "join", ALICE, "invite", NONE),
    ("invite", "ban", ALICE, "invite", NONE),
    ("invite", None, CAROL, "invite", NONE),
    ("invite", None, BOB, "invite", NONE),
    ("invite", "join", BOB, "leave", ALL),
    ("invite", "invite", BOB, "leave", ALL),
    ("invite", "knock", BOB, "leave", from_to(7)),
    ("invite", "leave", BOB, "leave", NONE),
    ("invite", None, BOB, "leave", NONE),
    ("invite", "ban", BOB, "leave", NONE),
    ("invite", "join", MOD, "leave", ALL),
    ("invite", "ban", MOD, "leave", ALL),
    ("invite", "knock", MOD, "leave", ALL),
    ("invite", "join", CAROL, "leave", NONE),
    ("invite", "join", MOD, "ban", ALL),
    ("invite", None, MOD, "ban", ALL),
    ("invite", "join", BOB, "ban", NONE),
    ("invite", "join", CAROL, "ban", NONE),
    ("public", None, BOB, "sing", NONE),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("rule", "now", "sender", "membership", "allowed"), MEMBERSHIPS)
def test_membership(version, rule, now, sender, membership, allowed):
    room = Forge(version).furnish(rule)
    if now is not None:
        room.member(BOB, now, sender=ALICE)
    event = room.make(sender, "m.room.member", {"membership": membership}, BOB)
    assert room.allows(event) == (version in allowed)


LEVELS_BY_ACTION = [
    # (levels, sender, target, membership now, new membership, allowed)
    ({"invite": 60}, MOD, BOB, None, "invite", False),
    ({"invite": 50}, MOD, BOB, None, "invite", True),
    ({"kick": 60}, MOD, BOB, "join", "leave", False),
    ({"ban": 60}, MOD, BOB, "join", "ban", False),
    ({"ban": 60}, MOD, BOB, "ban", "leave", False),
    ({"ban": 60, "kick": 10}, MOD, BOB, "join", "leave", True),
    ({"users": {BOB: 50}}, MOD, BOB, "join", "leave", False),
    ({"users": {BOB: 49}}, MOD, BOB, "join", "leave", True),
    ({"users": {BOB: 50}}, MOD, BOB, "join", "ban", False),
    ({"users_default": 50}, MOD, BOB, "join", "ban", False),
    ({}, MOD, ALICE, "join", "ban", False),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("levels", "sender", "target", "now", "membership", "allowed"), LEVELS_BY_ACTION
)
def test_level_of_membership_changes(version, levels, sender, target, now, membership, allowed):
    room = Forge(version).furnish(**{k: dict(v) if k == "users" else v for k, v in levels.items()})
    if now is not None:
        room.member(target, now, sender=ALICE)
    event = room.make(sender, "m.room.member", {"membership": membership}, target)
    assert room.allows(event) is allowed


@pytest.mark.parametrize("version", VERSIONS)
def test_first_join_is_the_creators(version):
    room = Forge(version)
    assert room.allows(room.make(ALICE, "m.room.member", {"membership": "join"}, ALICE))
    assert not room.allows(room.make(BOB, "m.room.member", {"membership": "join"}, BOB))
    room.put(ALICE, "m.room.topic", {"topic": "x"})
    assert not room.allows(room.make(ALICE, "m.room.member", {"membership": "join"}, ALICE))


@pytest.mark.parametrize("version", VERSIONS)
def test_member_events_need_their_parts(version):
    room = Forge(version).furnish("public")
    assert not room.allows(room.make(BOB, "m.room.member", {"membership": "join"}))
    assert not room.allows(room.make(BOB, "m.room.member", {}, BOB))
    assert not room.allows(room.make(BOB, "m.room.member", {"membership": ["join"]}, BOB))
    assert room.allows(room.make(BOB, "m.room.member", {"membership": "join"}, BOB))


# --- restricted joins ---------------------------------------------------------------------


def restricted_join(room, authorizer, *signers):
    content = {"membership": "join", "join_authorised_via_users_server": authorizer}
    event = room.make(BOB, "m.room.member", content, BOB)
    for server in signers:
        event = add_signature(event, key_of(server), server)
    return event


@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
@pytest.mark.parametrize("version", VERSIONS)
def test_restricted_join(version, rule):
    room = Forge(version).furnish(rule, invite=50)
    can = version in from_to(8 if rule == "restricted" else 10)
    assert room.allows(restricted_join(room, MOD, "a.test")) is can
    assert not room.allows(restricted_join(room, MOD))  # not signed by a.test
    assert not room.allows(restricted_join(room, MOD, "c.test"))
    assert not room.allows(restricted_join(room, CAROL, "c.test"))  # Carol is not in the room
    room.member(CAROL, "join", sender=ALICE)
    assert not room.allows(restricted_join(room, CAROL, "c.test"))  # Carol may not invite
    room.member(BOB, "ban", sender=ALICE)
    assert not room.allows(restricted_join(room, MOD, "a.test"))


def test_a_public_join_may_name_an_authorizer_but_its_server_must_sign():
    room = Forge("12").furnish("public")
    assert room.allows(restricted_join(room, MOD, "a.test"))
    assert not room.allows(restricted_join(room, MOD))
    event = restricted_join(room, MOD, "a.test")
    assert auth.required_signers(event) == {"a.test", "b.test"}
    assert ("m.room.member", MOD) in auth.auth_types_of(event)


def test_required_signers():
    room = Forge("12").furnish()
    assert auth.required_signers(room.make(BOB, "m.room.message", {})) == {"b.test"}
    invite = room.make(BOB, "m.room.member", {"membership": "invite"}, CAROL)
    assert auth.required_signers(invite) == {"b.test"}
    old = Forge("7").furnish("public")
    assert auth.required_signers(restricted_join(old, MOD)) == {"b.test"}


def test_authorizer_that_is_no_user_id():
    room = Forge("12").furnish("restricted")
    content = {"membership": "join", "join_authorised_via_users_server": 7}
    assert not room.allows(room.make(BOB, "m.room.member", content, BOB))


# --- invites by address -------------------------------------------------------------------

IDENTITY = SigningKey("0", b"i" * 32)


def address_invite(room, *, sender=ALICE, key=IDENTITY, mxid=BOB, token="tok", **override):
    signed = sign_json({"mxid": mxid, "token": token}, "id.test", key)
    content = {"membership": "invite", "third_party_invite": {"signed": signed}, **override}
    return room.make(sender, "m.room.member", content, BOB)


def room_with_offer(version, keys_in="public_key"):
    room = Forge(version).furnish()
    offer = {"display_name": "b…"}
    if keys_in == "public_key":
        offer["public_key"] = IDENTITY.public_base64
    else:
        offer |= {"public_key": "!", "public_keys": [{"public_key": IDENTITY.public_base64}]}
    room.put(ALICE, "m.room.third_party_invite", offer, "tok")
    return room


@pytest.mark.parametrize("keys_in", ["public_key", "public_keys"])
@pytest.mark.parametrize("version", VERSIONS)
def test_third_party_invite(version, keys_in):
    room = room_with_offer(version, keys_in)
    good = address_invite(room)
    assert room.allows(good)
    assert ("m.room.third_party_invite", "tok") in auth.auth_types_of(good)
    assert auth.required_signers(good) == set()
    bad = [
        address_invite(room, sender=MOD),  # not who made the offer
        address_invite(room, mxid=CAROL),
        address_invite(room, token="other"),
        address_invite(room, key=SigningKey("0", b"x" * 32)),
        address_invite(room, third_party_invite={}),
        address_invite(room, third_party_invite="x"),
        address_invite(room, third_party_invite={"signed": {"mxid": BOB}}),
        address_invite(room, third_party_invite={"signed": {"token": "tok"}}),
        address_invite(room, third_party_invite={"signed": {"mxid": BOB, "token": "tok"}}),
        address_invite(
            room,
            third_party_invite={
                "signed": {
                    "mxid": BOB,
                    "token": "tok",
                    "signatures": {"id.test": {"ed25519:0": "*"}},
                }
            },
        ),
    ]
    assert [room.allows(event) for event in bad] == [False] * len(bad)
    room.member(BOB, "ban", sender=ALICE)
    assert not room.allows(address_invite(room))


def test_third_party_invite_that_cannot_be_encoded():
    room = room_with_offer("5")
    pdu = address_invite(room).pdu()
    pdu["content"]["third_party_invite"]["signed"]["x"] = 2**70  # rooms of version 5 take it
    assert not room.allows(sign_template(pdu, room.version, key_of("a.test"), "a.test"))


@pytest.mark.parametrize("version", VERSIONS)
def test_offering_an_invite_needs_the_invite_level(version):
    room = Forge(version).furnish(invite=50)
    room.member(BOB, "join", sender=ALICE)
    assert room.allows(room.make(MOD, "m.room.third_party_invite", {}, "t"))
    assert not room.allows(room.make(BOB, "m.room.third_party_invite", {}, "t"))
    assert not room.allows(room.make(CAROL, "m.room.third_party_invite", {}, "t"))


# --- the create event, federation, other rooms --------------------------------------------


def refused(event, state=None):
    with pytest.raises(Refused) as caught:
        auth.check_auth(event, state or {})
    assert caught.value.reason is Reason.FORBIDDEN
    assert caught.value.public_text
    return True


@pytest.mark.parametrize("version", VERSIONS)
def test_create(version):
    room = Forge(version)
    auth.check_auth(room.create, {})
    refused(room.make(ALICE, "m.room.create", {"creator": ALICE}, "", prev=("$x",)))
    room.room_id = None if version == "12" else room.room_id
    for bad in ("99", 5, None):
        content = {"creator": ALICE, "room_version": bad}
        refused(room.make(ALICE, "m.room.create", content, "", prev=()))
    auth.check_auth(room.make(ALICE, "m.room.create", {"creator": ALICE}, "", prev=()), {})
    no_creator = room.make(ALICE, "m.room.create", {}, "", prev=())
    if version in ("11", "12"):
        auth.check_auth(no_creator, {})
    else:
        refused(no_creator)
    elsewhere = room.make(BOB, "m.room.create", {"creator": BOB}, "", prev=())
    if version == "12":
        auth.check_auth(elsewhere, {})
    else:
        refused(elsewhere)


@pytest.mark.parametrize(
    ("creators", "allowed"),
    [([], True), ([BOB, CAROL], True), ("x", False), ([1], False), (["bob"], False), (None, False)],
)
def test_additional_creators(creators, allowed):
    room = Forge("12")
    room.room_id = None
    event = room.make(ALICE, "m.room.create", {"additional_creators": creators}, "", prev=())
    assert room.allows(event) is allowed
    old = Forge("11").make(ALICE, "m.room.create", {"additional_creators": 1}, "", prev=())
    auth.check_auth(old, {})  # means nothing before version 12


@pytest.mark.parametrize("version", VERSIONS)
def test_a_room_needs_its_own_create_event(version):
    room = Forge(version).furnish()
    event = room.make(ALICE, "m.room.message", {})
    assert room.allows(event)
    refused(event, {k: v for k, v in room.state.items() if k != auth.CREATE})
    # another room, whose create event differs
    other = Forge(version, note="other").furnish()
    other_id = other.room_id
    if version != "12":
        other.room_id = "!other:a.test"
        other.create = other.put(ALICE, "m.room.create", {"creator": ALICE})
    refused(event, other.state)
    assert other_id is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_unfederated_rooms(version):
    room = Forge(version, **{"m.federate": False}).furnish("public")
    assert room.allows(room.make(MOD, "m.room.message", {}))
    assert room.allows(
        room.make("@dan:a.test", "m.room.member", {"membership": "join"}, "@dan:a.test")
    )
    assert not room.allows(room.make(BOB, "m.room.member", {"membership": "join"}, BOB))
    room.member(BOB, "join")
    assert not room.allows(room.make(BOB, "m.room.message", {}))


@pytest.mark.parametrize("version", VERSIONS)
def test_aliases(version):
    room = Forge(version).furnish()
    old = version in from_to(3, 5)
    assert room.allows(room.make(BOB, "m.room.aliases", {}, "b.test")) is old
    assert not room.allows(room.make(BOB, "m.room.aliases", {}, "a.test"))
    assert not room.allows(room.make(BOB, "m.room.aliases", {}))
    assert room.allows(room.make(MOD, "m.room.aliases", {}, "other")) is not old


# --- sending ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_sending_needs_membership_and_level(version):
    room = Forge(version).furnish(events={"x.low": 0, "x.high": 75}, users={BOB: 10})
    assert not room.allows(room.make(BOB, "m.room.message", {}))  # not in the room
    room.member(BOB, "join", sender=ALICE)
    table = [
        (BOB, "m.room.message", None, True),
        (BOB, "m.room.topic", "", False),
        (MOD, "m.room.topic", "", True),
        (BOB, "x.low", "", True),
        (MOD, "x.high", None, False),
        (ALICE, "x.high", None, True),
        (BOB, "x.low", BOB, True),
        (BOB, "x.low", MOD, False),
        (ALICE, "x.low", BOB, False),
        (BOB, "m.room.redaction", None, True),
    ]
    for sender, type_, state_key, allowed in table:
        assert room.allows(room.make(sender, type_, {}, state_key)) is allowed, (sender, type_)
    for membership in ("leave", "ban", "invite", "knock"):
        room.member(BOB, membership, sender=ALICE)
        assert not room.allows(room.make(BOB, "m.room.message", {}))


@pytest.mark.parametrize("version", VERSIONS)
def test_defaults_without_power_levels(version):
    room = Forge(version)
    for user in (ALICE, BOB):
        room.member(user, "join")
    assert room.allows(room.make(ALICE, "m.room.topic", {}, ""))
    assert room.allows(room.make(BOB, "m.room.message", {}))
    assert not room.allows(room.make(BOB, "m.room.topic", {}, ""))
    assert room.allows(room.make(ALICE, "m.room.member", {"membership": "ban"}, BOB))


# --- power levels -------------------------------------------------------------------------
# (levels now, levels wanted, sender, allowed); Alice has 100 (v12: infinite), Mod 50, Bob 0
CHANGES = [
    ({}, {}, MOD, True),
    ({}, {"users_default": 50}, MOD, True),
    ({}, {"users_default": 51}, MOD, False),
    ({"users_default": 60}, {}, MOD, False),
    ({"kick": 50}, {"kick": 10}, MOD, True),
    ({"kick": 51}, {"kick": 10}, MOD, False),
    ({"kick": 51}, {"kick": 51}, MOD, True),
    ({"ban": 10}, {"ban": 51}, MOD, False),
    ({"invite": 10}, {}, MOD, True),
    ({"events": {"x": 50}}, {"events": {"x": 0}}, MOD, True),
    ({"events": {"x": 51}}, {"events": {"x": 0}}, MOD, False),
    ({"events": {"x": 51}}, {"events": {}}, MOD, False),
    ({"events": {}}, {"events": {"x": 51}}, MOD, False),
    ({"events": {}}, {"events": {"x": 50}}, MOD, True),
    ({"users": {BOB: 0}}, {"users": {BOB: 50}}, MOD, True),
    ({"users": {BOB: 0}}, {"users": {BOB: 51}}, MOD, False),
    ({"users": {BOB: 49}}, {"users": {}}, MOD, True),
    ({"users": {BOB: 50}}, {"users": {}}, MOD, False),
    ({"users": {BOB: 50}}, {"users": {BOB: 10}}, MOD, False),
    ({"users": {BOB: 60}}, {"users": {BOB: 60}}, MOD, True),
    ({"users": {MOD: 50}}, {"users": {MOD: 0}}, MOD, True),
    ({"users": {MOD: 50}}, {"users": {MOD: 60}}, MOD, False),
    ({}, {"x.unknown": 1000}, MOD, True),
    ({}, {"users_default": 100}, ALICE, True),
    ({}, {"state_default": 0}, BOB, False),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("now", "wanted", "sender", "allowed"), CHANGES)
def test_power_level_changes(version, now, wanted, sender, allowed):
    room = Forge(version).furnish()
    room.member(BOB, "join", sender=ALICE)
    base = {MOD: 50} if version == "12" else {MOD: 50, ALICE: 100}
    room.put(ALICE, "m.room.power_levels", {**now, "users": base | now.get("users", {})})
    content = {**wanted, "users": base | wanted.get("users", {})}
    assert room.allows(room.make(sender, "m.room.power_levels", content, "")) is allowed


@pytest.mark.parametrize("version", VERSIONS)
def test_notification_levels_count_from_version_6(version):
    room = Forge(version).furnish()
    users = room.state[auth.POWER_LEVELS].content["users"]
    content = {"users": users, "notifications": {"room": 51}}
    event = room.make(MOD, "m.room.power_levels", content, "")
    assert room.allows(event) is (version in from_to(3, 5))


FORMATS = [
    # (content, allowed until version 9, allowed from version 10)
    ({"ban": "50"}, True, False),
    ({"ban": " +050 "}, True, False),
    ({"ban": "5_0"}, False, False),
    ({"ban": "many"}, False, False),
    ({"ban": True}, False, False),
    ({"ban": None}, False, False),
    ({"users": {BOB: "10"}}, True, False),
    ({"users": {BOB: "ten"}}, False, False),
    ({"users": {"bob": 10}}, False, False),
    ({"users": {"@bob": 10}}, False, False),
    ({"users": []}, False, False),
    ({"users": None}, False, False),
    ({"events": {"x": "10"}}, True, False),
    ({"events": {"x": []}}, False, False),
    ({"events": []}, True, False),
    ({"events": {"x": 10}}, True, True),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("content", "before", "after"), FORMATS)
def test_power_level_formats(version, content, before, after):
    room = Forge(version).furnish()
    event = room.make(ALICE, "m.room.power_levels", content, "")
    assert room.allows(event) is (after if version in from_to(10) else before)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("content", "before", "after"),
    [
        ({}, True, True),
        ({"ban": 2000}, True, True),
        ({"ban": "50"}, True, False),
        ({"invite": "many"}, True, False),
        ({"events": {"x": "10"}}, True, False),
        ({"notifications": []}, True, False),
        ({"users": {"bob": 10}}, False, False),
        ({"users": {BOB: None}}, False, False),
    ],
)
def test_first_power_levels(version, content, before, after):
    room = Forge(version)
    room.member(ALICE, "join")
    event = room.make(ALICE, "m.room.power_levels", content, "")
    assert room.allows(event) is (after if version in from_to(10) else before)


def test_creators_power_is_beyond_setting():
    room = Forge("12", additional_creators=[BOB]).furnish()
    room.member(BOB, "join", sender=ALICE)
    for user in (ALICE, BOB):
        event = room.make(ALICE, "m.room.power_levels", {"users": {user: 100}}, "")
        assert not room.allows(event)
    top = room.make(BOB, "m.room.power_levels", {"users": {CAROL: 2**53 - 1}}, "")
    assert room.allows(top)
    room.state[top.key] = top
    room.member(CAROL, "join", sender=ALICE)
    assert not room.allows(room.make(CAROL, "m.room.member", {"membership": "ban"}, BOB))
    assert room.allows(room.make(BOB, "m.room.member", {"membership": "ban"}, CAROL))
    assert not room.allows(room.make(BOB, "m.room.member", {"membership": "ban"}, ALICE))


def test_additional_creators_mean_nothing_before_version_12():
    room = Forge("11", additional_creators=[BOB]).furnish()
    room.member(BOB, "join", sender=ALICE)
    assert not room.allows(room.make(BOB, "m.room.topic", {}, ""))


def test_floats_are_levels_until_version_5():
    room = Forge("5").furnish()
    event = room.make(ALICE, "m.room.power_levels", {"ban": 50}, "")
    pdu = event.pdu()
    pdu["content"]["ban"] = 50.57
    assert room.allows(parse_pdu(pdu, room.version))


# --- auth events --------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_auth_types(version):
    room = Forge(version).furnish("restricted")
    first = [] if version == "12" else [auth.CREATE]
    basic = [*first, auth.POWER_LEVELS, ("m.room.member", BOB)]
    v = room.version
    assert auth.auth_types(v, "m.room.create", BOB, "", {}) == []
    assert auth.auth_types(v, "m.room.message", BOB, None, {}) == basic
    assert auth.auth_types(v, "m.room.topic", BOB, "", {"membership": "join"}) == basic
    table = [
        ("leave", []),
        ("ban", []),
        ("invite", [auth.JOIN_RULES]),
        ("join", [auth.JOIN_RULES]),
        ("knock", [auth.JOIN_RULES]),
    ]
    for membership, more in table:
        found = auth.auth_types(v, "m.room.member", BOB, CAROL, {"membership": membership})
        assert found == [*basic, ("m.room.member", CAROL), *more]
    content = {"membership": "join", "join_authorised_via_users_server": MOD}
    found = auth.auth_types(v, "m.room.member", BOB, BOB, content)
    restricted = [("m.room.member", MOD)] if version in from_to(8) else []
    assert found == [*basic, auth.JOIN_RULES, *restricted]


@pytest.mark.parametrize("version", VERSIONS)
def test_auth_events_must_be_the_selected_ones(version):
    room = Forge(version).furnish()
    event = room.make(MOD, "m.room.topic", {}, "")
    good = [room.events[i] for i in event.auth_events]
    auth.check_auth_events(event, good)
    auth.check_auth_events(room.create, [])
    rejected = parse_pdu(good[-1].raw, room.version)
    rejected = type(rejected)(
        **{f: getattr(rejected, f) for f in rejected.__struct_fields__} | {"rejected": True}
    )
    older = room.make(MOD, "m.room.member", {"membership": "join"}, MOD)
    stranger = Forge(version, creator="@z:z.test").furnish().member(MOD, "join")
    bad = [
        [*good, room.state[auth.JOIN_RULES]],
        [*good, room.make(MOD, "m.room.message", {})],
        [*good, older],
        [*good[:-1], rejected],
        [*good[:-1], stranger],
    ]
    bad.append([*good, room.create] if version == "12" else good[1:])
    for events in bad:
        with pytest.raises(Refused):
            auth.check_auth_events(event, events)


@pytest.mark.parametrize("version", VERSIONS)
def test_redactions_take_effect(version):
    room = Forge(version).furnish()
    room.member(BOB, "join", sender=ALICE)
    by_bob = room.make(BOB, "m.room.message", {})
    by_mod = room.make(MOD, "m.room.message", {})
    table = [
        (MOD, by_bob, True),  # has the redact level
        (BOB, by_bob, True),  # the same server
        ("@other:b.test", by_bob, True),
        (BOB, by_mod, False),
    ]
    for sender, target, effective in table:
        redaction = room.make(sender, "m.room.redaction", {}, redacts=target.event_id)
        assert redaction.redacts == target.event_id
        assert auth.may_redact(redaction, target, room.state) is effective
