"""A backup under load, put back elsewhere: what it holds, and what it does not give twice."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from tests import postgres
from tests.conftest import KERWEN, FreshServer, Server
from tests.proofs.databases import copied_database, empty_database
from tests.proofs.load import Crowd, Deed, Listener, whole_history
from tests.proofs.wire import Person, Wire, q, register

_PASSWORD = "a-password-for-the-proofs"


async def kerwen(*command: str) -> None:
    """Runs a command to its end."""
    done = await asyncio.to_thread(
        subprocess.run, [KERWEN, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def restored(server: Server, folder: Path, fresh_server: FreshServer, file: Path) -> Server:
    """Another server on what a backup holds."""
    data = folder / "restored"
    await kerwen("restore", str(file), "--data", str(data))
    return await asyncio.to_thread(fresh_server, "--cheap-passwords", data=data)


def at(person: Person, server: Server) -> Person:
    """The same device, speaking to another server."""
    return Person(person.user_id, person.device_id, Wire(server.url, person.token))


async def test_what_was_acknowledged_before_is_there(
    fresh_server: FreshServer, tmp_path: Path
) -> None:
    server = fresh_server("--cheap-passwords")
    crowd, file = Crowd(server.url, 7), tmp_path / "house.tar"
    await crowd.gather()
    tasks = crowd.start()
    await asyncio.sleep(0.4)  # of load before the backup begins
    before = list(crowd.acknowledged)
    await kerwen("backup", str(file), "--data", str(server.data))
    during = len(crowd.acknowledged)
    await asyncio.sleep(0.1)  # and some after it
    server.kill9()  # the disaster
    await asyncio.gather(*tasks)
    assert len(before) > 30
    assert len(before) < during < len(crowd.acknowledged), "it ran under load"
    other = await restored(server, tmp_path, fresh_server, file)
    await _check_kept(crowd, before, other)
    await _check_goes_on(crowd, other)


async def _check_kept(crowd: Crowd, before: list[Deed], other: Server) -> None:
    """Everything acknowledged before the backup began."""
    reader = at(crowd.senders[0], other)
    found: dict[str, str] = {}
    for room in crowd.rooms:
        for event in await whole_history(reader, room):
            if event["type"] == "m.room.message":
                assert event["content"]["body"] not in found, "an event is there twice"
                found[event["content"]["body"]] = event["event_id"]
    cold = Listener(at(crowd.cold.person, other))
    cold.since = crowd.cold.since
    await cold.catch_up()
    for deed in before:
        if deed.kind == "message":
            assert found[deed.text] == deed.outcome
        elif deed.kind == "note":
            assert cold.notes[deed.text] == 1, "a message to a device that never asked"
        else:
            assert deed.outcome is not None
            assert (await reader.download(deed.outcome)).body == deed.content


async def _check_goes_on(crowd: Crowd, other: Server) -> None:
    """Tokens that are newer than the backup: nothing that happens now hides under them."""
    live = Listener(at(crowd.live.person, other), crowd.live.since)
    await live.step()  # what the restore itself has to tell
    heard = sum(live.notes.values())
    assert heard == 0, "what the device had already is not delivered again"
    speaker = at(crowd.senders[0], other)
    for number in range(5):
        event_id = await speaker.say(crowd.rooms[0], f"after-{number}", "still here")
        await live.catch_up()
        assert live.events[event_id] == 1


# --- keys ----------------------------------------------------------------------------------


def one_time_keys(count: int, start: int = 0) -> dict[str, Any]:
    """Keys as a device uploads them; the server looks at their shape only."""
    return {
        f"signed_curve25519:K{n}": {"key": f"key{n}", "signatures": {}}
        for n in range(start, start + count)
    }


async def claim(asker: Person, owner: Person) -> str | None:
    """The value of a key that a device is given."""
    wanted = {owner.user_id: {owner.device_id: "signed_curve25519"}}
    answer = await asker.post("keys", "claim", one_time_keys=wanted)
    given = answer["one_time_keys"].get(owner.user_id, {}).get(owner.device_id, {})
    for key in given.values():
        return str(key["key"])
    return None


async def upload(owner: Person, keys: dict[str, Any], **more: Any) -> int:
    """How many keys the server has after an upload."""
    answer = await owner.post("keys", "upload", one_time_keys=keys, **more)
    return int(answer["one_time_key_counts"].get("signed_curve25519", 0))


async def test_no_one_time_key_is_given_twice(fresh_server: FreshServer, tmp_path: Path) -> None:
    server, file = fresh_server("--cheap-passwords"), tmp_path / "house.tar"
    ayna, batyr = [await register(server.url, name) for name in ("ayna", "batyr")]
    fallback = {"signed_curve25519:F": {"key": "fallback", "fallback": True, "signatures": {}}}
    assert await upload(ayna, one_time_keys(20), fallback_keys=fallback) == 20
    given = [await claim(batyr, ayna) for _ in range(5)]
    await kerwen("backup", str(file), "--data", str(server.data))
    given += [await claim(batyr, ayna) for _ in range(5)]
    since = (await ayna.sync())["next_batch"]  # newer than the backup
    server.kill9()
    other = await restored(server, tmp_path, fresh_server, file)
    ayna, batyr = at(ayna, other), at(batyr, other)

    assert await claim(batyr, ayna) == "fallback", "no one-time key is left to be given"
    told = await ayna.sync(since)
    assert told["device_one_time_keys_count"].get("signed_curve25519", 0) == 0
    assert told["device_unused_fallback_key_types"] == [], "a new one is wanted"
    # a device that repeats an upload, whose answer it may have missed, brings nothing back
    assert await upload(ayna, one_time_keys(20)) == 0
    assert await upload(ayna, one_time_keys(20, start=20)) == 20
    given += [await claim(batyr, ayna) for _ in range(20)]
    assert len(set(given)) == len(given)
    assert None not in given


async def test_devices_are_looked_at_again(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A device that came after the backup is not there: others are told to ask again."""
    server, file = fresh_server("--cheap-passwords"), tmp_path / "house.tar"
    ayna, batyr = [await register(server.url, name) for name in ("ayna", "batyr")]
    room = (await ayna.post("createRoom", preset="public_chat"))["room_id"]
    await batyr.post("join", room)
    await _publish(ayna)
    await kerwen("backup", str(file), "--data", str(server.data))
    phone = await log_in(server, "ayna")
    await _publish(phone)
    since = (await batyr.sync())["next_batch"]
    server.kill9()
    other = await restored(server, tmp_path, fresh_server, file)
    batyr = at(batyr, other)
    told = await batyr.sync(since)
    assert ayna.user_id in told["device_lists"]["changed"]
    found = await batyr.post("keys", "query", device_keys={ayna.user_id: []})
    assert list(found["device_keys"][ayna.user_id]) == [ayna.device_id]


