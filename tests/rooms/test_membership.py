"""Coming and going: every transition by every rule, as the API shows it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.rooms.house import DOMAIN, House, Person, ids

# who acts, on whom: ayna (creator), mod (level 50), batyr; "self" is batyr himself
BEFORE = ("none", "invite", "join", "knock", "leave", "ban")


async def room_with(
    ayna: Person, mod: Person, rule: str, version: str = "12", **levels: Any
) -> str:
    users = {mod.id: 50} if version == "12" else {ayna.id: 100, mod.id: 50}
    room = await ayna.create_room(
        preset="public_chat",
        room_version=version,
        power_level_content_override={"users": users, "invite": 50, **levels},
    )
    await mod.join(room)
    await ayna.set_state(room, "m.room.join_rules", {"join_rule": rule})
    return room


async def bring(ayna: Person, batyr: Person, room: str, state: str) -> None:
    """Batyr's membership becomes `state`."""
    if state == "none":
        return
    if state == "knock":
        now = await ayna.state(room, "m.room.join_rules")
        await ayna.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
        await batyr.must("POST", "knock", room)
        await ayna.set_state(room, "m.room.join_rules", now)
        return
    if state == "ban":
        await ayna.ban(room, batyr)
        return
    now = await ayna.state(room, "m.room.join_rules")
    await ayna.set_state(room, "m.room.join_rules", {"join_rule": "invite"})
    await ayna.invite(room, batyr)
    if state in ("join", "leave"):
        await batyr.join(room)
    if state == "leave":
        await batyr.leave(room)
    await ayna.set_state(room, "m.room.join_rules", now)


def me(verb: str, *parts: str) -> Callable[[Person, Person, Person, str], Awaitable[Any]]:
    def act(ayna: Person, mod: Person, batyr: Person, room: str) -> Awaitable[Any]:
        path = (verb, room) if verb == "knock" else ("rooms", room, verb)
        return batyr.call("POST", *path)

    return act


def by(who: str, verb: str) -> Callable[[Person, Person, Person, str], Awaitable[Any]]:
    def act(ayna: Person, mod: Person, batyr: Person, room: str) -> Awaitable[Any]:
        actor = {"ayna": ayna, "mod": mod, "self": batyr}[who]
        return actor.call("POST", "rooms", room, verb, body={"user_id": batyr.id})

    return act


# deed → membership before → membership after; what is not listed is refused (403)
TRANSITIONS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("public", "join", me("join"), dict.fromkeys(set(BEFORE) - {"ban"}, "join")),
    ("invite", "join", me("join"), {"invite": "join", "join": "join"}),
    ("knock", "join", me("join"), {"invite": "join", "join": "join"}),
    ("private", "join", me("join"), {"join": "join"}),
    ("knock", "knock", me("knock"), {"none": "knock", "leave": "knock", "knock": "knock"}),
    ("invite", "knock", me("knock"), {}),
    ("public", "knock", me("knock"), {}),
    (
        "invite",
        "leave",
        me("leave"),
        {"invite": "leave", "join": "leave", "knock": "leave", "leave": "leave"},
    ),
    (
        "invite",
        "invite by ayna",
        by("ayna", "invite"),
        {"none": "invite", "invite": "invite", "knock": "invite", "leave": "invite"},
    ),
    (
        "invite",
        "invite by mod",
        by("mod", "invite"),
        {"none": "invite", "invite": "invite", "knock": "invite", "leave": "invite"},
    ),
    ("invite", "invite oneself", by("self", "invite"), {}),
    (
        "invite",
        "kick by mod",
        by("mod", "kick"),
        {"invite": "leave", "join": "leave", "knock": "leave"},
    ),
    (
        "invite",
        "kick oneself",
        by("self", "kick"),
        {"invite": "leave", "join": "leave", "knock": "leave"},
    ),
    ("invite", "ban by mod", by("mod", "ban"), dict.fromkeys(BEFORE, "ban")),
    ("invite", "ban oneself", by("self", "ban"), {}),
    ("invite", "unban by mod", by("mod", "unban"), {"ban": "leave"}),
    ("invite", "unban oneself", by("self", "unban"), {}),
]


