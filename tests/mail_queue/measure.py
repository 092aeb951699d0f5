"""What a message costs on its way out: `python -m tests.mail_queue.measure [MESSAGES] [DOMAINS]`.

The other side runs in a process of its own; the DNS server of the test in ours.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.storage.feed import Feed
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sqlite import SqliteDatabase
from tests.mail_store.house import House, letter

from .remote import Remote
from .world import US, World


def serve(told: Any) -> None:
    """The other side, until it is killed."""

    async def forever() -> None:
        remote = await Remote().start()
        told.put(remote.at[1])
        await asyncio.Event().wait()

    uvloop.run(forever())


async def measure(messages: int, domains: int, port: int, folder: Path) -> None:
    """Prints CPU and wall time."""
    migrate_sqlite(folder / "kerwen.db")
    feed = Feed()
    db = SqliteDatabase(folder / "kerwen.db", feed)
    house = House(db, feed, folder / "data")
    for account_no in (1, 2):
        await house.account(account_no)
    world = await World(house, folder / "world").start()
    world.port = port
    world.dns.add("\n".join(
        f"d{n}.test MX 1 mx.d{n}.test.\nmx.d{n}.test A 127.0.0.1" for n in range(domains)
    ))  # fmt: skip
    world.build()
    raw = letter(1, pad=2048)
    cpu, wall = time.process_time(), time.monotonic()
    for n in range(messages):
        await world.queue.enqueue(Envelope(US), [Addressee(f"a@d{n % domains}.test")], raw)
    show("put in", messages, cpu, wall)
    cpu, wall = time.process_time(), time.monotonic()
    await world.sender.step()
    show("sent", messages, cpu, wall)
    print(f"connections: {world.hand_on.opened} opened, {world.hand_on.reused} times reused")
    await world.close()
    await house.close()
    await db.close()


def show(what: str, messages: int, cpu: float, wall: float) -> None:
    micros = (time.process_time() - cpu) / messages * 1e6
    print(
        f"{what}: {micros:.0f} µs of CPU each, {messages / (time.monotonic() - wall):.0f} a second"
    )


def main() -> None:
    numbers = [int(one) for one in sys.argv[1:]] + [1000, 20][len(sys.argv) - 1 :]
    told: Any = multiprocessing.Queue()
    other = multiprocessing.Process(target=serve, args=(told,), daemon=True)
    other.start()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(numbers[0], numbers[1], told.get(), Path(folder)))
    other.kill()


if __name__ == "__main__":
    main()
