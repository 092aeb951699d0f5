"""Mailing lists: sent on with the list's own From, signed, to members only as their rules say."""

from __future__ import annotations

import pytest

from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.mail import addresses, fields, list_letter
from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.mail.list_letter import MailList, NotForLists, sent_on
from kerwen.mail.store import mailboxes
from kerwen.storage.sql import sql
from tests.smtp.world import World, field

LETTER = (
    b"From: =?utf-8?q?A=C3=BDna?= <ayna@kerwen.test>\r\nTo: friends@kerwen.test\r\n"
    b"Subject: tea\r\nMessage-ID: <1@kerwen.test>\r\nDKIM-Signature: v=1; b=x\r\n"
    b"Disposition-Notification-To: ayna@kerwen.test\r\nAutocrypt: addr=a; keydata=AA\r\n"
    b"\r\ntext\r\n"
)
OF = MailList("friends", "Our friends", "ayna", "members")


async def friends(world: World, posting: str = "members") -> None:
    lists = world.mail.lists
    await lists.add("friends", "ayna", "Our friends", posting)
    for address in ("ayna", "batyr@kerwen.test", "Far@Elsewhere.test"):
        await lists.join("friends", address)


async def test_a_member_writes(world: World) -> None:
    await friends(world)
    client = await world.ayna()
    assert (await client.send("ayna@kerwen.test", ["friends@kerwen.test"], LETTER)).startswith(
        "250"
    )
    for account in (1, 2):
        (got,) = await world.inbox(account)
        (sender,) = addresses.mailboxes(field(got, "From").encode())
        assert sender.address == b"friends@kerwen.test"
        assert field(got, "Reply-To") == "ayna@kerwen.test"
        assert "ayna@kerwen.test" in field(got, "Author")
        assert field(got, "List-Id") == '"Our friends" <friends.kerwen.test>'
        assert field(got, "List-Post") == "<mailto:friends@kerwen.test>"
        assert field(got, "List-Unsubscribe") == "<mailto:friends+leave@kerwen.test>"
        assert field(got, "Return-Path") == "<friends+bounces@kerwen.test>"
        assert field(got, "Subject") == "tea"
        assert b"Disposition-Notification-To" not in got
        assert b"Autocrypt: addr=a; keydata=AA" in got
    async with world.house.db.read() as snap:
        rows = await snap.all(sql("select count(*) from mail_queue_recipients"))
    assert rows[0][0] == 1, "the one who is elsewhere, and nobody else"
    assert world.mail.lists.sent == 1
    # said twice, it comes twice only where it is another message
    assert (await client.send("ayna@kerwen.test", ["friends@kerwen.test"], LETTER)).startswith(
        "250"
    )
    assert len(await world.inbox(2)) == 1


async def test_who_cannot_have_it_now_gets_it_later(either_world: World) -> None:
    world = either_world
    await friends(world)
    async with world.house.db.write() as tx:
        await accounts.add(tx, 3, "merdan", 0, admin=False)  # who never logged in
        await mailboxes.set_quota(tx, 2, 10)
    await world.mail.lists.join("friends", "merdan")
    await world.mail.lists.leave("friends", "far@elsewhere.test")
    client = await world.ayna()
    assert (await client.send("ayna@kerwen.test", ["friends@kerwen.test"], LETTER))[0] == "2"
    assert len(await world.inbox(1)) == 1
    assert await world.inbox(2) == []
    (waiting,) = await world.mail.queue.listing()
    assert waiting.sender == "friends+bounces@kerwen.test"
    assert {to for to, *_ in waiting.recipients} == {"batyr@kerwen.test", "merdan@kerwen.test"}
    await world.mail.sending.sender.step()
    assert await world.inbox(2) == [], "it waits"
    async with world.house.db.write() as tx:
        await mailboxes.set_quota(tx, 2, None)
    await world.house.account(3)
    await world.mail.queue.retry()
    await world.mail.sending.sender.step()
    for account in (2, 3):
        (got,) = await world.inbox(account)
        assert field(got, "List-Id") == '"Our friends" <friends.kerwen.test>'
    assert len(await world.inbox(1)) == 1
    assert await world.mail.queue.listing() == []


