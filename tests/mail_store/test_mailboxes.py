"""Mailboxes: names, special uses, subscriptions, renaming, removal."""

from __future__ import annotations

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.email_changes import State, knows
from kerwen.mail.store import forget, restored
from kerwen.storage.sql import sql
from tests.mail_store.house import House, letter


async def names(house: House) -> list[str]:
    listed = await house.mail.mailboxes.listing(1)
    return [one.name for one in listed.mailboxes if not one.special]


async def refused(reason: Reason, deed: object) -> None:
    with pytest.raises(Refused) as caught:
        await deed  # type: ignore[misc]
    assert caught.value.reason is reason


async def test_create(house: House) -> None:
    mail = house.mail.mailboxes
    first = await mail.create(1, "a/b/c/")
    assert await names(house) == ["a", "a/b", "a/b/c"]
    await refused(Reason.MAILBOX_IN_USE, mail.create(1, "a/b"))
    await refused(Reason.MAILBOX_IN_USE, mail.create(1, "inbox"))
    second = await mail.create(1, "Iş/Çäge")
    assert second.uidvalidity > first.uidvalidity
    await mail.delete(1, "a/b")
    assert "a/b/c" in await names(house)
    again = await mail.create(1, "a/b")
    assert again.uidvalidity > second.uidvalidity
    assert again.mailbox_no > second.mailbox_no


@pytest.mark.parametrize(
    "name", ["", "/", "/a", "a//b", "a*", "a%b", "a\x01", "x" * 256, "a/" * 20 + "a", "\ud800"]
)
async def test_bad_names(house: House, name: str) -> None:
    await refused(Reason.BAD_MAILBOX_NAME, house.mail.mailboxes.create(1, name))


async def test_special_uses(house: House) -> None:
    mail = house.mail.mailboxes
    await refused(Reason.INVALID_PARAM, mail.create(1, "Other", "sent"))
    await refused(Reason.INVALID_PARAM, mail.create(1, "Other", "nonsense"))
    await mail.set_special(1, "Sent", "")
    made = await mail.create(1, "Gönderilen", "sent")
    assert made.special == "sent"
    await refused(Reason.UNKNOWN_MAILBOX, mail.set_special(1, "INBOX", "archive"))


async def test_rename_takes_those_below_along(house: House) -> None:
    mail = house.mail.mailboxes
    await mail.create(1, "a/b")
    await mail.create(1, "ab")
    await mail.subscribe(1, "a/b")
    (found,) = await house.deliver(letter(1), 1, mailbox="a/b")
    await mail.rename(1, "a", "x/y")
    assert await names(house) == ["ab", "x", "x/y", "x/y/b"]
    listed = await mail.listing(1)
    assert "x/y/b" in listed.subscribed
    assert "a/b" not in listed.subscribed
    view = await house.view(1, "x/y/b")
    assert list(view.nos) == [found.no]
    assert view.mailbox.mailbox_no == found.uids[0][0]
    await refused(Reason.UNKNOWN_MAILBOX, mail.rename(1, "a", "q"))
    await refused(Reason.MAILBOX_IN_USE, mail.rename(1, "ab", "x"))
    await refused(Reason.BAD_MAILBOX_NAME, mail.rename(1, "x", "x/z"))
    await refused(Reason.BAD_MAILBOX_NAME, mail.rename(1, "x", "INBOX"))


async def test_renaming_inbox_moves_its_messages(house: House) -> None:
    for n in range(3):
        await house.deliver(letter(n), 1)
    before = await house.view(1)
    await house.mail.mailboxes.rename(1, "INBOX", "Old mail")
    inbox, old = await house.view(1), await house.view(1, "Old mail")
    assert (len(inbox), len(old)) == (0, 3)
    assert list(old.nos) == list(before.nos)
    assert list(old.uids) == [1, 2, 3]
    changes = await house.mail.changes.mailbox(1, inbox.mailbox.mailbox_no, before.modseq)
    assert list(changes.vanished) == [1, 2, 3]
    (found,) = await house.deliver(letter(9), 1)
    assert found.uids[0][1] == 4


async def test_delete_gives_room_back(house: House) -> None:
    mail = house.mail.mailboxes
    await mail.create(1, "big")
    for n in range(3):
        await house.deliver(letter(n, pad=90_000), 1, mailbox="big")
    box = await mail.find(1, "big")
    await house.mail.copy.run(1, box.mailbox_no, [(1, 1)], "Archive")
    await mail.delete(1, "big")
    listed = await mail.listing(1)
    assert (listed.account.used, listed.account.placed) == (90_000, 1)
    assert len([f for f in (house.folder / "blobs").rglob("*") if f.is_file()]) == 1
    await refused(Reason.UNKNOWN_MAILBOX, mail.delete(1, "big"))
    await refused(Reason.FORBIDDEN, mail.delete(1, "Inbox"))
    await refused(Reason.UNKNOWN_MAILBOX, house.mail.views.current(1, box.mailbox_no))


async def test_subscriptions_outlive_their_mailbox(house: House) -> None:
    mail = house.mail.mailboxes
    await mail.create(1, "news")
    await mail.subscribe(1, "news")
    await mail.delete(1, "news")
    assert "news" in (await mail.listing(1)).subscribed
    await mail.subscribe(1, "news", False)
    await mail.subscribe(1, "news", False)
    assert "news" not in (await mail.listing(1)).subscribed


async def test_a_closed_account_leaves_no_row(house: House) -> None:
    for n in range(70):
        await house.deliver(letter(n, pad=90_000 if n == 1 else 0), 1)
    await house.mail.compact.run(1)
    await house.deliver(letter(99), 1, 2)
    async with house.db.write() as tx:
        await forget.forget_account(tx, 1)
    async with house.db.read() as snap:
        for table in (
            "mail_accounts", "mail_mailboxes", "mail_segments", "mail_loose", "mail_pages",
            "mail_tags", "mail_blobs", "mail_subscriptions",
        ):  # fmt: skip
            rows = await snap.all(
                sql(f"select 1 from {table} where account_no = 1 order by account_no")
            )
            assert rows == [], table
        assert await snap.all(sql("select 1 from mail_page_boxes order by page_no")) == []
    assert len(await house.view(2)) == 1
    keys = [f.name for f in (house.folder / "blobs").rglob("*") if f.is_file()]
    assert await house.mail.tidy.named(keys) == set(), "the sweep may have them"


async def test_after_a_restore_no_number_comes_twice(house: House) -> None:
    await house.mail.mailboxes.create(1, "later")
    (first,) = await house.deliver(letter(1), 1)
    before = await house.mail.mailboxes.listing(1)
    house.clock.now += 60_000
    async with house.db.write() as tx:
        await restored.renew_after_restore(tx, house.clock())
    after = await house.mail.mailboxes.listing(1)
    assert after.account.modseq > before.account.modseq + 1000
    whole = await house.mail.account_views.current(1)
    assert not knows(whole, State(before.account.modseq + 500))
    old = {one.uidvalidity for one in before.mailboxes}
    new = [one.uidvalidity for one in after.mailboxes]
    assert len(set(new)) == len(new)
    assert min(new) > max(old)
    made = await house.mail.mailboxes.create(1, "fresh")
    assert made.uidvalidity > max(new)
    (second,) = await house.deliver(letter(2), 1)
    view = await house.view(1)
    assert view.modseq > before.account.modseq + 1000
    assert await house.read(1, first.no) == letter(1)
    assert await house.read(1, second.no) == letter(2)
