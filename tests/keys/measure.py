"""CPU time of the key requests, on SQLite, through the application without a network.

    python -m tests.keys.measure [rounds]

Prints milliseconds of processor time (all threads) a request; compare with docs/keys.md.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop

from kerwen.keys import store
from kerwen.storage.feed import Feed
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sqlite import SqliteDatabase
from tests.keys.house import DOMAIN, House, Person

USERS = 40
ALGORITHM = "signed_curve25519"
Job = Callable[[int], Awaitable[Any]]


async def measured(name: str, rounds: int, job: Job) -> None:
    """Runs a job many times, one after the other, and prints what one costs."""
    start_cpu, start = time.process_time(), time.perf_counter()
    for no in range(rounds):
        answer = await job(no)
        assert answer.status == 200, answer.body
    cpu, wall = time.process_time() - start_cpu, time.perf_counter() - start
    print(f"{name:24} {cpu / rounds * 1e3:8.3f} ms CPU {wall / rounds * 1e3:8.3f} ms wall")


def cipher(no: int) -> dict[str, Any]:
    """A room key sealed for one device."""
    return {
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": "s" * 43,
        "ciphertext": {f"{no:043}": {"type": 1, "body": f"{no:0600}"}},
    }


async def drain(house: House, people: list[Person]) -> None:
    """All devices have got their messages."""
    async with house.db.write() as tx:
        for person in people:
            device_no = house.callers[person.token].device_no
            await store.delete_to_device(tx, device_no, house.feed.settled)


async def measure(folder: Path, rounds: int) -> None:
    """Each request as the end-to-end benchmark sends it."""
    migrate_sqlite(folder / "kerwen.db")
    feed = Feed()
    db = SqliteDatabase(folder / "kerwen.db", feed)
    house = House(db, feed)
    count = max(USERS, rounds)
    people = [Person(f"p{no}", f"DEVICE{no}") for no in range(count)]
    await house.add_people({f"p{no}": [f"DEVICE{no}"] for no in range(count)})
    uploads = [
        orjson.dumps(
            {
                "device_keys": person.device_keys(),
                "one_time_keys": person.one_time_keys(50),
                "fallback_keys": {f"{ALGORITHM}:F": person.one_time_key(99, fallback=True)},
            }
        )
        for person in people
    ]
    ids = [f"@p{no}:{DOMAIN}" for no in range(USERS)]
    everyone = orjson.dumps({"device_keys": {user_id: [] for user_id in ids}})
    wanted = orjson.dumps(
        {"one_time_keys": {ids[no]: {f"DEVICE{no}": ALGORITHM} for no in range(USERS)}}
    )
    alike = orjson.dumps({"messages": {ids[no]: {"*": cipher(0)} for no in range(USERS)}})
    share = orjson.dumps(
        {"messages": {ids[no]: {f"DEVICE{no}": cipher(no)} for no in range(USERS)}}
    )
    token = people[0].token

    async def upload(no: int) -> Any:
        return await house.post(people[no].token, "/keys/upload", uploads[no])

    async def query(no: int) -> Any:
        return await house.post(token, "/keys/query", everyone)

    async def cold_query(no: int) -> Any:
        for account_no in [house.callers[person.token].account_no for person in people[:USERS]]:
            house.cache.forget(account_no)
        return await house.post(token, "/keys/query", everyone)

    async def claim(no: int) -> Any:
        return await house.post(token, "/keys/claim", wanted)

    async def send(no: int) -> Any:
        path = f"/sendToDevice/m.room.encrypted/t{no}"
        return await house.call(token, "PUT", path, share)

    async def send_alike(no: int) -> Any:
        path = f"/sendToDevice/m.room.encrypted/a{no}"
        return await house.call(token, "PUT", path, alike)

    await measured("upload", count, upload)
    await query(0)
    await measured("query, warm", rounds * 5, query)
    await measured("query, cold", rounds, cold_query)
    await measured("claim", 45, claim)
    await send(-1)
    await measured("sendToDevice", 40, send)
    await drain(house, people[:USERS])
    await measured("sendToDevice, alike", 40, send_alike)
    await db.close()


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(measure(Path(name), asked))
