"""Account data over HTTP, and as sync reads it; on both engines."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kerwen.accounts import account_data_store as store
from kerwen.base import limits
from kerwen.rooms.push_ruleset import default_ruleset
from kerwen.storage.database import Kind
from tests.account_data.world import World

AYNA = "@ayna:a.test"
GLOBAL = f"/user/{AYNA}/account_data/"
ROOM = f"/user/{AYNA}/rooms/!r:a.test/account_data/"


@pytest.mark.parametrize("path", [GLOBAL + "org.x", ROOM + "org.x"])
async def test_what_is_put_is_got(world: World, path: str) -> None:
    (await world.ask("GET", path)).refused(404, "M_NOT_FOUND")
    assert (await world.ask("PUT", path, {"a": [1, "ý"]})).ok() == {}
    assert (await world.ask("GET", path)).ok() == {"a": [1, "ý"]}
    assert (await world.ask("PUT", path, {})).ok() == {}
    assert (await world.ask("GET", path)).ok() == {}


async def test_content_is_kept_as_the_client_wrote_it(world: World) -> None:
    raw = b'{"n":12345678901234567890123, "f": 1.50}'
    await world.ask("PUT", GLOBAL + "org.x", raw=b" " + raw + b"\n")
    assert (await world.ask("GET", GLOBAL + "org.x")).raw == raw


async def test_global_and_rooms_are_apart(world: World) -> None:
    await world.add_room(6, "!s:a.test")
    await world.ask("PUT", GLOBAL + "org.x", {"a": 1})
    await world.ask("PUT", ROOM + "org.x", {"a": 2})
    other = f"/user/{AYNA}/rooms/!s:a.test/account_data/org.x"
    (await world.ask("GET", other)).refused(404, "M_NOT_FOUND")
    assert (await world.ask("GET", GLOBAL + "org.x")).ok() == {"a": 1}
    assert (await world.ask("GET", ROOM + "org.x")).ok() == {"a": 2}


@pytest.mark.parametrize("path", [GLOBAL + "org.x", ROOM + "org.x"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_others_account_data_is_theirs(world: World, path: str, method: str) -> None:
    (await world.ask(method, path, {}, who="batyr")).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize("type", ["m.fully_read", "m.push_rules"])
async def test_what_the_server_manages_is_read_only(world: World, type: str) -> None:
    for path in (GLOBAL + type, ROOM + type):
        (await world.ask("PUT", path, {})).refused(405, "M_BAD_JSON")


@pytest.mark.parametrize(
    ("path", "raw", "status", "errcode"),
    [
        (GLOBAL + "org.x", b"{", 400, "M_NOT_JSON"),
        (GLOBAL + "org.x", b"[]", 400, "M_BAD_JSON"),
        (GLOBAL + "org.x", b'{"a":"\xff"}', 400, "M_NOT_JSON"),
        (GLOBAL + "x" * 256, b"{}", 400, "M_INVALID_PARAM"),
        (f"/user/{AYNA}/rooms/{AYNA}/account_data/x", b"{}", 400, "M_INVALID_PARAM"),
        (f"/user/{AYNA}/rooms/!n:a/account_data/x", b"{}", 404, "M_NOT_FOUND"),
        (
            GLOBAL + "org.x",
            b'{"a":"' + b"x" * limits.ACCOUNT_DATA_MAX + b'"}',
            413,
            "M_TOO_LARGE",
        ),
    ],
)
async def test_refusals(world: World, path: str, raw: bytes, status: int, errcode: str) -> None:
    (await world.ask("PUT", path, raw=raw)).refused(status, errcode)


async def test_push_rules_are_read_as_account_data(world: World) -> None:
    found = (await world.ask("GET", GLOBAL + "m.push_rules")).ok()
    assert found == {"global": default_ruleset(AYNA)}


# --- as sync reads it -------------------------------------------------------------------------


async def read(world: World, since: int, upto: int) -> dict[str, Any]:
    async with world.db.read() as snap:
        rows = await store.global_account_data(snap, 1, since, upto)
        in_rooms = await store.room_account_data(snap, 1, since, upto)
        some = await store.room_account_data_in(snap, 1, [5, 99], since, upto)
        none = await store.room_account_data_in(snap, 1, [99], since, upto)
    assert some == in_rooms
    assert none == []
    found = {type: orjson.loads(content) for type, content in rows}
    return {**found, **{f"{no}/{type}": orjson.loads(raw) for no, type, raw in in_rooms}}


async def test_sync_reads_what_changed_and_no_more(world: World) -> None:
    await world.ask("PUT", "/user/@batyr:a.test/account_data/org.z", {}, who="batyr")
    start = world.feed.settled
    first = await read(world, 0, start)
    assert first == {"m.push_rules": {"global": default_ruleset(AYNA)}}, "from the start"
    assert await read(world, start, start + 9) == {}
    await world.ask("PUT", GLOBAL + "org.x", {"a": 1})
    await world.ask("PUT", ROOM + "org.y", {"a": 2})
    await world.ask("PUT", "/user/@batyr:a.test/account_data/org.z", {"b": 1}, who="batyr")
    assert await read(world, start, start + 1) == {"org.x": {"a": 1}}
    assert await read(world, start + 1, start + 3) == {"5/org.y": {"a": 2}}
    await world.ask("PUT", GLOBAL + "org.x", {"a": 3})
    assert await read(world, start, start + 3) == {"5/org.y": {"a": 2}}, "newer: the next answer"
    assert await read(world, start + 3, start + 4) == {"org.x": {"a": 3}}


async def test_a_change_is_told_and_no_change_is_not(world: World) -> None:
    told: list[Any] = []
    world.feed.follow(lambda pos, changes: told.extend(changes))
    for content in ({"a": 1}, {"a": 1}, {"a": 2}):
        await world.ask("PUT", GLOBAL + "org.x", content)
        await world.ask("PUT", ROOM + "org.x", content)
    assert [tuple(change) for change in told] == [(Kind.ACCOUNT_DATA, 1, 0)] * 4


async def test_changed_push_rules_come_whole_by_sync(world: World) -> None:
    start = world.feed.settled
    await world.ask("PUT", "/pushrules/global/room/!r:a.test", {"actions": []})
    found = (await read(world, start, world.feed.settled))["m.push_rules"]["global"]
    assert [rule["rule_id"] for rule in found["room"]] == ["!r:a.test"]
    assert len(found["override"]) == len(default_ruleset(AYNA)["override"])


async def test_a_dropped_account_has_nothing_left(world: World) -> None:
    await world.ask("PUT", GLOBAL + "org.x", {})
    await world.ask("PUT", ROOM + "org.x", {})
    await world.ask("POST", f"/user/{AYNA}/filter", {})
    async with world.db.write() as tx:
        await store.drop_account(tx, 1)
    assert list(await read(world, 0, world.feed.settled)) == ["m.push_rules"]
    (await world.ask("GET", f"/user/{AYNA}/filter/1")).refused(404, "M_NOT_FOUND")


# --- tags -------------------------------------------------------------------------------------

TAGS = f"/user/{AYNA}/rooms/!r:a.test/tags"


async def test_tags(world: World) -> None:
    assert (await world.ask("GET", TAGS)).ok() == {"tags": {}}
    await world.ask("PUT", TAGS + "/m.favourite", {"order": 0.1})
    await world.ask("PUT", TAGS + "/u.I%C5%9F", {})
    wanted = {"m.favourite": {"order": 0.1}, "u.Iş": {}}
    assert (await world.ask("GET", TAGS)).ok() == {"tags": wanted}
    assert (await world.ask("GET", ROOM + "m.tag")).ok() == {"tags": wanted}
    assert (await read(world, 0, world.feed.settled))["5/m.tag"] == {"tags": wanted}
    for _ in range(2):
        assert (await world.ask("DELETE", TAGS + "/m.favourite")).ok() == {}
    assert (await world.ask("GET", TAGS)).ok() == {"tags": {"u.Iş": {}}}


async def test_tags_that_a_client_wrote_itself_may_be_nonsense(world: World) -> None:
    await world.ask("PUT", ROOM + "m.tag", {"tags": 7})
    assert (await world.ask("GET", TAGS)).ok() == {"tags": {}}
    await world.ask("PUT", TAGS + "/u.x", {})
    assert (await world.ask("GET", TAGS)).ok() == {"tags": {"u.x": {}}}


@pytest.mark.parametrize(
    ("path", "body", "status", "errcode"),
    [
        (TAGS + "/" + "x" * 256, {}, 400, "M_INVALID_PARAM"),
        (TAGS + "/u.x", [], 400, "M_BAD_JSON"),
        (TAGS + "/u.x", {"order": "high"}, 400, "M_BAD_JSON"),
        (TAGS + "/u.x", {"order": True}, 400, "M_BAD_JSON"),
        (f"/user/{AYNA}/rooms/!n:a/tags/u.x", {}, 404, "M_NOT_FOUND"),
        (f"/user/{AYNA}/rooms/nonsense/tags/u.x", {}, 400, "M_INVALID_PARAM"),
        ("/user/@batyr:a.test/rooms/!r:a.test/tags/u.x", {}, 403, "M_FORBIDDEN"),
    ],
)
async def test_refused_tags(world: World, path: str, body: Any, status: int, errcode: str) -> None:
    (await world.ask("PUT", path, body)).refused(status, errcode)


async def test_tags_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerwen.accounts.actions.account_data.TAGS_MAX", 2)
    for tag in ("a", "b"):
        (await world.ask("PUT", f"{TAGS}/{tag}", {})).ok()
    assert (await world.ask("PUT", TAGS + "/c", {})).status != 200
    (await world.ask("PUT", TAGS + "/b", {"order": 1})).ok()


async def test_types_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerwen.accounts.actions.account_data.TYPES_MAX", 1)
    for base in (GLOBAL, ROOM):
        (await world.ask("PUT", base + "a", {})).ok()
        assert (await world.ask("PUT", base + "b", {})).status != 200
        (await world.ask("PUT", base + "a", {"again": 1})).ok()


# --- filters ----------------------------------------------------------------------------------

FILTER = f"/user/{AYNA}/filter"
LIMITED = {"room": {"timeline": {"limit": 3}}}


async def test_filters(world: World) -> None:
    made = (await world.ask("POST", FILTER, LIMITED)).ok()["filter_id"]
    assert not made.startswith("{")
    assert (await world.ask("GET", f"{FILTER}/{made}")).ok() == LIMITED
    assert (await world.ask("POST", FILTER, LIMITED)).ok()["filter_id"] == made
    assert (await world.ask("POST", FILTER, {})).ok()["filter_id"] != made
    assert (await world.filters.of(1, made)).timeline_limit == 3
    assert (await world.filters.of(1, made)) is (await world.filters.of(1, made))
    inline = orjson.dumps(LIMITED).decode()
    assert (await world.filters.of(1, inline)) == (await world.filters.of(1, made))
    assert (await world.filters.of(1, None)).passes_all


@pytest.mark.parametrize("filter_id", ["99", "x", "-1", "9" * 30, "9" * 5_000, "²", "1%00"])
async def test_unknown_filters(world: World, filter_id: str) -> None:
    answer = await world.ask("GET", f"{FILTER}/{filter_id.replace('²', '%C2%B2')}")
    assert answer.status in (400, 404)
    from kerwen.base.errors import Reason, Refused

    with pytest.raises(Refused) as refused:
        await world.filters.of(1, filter_id)
    assert refused.value.reason is Reason.INVALID_PARAM


async def test_others_filters_are_theirs(world: World) -> None:
    made = (await world.ask("POST", FILTER, LIMITED)).ok()["filter_id"]
    (await world.ask("GET", f"{FILTER}/{made}", who="batyr")).refused(403, "M_FORBIDDEN")
    path = f"/user/@batyr:a.test/filter/{made}"
    (await world.ask("GET", path, who="batyr")).refused(404, "M_NOT_FOUND")
    (await world.ask("POST", FILTER, {}, who="batyr")).refused(403, "M_FORBIDDEN")
    (await world.ask("POST", FILTER, {"room": 7})).refused(400, "M_BAD_JSON")


async def test_filters_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerwen.accounts.account_data_store.FILTERS_MAX", 2)
    made = [
        (await world.ask("POST", FILTER, {"event_fields": [name]})).ok()["filter_id"]
        for name in ("a", "b", "c")
    ]
    (await world.ask("GET", f"{FILTER}/{made[0]}")).refused(404, "M_NOT_FOUND")
    for kept in made[1:]:
        (await world.ask("GET", f"{FILTER}/{kept}")).ok()
