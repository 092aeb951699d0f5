"""Push rules and pushers over HTTP, and the compiled rules that follow the edits."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.accounts import account_data_store as store
from kerwen.rooms.push_rules import EventFacts, evaluate
from kerwen.rooms.push_ruleset import default_ruleset
from tests.account_data.world import World, part

AYNA = "@ayna:a.test"
RULES = "/pushrules/global"
MESSAGE = {
    "type": "m.room.message",
    "sender": "@batyr:a.test",
    "room_id": "!r:a.test",
    "content": {"body": "the cake is a lie"},
}


async def own_ids(world: World, kind: str) -> list[str]:
    found = (await world.ask("GET", RULES + "/")).ok()[kind]
    return [rule["rule_id"] for rule in found if not rule["default"]]


async def test_all_rules(world: World) -> None:
    for path in ("/pushrules/", "/pushrules"):
        assert (await world.ask("GET", path)).ok() == {"global": default_ruleset(AYNA)}
    for path in ("/pushrules/global/", "/pushrules/global"):
        assert (await world.ask("GET", path)).ok() == default_ruleset(AYNA)


async def test_the_examples_of_the_specification(world: World) -> None:
    room, sender = part("!dj234r78wl45Gh4D:matrix.org"), part("@spambot:matrix.org")
    cake, sponge = "SSByZWFsbHkgbGlrZSBjYWtl", "U3BvbmdlIGNha2UgaXMgYmVzdA"
    sound = {"set_tweak": "sound", "value": "cakealarm.wav"}
    for path, body in (
        (f"/room/{room}", {"actions": []}),
        (f"/sender/{sender}", {"actions": []}),
        (f"/content/{cake}", {"pattern": "cake", "actions": ["notify", sound]}),
        (f"/content/{sponge}?before={cake}", {"pattern": "cake*lie", "actions": ["notify"]}),
        (
            "/override/U2VlIHlvdSBpbiBUaGUgRHVrZQ",
            {
                "conditions": [
                    {"kind": "event_match", "key": "content.body", "pattern": "beer"},
                    {"kind": "room_member_count", "is": "<=10"},
                ],
                "actions": ["notify", {"set_tweak": "sound", "value": "beeroclock.wav"}],
            },
        ),
    ):
        assert (await world.ask("PUT", RULES + path, body)).ok() == {}
    assert await own_ids(world, "content") == [sponge, cake]
    rules = await world.rules.of(1)
    assert evaluate(rules.compiled, EventFacts(MESSAGE)).actions == ("notify",)
    beer = {**MESSAGE, "content": {"body": "Beer?"}}
    assert "beeroclock" in str(evaluate(rules.compiled, EventFacts(beer, members=10)).actions)
    assert "beeroclock" not in str(evaluate(rules.compiled, EventFacts(beer, members=11)).actions)


async def test_one_rule(world: World) -> None:
    path = RULES + "/content/nocake"
    (await world.ask("GET", path)).refused(404, "M_NOT_FOUND")
    body = {"pattern": "cake*lie", "actions": ["dont_notify"]}
    await world.ask("PUT", path, body)
    assert (await world.ask("GET", path)).ok() == {
        "rule_id": "nocake",
        "default": False,
        "enabled": True,
        "pattern": "cake*lie",
        "actions": [],
    }
    assert (await world.ask("DELETE", path)).ok() == {}
    (await world.ask("DELETE", path)).refused(404, "M_NOT_FOUND")


async def test_enabled_and_actions(world: World) -> None:
    path = RULES + "/underride/.m.rule.message"
    assert (await world.ask("GET", path + "/enabled")).ok() == {"enabled": True}
    assert (await world.ask("GET", path + "/actions")).ok() == {"actions": ["notify"]}
    await world.ask("PUT", path + "/enabled", {"enabled": False})
    assert (await world.ask("GET", path + "/enabled")).ok() == {"enabled": False}
    assert not evaluate((await world.rules.of(1)).compiled, EventFacts(MESSAGE)).notify
    await world.ask("PUT", path + "/enabled", {"enabled": True})
    loud = ["notify", {"set_tweak": "highlight"}]
    await world.ask("PUT", path + "/actions", {"actions": loud})
    assert (await world.ask("GET", path + "/actions")).ok() == {"actions": loud}
    assert evaluate((await world.rules.of(1)).compiled, EventFacts(MESSAGE)).highlight


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errcode"),
    [
        ("PUT", "/content/.mine", {"pattern": "a", "actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "/content/a%2Fb", {"pattern": "a", "actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "/content/a?before=b", {"pattern": "a", "actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "/content/a", {"actions": []}, 400, "M_MISSING_PARAM"),
        ("PUT", "/content/a", {"pattern": "a"}, 400, "M_MISSING_PARAM"),
        ("PUT", "/content/a", [], 400, "M_BAD_JSON"),
        ("PUT", "/nonsense/a", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("GET", "/nonsense/a", None, 400, "M_INVALID_PARAM"),
        ("GET", "/override/.m.rule.none", None, 404, "M_NOT_FOUND"),
        ("DELETE", "/override/.m.rule.master", None, 400, "M_INVALID_PARAM"),
        ("PUT", "/content/a/enabled", {"enabled": True}, 404, "M_NOT_FOUND"),
        ("PUT", "/override/.m.rule.master/enabled", {}, 400, "M_MISSING_PARAM"),
        ("PUT", "/override/.m.rule.master/enabled", {"enabled": 1}, 400, "M_BAD_JSON"),
        ("GET", "/content/a/enabled", None, 404, "M_NOT_FOUND"),
        ("GET", "/content/a/actions", None, 404, "M_NOT_FOUND"),
        ("PUT", "/content/a/actions", {"actions": []}, 404, "M_NOT_FOUND"),
        ("PUT", "/override/.m.rule.master/actions", {}, 400, "M_MISSING_PARAM"),
    ],
)
async def test_refusals(
    world: World, method: str, path: str, body: Any, status: int, errcode: str
) -> None:
    (await world.ask(method, RULES + path, body)).refused(status, errcode)
    async with world.db.read() as snap:
        assert await store.get_global(snap, 1, "m.push_rules") is None, "nothing was kept"


# --- the compiled rules -------------------------------------------------------------------------


async def test_compiled_rules_follow_the_edits(world: World) -> None:
    before = await world.rules.of(1)
    assert before is await world.rules.of(1)
    assert before.rooms == frozenset()
    await world.ask("PUT", f"{RULES}/room/{part('!r:a.test')}", {"actions": []})
    after = await world.rules.of(1)
    assert after.rooms == {"!r:a.test"}
    assert not evaluate(after.compiled, EventFacts(MESSAGE)).notify
    assert (await world.rules.of(2)).rooms == frozenset()


async def test_only_those_with_rules_of_their_own_are_evaluated_alone(world: World) -> None:
    third = await world.add_person("cary")
    await world.ask("PUT", f"{RULES}/room/{part('!r:a.test')}", {"actions": []})
    await world.ask("PUT", RULES + "/content/k", {"pattern": "k", "actions": []}, who="batyr")
    assert set(await world.rules.individual("!r:a.test", [1, 2, third])) == {1, 2}
    assert set(await world.rules.individual("!s:a.test", [1, 2, third])) == {2}
    assert set(await world.rules.of_many([1, 2, third])) == {1, 2, third}


async def test_an_edit_while_somebody_reads_is_not_lost(world: World) -> None:
    """The read began before the edit and ends after it: what it found is not kept."""
    rules = world.rules
    missing = rules._read
    held = await missing([1])
    rules._kept.clear()
    rules._reading += 1  # another read runs
    await world.ask("PUT", f"{RULES}/room/{part('!r:a.test')}", {"actions": []})
    rules._reading -= 1
    assert held[1].rooms == frozenset()
    assert 1 in rules._stale
    assert (await rules.of(1)).rooms == {"!r:a.test"}
    assert (await rules.of(1)).rooms == {"!r:a.test"}


async def test_rules_read_in_a_transaction_are_kept_once_it_is_on_disk(world: World) -> None:
    async with world.db.write() as tx:
        found = await world.rules.within(tx, 1)
        assert 1 not in world.rules._kept
    assert (await world.rules.of(1)) is found
    path = f"{RULES}/room/{part('!r:a.test')}"
    await world.ask("PUT", path, {"actions": []})
    async with world.db.write() as tx:
        found = await world.rules.within(tx, 1)
        assert found.rooms == {"!r:a.test"}
        world.rules._told(world.feed.settled, [(3, 1, 0)])  # another edit is told meanwhile
    assert (await world.rules.of(1)) is not found


async def test_rules_of_a_failed_transaction_are_not_kept(world: World) -> None:
    async def fail() -> None:
        async with world.db.write() as tx:
            await world.rules.within(tx, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert 1 not in world.rules._kept


async def test_the_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerwen.accounts.push_rules_store.COMPILED_MAX", 1)
    await world.rules.of_many([1, 2])
    assert len(world.rules._kept) == 1


# --- pushers ------------------------------------------------------------------------------------

PUSHER: dict[str, Any] = {
    "lang": "en",
    "kind": "http",
    "app_display_name": "Mat Rix",
    "device_display_name": "iPhone 9",
    "profile_tag": "xxyyzz",
    "app_id": "com.example.app.ios",
    "pushkey": "APA91bHPRgkF3JUikC4ENAHEeMrd41Zxv3hVZjC9KtT8OvPVGJ",
    "data": {
        "url": "https://push-gateway.location.here/_matrix/push/v1/notify",
        "format": "event_id_only",
        "custom": 1,
    },
}


async def pushers(world: World, who: str = "ayna") -> list[dict[str, Any]]:
    return (await world.ask("GET", "/pushers", who=who)).ok()["pushers"]  # type: ignore[no-any-return]


async def test_pushers(world: World) -> None:
    assert await pushers(world) == []
    assert (await world.ask("POST", "/pushers/set", {**PUSHER, "append": False})).ok() == {}
    assert await pushers(world) == [PUSHER]
    await world.ask("POST", "/pushers/set", {**PUSHER, "lang": "tk"})
    assert await pushers(world) == [{**PUSHER, "lang": "tk"}]
    gone = {"kind": None, "app_id": PUSHER["app_id"], "pushkey": PUSHER["pushkey"]}
    for _ in range(2):
        assert (await world.ask("POST", "/pushers/set", gone)).ok() == {}
    assert await pushers(world) == []


async def test_a_key_is_one_persons_unless_appended(world: World) -> None:
    await world.ask("POST", "/pushers/set", PUSHER)
    await world.ask("POST", "/pushers/set", {**PUSHER, "append": True}, who="batyr")
    assert len(await pushers(world)) == len(await pushers(world, "batyr")) == 1
    await world.ask("POST", "/pushers/set", PUSHER, who="batyr")
    assert (len(await pushers(world)), len(await pushers(world, "batyr"))) == (0, 1)


async def test_pushers_go_with_their_device(world: World) -> None:
    await world.ask("POST", "/pushers/set", PUSHER)
    async with world.db.write() as tx:
        await store.drop_device_pushers(tx, [99])
    assert await pushers(world) == [PUSHER]
    async with world.db.write() as tx:
        await store.drop_device_pushers(tx, [10])
    assert await pushers(world) == []


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"app_id": None}, "M_MISSING_PARAM"),
        ({"app_id": "x" * 65}, "M_INVALID_PARAM"),
        ({"pushkey": "x" * 513}, "M_INVALID_PARAM"),
        ({"pushkey": 7}, "M_BAD_JSON"),
        ({"kind": "carrier-pigeon"}, "M_INVALID_PARAM"),
        ({"lang": None}, "M_MISSING_PARAM"),
        ({"data": None}, "M_MISSING_PARAM"),
        ({"data": []}, "M_BAD_JSON"),
        ({"data": {}}, "M_MISSING_PARAM"),
        ({"data": {"url": "http://a/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a/other"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https:///_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://[/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"app_display_name": 7}, "M_BAD_JSON"),
    ],
)
async def test_refused_pushers(world: World, change: dict[str, Any], errcode: str) -> None:
    (await world.ask("POST", "/pushers/set", {**PUSHER, **change})).refused(400, errcode)
    assert await pushers(world) == []


async def test_pushers_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerwen.accounts.actions.pushers.PUSHERS_MAX", 1)
    await world.ask("POST", "/pushers/set", PUSHER)
    assert (await world.ask("POST", "/pushers/set", {**PUSHER, "pushkey": "b"})).status != 200
    assert await pushers(world) == [PUSHER]
    big = {**PUSHER, "data": {**PUSHER["data"], "x": "y" * 9_000}}
    (await world.ask("POST", "/pushers/set", big)).refused(413, "M_TOO_LARGE")
