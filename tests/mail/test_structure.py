"""ENVELOPE, BODYSTRUCTURE, BODY[section], BINARY: exact bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail import fields, message, section, structure
from kerwen.mail.render import Rendered, render
from kerwen.mail.section import Partial, Section, What

from . import ugly

# --- strings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        (None, b"NIL"),
        (b"", b'""'),
        (b"plain", b'"plain"'),
        (b'say "hi" \\', rb'"say \"hi\" \\"'),
        ("ş".encode(), b"{2}\r\n\xc5\x9f"),
        (b"a\r\nb\nc", b"{5}\r\na b c"),
        (b"a\0b", b"{2}\r\nab"),
        (b"\x7f", b"{1}\r\n\x7f"),
        (b"tab\there", b"{8}\r\ntab\there"),
    ],
)
def test_strings(value: bytes | None, rendered: bytes) -> None:
    assert structure.nstring(value) == rendered


# --- ENVELOPE -----------------------------------------------------------------------------------

# the sample of RFC 9051 §8
TERRY = b"""\
Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)
From: Terry Gray <gray@cac.washington.edu>
Subject: IMAP4rev2 WG mtg summary and minutes
To: imap@cac.washington.edu
cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>
Message-Id: <B27397-0100000@cac.washington.edu>
MIME-Version: 1.0
Content-Type: TEXT/PLAIN; CHARSET=US-ASCII

