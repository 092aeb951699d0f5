"""A house in which people lived: made on a running Synapse, looked at again on Kerwen.

`live` fills a server by matrix-nio and plain HTTP and takes pictures of what each person is shown.
`go_on` takes the same pictures on the other server by the same access tokens, compares them, logs
in with the old passwords, reads the old encrypted history from the key backup, and talks on.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nio

from tests.clients.cross_signing import CrossSigning
from tests.clients.key_backup import BackupKey
from tests.clients.nio_person import CLIENT, HttpError, Json, NioPerson

PASSWORD = "correct horse battery staple"
VERSIONS = ("3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000"
    "00030101005ba35f7e0000000049454e44ae426082"
)


@dataclass
class Lived:
    """What is remembered of the first server."""

    people: dict[str, NioPerson] = field(default_factory=dict)
    rooms: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Json] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)  # event id → what it said
    recovery_key: str = ""
    backed_up: int = 0
    master: str = ""
    media: str = ""
    prefix: str = ""

    async def stop(self) -> None:
        """Ends everybody's loops."""
        await asyncio.gather(*(person.stop() for person in self.people.values()))


def q(*parts: str) -> str:
    """A path of the client API."""
    return CLIENT + "/" + "/".join(quote(part, safe="") for part in parts)


async def live(url: str, folder: Path, prefix: str = "lived") -> Lived:
    """Three people live on a server that lets anybody register."""
    lived = Lived(prefix=prefix)
    for name in ("ayna", "batyr", "kerim"):
        person = NioPerson(url, f"{prefix}.{name}", folder / name, f"{name}'s phone")
        lived.people[name] = person
        await person.register(PASSWORD)
    ayna, batyr, kerim = lived.people.values()
    keys = await ayna.bootstrap_cross_signing(PASSWORD)
    batyr_keys = await batyr.bootstrap_cross_signing(PASSWORD)
    await ayna.sign_person(keys, batyr)
    await batyr.sign_person(batyr_keys, ayna)
    lived.master = keys.public("master")
    await _talk_sealed(lived, keys)
    await _talk_clear(lived)
    await _belongings(lived)
    await _comings_and_goings(lived)
    await kerim.stop()
    del lived.people["kerim"]
    kerim_device = {kerim.user_id: {kerim.device_id: {"body": "wait for me"}}}
    await batyr.http("PUT", q("sendToDevice", "test.waits", "1"), {"messages": kerim_device})
    for name, person in lived.people.items():
        await person.client.sync(timeout=0)
        lived.pictures[name] = await picture(person)
    for person in lived.people.values():
        await _pause(person)
    return lived


async def _pause(person: NioPerson) -> None:
    """Ends the loop; the client stays as it is, token and all."""
    loop, person._loop = person._loop, None
    assert loop is not None
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def _talk_sealed(lived: Lived, keys: CrossSigning) -> None:
    ayna, batyr, kerim = lived.people.values()
    backup = BackupKey()
    version = await ayna.create_backup(keys, backup)
    lived.recovery_key = await ayna.store_secrets(keys, backup)
    room = lived.rooms["sealed"] = await ayna.create_group(
        "Maşgala", [batyr.user_id, kerim.user_id]
    )
    await asyncio.gather(batyr.join_invited(room), kerim.join_invited(room))
    people = [ayna, batyr, kerim]
    await asyncio.gather(*(person.ready_in(room, people) for person in people))
    for n in range(15):
        event_id = await people[n % 3].say(room, f"sealed {n}")
        lived.sealed[event_id] = f"sealed {n}"
        for person in people:
            await person.read(event_id)
    lived.backed_up = await ayna.backup_sessions(version, backup)


