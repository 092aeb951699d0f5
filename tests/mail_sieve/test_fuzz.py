"""Any text as a script, and any script on any message: no exception, and an end soon."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail.sieve.checker import check
from kerwen.mail.sieve.lexer import BadScript
from kerwen.mail.sieve.mail import Mail
from kerwen.mail.sieve.outcome import Facts, Outcome
from kerwen.mail.sieve.run import run
from kerwen.mail.sieve.script import Script
from kerwen.mail.sieve.vocabulary import COMMANDS, EXTENSIONS, TESTS, Form, Kind

REQUIRES = "require [" + ",".join(f'"{name}"' for name in sorted(EXTENSIONS)) + "];\n"
PIECES = [
    *COMMANDS, *TESTS, *";;{}{}()[],,",
    *(f":{tag}" for form in TESTS.values() for tag in form.tags),
    '"a"', '"${a}"', '"*?*"', '""', "1", "5G", "text:\na\n.\n", "/* */", "# x\n", '"', "\\",
    "\0", ":",
]  # fmt: skip
WORDS = st.sampled_from(
    ["subject", "from", "x-a", "${a}", "${1}", "*a*", "?*", "", "a@b.example", "Work", "привет",
     "2026-01-01", "${hex:41}", "\\Seen a", "+0500", "year", "gt", "i;octet", "i;ascii-numeric",
     "i;unicode-casemap", "1", "to", "text/html", "INBOX", "name", "lower", "ı", "ß*"]
)  # fmt: skip
MAILS = st.one_of(
    st.binary(max_size=400),
    st.builds(
        lambda fields, body: b"".join(
            name + b": " + value.replace(b"\n", b"") + b"\r\n" for name, value in fields
        )
        + b"\r\n"
        + body,
        st.lists(
            st.tuples(
                st.sampled_from([b"Subject", b"From", b"To", b"X-A", b"Date", b"Content-Type"]),
                st.one_of(
                    st.binary(max_size=60),
                    st.sampled_from([b"a@b.example", b"=?utf-8?q?=FF?=", b"multipart/mixed;"
                                     b" boundary=x", b"Tue, 17 Nov 9999 09:30:00 +2359", b"12"]),
                ),
            ),
            max_size=6,
        ),
        st.binary(max_size=200),
    ),
)  # fmt: skip


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def _argument(draw: st.DrawFn, kind: Kind) -> str:
    if kind is Kind.NUMBER:
        return str(draw(st.sampled_from([0, 1, 2, 5, 2**40])))
    if kind is Kind.STRING:
        return _quoted(draw(WORDS))
    return "[" + ",".join(map(_quoted, draw(st.lists(WORDS, min_size=1, max_size=3)))) + "]"


@st.composite
def _head(draw: st.DrawFn, name: str, form: Form) -> str:
    said = [name]
    groups: set[str] = set()
    for tag, what in draw(st.lists(st.sampled_from(sorted(form.tags.items(), key=lambda t: t[0])),
                                   max_size=3) if form.tags else st.just([])):  # fmt: skip
        if what.group in groups:
            continue
        groups.add(what.group)
        said.append(f":{tag}")
        if what.value is not None:
            said.append(draw(_argument(what.value)))
    said += [draw(_argument(kind)) for _, kind in form.places]
    return " ".join(said)


@st.composite
def _test(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(st.sampled_from(sorted(TESTS)))
    form = TESTS[name]
    head = draw(_head(name, form))
    if form.tests == 0:
        return head
    if depth > 2:
        return "true"
    if form.tests == 1:
        return f"{head} {draw(_test(depth + 1))}"
    inner = draw(st.lists(_test(depth + 1), min_size=1, max_size=3))
    return f"{head} ({', '.join(inner)})"


@st.composite
def _block(draw: st.DrawFn, depth: int = 0) -> str:
    said = []
    for name in draw(st.lists(st.sampled_from(sorted(set(COMMANDS) - {"require"})), max_size=4)):
        form = COMMANDS[name]
        if not form.block:
            said.append(draw(_head(name, form)) + ";")
        elif depth < 3:
            said.append(f"if {draw(_test())} {{ {draw(_block(depth + 1))} }}")
            said.append(f"else {{ {draw(_block(depth + 1))} }}")
    return "\n".join(said)


def _checked(source: str | bytes) -> Script | None:
    try:
        return check(source)
    except BadScript:
        return None


def _ran(script: Script, raw: bytes) -> Outcome:
    seen: dict[bytes, bool] = {}
    while True:
        mail = Mail(raw, "a@b.example", "ayna+x@kerwen.test")
        found = run(script, mail, Facts(0, {"INBOX": "inbox"}, dict(seen)), {"a": script})
        if found.ask is None:
            for filed in found.filed:
                mail.header(filed.header)
            return found
        assert found.ask not in seen
        seen[found.ask] = bool(found.ask[0] & 1)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
@settings(max_examples=200)
def test_any_text(source: bytes | str) -> None:
    script = _checked(source)
    if script is not None:
        _ran(script, b"Subject: x\r\n\r\ny")


@given(st.lists(st.sampled_from(PIECES), max_size=40), MAILS)
@settings(max_examples=200)
def test_any_words(pieces: list[str], raw: bytes) -> None:
    script = _checked(REQUIRES + " ".join(pieces))
    if script is not None:
        _ran(script, raw)


@given(_block(), MAILS)
@settings(max_examples=250)
def test_scripts_that_are_nearly_right(source: str, raw: bytes) -> None:
    script = _checked(REQUIRES + source)
    if script is not None:
        found = _ran(script, raw)
        assert found.fault is None or [one.mailbox for one in found.filed] == [""]


def test_the_worst_that_we_know_ends_soon() -> None:
    """Every limit at once: many steps, long texts, costly patterns."""
    keys = "[" + ",".join(f'"*{n}?x*?y{n}*"' for n in range(200)) + "]"
    tests = f"if body :raw :matches {keys} {{ stop; }}\n"
    tests += f'if header :matches "subject" {keys} {{ stop; }}\n'
    script = check(REQUIRES + (tests * 12)[: 120 * 1024].rpartition("\n")[0])
    raw = b"Subject: " + b"x" * 60_000 + b"\r\n\r\n" + b"ab cd " * 170_000
    start = time.process_time()
    found = _ran(script, raw)
    assert found.fault is not None
    assert time.process_time() - start < 5
