"""A whole Synapse is taken over, with figures: `python -m tests.imports.full [--people N] …`.

Takes the Synapse that `make bench` takes (`KERWEN_BENCH_SYNAPSE`: a Python that has it). Three
people live there by matrix-nio; then accounts, rooms and events are added to its database until
there are as many as asked for; the import is timed; and everybody goes on on Kerwen.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import servers
from tests.clients.nio_person import Json
from tests.conftest import KERWEN, PortBase, Server
from tests.imports import made
from tests.imports.lived import PASSWORD, Lived, go_on, live
from tests.imports.made import Maker, Room
from tests.proofs.wire import Wire, q

DOMAIN = "bench.test"
PEPPER = "biber"
_MORE = (
    f"password_config: {{pepper: {PEPPER}}}\n"
    "room_list_publication_rules: [{action: allow}]\nenable_room_list_search: true\n"
)
_LOGINS = 20  # people of the added ones who come back


def main() -> int:
    """Runs it; 0 if nothing is missing."""
    options = argparse.ArgumentParser("tests.imports.full", description=__doc__)
    options.add_argument("--people", type=int, default=1_000)
    options.add_argument("--rooms", type=int, default=200)
    options.add_argument("--events", type=int, default=100_000)
    chosen = options.parse_args()
    logging.getLogger("nio").setLevel(logging.ERROR)
    peer = servers.synapse(_MORE)
    if peer is None:
        print("there is no Synapse here, and none can be installed")
        return 1
    try:
        asyncio.run(_all(peer, chosen.people, chosen.rooms, chosen.events))
    finally:
        peer.stop()
        peer.remove()
    return 0


async def _all(peer: servers.Server, people: int, rooms: int, events: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        peer.start()
        try:
            lived = await live(peer.url, Path(folder))
        finally:
            peer.stop()
        database = peer.folder / "homeserver.db"
        described(database)
        names = fill(database, people, rooms, events)
        data = peer.folder / "kerwen"
        await asyncio.to_thread(_import, peer.folder, data)
        with PortBase() as base:
            server = Server(data, base.port, DOMAIN, ("--cheap-passwords",))
            try:
                server.start()
                await _go_on(lived, names, server, Path(folder))
            finally:
                await lived.stop()
                server.stop()


def described(database: Path) -> None:
    """What `schema.sql` says of Synapse's tables is so."""
    ours = sqlite3.connect(":memory:")
    ours.executescript(made.SCHEMA.read_text("utf-8"))
    real = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    for (table,) in ours.execute("select name from sqlite_master where type = 'table'"):
        names = "select name from pragma_table_info(?)"
        missing = set(ours.execute(names, (table,))) - set(real.execute(names, (table,)))
        assert not missing, f"{table} has no {missing}"


def fill(database: Path, people: int, rooms: int, events: int) -> list[str]:
    """Adds rows until there are so many of each; the names of the added people."""
    conn = sqlite3.connect(database, isolation_level=None)
    conn.execute("pragma synchronous = off")
    conn.execute("begin")
    made.for_a_real_synapse()
    maker, chance = Maker(conn, DOMAIN, PEPPER), random.Random(1)
    maker.key, maker.seed = _key_of(database.parent)
    counted = [conn.execute(f"select count(*) from {t}").fetchone()[0] for t in _COUNTED]
    names = [f"adam{n}" for n in range(people - counted[0])]
    users = [maker.account(name, PASSWORD) for name in names]
    for user_id in users:
        maker.device(user_id, "OLD")
    versions = list(made.ROOM_VERSIONS)
    left = events - counted[2]
    fresh = rooms - counted[1]
    for n in range(fresh):
        share = left // (fresh - n)
        left -= share
        _room(maker, versions[n % len(versions)], users, chance, share)
    maker.finish()
    if conn.in_transaction:
        conn.execute("commit")
    conn.close()
    return names


_COUNTED = ("users", "rooms", "events")


def _key_of(folder: Path) -> tuple[made.SigningKey, bytes]:
    _, version, seed = (folder / "signing.key").read_text().split()
    raw = made.base64.b64decode(seed + "=")
    return made.SigningKey(version, raw), raw


def _room(maker: Maker, version: str, users: list[str], chance: random.Random, events: int) -> Room:
    """A room of ten people: half of what they say is sealed, some of it relates or was redacted."""
    before = maker.stream
    mine = chance.sample(users, 10)
    room = maker.room(version, mine[0], name={"name": f"Otag {before}"})
    for user_id in mine[1:]:
        room.join(user_id)
    while maker.stream - before < events:
        who, turn = chance.choice(mine), chance.random()
        if turn < 0.5:
            sealed: Json = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "A" * 300}
            room.add(who, "m.room.encrypted", sealed | {"session_id": "s", "device_id": "OLD"})
        elif turn < 0.9:
            said = room.say(who, "Salam! " * chance.randrange(1, 20))
        elif turn < 0.95:
            relation = {"rel_type": "m.annotation", "event_id": room.tips[0].event_id, "key": "👍"}
            room.add(who, "m.reaction", {"m.relates_to": relation})
        elif turn < 0.97:
            room.add(mine[0], "m.room.topic", {"topic": str(maker.stream)}, state_key="")
        elif turn > 0.99 and "said" in locals():
            room.redact(said.sender, said)
    return room


def _import(synapse: Path, data: Path) -> None:
    command = [KERWEN, "import", "synapse", "--config", str(synapse / "homeserver.yaml")]
    begun = time.monotonic()
    with (synapse / "import.log").open("wb") as log:
        child = subprocess.Popen([*command, "--data", str(data)], stdout=log, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
    spent_s = time.monotonic() - begun
    told = (synapse / "import.log").read_text()
    print(told)
    assert status == 0
    assert "left out: events whose id" not in told
    cpu_s = used.ru_utime + used.ru_stime
    sizes = [(f / n).stat().st_size for f, n in ((synapse, "homeserver.db"), (data, "kerwen.db"))]
    print(f"{spent_s:.1f} s, {cpu_s:.1f} s of processor time; peak {used.ru_maxrss / 1024:.0f} MiB")
    print(f"database: {sizes[0] / 2**20:.0f} MiB of Synapse, {sizes[1] / 2**20:.0f} MiB of Kerwen")


async def _go_on(lived: Lived, names: list[str], server: Server, folder: Path) -> None:
    await go_on(lived, server.url, folder)
    for name in names[:: max(len(names) // _LOGINS, 1)]:
        wire = Wire(server.url)
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        wire.token = (await wire.call("POST", q("login"), body)).must()["access_token"]
        rooms = (await wire.call("GET", q("joined_rooms"))).must()["joined_rooms"]
        for room in rooms[:2]:
            said = {"msgtype": "m.text", "body": "men geldim"}
            path = q("rooms", room, "send", "m.room.message", "t")
            (await wire.call("PUT", path, said)).must()
            count = await _walk(wire, room)
            print(f"{name} reads {count} events of {room}")
    print("nothing is missing")


async def _walk(wire: Wire, room: str) -> int:
    """Reads a room back to its beginning; how many events there were."""
    count, start = 0, ""
    while True:
        path = q("rooms", room, "messages") + f"?dir=b&limit=100{start}"
        page = (await wire.call("GET", path)).must()
        count += len(page["chunk"])
        if "end" not in page:
            assert page["chunk"][-1]["type"] == "m.room.create"
            return count
        start = f"&from={page['end']}"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