@pytest.mark.parametrize(
    ("rule", "deed", "before"),
    [(t[0], n, b) for n, t in enumerate(TRANSITIONS) for b in BEFORE],
)
async def test_transitions(house: House, rule: str, deed: int, before: str) -> None:
    ayna, mod, batyr = await house.people("ayna", "mod", "batyr")
    _, name, act, table = TRANSITIONS[deed]
    room = await room_with(ayna, mod, rule)
    await bring(ayna, batyr, room, before)
    events = ids(await ayna.history(room))
    answer = await act(ayna, mod, batyr, room)
    after = await ayna.membership(room, batyr)
    if before in table:
        assert answer.status == 200, answer
        assert after == table[before]
    else:
        # only who was shut out can be let in again; strangers are told nothing of that
        inside = name == "unban by mod" or before == "join"
        code = "M_BAD_STATE" if name.startswith("unban") and inside else "M_FORBIDDEN"
        assert (answer.status, answer.errcode) == (403, code), answer
        assert after == (None if before == "none" else before)
        assert ids(await ayna.history(room)) == events


LEVELS = [  # needed level, of whom it is asked, who may
    ("kick", "mod", 50, True),
    ("kick", "mod", 51, False),
    ("ban", "mod", 50, True),
    ("ban", "mod", 51, False),
    ("invite", "mod", 50, True),
    ("invite", "mod", 51, False),
    ("invite", "cemal", 0, True),
    ("invite", "cemal", 1, False),
    ("kick", "cemal", 0, False),  # the target is as strong as cemal
]


@pytest.mark.parametrize(("verb", "who", "level", "allowed"), LEVELS)
@pytest.mark.parametrize("version", ["5", "11", "12"])
async def test_levels(
    house: House, version: str, verb: str, who: str, level: int, allowed: bool
) -> None:
    ayna, mod, batyr, cemal = await house.people("ayna", "mod", "batyr", "cemal")
    room = await room_with(ayna, mod, "public", version, **{verb: level})
    await cemal.join(room)
    if verb != "invite":
        await batyr.join(room)
    actor = {"mod": mod, "cemal": cemal}[who]
    answer = await actor.call("POST", "rooms", room, verb, body={"user_id": batyr.id})
    assert answer.status == (200 if allowed else 403), answer


@pytest.mark.parametrize("verb", ["kick", "ban"])
async def test_nobody_removes_the_stronger(house: House, verb: str) -> None:
    ayna, mod, second = await house.people("ayna", "mod", "second")
    room = await room_with(ayna, mod, "public", "11")
    await second.join(room)
    await ayna.levels(room, users={ayna.id: 100, mod.id: 50, second.id: 50})
    for target in (second, ayna):
        body = {"user_id": target.id}
        await mod.refused(403, "M_FORBIDDEN", "POST", "rooms", room, verb, body=body)
        assert await ayna.membership(room, target) == "join"


async def test_reasons_and_profiles(house: House) -> None:
    ayna, mod, batyr = await house.people("ayna", "mod", "batyr")
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "Batyr"})
    room = await room_with(ayna, mod, "invite")
    body = {"user_id": batyr.id, "reason": "come"}
    await ayna.must("POST", "rooms", room, "invite", body=body)
    found = await ayna.state(room, "m.room.member", batyr.id)
    assert found == {"membership": "invite", "displayname": "Batyr", "reason": "come"}
    await batyr.must("POST", "join", room, body={"reason": "gladly"})
    found = await ayna.state(room, "m.room.member", batyr.id)
    assert found == {"membership": "join", "displayname": "Batyr", "reason": "gladly"}
    await ayna.must("POST", "rooms", room, "kick", body={"user_id": batyr.id, "reason": "out"})
    found = await ayna.state(room, "m.room.member", batyr.id)
    assert found == {"membership": "leave", "reason": "out"}


