"""The small rules of mail as tables: flags, threads, retries, trace fields, results, reports."""

from __future__ import annotations

import email
import email.policy
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import auth_results, dsn, fields, flags, message, retry, threads, trace
from kerwen.mail.auth_results import Result
from kerwen.mail.dsn import Action, Outcome, Report
from kerwen.mail.flags import Flags, System
from kerwen.mail.render import subject_of, threading
from kerwen.mail.threads import Node, Threaded

# --- flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "rendered"),
    [
        ([], b""),
        (["\\seen", "\\DELETED"], b"\\Seen \\Deleted"),
        (["\\Seen", "Work", "\\Recent", "$forwarded", "work"], b"\\Seen $Forwarded Work"),
        (["\\Answered", "\\Flagged", "\\Draft"], b"\\Answered \\Flagged \\Draft"),
        (["b", "A"], b"A b"),
    ],
)
def test_flags(names: list[str], rendered: bytes) -> None:
    assert flags.parse(names).render() == rendered


@pytest.mark.parametrize(
    "name", ["\\Unknown", "\\", "a b", "ключ", "a(", 'a"', "", "x" * 101, "a]"]
)
def test_what_is_no_flag(name: str) -> None:
    with pytest.raises(Refused) as caught:
        flags.parse([name])
    assert caught.value.reason is Reason.BAD_FLAG


def test_too_many_keywords() -> None:
    with pytest.raises(Refused):
        flags.parse(map(str, range(limits.KEYWORDS_MAX + 1)))


NAMES = st.lists(st.sampled_from(["\\Seen", "\\Deleted", "a", "A", "b", "$Junk", "$junk"]))


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES)
def test_adding_and_removing(old: list[str], new: list[str]) -> None:
    before, change = flags.parse(old), flags.parse(new)
    more, less = flags.added(before, change), flags.removed(before, change)
    for name in ("\\Seen", "\\Deleted", "a", "b", "$Junk"):
        assert more.has(name) == (before.has(name) or change.has(name))
        assert less.has(name) == (before.has(name) and not change.has(name))
    assert flags.added(before, before) == before
    assert set(before.keywords) <= set(more.keywords)  # the capitals of the first stay


def test_keywords_of_jmap() -> None:
    some = Flags(System.SEEN | System.DELETED, ("$Forwarded", "Work"))
    assert some.jmap() == {"$seen": True, "$forwarded": True, "work": True}
    back = flags.from_jmap(some.jmap())
    assert back == Flags(System.SEEN, ("$Forwarded", "work"))
    with pytest.raises(Refused):
        flags.from_jmap(["a b"])


# --- threads ------------------------------------------------------------------------------------

SUBJECTS = [
    ("Salam", "Salam", False),
    ("Re: Salam", "Salam", True),
    ("RE : fw: Fwd:Salam", "Salam", True),
    ("Re[2]: Salam", "Salam", True),
    ("Re(3): Salam", "Salam", True),
    ("[list] Re: [list] Salam", "Salam", True),
    ("[list] Salam", "Salam", False),
    ("[list]", "[list]", False),
    ("[a] [b]", "[b]", False),
    ("Salam (fwd)", "Salam", True),
    ("Salam (FWD) (fwd)", "Salam", True),
    ("[Fwd: Re: Salam]", "Salam", True),
    ("Ответ: Отв: На: Пересл: Привет", "Привет", True),
    ("Regarding: this", "Regarding: this", False),
    ("  two \t words ", "two words", False),
    ("Re:", "", True),
    ("", "", False),
    ("Re: Re: [x] Fwd[y]: [z] a", "a", True),
]


@pytest.mark.parametrize(("subject", "base", "reply"), SUBJECTS)
def test_base_subjects(subject: str, base: str, reply: bool) -> None:
    assert threads.base_of(subject) == (base, reply)


def test_base_subjects_take_bounded_time() -> None:
    before = time.process_time()
    for hurting in ("re:" * 100_000, "[" * 100_000, "[a]" * 100_000, "(fwd)" * 100_000):
        threads.base_of(hurting)
    assert time.process_time() - before < 0.5


