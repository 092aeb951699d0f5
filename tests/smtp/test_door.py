"""The doors: what strangers may, what our own people may, and what comes of it."""

from __future__ import annotations

import base64

import pytest

from kerwen.accounts.store import accounts
from kerwen.base import limits
from kerwen.base.ask import ask_now
from kerwen.mail import dkim
from kerwen.mail.dns import Found, Status
from kerwen.storage.database import Kind
from tests.smtp.world import World, field

LETTER = b"From: Who <who@remote.test>\r\nTo: ayna@kerwen.test\r\nSubject: s\r\n\r\nbody\r\n"
OWN = b"From: Ayna <ayna@kerwen.test>\r\nTo: batyr@kerwen.test\r\nSubject: s\r\n\r\nbody\r\n"


async def test_a_stranger_brings_a_message(either_world: World) -> None:
    world = either_world
    client = await world.connect()
    to = ["ayna@kerwen.test", "Batyr+shop@KERWEN.test"]
    said = await client.send("who@remote.test", to, LETTER)
    assert said.startswith("250 2.0.0 Received as ")
    for account_no in (1, 2):
        [raw] = await world.inbox(account_no)
        assert raw.endswith(LETTER)
        assert raw.startswith(b"Return-Path: <who@remote.test>\r\nAuthentication-Results: kerwen")
        told = field(raw, "Received")
        assert told.startswith("from client.test ([127.0.0.1]) by kerwen.test with ESMTP id ")
        assert said.split()[-1] in told
        assert "@" not in told, "several recipients stay private"
    assert await client.cmd("QUIT") == "221 2.0.0 Goodbye"
    assert await client.at_end()


async def test_forged_fields_are_taken_out(world: World) -> None:
    forged = (
        b"Authentication-Results: kerwen.test; dmarc=pass\r\nReturn-Path: <boss@kerwen.test>\r\n"
        b"Authentication-Results: other.test; spf=pass\r\n"
    )
    client = await world.connect()
    await client.send("", ["ayna@kerwen.test"], forged + LETTER)
    [raw] = await world.inbox()
    assert raw.count(b"kerwen.test; dmarc") == raw.count(b"boss@") == 0
    assert b"Authentication-Results: other.test; spf=pass\r\n" in raw
    assert raw.startswith(b"Return-Path: <>\r\n")
    assert "for <ayna@kerwen.test>" in field(raw, "Received")


@pytest.mark.parametrize(
    ("recipient", "said"),
    [
        ("nobody@kerwen.test", "550 5.1.1"),
        ("who@other.test", "550 5.7.1"),
        ("ayna@kerwen.test@other.test", "501"),
        ("postmaster", "550 5.1.1"),  # there is no administrator here
    ],
)
async def test_recipients_are_checked_at_rcpt(world: World, recipient: str, said: str) -> None:
    client = await world.connect()
    await client.cmd("MAIL FROM:<who@remote.test>")
    assert (await client.cmd(f"RCPT TO:<{recipient}>")).startswith(said)


async def test_aliases_groups_and_the_catch_all(world: World) -> None:
    add = world.mail.recipients.add
    await add("office", "ayna")
    await add("office", "batyr")
    await add("office", "far@away.test")
    await add("*", "batyr")
    client = await world.connect()
    assert (await client.send("who@remote.test", ["office@kerwen.test"], LETTER))[0] == "2"
    assert (await client.send("who@remote.test", ["anything@kerwen.test"], LETTER))[0] == "2"
    assert len(await world.inbox(1)) == 1
    assert len(await world.inbox(2)) == 2
    leased = await world.mail.queue.lease()
    assert leased is not None
    assert [one.address for one in leased.recipients.values()] == ["far@away.test"]
    raw = await world.mail.queue.message(leased.queue_no)
    assert field(raw, "Delivered-To") == "office@kerwen.test"
    assert b"Return-Path" not in raw
    # the alias leads to a server that sends it back
    looping = raw[raw.index(b"Delivered-To") :]
    assert (await client.send("who@remote.test", ["office@kerwen.test"], looping)).startswith(
        "554 5.4.6"
    )


