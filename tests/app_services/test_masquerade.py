"""As whom a service acts: registering, naming its users and devices, and nobody else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kerwen.api.http import App, Cost
from kerwen.base.config import BadConfig
from kerwen.base.errors import Reason, Refused
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.app_services.service import AS_TOKEN, FakeService, registration, write
from tests.app_services.world import SENDER, World
from tests.rooms.house import House


async def test_without_a_name_it_is_its_sender(both: World) -> None:
    assert await both.must("GET", "account", "whoami") == {"user_id": SENDER, "is_guest": False}


async def test_it_acts_as_users_that_it_registered(both: World) -> None:
    user_id = await both.ghost("ayna")
    assert user_id == "@_irc_ayna:kerwen.test"
    found = await both.must("GET", "account", "whoami", acting=user_id)
    assert found == {"user_id": user_id, "is_guest": False}
    answer = await both.call("GET", "account", "whoami", acting="@_irc_nobody:kerwen.test")
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    for other in ("@batyr:kerwen.test", "@_irc_ayna:other.test", "x", "@_ircx"):
        answer = await both.call("GET", "account", "whoami", acting=other)
        assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN"), other


async def test_nobody_is_acted_as_whom_a_namespace_merely_covers(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    """A registration for `@.*` must not be a log-in as everybody (docs/promise.md)."""
    spaces = {"users": [{"exclusive": False, "regex": "@.*"}], "aliases": [], "rooms": []}
    world = await World.on_sqlite(sqlite_template, tmp_path, service, namespaces=spaces)
    ayna = await world.house.person("ayna")
    answer = await world.call("GET", "account", "whoami", acting=ayna.id)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    body = {
        "type": "m.login.application_service",
        "identifier": {"type": "m.id.user", "user": "ayna"},
    }
    answer = await world.call("POST", "login", body=body)
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    # nor does it get her messages for devices, which it would delete
    second = await ayna.log_in()
    await ayna.must(
        "PUT",
        "sendToDevice",
        "m.x",
        "1",
        body={"messages": {ayna.id: {second.device_id: {"secret": 1}}}},
    )
    await world.tell()
    assert service.all("to_device") == []
    assert len((await second.sync())["to_device"]["events"]) == 1
    await world.close(database=True)


async def test_registering_and_logging_in(both: World) -> None:
    kind = {"type": "m.login.application_service"}
    made = await both.must("POST", "register", body=kind | {"username": "_irc_a"})
    assert {"user_id", "access_token", "device_id"} <= made.keys()
    again = await both.call("POST", "register", body=kind | {"username": "_irc_a"})
    assert again.errcode == "M_USER_IN_USE"
    for name, errcode in (
        ("batyr", "M_EXCLUSIVE"),
        ("_irc_A B", "M_INVALID_USERNAME"),
        ("@_irc_x:other.test", "M_INVALID_USERNAME"),
    ):
        answer = await both.call("POST", "register", body=kind | {"username": name})
        assert (answer.status, answer.errcode) == (400, errcode)
    assert (await both.call("POST", "register", body=kind)).errcode == "M_MISSING_PARAM"
    who = {"identifier": {"type": "m.id.user", "user": "_irc_a"}}
    session = await both.must("POST", "login", body=kind | who | {"device_id": "PHONE"})
    assert session["device_id"] == "PHONE"
    answer = await both.house.call(
        session["access_token"], "GET", "/_matrix/client/v3/account/whoami"
    )
    assert answer.json["user_id"] == made["user_id"]
    answer = await both.call("POST", "login", body=kind | {"identifier": {"user": "batyr"}})
    assert (answer.status, answer.errcode) == (400, "M_EXCLUSIVE")
    answer = await both.call("POST", "login", body=kind | {"identifier": {"user": "_irc_no"}})
    assert (answer.status, answer.errcode) == (403, "M_FORBIDDEN")
    assert kind in (await both.must("GET", "login"))["flows"]


@pytest.mark.parametrize("path", ["register", "login"])
async def test_the_token_is_asked_for(world: World, path: str) -> None:
    body = {"type": "m.login.application_service", "username": "_irc_a", "user": "_irc_a"}
    house = world.house
    answer = await house.call(None, "POST", f"/_matrix/client/v3/{path}", body)
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")
    ayna = await house.person("ayna")
    answer = await house.call(ayna.token, "POST", f"/_matrix/client/v3/{path}", body)
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN")


async def test_its_names_are_nobody_elses(world: World) -> None:
    house = world.house
    body = {"username": "_irc_x", "password": "a-password", "auth": {"type": "m.login.dummy"}}
    answer = await house.call(None, "POST", "/_matrix/client/v3/register", body)
    assert answer.errcode in ("M_EXCLUSIVE", "M_INVALID_USERNAME")
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    alias = "#_irc_tea:kerwen.test"
    await ayna.refused(
        400, "M_EXCLUSIVE", "PUT", "directory", "room", alias, body={"room_id": room}
    )
    await ayna.refused(
        400, "M_EXCLUSIVE", "POST", "createRoom", body={"room_alias_name": "_irc_tea"}
    )
    made = await world.must("POST", "createRoom", body={"room_alias_name": "_irc_tea"})
    assert (await world.must("GET", "directory", "room", alias))["room_id"] == made["room_id"]
    await ayna.refused(400, "M_EXCLUSIVE", "DELETE", "directory", "room", alias)
    await world.must("DELETE", "directory", "room", alias)
    answer = await world.call("POST", "createRoom", body={"room_alias_name": "tea"})
    assert (answer.status, answer.errcode) == (400, "M_EXCLUSIVE")


async def test_a_person_cannot_take_an_exclusive_name(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    spaces = {"users": [{"exclusive": True, "regex": "@irc-.*"}]}
    world = await World.on_sqlite(sqlite_template, tmp_path, service, namespaces=spaces)
    body = {"username": "irc-x", "password": "a-password", "auth": {"type": "m.login.dummy"}}
    answer = await world.house.call(None, "POST", "/_matrix/client/v3/register", body)
    assert (answer.status, answer.errcode) == (400, "M_EXCLUSIVE")
    answer = await world.house.call(
        None, "GET", "/_matrix/client/v3/register/available", query="username=irc-x"
    )
    assert answer.errcode == "M_EXCLUSIVE"
    await world.close(database=True)


async def test_what_it_says_is_said_by_the_user(both: World) -> None:
    ayna = await both.house.person("ayna")
    user_id = await both.ghost("tea")
    room = await both.portal(ayna, user_id)
    body = {"msgtype": "m.text", "body": "salam"}
    path = ("rooms", room, "send", "m.room.message", "t1")
    sent = await both.must("PUT", *path, body=body, acting=user_id, ts=1_000)
    again = await both.must("PUT", *path, body=body, acting=user_id)
    assert again == sent, "a transaction id is good for one event"
    event = await ayna.event(room, sent["event_id"])
    assert (event["sender"], event["origin_server_ts"]) == (user_id, 1_000)
    other = await both.ghost("other")
    await both.must("POST", "rooms", room, "join", acting=other)
    third = await both.must("PUT", *path, body=body, acting=other)
    assert third != sent, "transaction ids are each user's own"


async def test_only_services_choose_the_time(world: World) -> None:
    ayna = await world.house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    sent = await ayna.must("PUT", "rooms", room, "send", "m.x", "t", body={}, ts=1_000)
    assert (await ayna.event(room, sent["event_id"]))["origin_server_ts"] > 1_000
    await world.must("POST", "rooms", room, "join")
    for bad in ("-1", "x", "1e3", "9" * 30, str(2**53)):
        answer = await world.call("PUT", "rooms", room, "send", "m.x", "t2", ts=bad)
        assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
    name = {"name": "Tea"}
    await ayna.levels(room, users={SENDER: 100})
    sent = await world.must("PUT", "rooms", room, "state", "m.room.name", body=name, ts=2_000)
    assert (await ayna.event(room, sent["event_id"]))["origin_server_ts"] == 2_000


async def test_devices_are_made_named_and_deleted_without_a_password(both: World) -> None:
    user_id = await both.ghost("tea")
    one = ("devices", "BRIDGE")
    answer = await both.call("PUT", *one, acting=user_id, body={"display_name": "Bridge"})
    assert answer.status == 201
    answer = await both.call("PUT", *one, acting=user_id, body={"display_name": "The bridge"})
    assert answer.status == 200
    found = await both.must("GET", *one, acting=user_id)
    assert found["display_name"] == "The bridge"
    who = await both.must("GET", "account", "whoami", acting=user_id, device_id="BRIDGE")
    assert who["device_id"] == "BRIDGE"
    unstable = {"org.matrix.msc3202.device_id": "BRIDGE"}
    who = await both.must("GET", "account", "whoami", acting=user_id, **unstable)
    assert who["device_id"] == "BRIDGE"
    answer = await both.call("GET", "account", "whoami", acting=user_id, device_id="NONE")
    assert (answer.status, answer.errcode) == (400, "M_UNKNOWN_DEVICE")
    await both.must("DELETE", *one, acting=user_id)
    assert (await both.must("GET", "devices", acting=user_id))["devices"] == []
    await both.call("PUT", *one, acting=user_id)
    await both.must("POST", "delete_devices", acting=user_id, body={"devices": ["BRIDGE"]})
    assert (await both.must("GET", "devices", acting=user_id))["devices"] == []


async def test_keys_need_a_device(world: World) -> None:
    user_id = await world.ghost("tea")
    answer = await world.call("POST", "keys", "upload", acting=user_id, body={})
    assert (answer.status, answer.errcode) == (400, "M_MISSING_PARAM")
    await world.call("PUT", "devices", "BRIDGE", acting=user_id)
    found = await world.must("POST", "keys", "upload", acting=user_id, device_id="BRIDGE", body={})
    assert "one_time_key_counts" in found


async def test_cross_signing_asks_for_no_password(world: World) -> None:
    user_id = await world.ghost("tea")
    key = {"user_id": user_id, "usage": ["master"], "keys": {"ed25519:" + "A" * 43: "A" * 43}}
    answer = await world.call(
        "POST", "keys", "device_signing", "upload", acting=user_id, body={"master_key": key}
    )
    assert answer.status == 200, answer


async def test_sync_works_for_its_users(world: World) -> None:
    ayna = await world.house.person("ayna")
    user_id = await world.ghost("tea")
    room = await world.portal(ayna, user_id)
    found = await world.must("GET", "sync", acting=user_id)
    assert list(found["rooms"]["join"]) == [room]


async def test_a_closed_user_is_gone(world: World) -> None:
    user_id = await world.ghost("tea")
    house = world.house
    await house.messenger.accounts.deactivate.run(
        (await house.messenger.accounts.moderate.account(user_id)).account_no
    )
    answer = await world.call("GET", "account", "whoami", acting=user_id)
    assert answer.status == 403


class Counting:
    def __init__(self) -> None:
        self.spent: list[int] = []

    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        self.spent.append(account_no)
        raise Refused(Reason.LIMIT_EXCEEDED, "Slow down", extra={"retry_after_ms": 1})


@pytest.mark.parametrize("limited", [True, False])
async def test_rate_limits_count_for_users_if_the_registration_says_so(
    sqlite_template: Path, tmp_path: Path, service: FakeService, limited: bool
) -> None:
    world = await World.on_sqlite(sqlite_template, tmp_path, service, rate_limited=limited)
    user_id = await world.ghost("tea")
    house = world.house
    counting = Counting()
    house.app = App(
        house.router, house.messenger.accounts.authenticate, counting, house.messenger.masks
    )
    assert (await world.call("GET", "account", "whoami")).status == 200, "never the sender"
    answer = await world.call("GET", "account", "whoami", acting=user_id)
    assert answer.status == (429 if limited else 200)
    assert bool(counting.spent) is limited
    await world.close(database=True)


async def start(house: House) -> None:
    for deed in house.messenger.at_start:
        await deed()


async def test_the_sender_must_not_be_somebody(
    sqlite_template: Path, tmp_path: Path, service: FakeService
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "kerwen.db")
    feed = Feed()
    db = SqliteDatabase(tmp_path / "kerwen.db", feed, strict=True)
    house = House(db, feed, tmp_path)
    await house.person("ayna")
    file = write(tmp_path, "a.yaml", registration(service.url, sender_localpart="ayna"))
    second = House(db, feed, tmp_path, app_service=[file])
    with pytest.raises(BadConfig, match="'ayna' is an account already"):
        await start(second)
    await db.close()


async def test_unknown_tokens_are_unknown(world: World) -> None:
    for token in (AS_TOKEN + "x", "", "hs-secret-of-irc"):
        answer = await world.call("GET", "account", "whoami", token=token)
        assert answer.status == 401