def test_what_decides_the_thread() -> None:
    read = fields.read(
        b"Message-ID: (c) <own@x>\r\nReferences: <a@x> junk <b @x>\r\n <a@x>\r\n"
        b"In-Reply-To: Your message <c@x>\r\nSubject: =?utf-8?q?Re=3A_x?=\r\n"
    )
    found = threading(read, subject_of(read))
    assert found.id == b"own@x"
    assert found.references == (b"a@x", b"b@x", b"c@x")
    assert (found.subject, found.is_reply) == ("x", True)
    assert threads.message_id(fields.read(b"Message-ID: bare@x\r\n")) == b"bare@x"
    assert threads.message_id({}) is None


def one(number: int, own: str | None, refs: str = "", subject: str = "", date: int = 0) -> Threaded:
    base, reply = threads.base_of(subject)
    references = tuple(ref.encode() for ref in refs.split())
    return Threaded(number, date or number, own and own.encode(), references, base, reply)  # type: ignore[arg-type]


THREADS = [
    ([], b""),
    ([one(1, "a")], b"(1)"),
    ([one(1, "a"), one(2, "b", "a"), one(3, "c", "a b")], b"(1 2 3)"),
    ([one(1, "a"), one(2, "b", "a"), one(3, "c", "a")], b"(1 (2)(3))"),
    ([one(2, "b", "a"), one(3, "c", "a")], b"((2)(3))"),  # the first one is not here
    ([one(2, "b", "a")], b"(2)"),
    ([one(3, "c", "a b"), one(1, "a")], b"(1 3)"),  # a place in between is not here
    ([one(1, "a"), one(2, "a")], b"(1)(2)"),  # two of one id
    ([one(1, "a", "b"), one(2, "b", "a")], b"(2 1)"),  # a ring
    ([one(1, "a", "a")], b"(1)"),
    ([one(1, None), one(2, None)], b"(1)(2)"),
    ([one(1, "a", subject="x"), one(2, "b", subject="Re: x")], b"(1 2)"),
    ([one(1, "a", subject="x"), one(2, "b", subject="x")], b"((1)(2))"),
    ([one(1, "a", date=9), one(2, "b", date=8)], b"(2)(1)"),
    # RFC 5256 §4: the shape of its example
    (
        [one(2, "q"), one(3, "a"), one(6, "b", "a"), one(4, "c", "a b"), one(23, "d", "a b c"),
         one(44, "e", "a b"), one(7, "f", "a b e"), one(96, "g", "a b e f")],
        b"(2)(3 6 (4 23)(44 7 96))",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "rendered"), THREADS)
def test_threads_by_references(messages: list[Threaded], rendered: bytes) -> None:
    assert threads.render(threads.by_references(messages)) == rendered


def test_threads_by_subject() -> None:
    some = [one(1, "a", subject="x"), one(2, "b", subject="y"), one(3, "c", subject="Re: x"),
            one(4, "d", subject="x")]  # fmt: skip
    assert threads.render(threads.by_subject(some)) == b"(1 (3)(4))(2)"


IDS = st.sampled_from("abcdef")
SOME = st.sampled_from(["", "x", "Re: x", "y", "Re: y"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.none() | IDS, st.lists(IDS, max_size=4), SOME), max_size=8))
def test_every_message_is_in_one_thread(shape: list[tuple[str | None, list[str], str]]) -> None:
    some = [one(n, own, " ".join(refs), subject) for n, (own, refs, subject) in enumerate(shape, 1)]
    roots = threads.by_references(some)
    assert sorted(numbers(roots)) == [message.number for message in some]
    assert sorted(numbers(threads.by_subject(some))) == [message.number for message in some]
    rendered = threads.render(roots)
    assert rendered.count(b"(") == rendered.count(b")")


def numbers(nodes: list[Node]) -> list[int]:
    found: list[int] = []
    stack = list(nodes)
    while stack:
        node = stack.pop()
        found += [] if node.number is None else [node.number]
        stack += node.children
    return found


def test_a_long_thread_takes_bounded_time() -> None:
    chain = [one(n, f"i{n}", f"i{n - 1}") for n in range(1, 5001)]
    random.Random(1).shuffle(chain)
    before = time.process_time()
    roots = threads.by_references(chain)
    threads.render(roots)
    assert time.process_time() - before < 2
    assert len(numbers(roots)) == 5000


# --- retries ------------------------------------------------------------------------------------


