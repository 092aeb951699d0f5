"""Pages: nothing is lost, doubled or mixed up when records and bodies move."""

from __future__ import annotations

import asyncio

import pytest

from kerwen.mail.actions import compact, sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.tidy import RETIRED_MS
from kerwen.mail.store import mailboxes, messages, page
from kerwen.mail.store.record import Card
from kerwen.mail.words import Record, may_hold, query
from kerwen.storage.sql import sql
from tests.mail_store.house import House, letter
from tests.mail_store.model import Model

COUNT_LOOSE = sql("select count(*) from mail_loose")


async def loose(house: House) -> int:
    async with house.db.read() as snap:
        row = await snap.one(COUNT_LOOSE)
        account = await mailboxes.account(snap, 1)
    assert row is not None
    assert account is not None
    assert row[0] == account.loose
    return int(row[0])


async def files(house: House) -> int:
    found = sorted(f.name for f in (house.folder / "blobs").rglob("*") if f.is_file())
    async with house.db.read() as snap:
        assert await messages.named(snap, found) == set(found), "no orphans"
    return len(found)


async def check(house: House, raws: dict[int, bytes]) -> None:
    nos = list(raws)
    with await house.open(1) as lease:
        assert await house.mail.records.messages(lease.unlocked, nos) == raws
        cards = await house.mail.records.cards(lease.unlocked, nos)
    for no, raw in raws.items():
        made = sealing.make(raw)
        card = cards[no]
        assert isinstance(card, Card)
        assert card.listing == (made.rendered.envelope, made.rendered.structure)
        assert card.more is not None
        assert card.more.preview == made.rendered.preview


async def test_a_busy_epoch_is_paged_without_the_vault(house: House) -> None:
    raws = {}
    for n in range(80):
        raw = letter(n, f"subject {n}", pad=100_000 if n == 7 else 0)
        raws[(await house.deliver(raw, 1))[0].no] = raw
    assert await loose(house) == 80
    assert await house.mail.compact.run(1) == 1
    assert await loose(house) == 0
    assert await files(house) == 2, "one pack, and one large message"
    await check(house, raws)


async def test_loose_ones_of_many_epochs_wait_for_the_vault(house: House) -> None:
    raws = {}
    for n in range(70):
        if n % 10 == 0:
            house.clock.now += 3_600_001
        raw = letter(n)
        raws[(await house.deliver(raw, 1))[0].no] = raw
    assert await house.mail.compact.run(1) == 0
    with await house.open(1) as lease:
        assert await house.mail.compact.run(1, lease.unlocked) == 1
    assert await loose(house) == 0
    await check(house, raws)


async def test_readers_and_deliveries_ask_for_it(house: House) -> None:
    nos = [(await house.deliver(letter(n), 1))[0].no for n in range(70)]
    with await house.open(1) as lease:
        await house.mail.records.cards(lease.unlocked, nos)
        assert len(house.mail.vaults) == 1
    assert len(house.mail.vaults) == 1, "the work that waits holds a share"
    await house.mail.compact.drain()
    assert len(house.mail.vaults) == 0
    assert await loose(house) == 0


