"""What the mail store costs on this machine: `python -m tests.mail_store.measure [what …]`."""

from __future__ import annotations

import asyncio
import gc
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from kerwen.base.memory import reuse_buffers
from kerwen.mail.actions import sealing
from kerwen.mail.actions.deliver import Recipient
from kerwen.storage.feed import Feed
from kerwen.storage.migrate import migrate_sqlite
from kerwen.storage.sqlite import SqliteDatabase
from tests.mail_store.house import House, letter


def cpu() -> float:
    """Seconds of CPU of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def timed(name: str, count: int, deed: Callable[[], Awaitable[object]]) -> None:
    """Prints what one of `count` costs."""
    gc.collect()
    wall, used = time.perf_counter(), cpu()
    await deed()
    used, wall = cpu() - used, time.perf_counter() - wall
    print(f"{name:40} {used / count * 1e6:9.1f} us CPU {wall / count * 1e6:9.1f} us wall")


def disk(folder: Path) -> int:
    """Bytes of disk blocks."""
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file())


async def deliveries(house: House) -> None:
    """16 senders to 20 accounts, and one to 50."""
    raws = [letter(n, pad=2048) for n in range(2000)]
    made = [sealing.make(raw) for raw in raws]
    await timed("make (render, press), 2 KiB", 200, lambda: _make(raws[:200]))
    before = disk(house.folder)

    async def sender(part: int) -> None:
        for n in range(part, 2000, 16):
            await house.mail.deliver.run(made[n], [Recipient(1 + n % 20)])

    await timed("deliver 2 KiB", 2000, lambda: asyncio.gather(*map(sender, range(16))))
    print(f"disk per message: {(disk(house.folder) - before) / 2000:.0f} bytes with the log")
    fifty = [Recipient(n) for n in range(1, 51)]

    async def many() -> None:
        for n in range(20):
            await house.mail.deliver.run(made[n], fifty)

    await timed("deliver 2 KiB to 50, each", 1000, many)
    medium = [sealing.make(letter(n, pad=50_000)) for n in range(100)]

    async def mediums() -> None:
        for one in medium:
            await house.mail.deliver.run(one, [Recipient(3)])

    await timed("deliver 50 KB", 100, mediums)


async def _make(raws: list[bytes]) -> None:
    for raw in raws:
        sealing.make(raw)


WHAT = {"deliver": deliveries}


async def main(names: list[str]) -> None:
    for name in names or list(WHAT):
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        migrate_sqlite(folder / "kerwen.db")
        feed = Feed()
        db = SqliteDatabase(folder / "kerwen.db", feed)
        house = House(db, feed, folder)
        for account_no in range(1, 51):
            await house.account(account_no)
        print(f"--- {name}")
        await WHAT[name](house)
        await house.close()
        await db.close()
        print(f"disk when closed: {disk(folder)}")
        shutil.rmtree(folder)


if __name__ == "__main__":
    reuse_buffers()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1:]))
