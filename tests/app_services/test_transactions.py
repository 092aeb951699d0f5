"""What a service is told: each event once and in order, by room; the same bytes until taken."""

# ruff: noqa: ASYNC110  (tests may poll)

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from kerwen.app_services import sender as sender_file
from kerwen.app_services.sender import RETRY_MAX_MS, wait_ms
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from kerwen.storage.sqlite import SqliteDatabase
from tests.app_services.service import FakeService
from tests.app_services.world import SENDER, World
from tests.rooms.house import House, soon

Json = dict[str, Any]
CURSOR = sql("select pos from feed_cursor where name = 'as:irc'")
DROP_CURSOR = sql("delete from feed_cursor where name = 'as:irc'")


async def test_each_event_is_told_once_and_in_order(both: World) -> None:
    ayna, batyr = await both.house.people("ayna", "batyr")
    ghosts = [await both.ghost(name) for name in ("a", "b", "c")]
    room = await both.portal(ayna, *ghosts)
    await batyr.join(room)
    await both.tell()
    both.service.taken.clear()
    said = []
    for n in range(7):
        said.append(await (ayna if n % 2 else batyr).say(room, f"{n}"))
    await both.tell()
    assert [e["event_id"] for e in both.service.events] == said
    first = both.service.events[0]
    assert first["room_id"] == room
    assert first["sender"] == batyr.id
    assert first["content"]["body"] == "0"


