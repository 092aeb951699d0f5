"""Everything of an account, for its owner alone."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import orjson
import pytest

from kerwen.accounts.recovery_codes import code_hash, code_text
from kerwen.accounts.store import factors
from kerwen.accounts.store.factors import Factor
from kerwen.accounts.uia import SECOND_FACTOR
from kerwen.base.errors import Unavailable
from kerwen.export.actions import export
from tests.admin.desk import upload
from tests.rooms.house import House, Person, bodies

PATH = "/_kerwen/account/export"


def auth_of(who: Person) -> dict[str, Any]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": who.id},
        "password": "a-password",
    }


async def archive(who: Person, after: str = "") -> bytes:
    """The archive's bytes."""
    answer = await who.house.call(who.token, "POST", PATH, {"auth": auth_of(who), "after": after})
    assert answer.status == 200, answer
    return answer.body


def members(data: bytes) -> dict[str, bytes]:
    """Name → content, in the order of the archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]


def events_in(found: dict[str, bytes], about: str) -> list[Any]:
    """The events of a room, by the name of its description."""
    folder = about.removesuffix("about.json")
    parts = [data for name, data in found.items() if name.startswith(folder + "events")]
    return [event for part in parts for event in orjson.loads(part)]


def plain(data: bytes) -> Any:
    """A member without what changes with the time at which it is read."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    for event in value if isinstance(value, list) else value.get("state", []):
        if isinstance(event, dict):
            event.pop("unsigned", None)
    return value


async def _life(house: House) -> tuple[Person, Person, str, str, str]:
    """Ayna has a public room, an encrypted one, a file, keys; Batyr says things before her time."""
    ayna, batyr = await house.people("ayna", "batyr")
    public = await batyr.create_room(
        preset="public_chat",
        initial_state=[
            {
                "type": "m.room.history_visibility",
                "content": {"history_visibility": "joined"},
                "state_key": "",
            }
        ],
    )
    await batyr.say(public, "before her time")
    await ayna.join(public)
    for n in range(7):
        await ayna.say(public, f"mine {n}")
    await batyr.say(public, "to her")
    secret = await ayna.create_room(preset="private_chat", invite=[batyr.id])
    sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "sealedtext"}
    await ayna.send(secret, "m.room.encrypted", sealed)
    uri = await upload(ayna, b"file" * 1_000, "näme.bin")
    await ayna.must("PUT", "profile", ayna.id, "displayname", body={"displayname": "Ayna"})
    await ayna.must("PUT", "user", ayna.id, "account_data", "x.y", body={"a": 1})
    await ayna.must("PUT", "user", ayna.id, "rooms", public, "tags", "u.work", body={})
    version = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"k": "v"}}
    made = await ayna.must("POST", "room_keys", "version", body=version)
    key = {
        "first_message_index": 0,
        "forwarded_count": 0,
        "is_verified": True,
        "session_data": {"ciphertext": "sealedkey"},
    }
    path = ("room_keys", "keys", secret, "session")
    await ayna.must("PUT", *path, version=made["version"], body=key)
    await ayna.must("POST", "users", batyr.id, "report", body={"reason": "rude"})
    return ayna, batyr, public, secret, uri


async def test_the_owner_gets_all_of_it(both: House) -> None:
    ayna, batyr, public, secret, uri = await _life(both)
    found = members(await archive(ayna))
    assert list(found) == sorted(found)
    account = orjson.loads(found["1-account.json"])
    assert account["user_id"] == ayna.id
    assert account["profile"]["displayname"] == "Ayna"
    assert [d["device_id"] for d in account["devices"]] == [ayna.device_id]
    assert account["second_factors"] == []
    assert orjson.loads(found["2-account-data.json"])["x.y"] == {"a": 1}
    assert orjson.loads(found["3-keys.json"])["key_backups"][0]["auth_data"] == {"k": "v"}
    (backup,) = [orjson.loads(d) for n, d in found.items() if n.startswith("4-")]
    assert (backup[0]["room_id"], backup[0]["session_data"]) == (
        secret,
        {"ciphertext": "sealedkey"},
    )
    rooms = {}
    for name in found:
        if name.endswith("about.json") and name.startswith("5-"):
            about = orjson.loads(found[name])
            rooms[about["room_id"]] = (about, events_in(found, name))
    assert rooms.keys() == {public, secret}
    about, said = rooms[public]
    assert about["account_data"]["m.tag"] == {"tags": {"u.work": {}}}
    assert {e["type"] for e in about["state"]} >= {"m.room.create", "m.room.member"}
    assert bodies(said) == [*(f"mine {n}" for n in range(7)), "to her"]  # not before her time
    assert all(event["room_id"] == public for event in said)
    _, said = rooms[secret]
    assert [e["content"]["ciphertext"] for e in said if e["type"] == "m.room.encrypted"] == [
        "sealedtext"
    ]
    (file,) = [name for name in found if name.endswith(".data")]
    assert found[file] == b"file" * 1_000
    about = orjson.loads(found[file.replace(".data", ".about.json")])
    assert (about["file_name"], f"mxc://kerwen.test/{about['media_id']}") == ("näme.bin", uri)
    assert orjson.loads(found["7-reports.json"])[0]["reason"] == "rude"
    # nobody's secrets are in it, nor what is another's
    whole = b"".join(found.values())
    for mark in (ayna.token, batyr.token, "a-password", "before her time"):
        assert mark.encode() not in whole
    other = b"".join(members(await archive(batyr)).values())
    assert b"sealedkey" not in other
    assert b"sealedtext" not in other  # he is invited, not in