def test_waits_grow_and_end() -> None:
    waits = [retry.wait_ms(attempts, 0.5) for attempts in range(1, 40)]
    assert waits == sorted(waits)
    assert waits[0] == 60_000
    assert max(waits) == 4 * 3_600_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_five_days_of_attempts(chances: list[float]) -> None:
    now, attempts = 0, 0
    while True:
        attempts += 1
        found = retry.next_attempt_ms(0, now, attempts, chances[attempts % len(chances)])
        if found is None:
            break
        assert now < found <= retry.LIFE_MS
        now = found
    assert now == retry.LIFE_MS
    assert 30 < attempts < 60


def test_the_report_of_delay() -> None:
    assert retry.delayed_report_ms(1000, 2000) == 1000 + retry.DELAYED_AFTER_MS
    assert retry.delayed_report_ms(0, retry.DELAYED_AFTER_MS + 1) is None


# --- trace --------------------------------------------------------------------------------------


def arrival(**more: object) -> trace.Arrival:
    told: dict[str, object] = {
        "helo": "mail.x.example", "address": "192.0.2.1", "name": None, "by": "mx.kerwen.example",
        "id": "q1", "at_ms": 1_795_500_000_000,
    }  # fmt: skip
    return trace.Arrival(**(told | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "from mail.x.example ([192.0.2.1]) by mx.kerwen.example with ESMTP id q1;"),
        ({"extended": False}, "with SMTP id"),
        ({"tls": "TLSv1.3"}, "with ESMTPS (TLSv1.3) id"),
        ({"tls": "TLSv1.3", "logged_in": True}, "with ESMTPSA (TLSv1.3) id"),
        ({"utf8": True, "logged_in": True}, "with UTF8SMTPA id"),
        ({"name": "m.x.example"}, "(m.x.example [192.0.2.1])"),
        ({"address": "2001:db8::1"}, "([IPv6:2001:db8::1])"),
        ({"recipient": "a@b.example"}, "id q1 for <a@b.example>;"),
        ({"helo": "evil (x\r\nTo: y"}, "from evil??x??To:?y ("),
        ({"helo": ""}, "from unknown ("),
    ],
)
def test_received(more: dict[str, object], line: str) -> None:
    made = trace.received(arrival(**more))
    assert made.endswith(b"\r\n")
    assert all(len(part) <= 78 for part in made.split(b"\r\n"))
    assert line in " ".join(made.decode().split())
    assert len(fields.read(made)) == 1


def test_loops() -> None:
    hops = b"Received: x\r\n" * limits.RECEIVED_MAX
    assert not trace.is_looping(fields.read(hops))
    assert trace.is_looping(fields.read(hops + b"Received: x\r\n"))
    been = fields.read(trace.delivered_to("Ayna@kerwen.example"))
    assert trace.is_looping(been, "ayna@Kerwen.example")
    assert not trace.is_looping(been, "batyr@kerwen.example")
    assert not trace.is_looping(been)
    assert trace.return_path("") == b"Return-Path: <>\r\n"


# --- Authentication-Results ---------------------------------------------------------------------


def test_results_are_written() -> None:
    results = [
        Result("spf", "pass", (("smtp.mailfrom", "a@b.example"),)),
        Result("dkim", "fail", (("header.d", "b.example"), ("header.b", "ab+/=")), "bad (body)\n"),
        Result("dmarc", "none", (("header.from", 'odd"name'), ("empty", ""))),
    ]
    assert auth_results.build("mx.example", results) == (
        b"Authentication-Results: mx.example;\r\n"
        b"\tspf=pass smtp.mailfrom=a@b.example;\r\n"
        b'\tdkim=fail (bad  body  ) header.d=b.example header.b="ab+/=";\r\n'
        b'\tdmarc=none header.from="odd\\"name"\r\n'
    )
    assert auth_results.build("mx.example", []) == b"Authentication-Results: mx.example; none\r\n"


