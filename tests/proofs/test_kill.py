"""`kill -9` amid sixteen senders: what was acknowledged is there exactly once, the rest at most.

A kill leaves what the kernel holds; that a commit waits for the disk itself is proved in
`tests/storage`, where each write and each sync is made to fail.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter

import pytest

from tests import postgres
from tests.conftest import FreshServer, Server
from tests.proofs.databases import empty_database
from tests.proofs.load import Crowd, Deed, whole_history
from tests.proofs.wire import Person

KILLS = 50
KILLS_POSTGRES = 6
if os.environ.get("KERWEN_LONG") == "1":
    KILLS, KILLS_POSTGRES = 500, 50
REPEATED = 40  # acknowledged deeds of a round that are asked for again


@pytest.mark.timeout(60 + 4 * KILLS)
async def test_kill_on_sqlite(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    await _torture(server, KILLS, seed=1)
    server.stop()
    conn = sqlite3.connect(server.data / "kerwen.db")
    assert conn.execute("pragma integrity_check").fetchall() == [("ok",)]
    conn.close()
    assert "bug" not in server.log.read_text()


@pytest.mark.timeout(60 + 4 * KILLS_POSTGRES)
async def test_kill_on_postgres(
    fresh_server: FreshServer, postgres_server: postgres.Server
) -> None:
    dsn = await empty_database(postgres_server)
    server = fresh_server("--cheap-passwords", "--database", dsn)
    await _torture(server, KILLS_POSTGRES, seed=2)
    assert "bug" not in server.log.read_text()


async def _torture(server: Server, kills: int, seed: int) -> None:
    crowd = Crowd(server.url, seed)
    await crowd.gather()
    chance = random.Random(seed)
    moments = [chance.uniform(0.020, 0.300) for _ in range(kills)]
    for moment in (2.0, *moments):  # and a longer while, in which nothing may be skipped either
        tasks = crowd.start()
        await asyncio.sleep(moment)
        server.kill9()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(server.start)
        await _check_round(crowd)
    await _check_all(crowd)


async def _check_round(crowd: Crowd) -> None:
    """Right after a restart: repeats change nothing, files are there, listeners go on."""
    done, crowd.acknowledged = crowd.acknowledged, []
    unsure, crowd.unsure = crowd.unsure, []
    # half of what was not answered is asked for again: then it must be there, and once
    retried = [deed for deed in unsure if deed.kind != "file"][::2]
    again = [deed for deed in done if deed.kind != "file"][-REPEATED:]
    files = [deed for deed in done if deed.kind == "file"]
    await asyncio.gather(*(_ask_again(crowd, who, [*again, *retried]) for who in crowd.senders))
    await asyncio.gather(*(_look_at(who, files) for who in crowd.senders))
    told = [*done, *retried]
    await asyncio.gather(crowd.live.catch_up(told), crowd.cold.catch_up(told))
    crowd.kept += told
    crowd.left += [deed for deed in unsure if deed not in retried]
    _check_heard(crowd, told)


async def _ask_again(crowd: Crowd, who: Person, deeds: list[Deed]) -> None:
    for deed in deeds:
        if deed.who is who:
            outcome = await crowd.do(deed)
            assert deed.outcome in (None, outcome), "a repeat answers what the first one did"
            deed.outcome = outcome


async def _look_at(who: Person, files: list[Deed]) -> None:
    for deed in files:
        if deed.who is who:
            assert deed.outcome is not None
            found = await who.download(deed.outcome)
            assert found.status == 200, (found, deed.outcome)
            assert found.body == deed.content, "a file came back changed"


def _check_heard(crowd: Crowd, deeds: list[Deed]) -> None:
    """Both listeners heard every deed once: one all along, one only after the restart."""
    for ear in (crowd.live, crowd.cold):
        for deed in deeds:
            assert ear.heard(deed) == 1, (deed.text, ear.heard(deed))
            if deed.kind == "message":
                assert deed.outcome is not None
                assert ear.texts[deed.outcome] == deed.text


async def _check_all(crowd: Crowd) -> None:
    """At the end, by another way than `/sync`: the rooms' whole history holds each once."""
    said: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for room in crowd.rooms:
        for event in await whole_history(crowd.senders[0], room):
            if event["type"] == "m.room.message":
                said[event["content"]["body"]] += 1
                ids[event["content"]["body"]] = event["event_id"]
    for deed in crowd.kept:
        if deed.kind == "message":
            assert said[deed.text] == 1, (deed.text, said[deed.text])
            assert ids[deed.text] == deed.outcome
    assert max(said.values()) == 1, "what was not acknowledged is there at most once"
    for ear in (crowd.live, crowd.cold):
        assert {text for text in ear.texts.values() if text} == set(said)
        assert max(ear.notes.values()) == 1
        possible = {d.text for d in (*crowd.kept, *crowd.left) if d.kind == "note"}
        assert set(ear.notes) <= possible
    kinds = Counter(deed.kind for deed in crowd.kept)
    print(f"acknowledged {dict(kinds)}, never answered {len(crowd.left)}")
    assert min(kinds[kind] for kind in ("message", "note", "file")) >= 20, kinds
