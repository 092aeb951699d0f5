"""Walking through spaces."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.checked import Checked
from tests.rooms.house import House, Json, Person


async def space(who: Person, name: str, **wish: Any) -> str:
    return await who.create_room(
        name=name, creation_content={"type": "m.space"}, **({"preset": "public_chat"} | wish)
    )


async def put(who: Person, parent: str, child: str, **content: Any) -> None:
    await who.set_state(parent, "m.space.child", {"via": ["kerwen.test"]} | content, child)


async def walk(who: Person, room: str, **query: Any) -> Json:
    answer: Json = await Checked(who.house).do(who, "getSpaceHierarchy", roomId=room, query=query)
    return answer


def names(answer: Json) -> list[str]:
    return [room["name"] for room in answer["rooms"]]


async def tree(ayna: Person) -> dict[str, str]:
    """A space with two spaces, each with rooms; rooms by name."""
    made = {name: await space(ayna, name) for name in ("root", "a", "b")}
    for name in ("a1", "a2", "b1", "r1"):
        made[name] = await ayna.create_room(name=name, preset="public_chat")
    await put(ayna, made["root"], made["r1"], order="z")
    await put(ayna, made["root"], made["a"], order="a")
    await put(ayna, made["root"], made["b"], order="b", suggested=True)
    await put(ayna, made["a"], made["a2"])  # without order: by time
    await put(ayna, made["a"], made["a1"])
    await put(ayna, made["b"], made["b1"], suggested=True)
    return made


async def test_depth_first_in_order(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    made = await tree(ayna)
    for who in (ayna, batyr):
        answer = await walk(who, made["root"])
        assert names(answer) == ["root", "a", "a2", "a1", "b", "b1", "r1"]
        assert "next_batch" not in answer
    root, first = answer["rooms"][:2]
    assert root["room_type"] == "m.space"
    assert [c["state_key"] for c in root["children_state"]] == [
        made["a"], made["b"], made["r1"]
    ]  # fmt: skip
    child = root["children_state"][0]
    assert child["content"] == {"via": ["kerwen.test"], "order": "a"}
    assert (child["type"], child["sender"]) == ("m.space.child", ayna.id)
    assert first["num_joined_members"] == 1
    assert answer["rooms"][-1]["children_state"] == []


async def test_only_suggested_only_so_deep(both: House) -> None:
    ayna = await both.person("ayna")
    made = await tree(ayna)
    assert names(await walk(ayna, made["root"], suggested_only="true")) == ["root", "b", "b1"]
    assert names(await walk(ayna, made["root"], max_depth=0)) == ["root"]
    assert names(await walk(ayna, made["root"], max_depth=1)) == ["root", "a", "b", "r1"]
    assert names(await walk(ayna, made["a"])) == ["a", "a2", "a1"]
    assert names(await walk(ayna, made["r1"])) == ["r1"]  # no space at all


async def test_pages(both: House) -> None:
    ayna = await both.person("ayna")
    made = await tree(ayna)
    seen: list[str] = []
    token = None
    for _ in range(10):
        answer = await walk(ayna, made["root"], limit=3, **({"from": token} if token else {}))
        seen += names(answer)
        token = answer.get("next_batch")
        if token is None:
            break
    assert seen == ["root", "a", "a2", "a1", "b", "b1", "r1"]


async def test_circles_end(both: House) -> None:
    ayna = await both.person("ayna")
    one, two = await space(ayna, "one"), await space(ayna, "two")
    await put(ayna, one, two)
    await put(ayna, two, one)
    await put(ayna, two, two)
    assert names(await walk(ayna, one)) == ["one", "two"]


async def test_what_is_no_child(both: House) -> None:
    ayna = await both.person("ayna")
    root, other = await space(ayna, "root"), await ayna.create_room(name="x")
    for content in ({}, {"via": []}, {"via": "kerwen.test"}, {"via": [7]}):
        await ayna.set_state(root, "m.space.child", content, other)
        answer = await walk(ayna, root)
        assert names(answer) == ["root"]
        assert answer["rooms"][0]["children_state"] == []
    await put(ayna, root, "!elsewhere:other.test")
    answer = await walk(ayna, root)
    assert names(answer) == ["root"]  # nobody here knows it; its event is told all the same
    assert [c["state_key"] for c in answer["rooms"][0]["children_state"]] == [
        "!elsewhere:other.test"
    ]


async def test_who_is_shown_what(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    root = await space(ayna, "root")
    rules: dict[str, Json] = {
        "shut": {"join_rule": "invite"},
        "knock": {"join_rule": "knock"},
        "members": {
            "join_rule": "restricted",
            "allow": [{"type": "m.room_membership", "room_id": root}],
        },
        "others": {
            "join_rule": "restricted",
            "allow": [{"type": "m.room_membership", "room_id": "!none:kerwen.test"}],
        },
        "window": {"join_rule": "invite"},
        "asked": {"join_rule": "invite"},
        "banned": {"join_rule": "public"},
    }
    made = {}
    for name, rule in rules.items():
        state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
        made[name] = await ayna.create_room(name=name, initial_state=state)
        await put(ayna, root, made[name], order=name)
    readable = {"history_visibility": "world_readable"}
    await ayna.set_state(made["window"], "m.room.history_visibility", readable)
    await ayna.invite(made["asked"], batyr)
    await ayna.ban(made["banned"], batyr)
    assert set(names(await walk(ayna, root))) == {"root", *rules}
    assert set(names(await walk(batyr, root))) == {"root", "knock", "window", "asked"}
    await batyr.join(root)
    answer = await walk(batyr, root)
    assert set(names(answer)) == {"root", "knock", "window", "asked", "members"}
    (restricted,) = [r for r in answer["rooms"] if r["name"] == "members"]
    assert restricted["allowed_room_ids"] == [root]
    assert restricted["join_rule"] == "restricted"


async def test_a_space_that_is_not_shown(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    shut = await space(ayna, "shut", preset="private_chat")
    banned = await space(ayna, "banned")
    await ayna.ban(banned, batyr)
    for room in (shut, banned, "!none:kerwen.test"):
        await batyr.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "hierarchy", v="v1")


@pytest.mark.parametrize(
    "query",
    [
        {"from": "x"},
        {"from": "1.1"},
        {"from": "1.-1.0"},
        {"from": "9999999999999.50.0"},
        {"from": "1.50.0", "max_depth": 3},
        {"from": "1.50.0", "suggested_only": "true"},
        {"limit": 0},
        {"max_depth": -1},
        {"suggested_only": "x"},
    ],
)
async def test_bad_questions(house: House, query: Json) -> None:
    ayna = await house.person("ayna")
    room = await space(ayna, "root")
    answer = await ayna.call("GET", "rooms", room, "hierarchy", v="v1", **query)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("order", "counts"),
    [("b", True), ("", True), ("x" * 50, True), ("x" * 51, False), ("ä", False), ("\x01", False)],
)
async def test_orders_that_count(house: House, order: str, counts: bool) -> None:
    ayna = await house.person("ayna")
    root = await space(ayna, "root")
    plain = await ayna.create_room(name="plain", preset="public_chat")
    other = await ayna.create_room(name="other", preset="public_chat")
    await put(ayna, root, plain)
    await put(ayna, root, other, order=order)
    wanted = ["root", "other", "plain"] if counts else ["root", "plain", "other"]
    assert names(await walk(ayna, root)) == wanted