async def _talk_clear(lived: Lived) -> None:
    ayna, batyr, _ = lived.people.values()
    for version in VERSIONS:
        room = lived.rooms[f"v{version}"] = await _room(
            ayna, preset="public_chat", name=f"Bazar {version}", room_version=version
        )
        await batyr.http("POST", q("join", room), {})
        said = [await _say(ayna, room, f"v{version} {n}") for n in range(4)]
        await ayna.http("PUT", q("rooms", room, "redact", said[1], "r2"), {"reason": "oops"})
        await ayna.http("PUT", q("rooms", room, "state", "m.room.topic"), {"topic": "Gawun"})
        await ayna.http("PUT", q("rooms", room, "state", "m.room.topic"), {"topic": "Üzüm"})
    room = lived.rooms["v10"]
    root = await _say(ayna, room, "Kim gelýär?")
    relations: list[Json] = [
        {"m.relates_to": {"rel_type": "m.thread", "event_id": root}},
        {
            "m.relates_to": {"rel_type": "m.replace", "event_id": root},
            "m.new_content": {"msgtype": "m.text", "body": "Kim geldi?"},
        },
        {"m.relates_to": {"rel_type": "m.reference", "event_id": root}},
    ]
    for relation in relations:
        await _say(ayna, room, "Men", **relation)
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": root, "key": "👍"}}
    await batyr.http("PUT", q("rooms", room, "send", "m.reaction", "x1"), reaction)
    mention = {"m.mentions": {"user_ids": [batyr.user_id]}}
    last = await _say(ayna, room, "Batyr?", **mention)
    await ayna.http("POST", q("rooms", room, "receipt", "m.read", last), {})
    await ayna.http("POST", q("rooms", room, "read_markers"), {"m.fully_read": last})
    await batyr.http("POST", q("rooms", room, "receipt", "m.read.private", root), {})
    alias = f"#{lived.prefix}.bazar:{_domain(ayna)}"
    await ayna.http("PUT", q("directory", "room", alias), {"room_id": room})
    await ayna.http("PUT", q("directory", "list", "room", room), {"visibility": "public"})


def _domain(person: NioPerson) -> str:
    return person.user_id.partition(":")[2]


async def _room(person: NioPerson, **wish: Any) -> str:
    return str((await person.http("POST", q("createRoom"), wish))["room_id"])


_txns = iter(range(10**9))


async def _say(person: NioPerson, room: str, text: str, **more: Any) -> str:
    body = {"msgtype": "m.text", "body": text, **more}
    path = q("rooms", room, "send", "m.room.message", f"lived{next(_txns)}")
    return str((await person.http("PUT", path, body))["event_id"])


async def _belongings(lived: Lived) -> None:
    ayna, batyr, _ = lived.people.values()
    room, me = lived.rooms["v10"], ("user", ayna.user_id)
    answer, _ = await ayna.client.upload(
        lambda *_: _bytes(PNG), "image/png", "surat.png", filesize=len(PNG)
    )
    assert isinstance(answer, nio.UploadResponse), answer
    lived.media = answer.content_uri
    await ayna.http("PUT", q("profile", ayna.user_id, "displayname"), {"displayname": "Aýna"})
    await ayna.http("PUT", q("profile", ayna.user_id, "avatar_url"), {"avatar_url": lived.media})
    await ayna.http("PUT", q(*me, "account_data", "test.mine"), {"a": [1, {"b": "ä"}]})
    await ayna.http("PUT", q(*me, "rooms", room, "account_data", "test.here"), {"a": 1})
    await ayna.http("PUT", q(*me, "rooms", room, "tags", "u.work"), {"order": 0.25})
    await ayna.http("PUT", q(*me, "rooms", room, "tags", "m.favourite"), {})
    ignored = {"ignored_users": {"@nobody:elsewhere.test": {}}}
    await ayna.http("PUT", q(*me, "account_data", "m.ignored_user_list"), ignored)
    await ayna.http("POST", q(*me, "filter"), {"room": {"timeline": {"limit": 7}}})
    rules = q("pushrules", "global")
    word = {"pattern": "üzüm", "actions": ["notify", {"set_tweak": "highlight"}]}
    await ayna.http("PUT", f"{rules}/content/uzum", word)
    await ayna.http("PUT", f"{rules}/room/{quote(room, safe='')}", {"actions": []})
    when = [{"kind": "event_match", "key": "type", "pattern": "test.x"}]
    await ayna.http("PUT", f"{rules}/override/mine", {"conditions": when, "actions": ["notify"]})
    await ayna.http("PUT", f"{rules}/content/uzum/enabled", {"enabled": False})
    await ayna.http("PUT", f"{rules}/underride/.m.rule.message/actions", {"actions": []})
    await ayna.http("PUT", f"{rules}/override/.m.rule.member_event/enabled", {"enabled": False})
    pusher = {
        "app_display_name": "Test", "app_id": "test.app", "pushkey": "key", "kind": "http",
        "data": {"url": "https://push.test/_matrix/push/v1/notify", "format": "event_id_only"},
        "device_display_name": "Telefon", "lang": "tk", "profile_tag": "x",
    }  # fmt: skip
    await batyr.http("POST", q("pushers", "set"), pusher)


def _bytes(data: bytes) -> Any:
    import io

    return io.BytesIO(data)


