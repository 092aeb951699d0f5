"""Bytes of POP3 to commands, without I/O: any bytes, whole or one by one, give the same."""

# RFC 1939 §3; RFC 2449 §4; RFC 5034

from __future__ import annotations

import msgspec

from kerwen.base import limits


class Command(msgspec.Struct, frozen=True, gc=False):
    """A command: its name in capitals, and all behind it as it came."""

    name: str
    rest: bytes = b""

    @property
    def words(self) -> list[bytes]:
        """What stands behind the name, by spaces."""
        return self.rest.split()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A client's answer within AUTH."""

    data: bytes


class TooLong(msgspec.Struct, frozen=True, gc=False):
    """A line that is too long: nobody can tell what it was meant to be."""


Item = Command | Answer | TooLong


class Reader:
    """Makes commands. `asking`: the next line is an `Answer`."""

    __slots__ = ("_buffer", "_dead", "_seen", "asking")

    def __init__(self) -> None:
        self.asking = False
        self._buffer = bytearray()
        self._seen = 0  # so far no line end was found
        self._dead = False

    def feed(self, data: bytes) -> None:
        """More bytes."""
        if not self._dead:
            self._buffer += data

    def forget(self) -> None:
        """What came counts for nothing (STLS)."""
        self._buffer.clear()
        self._seen = 0

    def take(self) -> Item | None:
        """The next command; None: more bytes are needed."""
        if self._dead:
            return None
        end = self._buffer.find(b"\n", self._seen)
        line_max = limits.POP3_AUTH_LINE_MAX
        if not self.asking and not bytes(self._buffer[:5]).upper().startswith(b"AUTH "):
            line_max = limits.POP3_LINE_MAX
        if (end if end >= 0 else len(self._buffer)) > line_max:
            self._dead = True
            self._buffer.clear()
            return TooLong()
        if end < 0:
            self._seen = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._seen = 0
        if self.asking:
            self.asking = False
            return Answer(line)
        name, _, rest = line.partition(b" ")
        return Command(name.decode("ascii", "replace").upper(), rest)


def ok(text: str = "") -> bytes:
    """+OK"""
    return f"+OK {text}".rstrip().encode() + b"\r\n"


def err(text: str, code: str = "") -> bytes:
    """-ERR, with a response code (RFC 2449 §8)."""
    shown = " ".join(text.split())
    return (f"-ERR [{code}] {shown}" if code else f"-ERR {shown}").encode(
        errors="replace"
    ) + b"\r\n"


def stuffed(raw: bytes) -> bytes:
    """A message as it is sent: lines that begin with a dot have one more, and a dot ends it."""
    if b"\n." in raw or raw.startswith(b"."):
        raw = raw.replace(b"\n.", b"\n..")
        raw = b"." + raw if raw.startswith(b".") else raw
    end = b"" if raw.endswith(b"\r\n") else b"\r\n"
    return raw + end + b".\r\n"


def top(raw: bytes, lines: int) -> bytes:
    """The header, the empty line, and so many lines of the body."""
    at = raw.find(b"\r\n\r\n")
    if at < 0:
        return raw
    at += 4
    for _ in range(lines):
        end = raw.find(b"\n", at)
        if end < 0:
            return raw
        at = end + 1
    return raw[:at]
