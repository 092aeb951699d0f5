"""Fields of headers as tables: addresses, dates, encoded words, parameters."""

from __future__ import annotations

import datetime
import email.header
import email.utils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail import addresses, dates, encoded_words, fields, media_type
from kerwen.mail.addresses import GroupEnd, GroupStart, Mailbox

# --- fields -------------------------------------------------------------------------------------

BLOCK = (
    b"Received: from a\r\n\tby b\r\nSUBJECT : x\r\nno colon\r\n with a fold\r\nTo: one\n"
    b"To: two\r\n\r\n"
)


def test_fields_are_read() -> None:
    read = fields.read(BLOCK)
    assert read == {b"received": [b"from a by b"], b"subject": [b"x"], b"to": [b"one", b"two"]}
    assert fields.first(read, b"to") == b"one"
    assert fields.joined(read, b"to") == b"one, two"
    assert fields.first(read, b"cc") is None


def test_fields_are_split_where_they_stand() -> None:
    found = [(f.name, BLOCK[f.start : f.end]) for f in fields.split(BLOCK)]
    assert found == [
        (b"received", b"Received: from a\r\n\tby b\r\n"),
        (b"subject", b"SUBJECT : x\r\n"),
        (b"to", b"To: one\n"),
        (b"to", b"To: two\r\n"),
    ]
    values = [BLOCK[f.colon + 1 : f.end].strip() for f in fields.split(BLOCK)]
    assert values == [b"from a\r\n\tby b", b"x", b"one", b"two"]


@pytest.mark.parametrize(
    "block",
    [
        BLOCK, b"", b"To", b"To:", b"to: a\nTO :b\n tO\t: c", b" To: a fold\nTo: b", b"xTo: a",
        b"To: x\r\n\ty\r\n", b"To: a\r\rb", b"Too: a\nT\xc3\xb6: b\nTo\x0b: c\n", b"\n\nTo: a\n",
        b"To: " + b"x" * 200_000 + b"\n", b"To: a\n" * 20_000, b"x" * 3_000_000 + b"\nTo: a\n",
    ],
)  # fmt: skip
def test_some_fields_are_read_as_all_are(block: bytes) -> None:
    every = fields.read(block)
    for names in ({b"to"}, {b"to", b"subject"}, {b"cc"}):
        wanted = {name: values for name, values in every.items() if name in names}
        assert fields.some(block, frozenset(names)) == wanted


@pytest.mark.parametrize(
    ("names", "without", "picked"),
    [
        ({b"to"}, False, b"To: one\nTo: two\r\n\r\n"),
        ({b"received", b"to"}, True, b"SUBJECT : x\r\n\r\n"),
        ({b"cc"}, False, b"\r\n"),
        (set(), True, BLOCK.replace(b"no colon\r\n with a fold\r\n", b"")),
    ],
)
def test_picking(names: set[bytes], without: bool, picked: bytes) -> None:
    assert fields.pick(BLOCK, frozenset(names), without=without) == picked


def test_a_picked_field_without_its_line_end_gets_one() -> None:
    assert fields.pick(b"To: x", frozenset({b"to"})) == b"To: x\r\n\r\n"


# --- addresses ----------------------------------------------------------------------------------

ADDRESSES = [
    (b"a@b.example", [(b"", b"a", b"b.example")]),
    (b"  <a@b.example> ", [(b"", b"a", b"b.example")]),
    (b"Ann <a@b.example>, c@d.example", [(b"Ann", b"a", b"b.example"), (b"", b"c", b"d.example")]),
    (b'"Ann, B." <a@b.example>', [(b"Ann, B.", b"a", b"b.example")]),
    (rb'"say \"hi\" \\" <a@b.example>', [(b'say "hi" \\', b"a", b"b.example")]),
    (b"a@b.example (Ann)", [(b"Ann", b"a", b"b.example")]),
    (b"Ann (the first) <a@b.example>", [(b"Ann", b"a", b"b.example")]),
    (b"<@x.example,@y.example:a@b.example>", [(b"", b"a", b"b.example")]),
    (b'"a b"@c.example', [(b"", b"a b", b"c.example")]),
    (b"a@[192.0.2.1]", [(b"", b"a", b"[192.0.2.1]")]),
    (b"a @ b . example", [(b"", b"a", b"b.example")]),
    (b"x@y.example <x@y.example>", [(b"x@y.example", b"x", b"y.example")]),
    (b"nobody", [(b"", b"nobody", b"")]),
    (b"Mr. X. Y. <a@b.example>", [(b"Mr. X. Y.", b"a", b"b.example")]),
    ("Aýna <aýna@почта.example>".encode(),
     [("Aýna".encode(), "aýna".encode(), "почта.example".encode())]),
    (b'"unclosed <a@b.example>', [(b"unclosed", b"a", b"b.example")]),
    (b"Ann <a@b.example", [(b"Ann", b"a", b"b.example")]),
    (b",, ,a@b.example,,", [(b"", b"a", b"b.example")]),
    (b"", []),
    (b" , ", []),
    (b"<>", []),
    (b"a@b@c.example", [(b"", b"a@b", b"c.example")]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), ADDRESSES)
