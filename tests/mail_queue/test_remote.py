"""Whatever a remote server does, a message arrives once or its sender gets a right report."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest

from kerwen.base.errors import Unavailable, Unready
from kerwen.mail import retry, sender
from kerwen.mail.actions.check import Check
from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.mail.letter import NO_WISHES, Letter, Peer
from kerwen.smtp.client import Connection, Failed, Target, Times
from tests.mail_store.house import letter

from .remote import Behaviour, _Talk
from .world import HOUR, US, World

ZONE = """
far.test MX 10 mx.far.test.
mx.far.test A 127.0.0.1
two.test MX 10 mx1.two.test.
two.test MX 20 mx2.two.test.
mx1.two.test A 127.0.0.2
mx2.two.test A 127.0.0.1
bare.test A 127.0.0.1
null.test MX 0 .
gone.test MX 10 nowhere.gone.test.
home.test MX 10 kerwen.test.
home.test MX 20 mx.far.test.
lost.test FAIL
"""

SEEDS = [random.randrange(2**32) for _ in range(60)] if os.environ.get("KERWEN_FUZZ") else range(20)


@pytest.fixture(autouse=True)
def _zone(world: World) -> None:
    world.dns.add(ZONE)


BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)


@BOTH
async def test_one_message_to_several_goes_once(world: World) -> None:
    remote = await world.remote()
    world.build()
    await world.enqueue(1, "a@far.test", "b@far.test", "c@bare.test")
    assert await world.until_empty() == 1
    assert sorted(kept.recipients for kept in remote.kept) == [
        ["a@far.test", "b@far.test"], ["c@bare.test"],
    ]  # fmt: skip
    assert {kept.raw for kept in remote.kept} == {letter(1)}
    assert remote.commands[0] == "EHLO kerwen.test"
    assert await world.reports() == []


@pytest.mark.parametrize(
    ("domain", "status", "words"),
    [
        ("null.test", "5.1.10", "takes no mail"),
        ("nowhere.test", "5.1.2", "no such domain"),
        ("gone.test", "5.4.4", "has no address"),
        ("home.test", "5.4.6", "leads back to this server"),
        ("[192.0.2.1]", "5.4.4", "no mail goes to"),
        ("x" * 64 + ".test", "5.1.2", "no name"),
    ],
)
async def test_where_nobody_takes_mail(world: World, domain: str, status: str, words: str) -> None:
    await world.remote()
    world.build()
    await world.enqueue(1, f"a@{domain}")
    await world.sender.step()
    (report,) = await world.reports()
    assert f"Status: {status}".encode() in report
    assert words.encode() in report
    assert await world.queue.totals() == (0, 0, None)


@BOTH
async def test_greylisting(world: World) -> None:
    remote = await world.remote()
    remote.behaviour.rcpt = lambda to, time: "451 4.7.1 come back" if time < 3 else "250 ok"
    world.build()
    await world.enqueue(1, "a@far.test", "b@far.test")
    start = world.clock.now
    assert await world.until_empty() == 3
    assert set(remote.tries.values()) == {3}
    assert remote.copies() == {
        ("m1@remote.test", "a@far.test"): 1,
        ("m1@remote.test", "b@far.test"): 1,
    }
    assert world.clock.now - start < HOUR / 4
    assert await world.reports() == []


async def test_some_of_several_are_refused_some_wait(world: World) -> None:
    remote = await world.remote()

    def rcpt(to: str, time: int) -> str:
        if to.startswith("no"):
            return "550 5.1.1 who is that"
        return "452 4.2.2 full" if to.startswith("full") and time < 3 else "250 ok"

    remote.behaviour.rcpt = rcpt
    world.build()
    await world.enqueue(1, "a@far.test", "no@far.test", "full@far.test", "b@far.test")
    await world.until_empty()
    assert set(remote.copies().values()) == {1}
    assert {to for _, to in remote.copies()} == {"a@far.test", "b@far.test", "full@far.test"}
    (report,) = await world.reports()
    assert report.count(b"Final-Recipient") == 1
    assert b"Final-Recipient: rfc822; no@far.test" in report
    assert b"Diagnostic-Code: smtp; 550 5.1.1 who is that" in report
    assert b"Remote-MTA: dns; mx.far.test" in report


@pytest.mark.parametrize("drop", ["greeting", "mail", "data", "body", "dot"])
async def test_who_hangs_up_before_the_answer_is_tried_again(world: World, drop: str) -> None:
    remote = await world.remote(behaviour=Behaviour(drop=drop))
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert remote.kept == []
    remote.behaviour.drop = ""
    await world.until_empty()
    assert remote.copies() == {("m1@remote.test", "a@far.test"): 1}
    assert await world.reports() == []


async def test_who_hangs_up_with_the_message_kept_may_have_it_twice(world: World) -> None:
    """Nobody can know better; but nobody else is asked at once, and it is tried again once."""
    first = await world.remote("mx1.two.test", "127.0.0.2", Behaviour(drop="kept"))
    second = await world.remote("mx2.two.test", "127.0.0.1")
    world.build()
    await world.enqueue(1, "a@two.test")
    await world.sender.step()
    assert len(first.kept) == 1
    assert second.connections == 0
    first.behaviour.drop = ""
    await world.until_empty()
    assert len(first.kept) == 2
    assert second.kept == []


async def test_the_next_host_is_asked(world: World) -> None:
    first = await world.remote("mx1.two.test", "127.0.0.2", Behaviour(greeting="421 4.3.2 closing"))
    second = await world.remote("mx2.two.test", "127.0.0.1")
    world.build()
    for n, drop in enumerate(("", "mail", "body")):
        if drop:
            first.behaviour = Behaviour(drop=drop)
        await world.enqueue(n, "a@two.test")
        await world.sender.step()
        assert len(second.kept) == n + 1
    first.behaviour = Behaviour(greeting="521 no mail here")
    await world.enqueue(5, "a@two.test")
    await world.sender.step()
    assert len(second.kept) == 4
    second.close()
    world.remotes.remove(second)
    assert first.kept == []


async def test_a_host_that_takes_no_mail_at_all_is_final(world: World) -> None:
    await world.remote(behaviour=Behaviour(greeting="521 5.3.2 no mail here"))
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    (report,) = await world.reports()
    assert b"Action: failed" in report


async def test_down_for_days_then_back(world: World) -> None:
    remote = await world.remote()
    world.build()
    remote.close()
    start = world.clock.now
    for n in range(10):
        await world.enqueue(n, "a@far.test")
    while world.clock.now < start + 3 * 24 * HOUR:
        await world.sender.step()
        due = await world.queue.next_due_ms()
        assert due is not None
        world.clock.now = due
    delays = await world.reports()
    assert len(delays) == 10, "each sender is told once of the delay"
    assert all(b"Action: delayed" in one and b"Will-Retry-Until" in one for one in delays)
    back = await world.remote()
    await world.until_empty()
    assert len(back.copies()) == 10
    assert set(back.copies().values()) == {1}
    assert len(await world.reports()) == 10


async def test_down_for_good(world: World) -> None:
    remote = await world.remote()
    world.build()
    remote.close()
    start = world.clock.now
    for n in range(10):
        await world.enqueue(n, "a@far.test")
    await world.until_empty()
    assert world.clock.now == start + retry.LIFE_MS
    reports = await world.reports()
    assert sum(b"Action: failed" in one for one in reports) == 10
    assert sum(b"Action: delayed" in one for one in reports) == 10
    assert all(b"Status: 5.4.1" in one for one in reports if b"Action: failed" in one)


async def test_a_destination_out_of_reach_is_let_be(world: World) -> None:
    remote = await world.remote()
    world.build()
    remote.close()
    for n in range(20):
        await world.enqueue(n, "a@far.test")
    dialled = []
    dial = world.hand_on._dial

    async def counted(target: Target) -> Connection | Failed:
        dialled.append(target)
        return await dial(target)

    world.hand_on._dial = counted
    await world.sender.step()
    assert 1 <= len(dialled) <= 2 * 8, "those under way together try, the others do not"
    assert world.sender.away == 1
    again = await world.remote()
    assert await world.queue.retry() == 20
    await world.sender.step()
    assert len(again.copies()) == 20, "who asks for it is heard at once"
    assert world.sender.away == 0


async def test_the_dns_does_not_answer(world: World) -> None:
    await world.enqueue(1, "a@lost.test")
    await world.sender.step()
    (listed,) = await world.queue.listing()
    assert listed.recipients[0][3] == "The DNS does not answer"


async def test_connections_are_shared_and_few(world: World) -> None:
    remote = await world.remote(behaviour=Behaviour(wait_s=0.002))
    world.build()
    for n in range(40):
        await world.enqueue(n, "a@far.test")
    await world.until_empty()
    assert set(remote.copies().values()) == {1}
    assert len(remote.copies()) == 40
    assert remote.most_open <= 8
    assert remote.connections <= 12
    assert world.hand_on.reused >= 28


async def test_a_kept_connection_that_died_costs_nothing(world: World) -> None:
    remote = await world.remote()
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    remote.behaviour.drop = "mail"
    (kept,) = next(iter(world.hand_on._kept.values()))
    assert kept.alive
    await world.enqueue(2, "a@far.test")

    dial = world.hand_on._dial

    async def mended(target: Target) -> Connection | Failed:
        remote.behaviour.drop = ""
        return await dial(target)

    world.hand_on._dial = mended
    await world.sender.step()
    assert len(remote.kept) == 2
    assert await world.queue.totals() == (0, 0, None)


async def test_few_recipients_at_a_time(world: World) -> None:
    extensions = ("PIPELINING", "LIMITS RCPTMAX=3")
    remote = await world.remote(behaviour=Behaviour(extensions=extensions))
    world.build()
    await world.enqueue(1, *(f"a{n}@far.test" for n in range(10)))
    await world.sender.step()
    assert [len(one.recipients) for one in remote.kept] == [3, 3, 3, 1]
    assert remote.connections == 1
    assert await world.queue.totals() == (0, 0, None)


async def test_more_recipients_than_one_lease(world: World) -> None:
    remote = await world.remote()
    world.build()
    await world.enqueue(1, *(f"a{n}@far.test" for n in range(250)))
    await world.until_empty()
    assert len(remote.copies()) == 250
    assert set(remote.copies().values()) == {1}


@pytest.mark.parametrize(
    ("extensions", "envelope", "to", "status"),
    [
        (("SIZE 100",), {}, "a@far.test", "5.3.4"),
        (("8BITMIME",), {"utf8": True}, "аня@bare.test", "5.6.7"),
        (("8BITMIME",), {}, "аня@far.test", "5.6.7"),
    ],
)
async def test_what_the_other_side_cannot_take(
    world: World, extensions: tuple[str, ...], envelope: dict[str, object], to: str, status: str
) -> None:
    remote = await world.remote(behaviour=Behaviour(extensions=extensions))
    world.build()
    await world.enqueue(1, to, **envelope)
    await world.sender.step()
    (report,) = await world.reports()
    assert f"Status: {status}".encode() in report
    assert remote.kept == []


async def test_a_name_beyond_ascii(world: World) -> None:
    extensions = ("SMTPUTF8", "8BITMIME", "SIZE")
    remote = await world.remote(behaviour=Behaviour(extensions=extensions))
    world.dns.add("xn--80ak6aa92e.test MX 10 mx.far.test.")
    world.build()
    await world.enqueue(1, "аня@аррӏе.test", utf8=True, eight_bit=True)
    await world.sender.step()
    (kept,) = remote.kept
    assert kept.parameters[0].endswith("BODY=8BITMIME SMTPUTF8")


@pytest.mark.parametrize(
    ("header", "offered", "sent"),
    [
        (b"", False, True),
        ("X: аня\r\n".encode(), False, False),
        ("X: аня\r\n".encode(), True, True),
    ],
)
async def test_a_domain_beyond_ascii_needs_nothing_special(
    world: World, header: bytes, offered: bool, sent: bool
) -> None:
    remote = await world.remote()
    remote.behaviour.extensions = ("SMTPUTF8",) if offered else ()
    world.dns.add("xn--80ak6aa92e.test MX 10 mx.far.test.")
    world.build()
    plain = b"".join((header, b"Subject: x\r\n\r\n", "тело\r\n".encode()))
    await world.queue.enqueue(Envelope(US, utf8=True), [Addressee("a@аррӏе.test")], plain)
    await world.sender.step()
    assert len(remote.kept) == sent
    if sent:
        assert remote.kept[0].recipients == ["a@xn--80ak6aa92e.test"]
        assert ("SMTPUTF8" in remote.kept[0].parameters[0]) is offered


async def test_what_senders_wish_is_passed_on(world: World) -> None:
    remote = await world.remote(behaviour=Behaviour(extensions=("DSN", "PIPELINING")))
    world.build()
    to = [
        Addressee("a@far.test", frozenset({"SUCCESS", "FAILURE"}), "rfc822;A+x@far.test"),
        Addressee("b@far.test", frozenset({"NEVER"})),
        Addressee("c@far.test"),
    ]
    await world.queue.enqueue(Envelope(US, "env+1", return_full=True), to, letter(1))
    await world.sender.step()
    (kept,) = remote.kept
    assert kept.parameters == [
        f"MAIL FROM:<{US}> RET=FULL ENVID=env+2B1",
        "RCPT TO:<a@far.test> NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;A+2Bx@far.test",
        "RCPT TO:<b@far.test> NOTIFY=NEVER",
        "RCPT TO:<c@far.test>",
    ]
    assert await world.reports() == [], "the other side reports"
    remote.behaviour.extensions = ("PIPELINING",)
    await world.hand_on.close()
    await world.queue.enqueue(Envelope(US, "env+1", return_full=True), to, letter(2))
    await world.sender.step()
    (report,) = await world.reports()
    assert b"Action: relayed" in report
    assert b"Original-Envelope-Id: env+1" in report
    assert b"Original-Recipient: rfc822; A+x@far.test" in report
    assert report.count(b"Final-Recipient") == 1
    assert b"some words of a body" in report, "RET=FULL"


@pytest.mark.parametrize(
    ("writer", "proved", "bounced"),
    [("", False, 0), ("x@bare.test", False, 0), ("x@bare.test", True, 1)],
)
async def test_bounces_to_elsewhere(world: World, writer: str, proved: bool, bounced: int) -> None:
    """None for a bounce, none to a sender who may be forged."""
    remote = await world.remote()
    remote.behaviour.rcpt = lambda to, time: "550 no" if to == "a@far.test" else "250 ok"
    world.build()
    await world.enqueue(1, "a@far.test", sender=writer, proved=proved)
    await world.until_empty()
    assert [(one.sender, one.recipients) for one in remote.kept] == [
        ("", ["x@bare.test"])
    ] * bounced


@pytest.mark.parametrize(("spf", "told"), [("v=spf1 ip4:192.0.2.7 -all", 1), ("v=spf1 ?all", 0)])
async def test_who_wrote_to_an_alias_hears_of_its_failure_if_proved(
    world: World, spf: str, told: int
) -> None:
    """From the door to the bounce: what the checks of a stranger's message found goes with it."""
    remote = await world.remote()
    remote.behaviour.rcpt = lambda to, time: "550 no" if to == "a@far.test" else "250 ok"
    world.build()
    world.dns.add(f'bare.test TXT "{spf}"')
    arrive = world.house.mail.arrive
    arrive._check = Check("kerwen.test", world.resolver.answer, world.clock)
    await world.house.mail.recipients.add("onward", "a@far.test")
    peer, writer = Peer(address="192.0.2.7", helo="mx.bare.test"), Letter(sender="x@bare.test")
    accepted = await arrive.recipient(peer, writer, "onward@kerwen.test", NO_WISHES)
    await arrive.run(peer, writer, [accepted], letter(1))
    await world.until_empty()
    assert remote.tries["a@far.test"] == 1
    assert [one.recipients for one in remote.kept] == [["x@bare.test"]] * told