async def test_who_is_full_for_good_is_told_to_the_owner(world: World) -> None:
    await friends(world)
    await world.mail.lists.leave("friends", "far@elsewhere.test")
    async with world.house.db.write() as tx:
        await mailboxes.set_quota(tx, 2, 10)
    client = await world.ayna()
    assert (await client.send("ayna@kerwen.test", ["friends@kerwen.test"], LETTER))[0] == "2"
    for _ in range(100):
        await world.mail.sending.sender.step()
        due = await world.mail.queue.next_due_ms()
        if due is None:
            break
        world.house.clock.now = max(due, world.house.clock.now)
    assert await world.mail.queue.next_due_ms() is None
    got = await world.inbox(1)
    assert any(b"batyr@kerwen.test" in one and b"5.2.2" in one for one in got), "the report"


async def test_a_list_gets_what_comes_by_the_queue(world: World) -> None:
    """What was scheduled by its author; what a script sends on proves no author."""
    await friends(world)
    await world.mail.lists.leave("friends", "far@elsewhere.test")
    queue, sender = world.mail.queue, world.mail.sending.sender
    to = [Addressee("friends@kerwen.test")]
    raw = LETTER.replace(b"=?utf-8?q?A=C3=BDna?= <ayna@kerwen.test>", b"batyr@kerwen.test")
    await queue.enqueue(Envelope("batyr@kerwen.test", account_no=2), to, raw)
    await sender.step()
    for account in (1, 2):
        (got,) = await world.inbox(account)
        assert field(got, "List-Id") == '"Our friends" <friends.kerwen.test>'
    for other in (LETTER, b"Delivered-To: batyr@kerwen.test\r\n" + raw):
        await queue.enqueue(Envelope("batyr@kerwen.test", account_no=2), to, other)
        await sender.step()
        assert len(await world.inbox(1)) == 1
        assert b"5.7.1" in (await world.inbox(2))[-1], "who sent it is told"
    assert await queue.listing() == []


async def test_strangers_and_forgers_may_not(world: World) -> None:
    await friends(world)
    client = await world.connect()
    for author in (b"ayna@kerwen.test", b"far@elsewhere.test", b"who@there.test"):
        raw = LETTER.replace(b"=?utf-8?q?A=C3=BDna?= <ayna@kerwen.test>", author)
        said = await client.send("x@there.test", ["friends@kerwen.test"], raw)
        assert said.startswith("5"), "nothing proves who wrote it"
        said = await client.send("x@there.test", ["friends@kerwen.test", "batyr@kerwen.test"], raw)
        assert said.startswith("250"), "the other recipient gets it all the same"
    assert world.mail.lists.sent == 0
    assert len(await world.inbox(2)) == 3
    assert await world.inbox(1) == []


async def test_nobody_here_writes_or_leaves_as_a_member_elsewhere(world: World) -> None:
    await friends(world)
    client = await world.ayna()
    raw = LETTER.replace(b"=?utf-8?q?A=C3=BDna?= <ayna@kerwen.test>", b"far@elsewhere.test")
    assert (await client.send("ayna@kerwen.test", ["friends@kerwen.test"], raw))[0] == "5"
    to = ["friends+leave@kerwen.test"]
    assert (await client.send("ayna@kerwen.test", to, raw)).startswith("250")
    ((_, members),) = await world.mail.lists.listing()
    assert "far@elsewhere.test" in members
    assert world.mail.lists.sent == 0


async def test_a_list_for_anyone_and_one_for_news(world: World) -> None:
    await friends(world, "anyone")
    client = await world.connect()
    raw = LETTER.replace(b"ayna@kerwen.test>", b"who@there.test>")
    assert (await client.send("w@there.test", ["friends@kerwen.test"], raw)).startswith("250")
    assert len(await world.inbox(2)) == 1
    await world.mail.lists.add("news", "batyr", "", "owner")
    await world.mail.lists.join("news", "batyr")
    ayna = await world.ayna()
    assert (await ayna.send("ayna@kerwen.test", ["news@kerwen.test"], LETTER)).startswith("5")


