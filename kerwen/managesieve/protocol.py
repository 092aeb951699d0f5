"""Bytes of ManageSieve to commands, without I/O: any bytes, whole or one by one, give the same."""

# RFC 5804 §1.2, §4

from __future__ import annotations

import re
from typing import Final

import msgspec

from kerwen.base import limits

_WORD: Final = re.compile(
    rb'(?P<space> +)|(?P<quoted>"(?:[^"\\\r\n\0]|\\.)*+")|(?P<number>[0-9]{1,10})(?![^ ])'
    rb"|(?P<atom>[A-Za-z][A-Za-z0-9_-]*+)(?![^ ])"
)
_LITERAL: Final = re.compile(rb"\{([0-9]{1,10})\+?\}\Z")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_QUOTED_MAX: Final = 1024


class Command(msgspec.Struct, frozen=True, gc=False):
    """A command: its name in capitals, its arguments (strings, numbers)."""

    name: str
    arguments: tuple[bytes | int, ...] = ()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A client's answer within AUTHENTICATE; None: it gave up."""

    data: bytes | None


class Bad(msgspec.Struct, frozen=True, gc=False):
    """What is no command, and why. `fatal`: nobody can tell where the next one begins."""

    text: str
    fatal: bool = False


class TooLong(msgspec.Struct, frozen=True, gc=False):
    """A command with literals that are too long; they were read past."""

    name: str


Item = Command | Answer | Bad | TooLong


class Reader:
    """Makes commands. `early`: nobody is logged in; `asking`: the next line is an `Answer`."""

    __slots__ = ("_buffer", "_dead", "_need", "_skip", "_skipped", "asking", "early")

    def __init__(self) -> None:
        self.early = True
        self.asking = False
        self._buffer = bytearray()
        self._need = 1
        self._skip = 0
        self._skipped: str | None = None  # the command whose literal is read past
        self._dead = False

    def feed(self, data: bytes) -> None:
        """More bytes."""
        if self._dead:
            return
        if self._skip:
            gone = min(self._skip, len(data))
            self._skip -= gone
            data = data[gone:]
        self._buffer += data

    def forget(self) -> None:
        """What came counts for nothing (STARTTLS)."""
        self._buffer.clear()
        self._need, self._skip, self._skipped = 1, 0, None

    def take(self) -> Item | None:
        """The next command; None: more bytes are needed."""
        if self._dead or self._skip or len(self._buffer) < self._need:
            return None
        if self._skipped is not None:
            return self._after_skip()
        item = self._parsed()
        if item is not None:
            self._need = 1
        if isinstance(item, Bad) and item.fatal:
            self._dead = True
            self._buffer.clear()
        return item

    def _after_skip(self) -> Item | None:
        """The rest of the line behind a literal that was too long."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > limits.MANAGESIEVE_LINE_MAX:
                self._dead = True
                return Bad("This line is too long", fatal=True)
            self._need = len(self._buffer) + 1
            return None
        del self._buffer[: end + 1]
        name, self._skipped = self._skipped, None
        self._need = 1
        return TooLong(name or "")

    def _parsed(self) -> Item | None:
        words: list[bytes | int | str] = []
        at, line_bytes, room = 0, 0, self._room
        while True:
            end = self._buffer.find(b"\n", at)
            if end < 0:
                if len(self._buffer) - at + line_bytes > limits.MANAGESIEVE_LINE_MAX:
                    return Bad("This line is too long", fatal=True)
                self._need = len(self._buffer) + 1
                return None
            line_bytes += end - at
            if line_bytes > limits.MANAGESIEVE_LINE_MAX:
                return Bad("This line is too long", fatal=True)
            line = bytes(self._buffer[at:end]).removesuffix(b"\r")
            literal = _LITERAL.search(line)
            good = _words(line[: literal.start()] if literal else line, words)
            if literal is None or not good:
                del self._buffer[: end + 1]
                return self._made(words) if good else Bad("This is no command")
            size = int(literal[1])
            if size > room:
                return self._too_long(words, end + 1, size)
            room -= size
            if len(self._buffer) < end + 1 + size:
                self._need = end + 1 + size
                return None
            words.append(bytes(self._buffer[end + 1 : end + 1 + size]))
            at = end + 1 + size

    @property
    def _room(self) -> int:
        early = limits.MANAGESIEVE_LITERAL_EARLY_MAX
        return early if self.early else limits.MANAGESIEVE_LITERAL_MAX

    def _too_long(self, words: list[bytes | int | str], at: int, size: int) -> Item | None:
        if self.early or size > limits.MANAGESIEVE_SKIPPED_MAX:
            return Bad("This is too long", fatal=True)
        rest = len(self._buffer) - at
        self._skipped = words[0] if words and isinstance(words[0], str) else ""
        if rest >= size:
            del self._buffer[: at + size]
        else:
            self._buffer.clear()
            self._skip = size - rest
        self._need = 1
        return None if self._skip or not self._buffer else self._after_skip()

    def _made(self, words: list[bytes | int | str]) -> Item:
        if self.asking:
            self.asking = False
            if len(words) == 1 and isinstance(words[0], bytes):
                return Answer(None if words[0] == b"*" else words[0])
            return Answer(None)
        if not words or not isinstance(words[0], str):
            return Bad("A command begins with its name")
        if any(isinstance(word, str) for word in words[1:]):
            return Bad("Arguments are strings and numbers")
        return Command(words[0], tuple(word for word in words[1:] if not isinstance(word, str)))


def _words(line: bytes, words: list[bytes | int | str]) -> bool:
    """Adds the words of a line; false if it has others."""
    at = 0
    while at < len(line):
        match = _WORD.match(line, at)
        if match is None:
            return False
        if match["quoted"] is not None:
            text = match["quoted"][1:-1]
            words.append(_ESCAPED.sub(rb"\1", text) if b"\\" in text else text)
        elif match["number"] is not None:
            words.append(int(match["number"]))
        elif match["atom"] is not None:
            words.append(match["atom"].decode().upper())
        at = match.end()
    return True


def string(text: str | bytes) -> bytes:
    """A string as it is sent: quoted where that can be, else a literal."""
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if len(raw) <= _QUOTED_MAX and not any(sign in raw for sign in (b"\r", b"\n", b"\0")):
        return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(raw), raw)


def reply(status: str, text: str = "", code: bytes = b"") -> bytes:
    """OK, NO or BYE."""
    said = status.encode()
    if code:
        said += b" (" + code + b")"
    if text:
        said += b" " + string(text)
    return said + b"\r\n"
