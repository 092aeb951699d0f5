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
from functools import partial
from pathlib import Path

import uvloop

from kerwen.base.memory import reuse_buffers
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.deliver import Recipient
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.match import And, Body, Flagged, Header, Text
from kerwen.mail.store.record import FieldNames
from kerwen.mail.store.segment import Flag
from kerwen.mail.store.uid_ranges import EVERY
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
    print(f"{name:48} {used / count * 1e6:9.1f} us CPU {wall / count * 1e6:9.1f} us wall")


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


def corpus(count: int) -> list[bytes]:
    """The messages of the shared bench where it is, else our own: 4 of 5 small, 1 of 50 KB."""
    sys.path.insert(0, "/work/shared/bench/mail")
    try:
        import mailbench  # type: ignore[import-not-found]
    except ImportError:
        return [letter(n, f"ref-{n:06d}", pad=50_000 if n % 5 == 4 else 2048) for n in range(count)]
    found = mailbench.Corpus(1)
    return [found.make(n, "medium" if n % 5 == 4 else "small") for n in range(count)]


async def fill(house: House, count: int = 10_000) -> None:
    """A mailbox of 10,000, in MULTIAPPENDs of 50."""
    raws = corpus(count)
    await house.mail.mailboxes.create(1, "Big")
    made = [sealing.make(raw) for raw in raws]
    before = disk(house.folder)

    async def deed() -> None:
        for at in range(0, count, 50):
            items = [Item(one) for one in made[at : at + 50]]
            await house.mail.append.run(1, "Big", items)

    await timed("append 50 at once, each", count, deed)
    raw = sum(map(len, raws))
    used = disk(house.folder) - before
    print(f"disk {used / count:.0f} a message, raw {raw / count:.0f}: {used / raw:.3f}")


async def listing(house: House) -> None:
    """Listing, flags, moves on a mailbox of 10,000."""
    await fill(house)
    mail = house.mail
    box = await mail.mailboxes.find(1, "Big")
    no = box.mailbox_no
    await timed("view of 10,000, cold", 1, lambda: mail.views.current(1, no))
    await timed("view of 10,000, warm", 1, lambda: mail.views.current(1, no))
    view = await mail.views.current(1, no)
    last = list(view.nos[-200:])
    every = list(view.nos)
    for kinds in (("list",), ("head",), ("list", "head", "more")):
        for nos in (last, every):
            with await house.open(1) as lease:
                read = partial(mail.records.cards, lease.unlocked, nos, kinds)
                await timed(f"cards of {len(nos)} {kinds} cold", 1, read)
                await timed(f"cards of {len(nos)} {kinds} warm", 1, read)
            shut(house)
    with await house.open(1) as lease:
        u = lease.unlocked
        names = FieldNames(TB)
        await timed(
            "TB's fields of 10,000 cold", 1, lambda: mail.fetch.header_fields(u, every, names)
        )
        await timed(
            "TB's fields of 10,000 warm", 1, lambda: mail.fetch.header_fields(u, every, names)
        )
        await timed("TB's fields of 200 warm", 1, lambda: mail.fetch.header_fields(u, last, names))

        async def one_by_one() -> None:
            for at in range(0, 10_000, 20):
                await mail.records.message(u, every[at])

        await timed("a whole message", 500, one_by_one)

        async def hundreds() -> None:
            for at in range(0, 10_000, 100):
                await mail.records.messages(u, every[at : at + 100])

        await timed("messages by the hundred, each", 10_000, hundreds)
    for how in (How.ADD, How.REMOVE, How.ADD):
        await timed(
            f"{how.value} \\Seen of 10,000",
            1,
            lambda how=how: mail.store_flags.run(1, no, EVERY, Wanted(how, Flag.SEEN)),
        )
    await timed("view after it", 1, lambda: mail.views.current(1, no))

    async def singles() -> None:
        for at in range(0, 10_000, 50):
            uid = view.uids[at]
            await mail.store_flags.run(1, no, [(uid, uid)], Wanted(How.ADD, Flag.FLAGGED))

    await timed("+FLAGS of one", 200, singles)
    await timed("move 1,000", 1, lambda: mail.copy.run(1, no, [(1, 1000)], "Archive", move=True))
    await timed("copy 1,000", 1, lambda: mail.copy.run(1, no, [(1001, 2000)], "Archive"))

    async def moves() -> None:
        for uid in range(3000, 3100):
            await mail.copy.run(1, no, [(uid, uid)], "Archive", move=True)

    await timed("move one", 100, moves)
    await timed(
        "expunge 1,000", 1, lambda: mail.expunge.run(1, no, [(5001, 6000)], only_deleted=False)
    )


def shut(house: House) -> None:
    """Gives up the shares that work behind has taken: the next vault is opened anew."""
    house.mail.compact.close()
    assert len(house.mail.vaults) == 0


async def searching(house: House) -> None:
    """Searches over 10,000, cold and warm."""
    await fill(house)
    mail = house.mail
    box = await mail.mailboxes.find(1, "Big")

    async def all_of() -> None:
        view = await mail.views.current(1, box.mailbox_no)
        for key in (
            Header(b"subject", "ref-001431"),
            Header(b"subject", "договор"),
            Header(b"from", "ivan"),
            Body("kwuniq001995"),
            Text("marker-small-07"),
            And((Flagged("\\Flagged", False), Flagged("\\Deleted", False))),
        ):
            with await house.open(1) as lease:
                read = partial(mail.search.run, lease.unlocked, view, key)
                hits = len(await read())
            shut(house)
            with await house.open(1) as lease:
                read = partial(mail.search.run, lease.unlocked, view, key)
                await timed(f"{str(key)[:36]} {hits} cold", 1, read)
                await timed(f"{str(key)[:36]} warm", 1, read)
            shut(house)

    await all_of()
    with await house.open(1) as lease:
        await timed("compact", 1, lambda: mail.compact.run(1, lease.unlocked))
    shut(house)
    await all_of()
    print(f"disk of all: {disk(house.folder)}")


TB = (
    b"From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups"
    b" In-Reply-To Content-Type Reply-To"
).split()

WHAT = {"deliver": deliveries, "listing": listing, "search": searching}


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