""".replace(b"\n", b"\r\n")


def test_the_envelope_of_the_specification() -> None:
    assert structure.envelope(fields.read(TERRY)) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes"'
        b' (("Terry Gray" NIL "gray" "cac.washington.edu"))'
        b' (("Terry Gray" NIL "gray" "cac.washington.edu"))'
        b' (("Terry Gray" NIL "gray" "cac.washington.edu"))'
        b' ((NIL NIL "imap" "cac.washington.edu"))'
        b' ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU"))'
        b' NIL NIL "<B27397-0100000@cac.washington.edu>")'
    )


ENVELOPES = [
    (b"", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
    (b"Subject: \r\n", b'(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)'),
    (b"From: \r\nTo: ,\r\n", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
    (
        b"From: a@b\r\nSender: c@d\r\nReply-To: e@f\r\nBcc: g: h@i;\r\nIn-Reply-To: <x>\r\n",
        b'(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) ((NIL NIL "e" "f")) NIL NIL'
        b' ((NIL NIL "g" NIL)(NIL NIL "h" "i")(NIL NIL NIL NIL)) "<x>" NIL)',
    ),
    (
        b"From: =?utf-8?q?=C5=9E?= <a@b>\r\nSubject: =?utf-8?q?x?=\r\n =?utf-8?q?y?=\r\n",
        b'(NIL "=?utf-8?q?x?= =?utf-8?q?y?=" (("=?utf-8?q?=C5=9E?=" NIL "a" "b"))'
        b' (("=?utf-8?q?=C5=9E?=" NIL "a" "b")) (("=?utf-8?q?=C5=9E?=" NIL "a" "b"))'
        b" NIL NIL NIL NIL NIL)",
    ),
]


@pytest.mark.parametrize(("header", "rendered"), ENVELOPES)
def test_envelopes(header: bytes, rendered: bytes) -> None:
    assert structure.envelope(fields.read(header)) == rendered


# --- BODYSTRUCTURE ------------------------------------------------------------------------------


def made(header: str, body: str) -> bytes:
    return f"{header}\n\n{body}".replace("\n", "\r\n").encode()


BODIES = [
    (
        made("Content-Type: TEXT/PLAIN; CHARSET=US-ASCII", "one\ntwo\n"),
        b'("text" "plain" ("charset" "US-ASCII") NIL NIL "7bit" 10 2 NIL NIL NIL NIL)',
        b'("text" "plain" ("charset" "US-ASCII") NIL NIL "7bit" 10 2)',
    ),
    (
        made(
            "Content-Type: image/png\nContent-ID: <x@y>\nContent-Description: a picture\n"
            "Content-Transfer-Encoding: BASE64\nContent-MD5: abc=\n"
            'Content-Disposition: inline; filename="a b.png"\nContent-Language: tk\n'
            "Content-Location: pic.png",
            "AAAA",
        ),
        b'("image" "png" NIL "<x@y>" "a picture" "base64" 4 "abc="'
        b' ("inline" ("filename" "a b.png")) ("tk") "pic.png")',
        b'("image" "png" NIL "<x@y>" "a picture" "base64" 4)',
    ),
    (
        made(
            "Content-Type: multipart/mixed; boundary=b\nContent-Disposition: inline",
            "--b\n\nx\n--b\nContent-Type: message/rfc822\n\nSubject: s\n\nhi\n\n--b--\n",
        ),
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL)'
        b'("message" "rfc822" NIL NIL NIL "7bit" 18'
        b' (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL)'
        b' ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 1 NIL NIL NIL NIL) 3'
        b' NIL NIL NIL NIL) "mixed" ("boundary" "b") ("inline" NIL) NIL NIL)',
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)'
        b'("message" "rfc822" NIL NIL NIL "7bit" 18'
        b' (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL)'
        b' ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 1) 3) "mixed")',
    ),
]


@pytest.mark.parametrize(("raw", "full", "short"), BODIES)
def test_bodies(raw: bytes, full: bytes, short: bytes) -> None:
    root = message.scan(raw)
    assert structure.bodystructure(root) == full
    assert structure.body(root) == short
    assert structure.without_extensions(full) == short


# --- sections -----------------------------------------------------------------------------------

INNER = made("From: i@x\nContent-Type: multipart/alternative; boundary=i",
             "--i\n\nplain\n--i\nContent-Type: text/html\n\n<p>\n--i--\n")  # fmt: skip
NEST = (
    made(
        "From: a@b\nTo: c@d\nContent-Type: multipart/mixed; boundary=o",
        "--o\nContent-Type: text/plain\n\nfirst\n--o\nContent-Type: message/rfc822\n\n",
    )
    + INNER
    + made("\n--o\nContent-Type: image/png\nContent-Transfer-Encoding: base64", "U2FsYW0=\n--o--")
)
FLAT = made("Subject: flat\nTo: x@y", "the body\n")

SECTIONS = [
    (NEST, b"", NEST),
    (NEST, b"HEADER", NEST[: NEST.index(b"--o")]),
    (NEST, b"TEXT", NEST[NEST.index(b"--o") :]),
    (NEST, b"1", b"first"),
    (NEST, b"1.MIME", b"Content-Type: text/plain\r\n\r\n"),
    (NEST, b"2", INNER),
    (NEST, b"2.HEADER", INNER[: INNER.index(b"--i")]),
    (NEST, b"2.TEXT", INNER[INNER.index(b"--i") :]),
    (NEST, b"2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
    (NEST, b"2.1", b"plain"),
    (NEST, b"2.2", b"<p>"),
    (NEST, b"2.2.MIME", b"Content-Type: text/html\r\n\r\n"),
    (NEST, b"2.HEADER.FIELDS (from)", b"From: i@x\r\n\r\n"),
    (NEST, b"HEADER.FIELDS (FROM To)", b"From: a@b\r\nTo: c@d\r\n\r\n"),
    (NEST, b"HEADER.FIELDS.NOT (From Content-Type)", b"To: c@d\r\n\r\n"),
    (NEST, b'HEADER.FIELDS ("To")', b"To: c@d\r\n\r\n"),
    (NEST, b"3", b"U2FsYW0="),
    (NEST, b"4", None),
    (NEST, b"1.1", None),
    (NEST, b"1.HEADER", None),
    (NEST, b"1.TEXT", None),
    (NEST, b"2.3", None),
    (NEST, b"2.1.1", None),
    (FLAT, b"1", b"the body\r\n"),
    (FLAT, b"1.MIME", b"Subject: flat\r\nTo: x@y\r\n\r\n"),
    (FLAT, b"2", None),
    (FLAT, b"1.1", None),
    (FLAT, b"TEXT", b"the body\r\n"),
    (INNER, b"1", b"plain"),
]


@pytest.mark.parametrize(("raw", "asked", "piece"), SECTIONS)
def test_sections(raw: bytes, asked: bytes, piece: bytes | None) -> None:
    span = section.span_of(message.scan(raw))
    parsed = section.parse(asked)
    assert parsed is not None
    assert section.extract(raw, span, parsed) == piece
    if piece is not None:
        assert section.extract(raw, span, parsed, Partial(2, 3)) == piece[2:5]
        assert section.extract(raw, span, parsed, Partial(10**9, 5)) == b""


@pytest.mark.parametrize(
    "text",
    [b"0", b"1.", b".1", b"1..2", b"MIME", b"HEADER.FIELDS", b"HEADER.FIELDS ()", b"1 ", b"x",
     b"HEADER.FIELDS.NOT", b"TEXT.1", b"9999999999", b"1." * 200 + b"1"],
)  # fmt: skip
def test_what_is_no_section(text: bytes) -> None:
    assert section.parse(text) is None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (b"", b""),
        (b"1.2.mime", b"1.2.MIME"),
        (b"header.fields (to Cc)", b"HEADER.FIELDS (to Cc)"),
        (b"3.HEADER.FIELDS.NOT (x)", b"3.HEADER.FIELDS.NOT (x)"),
        (b"7", b"7"),
    ],
)
def test_sections_are_named_in_answers(text: bytes, same: bytes) -> None:
    parsed = section.parse(text)
    assert parsed is not None
    assert section.render(parsed) == same


def test_binary() -> None:
    span = section.span_of(message.scan(NEST))
    assert section.binary(NEST, span, (3,)) == b"Salam"
    assert section.binary(NEST, span, (3,), Partial(1, 2)) == b"al"
    assert section.binary(NEST, span, (1,)) == b"first"
    assert section.binary(NEST, span, (2,)) == INNER
    assert section.binary(NEST, span, ()) == NEST
    assert section.binary(NEST, span, (9,)) is None
    odd = made("Content-Transfer-Encoding: rot13", "x")
    with pytest.raises(section.UnknownEncoding):
        section.binary(odd, section.span_of(message.scan(odd)), (1,))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(ugly.files())), st.lists(st.integers(1, 4), max_size=4),
       st.sampled_from(list(What)))  # fmt: skip
def test_any_section_of_any_message(name: str, path: list[int], what: What) -> None:
    raw = ugly.files()[name]
    span = section.span_of(message.scan(raw))
    found = section.extract(raw, span, Section(tuple(path), what, (b"subject",)))
    assert found is None or isinstance(found, bytes)


# --- the whole, stored --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ugly.files()))
def test_what_is_rendered_can_be_kept(name: str) -> None:
    made_of_it = render(ugly.files()[name])
    packed = msgspec.msgpack.encode(made_of_it)
    assert msgspec.msgpack.decode(packed, type=Rendered) == made_of_it
