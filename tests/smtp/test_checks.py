"""What is looked at in a stranger's message, and what comes of it: with a DNS of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kerwen.base.ask import ask_now
from kerwen.mail import arc, dkim, dkim_keys, dns
from kerwen.mail.dns import Dns, Found, Status
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database
from tests.net.dns_server import DnsServer
from tests.smtp.world import World, field

BODY = b"body\r\n"
ZONE = """
1.0.0.127.in-addr.arpa PTR client.test.
client.test A 127.0.0.1
good.test TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.good.test TXT "v=DMARC1; p=reject"
bad.test TXT "v=spf1 -all"
strict.test TXT "v=spf1 -all"
_dmarc.strict.test TXT "v=DMARC1; p=reject"
soft.test TXT "v=spf1 -all"
_dmarc.soft.test TXT "v=DMARC1; p=quarantine"
away.test FAIL
_dmarc.away.test FAIL
plain.test EXISTS
"""


@pytest.fixture(scope="module")
def keys() -> list[dkim_keys.SigningKey]:
    made = dkim_keys.generate(2048)
    return [dkim_keys.load("strict.test", kind[0], pem) for kind, pem in made.items()]


@pytest.fixture
async def checked(tmp_path: Path, keys: list[dkim_keys.SigningKey]) -> AsyncIterator[World]:
    """The doors, which ask a DNS with the zone above."""
    server = await DnsServer(ZONE).start()
    for key in keys:
        record = key.record
        pieces = " ".join(f'"{record[at : at + 200]}"' for at in range(0, len(record), 200))
        server.add(f"{key.record_name} TXT {pieces}")
    feed = Feed()
    database = await open_database(tmp_path / "kerwen.db", feed)
    settings = {"dns": [server.flag], "arc_sealers": ["lists.test"]}
    made = World(database, feed, tmp_path / "data", **settings)
    await made.start()
    yield made
    await made.stop()
    await database.close()
    server.close()


def letter(author: str, more: bytes = b"") -> bytes:
    return more + f"From: <who@{author}>\r\nSubject: s\r\n\r\n".encode() + BODY


def signed(keys: list[dkim_keys.SigningKey], header: bytes, now_ms: int) -> bytes:
    return dkim.sign(header + b"\r\n", BODY, keys, now_ms // 1000) + header + b"\r\n" + BODY


@pytest.mark.parametrize(
    ("sender", "author", "results", "mailbox"),
    [
        ("good.test", "good.test", ["iprev=pass", "spf=pass", "dmarc=pass"], "INBOX"),
        ("plain.test", "plain.test", ["spf=none", "dmarc=none"], "INBOX"),
        ("bad.test", "bad.test", ["spf=fail", "dmarc=none"], "Junk"),
        ("good.test", "strict.test", [], "550 5.7.26"),
        ("strict.test", "strict.test", [], "550 5.7.26"),
        ("soft.test", "soft.test", ["spf=fail", "dmarc=fail (p=quarantine)"], "Junk"),
        ("away.test", "away.test", ["spf=temperror", "dmarc=temperror"], "INBOX"),
    ],
)
async def test_what_a_domain_says_is_done(
    checked: World, sender: str, author: str, results: list[str], mailbox: str
) -> None:
    client = await checked.connect()
    said = await client.send(f"who@{sender}", ["ayna@kerwen.test"], letter(author))
    if mailbox.startswith("550"):
        assert said.startswith(mailbox)
        assert await checked.inbox(1) == await checked.inbox(1, "Junk") == []
        return
    assert said.startswith("250"), said
    [raw] = await checked.inbox(1, mailbox)
    told = field(raw, "Authentication-Results")
    assert all(result in told for result in results), told
    assert field(raw, "Received").startswith("from client.test (client.test [127.0.0.1])")


async def test_a_signature_proves_the_author(
    checked: World, keys: list[dkim_keys.SigningKey]
) -> None:
    header = b"From: <who@strict.test>\r\nSubject: s\r\n"
    raw = signed(keys, header, checked.house.clock())
    client = await checked.connect()
    said = await client.send("who@elsewhere.test", ["ayna@kerwen.test"], raw)
    assert said.startswith("250"), said
    [kept] = await checked.inbox()
    told = field(kept, "Authentication-Results")
    assert told.count("dkim=pass header.d=strict.test") == 2
    assert "header.a=ed25519-sha256" in told
    assert "dmarc=pass header.from=strict.test" in told
    # one letter of the body is another: nothing is proved
    said = await client.send("who@elsewhere.test", ["ayna@kerwen.test"], raw[:-3] + b"Z\r\n")
    assert said.startswith("550 5.7.26")


async def test_a_long_message_is_hashed_off_the_loop(
    checked: World, keys: list[dkim_keys.SigningKey]
) -> None:
    header = b"From: <who@strict.test>\r\nSubject: s\r\n\r\n"
    body = b"0123456789" * 7 + b"\r\n"
    body *= 20_000
    raw = dkim.sign(header, body, keys, checked.house.clock() // 1000) + header + body
    client = await checked.connect()
    said = await client.send("who@elsewhere.test", ["ayna@kerwen.test"], raw)
    assert said.startswith("250"), said


async def test_a_sealer_that_is_believed_passes_on_what_it_saw(
    checked: World, keys: list[dkim_keys.SigningKey]
) -> None:
    now_s = checked.house.clock() // 1000
    made = dkim_keys.load("lists.test", "l", dkim_keys.generate(2048)["rsa"])
    header = b"From: <who@strict.test>\r\nSubject: [list] s\r\n\r\n"
    results = [dkim_result()]
    fields = arc.seal(header, BODY, arc.Arc(arc.Chain.NONE), results, made, "lists.test", now_s)
    client = await checked.connect()
    raw = fields + header + BODY
    assert (await client.send("l@lists.test", ["ayna@kerwen.test"], raw)).startswith("550 5.7.26")
    checked_dns(checked, made)
    said = await client.send("l@lists.test", ["ayna@kerwen.test"], raw)
    assert said.startswith("250"), said
    assert "arc=pass" in field((await checked.inbox())[0], "Authentication-Results")


def dkim_result() -> arc.MethodResult:
    return arc.MethodResult("dkim", "pass", (("header.d", "strict.test"),))


def checked_dns(world: World, key: dkim_keys.SigningKey) -> None:
    """Publishes a key, as if it had been there from the start."""
    found = Found(Status.FOUND, texts=(key.record.encode(),))
    resolver = world.mail.resolver
    resolver._keep(Dns("TXT", key.record_name), found, 1000.0)


async def test_what_aliases_pass_on_is_sealed(checked: World) -> None:
    await checked.mail.recipients.add("far", "far@away.test")
    client = await checked.connect()
    said = await client.send("who@good.test", ["far@kerwen.test"], letter("good.test"))
    assert said.startswith("250"), said
    leased = await checked.mail.queue.lease()
    assert leased is not None
    raw = await checked.mail.queue.message(leased.queue_no)
    header, _, body = raw.partition(b"\r\n\r\n")
    keys = {key.record_name: key.record for key in await checked.mail.sign_keys.signing()}

    def answer(question: Dns) -> Found:
        record = keys.get(question.name)
        return Found(Status.FOUND, texts=(record.encode(),)) if record else dns.NO_NAME

    rule = arc.verify(header + b"\r\n\r\n", body, checked.house.clock() // 1000)
    found = ask_now(rule, answer)
    assert found.chain is arc.Chain.PASS, found.why
    assert b"dmarc=pass" in header[header.index(b"ARC-Authentication-Results") :]


async def test_junk_is_found_whatever_its_name(checked: World) -> None:
    await checked.mail.mailboxes.rename(1, "Junk", "Gereksiz")
    client = await checked.connect()
    await client.send("who@bad.test", ["ayna@kerwen.test"], letter("bad.test"))
    assert len(await checked.inbox(1, "Gereksiz")) == 1


async def test_opinions_count(checked: World) -> None:
    class Sure:
        async def points(self, *asked: object) -> float:
            return 10.0

    both = ["ayna@kerwen.test", "batyr@kerwen.test"]
    checked.mail.arrive.opinion = Sure()
    client = await checked.connect()
    await client.send("who@good.test", both, letter("good.test"))
    assert len(await checked.inbox(1, "Junk")) == len(await checked.inbox(2, "Junk")) == 1

    async def taste(accounts: object, raw: bytes) -> dict[int, bool]:
        return {2: False}

    checked.mail.arrive.taste = taste
    await client.send("who@good.test", both, letter("good.test"))
    assert len(await checked.inbox(1, "Junk")) == 2
    assert len(await checked.inbox(2)) == 1, "what its owner taught counts for more"


async def test_greylisting(tmp_path: Path) -> None:
    feed = Feed()
    database = await open_database(tmp_path / "kerwen.db", feed)
    world = World(database, feed, tmp_path / "data", greylisting="on")
    await world.start()
    clock, client = world.house.clock, await world.connect()

    async def try_(to: str = "ayna@kerwen.test") -> str:
        await client.cmd("RSET")
        return await client.send("who@good.test", [to], letter("good.test"))

    assert (await try_()).startswith("451 4.7.1")
    clock.now += 60_000
    assert (await try_()).startswith("451 4.7.1"), "too soon"
    clock.now += 180_000
    assert (await try_()).startswith("250")
    assert (await try_("batyr@kerwen.test")).startswith("250"), "the network is known"
    clock.now += 31 * 24 * 3_600_000
    assert (await try_()).startswith("451 4.7.1"), "it was forgotten"
    clock.now += 2 * 24 * 3_600_000
    assert (await try_()).startswith("451 4.7.1"), "it came back too late"
    await asyncio.sleep(0)
    clock.now += 40 * 24 * 3_600_000
    from kerwen.mail.actions.greylist import Greylist

    await Greylist(database, world.mail.tags, clock).sweep()
    async with database.read() as snap:
        from kerwen.storage.sql import sql

        assert (await snap.one(sql("select count(*) from mail_greylist"))) == (0,)
    await world.stop()
    await database.close()
