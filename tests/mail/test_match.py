"""SEARCH: what matches, what does not, and what cannot be told yet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail import match
from kerwen.mail.flags import Flags, System
from kerwen.mail.match import (
    All,
    And,
    Body,
    Candidate,
    Changed,
    Day,
    Flagged,
    Header,
    Id,
    Key,
    Needs,
    Not,
    Numbers,
    Op,
    Or,
    Size,
    Text,
    When,
    Within,
)
from kerwen.mail.render import render

DAY = 86_400_000
NOW = 20_000 * DAY
RAW = """\
From: Aýna Orazowa <ayna@kerwen.example>
To: batyr@kerwen.example
Cc: =?koi8-r?B?6dfBzg==?= <ivan@x.example>
Subject: =?utf-8?q?Re=3A_t=C3=A4ze_hasabat=2D2026?=
Date: Tue, 24 Nov 2026 23:30:00 -0500
Message-ID: <unique-id@kerwen.example>
X-Odd: =?utf-8?q?g=C3=B6rn=C3=BCksiz?=
Content-Type: text/plain; charset=utf-8

Salam, Batyr! Hasabaty iberýärin. Договор не подписан.
""".replace("\n", "\r\n").encode()
MADE = render(RAW)


def candidate(**loaded: Any) -> Candidate:
    return Candidate(
        number=7,
        uid=70,
        flags=Flags(System.SEEN | System.FLAGGED, ("$Forwarded", "work")),
        internal_ms=NOW - 100_000,
        size=len(RAW),
        modseq=55,
        email_id="E7",
        thread_id="T3",
        sent_day=MADE.sent_day,
        **loaded,
    )


RECORD = {"words": MADE.words}
HEADER = RECORD | {"header": RAW[: MADE.header_end]}
ALL = HEADER | {"message": RAW}
sent = MADE.sent_day or 0

CLEAR: list[tuple[Key, bool]] = [
    (All(), True),
    (Numbers(((1, 3), (7, 9)), uid=False), True),
    (Numbers(((1, 3), (8, 9)), uid=False), False),
    (Numbers(((1, 3), (70, 70)), uid=True), True),
    (Numbers((), uid=True), False),
    (Flagged("\\Seen"), True),
    (Flagged("\\SEEN", False), False),
    (Flagged("\\Deleted"), False),
    (Flagged("\\Recent"), False),
    (Flagged("WORK"), True),
    (Flagged("$forwarded", False), False),
    (Flagged("other"), False),
    (Day(When.INTERNAL, Op.ON, 19_999), True),
    (Day(When.INTERNAL, Op.BEFORE, 19_999), False),
    (Day(When.INTERNAL, Op.SINCE, 19_999), True),
    (Day(When.SENT, Op.ON, sent), True),
    (Day(When.SENT, Op.ON, sent + 1), False),
    (Day(When.SAVED, Op.SINCE, 19_999), True),
    (Size(len(RAW), larger=True), False),
    (Size(len(RAW) - 1, larger=True), True),
    (Size(len(RAW) + 1, larger=False), True),
    (Within(100, younger=True), True),
    (Within(99, younger=True), False),
    (Within(100, younger=False), True),
    (Within(101, younger=False), False),
    (Changed(55), True),
    (Changed(56), False),
    (Id("E7", thread=False), True),
    (Id("T3", thread=True), True),
    (Id("T3", thread=False), False),
]


@pytest.mark.parametrize(("key", "verdict"), CLEAR)
def test_what_stands_in_clear(key: Key, verdict: bool) -> None:
    one = candidate()
    assert match.predicate(key, NOW)(one) is verdict
    assert match.predicate(Not(key), NOW)(one) is not verdict
    asked = match.needs(key)
    assert asked == (Needs.RECORD if isinstance(key, Day) and key.when is When.SENT else 0)


def test_a_message_without_a_date_was_sent_on_no_day() -> None:
    one = Candidate(1, 1, Flags(), NOW, 1)
    for op in Op:
        assert match.predicate(Day(When.SENT, op, 0), NOW)(one) is False


# what the record tells, what the header adds, what the message proves
TEXTS: list[tuple[Key, bool | None, bool | None, bool]] = [
    (Header(b"subject", "TAZE"), True, True, True),
    (Header(b"subject", "äze"), True, True, True),
    (Header(b"subject", "täze hasabat"), None, True, True),
    (Header(b"subject", "hasabat-2026"), None, True, True),
    (Header(b"subject", "hasabat 2026"), None, False, False),  # a sign stands between
    (Header(b"subject", "hasabat2026"), False, False, False),
    (Header(b"subject", "nothing"), False, False, False),
    (Header(b"subject", ""), None, True, True),
    (Header(b"from", "ayna"), True, True, True),
    (Header(b"from", "ayna@kerwen"), None, True, True),
    (Header(b"to", "ayna"), False, False, False),
    (Header(b"cc", "иван"), True, True, True),
    (Header(b"bcc", ""), None, False, False),
    (Header(b"message-id", "<unique-id@kerwen.example>"), None, True, True),
    (Header(b"message-id", "<other-id@kerwen.example>"), None, False, False),
    (Header(b"x-odd", "gornuksiz"), None, True, True),
    (Header(b"x-odd", ""), None, True, True),
    (Header(b"x-none", ""), None, False, False),
    (Body("iberyarin"), True, True, True),
    (Body("yari"), True, True, True),
    (Body("salam, batyr!"), None, None, True),
    (Body("salam batyr"), None, None, False),
    (Body("не подписан."), None, None, True),
    (Body("договор подписан"), None, None, False),
    (Body("taze"), False, False, False),
    (Body(""), True, True, True),
    (Body("!"), None, None, True),
    (Body("?"), None, None, False),
    (Text("hasabaty"), True, True, True),
    (Text("taze"), True, True, True),
    (Text("gornuksiz"), None, True, True),
    (Text("salam, batyr"), None, None, True),
    (Text("nowhere"), None, False, False),
    (Text("x-odd"), None, True, True),
]


@pytest.mark.parametrize(("key", "record", "header", "message"), TEXTS)
def test_texts(key: Key, record: bool | None, header: bool | None, message: bool) -> None:
    ask = match.predicate(key, NOW)
    assert ask(candidate(**RECORD)) is record
    assert ask(candidate(**HEADER)) is header
    assert ask(candidate(**ALL)) is message
    assert match.needs(key)


def test_nothing_loaded_is_nothing_told() -> None:
    for key, *_ in TEXTS:
        if getattr(key, "text", ""):
            assert match.predicate(key, NOW)(candidate()) is None


def test_words_that_were_cut_leave_it_open() -> None:
    cut = MADE.words.__class__("", "", "", "", "", "\na\n", True)
    assert match.predicate(Body("b"), NOW)(candidate(words=cut)) is None


def test_a_field_that_was_cut_leaves_it_open() -> None:
    raw = b"To: " + b"a@b.example,\r\n " * 500 + b"last@c.example\r\n\r\n"
    made = render(raw)
    ask = match.predicate(Header(b"to", "last"), NOW)
    one = Candidate(1, 1, Flags(), 0, 1, words=made.words)
    assert ask(one) is None
    one.header = raw
    assert ask(one) is True


UNKNOWN = Body("not loaded")
LOGIC: list[tuple[Key, bool | None]] = [
    (And((All(), UNKNOWN)), None),
    (And((Not(All()), UNKNOWN)), False),
    (And((UNKNOWN, Not(All()))), False),
    (And((All(), All())), True),
    (And((All(),)), True),
    (Or(All(), UNKNOWN), True),
    (Or(UNKNOWN, All()), True),
    (Or(Not(All()), UNKNOWN), None),
    (Or(UNKNOWN, Not(All())), None),
    (Or(Not(All()), Not(All())), False),
    (Not(UNKNOWN), None),
]


@pytest.mark.parametrize(("key", "verdict"), LOGIC)
def test_logic_with_the_unknown(key: Key, verdict: bool | None) -> None:
    assert match.predicate(key, NOW)(candidate()) is verdict
    assert match.needs(key) == (Needs.RECORD | Needs.MESSAGE if UNKNOWN in parts(key) else 0)


def parts(key: Key) -> list[Key]:
    inner = [*getattr(key, "keys", ()), *(getattr(key, n, None) for n in ("left", "right", "key"))]
    return [key] + [below for one in inner if one is not None for below in parts(one)]


def test_cheap_keys_are_asked_first() -> None:
    asked: list[str] = []

    class Spy(Candidate):
        def __getattribute__(self, name: str) -> object:
            asked.append(name)
            return super().__getattribute__(name)

    one = Spy(1, 1, Flags(), 0, 1)
    assert match.predicate(And((Body("x"), Flagged("\\Seen"))), NOW)(one) is False
    assert "words" not in asked


WORDS = ["salam", "Batyr", "Ýaz", "Договор", "a-b", "c.", "x y", "№ 5"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=8), st.data())
def test_the_record_never_contradicts_the_message(chosen: list[str], data: st.DataObject) -> None:
    body = " ".join(chosen)
    raw = f"Subject: s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n".encode()
    made = render(raw)
    other = data.draw(st.sampled_from(WORDS))
    start = data.draw(st.integers(0, len(body)))
    asked = data.draw(st.sampled_from([body[start : start + 6], other, other[1:], body]))
    ask = match.predicate(Body(asked), NOW)
    by_record = ask(Candidate(1, 1, Flags(), 0, 1, words=made.words))
    by_message = ask(Candidate(1, 1, Flags(), 0, 1, message=raw))
    assert by_message is not None
    assert by_record in (None, by_message)
