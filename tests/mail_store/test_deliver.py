"""Delivery: what came is there once, whole, sealed; listed without being parsed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import render
from kerwen.mail.actions import sealing
from kerwen.mail.actions.deliver import Recipient, Target
from kerwen.mail.store import mailboxes, page
from kerwen.mail.store.record import Card, FieldNames
from kerwen.mail.store.segment import Flag
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.mail_store.house import House, letter


async def test_new_accounts_have_their_mailboxes(house: House) -> None:
    listed = await house.mail.mailboxes.listing(1)
    assert [(one.name, one.special) for one in listed.mailboxes] == [
        ("Archive", "archive"),
        ("Drafts", "drafts"),
        ("INBOX", "inbox"),
        ("Junk", "junk"),
        ("Sent", "sent"),
        ("Trash", "trash"),
    ]
    assert listed.subscribed == {one.name for one in listed.mailboxes}
    validities = [one.uidvalidity for one in listed.mailboxes]
    assert len(set(validities)) == len(validities)


@pytest.mark.parametrize("size", [0, 20_000, 100_000, 3_000_000])
async def test_bytes_come_back_as_they_came(house: House, size: int) -> None:
    raw = letter(1, pad=size)
    (found,) = await house.deliver(raw, 1)
    assert found.refused is None
    assert await house.read(1, found.no) == raw
    view = await house.view(1)
    assert list(view.uids) == [1] == [found.uids[0][1]]
    assert list(view.sizes) == [len(raw)]
    assert view.mailbox.messages == view.mailbox.unseen == 1
    assert view.mailbox.bytes == len(raw)


async def test_one_message_to_many(house: House) -> None:
    for account_no in range(3, 12):
        await house.account(account_no)
    raw = letter(1)
    found = await house.deliver(raw, *range(1, 12))
    assert [one.account_no for one in found] == list(range(1, 12))
    for one in found:
        assert await house.read(one.account_no, one.no) == raw


async def test_cards_hold_what_was_rendered(house: House) -> None:
    raws = [letter(n, f"subject {n}") for n in range(5)]
    nos = [(await house.deliver(raw, 1))[0].no for raw in raws]
    with await house.open(1) as lease:
        cards = await house.mail.records.cards(lease.unlocked, nos)
        fields = await house.mail.fetch.header_fields(
            lease.unlocked, nos, FieldNames([b"Subject", b"X-Nothing"])
        )
    for no, raw in zip(nos, raws, strict=True):
        made = render.render(raw)
        card = cards[no]
        assert isinstance(card, Card)
        assert card.listing == (made.envelope, made.structure)
        assert card.more is not None
        assert card.more.preview == made.preview
    assert [fields[no] for no in nos] == [b"Subject: subject %d\r\n\r\n" % n for n in range(5)]


async def test_a_reply_joins_its_thread(house: House) -> None:
    for number, reply_to in ((1, None), (2, 1), (3, None), (4, 2), (6, 5), (7, 5)):
        await house.deliver(letter(number, reply_to=reply_to), 1)
    threads = list((await house.view(1)).threads)
    assert threads[0] == threads[1] == threads[3] != threads[2]
    assert threads[4] == threads[5], "brothers whose father never came"
    assert len(set(threads)) == 3
    await house.deliver(letter(1), 2)
    assert list((await house.view(2)).threads) != threads[:1], "another tag in another account"


async def test_over_quota_is_that_recipients_own(
    database: Database, feed: Feed, tmp_path: Path
) -> None:
    small = House(database, feed, tmp_path / "small", quota=3000)
    await small.account(1)
    await small.account(2)
    raw = letter(1, pad=1400)
    await small.deliver(raw, 1)
    await small.deliver(raw, 1)
    one, two = await small.deliver(raw, 1, 2)
    assert (one.refused, two.refused) == (Reason.MAILBOX_FULL, None)
    big = letter(2, pad=200_000)
    (one,) = await small.deliver(big, 1)
    assert one.refused is Reason.MAILBOX_FULL
    assert [f for f in (tmp_path / "small" / "blobs").rglob("*") if f.is_file()] == []
    listed = await small.mail.mailboxes.listing(1)
    assert (listed.account.used, listed.account.placed) == (2800, 2)
    await small.close()


def test_a_header_of_too_many_fields_is_not_rendered() -> None:
    """APPEND and imports bring what no door of SMTP has seen; every field would be an object."""
    fields = b"a:\r\n" * (2 * limits.FIELDS_TAKEN_MAX + 1)
    with pytest.raises(Refused) as caught:
        sealing.make(b"From: a@b.test\r\n" + fields + b"\r\ntext\r\n")
    assert caught.value.reason is Reason.MALFORMED_MESSAGE
    assert sealing.make(b"From: a@b.test\n\n" + b"line\n" * 100_000).size > 500_000


async def test_a_key_delivers_once(house: House) -> None:
    made = sealing.make(letter(1))
    first = await house.mail.deliver.run(made, [Recipient(1)], key=b"q17")
    again = await house.mail.deliver.run(made, [Recipient(1), Recipient(2)], key=b"q17")
    assert (first[0].twice, again[0].twice, again[1].twice) == (False, True, False)
    assert len(await house.view(1)) == len(await house.view(2)) == 1


async def test_what_had_no_room_is_delivered_when_it_has(house: House) -> None:
    made = sealing.make(letter(1))
    async with house.db.write() as tx:
        await mailboxes.set_quota(tx, 1, 10)
    (full,) = await house.mail.deliver.run(made, [Recipient(1)], key=b"q18")
    assert (full.refused, full.twice) == (Reason.MAILBOX_FULL, False)
    async with house.db.write() as tx:
        await mailboxes.set_quota(tx, 1, None)
    (done,) = await house.mail.deliver.run(made, [Recipient(1)], key=b"q18")
    assert (done.refused, done.twice) == (None, False), "the queue would take it for delivered"
    assert len(await house.view(1)) == 1
    (again,) = await house.mail.deliver.run(made, [Recipient(1)], key=b"q18")
    assert again.twice


async def test_an_account_without_a_vault_is_refused(house: House) -> None:
    one, two = await house.deliver(letter(1), 99, 1)
    assert (one.refused, two.refused) == (Reason.VAULT_CLOSED, None)


async def test_targets_flags_and_keywords(house: House) -> None:
    to = Recipient(
        1, (Target("Junk", Flag.SEEN, ("$Junk",)), Target("Archive"), Target("No such one"))
    )
    (found,) = await house.mail.deliver.run(sealing.make(letter(1)), [to])
    assert len(found.uids) == 3
    junk = (await house.view(1, "Junk"))[0]
    assert (junk.flags, junk.keywords, junk.no) == (Flag.SEEN, 1, found.no)
    assert len(await house.view(1)) == 1, "what is not there is INBOX"
    listed = await house.mail.mailboxes.listing(1)
    assert listed.account.used == 3 * junk.size


async def test_waiters_wake_by_the_hint(house: House) -> None:
    with house.mail.watches.open(1) as watch, house.mail.watches.open(2) as other:
        waiting = asyncio.ensure_future(watch.after(0, 10_000))
        (found,) = await house.deliver(letter(1), 1)
        assert await waiting
        view = await house.view(1)
        assert watch.head == view.modseq
        assert found.uids
        assert other.head == 0
        assert not await watch.after(watch.head, 1)


async def test_sessions_share_a_vault_that_is_wiped_after(house: House) -> None:
    (found,) = await house.deliver(letter(1), 1)
    first, second = await house.open(1), await house.open(1)
    assert first.unlocked is second.unlocked
    unlocked = first.unlocked
    first.close()
    assert await house.mail.records.message(unlocked, found.no) == letter(1)
    second.close()
    assert len(house.mail.vaults) == 0
    with pytest.raises(Refused) as caught:
        await house.mail.records.message(unlocked, found.no)
    assert caught.value.reason is Reason.VAULT_CLOSED


async def test_pieces_are_read_by_kind(house: House) -> None:
    (found,) = await house.deliver(letter(1), 1)
    with await house.open(1) as lease:
        cards = await house.mail.records.cards(lease.unlocked, [found.no, 12345], (page.LIST,))
    assert set(cards) == {found.no}


async def test_few_statements_a_recipient(
    sqlite_template: Path, feed: Feed, tmp_path: Path
) -> None:
    """At most 8 for each recipient beyond the fixed ones."""
    shutil.copyfile(sqlite_template, tmp_path / "kerwen.db")
    db = SqliteDatabase(tmp_path / "kerwen.db", feed)
    house = House(db, feed, tmp_path)
    for account_no in range(1, 12):
        await house.account(account_no)
    await house.deliver(letter(0), *range(1, 12))  # the epochs begin
    texts: list[str] = []
    db._conn.set_trace_callback(texts.append)
    counts = []
    for number, accounts in ((1, range(1, 2)), (2, range(1, 12))):
        texts.clear()
        await house.deliver(letter(number), *accounts)
        counts.append(len(texts))
    db._conn.set_trace_callback(None)
    one, eleven = counts
    assert (eleven - one) / 10 <= 8, texts
    assert one <= 18, texts
    await house.close()
    await db.close()