async def test_a_bounce_that_bounces_ends_there(world: World) -> None:
    remote = await world.remote()
    remote.behaviour.rcpt = lambda to, time: "550 5.1.1 no"
    world.build()
    await world.enqueue(1, "a@far.test", sender="x@bare.test", proved=True)
    await world.until_empty()
    assert remote.tries == {"a@far.test": 1, "x@bare.test": 1}
    assert await world.queue.totals() == (0, 0, None)


async def test_loops_end(world: World) -> None:
    remote = await world.remote("kerwen.test")
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    remote.name = "mx.far.test"
    worn = b"Received: from a by b;\r\n" * 101 + letter(2)
    await world.queue.enqueue(Envelope(US), [Addressee("a@far.test")], worn)
    await world.sender.step()
    reports = await world.reports()
    assert [b"Status: 5.4.6" in one for one in reports] == [True, True]
    assert remote.kept == []


async def test_a_server_that_is_too_slow(world: World) -> None:
    remote = await world.remote(behaviour=Behaviour(wait_s=0.2))
    world.times = Times(connect=0.1, greeting=0.1, reply=0.1, block=0.1, end=0.1, goodbye=0.05)
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    (listed,) = await world.queue.listing()
    assert listed.recipients[0][3] == "no answer in time"
    remote.behaviour.wait_s = 0
    world.times = Times()
    world.build()
    await world.until_empty()
    assert remote.copies() == {("m1@remote.test", "a@far.test"): 1}


