"""Address lists of header fields: mailboxes, groups, and the shapes that real mail has.

One expression takes well-made lists; what it does not fit goes through a slower reader that makes
something of anything: unquoted commas and @ in names, comments, routes, missing domains.
"""

# RFC 5322 §3.4, §4.4

from __future__ import annotations

import re
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import encoded_words


class Mailbox(msgspec.Struct, frozen=True, gc=False):
    """One mailbox; parts are bytes as in the field, without quotes. `name` may be encoded."""

    name: bytes
    local: bytes
    host: bytes

    @property
    def address(self) -> bytes:
        """`local@host`; without a host only the local part."""
        return self.local + b"@" + self.host if self.host else self.local

    @property
    def shown(self) -> str:
        """The name as text."""
        return encoded_words.decode(self.name)


class GroupStart(msgspec.Struct, frozen=True, gc=False):
    """`name:` before the members of a group."""

    name: bytes


class GroupEnd(msgspec.Struct, frozen=True, gc=False):
    """`;` after the members of a group."""


Entry = Mailbox | GroupStart | GroupEnd
_END: Final = GroupEnd()

_WELL_MADE: Final = re.compile(
    rb"[\s,]*+(?:"
    rb'(?:"((?:[^"\\]|\\.)*+)"\s*+|([^"(),:;<>@\[\]\\]*+))'
    rb'<\s*+([^<>@\s"(),:;\\\[\]]++)@([^<>@\s"(),:;\\]++)\s*+>'
    rb'|([^<>@\s"(),:;\\\[\]]++)@([^<>@\s"(),:;\\\[\]]++)'
    rb")\s*+(?:,|\Z)"
)
_PIECE: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*+"|[<>,;:()]|\[[^\[\]]*+\]|\\.|[^<>,;:()"\[\]\\]++|.', re.DOTALL
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_SPACES: Final = re.compile(rb"\s+")


def parse(value: bytes) -> list[Entry]:
    """Everything in an address list, in order; at most `ADDRESSES_SHOWN_MAX` entries."""
    found: list[Entry] = []
    at, end = 0, len(value)
    match_at = _WELL_MADE.match
    while at < end and len(found) < limits.ADDRESSES_SHOWN_MAX:
        match = match_at(value, at)
        if match is None:
            _Reader(value, at, found).run()
            break
        quoted, plain, local, host, bare_local, bare_host = match.groups()
        if bare_local is not None:
            found.append(Mailbox(b"", bare_local, bare_host))
        elif quoted is not None:
            name = _ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted
            found.append(Mailbox(name, local, host))
        else:
            found.append(Mailbox(plain.strip(), local, host))
        at = match.end()
    return found


def mailboxes(value: bytes) -> list[Mailbox]:
    """The mailboxes of a list, those of groups too."""
    return [entry for entry in parse(value) if type(entry) is Mailbox]


class _Reader:
    """Reads what is not well made, from `at` to the end of the value."""

    def __init__(self, value: bytes, at: int, found: list[Entry]) -> None:
        self._value = value
        self._at = at
        self._found = found
        self._in_group = False
        self._start_entry()

    def _start_entry(self) -> None:
        self._text: list[bytes] = []  # outside <>: a name, or an address without <>
        self._angle: list[bytes] | None = None
        self._comment: list[bytes] = []

    def run(self) -> None:
        inside = False
        depth = 0
        for match in _PIECE.finditer(self._value, self._at):
            piece = match[0]
            if depth or piece == b"(":
                depth += (piece == b"(") - (piece == b")")
                self._comment.append(piece)
            elif inside:
                if piece == b">":
                    inside = False
                elif self._angle is not None:
                    self._angle.append(piece)
            elif piece == b"<":
                inside, self._angle = True, []
            elif piece in (b",", b";", b":"):
                self._end_piece(piece)
                if len(self._found) >= limits.ADDRESSES_SHOWN_MAX:
                    return
            else:
                self._text.append(piece)
        self._end_entry()
        if self._in_group:
            self._found.append(_END)

    def _end_piece(self, piece: bytes) -> None:
        if piece == b":" and not self._in_group and b"@" not in b"".join(self._text):
            self._found.append(GroupStart(_phrase(self._text)))
            self._in_group = True
            self._start_entry()
            return
        if piece == b":":
            self._text.append(piece)
            return
        self._end_entry()
        if piece == b";" and self._in_group:
            self._found.append(_END)
            self._in_group = False

    def _end_entry(self) -> None:
        if self._angle is not None:
            name = _phrase(self._text) or _comment(self._comment)
            self._add(name, b"".join(self._angle))
        elif any(piece.strip() for piece in self._text):
            self._add(_comment(self._comment), b"".join(self._text))
        self._start_entry()

    def _add(self, name: bytes, spec: bytes) -> None:
        # RFC 5322 §4.4: a route before the address says nothing any more
        if spec.lstrip().startswith(b"@") and b":" in spec:
            spec = spec.partition(b":")[2]
        local, at, host = spec.rpartition(b"@")
        if not at:
            local, host = host, b""
        local = local.strip()
        if len(local) > 1 and local.startswith(b'"') and local.endswith(b'"'):
            local = _ESCAPED.sub(rb"\1", local[1:-1])
        host = _SPACES.sub(b"", host)
        if name or local or host:
            self._found.append(Mailbox(name, local, host))


def _phrase(pieces: list[bytes]) -> bytes:
    words = []
    for piece in pieces:
        if piece.startswith(b'"'):
            inner = piece[1:-1] if len(piece) > 1 and piece.endswith(b'"') else piece[1:]
            piece = _ESCAPED.sub(rb"\1", inner)
        words.append(piece)
    return _SPACES.sub(b" ", b"".join(words)).strip()


def _comment(pieces: list[bytes]) -> bytes:
    text = b"".join(b" " if piece in (b"(", b")") else piece for piece in pieces)
    return _SPACES.sub(b" ", text).strip()