async def _publish(person: Person) -> None:
    keys = {
        "user_id": person.user_id,
        "device_id": person.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{person.device_id}": "k" * 43},
        "signatures": {},
    }
    await person.post("keys", "upload", device_keys=keys)


async def log_in(server: Server, name: str, **more: Any) -> Person:
    """A new session."""
    wire = Wire(server.url)
    identifier = {"type": "m.id.user", "user": name}
    body = {"type": "m.login.password", "identifier": identifier, "password": _PASSWORD, **more}
    made = (await wire.call("POST", q("login"), body)).must()
    wire.token = made["access_token"]
    return Person(made["user_id"], made["device_id"], wire)


async def test_sessions_newer_than_the_backup_end_softly(
    fresh_server: FreshServer, tmp_path: Path
) -> None:
    """Their clients keep what they have, log in again as the same device, and go on."""
    server, file = fresh_server("--cheap-passwords"), tmp_path / "house.tar"
    await register(server.url, "ayna")
    await kerwen("backup", str(file), "--data", str(server.data))
    phone = await log_in(server, "ayna")
    unknown = await phone.wire.call("GET", q("account", "whoami"), token="x" * 43)
    assert unknown.json.get("soft_logout") is None
    server.kill9()
    other = await restored(server, tmp_path, fresh_server, file)
    lost = await at(phone, other).wire.call("GET", q("account", "whoami"))
    assert (lost.status, lost.json["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    assert lost.json["soft_logout"] is True
    lost = await Wire(other.url).call("POST", q("refresh"), {"refresh_token": "x" * 43})
    assert (lost.status, lost.json.get("soft_logout")) == (401, True)
    again = await log_in(other, "ayna", device_id=phone.device_id)
    assert again.device_id == phone.device_id


async def test_numbers_of_key_backups_are_not_given_again(
    fresh_server: FreshServer, tmp_path: Path
) -> None:
    """A client that knows version 2 must not take another version 2 for it."""
    server, file = fresh_server("--cheap-passwords"), tmp_path / "house.tar"
    ayna = await register(server.url, "ayna")
    made = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x"}}
    first = (await ayna.post("room_keys", "version", **made))["version"]
    await kerwen("backup", str(file), "--data", str(server.data))
    second = (await ayna.post("room_keys", "version", **made))["version"]
    server.kill9()
    ayna = at(ayna, await restored(server, tmp_path, fresh_server, file))
    assert (await ayna.get("room_keys", "version"))["version"] == first
    third = (await ayna.post("room_keys", "version", **made))["version"]
    assert third not in (first, second)
    assert (await ayna.get("room_keys", "version"))["version"] == third


async def test_postgresql_after_pg_restore(
    fresh_server: FreshServer, postgres_server: postgres.Server
) -> None:
    """A copy of the database is put back: the same is promised after `kerwen restore`."""
    dsn = await empty_database(postgres_server)
    server = fresh_server("--cheap-passwords", "--database", dsn)
    ayna, batyr = [await register(server.url, name) for name in ("ayna", "batyr")]
    room = (await ayna.post("createRoom", preset="public_chat"))["room_id"]
    await batyr.post("join", room)
    kept = await ayna.say(room, "kept", "kept")
    assert await upload(ayna, one_time_keys(9)) == 9
    await asyncio.to_thread(server.stop)
    copy = await copied_database(postgres_server, dsn)
    await asyncio.to_thread(server.start)
    ayna, batyr = at(ayna, server), at(batyr, server)
    lost = await ayna.say(room, "lost", "lost")
    given = [await claim(batyr, ayna) for _ in range(4)]
    since = (await batyr.sync())["next_batch"]
    server.kill9()
    await kerwen("restore", "--database", copy)
    server.flags = ("--cheap-passwords", "--database", copy)
    await asyncio.to_thread(server.start)
    ayna, batyr = at(ayna, server), at(batyr, server)
    live = Listener(batyr, since)
    await live.step()
    said = await ayna.say(room, "after", "after")
    await live.step(5_000)
    assert live.events[said] == 1
    history = {event["event_id"] for event in await whole_history(batyr, room)}
    assert {kept, said} <= history
    assert lost not in history
    assert await claim(batyr, ayna) is None
    assert await upload(ayna, one_time_keys(20)) == 11, "the nine it had are spent"
    given += [await claim(batyr, ayna) for _ in range(11)]
    assert len(set(given)) == 15
