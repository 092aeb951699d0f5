"""`kerwen import synapse`, from a database of Synapse's shape to people who go on talking.

What a real Synapse writes is shown by `python -m tests.imports.full`, which needs one.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kerwen.base.config import BadConfig
from kerwen.commands.synapse.run import Wanted, run
from kerwen.rooms.event import Event, parse_pdu
from kerwen.rooms.versions import ROOM_VERSIONS
from kerwen.storage.postgres_pool import connect
from tests import postgres
from tests.clients.nio_person import NioPerson
from tests.conftest import KERWEN, FreshServer
from tests.imports.made import Json, Maker, Room, empty
from tests.proofs.databases import empty_database
from tests.proofs.wire import Wire, q

DOMAIN = "old.test"
PASSWORD = "bäk-old-parol"
PEPPER = "biber"
AYNA, BATYR, MERDAN = (f"@{name}:{DOMAIN}" for name in ("ayna", "batyr", "merdan"))


@dataclass
class Old:
    """A Synapse that was stopped."""

    folder: Path
    maker: Maker
    tokens: dict[str, str]
    rooms: dict[str, Room]
    said: dict[str, Event]

    @property
    def database(self) -> Path:
        return self.folder / "homeserver.db"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """The same for all tests here: none of them writes to it."""
    folder = tmp_path_factory.mktemp("synapse")
    maker = Maker(empty(folder / "homeserver.db"), DOMAIN, PEPPER)
    made = Old(folder, maker, {}, {}, {})
    _people(made)
    _rooms(made)
    _personal(made)
    _keys(made)
    _media(made)
    maker.finish()
    (folder / "signing.key").write_text(maker.signing_key + "\n")
    (folder / "homeserver.yaml").write_text(
        f"server_name: {DOMAIN}\nsigning_key_path: signing.key\nmedia_store_path: media\n"
        "database: {name: sqlite3, args: {database: homeserver.db}}\n"
        f"password_config: {{pepper: {PEPPER}}}\n"
    )
    return made


def _people(made: Old) -> None:
    maker = made.maker
    for name in ("ayna", "batyr", "merdan"):
        user_id = maker.account(name, PASSWORD, admin=int(name == "batyr"))
        made.tokens[user_id] = maker.device(user_id, "OLD")
    maker.account("guest1", None, is_guest=1)
    maker.account("gone", PASSWORD, deactivated=1)
    maker.account("locked", PASSWORD, locked=True)
    maker.account("sso", None)
    maker.put("devices", user_id=AYNA, device_id="a/key/of/hers", hidden=True)
    maker.put("registration_tokens", token="geliň", uses_allowed=3, pending=0, completed=1)


def _rooms(made: Old) -> None:
    maker = made.maker
    for version in ROOM_VERSIONS:
        room = made.rooms[version] = maker.room(version, AYNA, name={"name": f"Otag {version}"})
        room.join(BATYR)
        for n in range(12):
            made.said[f"{version} {n}"] = room.say((AYNA, BATYR)[n % 2], f"{version} {n}")
        room.redact(AYNA, made.said[f"{version} 0"])
        # what a stranger's redaction would need is the sender's own server
        far = room.redact(AYNA, made.said[f"{version} 2"], about={"recheck_redaction": True})
        assert far.server == DOMAIN
        room.redact(BATYR, made.said[f"{version} 4"], rejected=True)
        room.add(AYNA, "m.room.name", {"name": f"Täze otag {version}"}, state_key="")
    _two_histories(made)
    _joined_elsewhere(made)
    room = made.rooms["10"]
    made.said["soft"] = room.add(
        BATYR, "m.room.message", {"body": "soft"}, after=room.tips, about={"soft_failed": True}
    )
    made.said["spoilt"] = room.add(AYNA, "m.room.message", {"body": "spoilt"}, spoil=True)
    room.tips = [made.said["soft"]]
    root = made.said["root"] = room.say(AYNA, "root")
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root.event_id}}
    made.said["reply"] = room.say(BATYR, "reply", **thread)
    made.said["named"] = room.say(BATYR, "Aýna!", **{"m.mentions": {"user_ids": [AYNA]}})
    maker.put("rooms", room_id="!ancient:old.test", is_public=False, room_version="1")
    maker.put("room_aliases", room_alias=f"#bazar:{DOMAIN}", room_id=room.id, creator=AYNA)
    maker.conn.execute("update rooms set is_public = true where room_id = ?", (room.id,))
    left = made.rooms["left"] = maker.room("11", BATYR)
    left.join(AYNA)
    gone = left.join(AYNA, "leave")
    maker.conn.execute(
        "update room_memberships set forgotten = 1 where event_id = ?", (gone.event_id,)
    )
    asked = made.rooms["asked"] = maker.room("11", BATYR, name={"name": "Gel"})
    asked.join(AYNA, "invite", by=BATYR)


def _two_histories(made: Old) -> None:
    """Two topics were set at once: the later one lost, by state resolution."""
    room = made.rooms["forked"] = made.maker.room("11", AYNA, topic={"topic": "first"})
    room.join(BATYR)
    fork = list(room.tips)
    won = room.add(AYNA, "m.room.topic", {"topic": "won"}, state_key="", after=fork)
    lost = room.add(AYNA, "m.room.topic", {"topic": "lost"}, state_key="", after=fork, keep=False)
    room.tips = [won, lost]
    made.said["won"] = won


def _joined_elsewhere(made: Old) -> None:
    """A room of another server: its state came with the join, some history later."""
    room = made.rooms["far"] = Room(made.maker, ROOM_VERSIONS["11"], "@far:far.test")
    room.id = "!far:far.test"
    made.maker.put("rooms", room_id=room.id, is_public=False, room_version="11")
    first = {"outlier": True}
    room.add("@far:far.test", "m.room.create", {"room_version": "11"}, state_key="", **first)
    room.tips = []
    join = {"membership": "join", "displayname": "Far"}
    room.add("@far:far.test", "m.room.member", join, state_key="@far:far.test", **first)
    room.add("@far:far.test", "m.room.name", {"name": "Uzak"}, state_key="", **first)
    rules = {"join_rule": "public"}
    room.add("@far:far.test", "m.room.join_rules", rules, state_key="", **first)
    room.tips = []
    conn = made.maker.conn
    for n in (3, 2, 1):  # backfill walks back: what came last is oldest
        body = {"body": f"early {n}"}
        event = room.add("@far:far.test", "m.room.message", body, earlier=True)
        conn.execute(
            "update events set topological_ordering = ? where event_id = ?",
            (10 + n, event.event_id),
        )
    room.join(AYNA)
    room.say(AYNA, "from here")
    made.maker.rooms.append(room)


def _personal(made: Old) -> None:
    put, room = made.maker.put, made.rooms["10"]
    put("account_data", user_id=AYNA, account_data_type="test.a", stream_id=1, content={"a": "ä"})
    put(
        "room_account_data", user_id=AYNA, room_id=room.id, account_data_type="m.fully_read",
        stream_id=2, content={"event_id": made.said["root"].event_id},
    )  # fmt: skip
    put("room_tags", user_id=AYNA, room_id=room.id, tag="u.iş", content={"order": 0.5})
    put(
        "user_filters",
        user_id="ayna",
        filter_id=0,
        filter_json=b'{"room":{"timeline":{"limit":3}}}',
    )
    put(
        "push_rules", id=1, user_name=AYNA, rule_id="global/content/alma", priority_class=4,
        conditions=[{"kind": "event_match", "key": "content.body", "pattern": "alma"}],
        actions=["notify"],
    )  # fmt: skip
    put("push_rules_enable", id=1, user_name=AYNA, rule_id="global/content/alma", enabled=0)
    put(
        "pushers", id=1, user_name=AYNA, profile_tag="", kind="http", app_id="app", pushkey="key",
        app_display_name="App", device_display_name="Telefon", ts=5, lang="tk", device_id="OLD",
        data={"url": "https://push.test/_matrix/push/v1/notify"}, enabled=True,
    )  # fmt: skip
    put(
        "receipts_linearized", stream_id=1, room_id=room.id, receipt_type="m.read", user_id=AYNA,
        event_id=made.said["10 11"].event_id, data={"ts": 77},
    )  # fmt: skip


def _keys(made: Old) -> None:
    put = made.maker.put
    body: Json = {
        "user_id": AYNA, "device_id": "OLD", "algorithms": ["m.olm.v1"],
        "keys": {"ed25519:OLD": "AAAA"}, "signatures": {AYNA: {"ed25519:OLD": "AAAA"}},
    }  # fmt: skip
    put("e2e_device_keys_json", user_id=AYNA, device_id="OLD", key_json=body)
    for n in range(3):
        put(
            "e2e_one_time_keys_json", user_id=AYNA, device_id="OLD", key_json={"key": f"K{n}"},
            algorithm="signed_curve25519", key_id=f"AAAA{n}", ts_added_ms=made.maker.now_ms + n,
        )  # fmt: skip
    put(
        "e2e_fallback_keys_json", user_id=AYNA, device_id="OLD", algorithm="signed_curve25519",
        key_id="FALL", key_json={"key": "F", "fallback": True}, used=True,
    )  # fmt: skip
    put(
        "e2e_room_keys_versions", user_id=AYNA, version=3, algorithm="m.a", auth_data={"k": 1},
        etag=9,
    )  # fmt: skip
    put(
        "e2e_room_keys", user_id=AYNA, room_id=made.rooms["10"].id, session_id="s", version=3,
        first_message_index=4, forwarded_count=0, is_verified=True, session_data={"c": "x"},
    )  # fmt: skip
    for n in range(120):
        put(
            "device_inbox", user_id=AYNA, device_id="OLD", stream_id=n,
            message_json={"type": "test.n", "sender": BATYR, "content": {"n": n}, "message_id": 1},
        )  # fmt: skip


def _media(made: Old) -> None:
    folder = made.folder / "media" / "local_content" / "ab" / "cd"
    folder.mkdir(parents=True)
    (folder / "efgh").write_bytes(b"surat")
    made.maker.put(
        "local_media_repository", media_id="abcdefgh", media_type="text/plain", user_id=AYNA,
        created_ts=5, upload_name="a.txt",
    )  # fmt: skip
    made.maker.put("local_media_repository", media_id="missing1", user_id=AYNA)


def brought_over(old: Old, data: Path, *more: str) -> str:
    """Runs the command; what it prints."""
    command = [KERWEN, "import", "synapse", "--config", str(old.folder / "homeserver.yaml")]
    done = subprocess.run(
        [*command, "--data", str(data), *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def _everything_is_there(old: Old, url: str) -> None:
    """As Ayna, by the token that she had."""
    wire = Wire(url, old.tokens[AYNA])

    async def get(*parts: str, query: str = "") -> Any:
        return (await wire.call("GET", q(*parts) + (f"?{query}" if query else ""))).must()

    assert (await get("account", "whoami"))["device_id"] == "OLD"
    synced = await get("sync", query="timeout=0&filter=0")
    rooms = synced["rooms"]
    mine = [r for name, r in old.rooms.items() if name not in ("left", "asked")]
    assert set(rooms["join"]) == {room.id for room in mine}
    assert set(rooms["invite"]) == {old.rooms["asked"].id}
    assert "leave" not in rooms or old.rooms["left"].id not in rooms["leave"]
    for room in mine:
        await _room_is_there(old, room, get)
    ten = old.rooms["10"]
    assert ten.id is not None
    assert rooms["join"][ten.id]["unread_notifications"]["highlight_count"] == 1
    assert await get("user", AYNA, "account_data", "test.a") == {"a": "ä"}
    assert await get("user", AYNA, "rooms", ten.id, "tags") == {"tags": {"u.iş": {"order": 0.5}}}
    rules = (await get("pushrules", ""))["global"]["content"]
    assert [(r["rule_id"], r["enabled"]) for r in rules if r["rule_id"] == "alma"] == [
        ("alma", False)
    ]
    assert [p["pushkey"] for p in (await get("pushers"))["pushers"]] == ["key"]
    assert (await get("directory", "room", f"#bazar:{DOMAIN}"))["room_id"] == ten.id
    assert [r["room_id"] for r in (await get("publicRooms"))["chunk"]] == [ten.id]
    assert (await get("profile", BATYR))["displayname"] == "Batyr"
    assert synced["device_one_time_keys_count"] == {"signed_curve25519": 3}
    assert synced["device_unused_fallback_key_types"] == []
    assert (await get("room_keys", "version"))["etag"] == "9"
    kept = await get("room_keys", "keys", str(ten.id), "s", query="version=3")
    assert (kept["first_message_index"], kept["session_data"]) == (4, {"c": "x"})
    media = await wire.call("GET", f"/_matrix/client/v1/media/download/{DOMAIN}/abcdefgh")
    assert (media.status, media.body) == (200, b"surat")
    assert [d["device_id"] for d in (await get("devices"))["devices"]] == ["OLD"]
    await _inbox_comes_once(get, synced)
    await _found_and_in_order(old, wire)


async def _found_and_in_order(old: Old, wire: Wire) -> None:
    """Sliding sync shows the room that spoke last first; the search knows the old words."""
    wanted = {"ranges": [[0, 30]], "timeline_limit": 1, "required_state": []}
    path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    rooms = (await wire.call("POST", path, {"lists": {"a": wanted}})).must()["rooms"]
    by_stamp = sorted(rooms, key=lambda room: -rooms[room]["bump_stamp"])
    last = old.maker.conn.execute(
        "select room_id, max(stream_ordering) from events where not outlier and"
        " rejection_reason is null and type in ('m.room.message', 'm.room.create')"
        " group by room_id order by 2 desc"
    )
    shown = [row[0] for row in last if row[0] in rooms and row[0] != old.rooms["asked"].id]
    spoken = [room.id for name, room in old.rooms.items() if name in ROOM_VERSIONS]
    assert [r for r in by_stamp if r in spoken] == [r for r in shown if r in spoken]
    asked = {"search_categories": {"room_events": {"search_term": "reply"}}}
    for _ in range(200):  # the index of words is made after the start, beside other work
        found = (await wire.call("POST", q("search"), asked)).must()
        if found["search_categories"]["room_events"]["results"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the search never found an old word")


async def _room_is_there(old: Old, room: Room, get: Callable[..., Any]) -> None:
    """State, and history to its beginning: ids, words, what was taken away."""
    state = await get("rooms", room.id, "state")
    assert sorted(e["event_id"] for e in state) == sorted(e.event_id for e in room.state.values())
    found: list[Json] = []
    start = ""
    while True:
        page = await get("rooms", room.id, "messages", query=f"dir=b&limit=7{start}")
        found += page["chunk"]
        if "end" not in page:
            break
        start = f"&from={page['end']}"
    rows = old.maker.conn.execute(
        "select event_id from events where room_id = ? and not outlier and"
        " rejection_reason is null order by topological_ordering desc, stream_ordering desc",
        (room.id,),
    )
    hidden = {old.said["soft"].event_id, old.said["spoilt"].event_id}
    assert {e["event_id"] for e in found} == {row[0] for row in rows} - hidden
    redacted = {e["event_id"] for e in found if "redacted_because" in e.get("unsigned", {})}
    wanted = {e.event_id for name, e in old.said.items() if name.endswith((" 0", " 2"))}
    assert redacted == wanted & {e["event_id"] for e in found}
    if room is old.rooms["far"]:
        assert [e["content"].get("body") for e in found][-3:] == ["early 3", "early 2", "early 1"]


async def _inbox_comes_once(get: Callable[..., Any], first: Json) -> None:
    numbers = [e["content"]["n"] for e in first["to_device"]["events"]]
    token = first["next_batch"]
    for _ in range(10):
        more = await get("sync", query=f"timeout=0&since={token}")
        token = more["next_batch"]
        numbers += [e["content"]["n"] for e in more.get("to_device", {}).get("events", [])]
    assert numbers == list(range(120))


async def test_nothing_is_lost_and_they_talk_on(
    old: Old, tmp_path: Path, fresh_server: FreshServer
) -> None:
    told = brought_over(old, tmp_path / "data")
    for words in (
        "left out: rooms of version 1", "left out: guests", "1  left out: events whose id",
        "left out: passwords", "left out: files that are not in the media store",
    ):  # fmt: skip
        assert words in told, told
    server = fresh_server("--cheap-passwords", domain=DOMAIN, data=tmp_path / "data")
    await _everything_is_there(old, server.url)
    await _log_in_as_before(old, server.url, tmp_path)
    server.stop()
    conn = sqlite3.connect(tmp_path / "data" / "kerwen.db")
    kinds = dict(
        conn.execute(
            "select a.localpart, p.memory_kib > 0 and exists (select 1 from vault_slots s"
            " where s.account_no = a.account_no and s.kind = 'password')"
            " from accounts a join passwords p on p.account_no = a.account_no"
        )
    )
    # what was shown is ours now, even where its owner may not enter; what was not is as it was
    assert kinds == {"ayna": 1, "batyr": 0, "merdan": 0, "locked": 1}
    conn.close()
    server.start()
    again = Wire(server.url)
    answer = await again.call("POST", q("login"), _login("ayna", PASSWORD))
    assert answer.status == 200


def _login(name: str, password: str) -> Json:
    identifier = {"type": "m.id.user", "user": name}
    return {"type": "m.login.password", "identifier": identifier, "password": password}


async def _log_in_as_before(old: Old, url: str, folder: Path) -> None:
    """By matrix-nio with the old password; what she says then is heard by the old session."""
    wire = Wire(url)
    for name, password in (
        ("ayna", "wrong"),
        ("gone", PASSWORD),
        ("sso", ""),
        ("locked", PASSWORD),
    ):
        answer = await wire.call("POST", q("login"), _login(name, password))
        assert answer.status in (400, 401, 403), answer
    two = await asyncio.gather(  # two clients at once: both are let in
        *(Wire(url).call("POST", q("login"), _login("ayna", PASSWORD)) for _ in range(2))
    )
    assert [answer.status for answer in two] == [200, 200]
    ayna = NioPerson(url, "ayna", folder / "nio")
    try:
        await ayna.log_in(PASSWORD)
        for version in ("3", "10", "12"):
            room = old.rooms[version].id
            assert room is not None
            sent = await ayna.client.room_send(
                room, "m.room.message", {"msgtype": "m.text", "body": "täze"}
            )
            seen = await Wire(url, old.tokens[BATYR]).call(
                "GET", q("rooms", room, "event", sent.event_id)
            )
            assert seen.json["content"]["body"] == "täze"
        history = await ayna.history(str(old.rooms["10"].id))
        assert len(history) > 20
    finally:
        await ayna.stop()


async def test_from_postgres_and_into_postgres(
    old: Old, tmp_path: Path, fresh_server: FreshServer, postgres_server: postgres.Server
) -> None:
    """Synapse's database may be PostgreSQL, and Kerwen's too."""
    source, target = [await empty_database(postgres_server) for _ in range(2)]
    await _copied(old, source)
    brought_over(old, tmp_path / "data", "--database", source, "--into", target)
    assert not (tmp_path / "data" / "kerwen.db").exists()
    server = fresh_server(
        "--cheap-passwords", "--database", target, domain=DOMAIN, data=tmp_path / "data"
    )
    await _everything_is_there(old, server.url)
    answer = await Wire(server.url).call("POST", q("login"), _login("merdan", PASSWORD))
    assert answer.status == 200


async def _copied(old: Old, dsn: str) -> None:
    """The same tables and rows in PostgreSQL."""
    link = await connect(dsn)
    raw: asyncpg.Connection = link.raw
    await raw.execute((Path(__file__).parent / "schema.sql").read_text())
    await raw.execute("delete from schema_version")
    for (table,) in old.maker.conn.execute("select name from sqlite_master where type = 'table'"):
        kinds = old.maker.conn.execute(f"select name, type from pragma_table_info('{table}')")
        columns = dict(kinds.fetchall())
        rows = [
            tuple(
                bool(v) if k == "BOOLEAN" and v is not None else v
                for v, k in zip(row, columns.values(), strict=True)
            )
            for row in old.maker.conn.execute(f"select * from {table}")
        ]
        await raw.copy_records_to_table(table, records=rows, columns=list(columns))
    await raw.close()


def test_it_is_all_or_nothing(old: Old, tmp_path: Path) -> None:
    """What ends an import early leaves an empty place, and the next one is as good as a first."""
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("homeserver.yaml", "signing.key", "homeserver.db"):
        (folder / name).write_bytes((old.folder / name).read_bytes())
    conn = sqlite3.connect(folder / "homeserver.db")
    conn.execute("update e2e_room_keys set session_data = 'no json'")
    conn.commit()
    conn.close()
    broken = Old(folder, old.maker, {}, {}, {})
    command = [KERWEN, "import", "synapse", "--config", str(folder / "homeserver.yaml")]
    data = tmp_path / "data"
    done = subprocess.run([*command, "--data", str(data)], capture_output=True, check=False)
    assert done.returncode != 0
    assert not list(data.glob("kerwen.db*"))
    conn = sqlite3.connect(folder / "homeserver.db")
    conn.execute("update e2e_room_keys set session_data = '{}'")
    conn.commit()
    conn.close()
    brought_over(broken, data)
    done = subprocess.run([*command, "--data", str(data)], capture_output=True, check=False)
    assert (done.returncode, b"empty folder" in done.stderr) == (2, True)


def test_wrong_asks_are_told_in_one_line(old: Old, tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("a: 1\n")
    (tmp_path / "other.yaml").write_text("server_name: other.test\n")
    (tmp_path / "no.db").write_bytes(b"x" * 5000)
    database = str(old.database)
    for wanted, words in (
        ({}, "say where"),
        ({"database": str(tmp_path / "away.db")}, "no such file"),
        ({"database": str(tmp_path / "no.db")}, "not a database"),
        ({"settings": tmp_path / "none.yaml"}, "names no server"),
        ({"database": database, "settings": tmp_path / "other.yaml"}, "not of other.test"),
        ({"database": database, "domain": "x.test"}, "not of x.test"),
    ):
        asked: Json = {"database": None, "media": None, "settings": None} | wanted
        with pytest.raises(BadConfig, match=words) as refused:
            run(Wanted(data=tmp_path / "data", **asked))
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_events_keep_their_bytes(old: Old) -> None:
    """What the import reads is what was signed."""
    rows = old.maker.conn.execute(
        "select j.event_id, j.json, r.room_version from event_json j"
        " join rooms r on r.room_id = j.room_id"
    )
    for event_id, text, version in rows:
        event = parse_pdu(json.dumps(json.loads(text)).encode(), ROOM_VERSIONS[version])
        assert (event.event_id == event_id) is (event_id != old.said["spoilt"].event_id)
