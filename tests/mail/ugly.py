"""Ugly mail: what comes in, and what is made to hurt. Small ones are files in `corpus/`."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
HEAD = b"From: a@b.example\r\nTo: c@d.example\r\nSubject: ugly\r\nMIME-Version: 1.0\r\n"


def files() -> dict[str, bytes]:
    """The files of the corpus by name."""
    return {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.eml"))}


def nested(depth: int) -> bytes:
    """Multiparts inside each other."""
    opening = b"".join(
        b'Content-Type: multipart/mixed; boundary="n%d"\r\n\r\n--n%d\r\n' % (n, n)
        for n in range(depth)
    )
    closing = b"".join(b"\r\n--n%d--" % n for n in reversed(range(depth)))
    return HEAD + opening + b"Content-Type: text/plain\r\n\r\nthe kernel" + closing + b"\r\n"


def nested_messages(depth: int) -> bytes:
    """Messages inside messages."""
    layer = b"Subject: layer\r\nContent-Type: message/rfc822\r\n\r\n"
    return HEAD + layer * depth + b"Subject: innermost\r\n\r\nthe kernel\r\n"


def many_parts(count: int) -> bytes:
    """One multipart with very many children."""
    part = b"--p\r\nContent-Type: text/plain\r\n\r\npart %d\r\n"
    body = b"".join(part % n for n in range(count))
    return HEAD + b"Content-Type: multipart/mixed; boundary=p\r\n\r\n" + body + b"--p--\r\n"


def long_header(size: int) -> bytes:
    """A header of about `size` bytes."""
    line = b"X-Long: " + b"word " * 12 + b"\r\n"
    return HEAD + line * (size // len(line)) + b"\r\nbody\r\n"


def long_line(size: int) -> bytes:
    """One field without a line break."""
    return HEAD + b"To: " + b"a@b.example, " * (size // 13) + b"\r\n\r\nbody\r\n"


def false_boundaries(count: int) -> bytes:
    """Lines that only begin like the boundary."""
    line = b"--b and more\r\n"
    return HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + line * count


def open_tags(count: int) -> bytes:
    """HTML that opens and never closes."""
    html = b"<style" * count + b"<" * count + b"<!--" * count + b"&" * count
    return HEAD + b"Content-Type: text/html\r\n\r\n" + html


def made() -> dict[str, bytes]:
    """The large ones."""
    return {
        "nested 100": nested(100),
        "nested 300": nested(300),
        "messages 100": nested_messages(100),
        "messages 300": nested_messages(300),
        "parts 1000": many_parts(999),
        "parts 5000": many_parts(5000),
        "header 1 MB": long_header(1 << 20),
        "field 1 MB": long_line(1 << 20),
        "false boundaries": false_boundaries(50_000),
        "open tags": open_tags(20_000),
        "dashes": HEAD
        + b"Content-Type: multipart/mixed; boundary=-\r\n\r\n---\r\n\r\n"
        + b"-" * 300_000,
        "commas": HEAD + b"Cc: " + b"," * 100_000 + b"(" * 50_000 + b"\r\n\r\n",
        "quotes": HEAD + b"Cc: " + b'"a\\' * 50_000 + b"\r\n\r\n",
        "words": HEAD + b"Subject: " + b"=?utf-8?q?=C3" * 20_000 + b"\r\n\r\n",
        "parameters": HEAD + b"Content-Type: a/b" + b";x*=" * 20_000 + b"\r\n\r\n",
        "folded": HEAD + b"Subject: a" + b"\r\n " * 80_000 + b"\r\n\r\n",
        "empty lines": b"\r\n" * 100_000,
        "colons": b":" * 200_000,
        "NULs": b"\0" * 100_000,
    }


def everything() -> dict[str, bytes]:
    """All of it."""
    return files() | made()