@pytest.mark.parametrize("answer", ["nonsense", "250", "220 x\r\n250 y", "x" * 5000, "999 z"])
async def test_nonsense_is_survived(world: World, answer: str) -> None:
    remote = await world.remote()
    remote.behaviour.mail = lambda sender: answer
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    remote.behaviour.mail = lambda sender: "250 ok"
    await world.until_empty()
    assert set(remote.copies().values()) == {1}


async def test_our_own_domain_never_leaves(world: World) -> None:
    remote = await world.remote()
    world.dns.add("kerwen.test MX 10 mx.far.test.")
    await world.house.mail.recipients.add("far", "a@far.test")
    world.build()
    to = [
        Addressee("batyr+x@kerwen.test", frozenset({"SUCCESS"})),
        Addressee("nobody@kerwen.test"),
        Addressee("far@kerwen.test"),
    ]
    await world.queue.enqueue(Envelope("ayna@kerwen.test"), to, letter(1))
    await world.until_empty()
    (mine,) = await world.reports(1)
    assert mine == b"Return-Path: <ayna@kerwen.test>\r\n" + letter(1)
    assert [kept.recipients for kept in remote.kept] == [["a@far.test"]]
    told = b"".join(await world.reports(2))
    assert b"Action: delivered" in told
    assert b"nobody@kerwen.test" in told
    assert b"Status: 5.1.1" in told