def test_addresses(value: bytes, expected: list[tuple[bytes, bytes, bytes]]) -> None:
    found = addresses.mailboxes(value)
    assert [(m.name, m.local, m.host) for m in found] == expected


GROUPS = [
    (b"undisclosed-recipients:;", "G-"),
    (b"a@b.example, friends: c@d.example, e@f.example;, g@h.example", "mGmm-m"),
    (b"friends: a@b.example", "Gm-"),
    (b"one: a@b.example; two: ;", "Gm-G-"),
]


@pytest.mark.parametrize(("value", "shape"), GROUPS)
def test_groups(value: bytes, shape: str) -> None:
    marks = {GroupStart: "G", GroupEnd: "-", Mailbox: "m"}
    assert "".join(marks[type(entry)] for entry in addresses.parse(value)) == shape


WORD = st.text("abcXYZ019", min_size=1, max_size=8)
NAME = st.text('abc Ş"\\,;()<>@.я', max_size=12).map(str.strip)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAME, WORD, WORD), min_size=1, max_size=5))
def test_well_made_lists_read_as_python_reads_them(people: list[tuple[str, str, str]]) -> None:
    value = ", ".join(
        email.utils.formataddr((name, f"{local}@{host}.example")) for name, local, host in people
    )
    ours = [(m.shown, m.address.decode()) for m in addresses.mailboxes(value.encode())]
    assert ours == [(name, f"{local}@{host}.example") for name, local, host in people]


# --- dates --------------------------------------------------------------------------------------


def utc(*parts: int) -> int:
    return int(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


DATES = [
    (b"Tue, 24 Nov 2026 09:00:00 +0500", utc(2026, 11, 24, 4), 300),
    (b"24 Nov 2026 09:00 +0500", utc(2026, 11, 24, 4), 300),
    (b"Tue,24 Nov 2026 09:00:00 GMT", utc(2026, 11, 24, 9), 0),
    (b"Tue, 24 Nov 2026 09:00:00 -0330 (NST)", utc(2026, 11, 24, 12, 30), -210),
    (b"Tuesday, 24-Nov-26 09:00:00 EST", utc(2026, 11, 24, 14), -300),
    (b"Fri, 1 Jan 99 00:00:00 +0000", utc(1999, 1, 1), 0),
    (b"Sat, 1 Jan 100 00:00:00 +0000", utc(2000, 1, 1), 0),
    (b"Tue, 24 Nov 2026 09.00.00 +0500", utc(2026, 11, 24, 4), 300),
    (b"Tue, 24 November 2026 09:00:00 GMT+05:00", utc(2026, 11, 24, 4), 300),
    (b"Thu, 31 Dec 1998 23:59:60 +0000", utc(1998, 12, 31, 23, 59, 59), 0),
    (b"2026-11-24T09:00:00+05:00", utc(2026, 11, 24, 4), 300),
    (b"2026-11-24 09:00:00.123 Z", utc(2026, 11, 24, 9), 0),
    (b"Tue Nov 24 09:00:00 2026", utc(2026, 11, 24, 9), 0),
    (b"Tue, 24 Nov 2026 09:00:00 +9999", utc(2026, 11, 24, 9), 0),
    (b"Tue, 32 Nov 2026 09:00:00 +0500", None, 0),
    (b"Tue, 24 Foo 2026 09:00:00 +0500", None, 0),
    (b"Tue, 24 Nov 2026 25:00:00 +0500", None, 0),
    (b"yesterday", None, 0),
    (b"", None, 0),
]


@pytest.mark.parametrize(("value", "ms", "zone"), DATES)
def test_dates(value: bytes, ms: int | None, zone: int) -> None:
    found = dates.parse(value)
    assert (found and (found.ms, found.zone)) == (ms and (ms, zone))


def test_the_day_is_the_writers() -> None:
    late = dates.parse(b"24 Nov 2026 23:30 -0500")
    early = dates.parse(b"25 Nov 2026 00:30 +0500")
    assert late is not None
    assert early is not None
    assert late.ms > early.ms
    assert late.day + 1 == early.day


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4_000_000_000), st.integers(-720, 840))
def test_what_is_written_is_read(seconds: int, zone: int) -> None:
    text = dates.write(seconds * 1000, zone)
    assert dates.parse(text.encode()) == dates.Date(seconds * 1000, zone)
    assert email.utils.parsedate_to_datetime(text).timestamp() == seconds
    internal = dates.write_internal(seconds * 1000, zone)
    assert dates.parse(internal.encode()) == dates.Date(seconds * 1000, zone)


# --- encoded words ------------------------------------------------------------------------------

