"""The queue: durable, sealed, by destination, settled once."""

from __future__ import annotations

import pytest

from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.mail import retry
from kerwen.mail.actions.queue import (
    AT_ONCE_PER_DESTINATION,
    LEASE_MS,
    Addressee,
    Envelope,
    Leased,
    Queue,
    Result,
    Verdict,
)
from kerwen.storage.sql import sql
from tests.mail_store.house import House, letter

HOUR = 3_600_000


async def named(house: House) -> House:
    """Account 1 is called batyr, 2 is called ayna and an administrator."""
    async with house.db.write() as tx:
        await accounts.add(tx, 1, "batyr", 0, admin=False)
        await accounts.add(tx, 2, "ayna", 0, admin=True)
    return house


def results(leased: Leased, verdict: Verdict, status: str, answer: str = "said so") -> list[Result]:
    return [Result(no, verdict, status, answer, "mx.far.test") for no in leased.recipients]


async def take(queue: Queue) -> Leased:
    found = await queue.lease()
    assert found is not None
    return found


@pytest.mark.parametrize("size", [0, 200_000])
async def test_a_message_goes_out_once_and_leaves_nothing(house: House, size: int) -> None:
    queue, raw = house.mail.queue, letter(1, pad=size)
    queue_no = await queue.enqueue(
        Envelope("batyr@kerwen.test", "env1"),
        [Addressee("a@far.test"), Addressee("b@far.test"), Addressee("c@other.test")],
        raw,
    )
    assert queue.news.is_set()
    first, second = await take(queue), await take(queue)
    assert {first.domain, second.domain} == {"far.test", "other.test"}
    far = first if first.domain == "far.test" else second
    assert [to.address for to in far.recipients.values()] == ["a@far.test", "b@far.test"]
    assert far.envelope == Envelope("batyr@kerwen.test", "env1")
    assert await queue.message(queue_no) == raw
    assert await queue.lease() is None, "all of it is on its way"
    await queue.settle(first, results(first, Verdict.DELIVERED, "2.0.0"))
    assert await queue.totals() == (1, len(raw), house.clock.now)
    await queue.settle(second, results(second, Verdict.RELAYED, "2.0.0"))
    assert await queue.totals() == (0, 0, None)
    assert [f for f in (house.folder / "blobs").rglob("*") if f.is_file()] == []
    with pytest.raises(Refused) as caught:
        await queue.message(queue_no)
    assert caught.value.reason is Reason.NOT_FOUND
    assert len(await house.view(1)) == 0


async def test_a_failure_comes_back_once(house: House) -> None:
    await named(house)
    queue = house.mail.queue
    await queue.enqueue(
        Envelope("batyr@kerwen.test"), [Addressee("a@far.test"), Addressee("b@far.test")], letter(1)
    )
    leased = await take(queue)
    one, two = leased.recipients
    told = [
        Result(one, Verdict.FAILED, "5.1.1", "550 5.1.1 who is that", "mx.far.test"),
        Result(two, Verdict.DEFERRED, "4.2.0", "451 later", "mx.far.test"),
    ]
    write = queue._write

    async def crash(*args: object) -> None:
        raise RuntimeError("the power went")

    queue._write = crash  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError):
        await queue.settle(leased, told)
    queue._write = write  # type: ignore[method-assign]
    await queue.settle(leased, told)
    view = await house.view(1)
    assert len(view) == 1, "told once, though it was settled twice"
    text = await house.read(1, view.nos[0])
    assert b"Final-Recipient: rfc822; a@far.test" in text
    assert b"Status: 5.1.1" in text
    assert b"b@far.test" not in text
    assert text.startswith(b"Return-Path: <>\r\n")
    (listed,) = await queue.listing()
    assert [(to, tries, answer) for to, tries, _, answer in listed.recipients] == [
        ("b@far.test", 1, "451 later")
    ]


async def test_it_waits_longer_and_longer_then_comes_back(house: House) -> None:
    await named(house)
    queue, start = house.mail.queue, house.clock.now
    await queue.enqueue(Envelope("batyr@kerwen.test"), [Addressee("a@far.test")], letter(1))
    tries = 0
    while (due := await queue.next_due_ms()) is not None:
        assert due >= house.clock.now
        house.clock.now = due
        leased = await take(queue)
        tries += 1
        assert leased.tries == tries - 1
        await queue.settle(leased, results(leased, Verdict.DEFERRED, "4.4.1", "no answer"))
    assert house.clock.now == start + retry.LIFE_MS
    assert 20 < tries < 60
    view = await house.view(1)
    reports = [await house.read(1, no) for no in view.nos]
    assert [b"Action: delayed" in one for one in reports] == [True, False]
    assert b"Action: failed" in reports[1]
    assert b"Status: 5.4.1" in reports[1]
    assert view.dates[0] * 1000 - start == 4 * HOUR


async def test_nobody_is_told_who_wants_no_word(house: House) -> None:
    await named(house)
    queue = house.mail.queue
    never = frozenset({"NEVER"})
    for envelope, to in (
        (Envelope(""), Addressee("a@far.test")),
        (Envelope("batyr@kerwen.test"), Addressee("a@far.test", never)),
        (Envelope("batyr@kerwen.test"), Addressee("a@far.test", frozenset({"SUCCESS"}))),
    ):
        await queue.enqueue(envelope, [to], letter(1))
        leased = await take(queue)
        await queue.settle(leased, results(leased, Verdict.FAILED, "5.0.0"))
    assert len(await house.view(1)) == 0
    assert await queue.totals() == (0, 0, None)
    success = Addressee("a@far.test", frozenset({"SUCCESS"}))
    await queue.enqueue(Envelope("batyr@kerwen.test"), [success], letter(1))
    leased = await take(queue)
    await queue.settle(leased, results(leased, Verdict.RELAYED, "2.0.0"))
    assert len(await house.view(1)) == 1


