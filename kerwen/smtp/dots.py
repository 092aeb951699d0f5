"""DATA's dots: taken out of what comes, put into what goes. CRLF ends a line, nothing else.

A bare CR or LF is never a line end here, so no server can read two messages where we read one
(and the message that holds one is refused).
"""

# RFC 5321 §4.5.2, §2.3.8

from __future__ import annotations

from typing import Final

_END: Final = b"\r\n.\r\n"
_HELD_MAX: Final = 64 * 1024  # of a line whose end has not come


class Unstuffer:
    """Takes the lines of DATA as they come; gives the message without its dots.

    Whether a bare CR or LF was seen is in `is_bare`.
    """

    __slots__ = ("_at_line_start", "_held", "done", "is_bare")

    def __init__(self) -> None:
        self._held = b""
        self._at_line_start = True
        self.done = False
        self.is_bare = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(bytes of the message, bytes behind its end); `done` tells whether the end has come."""
        block = self._held + data if self._held else data
        self._held = b""
        if self._at_line_start:
            if block[:3] == b".\r\n":
                self.done = True
                return b"", block[3:]
            if len(block) < 3 and b".\r\n".startswith(block):
                self._held = block
                return b"", b""
        # Base64 has no dots at all, and looking for one is nearly free
        end = block.find(_END) if b"." in block else -1
        if end >= 0:
            self.done = True
            return self._message(block[: end + 2]), block[end + 5 :]
        cut = block.rfind(b"\r\n") + 2
        if cut == 1:
            if len(block) <= _HELD_MAX:
                self._held = block
                return b"", b""
            cut = len(block) - 1 if block.endswith(b"\r") else len(block)
            self._held = block[cut:]
            found = self._message(block[:cut])
            self._at_line_start = False
            return found, b""
        self._held = block[cut:]
        found = self._message(block[:cut])
        self._at_line_start = True
        return found, b""

    def _message(self, block: bytes) -> bytes:
        """Whole lines (or a piece of a long one) without stuffing."""
        lines = block.count(b"\r\n")
        if block.count(b"\n") != lines or block.count(b"\r") != lines:
            self.is_bare = True
        if b"." not in block:
            return block
        if self._at_line_start and block[:1] == b".":
            block = block[1:]
        return block.replace(b"\r\n.", b"\r\n")


class Stuffer:
    """Makes DATA of a message, piece by piece, ended by `end`."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b"\r\n"  # the last two bytes that went out

    def feed(self, piece: bytes) -> bytes:
        """A piece of the message as it goes out."""
        if not piece:
            return b""
        out = piece.replace(b"\r\n.", b"\r\n..") if b"\r\n." in piece else piece
        # the end of a line may have come with the piece before
        if self._last == b"\r\n" and piece[:1] == b".":
            out = b"." + out
        elif self._last[-1:] == b"\r" and piece[:2] == b"\n.":
            out = b"\n.." + out[2:]
        self._last = (self._last + piece[-2:])[-2:]
        return out

    def end(self) -> bytes:
        """What ends the message; a missing last line end is added."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"