WORDS = [
    (b"plain", "plain"),
    (b"=?utf-8?B?U2FsYW0=?=", "Salam"),
    (b"=?UTF-8?q?A=C3=BDna_M=2E?=", "Aýna M."),
    (b"=?koi8-r?B?6dfBzg==?= =?koi8-r?Q?_=E9?=", "Иван И"),
    (b"a =?utf-8?q?b?= c", "a b c"),
    (b"=?utf-8?q?b?=  =?utf-8?q?c?=", "bc"),
    (b"=?utf-8?q?b?=\r\n =?iso-8859-1?q?=E4?=", "bä"),
    (b"=?utf-8?B?0J/R?= =?utf-8?B?gNC40LLQtdGC?=", "Привет"),  # a letter cut in two
    (b"=?utf-8*ru?q?b?=", "b"),  # RFC 2231 §5
    (b"=?utf-8?B?U2FsYW0?=", "Salam"),  # no padding
    (b"=?utf-8?Q?two words?=", "two words"),
    (b"=?nonsense?q?b?=", "b"),
    (b"=?utf-8?x?b?=", "=?utf-8?x?b?="),
    (b"=?utf-8?q?b", "=?utf-8?q?b"),
    ("Сырой".encode(), "Сырой"),
    ("Сырой".encode("cp1251") + b" =?utf-8?q?=D1=8F?=", "Сырой я"),
    (b"=?utf-8?q?a=00b=0Ac?=", "a b c"),
    (b"=?us-ascii?q?=D1=8F?=", "я"),
]


@pytest.mark.parametrize(("value", "text"), WORDS)
def test_encoded_words(value: bytes, text: str) -> None:
    assert encoded_words.decode(value) == text


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs", "So"]), max_size=200))
def test_what_is_encoded_is_decoded(text: str) -> None:
    made = encoded_words.encode(text, first=9)
    assert made.isascii()
    assert all(len(line) <= 78 for line in made.split(b"\r\n"))
    assert encoded_words.decode(made) == text
    theirs = email.header.make_header(email.header.decode_header(made.decode()))
    assert str(theirs) == text or not text.isprintable() or made == text.encode()


# --- parameters ---------------------------------------------------------------------------------

TYPES = [
    (b"text/plain", "text/plain", {}),
    (b"TEXT/HTML; Charset=UTF-8", "text/html", {b"charset": "UTF-8"}),
    (b'a/b; x="q;u\\"o"; y=z', "a/b", {b"x": 'q;u"o', b"y": "z"}),
    (b"a/b; x=with space ; y=1", "a/b", {b"x": "with space", b"y": "1"}),
    (b"a/b;;; x=1;", "a/b", {b"x": "1"}),
    (b"a/b; x", "a/b", {b"x": None}),
    (b"a/b; x=(no) 1", "a/b", {b"x": "1"}),
    (b'a/b; x="(yes)"', "a/b", {b"x": "(yes)"}),
    (b"a/b; n*=utf-8'tk'%C5%9Fahsy.txt", "a/b", {b"n": "şahsy.txt"}),
    (b"a/b; n*=koi8-r''%C9", "a/b", {b"n": "и"}),
    (b"a/b; n*1=b; n*0=a; n*2=c", "a/b", {b"n": "abc"}),
    (b"a/b; n*0*=utf-8''%C5; n*1*=%9F; n*2=.txt", "a/b", {b"n": "ş.txt"}),
    (b"a/b; n=old; n*=utf-8''new", "a/b", {b"n": "new"}),
    (b'a/b; n="=?utf-8?B?xZ8=?="', "a/b", {b"n": "ş"}),
    ("a/b; n=ş".encode(), "a/b", {b"n": "ş"}),
    (b"a/b; n*9999999=x; n*x=y", "a/b", {b"n": None}),
    (b"text", "text/plain", {b"charset": "us-ascii"}),
    (b"/", "text/plain", {}),
    (b"", "text/plain", {}),
    (b"text/", "text/plain", {}),
    (b";;", "text/plain", {}),
]


@pytest.mark.parametrize(("value", "kind", "params"), TYPES)
def test_media_types(value: bytes, kind: str, params: dict[bytes, str | None]) -> None:
    found = media_type.content_type(value)
    assert str(found) == kind
    assert {name: found.get(name) for name in params} == params


@pytest.mark.parametrize(
    ("value", "kind", "name"),
    [
        (b"attachment; filename=a.txt", "attachment", "a.txt"),
        (b"INLINE", "inline", None),
        (b"attachment; filename*=utf-8''%D1%8F", "attachment", "я"),
    ],
)
def test_dispositions(value: bytes, kind: str, name: str | None) -> None:
    found = media_type.disposition(value)
    assert found is not None
    assert (found.kind, found.get(b"filename")) == (kind, name)


def test_no_disposition() -> None:
    assert media_type.disposition(b"; filename=x") is None
