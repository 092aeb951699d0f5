"""POST /createRoom: presets, versions, overrides, first state, invites, aliases, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.rooms.versions import ROOM_VERSIONS
from tests.rooms.house import DOMAIN, House, Json, Person

PRESETS = {  # join rule, history, guests
    "private_chat": ("invite", "shared", "can_join"),
    "trusted_private_chat": ("invite", "shared", "can_join"),
    "public_chat": ("public", "shared", "forbidden"),
}


async def whole_state(who: Person, room: str) -> dict[tuple[str, str], Json]:
    found = await who.must("GET", "rooms", room, "state")
    return {(e["type"], e["state_key"]): e for e in found}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_every_preset_in_every_version(house: House, version: str, preset: str) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset=preset, room_version=version, invite=[batyr.id])
    now = await whole_state(ayna, room)
    join, history, guests = PRESETS[preset]
    assert now["m.room.join_rules", ""]["content"] == {"join_rule": join}
    assert now["m.room.history_visibility", ""]["content"] == {"history_visibility": history}
    assert now["m.room.guest_access", ""]["content"] == {"guest_access": guests}
    assert now["m.room.member", ayna.id]["content"]["membership"] == "join"
    assert now["m.room.member", batyr.id]["content"]["membership"] == "invite"
    check_power(now, version, preset, ayna, batyr)
    events = await ayna.history(room, "f")
    assert events[0]["type"] == "m.room.create"
    assert [e["type"] for e in events[1:3]] == ["m.room.member", "m.room.power_levels"]
    await batyr.join(room)
    await batyr.say(room)


def check_power(
    now: dict[tuple[str, str], Json], version: str, preset: str, ayna: Person, batyr: Person
) -> None:
    create = now["m.room.create", ""]["content"]
    levels = now["m.room.power_levels", ""]["content"]
    assert create["room_version"] == version
    assert ("creator" in create) is (int(version) < 11)
    trusted = preset == "trusted_private_chat"
    if version == "12":
        assert create.get("additional_creators", []) == ([batyr.id] if trusted else [])
        assert levels["users"] == {}
        assert levels["events"]["m.room.tombstone"] > levels["state_default"]
    else:
        expected = {ayna.id: 100, batyr.id: 100} if trusted else {ayna.id: 100}
        assert levels["users"] == expected


@pytest.mark.parametrize(
    ("visibility", "preset"), [("public", "public_chat"), ("private", "private_chat")]
)
async def test_visibility_chooses_the_preset(house: House, visibility: str, preset: str) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(visibility=visibility)
    found = await ayna.state(room, "m.room.join_rules")
    assert found["join_rule"] == PRESETS[preset][0]


async def test_private_rooms_are_encrypted_unless_told_otherwise(house: House) -> None:
    ayna = await house.person("ayna")
    assert await ayna.state(await ayna.create_room(), "m.room.encryption")
    public = await ayna.create_room(preset="public_chat")
    await ayna.refused(404, "M_NOT_FOUND", "GET", "rooms", public, "state", "m.room.encryption")


async def test_name_topic_and_first_state(house: House) -> None:
    ayna = await house.person("ayna")
    first = [
        {"type": "m.room.name", "content": {"name": "Lost"}},
        {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
        {"type": "test.a", "state_key": "k", "content": {"n": 1}},
        {"type": "test.b", "content": {}},
    ]
    room = await ayna.create_room(name="Kept", topic="About", initial_state=first)
    now = await whole_state(ayna, room)
    assert now["m.room.name", ""]["content"] == {"name": "Kept"}
    assert now["m.room.topic", ""]["content"]["topic"] == "About"
    plain = now["m.room.topic", ""]["content"]["m.topic"]["m.text"]
    assert plain == [{"body": "About"}]
    assert now["m.room.history_visibility", ""]["content"] == {"history_visibility": "joined"}
    assert now["test.a", "k"]["content"] == {"n": 1}
    assert now["test.b", ""]["content"] == {}
    order = [e["type"] for e in await ayna.history(room, "f")]
    assert order.index("m.room.history_visibility") < order.index("m.room.topic")


async def test_creation_content(house: House) -> None:
    ayna = await house.person("ayna")
    content = {"type": "m.space", "creator": "@x:y", "room_version": "1", "m.federate": False}
    room = await ayna.create_room(creation_content=content, room_version="10")
    create = await ayna.state(room, "m.room.create")
    assert create == {
        "type": "m.space",
        "m.federate": False,
        "creator": ayna.id,
        "room_version": "10",
    }


async def test_additional_creators_are_joined_with_the_invited(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(
        preset="trusted_private_chat",
        creation_content={"additional_creators": [cemal.id, batyr.id, ayna.id]},
        invite=[batyr.id],
    )
    create = await ayna.state(room, "m.room.create")
    assert sorted(create["additional_creators"]) == [batyr.id, cemal.id]
    await batyr.join(room)
    await batyr.set_state(room, "m.room.tombstone", {"body": "", "replacement_room": "!x:y"})


async def test_levels_are_overridden_key_by_key(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(power_level_content_override={"events_default": 7, "events": {}})
    levels = await ayna.state(room, "m.room.power_levels")
    assert (levels["events_default"], levels["events"], levels["ban"]) == (7, {}, 50)


async def test_direct_invites(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(is_direct=True, invite=[batyr.id, batyr.id, ayna.id])
    invite = await ayna.state(room, "m.room.member", batyr.id)
    assert invite["is_direct"] is True
    shown = (await batyr.sync())["rooms"]["invite"][room]["invite_state"]["events"]
    kinds = {e["type"] for e in shown}
    assert {"m.room.create", "m.room.join_rules", "m.room.member", "m.room.encryption"} <= kinds
    assert all(set(e) == {"type", "state_key", "sender", "content"} for e in shown)


async def test_an_alias_is_one_rooms(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(room_alias_name="çay")
    alias = f"#çay:{DOMAIN}"
    assert await ayna.state(room, "m.room.canonical_alias") == {"alias": alias}
    await batyr.refused(400, "M_ROOM_IN_USE", "POST", "createRoom", body={"room_alias_name": "çay"})
    assert await batyr.must("GET", "joined_rooms") == {"joined_rooms": []}
    found = await batyr.must("GET", "directory", "room", alias)
    assert found == {"room_id": room, "servers": [DOMAIN]}


def wish(**given: Any) -> Any:
    return given


BAD: list[tuple[Any, str]] = [
    (b"[]", "M_BAD_JSON"),
    (b"{", "M_NOT_JSON"),
    (b"\xff{}", "M_NOT_JSON"),
    (wish(visibility="secret"), "M_INVALID_PARAM"),
    (wish(visibility=5), "M_BAD_JSON"),
    (wish(preset="odd"), "M_INVALID_PARAM"),
    (wish(room_version="99"), "M_UNSUPPORTED_ROOM_VERSION"),
    (wish(room_version=10), "M_BAD_JSON"),
    (wish(room_alias_name=""), "M_INVALID_PARAM"),
    (wish(room_alias_name="a:b"), "M_INVALID_PARAM"),
    (wish(room_alias_name="a" * 300), "M_INVALID_PARAM"),
    (wish(room_alias_name="a\0b"), "M_INVALID_PARAM"),
    (wish(name=5), "M_BAD_JSON"),
    (wish(name="n" * 70_000), "M_TOO_LARGE"),
    (wish(topic=[]), "M_BAD_JSON"),
    (wish(invite="x"), "M_BAD_JSON"),
    (wish(invite=[5]), "M_BAD_JSON"),
    (wish(invite=["nobody"]), "M_INVALID_PARAM"),
    (wish(invite=["@:" + DOMAIN]), None),
    (wish(invite=[f"@{n}:{DOMAIN}" for n in range(500)]), "M_TOO_LARGE"),
    (wish(creation_content=[]), "M_BAD_JSON"),
    (wish(creation_content={"n": 1.5}), "M_BAD_JSON"),
    (wish(creation_content={"n": 2**60}), "M_BAD_JSON"),
    (wish(creation_content={"additional_creators": "x"}), "M_INVALID_PARAM"),
    (wish(creation_content={"additional_creators": ["x"]}), "M_INVALID_PARAM"),
    (wish(initial_state={}), "M_BAD_JSON"),
    (wish(initial_state=[{}]), "M_BAD_JSON"),
    (wish(initial_state=[{"type": "a"}]), "M_BAD_JSON"),
    (wish(initial_state=[{"type": 5, "content": {}}]), "M_BAD_JSON"),
    (wish(initial_state=[{"type": "a" * 300, "content": {}}]), "M_TOO_LARGE"),
    (wish(initial_state=[{"type": "a\0", "content": {}}]), "M_INVALID_PARAM"),
    (wish(initial_state=[{"type": "a", "content": []}]), "M_BAD_JSON"),
    (wish(initial_state=[{"type": "a", "content": {"x": 1.1}}]), "M_BAD_JSON"),
    (wish(initial_state=[{"type": "a", "content": {}}] * 1000), "M_TOO_LARGE"),
    (wish(initial_state=[{"type": "m.room.create", "content": {}}]), "M_INVALID_ROOM_STATE"),
    (
        wish(initial_state=[{"type": "m.room.member", "content": {}, "state_key": "@x:y"}]),
        "M_INVALID_ROOM_STATE",
    ),
    (wish(power_level_content_override=5), "M_BAD_JSON"),
    (wish(power_level_content_override={"ban": "x"}), "M_INVALID_ROOM_STATE"),
    (wish(power_level_content_override={"ban": 1.5}), "M_BAD_JSON"),
    (wish(power_level_content_override={"users": {"x": 1}}), "M_INVALID_ROOM_STATE"),
    (wish(room_version="11", power_level_content_override={"users": {}}), "M_INVALID_ROOM_STATE"),
    (b'{"name":"\\ud800"}', "M_NOT_JSON"),
    (b'{"initial_state":[{"type":"a","content":{"b":"\\udfff"}}]}', "M_NOT_JSON"),
    (b'{"initial_state":[{"type":"a","content":{"b":NaN}}]}', "M_NOT_JSON"),
    (b'{"initial_state":[{"type":"a","content":{"b":1e999}}]}', "M_BAD_JSON"),
    (b'{"creation_content":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, "M_NOT_JSON"),
    (wish(invite_3pid=[{}]), None),
]


@pytest.mark.parametrize(("body", "errcode"), BAD, ids=range(len(BAD)))
async def test_bad_wishes(house: House, body: Any, errcode: str | None) -> None:
    ayna = await house.person("ayna")
    answer = await ayna.call("POST", "createRoom", body=body)
    assert 400 <= answer.status < 500, answer
    if errcode is not None:
        assert answer.errcode == errcode, answer
    assert answer.status != 403 or errcode is None
    assert await ayna.must("GET", "joined_rooms") == {"joined_rooms": []}