async def test_an_imported_account_before_its_first_log_in(either_world: World) -> None:
    """Nothing can be sealed for it: what strangers bring stays with them, the rest waits here."""
    world = either_world
    async with world.house.db.write() as tx:
        await accounts.add(tx, 3, "merdan", 0, admin=False)
    await world.mail.recipients.add("office", "ayna")
    await world.mail.recipients.add("office", "merdan")
    stranger = await world.connect()
    said = await stranger.send("who@remote.test", ["merdan@kerwen.test"], LETTER)
    assert said == "450 4.2.1 Try again later: not yet opened"
    assert (await stranger.cmd("RCPT TO:<office@kerwen.test>")).startswith("250")
    await stranger.cmd("DATA")
    assert (await stranger.cmd(LETTER + b".")).startswith("250")
    assert len(await world.inbox(1)) == 1, "who can have it has it"
    ayna = await world.ayna()
    assert (await ayna.send("ayna@kerwen.test", ["merdan+x@kerwen.test"], OWN))[0] == "2"
    sender = world.mail.sending.sender
    await sender.step()
    assert await world.mail.queue.next_due_ms() is not None, "it waits"

    await world.house.account(3)  # the first log-in
    due = await world.mail.queue.next_due_ms()
    assert due is not None
    world.house.clock.now = due + 600_000
    await sender.step()
    one, two = sorted(await world.inbox(3))
    assert one.endswith(OWN)
    assert two.endswith(LETTER)
    assert field(two, "Delivered-To") == "office@kerwen.test"
    assert await world.mail.queue.next_due_ms() is None
    assert len(await world.inbox(1)) == 1
    assert (await stranger.send("who@remote.test", ["merdan@kerwen.test"], LETTER))[0] == "2"


async def test_a_full_mailbox_is_told_at_once(world: World) -> None:
    client = await world.connect()
    await client.cmd("MAIL FROM:<who@remote.test> SIZE=2000000000")
    said = await client.cmd("MAIL FROM:<who@remote.test> SIZE=60000000")
    assert said.startswith("552 5.3.4")
    async with world.house.db.write() as tx:
        from kerwen.mail.store import mailboxes

        await mailboxes.set_quota(tx, 1, 100)
    await client.cmd("MAIL FROM:<who@remote.test> SIZE=101")
    assert (await client.cmd("RCPT TO:<ayna@kerwen.test>")).startswith("452 4.2.2")
    await client.cmd("RSET")
    said = await client.send("who@remote.test", ["ayna@kerwen.test"], LETTER)
    assert said.startswith("452 4.2.2"), "its size was not announced"


async def test_a_header_of_too_many_fields_is_refused(world: World) -> None:
    """Each would be an object while the message is looked at."""
    fields = b"a:\r\n" * (limits.FIELDS_TAKEN_MAX + 1)
    stranger, ayna = await world.connect(), await world.ayna()
    said = await stranger.send("who@remote.test", ["ayna@kerwen.test"], fields + LETTER)
    assert said.startswith("554 5.6.0")
    said = await ayna.send("ayna@kerwen.test", ["batyr@kerwen.test"], fields + OWN)
    assert said.startswith("554 5.6.0")
    folded = b"X-Long: a\r\n" + b" b\r\n" * (limits.FIELDS_TAKEN_MAX + 1)
    said = await stranger.send("who@remote.test", ["ayna@kerwen.test"], folded + LETTER)
    assert said.startswith("250")