async def test_a_refusal_of_the_body(world: World) -> None:
    remote = await world.remote()
    remote.behaviour.end = lambda time: "554 5.7.1 spam" if time == 1 else "451 4.3.0 later"
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.enqueue(2, "a@far.test")
    await world.sender.step()
    (report,) = await world.reports()
    assert b"554 5.7.1 spam" in report
    remote.behaviour.end = lambda time: "250 ok"
    await world.until_empty()
    assert len(remote.kept) == 1


async def test_both_kinds_of_ip_are_tried(world: World) -> None:
    remote = await world.remote()
    other = await world.remote("mx.far.test", "::1")
    world.dns.add("mx.far.test AAAA ::1")
    world.families = (6, 4)
    world.build()
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert (len(other.kept), len(remote.kept)) == (1, 0)
    other.close()
    await world.hand_on.close()
    await world.enqueue(2, "a@far.test")
    await world.sender.step()
    assert (len(other.kept), len(remote.kept)) == (1, 1)


@BOTH
async def test_what_became_of_it_is_written_however_long_it_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk after the message was sent must not send it twice."""
    remote = await world.remote()
    world.build()
    monkeypatch.setattr(sender, "_DATABASE_S", 0.0)
    settle, times = world.queue.settle, []

    async def full(*args: Any) -> None:
        times.append(1)
        if len(times) < 4:
            raise Unavailable(Unready.DISK_FULL)
        await settle(*args)

    monkeypatch.setattr(world.queue, "settle", full)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert len(times) == 4
    assert len(remote.kept) == 1
    assert await world.queue.totals() == (0, 0, None)


async def test_the_worker_wakes_stops_and_begins_again(world: World) -> None:
    """The loop itself: it hears of what comes, and gives nothing up when it is stopped."""
    remote = await world.remote(behaviour=Behaviour(wait_s=0.01))
    world.build()
    worker = asyncio.create_task(world.sender.run())
    await world.enqueue(1, "a@far.test")
    await remote.until(lambda: bool(remote.kept))
    for n in range(2, 8):
        await world.enqueue(n, "a@far.test")
    await remote.until(lambda: remote.open >= 2)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    assert world.sender.running == 0
    world.build()
    worker = asyncio.create_task(world.sender.run())
    await remote.until(lambda: len(remote.kept) == 7)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    assert await world.queue.totals() == (0, 0, None)
    assert sorted(remote.copies().values()) == [1] * 7


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_answer_is_survived(world: World, seed: int) -> None:
    """Replies cut, doubled, changed: no exception escapes, and the message waits or ends."""
    dice = random.Random(seed)
    remote = await world.remote()
    world.times = Times(0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.05)
    world.build()
    say = _Talk.say

    async def spoiled(talk: _Talk, text: str) -> None:
        raw = bytearray(text.encode() + b"\r\n")
        if dice.random() < 0.4:
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        if dice.random() < 0.2:
            raw *= 2
        if dice.random() < 0.1:
            del raw[dice.randrange(len(raw)) :]
        talk.writer.write(bytes(raw))

    _Talk.say = spoiled  # type: ignore[method-assign]
    try:
        await world.enqueue(1, "a@far.test", "b@far.test")
        await world.sender.step()
    finally:
        _Talk.say = say  # type: ignore[method-assign]
    for (listed,) in [await world.queue.listing()] if await world.queue.next_due_ms() else []:
        assert all(answer != "an error in our server" for _, _, _, answer in listed.recipients)
    remote.behaviour.drop = ""
    await world.until_empty()
    told = b"".join(await world.reports())
    for to in ("a@far.test", "b@far.test"):
        arrived = ("m1@remote.test", to) in remote.copies()
        assert arrived or f"rfc822; {to}".encode() in told