async def _comings_and_goings(lived: Lived) -> None:
    """Invitations, knocks, bans, somebody who left, a room that was forgotten."""
    ayna, batyr, kerim = lived.people.values()
    open_room = lived.rooms["left"] = await _room(ayna, preset="public_chat", name="Ozal")
    for person in (batyr, kerim):
        await person.http("POST", q("join", open_room), {})
    await _say(ayna, open_room, "before he left")
    await batyr.http("POST", q("rooms", open_room, "leave"), {})
    await _say(ayna, open_room, "after he left")
    await ayna.http("POST", q("rooms", open_room, "ban"), {"user_id": kerim.user_id})
    await kerim.http("POST", q("rooms", open_room, "forget"), {})
    closed = lived.rooms["invited"] = await _room(
        ayna, preset="private_chat", name="Çagyryş", invite=[batyr.user_id]
    )
    await _say(ayna, closed, "nobody else is here")
    rules = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    door = lived.rooms["knocked"] = await _room(ayna, name="Gapy", initial_state=rules)
    await batyr.http("POST", q("knock", door), {"reason": "let me in"})
    space = lived.rooms["space"] = await _room(ayna, creation_content={"type": "m.space"})
    child = {"via": [_domain(ayna)]}
    path = q("rooms", space, "state", "m.space.child", lived.rooms["v10"])
    await ayna.http("PUT", path, child)


# --- pictures -------------------------------------------------------------------------------


async def picture(person: NioPerson) -> Json:
    """What a person is shown, but for what may rightly differ: ages, tokens, order of lists."""
    get = person.http
    found: Json = {"whoami": await get("GET", q("account", "whoami"))}
    synced = await get("GET", q("sync") + "?timeout=0&full_state=true&filter=" + quote(_FILTER))
    found["joined"] = sorted(synced["rooms"].get("join", {}))
    found["invited"] = {
        room: sorted(e["type"] for e in it["invite_state"]["events"])
        for room, it in synced["rooms"].get("invite", {}).items()
    }
    found["knocked"] = sorted(synced["rooms"].get("knock", {}))
    # how many notifications differs: here, whoever speaks has read what was said before
    found["highlights"] = {
        room: it["unread_notifications"]["highlight_count"]
        for room, it in synced["rooms"].get("join", {}).items()
    }
    found["account data"] = _by_type(synced.get("account_data", _NONE)["events"], "m.push_rules")
    found["room account data"] = {
        room: _by_type(it.get("account_data", _NONE)["events"])
        for room, it in synced["rooms"].get("join", {}).items()
    }
    found["receipts"] = {
        room: [e["content"] for e in it.get("ephemeral", _NONE)["events"] if "content" in e]
        for room, it in synced["rooms"].get("join", {}).items()
    }
    found["one-time keys"] = synced["device_one_time_keys_count"]
    for room in found["joined"]:
        found[f"room {room}"] = await _room_picture(person, room)
    found |= await _own_picture(person)
    return found


_NONE: Json = {"events": []}
_FILTER = json.dumps({"room": {"timeline": {"limit": 1}}})


def _by_type(events: list[Json], *without: str) -> Json:
    return {e["type"]: e["content"] for e in events if e["type"] not in without}


async def _room_picture(person: NioPerson, room: str) -> Json:
    get = person.http
    state = await get("GET", q("rooms", room, "state"))
    members = await get("GET", q("rooms", room, "members"))
    history: list[Json] = []
    start = ""
    while True:
        path = q("rooms", room, "messages") + f"?dir=b&limit=10{start}"
        page = await get("GET", path)
        history += page["chunk"]
        if not page["chunk"] or "end" not in page:
            break
        start = f"&from={quote(page['end'])}"
    found: Json = {
        "history": [_bare(e) for e in history],
        "state": sorted(e["event_id"] for e in state),  # type: ignore[index]
        "members": sorted(e["event_id"] for e in members["chunk"]),
        "joined": await get("GET", q("rooms", room, "joined_members")),
        "aliases": await get("GET", q("rooms", room, "aliases")),
    }
    for event in history:
        if event["content"].get("body") == "Kim gelýär?":
            path = q("rooms", room, "relations", event["event_id"]).replace("v3", "v1")
            chunk = (await get("GET", path))["chunk"]
            found["relations"] = sorted(e["event_id"] for e in chunk)
    return found


# some of it stands beside `unsigned` too, for clients of old
_ABOUT = (
    "unsigned", "user_id", "age", "redacts", "prev_content", "replaces_state", "redacted_because",
)  # fmt: skip


def _bare(event: Json) -> Json:
    """An event without what is the server's own word about it."""
    kept = {k: v for k, v in event.items() if k not in _ABOUT}
    unsigned = event.get("unsigned", {})
    kept["redacted"] = "redacted_because" in unsigned
    kept["replaces"] = unsigned.get("replaces_state")
    kept["before"] = unsigned.get("prev_content")
    content = {k: v for k, v in event["content"].items() if k != "redacts"}
    return {**kept, "content": content}