async def test_leases_end_and_destinations_share(house: House) -> None:
    queue = house.mail.queue
    for n in range(AT_ONCE_PER_DESTINATION + 2):
        await queue.enqueue(Envelope("s@kerwen.test"), [Addressee(f"a{n}@far.test")], letter(n))
    await queue.enqueue(Envelope("s@kerwen.test"), [Addressee("a@other.test")], letter(99))
    taken = [await take(queue) for _ in range(AT_ONCE_PER_DESTINATION + 1)]
    assert [one.domain for one in taken].count("far.test") == AT_ONCE_PER_DESTINATION
    assert [one.domain for one in taken].count("other.test") == 1
    assert await queue.lease() is None
    await queue.renew(taken[0])
    house.clock.now += LEASE_MS + 1
    again = await take(queue)
    assert again.queue_no in [one.queue_no for one in taken], "a lease that ended is taken again"
    await queue.begin()
    assert await queue.lease() is not None


@pytest.mark.parametrize("waiting", [5, 70])
async def test_the_longest_waiting_comes_first_whatever_waits_elsewhere(
    house: House, waiting: int
) -> None:
    queue = house.mail.queue
    for n in range(AT_ONCE_PER_DESTINATION + waiting):
        await queue.enqueue(Envelope("s@kerwen.test"), [Addressee("a@far.test")], letter(n))
    house.clock.now += 1
    for name in ("b", "a", "c"):
        await queue.enqueue(
            Envelope("s@kerwen.test"), [Addressee(f"x@{name}.test")], letter(ord(name))
        )
        house.clock.now += 1
    taken = [(await take(queue)).domain for _ in range(AT_ONCE_PER_DESTINATION + 3)]
    assert taken == ["far.test"] * AT_ONCE_PER_DESTINATION + ["b.test", "a.test", "c.test"]
    assert await queue.lease() is None


async def test_what_is_held_waits_until_it_is_named(house: House) -> None:
    queue = house.mail.queue
    queue_no = await queue.enqueue(
        Envelope("s@kerwen.test"), [Addressee("a@far.test"), Addressee("b@other.test")], letter(1)
    )
    leased = await take(queue)
    assert await queue.hold(queue_no) == 2
    assert await queue.lease() is None
    await queue.settle(leased, results(leased, Verdict.DEFERRED, "4.4.1"))
    house.clock.now += 30 * 24 * HOUR
    assert await queue.lease() is None, "it is held though it was under way"
    assert await queue.next_due_ms() is None
    assert await queue.retry() == 0
    (listed,) = await queue.listing()
    assert {due for _, _, due, _ in listed.recipients} == {0}
    assert await queue.retry(queue_no) == 2
    assert {(await take(queue)).domain for _ in range(2)} == {"far.test", "other.test"}
    for wrong in (queue.hold(queue_no + 1), queue.retry(queue_no + 1)):
        with pytest.raises(Refused):
            await wrong


async def test_a_damaged_envelope_is_set_aside_alone(house: House) -> None:
    queue = house.mail.queue
    for n in range(2):
        await queue.enqueue(Envelope("s@kerwen.test"), [Addressee("a@far.test")], letter(n))
        if n == 0:
            async with house.db.write() as tx:
                await tx.run(sql("update mail_queue set head = :head"), head=b"\x01" + bytes(80))
        house.clock.now += 1
    leased = await take(queue)
    assert await queue.message(leased.queue_no) == letter(1)
    assert await queue.lease() is None
    assert [one.sender for one in await queue.listing()] == ["(damaged)", "s@kerwen.test"]


async def test_retry_and_drop(house: House) -> None:
    queue = house.mail.queue
    numbers = [
        await queue.enqueue(Envelope("s@kerwen.test"), [Addressee("a@far.test")], letter(n))
        for n in range(2)
    ]
    for _ in numbers:
        leased = await take(queue)
        await queue.settle(leased, results(leased, Verdict.DEFERRED, "4.4.1"))
    assert await queue.lease() is None
    assert await queue.retry(numbers[1]) == 1
    assert (await take(queue)).queue_no == numbers[1]
    await queue.drop(numbers[1])
    with pytest.raises(Refused):
        await queue.drop(numbers[1])
    assert [one.queue_no for one in await queue.listing()] == numbers[:1]
    assert await queue.retry() == 1


async def test_a_damaged_message_is_told_as_such(house: House) -> None:
    await named(house)
    queue = house.mail.queue
    queue_no = await queue.enqueue(
        Envelope("batyr@kerwen.test"), [Addressee("a@far.test")], letter(1)
    )
    async with house.db.write() as tx:
        await tx.run(sql("update mail_queue set body = :body"), body=b"\x01" + bytes(80))
    leased = await take(queue)
    with pytest.raises(Refused) as caught:
        await queue.message(queue_no)
    assert caught.value.reason is Reason.BOX_DAMAGED
    await queue.settle(leased, results(leased, Verdict.FAILED, "5.3.0"))
    assert len(await house.view(1)) == 1


async def test_nothing_of_it_stands_in_clear(house: House) -> None:
    queue = house.mail.queue
    raw = letter(1, "SECRETSUBJECT", "SECRETBODY")
    await queue.enqueue(Envelope("secretsender@kerwen.test"), [Addressee("secretto@far.test")], raw)
    async with house.db.read() as snap:
        rows = await snap.all(sql("select head, body from mail_queue order by queue_no"))
        rows += await snap.all(
            sql("select address, destination from mail_queue_recipients order by recipient_no")
        )
    for row in rows:
        for value in row:
            if isinstance(value, bytes):
                assert b"secret" not in value.lower()
                assert b"far.test" not in value