FORGED = [
    b"Authentication-Results: mx.example; spf=pass\r\n",
    b"AUTHENTICATION-RESULTS : MX.Example 1;\r\n\tdkim=pass\r\n",
    b"authentication-results: (x) mx.example; none\r\n",
    b'Authentication-Results: "mx.example"; none\r\n',
    b"Authentication-Results:\r\n mx.example.; none\r\n",
    b"Authentication-Results: in.mx.example; none\r\n",
]
KEPT = [
    b"Authentication-Results: other.example; spf=pass mx.example\r\n",
    b"Authentication-Results: notmx.example; none\r\n",
    b"X-Authentication-Results: mx.example; none\r\n",
    b"ARC-Authentication-Results: i=1; mx.example; none\r\n",
]


def test_forged_results_go() -> None:
    header = b"A: 1\r\n" + b"".join(f + k for f, k in zip(FORGED, [*KEPT, b"", b""], strict=True))
    clean = auth_results.without_forged(header + b"\r\n", "mx.example")
    assert clean == b"A: 1\r\n" + b"".join(KEPT) + b"\r\n"
    plain = b"Subject: x\r\n\r\n"
    assert auth_results.without_forged(plain, "mx.example") is plain


# --- reports ------------------------------------------------------------------------------------

HEADER = b"From: ayna@kerwen.example\r\nSubject: lost\r\n\r\n"


def report(*outcomes: Outcome, **more: object) -> Report:
    told: dict[str, object] = {
        "host": "mx.kerwen.example", "postmaster": "postmaster@kerwen.example",
        "sender": "ayna@kerwen.example", "outcomes": outcomes, "at_ms": 1_795_500_000_000,
        "arrived_ms": 1_795_400_000_000, "message_id": "r1@kerwen.example", "boundary": "=_b",
        "header": HEADER,
    }  # fmt: skip
    return Report(**(told | more))  # type: ignore[arg-type]


FAILED = Outcome(
    recipient="gone@x.example",
    action=Action.FAILED,
    status="5.1.1",
    original="rfc822;gone@x.example",
    host="mx.x.example",
    answer="550 5.1.1 no such user\r\nEvil: header",
    attempted_ms=1_795_500_000_000,
)


def test_a_report_as_pythons_parser_reads_it() -> None:
    raw = dsn.build(report(FAILED, envelope_id="env1"))
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert read.get_content_type() == "multipart/report"
    assert read["Auto-Submitted"] == "auto-replied"
    assert read["To"] == "ayna@kerwen.example"
    text, status, returned = read.iter_parts()
    assert "gone@x.example" in text.get_content()
    assert [part.get_content_type() for part in (status, returned)] == [
        "message/delivery-status", "text/rfc822-headers"]  # fmt: skip
    whole, recipient = status.get_payload()
    assert whole["Reporting-MTA"] == "dns; mx.kerwen.example"
    assert whole["Original-Envelope-Id"] == "env1"
    assert recipient["Final-Recipient"] == "rfc822; gone@x.example"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user Evil: header"
    assert recipient["Evil"] is None
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert str(message.scan(raw).parts[2].type) == "text/rfc822-headers"


def test_a_report_of_delay_and_a_whole_message() -> None:
    waiting = Outcome(
        recipient="a@x.example", action=Action.DELAYED, status="4.4.1", until_ms=1_795_800_000_000
    )
    raw = dsn.build(report(waiting, message=HEADER + b"the body\r\n"))
    assert b"Subject: Your message is delayed\r\n" in raw
    assert b"Will-Retry-Until: " in raw
    assert b"message/rfc822" in raw
    assert b"the body" in raw


def test_a_report_for_addresses_beyond_ascii() -> None:
    there = Outcome(recipient="мерген@почта.example", action=Action.DELIVERED, status="2.1.5")
    raw = dsn.build(report(there))
    assert b"message/global-delivery-status" in raw
    assert "Final-Recipient: utf-8; мерген@почта.example\r\n".encode() in raw
    assert b"message/global-headers" in raw


@pytest.mark.parametrize(
    ("code", "text", "status"),
    [
        (550, "5.1.1 no such user", "5.1.1"),
        (550, "no such user", "5.0.0"),
        (451, "4.7.1 wait", "4.7.1"),
        (451, "5.7.1 a lie", "4.0.0"),
        (250, "ok", "2.0.0"),
        (354, "?", "5.0.0"),
        (550, "5.1.1.1 no code", "5.0.0"),
    ],
)
def test_status_of_an_answer(code: int, text: str, status: str) -> None:
    assert dsn.status_of(code, text) == status