async def _own_picture(person: NioPerson) -> Json:
    get, me = person.http, person.user_id
    devices = (await get("GET", q("devices")))["devices"]
    found: Json = {
        "devices": sorted([d["device_id"], d.get("display_name")] for d in devices),
        "profile": await get("GET", q("profile", me)),
        "rules": _rules(await get("GET", q("pushrules") + "/")),
        "pushers": _without(await get("GET", q("pushers")), "enabled", "device_id"),
        "keys": await person.query(me, *person.client.device_store.users),
        "directory": sorted(
            room["room_id"] for room in (await get("GET", q("publicRooms")))["chunk"]
        ),
    }
    try:
        found["backup"] = await get("GET", q("room_keys", "version"))
        path = q("room_keys", "keys") + f"?version={found['backup']['version']}"
        found["backed up"] = await get("GET", path)
    except HttpError as error:
        found["backup"] = error.body["errcode"]
    return found


def _rules(said: Json) -> Json:
    """People's own rules, and what they changed of the server's."""
    off = {"set_tweak": "highlight", "value": False}  # as servers of old wrote it
    found: Json = {}
    for kind, rules in said["global"].items():
        for at, rule in enumerate(r for r in rules if not r["rule_id"].startswith(".")):
            found[f"{kind}/{rule['rule_id']}"] = [at, rule["enabled"], rule["actions"]]
        for rule in rules:
            if rule["rule_id"] in (".m.rule.message", ".m.rule.member_event"):
                actions = [action for action in rule["actions"] if action != off]
                found[rule["rule_id"]] = [rule["enabled"], actions]
    return found


def _without(value: Any, *names: str) -> Any:
    if isinstance(value, dict):
        return {
            k: _without(v, *names) for k, v in value.items() if not re.search("|".join(names), k)
        }
    return [_without(v, *names) for v in value] if isinstance(value, list) else value


# --- on the other server --------------------------------------------------------------------


async def go_on(lived: Lived, url: str, folder: Path) -> None:
    """The people of the first server on the second: nothing is lost, and they talk on."""
    seen = {}
    for name, person in lived.people.items():
        person.client.homeserver = person.url = url
        seen[name] = await picture(person)
    compare(lived.pictures, seen)
    ayna, _ = lived.people.values()
    data = await ayna.client.download(lived.media)
    assert isinstance(data, nio.MemoryDownloadResponse), data
    assert data.body == PNG
    await _old_devices_go_on(lived)
    await _new_device_reads_all(lived, url, folder)


def compare(before: Json, after: Json) -> None:
    """Tells what differs, place by place."""
    wrong = list(_differences("", before, after))
    assert not wrong, f"{len(wrong)} places differ\n" + "\n".join(wrong[:60])


def _differences(where: str, before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _differences(f"{where}/{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for n, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{where}[{n}]", one, other)
    elif before != after and (before or after):
        yield f"{where}: {str(before)[:300]} became {str(after)[:300]}"


async def _old_devices_go_on(lived: Lived) -> None:
    """The same clients, with their tokens and their stores, find the other server in its place."""
    ayna, batyr = lived.people.values()
    for person in (ayna, batyr):
        person._loop = asyncio.create_task(person.client.sync_forever(20_000))
    for n, person in enumerate((ayna, batyr, ayna)):
        event_id = await person.say(lived.rooms["sealed"], f"and on {n}")
        for reader in (ayna, batyr):
            assert (await reader.read(event_id))["body"] == f"and on {n}"


async def _new_device_reads_all(lived: Lived, url: str, folder: Path) -> None:
    """Somebody logs in with the old password, and reads the old history from the key backup."""
    _, batyr = lived.people.values()
    phone = NioPerson(url, f"{lived.prefix}.ayna", folder / "new", "ayna's new phone")
    lived.people["phone"] = phone
    await phone.log_in(PASSWORD)
    keys, backup = await phone.load_secrets(lived.recovery_key)
    assert keys.public("master") == lived.master
    await phone.sign_own_device(keys)
    assert await phone.restore_backup(keys, backup) == lived.backed_up
    events = await phone.history(lived.rooms["sealed"])
    read = {e.event_id: e.source["content"].get("body") for e in events if e.decrypted}
    assert {k: read.get(k) for k in lived.sealed} == lived.sealed
    await batyr.ready_in(lived.rooms["sealed"], [phone])
    event_id = await batyr.say(lived.rooms["sealed"], "welcome back")
    assert (await phone.read(event_id))["body"] == "welcome back"
