"""Search finds what reading every message would find: loose, in pages, copied, damaged."""

from __future__ import annotations

import random

import pytest

from kerwen.mail import match
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.flags import Flags
from kerwen.mail.match import (
    And,
    Body,
    Candidate,
    Day,
    Flagged,
    Header,
    Key,
    Not,
    Op,
    Or,
    Text,
    When,
)
from kerwen.mail.message import scan
from kerwen.mail.render import render
from kerwen.mail.store import tags
from kerwen.mail.store.segment import Flag
from kerwen.storage.sql import sql
from tests.mail_store.house import House, letter

SPOIL = sql("update mail_page_boxes set box = :box where kind = :kind")
WORDS = (  # noqa: SIM905
    "alpha beta gamma delta Gutlaýaryn çäge şäher привет договор Überraschung naïve straße"
    " report invoice 2023 ref-000123 x-ray"
).split()


def sentence(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(count))


def message(chance: random.Random, n: int) -> bytes:
    return letter(n, sentence(chance, 3), sentence(chance, 12) + f" unique{n}").replace(
        b"MIME-Version", f"X-Label: label {n % 5}\r\nMIME-Version".encode()
    )


async def fill(house: House, chance: random.Random) -> list[tuple[int, bytes]]:
    """Loose ones, a page, copies in the same mailbox; (no, raw) by place."""
    for n in range(12):
        house.clock.now += 3_600_000 * 5
        await house.deliver(message(chance, n), 1)
    some = [
        Item(sealing.make(message(chance, 100 + n)), date_s=1_600_000_000 + n * 40_000)
        for n in range(40)
    ]
    await house.mail.append.run(1, "INBOX", some)
    box = await house.mail.mailboxes.find(1, "INBOX")
    await house.mail.copy.run(1, box.mailbox_no, [(5, 20)], "INBOX")
    for uids, flags, words in (
        ([(1, 30)], Flag.SEEN, ("Work",)),
        ([(20, 60)], Flag.FLAGGED, ("$Forwarded",)),
    ):
        await house.mail.store_flags.run(1, box.mailbox_no, uids, Wanted(How.ADD, flags, words))
    view = await house.view(1)
    with await house.open(1) as lease:
        raws = await house.mail.records.messages(lease.unlocked, list(view.nos))
    found = []
    for no in view.nos:
        raw = raws[no]
        assert isinstance(raw, bytes)
        found.append((no, raw))
    return found


async def expected(house: House, key: Key, every: list[tuple[int, bytes]]) -> list[int]:
    """By the predicate, with everything known of each message."""
    view = await house.view(1)
    names = await _keywords(house)
    ask = match.predicate(key, house.clock())
    found = []
    for place, (no, raw) in enumerate(every):
        one = view[place]
        made = render(raw)
        flags = Flags(one.flags, tuple(n for at, n in enumerate(names) if one.keywords >> at & 1))
        candidate = Candidate(
            place + 1,
            one.uid,
            flags,
            one.date * 1000,
            one.size,
            one.modseq,
            one.saved * 1000,
            house.mail.tags.email_ids(1, [no])[0],
            tags.thread_id(one.thread),
            made.sent_day,
            made.words,
            raw[: scan(raw).body],
            raw,
        )
        if ask(candidate):
            found.append(place)
    return found


async def _keywords(house: House) -> list[str]:
    from kerwen.mail.store import mailboxes

    async with house.db.read() as snap:
        return await mailboxes.keywords(snap, 1)


def keys(chance: random.Random) -> list[Key]:
    word = chance.choice(WORDS)
    pair = sentence(chance, 2)
    part = word[1:4]
    return [
        Header(b"subject", word),
        Header(b"subject", part),
        Header(b"subject", pair),
        Header(b"from", "AYNA"),
        Header(b"to", "nobody"),
        Header(b"cc", ""),
        Header(b"x-label", "label 3"),
        Header(b"message-id", "m10"),
        Body(word),
        Body(part),
        Body(pair),
        Body("unique10"),
        Body("-"),
        Text("label 2"),
        Text("m103"),
        Text(pair),
        Text(word),
        Text("kerwen.test"),
        Flagged("\\Seen"),
        Flagged("\\Flagged", False),
        Flagged("work"),
        Flagged("nothing"),
        Flagged("$Forwarded", False),
        Day(When.INTERNAL, Op.SINCE, 18_520),
        Day(When.SENT, Op.ON, 19_675),
        Day(When.SENT, Op.BEFORE, 19_675),
        Day(When.SAVED, Op.BEFORE, 30_000),
        match.Size(480, larger=True),
        match.Within(3_600_000 // 1000 * 24, younger=True),
        match.Changed(20),
        match.Numbers(((3, 9), (40, 41)), uid=False),
        match.Numbers(((3, 9), (60, 99)), uid=True),
        match.All(),
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_search_finds_what_reading_finds(house: House, seed: int) -> None:
    chance = random.Random(seed)
    every = await fill(house, chance)
    view = await house.view(1)
    asked = keys(chance)
    for _ in range(25):
        one, two, three = chance.sample(asked, 3)
        asked += [And((one, two)), Or(one, Not(three)), Not(And((two, Or(one, three))))]
    with await house.open(1) as lease:
        for key in asked:
            got = await house.mail.search.run(lease.unlocked, view, key)
            assert got == await expected(house, key, every), key


async def test_ids(house: House) -> None:
    chance = random.Random(1)
    every = await fill(house, chance)
    view = await house.view(1)
    email_id = house.mail.tags.email_ids(1, [every[3][0]])[0]
    assert house.mail.tags.message_no(1, email_id) == every[3][0]
    assert house.mail.tags.message_no(2, email_id) is None
    assert house.mail.tags.message_no(1, "Mnonsense") is None
    with await house.open(1) as lease:
        for key in (
            match.Id(email_id, thread=False),
            match.Id(tags.thread_id(view[4].thread), thread=True),
            match.Id("T1", thread=True),
        ):
            got = await house.mail.search.run(lease.unlocked, view, key)
            assert got == await expected(house, key, every)


@pytest.mark.parametrize("kind", ["find", "word", "head"])
async def test_a_damaged_page_is_searched_by_its_messages(house: House, kind: str) -> None:
    chance = random.Random(5)
    every = await fill(house, chance)
    async with house.db.write() as tx:
        await tx.run(SPOIL, box=b"\x02" + bytes(60), kind=kind)
    view = await house.view(1)
    with await house.open(1) as lease:
        for key in (Header(b"subject", "report"), Body("unique110"), Text("label 2")):
            got = await house.mail.search.run(lease.unlocked, view, key)
            assert got == await expected(house, key, every), (kind, key)