async def test_a_new_name_is_told_in_every_room(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(2)]
    left = await ayna.create_room(preset="public_chat")
    for room in (*rooms, left):
        await batyr.join(room)
    await batyr.leave(left)
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "B"})
    for room in rooms:
        found = await ayna.state(room, "m.room.member", batyr.id)
        assert found == {"membership": "join", "displayname": "B"}
    assert (await ayna.state(left, "m.room.member", batyr.id)) == {"membership": "leave"}


async def restricted(ayna: Person, rule: str, version: str, *doors: str) -> str:
    allow = [{"type": "m.room_membership", "room_id": door} for door in doors]
    state = {"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}}
    return await ayna.create_room(room_version=version, initial_state=[state])


@pytest.mark.parametrize(
    ("rule", "version"),
    [
        ("restricted", "8"),
        ("restricted", "9"),
        ("restricted", "10"),
        ("restricted", "12"),
        ("knock_restricted", "10"),
        ("knock_restricted", "12"),
    ],
)
async def test_restricted_rooms(house: House, rule: str, version: str) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    door, other = await ayna.create_room(preset="public_chat"), await ayna.create_room()
    room = await restricted(ayna, rule, version, other, "!unknown:x.test", door)
    await batyr.refused(403, "M_FORBIDDEN", "POST", "join", room)
    await batyr.join(door)
    await batyr.join(room)
    content = await ayna.state(room, "m.room.member", batyr.id)
    assert content["join_authorised_via_users_server"] == ayna.id
    await batyr.leave(door)
    await batyr.say(room)  # the rule is for entering
    await batyr.leave(room)
    await batyr.refused(403, "M_FORBIDDEN", "POST", "join", room)
    knocks = (await cemal.call("POST", "knock", room)).status
    assert knocks == (200 if rule == "knock_restricted" else 403)
    await ayna.invite(room, cemal)
    await cemal.join(room)
    content = await ayna.state(room, "m.room.member", cemal.id)
    assert "join_authorised_via_users_server" not in content
    await ayna.invite(door, batyr)
    await batyr.join(door)
    await ayna.ban(room, batyr)
    await batyr.refused(403, "M_FORBIDDEN", "POST", "join", room)


async def test_nobody_left_who_may_let_in(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    door = await ayna.create_room(preset="public_chat")
    room = await restricted(ayna, "restricted", "11", door)
    await ayna.levels(room, invite=50)
    for person in (batyr, cemal):
        await person.join(door)
    await batyr.join(room)
    await ayna.leave(room)
    await cemal.refused(403, "M_FORBIDDEN", "POST", "join", room)


@pytest.mark.parametrize("allow", [5, "x", {}, [5], [{}], [{"type": "m.room_membership"}]])
async def test_a_broken_rule_opens_nothing(house: House, allow: Any) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    content = {"join_rule": "restricted", "allow": allow}
    state = {"type": "m.room.join_rules", "content": content}
    room = await ayna.create_room(initial_state=[state])
    await batyr.refused(403, "M_FORBIDDEN", "POST", "join", room)


async def test_memberships_by_state(house: House) -> None:
    ayna, mod, batyr = await house.people("ayna", "mod", "batyr")
    room = await room_with(ayna, mod, "invite")
    await ayna.set_state(room, "m.room.member", {"membership": "invite"}, batyr.id)
    await batyr.set_state(room, "m.room.member", {"membership": "join"}, batyr.id)
    await batyr.set_state(room, "m.room.member", {"membership": "join", "x": 1}, batyr.id)
    await mod.set_state(room, "m.room.member", {"membership": "ban"}, batyr.id)
    state = ("rooms", room, "state", "m.room.member")
    for content in ({"membership": "join"}, {"membership": "odd"}, {"membership": 5}, {}):
        await batyr.refused(403, "M_FORBIDDEN", "PUT", *state, batyr.id, body=content)
    body = {"membership": "join"}
    await ayna.refused(403, "M_FORBIDDEN", "PUT", *state, batyr.id, body=body)


async def test_strangers_can_be_banned(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    for stranger in ("@spam:elsewhere.test", f"@nobody:{DOMAIN}"):
        body = {"user_id": stranger}
        await ayna.must("POST", "rooms", room, "ban", body=body)
        assert (await ayna.state(room, "m.room.member", stranger))["membership"] == "ban"
        await ayna.must("POST", "rooms", room, "unban", body=body)
        await ayna.refused(403, "M_BAD_STATE", "POST", "rooms", room, "unban", body=body)
    ghost = {"user_id": f"@nobody:{DOMAIN}"}
    await ayna.refused(404, "M_NOT_FOUND", "POST", "rooms", room, "invite", body=ghost)
    body = {"invite": [ghost["user_id"]]}
    await ayna.refused(400, "M_INVALID_PARAM", "POST", "createRoom", body=body)


async def test_joining_twice_says_nothing_new(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", room_alias_name="a")
    await batyr.join(room)
    before = ids(await ayna.history(room))
    for target in (room, f"#a:{DOMAIN}"):
        assert await batyr.must("POST", "join", target) == {"room_id": room}
    assert ids(await ayna.history(room)) == before


async def test_forgetting(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    answer = await batyr.call("POST", "rooms", room, "forget")
    assert (answer.status, answer.errcode) == (400, "M_UNKNOWN")
    await batyr.leave(room)
    await batyr.messages(room)
    await batyr.must("POST", "rooms", room, "forget")
    await batyr.must("POST", "rooms", room, "forget")
    await batyr.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "messages", dir="b")
    filter = {"room": {"include_leave": True}}
    assert "rooms" not in await batyr.sync(filter=filter)
    await batyr.join(room)
    await batyr.messages(room)
    assert room in (await batyr.sync())["rooms"]["join"]


@pytest.mark.parametrize("verb", ["join", "leave", "knock", "invite", "kick", "ban", "unban"])
async def test_rooms_that_do_not_exist(house: House, verb: str) -> None:
    ayna = await house.person("ayna")
    for room, by_name in itertools.product(("!none:x.test", "x", "#none:x.test"), (True, False)):
        path = (verb, room) if by_name and verb in ("join", "knock") else ("rooms", room, verb)
        answer = await ayna.call("POST", *path, body={"user_id": ayna.id})
        assert answer.status in (403, 404), answer


async def test_joined_rooms(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(3)]
    await batyr.join(rooms[0])
    await batyr.join(rooms[1])
    await batyr.leave(rooms[1])
    await ayna.invite(rooms[2], batyr)
    assert (await batyr.must("GET", "joined_rooms"))["joined_rooms"] == [rooms[0]]


async def test_invites_can_be_blocked(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    before = await ayna.create_room(invite=[batyr.id])
    config = ("user", batyr.id, "account_data", "m.invite_permission_config")
    await batyr.must("PUT", *config, body={"default_action": "block"})
    assert "rooms" not in await batyr.sync()
    room = await ayna.create_room()
    body = {"user_id": batyr.id}
    await ayna.refused(403, "M_INVITE_BLOCKED", "POST", "rooms", room, "invite", body=body)
    state = ("rooms", room, "state", "m.room.member", batyr.id)
    content = {"membership": "invite"}
    await ayna.refused(403, "M_INVITE_BLOCKED", "PUT", *state, body=content)
    body = {"invite": [batyr.id]}
    await ayna.refused(403, "M_INVITE_BLOCKED", "POST", "createRoom", body=body)
    await batyr.must("PUT", *config, body={"default_action": 5})
    await ayna.invite(room, batyr)
    assert set((await batyr.sync())["rooms"]["invite"]) == {before, room}


async def test_what_is_so_already_needs_the_right_all_the_same(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    content = {"state_default": 0, "events": {}}
    room = await ayna.create_room(preset="public_chat", power_level_content_override=content)
    await batyr.join(room)
    said = await batyr.set_state(room, "test", {"n": 1})
    assert await batyr.set_state(room, "test", {"n": 1}) == said
    await batyr.leave(room)
    path = ("rooms", room, "state", "test", "")
    await batyr.refused(403, "M_FORBIDDEN", "PUT", *path, body={"n": 1})
