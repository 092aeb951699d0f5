"""A process that is killed amid its work: says on its output what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import uvloop

from kerwen.base.errors import Refused
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.store.segment import Flag
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.mail_store.house import House, letter

ACCOUNT = 1


def tell(*words: object) -> None:
    """One line, out at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def worker(house: House, number: int, first: int) -> None:
    """Delivers, appends, moves, flags and expunges its own messages."""
    mail, chance = house.mail, random.Random(first + number)
    inbox = (await mail.mailboxes.find(ACCOUNT, "INBOX")).mailbox_no
    n = first + number
    while True:
        n += 16
        size = chance.choice((0, 0, 2_000, 90_000))
        if chance.random() < 0.3:
            raws = [letter(100_000 * k + n, pad=size) for k in range(chance.choice((1, 3, 30)))]
            items = [Item(sealing.make(raw)) for raw in raws]
            done = await mail.append.run(ACCOUNT, "INBOX", items)
            uids, numbers = done.uids, [100_000 * k + n for k in range(len(raws))]
        else:
            (found,) = await house.deliver(letter(n, pad=size), ACCOUNT)
            uids, numbers = [found.uids[0][1]], [n]
        for one, uid in zip(numbers, uids, strict=True):
            tell("there", one, size, uid)
        uid, one = uids[0], numbers[0]
        await mail.store_flags.run(ACCOUNT, inbox, [(uid, uid)], Wanted(How.ADD, Flag.SEEN))
        tell("seen", one)
        if chance.random() < 0.4:
            tell("moving", one)
            await mail.copy.run(ACCOUNT, inbox, [(uid, uid)], "Archive", move=True)
            tell("moved", one)
        elif chance.random() < 0.4:
            tell("going", one)
            await mail.expunge.run(ACCOUNT, inbox, [(uid, uid)], only_deleted=False)
            tell("gone", one)


async def main(folder: Path, first: int) -> None:
    """Works until it is killed."""
    feed = Feed()
    house = House(SqliteDatabase(folder / "kerwen.db", feed), feed, folder)
    try:
        await house.mail.mailboxes.find(ACCOUNT, "INBOX")
        async with house.db.read() as snap:
            known = await house.vaults.public_key(snap, ACCOUNT)
        if known is None:
            await house.account(ACCOUNT)
    except Refused:
        await house.account(ACCOUNT)

    async def pages() -> None:
        while True:
            await asyncio.sleep(0.02)
            await house.mail.compact.run(ACCOUNT)

    tell("ready")
    await asyncio.gather(pages(), *(worker(house, number, first) for number in range(16)))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), int(sys.argv[2])))
