"""The scanner: golden files of ugly mail, Python's parser as an oracle, and fuzz."""

from __future__ import annotations

import base64
import email
import email.policy
import time
import zlib
from email.message import Message

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.mail import message, render, structure, transfer
from kerwen.mail.message import Part

from . import imap_syntax, ugly
from .show import show

FILES = ugly.files()
MADE = ugly.made()


@pytest.mark.parametrize("name", FILES)
def test_ugly_mail_is_shown_as_well_as_can_be(name: str) -> None:
    golden = (ugly.CORPUS / f"{name}.txt").read_bytes().decode()
    assert show(FILES[name]) == golden


@pytest.mark.parametrize("name", [*FILES, *MADE])
def test_structure_is_what_the_grammar_says(name: str) -> None:
    root = message.scan((FILES | MADE)[name])
    check(root)


def check(root: Part) -> None:
    imap_syntax.envelope(imap_syntax.tree(structure.envelope(root.fields)))
    full, short = structure.bodystructure(root), structure.body(root)
    imap_syntax.body(imap_syntax.tree(full), extended=True)
    imap_syntax.body(imap_syntax.tree(short), extended=False)
    assert structure.without_extensions(full) == short


def tile(part: Part) -> None:
    """Offsets are in order and inside of the part above."""
    assert 0 <= part.start <= part.body <= part.end
    at = part.body
    for child in part.parts:
        assert at <= child.start <= child.end <= part.end
        at = child.end
        tile(child)


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_to_hurt_does_not(name: str) -> None:
    before = time.process_time()
    made = render.render(MADE[name])
    spent = time.process_time() - before
    assert spent < 1.5, f"{spent:.2f} s for {len(MADE[name])} bytes"
    assert made.size == len(MADE[name])
    tile(message.scan(MADE[name]))


def depth(part: Part) -> int:
    return 1 + max(map(depth, part.parts), default=0)


def test_a_hundred_levels_are_shown_and_deeper_ones_are_opaque() -> None:
    root = message.scan(MADE["nested 100"])
    assert depth(root) == 101
    kernel = next(root.leaves())
    assert MADE["nested 100"][kernel.body : kernel.end] == b"the kernel"
    deep = message.scan(MADE["nested 300"])
    assert depth(deep) == limits.MIME_DEPTH_MAX + 1
    assert str(next(deep.leaves()).type) == "application/octet-stream"
    assert depth(message.scan(MADE["messages 100"])) == 101
    assert depth(message.scan(MADE["messages 300"])) == limits.MIME_DEPTH_MAX + 2


def test_a_thousand_parts_are_shown_and_the_rest_is_one() -> None:
    assert len(message.scan(MADE["parts 1000"]).parts) == 999
    root = message.scan(MADE["parts 5000"])
    assert len(list(root.walk())) == limits.MIME_PARTS_MAX + 1
    assert str(root.parts[-1].type) == "application/octet-stream"


def test_the_header_ends_where_it_ends_however_long_it_is() -> None:
    raw = MADE["header 1 MB"]
    root = message.scan(raw)
    assert raw[root.body :] == b"body\r\n"
    assert root.fields[b"subject"] == [b"ugly"]


# --- Python's own parser as an oracle, where the message is well made ---------------------------

TOKEN = st.text("abcdefghij", min_size=1, max_size=8)
LINES = st.lists(st.text("abc .:=\tшя", max_size=30), max_size=5).map("\r\n".join)
LEAF_TYPES = st.sampled_from(
    ["text/plain", "text/html; charset=utf-8", 'application/pdf; name="a b.pdf"', "image/png"]
)


def leaf(kind: str, text: str, encoding: str) -> bytes:
    raw = text.encode()
    if encoding == "base64":
        raw = base64.encodebytes(raw).replace(b"\n", b"\r\n")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + raw


LEAVES = st.builds(leaf, LEAF_TYPES, LINES, st.sampled_from(["8bit", "base64"]))


def multipart(children: list[bytes], name: str, subtype: str, preamble: str) -> bytes:
    boundary = f"=_{name}_{zlib.crc32(b''.join(children))}".encode()
    head = b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (subtype.encode(), boundary)
    body = b"".join(b"\r\n--%b\r\n%b" % (boundary, child) for child in children)
    return head + preamble.encode() + body + b"\r\n--%b--\r\n" % boundary


def inner_message(child: bytes, subject: str) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\nSubject: %b\r\n%b" % (subject.encode(), child)


ENTITIES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(
            multipart,
            st.lists(inner, min_size=1, max_size=3),
            TOKEN,
            st.sampled_from(["mixed", "alternative", "related"]),
            st.sampled_from(["", "preamble"]),
        )
        | st.builds(inner_message, inner, TOKEN)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(ENTITIES, TOKEN)
def test_it_sees_what_python_sees(entity: bytes, subject: str) -> None:
    raw = b"Subject: %b\r\nFrom: a@b.example\r\n%b" % (subject.encode(), entity)
    root = message.scan(raw)
    same(raw, root, email.message_from_bytes(raw, policy=email.policy.compat32))
    check(root)
    tile(root)


def same(raw: bytes, part: Part, other: Message) -> None:
    assert str(part.type) == other.get_content_type()
    payload = other.get_payload()
    if isinstance(payload, list):
        assert len(part.parts) == len(payload)
        for child, its in zip(part.parts, payload, strict=True):
            assert isinstance(its, Message)
            same(raw, child, its)
        return
    assert not part.parts
    theirs = other.get_payload(decode=True)
    assert isinstance(theirs, bytes)
    ours = transfer.decode(raw[part.body : part.end], part.encoding)
    assert ours.replace(b"\r\n", b"\n") == theirs.replace(b"\r\n", b"\n")


# --- any bytes ----------------------------------------------------------------------------------

BITS = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\0", b"--b", b"--b--", b": ", b" ", b"\t", b"(", b")", b"<", b">",
     b'"', b"\\", b";", b"=", b"=?utf-8?q?", b"?=", b"Content-Type: multipart/mixed; boundary=b",
     b"Content-Type: message/rfc822", b"Content-Type: text/html", b"From: a@b", b"Subject: x",
     b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable",
     b"Content-Disposition: attachment; filename*0*=utf-8''%d1", b"Date: 1 Jan 2026 00:00 +0000",
     b"\xd1\xff", "ş".encode(), b"<style", b"<!--", b"&amp;", b"text"]
)  # fmt: skip
SOUP = st.lists(BITS | st.binary(max_size=6), max_size=60).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(SOUP | st.binary(max_size=300))
@example(b"")
@example(b"\n")
@example(b"Content-Type: multipart/mixed; boundary=b\n\n--b")
def test_any_bytes_make_a_message(raw: bytes) -> None:
    made = render.render(raw)
    root = message.scan(raw)
    assert root.end == len(raw) == made.size
    tile(root)
    check(root)
    assert len(made.preview) <= limits.PREVIEW_MAX
    render.threading(root.fields, render.subject_of(root.fields))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_ugly_mail(name: str, data: st.DataObject) -> None:
    raw = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 20))
        raw[place : place + cut] = data.draw(st.binary(max_size=8))
    check(message.scan(bytes(raw)))
    render.render(bytes(raw))