async def test_who_leaves_is_no_member(world: World) -> None:
    await friends(world)
    client = await world.ayna()
    to = ["friends+leave@kerwen.test"]
    assert (await client.send("ayna@kerwen.test", to, LETTER)).startswith("250")
    ((_, members),) = await world.mail.lists.listing()
    assert members == ["batyr@kerwen.test", "far@elsewhere.test"]
    assert await world.inbox(2) == []
    said = await client.send("ayna@kerwen.test", ["friends@kerwen.test"], LETTER)
    assert said.startswith("250"), "the owner may write all the same"


async def test_bounces_come_to_the_owner_and_go_no_further(world: World) -> None:
    await friends(world)
    client = await world.connect()
    raw = b"From: mailer-daemon@elsewhere.test\r\nSubject: undeliverable\r\n\r\nx\r\n"
    assert (await client.send("", ["friends+bounces@kerwen.test"], raw)).startswith("250")
    assert len(await world.inbox(1)) == 1
    assert (await client.send("", ["friends@kerwen.test"], raw)).startswith("250")
    assert world.mail.lists.sent == 0
    assert await world.inbox(2) == []


async def test_the_operators_words(world: World) -> None:
    lists = world.mail.lists
    await friends(world)

    async def refused(deed: object, reason: Reason) -> None:
        with pytest.raises(Refused) as error:
            await deed  # type: ignore[misc]
        assert error.value.reason is reason

    await refused(lists.add("friends", "ayna", "", "members"), Reason.CONFLICT)
    await refused(lists.add("batyr", "ayna", "", "members"), Reason.USER_IN_USE)
    await refused(lists.add("x", "nobody", "", "members"), Reason.NOT_FOUND)
    await refused(lists.add("x", "ayna", "", "all"), Reason.INVALID_PARAM)
    await refused(lists.add("x y", "ayna", "", "members"), Reason.BAD_ADDRESS)
    await refused(lists.join("friends", "ayna"), Reason.CONFLICT)
    await refused(lists.join("friends", "friends+x@kerwen.test"), Reason.BAD_ADDRESS)
    await refused(lists.join("none", "ayna"), Reason.NOT_FOUND)
    await refused(lists.leave("friends", "who@there.test"), Reason.NOT_FOUND)
    await lists.drop("friends")
    await refused(lists.drop("friends"), Reason.NOT_FOUND)
    await refused(world.mail.recipients.find("friends@kerwen.test"), Reason.UNKNOWN_RECIPIENT)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (b"List-Id: <FRIENDS.kerwen.test>\r\n", "been there"),
        (b"Auto-Submitted: auto-replied\r\n", "machine"),
        (b"From: b@kerwen.test\r\n", "one author"),
    ],
)
def test_what_a_list_does_not_send_on(more: bytes, why: str) -> None:
    with pytest.raises(NotForLists, match=why):
        sent_on(more + LETTER, OF, "kerwen.test")


def test_names_cannot_break_out_of_their_field() -> None:
    evil = LETTER.replace(b"=?utf-8?q?A=C3=BDna?=", b"=?utf-8?q?a=22=0D=0ABcc:_x@y.test=0D=0A?=")
    made = sent_on(evil, MailList("l", 'T" <x@y>\n', "ayna", "members"), "kerwen.test")
    told = fields.read(made[: made.index(b"\r\n\r\n")])
    assert b"bcc" not in told
    assert [one.address for one in addresses.mailboxes(told[b"from"][0])] == [b"l@kerwen.test"]
    assert len(told[b"from"]) == 1


async def test_what_leaves_is_signed_by_us(world: World) -> None:
    await friends(world)
    made = list_letter.sent_on(LETTER, OF, "kerwen.test")
    signed = await world.mail.lists._report.signed(made)
    assert signed.startswith(b"DKIM-Signature:")
    assert signed.count(b"DKIM-Signature:") == 2, "both keys; the author's is gone"
    assert b"d=kerwen.test" in signed
