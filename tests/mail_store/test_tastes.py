"""Junk is learned from what its owner moves and marks, sealed, and sorts what came meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from kerwen.base.errors import Refused
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.store import tastes as store
from kerwen.mail.store import uid_ranges
from kerwen.mail.store.segment import SEEN
from kerwen.mail.taste import LESSONS_LEAST, Taste
from kerwen.storage.sql import sql
from tests.mail_store.house import House, letter

BOX = sql("select box from mail_tastes where account_no = 1")
SPOIL = sql("update mail_tastes set box = :box where account_no = 1")
BAD, GOOD = "prize winner casino bonus million", "meeting report schedule project family"


async def come(house: House, *texts: str, flags: int = 0, mailbox: str = "INBOX") -> list[int]:
    """Messages of these bodies arrive; their numbers."""
    found = []
    for text in texts:
        come.count += 1  # type: ignore[attr-defined]
        raw = letter(come.count, f"{text.split()[0]} again", text)  # type: ignore[attr-defined]
        found.append((await house.deliver(raw, 1, mailbox=mailbox, flags=flags))[0].no)
    return found


come.count = 0  # type: ignore[attr-defined]


async def lies(house: House, name: str) -> list[int]:
    return list((await house.view(1, name)).nos)


async def move(house: House, unlocked: Unlocked, nos: list[int], source: str, target: str) -> None:
    """As a program does it."""
    view = await house.view(1, source)
    uids = uid_ranges.of(view.uids[view.index[no][0]] for no in nos)
    done = await house.mail.copy.run(1, view.mailbox.mailbox_no, uids, target, move=True)
    other = (await house.mail.mailboxes.find(1, target)).special
    house.mail.tastes.moved(unlocked, done.nos, view.mailbox.special, other)


async def model(house: House, unlocked: Unlocked) -> Taste:
    return (await house.mail.tastes._read(unlocked)).taste


async def taught(house: House) -> None:
    """Junk was moved to Junk; good mail was read."""
    with await house.open(1) as lease:
        await come(house, *[GOOD] * LESSONS_LEAST, flags=SEEN)
        bad = await come(house, *[BAD] * LESSONS_LEAST)
        await move(house, lease.unlocked, bad, "INBOX", "Junk")
        await house.mail.tastes.drain()
        assert (await model(house, lease.unlocked)).ready


async def test_mail_that_came_meanwhile_is_sorted_when_the_vault_opens(house: House) -> None:
    await taught(house)
    bad = await come(house, BAD, BAD)
    good = await come(house, GOOD, "something else entirely")
    wrong = await come(house, GOOD, mailbox="Junk")
    read = await come(house, BAD, flags=SEEN)
    assert set(bad) <= set(await lies(house, "INBOX"))
    with await house.open(1) as lease:
        assert await house.mail.tastes.sort(lease.unlocked) == 3
        inbox, junk = await lies(house, "INBOX"), await lies(house, "Junk")
        assert set(bad) <= set(junk)
        assert {*good, *wrong, *read} <= set(inbox), "what was read stays where it is"
        assert not set(bad) & set(inbox)
        assert await house.mail.tastes.sort(lease.unlocked) == 0
        # it was wrong: its owner puts one back, which is a lesson and stays so
        await move(house, lease.unlocked, bad[:1], "Junk", "INBOX")
        await house.mail.tastes.drain()
        assert (await model(house, lease.unlocked)).lesson(bad[0]) is False
    with await house.open(1) as lease:
        await house.mail.tastes.sort(lease.unlocked)
        assert bad[0] in await lies(house, "INBOX")


async def test_nothing_is_sorted_that_lay_there_before(house: House) -> None:
    old = await come(house, BAD)
    await taught(house)
    with await house.open(1) as lease:
        assert await house.mail.tastes.sort(lease.unlocked) == 0
    assert old[0] in await lies(house, "INBOX")


async def test_a_delivery_asks_whose_vault_is_open(house: House) -> None:
    await taught(house)
    bad, good, odd = (letter(n, text, text) for n, text in enumerate((BAD, GOOD, "else"), 500))
    taste = house.mail.tastes.taste
    assert house.mail.arrive.taste is not None
    assert await taste([1, 2], bad) == {}, "the vault is shut"
    with await house.open(1), await house.open(2):
        assert await taste([1, 2], bad) == {1: True}
        assert await taste([2, 1], good) == {1: False}
        assert await taste([1], odd) == {}


@pytest.mark.parametrize(
    ("source", "target", "lesson"),
    [
        ("inbox", "junk", True),
        ("archive", "junk", True),
        ("", "junk", True),
        ("junk", "inbox", False),
        ("junk", "", False),
        ("junk", "trash", None),
        ("junk", "junk", None),
        ("inbox", "trash", None),
        ("inbox", "archive", None),
    ],
)
async def test_what_moves_teach(
    house: House, source: str, target: str, lesson: bool | None
) -> None:
    nos = await come(house, BAD)
    with await house.open(1) as lease:
        house.mail.tastes.moved(lease.unlocked, nos, source, target)
        await house.mail.tastes.drain()
        assert (await model(house, lease.unlocked)).lesson(nos[0]) is lesson
    assert len(house.mail.vaults) == 0, "no lease is left"


@pytest.mark.parametrize(
    ("keywords", "lesson"),
    [(("$Junk",), True), (("junk",), True), (("$NotJunk", "x"), False), (("NonJunk",), False),
     (("$Forwarded",), None)],
)  # fmt: skip
async def test_what_flags_teach(
    house: House, keywords: tuple[str, ...], lesson: bool | None
) -> None:
    nos = await come(house, BAD)
    with await house.open(1) as lease:
        house.mail.tastes.flagged(lease.unlocked, nos, keywords)
        await house.mail.tastes.drain()
        assert (await model(house, lease.unlocked)).lesson(nos[0]) is lesson


async def test_lessons_of_paged_messages(house: House) -> None:
    await come(house, *[GOOD] * 40, flags=SEEN)
    bad = await come(house, *[BAD] * 40)
    await house.mail.compact.run(1)
    with await house.open(1) as lease:
        await move(house, lease.unlocked, bad, "INBOX", "Junk")
        await house.mail.tastes.drain()
        made = await model(house, lease.unlocked)
        assert (made.junk, made.good) == (40, 40), "as much good mail as there is junk"


async def test_the_model_is_sealed_and_a_damaged_one_begins_anew(house: House) -> None:
    await taught(house)
    async with house.db.read() as snap:
        row = await snap.one(BOX)
    assert row is not None
    box = bytes(row[0])
    with pytest.raises(Refused):
        Taste.decode(box)
    async with house.db.write() as tx:
        await tx.run(SPOIL, box=box[:-1] + bytes([box[-1] ^ 1]))
    nos = await come(house, BAD)
    with await house.open(1) as lease:
        assert await house.mail.tastes.sort(lease.unlocked) == 0
        assert await house.mail.tastes.taste([1], letter(1)) == {}
        await move(house, lease.unlocked, nos, "INBOX", "Junk")
        await house.mail.tastes.drain()
        assert (await model(house, lease.unlocked)).lesson(nos[0]) is True


async def test_no_lesson_is_lost_where_two_workers_learn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    nos = await come(house, BAD, BAD)
    put, races = store.put, 1

    async def raced(*args: object, **more: object) -> bool:
        nonlocal races
        if races:
            races -= 1
            return False
        return await put(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "put", raced)
    with await house.open(1) as lease:
        await house.mail.tastes.learn(lease.unlocked, dict.fromkeys(nos, True))
        made = await model(house, lease.unlocked)
        assert made.junk == 2
        assert races == 0


async def test_the_worker_learns_behind_the_command(house: House) -> None:
    work = asyncio.create_task(house.mail.tastes.work())
    nos = await come(house, BAD)
    lease = await house.open(1)
    house.mail.tastes.teach(lease.unlocked, nos, junk=True)
    lease.close()
    assert len(house.mail.vaults) == 1, "it holds the vault for what it learns"
    async with asyncio.timeout(10):
        while len(house.mail.vaults):
            await asyncio.wait({work}, timeout=0.02)
    work.cancel()
    with await house.open(1) as lease:
        assert (await model(house, lease.unlocked)).lesson(nos[0]) is True
