"""Somebody takes the whole data folder: what can be read in it, byte by byte.

`docs/promise.md` says what they find and what not; each of its sentences has a test here.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import secrets
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest
from nio.crypto.attachments import (  # type: ignore[import-untyped]
    decrypt_attachment,
    encrypt_attachment,
)
from vodozemac import (
    Account,
    AnyOlmMessage,
    Curve25519PublicKey,
    ExportedSessionKey,
    GroupSession,
    InboundGroupSession,
    MegolmMessage,
    SessionKey,
)

from kerwen.storage.sqlite_link import connect
from tests.clients import key_backup, secret_storage
from tests.conftest import FreshServer
from tests.proofs.seizure import dresses, search
from tests.proofs.wire import Person, Wire, q, register

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"


def word() -> str:
    """A word that no other bytes hold by chance."""
    return "sir" + secrets.token_hex(12)


# --- the searcher itself -------------------------------------------------------------------


@pytest.mark.parametrize("dress", dresses(b"sir0123456789abcdef"))
def test_the_searcher_finds_each_dress(tmp_path: Path, dress: str) -> None:
    secret = b"sir0123456789abcdef"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"\x00\xff" + dresses(secret)[dress] + b"\x01")
    assert f"a/file: it as {dress}" in search(tmp_path, {"it": secret})


@pytest.mark.parametrize("before", range(4))
def test_the_searcher_finds_it_inside_base64(tmp_path: Path, before: int) -> None:
    secret = secrets.token_bytes(32)
    (tmp_path / "file").write_bytes(base64.b64encode(b"x" * before + secret + b"y" * 5))
    assert len(search(tmp_path, {"it": secret})) >= 1


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_the_searcher_unpacks(tmp_path: Path, pack: Any) -> None:
    (tmp_path / "file").write_bytes(b"noise" * 9 + pack(b"a sir0123456789abcdef b") + b"noise")
    assert len(search(tmp_path, {"it": b"sir0123456789abcdef"})) == 1


# --- what is encrypted ---------------------------------------------------------------------


class Secrets(dict[str, bytes]):
    """What must not be found, by name."""

    def word(self, name: str) -> str:
        self[name] = word().encode()
        return self[name].decode()


async def test_nothing_secret_is_in_the_folder(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    hidden, shown = Secrets(), word()
    ayna = await _sign_up(server.url, "ayna", hidden)
    batyr = await _sign_up(server.url, "batyr", hidden)
    await _secret_chat(ayna, batyr, hidden)
    await _backed_up_keys(ayna, hidden)
    await ayna.say((await ayna.post("createRoom"))["room_id"], "clear", shown)
    assert await asyncio.to_thread(server.stop) == 0
    assert len(hidden) > 15
    assert search(server.data, hidden) == []
    assert search(server.data, {"a clear room": shown.encode()}), "it looks where rooms are kept"


async def test_nothing_secret_is_in_what_a_crash_leaves(fresh_server: FreshServer) -> None:
    """The same with the write-ahead log as it stands when the power goes."""
    server, hidden = fresh_server("--cheap-passwords"), Secrets()
    ayna = await _sign_up(server.url, "ayna", hidden)
    batyr = await _sign_up(server.url, "batyr", hidden)
    await _secret_chat(ayna, batyr, hidden)
    server.kill9()
    assert (server.data / "kerwen.db-wal").stat().st_size > 0
    assert search(server.data, hidden) == []


async def _sign_up(url: str, name: str, hidden: Secrets) -> Person:
    """An account with every kind of secret that stands for its owner."""
    password = hidden.word(f"{name}'s password")
    me = await register(url, name, password)
    identifier = {"type": "m.id.user", "user": name}
    log_in = {"type": "m.login.password", "identifier": identifier, "password": password}
    second = await me.post("login", **log_in, refresh_token=True)
    third = await me.post("refresh", refresh_token=second["refresh_token"])
    for kind, text in (
        ("access token", me.token),
        ("second access token", second["access_token"]),
        ("refresh token", second["refresh_token"]),
        ("third access token", third["access_token"]),
        ("second refresh token", third["refresh_token"]),
    ):
        hidden[f"{name}'s {kind}"] = text.encode()
    await _app_password(me, log_in, hidden)
    new_password = hidden.word(f"{name}'s new password")
    auth = {**log_in, "session": ""}
    wire, body = me.wire, {"new_password": new_password, "logout_devices": False}
    answer = await wire.call("POST", q("account", "password"), body)
    auth["session"] = answer.json["session"]
    (await wire.call("POST", q("account", "password"), {**body, "auth": auth})).must()
    openid = await me.post("user", me.user_id, "openid", "request_token")
    hidden[f"{name}'s OpenID token"] = openid["access_token"].encode()
    return me


async def _app_password(me: Person, log_in: dict[str, Any], hidden: Secrets) -> None:
    path, body = "/_kerwen/account/app_passwords", {"name": "phone"}
    answer = await me.wire.call("POST", path, body)
    assert answer.status == 401, answer
    auth = {**log_in, "session": answer.json["session"]}
    made = (await me.wire.call("POST", path, {**body, "auth": auth})).must()
    hidden[f"{me.user_id}'s app password"] = made["app_password"].encode()


async def _publish(me: Person) -> Account:
    """An Olm account with its keys on the server."""
    account = Account()
    account.generate_one_time_keys(5)
    device = f"{me.device_id}"
    keys = {
        "user_id": me.user_id,
        "device_id": device,
        "algorithms": [OLM, MEGOLM],
        "keys": {
            f"curve25519:{device}": account.curve25519_key.to_base64(),
            f"ed25519:{device}": account.ed25519_key.to_base64(),
        },
        "signatures": {},
    }
    fresh = {
        f"signed_curve25519:{no}": {"key": key.to_base64(), "signatures": {}}
        for no, key in account.one_time_keys.items()
    }
    await me.post("keys", "upload", device_keys=keys, one_time_keys=fresh)
    account.mark_keys_as_published()
    return account


async def _secret_chat(ayna: Person, batyr: Person, hidden: Secrets) -> None:
    """A message and a file in an encrypted room, and the room key from device to device."""
    ours, theirs = await _publish(ayna), await _publish(batyr)
    encryption = {"type": "m.room.encryption", "content": {"algorithm": MEGOLM}}
    made = await ayna.post("createRoom", invite=[batyr.user_id], initial_state=[encryption])
    room = made["room_id"]
    await batyr.post("join", room)
    group = GroupSession()
    hidden["room key, as text"] = group.session_key.to_base64().encode()
    await _hand_over(ayna, batyr, ours, group, room, hidden)
    box, keys = encrypt_attachment(hidden.word("words in a file").encode() * 50)
    mxc = await ayna.upload(box)
    hidden["file key"] = keys["key"]["k"].encode()
    body = {"msgtype": "m.file", "body": hidden.word("file name"), "file": {**keys, "url": mxc}}
    told = hidden.word("words of a message")
    for txn, content in (("m1", {"msgtype": "m.text", "body": told}), ("m2", body)):
        await _say_secretly(ayna, ours, group, room, txn, content)
    await _read_it(batyr, theirs, room, told, keys, hidden)


async def _hand_over(
    ayna: Person, batyr: Person, ours: Account, group: GroupSession, room: str, hidden: Secrets
) -> None:
    wanted = {batyr.user_id: {batyr.device_id: "signed_curve25519"}}
    claimed = await ayna.post("keys", "claim", one_time_keys=wanted)
    (key,) = claimed["one_time_keys"][batyr.user_id][batyr.device_id].values()
    asked = await ayna.post("keys", "query", device_keys={batyr.user_id: []})
    identity = asked["device_keys"][batyr.user_id][batyr.device_id]["keys"]
    their_key = Curve25519PublicKey.from_base64(identity[f"curve25519:{batyr.device_id}"])
    session = ours.create_outbound_session(their_key, Curve25519PublicKey.from_base64(key["key"]))
    content = {
        "algorithm": MEGOLM,
        "room_id": room,
        "session_id": group.session_id,
        "session_key": group.session_key.to_base64(),
        "note": hidden.word("words from device to device"),
    }
    plain = json.dumps({"type": "m.room_key", "content": content}).encode()
    kind, box = session.encrypt(plain).to_parts()
    sealed = {
        "algorithm": OLM,
        "sender_key": ours.curve25519_key.to_base64(),
        "ciphertext": {
            their_key.to_base64(): {"type": kind, "body": base64.b64encode(box).decode()}
        },
    }
    messages = {batyr.user_id: {batyr.device_id: sealed}}
    await ayna.put("sendToDevice", "m.room.encrypted", "k1", messages=messages)


async def _say_secretly(
    me: Person, account: Account, group: GroupSession, room: str, txn: str, content: Any
) -> None:
    plain = json.dumps({"type": "m.room.message", "content": content, "room_id": room}).encode()
    sealed = {
        "algorithm": MEGOLM,
        "ciphertext": group.encrypt(plain).to_base64(),
        "device_id": me.device_id,
        "sender_key": account.curve25519_key.to_base64(),
        "session_id": group.session_id,
    }
    await me.put("rooms", room, "send", "m.room.encrypted", txn, **sealed)


async def _read_it(
    me: Person, account: Account, room: str, told: str, keys: dict[str, Any], hidden: Secrets
) -> None:
    """The other side reads it all, so what the server had was the real thing."""
    answer = await me.sync()
    (note,) = answer["to_device"]["events"]
    part = note["content"]["ciphertext"][account.curve25519_key.to_base64()]
    message = AnyOlmMessage.from_parts(part["type"], base64.b64decode(part["body"]))
    pre_key = message.to_pre_key()
    assert pre_key is not None
    sender = Curve25519PublicKey.from_base64(note["content"]["sender_key"])
    _, plain = account.create_inbound_session(sender, pre_key)
    room_key = SessionKey(json.loads(plain)["content"]["session_key"])
    group = InboundGroupSession(room_key)
    timeline = answer["rooms"]["join"][room]["timeline"]["events"]
    sealed = [e["content"]["ciphertext"] for e in timeline if e["type"] == "m.room.encrypted"]
    opened = [
        json.loads(group.decrypt(MegolmMessage.from_base64(box)).plaintext)["content"]
        for box in sealed
    ]
    assert opened[0]["body"] == told
    box = (await me.download(opened[1]["file"]["url"])).body
    plain = decrypt_attachment(box, keys["key"]["k"], keys["hashes"]["sha256"], keys["iv"])
    assert hidden["words in a file"] in plain


async def _backed_up_keys(me: Person, hidden: Secrets) -> None:
    """A key backup, and its key in secret storage."""
    backup = key_backup.BackupKey()
    hidden["backup key"] = backup.private.encode()
    made = await me.post(
        "room_keys", "version",
        algorithm=key_backup.ALGORITHM, auth_data={"public_key": backup.public},
    )  # fmt: skip
    group = GroupSession()
    exported = InboundGroupSession(group.session_key).export_at(0)
    assert isinstance(exported, ExportedSessionKey)
    hidden["backed up room key"] = exported.to_base64().encode()
    session = {
        "room_id": "!r:kerwen.test",
        "session_id": group.session_id,
        "sender_key": "s" * 43,
        "sender_claimed_keys": {"ed25519": hidden.word("words in a key backup")},
        "forwarding_curve25519_key_chain": [],
        "session_key": exported.to_base64(),
        "first_message_index": 0,
    }
    body = key_backup.seal_sessions(backup.public, [session])
    path = q("room_keys", "keys") + f"?version={made['version']}"
    (await me.wire.call("PUT", path, body)).must()
    storage_key = secrets.token_bytes(32)
    hidden["recovery key"] = storage_key
    hidden["recovery key, as written"] = secret_storage.write_recovery_key(storage_key).encode()
    sealed = secret_storage.seal(storage_key, "m.megolm_backup.v1", backup.private)
    await me.put("user", me.user_id, "account_data", "m.megolm_backup.v1", encrypted={"k": sealed})


# --- what is redacted ----------------------------------------------------------------------


async def test_redacted_words_are_gone(fresh_server: FreshServer) -> None:
    """Clear rooms can be read by who takes the folder, but not what was redacted in them."""
    server = fresh_server("--cheap-passwords")
    ayna, batyr = [await register(server.url, name) for name in ("ayna", "batyr")]
    room = (await ayna.post("createRoom", preset="public_chat"))["room_id"]
    said = {name: word() for name in ("short", "long", "topic", "name", "edit", "shown", "kept")}
    events: dict[str, str] = {}
    for name in ("short", "long", "kept"):
        size = 20_000 if name == "long" else 10
        events[name] = await ayna.say(room, name, said[name] + " " + "x" * size)
    for name in ("topic", "name"):
        path = ("rooms", room, "state", f"m.room.{name}")
        events[name] = (await ayna.put(*path, **{name: said[name]}))["event_id"]
        await ayna.put(*path, **{name: "another"})  # it follows: `prev_content` has the words
    edit = {"msgtype": "m.text", "body": "* x", "m.new_content": {"body": said["edit"]}}
    edit["m.relates_to"] = {"rel_type": "m.replace", "event_id": events["kept"]}
    sent = await ayna.put("rooms", room, "send", "m.room.message", "edit", **edit)
    events["edit"] = sent["event_id"]
    sent = await ayna.put("rooms", room, "state", "m.room.topic", topic=said["shown"])
    events["shown"] = sent["event_id"]  # to who is asked in: they get a copy of what the room is
    await ayna.post("rooms", room, "invite", user_id=batyr.user_id)
    await ayna.post("search", search_categories={"room_events": {"search_term": said["short"]}})
    await ayna.sync()
    for name, event_id in events.items():
        if name != "kept":
            await ayna.put("rooms", room, "redact", event_id, f"r-{name}")
    await _index_is_purged(server.data)
    assert await asyncio.to_thread(server.stop) == 0
    left = {name: text.encode() for name, text in said.items() if name != "kept"}
    assert not (found := search(server.data, left)), found
    assert search(server.data, {"kept": said["kept"].encode()})


def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    """Whatever the SQLite of this machine does by itself."""
    conn = connect(tmp_path / "a.db")
    assert conn.execute("pragma secure_delete").fetchone()[0] == 1
    conn.close()


async def _index_is_purged(data: Path) -> None:
    """Waits for the worker that takes redacted words out of the search index."""
    conn = sqlite3.connect(data / "kerwen.db")
    pending = "select count(*) from search_pending"
    async with asyncio.timeout(60):
        while conn.execute(pending).fetchone()[0]:  # noqa: ASYNC110 another process does it
            await asyncio.sleep(0.1)
    conn.close()


async def test_erased_files_are_gone(fresh_server: FreshServer) -> None:
    """A file that its owner deletes leaves the folder at once."""
    server, text = fresh_server("--cheap-passwords"), word()
    ayna = await register(server.url, "ayna")
    mxc = await ayna.upload(text.encode() * 10, "text/plain")
    assert search(server.data, {"file": text.encode()})
    path = "/_kerwen/media/" + mxc.removeprefix("mxc://")
    (await ayna.wire.call("DELETE", path)).must()
    assert search(server.data, {"file": text.encode()}) == []


async def test_what_was_fetched_is_gone(fresh_server: FreshServer) -> None:
    """A message to a device leaves the database once the device has it."""
    server, text = fresh_server("--cheap-passwords"), word()
    ayna = await register(server.url, "ayna")
    since = (await ayna.sync())["next_batch"]
    messages = {ayna.user_id: {ayna.device_id: {"text": text, "more": "x" * 9_000}}}
    await ayna.put("sendToDevice", "test.note", "1", messages=messages)
    answer = await ayna.sync(since)
    assert answer["to_device"]["events"][0]["content"]["text"] == text
    await ayna.sync(answer["next_batch"])
    assert await asyncio.to_thread(server.stop) == 0
    assert search(server.data, {"note": text.encode()}) == []


async def test_a_closed_account_leaves_no_secrets(fresh_server: FreshServer) -> None:
    """Account data and key backups go with the account."""
    server, text, password = fresh_server("--cheap-passwords"), word(), word()
    ayna = await register(server.url, "ayna", password)
    await ayna.put("user", ayna.user_id, "account_data", "my.notes", text=text)
    assert await asyncio.to_thread(server.stop) == 0
    assert search(server.data, {"notes": text.encode()})
    await asyncio.to_thread(server.start)
    ayna.wire = Wire(server.url, ayna.token)
    identifier = {"type": "m.id.user", "user": "ayna"}
    log_in = {"type": "m.login.password", "identifier": identifier, "password": password}
    answer = await ayna.wire.call("POST", q("account", "deactivate"), {})
    auth = {**log_in, "session": answer.json["session"]}
    await ayna.post("account", "deactivate", auth=auth, erase=True)
    assert await asyncio.to_thread(server.stop) == 0
    assert search(server.data, {"notes": text.encode()}) == []