async def test_our_own_people_send(either_world: World) -> None:
    world = either_world
    client = await world.ayna()
    raw = b"Bcc: secret@away.test\r\n" + OWN
    said = await client.send("ayna@kerwen.test", ["batyr@kerwen.test", "far@away.test"], raw)
    assert said.startswith("250 2.0.0 Received as ")
    [here] = await world.inbox(2)
    leased = await world.mail.queue.lease()
    assert leased is not None
    assert leased.envelope.sender == "ayna@kerwen.test"
    assert leased.envelope.account_no == 1
    there = await world.mail.queue.message(leased.queue_no)
    assert here.endswith(there)
    assert field(here, "Authentication-Results") == "kerwen.test; auth=pass"
    assert b"Authentication-Results" not in there
    assert b"secret@" not in there
    assert field(there, "Date")
    assert field(there, "Message-ID").endswith("@kerwen.test>")
    assert field(there, "Received").startswith("by kerwen.test with ESMTPSA (TLS")
    assert "127.0.0.1" not in there.decode(), "where she writes from is nobody's business"
    header, _, body = there.partition(b"\r\n\r\n")
    records = {key.record_name: key.record for key in await world.mail.sign_keys.signing()}
    verifying = dkim.verify(header + b"\r\n\r\n", body, world.house.clock() // 1000)
    results = ask_now(
        verifying,
        lambda question: Found(Status.FOUND, texts=(records[question.name].encode(),)),
    )
    assert [(one.result, one.algorithm) for one in results] == [
        (dkim.Result.PASS, "rsa-sha256"),
        (dkim.Result.PASS, "ed25519-sha256"),
    ]


@pytest.mark.parametrize(
    ("sender", "author", "said"),
    [
        ("batyr@kerwen.test", "ayna@kerwen.test", "553 5.7.1"),
        ("ayna@kerwen.test", "batyr@kerwen.test", "553 5.7.1"),
        ("ayna@kerwen.test", "ayna@other.test", "250"),
        ("ayna@kerwen.test", "batyr", "553 5.7.1"),
        ("ayna@kerwen.test", "ayna@kerwen.test, batyr@kerwen.test", "553 5.7.1"),
        ("ayna@other.test", "ayna@kerwen.test", "553 5.7.1"),
        ("ayna+list@kerwen.test", "AYNA@Kerwen.test", "250"),
        ("shop@kerwen.test", "shop@kerwen.test", "250"),
        ("", "ayna@kerwen.test", "250"),
    ],
)
async def test_a_sender_is_the_accounts_own(
    world: World, sender: str, author: str, said: str
) -> None:
    await world.mail.recipients.add("shop", "ayna")
    client = await world.ayna()
    raw = f"From: {author}\r\n\r\nbody\r\n".encode()
    assert (await client.send(sender, ["batyr@kerwen.test"], raw)).startswith(said)


async def test_two_authors_fields_are_refused(world: World) -> None:
    client = await world.ayna()
    raw = b"From: batyr@kerwen.test\r\n" + OWN
    assert (await client.send("ayna@kerwen.test", ["batyr@kerwen.test"], raw)).startswith("554")


async def test_passwords_only_under_tls(world: World) -> None:
    world.smtp._plain = False
    client = await world.connect("submission")
    assert (await client.cmd("AUTH PLAIN AGF5bmEAc2VjcmV0LTE=")).startswith("538 5.7.11")
    assert (await client.cmd("MAIL FROM:<ayna@kerwen.test>")).startswith("530")
    await client.start_tls(world.tls)
    assert (await client.cmd("MAIL FROM:<ayna@kerwen.test>")).startswith("503"), "EHLO comes first"
    assert "AUTH PLAIN LOGIN OAUTHBEARER" in await client.cmd("EHLO client.test")
    assert (await client.cmd("AUTH LOGIN")).startswith("334")
    await client.cmd(base64.b64encode(b"ayna@kerwen.test"))
    assert (await client.cmd(base64.b64encode(b"secret-1"))).startswith("235")
    assert (await client.send("ayna@kerwen.test", ["batyr@kerwen.test"], OWN))[0] == "2"
    assert world.spent == world.given == ["127.0.0.1"], "what was right is not counted"


async def test_what_is_said_before_tls_counts_for_nothing(world: World) -> None:
    client = await world.connect()
    await client.say(b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@evil.test>\r\n")
    assert (await client.reply()).startswith("220")
    await client.writer.start_tls(world.tls)
    assert (await client.cmd("RCPT TO:<ayna@kerwen.test>")).startswith("503 5.5.1 Say EHLO first")
    assert "STARTTLS" not in await client.cmd("EHLO client.test")


async def test_guesses_end_the_connection(world: World) -> None:
    client = await world.connect("submissions")
    wrong = "AUTH PLAIN " + base64.b64encode(b"\0ayna\0wrong").decode()
    assert (await client.cmd(wrong)).startswith("535 5.7.8")
    assert (await client.cmd(wrong)).startswith("535 5.7.8")
    assert (await client.cmd(wrong)).startswith("421")
    assert await client.at_end()
    assert (len(world.spent), world.given) == (3, [])


async def test_who_was_locked_out_sends_no_more(world: World) -> None:
    client = await world.ayna()
    assert (await client.send("ayna@kerwen.test", ["batyr@kerwen.test"], OWN))[0] == "2"
    async with world.house.db.write() as tx:
        await accounts.set_locked(tx, 1, True)
        tx.change(Kind.ACCOUNT, 1)
    assert (await client.cmd("MAIL FROM:<ayna@kerwen.test>")).startswith("421 4.7.0 Log in again")
    assert await client.at_end()


async def test_everything_pipelined(world: World) -> None:
    client = await world.connect()
    await client.say(
        b"MAIL FROM:<who@remote.test> BODY=8BITMIME\r\nRCPT TO:<ayna@kerwen.test>\r\n"
        b"RCPT TO:<nobody@kerwen.test>\r\nRCPT TO:<batyr@kerwen.test>\r\nDATA\r\n"
    )
    codes = [(await client.reply())[:3] for _ in range(5)]
    assert codes == ["250", "250", "550", "250", "354"]
    await client.say(LETTER + b".\r\nMAIL FROM:<>\r\nRCPT TO:<ayna@kerwen.test>\r\nQUIT\r\n")
    codes = [(await client.reply())[:3] for _ in range(4)]
    assert codes == ["250", "250", "250", "221"]
    assert len(await world.inbox(1)) == len(await world.inbox(2)) == 1


async def test_chunks(world: World) -> None:
    client = await world.connect()
    half = len(LETTER) // 2
    await client.cmd("MAIL FROM:<who@remote.test>")
    await client.cmd("RCPT TO:<ayna@kerwen.test>")
    await client.say(f"BDAT {half}\r\n".encode() + LETTER[:half])
    assert (await client.reply()).startswith(f"250 2.0.0 {half} bytes")
    rest = LETTER[half:]
    await client.say(f"BDAT {len(rest)} LAST\r\n".encode() + rest)
    assert (await client.reply()).startswith("250 2.0.0 Received as ")
    [raw] = await world.inbox()
    assert raw.endswith(LETTER)
    # what BDAT brings may be relayed by DATA: no line ends in it that others read otherwise
    bad = LETTER + b"\n.\nMAIL FROM:<evil@evil.test>\r\n"
    await client.cmd("MAIL FROM:<who@remote.test>")
    await client.cmd("RCPT TO:<ayna@kerwen.test>")
    await client.say(f"BDAT {len(bad)} LAST\r\n".encode() + bad)
    assert (await client.reply()).startswith("550 5.6.0")


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n"]
)
async def test_nothing_is_smuggled(world: World, end: bytes) -> None:
    client = await world.connect()
    smuggled = b"MAIL FROM:<boss@kerwen.test>\r\nRCPT TO:<batyr@kerwen.test>\r\nDATA\r\nx\r\n"
    said = await client.send("who@remote.test", ["ayna@kerwen.test"], LETTER + end + smuggled)
    assert said.startswith("550 5.6.0")
    assert await client.cmd("NOOP") == "250 2.0.0 OK", "and nothing of it was a command"
    assert await world.inbox(1) == await world.inbox(2) == []


async def test_a_report_of_success_is_sent_where_it_is_wished(world: World) -> None:
    client = await world.ayna()
    await client.cmd("MAIL FROM:<ayna@kerwen.test> ENVID=abc")
    await client.cmd("RCPT TO:<batyr@kerwen.test> NOTIFY=SUCCESS ORCPT=rfc822;b@kerwen.test")
    await client.cmd("DATA")
    assert (await client.cmd(OWN + b".")).startswith("250")
    [raw] = await world.inbox(1)
    assert b"Action: delivered" in raw
    assert b"Original-Envelope-Id: abc" in raw
    assert b"Original-Recipient: rfc822; b@kerwen.test" in raw


async def test_memory_for_messages_is_bounded(world: World) -> None:
    room = world.smtp._room
    world.smtp._room = 1000
    client = await world.connect()
    said = await client.send("who@remote.test", ["ayna@kerwen.test"], LETTER + b"x\r\n" * 1000)
    assert said.startswith("451 4.3.2")
    assert world.smtp._room == 1000
    world.smtp._room = room
    assert (await client.send("who@remote.test", ["ayna@kerwen.test"], LETTER))[0] == "2"
    assert world.smtp._room == room


async def test_one_neighbour_cannot_take_all_the_memory(world: World) -> None:
    world.smtp._limited = True
    world.smtp._share = 1000
    client = await world.connect()
    said = await client.send("who@remote.test", ["ayna@kerwen.test"], LETTER + b"x\r\n" * 1000)
    assert said.startswith("451 4.3.2")
    assert world.smtp._room == world.smtp_room
    assert not world.smtp._held
    assert (await client.send("who@remote.test", ["ayna@kerwen.test"], LETTER))[0] == "2"
    assert not world.smtp._held


async def test_a_message_that_breaks_off_is_no_message(world: World) -> None:
    client = await world.connect()
    await client.cmd("MAIL FROM:<who@remote.test>")
    await client.cmd("RCPT TO:<ayna@kerwen.test>")
    await client.cmd("DATA")
    await client.say(LETTER)
    client.close()
    other = await world.connect()
    await other.cmd("NOOP")
    assert await world.inbox() == []
    assert len(world.smtp.connections) == 1


async def test_too_many_connections_of_one_neighbour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMTP_CONNECTIONS_PER_ADDRESS", 2)
    world.smtp._limited = True
    first = await world.connect()
    await world.connect()
    with pytest.raises(AssertionError):
        await world.connect()
    assert world.smtp.turned_away == 1
    await first.cmd("QUIT")
    assert await first.at_end()
    await world.connect()


async def test_the_server_stops_politely(world: World) -> None:
    client = await world.connect()
    await world.smtp.stop(1)
    assert (await client.reply()).startswith("421 4.3.2")
    assert await client.at_end()