async def test_the_work_waits_until_it_is_quiet(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second after the last command; not for ever where there is always another."""
    now = 1000.0
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        if not seconds:
            return
        slept.append(seconds)
        now += seconds
        if busy:
            lease.unlocked.used_s = now
        if len(slept) > 100:
            raise AssertionError("it waits for ever")

    monkeypatch.setattr(compact, "monotonic", lambda: now)
    monkeypatch.setattr("kerwen.mail.actions.compact.asyncio.sleep", sleep)
    for busy in (False, True):
        nos = [(await house.deliver(letter(n), 1))[0].no for n in range(70)]
        lease = await house.open(1)
        lease.unlocked.used_s = now - 0.5
        slept.clear()
        begun = now
        await house.mail.records.cards(lease.unlocked, nos)
        work = asyncio.create_task(house.mail.compact.work())
        while await loose(house):
            await asyncio.wait({work}, timeout=0.01)
        work.cancel()
        await asyncio.wait({work})
        lease.close()
        waited = now - begun
        assert waited == pytest.approx(compact.PATIENCE_S if busy else compact.QUIET_S)
        assert len(house.mail.vaults) == 0


async def test_small_pages_become_one_and_hollow_packs_are_packed_anew(house: House) -> None:
    raws = {}
    for n in range(8):
        some = [letter(30 * n + k) for k in range(30)]
        done = await house.mail.append.run(1, "INBOX", [Item(sealing.make(raw)) for raw in some])
        raws.update(zip(done.nos, some, strict=True))
    assert await files(house) == 8
    box = await house.mail.mailboxes.find(1, "INBOX")
    gone = [(uid, uid) for uid in range(1, 241) if uid % 30 > 10]
    done_ = await house.mail.expunge.run(1, box.mailbox_no, gone, only_deleted=False)
    for no in done_.nos:
        del raws[no]
    with await house.open(1) as lease:
        assert await house.mail.compact.run(1, lease.unlocked) > 0
        async with house.db.read() as snap:
            sizes = await messages.page_sizes(snap, 1)
    assert [(held, live) for _, held, live in sizes] == [(len(raws), len(raws))] == [(88, 88)]
    assert await files(house) == 9, "old packs stay a day, for a backup that is being made"
    await check(house, raws)
    house.clock.now += RETIRED_MS + 1
    await house.blobs.delete(await house.mail.tidy.retired())
    assert await files(house) == 1
    await check(house, raws)


async def test_what_is_expunged_meanwhile_does_not_come_back(house: House) -> None:
    raws = {}
    for n in range(70):
        raw = letter(n)
        raws[(await house.deliver(raw, 1))[0].no] = raw
    box = await house.mail.mailboxes.find(1, "INBOX")
    make = house.mail.compact._pages.make

    async def slow(*args: object) -> object:
        made = await make(*args)  # type: ignore[arg-type]
        done = await house.mail.expunge.run(1, box.mailbox_no, [(1, 20)], only_deleted=False)
        for no in done.nos:
            raws.pop(no, None)
        return made

    house.mail.compact._pages.make = slow  # type: ignore[method-assign, assignment]
    assert await house.mail.compact.run(1) == 1
    await check(house, raws)
    async with house.db.read() as snap:
        assert [size[1:] for size in await messages.page_sizes(snap, 1)] == [(70, 50)]
    await house.mail.expunge.run(1, box.mailbox_no, only_deleted=False)
    assert await files(house) == 0, "the last message takes its pack along"


@pytest.mark.parametrize("seed", range(3))
async def test_random_deeds_with_pages_made_between(house: House, seed: int) -> None:
    model = Model(house, 1, 100 + seed, 2_000_000)
    async with house.db.write() as tx:
        await mailboxes.set_quota(tx, 1, model.quota)
    for n in range(60):
        await model.step()
        if n % 9 == 8:
            with await house.open(1) as lease:
                await house.mail.compact.run(1, lease.unlocked if n % 2 else None)
    await model.check(0)
    await model.check_bodies()
    await files(house)


def test_words_of_a_page_find_what_single_records_hold() -> None:
    bodies = [
        "\nalpha\nalphabet\nbeta\n",
        "",
        "\nbeta\ngamma\n",
        "\nalphabet\nзима\nзимний\n",
        "\ngammadelta\n",
    ]
    records = [Record(f"s {n}", "from", "to", "", "", body, False) for n, body in enumerate(bodies)]
    words = page.words_of(records)
    for text in ("alpha", "alph", "bet", "gamma", "delta", "зим", "нов", "a b", "beta gamma", "x"):
        asked = query(text)
        found = words.may_hold(asked)
        assert found == {n for n, body in enumerate(bodies) if may_hold(body, asked)}, text
    assert page.records_of(page.find_of(records, [None] * 5), words, 5) == records


def test_lines_with() -> None:
    text = b"abc\n\nxabx\nab ab\nq"
    assert list(page.lines_with(text, b"ab")) == [0, 2, 3]
    assert list(page.lines_with(text, b"q")) == [4]
    assert list(page.lines_with(b"", b"q")) == []