async def test_it_goes_on_behind_any_member(both: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_EVENTS", 3)
    monkeypatch.setattr(export, "_FILES", 1)
    monkeypatch.setattr(export, "_KEYS", 1)
    ayna, *_ = await _life(both)
    await upload(ayna, b"second")
    both.clock.ms += 10
    await upload(ayna, b"third")
    whole = members(await archive(ayna))
    names = list(whole)
    assert len([n for n in names if "events-" in n]) > 4
    assert len([n for n in names if n.startswith("6-")]) == 6
    for at, name in enumerate(names):
        rest = members(await archive(ayna, name))
        assert list(rest) == names[at + 1 :], name
        for same in rest:
            assert plain(rest[same]) == plain(whole[same]), same
    assert members(await archive(ayna, "z")) == {}
    for odd in ("5-rooms/x", "6-files/x", "5-rooms/", "\0", "4-key-backup/zzz"):
        members(await archive(ayna, odd))


async def test_only_the_owner_with_the_password(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    asked = await house.call(ayna.token, "POST", PATH, {})
    assert asked.status == 401
    assert asked.json["flows"]
    wrong = {"auth": {**auth_of(ayna), "password": "wrong"}}
    assert (await house.call(ayna.token, "POST", PATH, wrong)).status == 401
    mine = {"auth": auth_of(batyr)}
    assert (await house.call(ayna.token, "POST", PATH, mine)).status in (401, 403)
    assert (await house.call(None, "POST", PATH, {"auth": auth_of(ayna)})).status == 401
    long = {"auth": auth_of(ayna), "after": "x" * 301}
    assert (await house.call(ayna.token, "POST", PATH, long)).errcode == "M_INVALID_PARAM"


async def test_few_at_a_time_and_each_ends(house: House) -> None:
    people = await house.people("ayna", "batyr", "maral")
    makes = house.messenger.export
    owners = []
    for who in people:
        account = await house.messenger.accounts.moderate.account(who.id)
        owners.append(await makes.owner(account.account_no))
    first = await makes.begin(owners[0])
    with pytest.raises(Unavailable):
        await makes.begin(owners[0])
    second = await makes.begin(owners[1])
    with pytest.raises(Unavailable):
        await makes.begin(owners[2])
    await first.aclose()  # whoever asked hung up
    third = await makes.begin(owners[2])
    async for _ in third:
        pass
    await second.aclose()
    await (await makes.begin(owners[1])).aclose()


async def test_a_file_that_is_gone_is_left_out(house: House) -> None:
    ayna = await house.person("ayna")
    await upload(ayna, b"here")
    await upload(ayna, b"gone")
    for path in (house.folder / "blobs").rglob("*"):
        if path.is_file() and path.read_bytes() == b"gone":
            path.unlink()
    found = members(await archive(ayna))
    assert [data for name, data in found.items() if name.endswith(".data")] == [b"here"]
    assert "7-reports.json" in found


async def test_second_factors_are_asked_for_and_told_without_their_secrets(house: House) -> None:
    ayna = await house.person("ayna")
    no = (await house.messenger.accounts.moderate.account(ayna.id)).account_no
    factor = Factor(1, no, "totp", "phone", 5, 6, 1, b"sealed", None, 7, False)
    code = code_text(bytes(10))
    async with house.db.write() as tx:
        await factors.add(tx, factor)
        await factors.set_codes(tx, no, [code_hash(no, code)])
    half = await house.call(ayna.token, "POST", PATH, {"auth": auth_of(ayna)})
    assert half.status == 401
    auth = {"type": SECOND_FACTOR, "session": half.json["session"], "code": code}
    whole = await house.call(ayna.token, "POST", PATH, {"auth": auth})
    told = orjson.loads(members(whole.body)["1-account.json"])
    shown = {"kind": "totp", "name": "phone", "created_ms": 5, "used_ms": 6}
    assert told["second_factors"] == [shown]
