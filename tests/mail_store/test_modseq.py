"""HIGHESTMODSEQ never runs ahead: whoever saw m has seen all that is at or below m."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.email_changes import CREATED, DESTROYED, UPDATED, Changes, State
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.storage.database import Database
from tests.mail_store.house import House, letter

WRITERS = 8
DEEDS = 12


async def test_eight_writers_and_a_reader(house: House) -> None:
    """# feed.md §12.9"""
    mail = house.mail
    box = (await mail.mailboxes.find(1, "INBOX")).mailbox_no
    other = (await mail.mailboxes.find(1, "Archive")).mailbox_no
    for n in range(20):
        await house.deliver(letter(n), 1)
    made = sealing.make(letter(1000))
    done = asyncio.Event()

    async def writer(number: int) -> None:
        chance = random.Random(number)
        for _ in range(DEEDS):
            view = await mail.views.current(1, box)
            uid = chance.choice(view.uids) if len(view) else 1
            deed = chance.randrange(5)
            if deed == 0:
                await house.deliver(letter(chance.randrange(10_000)), 1)
            elif deed == 1:
                await mail.append.run(1, "INBOX", [Item(made)] * 3)
            elif deed == 2:
                how = chance.choice(list(How))
                wanted = Wanted(how, chance.randrange(32))
                await mail.store_flags.run(1, box, [(uid, uid + 2)], wanted)
            elif deed == 3:
                source, name = chance.choice(((box, "Archive"), (other, "INBOX")))
                await mail.copy.run(1, source, [(uid, uid)], name, move=True)
            else:
                await mail.expunge.run(1, box, [(uid, uid)], only_deleted=False)
            await asyncio.sleep(0)

    async def reader() -> int:
        """Follows by changes alone; what it knows must be what a fresh reader sees."""
        known: dict[int, int] = {}
        head = looks = 0
        with mail.watches.open(1) as watch:
            while True:
                last = done.is_set()
                told = await mail.changes.mailbox(1, box, head)
                assert told.mailbox.modseq >= head
                for one in told.changed:
                    assert head < one.modseq <= told.mailbox.modseq
                    known[one.uid] = one.modseq
                for uid in told.vanished:
                    known.pop(uid, None)
                head = told.mailbox.modseq
                assert len(known) == told.mailbox.messages, "nothing at or below head was missed"
                looks += 1
                if last:
                    break
                await watch.after(watch.head, 5)
        view = await mail.views.current(1, box)
        assert known == dict(zip(view.uids, view.modseqs, strict=True))
        return looks

    reading = [asyncio.create_task(reader()) for _ in range(2)]
    await asyncio.gather(*map(writer, range(WRITERS)))
    done.set()
    looks = await asyncio.gather(*reading)
    assert min(looks) > 3


async def test_jmap_hears_the_same(house: House, database: Database) -> None:
    mail = house.mail
    box = (await mail.mailboxes.find(1, "INBOX")).mailbox_no
    nos = [(await house.deliver(letter(n), 1))[0].no for n in range(4)]
    start = State((await mail.account_views.current(1)).head)
    await mail.store_flags.run(1, box, [(1, 1)], Wanted(How.ADD, 1))
    await mail.copy.run(1, box, [(2, 2)], "Archive", move=True)
    await mail.copy.run(1, box, [(3, 3)], "Archive")
    await mail.expunge.run(1, box, [(3, 4)], only_deleted=False)
    fresh = (await house.deliver(letter(9), 1))[0].no
    made = await mail.mailboxes.create(1, "New/Under")
    whole = await mail.account_views.current(1)
    assert await _told(mail.email_changes.emails(whole, start)) == {
        fresh: CREATED, **dict.fromkeys(nos[:3], UPDATED), nos[3]: DESTROYED,
    }  # fmt: skip
    boxes = await mail.email_changes.mailboxes(whole, start)
    assert boxes is not None
    created = [one.no for one in boxes[0].every if one.kind == CREATED]
    assert made.mailbox_no in created
    assert len(created) == 2
    await mail.mailboxes.rename(1, "New", "Old")
    await mail.mailboxes.delete(1, "Old/Under")
    later = await mail.account_views.current(1)
    boxes = await mail.email_changes.mailboxes(later, State(whole.head))
    assert boxes is not None
    kinds = {one.no: one.kind for one in boxes[0].every}
    assert kinds.pop(made.mailbox_no) == DESTROYED
    assert list(kinds.values()) == [UPDATED]
    assert await mail.email_changes.emails(later, State(later.head + 5)) is None
    there = later.find_all([nos[1], nos[2], nos[3]])
    assert {no: len(one.at) for no, one in there.items()} == {nos[1]: 1, nos[2]: 1}


async def _told(reading: Awaitable[Changes | None]) -> dict[int, str]:
    changes = await reading
    assert changes is not None
    return {one.no: one.kind for one in changes.every}