async def test_only_rooms_of_its_users_concern_it(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    other = await ayna.create_room(preset="public_chat")
    await ayna.say(other, "private")
    room = await both.portal(ayna)
    await ayna.say(room, "before")
    await both.must("POST", "rooms", room, "join", acting=ghost)
    await ayna.say(room, "within")
    await both.must("POST", "rooms", room, "leave", acting=ghost)
    await ayna.say(room, "after")
    await both.tell()
    assert both.service.bodies() == ["within"]
    members = [e for e in both.service.events if e["type"] == "m.room.member"]
    assert [e["content"]["membership"] for e in members if e["state_key"] == ghost] == [
        "join",
        "leave",
    ]


async def test_invites_to_its_users_are_told(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await ayna.create_room(invite=[ghost])
    await both.tell()
    (invite,) = [e for e in both.service.events if e.get("state_key") == ghost]
    assert (invite["room_id"], invite["content"]["membership"]) == (room, "invite")


@pytest.mark.parametrize("kind", ["rooms", "aliases"])
async def test_namespaces_of_rooms(
    sqlite_template: Path, tmp_path: Path, service: FakeService, kind: str
) -> None:
    pattern = {"rooms": "!.*", "aliases": "#tea.*"}[kind]
    spaces = {"users": [], "aliases": [], "rooms": []}
    spaces[kind] = [{"exclusive": False, "regex": pattern}]
    world = await World.on_sqlite(sqlite_template, tmp_path, service, namespaces=spaces)
    ayna = await world.house.person("ayna")
    tea = await ayna.create_room(preset="public_chat", room_alias_name="teahouse")
    other = await ayna.create_room(preset="public_chat", room_alias_name="other")
    await ayna.say(tea, "in the teahouse")
    await ayna.say(other, "elsewhere")
    await world.tell()
    both = ["in the teahouse", "elsewhere"]
    assert service.bodies() == (both if kind == "rooms" else both[:1])
    await world.close(database=True)


async def test_the_senders_rooms_concern_it(both: World) -> None:
    ayna = await both.house.person("ayna")
    room = await both.portal(ayna)
    await both.must("POST", "rooms", room, "join")
    await ayna.say(room, "hi")
    await both.tell()
    assert both.service.bodies() == ["hi"]


async def test_the_same_bytes_until_they_are_taken(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    await both.tell()
    both.service.tried.clear()
    both.service.status = 500
    await ayna.say(room, "one")
    waits = []
    for _ in range(12):
        waits.append(await both.sender.step())
        await ayna.say(room, "more")  # must not find its way into the one under way
        tried = len(both.service.tried)
        assert await both.sender.step() > 0
        assert len(both.service.tried) == tried, "not before its time"
        both.house.clock.ms += int(waits[-1] * 1000)
    assert len(set(both.service.tried)) == 1
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == RETRY_MAX_MS / 1000
    both.service.status = 200
    await both.tell()
    assert both.service.bodies() == ["one"] + ["more"] * 12
    ids = [txn_id for txn_id, _ in both.service.taken]
    assert len(ids) == len(set(ids))


async def test_after_days_all_is_told_as_it_stood(
    both: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who came or went since is judged by the time of the event, not by now."""
    ayna, batyr = await both.house.people("ayna", "batyr")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    await both.tell()
    both.service.taken.clear()
    both.service.status = 503
    said = [await ayna.say(room, f"{n}") for n in range(150)]
    await both.sender.step()
    await both.must("POST", "rooms", room, "leave", acting=ghost)
    await batyr.join(room)
    await batyr.say(room, "not for the ghost")
    await both.must("POST", "rooms", room, "join", acting=ghost)
    said.append(await batyr.say(room, "again"))
    both.house.clock.ms += 3 * 86_400_000
    both.service.status = 200
    await both.tell()
    told = [e["event_id"] for e in both.service.events if e["type"] == "m.room.message"]
    assert told == said
    assert all(len(body["events"]) <= 100 for _, body in both.service.taken)


async def test_a_crash_before_the_answer_sends_it_again(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    await both.tell()
    both.service.taken.clear()
    await ayna.say(room, "once")

    async def dies(*_: object) -> None:
        raise ZeroDivisionError

    real, both.sender._taken = both.sender._taken, dies  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        await both.sender.step()
    both.sender._taken = real  # type: ignore[method-assign]
    await both.tell()
    ids = [txn_id for txn_id, _ in both.service.taken]
    assert len(ids) == 2
    assert len(set(ids)) == 1, "the same transaction, which the service knows"
    assert both.service.taken[0] == both.service.taken[1]
    assert both.service.bodies() == ["once"]


async def test_a_crash_while_the_service_was_away(both: World) -> None:
    """Another process goes on where the first one stopped: the same id, the same bytes."""
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    await both.tell()
    both.service.tried.clear()
    both.service.status = 500
    said = [await ayna.say(room, "one")]
    await both.sender.step()
    said.append(await ayna.say(room, "two"))
    await both.sender._release()
    second = World(
        House(
            both.house.db,
            both.house.feed,
            both.house.folder,
            both.house.clock,
            app_service=[str(both.house.folder / "irc.yaml")],
        ),
        both.service,
    )
    both.house.clock.ms += 60_000
    both.service.status = 200
    await second.tell()
    assert both.service.tried[0] == both.service.tried[1]
    told = [e["event_id"] for e in both.service.events if e["type"] == "m.room.message"]
    assert told == said
    await second.close()


async def test_two_workers_do_not_send_at_once(both: World) -> None:
    both.house.db.alone = False  # there are two
    assert await both.sender.step() > 0
    other = House(
        both.house.db,
        both.house.feed,
        both.house.folder,
        both.house.clock,
        app_service=[str(both.house.folder / "irc.yaml")],
    )
    second = World(other, both.service)
    assert await second.sender.step() > 0
    assert second.sender._lease is None
    assert both.sender._lease is not None
    await both.sender._release()
    await second.sender.step()
    assert second.sender._lease is not None
    await second.close()


async def test_a_sign_of_life_hurries(world: World) -> None:
    ayna = await world.house.person("ayna")
    ghost = await world.ghost("a")
    room = await world.portal(ayna, ghost)
    world.service.status = 500
    await ayna.say(room, "hi")
    for _ in range(10):
        world.house.clock.ms += int(await world.sender.step() * 1000)
    await world.sender.step()
    assert await world.sender.step() > 10
    world.service.status = 200
    world.house.clock.ms += 2_000
    await world.must("GET", "account", "whoami")
    await world.tell()
    assert world.service.bodies() == ["hi"]


async def test_a_cursor_that_was_dropped_starts_over(both: World) -> None:
    """Away for more than a month: the feed is gone, the service is told of what comes."""
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    await both.tell()
    both.service.taken.clear()
    await both.sender._release()
    async with both.house.db.write() as tx:
        await tx.run(DROP_CURSOR)
    await ayna.say(room, "lost")
    await both.sender.step()
    await ayna.say(room, "heard")
    await both.tell()
    assert both.service.bodies() == ["heard"]


async def test_what_does_not_concern_it_is_passed_lazily(
    both: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_file, "_LAZY", 20)
    ayna = await both.house.person("ayna")
    room = await ayna.create_room(preset="public_chat")

    async def cursor() -> int:
        async with both.house.db.read() as snap:
            row = await snap.one(CURSOR)
        assert row is not None
        return int(row[0])

    await both.tell()
    before = await cursor()
    await ayna.say(room)
    await both.tell()
    assert await cursor() == before
    for _ in range(25):
        await ayna.say(room)
    await both.tell()
    assert await cursor() >= before + 20


async def test_the_worker_tells_by_itself(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    task = asyncio.ensure_future(both.sender.run())
    said = [await ayna.say(room) for _ in range(3)]

    async def all_told() -> None:
        while said[-1] not in [e["event_id"] for e in both.service.events]:
            await asyncio.sleep(0.005)

    await soon(all_told())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_service_without_url_is_told_nothing(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    service.url = ""
    world = await World.on_sqlite(sqlite_template, tmp_path, service)
    await soon(world.sender.run())
    await world.close(database=True)


async def test_services_of_old_are_told_too(world: World) -> None:
    world.service.old = True
    ayna = await world.house.person("ayna")
    ghost = await world.ghost("a")
    room = await world.portal(ayna, ghost)
    await ayna.say(room, "hi")
    await world.tell()
    assert world.service.bodies() == ["hi"]


# --- what is not an event ---------------------------------------------------------------------


async def test_receipts_and_typing(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    room = await both.portal(ayna, ghost)
    other = await ayna.create_room(preset="public_chat")
    event_id, elsewhere = await ayna.say(room), await ayna.say(other)
    await ayna.read(room, event_id)
    await ayna.read(room, event_id, "m.read.private")
    await ayna.read(other, elsewhere)
    await both.must("POST", "rooms", room, "receipt", "m.read.private", event_id, acting=ghost)
    for where in (room, other):
        body = {"typing": True, "timeout": 30_000}
        await ayna.must("PUT", "rooms", where, "typing", ayna.id, body=body)
    await both.tell()
    told = both.service.all("ephemeral")
    assert {e["room_id"] for e in told} == {room}
    kinds = {
        (kind, user)
        for e in told
        if e["type"] == "m.receipt"
        for by_kind in e["content"].values()
        for kind, users in by_kind.items()
        for user in users
    }
    assert kinds == {("m.read", ayna.id), ("m.read.private", ghost)}
    (typing,) = [e for e in told if e["type"] == "m.typing"]
    assert typing["content"] == {"user_ids": [ayna.id]}


async def test_who_did_not_ask_gets_events_only(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    world = await World.on_sqlite(
        sqlite_template,
        tmp_path,
        service,
        receive_ephemeral=False,
        **{"org.matrix.msc3202": False},
    )
    ayna = await world.house.person("ayna")
    ghost = await world.ghost("a")
    room = await world.portal(ayna, ghost)
    await ayna.read(room, await ayna.say(room))
    await ayna.must("PUT", "rooms", room, "typing", ayna.id, body={"typing": True})
    await world.call("PUT", "devices", "BRIDGE", acting=ghost)
    body = {"messages": {ghost: {"BRIDGE": {}}}}
    await ayna.must("PUT", "sendToDevice", "m.x", "1", body=body)
    await world.tell()
    assert {key for _, told in service.taken for key in told} == {"events"}
    await world.close(database=True)


async def test_messages_for_its_devices(both: World) -> None:
    ayna = await both.house.person("ayna")
    ghost = await both.ghost("a")
    await both.call("PUT", "devices", "BRIDGE", acting=ghost)
    for n in range(3):
        body = {"messages": {ghost: {"BRIDGE": {"n": n}}}}
        await ayna.must("PUT", "sendToDevice", "m.test", f"{n}", body=body)
    both.service.status = 500
    await both.sender.step()
    both.house.clock.ms += 10_000
    both.service.status = 200
    await both.tell()
    told = both.service.all("to_device")
    assert told == both.service.all("de.sorunome.msc2409.to_device")
    assert told == [
        {
            "content": {"n": n},
            "sender": ayna.id,
            "type": "m.test",
            "to_user_id": ghost,
            "to_device_id": "BRIDGE",
        }
        for n in range(3)
    ]
    found = await both.must("GET", "sync", acting=ghost, device_id="BRIDGE")
    assert found.get("to_device", {"events": []})["events"] == [], "taken, so deleted"
    both.service.taken.clear()
    body = {"messages": {ghost: {"BRIDGE": {"n": 3}}}}
    await ayna.must("PUT", "sendToDevice", "m.test", "3", body=body)
    await both.tell()
    assert [e["content"] for e in both.service.all("to_device")] == [{"n": 3}]


async def test_device_lists_and_key_counts(both: World) -> None:
    ayna, batyr = await both.house.people("ayna", "batyr")
    ghost = await both.ghost("a")
    await both.portal(ayna, ghost)
    await both.tell()
    both.service.taken.clear()
    for person in (ayna, batyr):
        keys = {
            "user_id": person.id,
            "device_id": person.device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
            "keys": {f"ed25519:{person.device_id}": "A" * 43},
            "signatures": {},
        }
        await person.must("POST", "keys", "upload", body={"device_keys": keys})
    await both.call("PUT", "devices", "BRIDGE", acting=ghost)
    otk = {"one_time_keys": {"signed_curve25519:AA": {"key": "A" * 43, "signatures": {}}}}
    answer = await both.call("POST", "keys", "upload", acting=ghost, device_id="BRIDGE", body=otk)
    assert answer.status == 200, answer
    await both.tell()
    changed = {
        user
        for _, body in both.service.taken
        for user in body["org.matrix.msc3202.device_lists"]["changed"]
    }
    assert ayna.id in changed
    assert batyr.id not in changed, "they share no room"
    (counts,) = [
        body["org.matrix.msc3202.device_one_time_keys_count"]
        for _, body in both.service.taken
        if "org.matrix.msc3202.device_one_time_keys_count" in body
    ]
    assert counts == {ghost: {"BRIDGE": {"signed_curve25519": 1}}}


async def test_a_long_queue_of_messages_comes_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kerwen.app_services.actions import gather

    monkeypatch.setattr(gather, "_MESSAGES", 10)
    ayna = await world.house.person("ayna")
    ghost = await world.ghost("a")
    await world.call("PUT", "devices", "BRIDGE", acting=ghost)
    for n in range(25):
        body = {"messages": {ghost: {"BRIDGE": {"n": n}}}}
        await ayna.must("PUT", "sendToDevice", "m.test", f"{n}", body=body)
    await world.tell()
    assert [e["content"]["n"] for e in world.service.all("to_device")] == list(range(25))


async def test_large_events_make_more_transactions(world: World) -> None:
    ayna = await world.house.person("ayna")
    ghost = await world.ghost("a")
    room = await world.portal(ayna, ghost)
    await world.tell()
    world.service.taken.clear()
    for n in range(40):
        await ayna.say(room, f"{n}" + "x" * 50_000)
    await world.tell()
    assert len(world.service.events) == 40
    assert max(len(body) for _, body in world.service.tried) < 1024 * 1024, "aiohttp's own limit"
    assert len(world.service.taken) >= 2


def test_the_wait_doubles_up_to_five_minutes() -> None:
    waits = [wait_ms(n) for n in range(1, 60)]
    assert waits[:3] == [1_000, 2_000, 4_000]
    assert waits[-1] == RETRY_MAX_MS
    assert waits == sorted(waits)


async def test_a_restart_goes_on(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    world = await World.on_sqlite(sqlite_template, tmp_path, service)
    ayna = await world.house.person("ayna")
    ghost = await world.ghost("a")
    room = await world.portal(ayna, ghost)
    await world.tell()
    service.taken.clear()
    await ayna.say(room, "said before the restart")
    await world.close(database=True)
    feed = Feed()
    db = SqliteDatabase(tmp_path / "kerwen.db", feed, strict=True)
    world = await World.make(db, feed, tmp_path, service)
    await world.tell()
    assert service.bodies() == ["said before the restart"]
    assert await world.must("GET", "account", "whoami") == {"user_id": SENDER, "is_guest": False}
    await world.close(database=True)
    shutil.rmtree(tmp_path / "blobs", ignore_errors=True)
