"""Bytes of a client to commands, sans-IO: any bytes, whole or one by one, give the same.

`feed` returns what is complete. Some commands change how the bytes after them are read (log-in
changes what is allowed, IDLE waits for DONE, STARTTLS and COMPRESS change the line itself): after
such a one, and after `IMAP_PIPELINE_MAX` commands, nothing more is read until `go_on` says in
which stage the connection is now. What came meanwhile waits in `waiting` bytes.
"""

# RFC 9051 §2.2.1, §4.3; RFC 7888

from __future__ import annotations

import re
from typing import Final

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.cursor import Bad, Cursor
from kerwen.imap.protocol.grammar import command, decoded
from kerwen.imap.protocol.search_grammar import BadCharset
from kerwen.imap.protocol.stages import HOLDING, Stage, allowed

_ANNOUNCED: Final = re.compile(rb"~?\{(\d{1,20})(\+?)\}\Z")
_TAG: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]{1,64} ')
_APPENDS: Final = re.compile(rb"[^ ]+ (?:APPEND|REPLACE|UID REPLACE) ", re.IGNORECASE)
_TAIL: Final = 32
_CHARSETS: Final = b"BADCHARSET (UTF-8 US-ASCII)"


class Parser:
    """One connection's bytes. `utf8`: names of mailboxes are UTF-8 (set after ENABLE)."""

    __slots__ = (
        "_append",
        "_at",
        "_chunks",
        "_held",
        "_left",
        "_literals",
        "_mode",
        "_pos",
        "_rest",
        "_room",
        "_scanned",
        "_skip",
        "_stage",
        "_text",
        "utf8",
    )

    def __init__(self) -> None:
        self.utf8 = False
        self._stage = Stage.GREETED
        self._mode = _COMMAND
        self._held = False
        self._rest = b""  # bytes that came
        self._pos = 0  # how far they are read; 0 between calls
        self._scanned = 0  # how far no line end was found
        self._skip = _NOT
        self._left = 0  # bytes of a literal still to come
        self._chunks: list[bytes] | None = None  # of the literal that comes; None: it is dropped
        self._clear()

    def _clear(self) -> None:
        """Before a new command."""
        self._text = b""
        self._at = 0
        self._literals: dict[int, bytes] | None = None
        self._room = 0  # bytes of literals so far
        self._append = False

    @property
    def waiting(self) -> int:
        """Bytes that came and were not looked at yet."""
        return len(self._rest)

    @property
    def literal_left(self) -> int:
        """Bytes of the literal that comes now."""
        return self._left

    # --- what the connection says

    def feed(self, data: bytes) -> list[c.Item]:
        """Takes bytes; returns what is complete."""
        self._rest = self._rest + data if self._rest else data
        return self._read()

    def go_on(self, stage: Stage) -> list[c.Item]:
        """Reads on after a command that holds, in the stage that it led to."""
        self._stage = stage
        self._held = False
        return self._read()

    def expect_done(self) -> None:
        """IDLE has begun: the next line is DONE. Then `go_on`."""
        self._mode = _IDLE

    def expect_answer(self) -> None:
        """A challenge was sent: the next line answers it. Then `go_on`."""
        self._mode = _ANSWER

    def forget(self) -> int:
        """Drops what waits: nothing said before STARTTLS may count after it (RFC 9051 §6.2.1).

        Returns how much that was.
        """
        dropped, self._rest, self._scanned = len(self._rest), b"", 0
        return dropped

    def closed(self) -> list[c.Item]:
        """The client is gone; half a command is none."""
        self._rest = b""
        self._scanned = 0
        self._chunks = self._literals = None
        self._held = True
        return []

    # --- reading

    def _read(self) -> list[c.Item]:
        found: list[c.Item] = []
        while self._pos < len(self._rest) and not self._held:
            if len(found) >= limits.IMAP_PIPELINE_MAX:
                self._held = True
                break
            if self._left:
                self._take_literal()
                continue
            line = self._line(found)
            if line is None:
                break
            self._take_line(line, found)
        self._rest = self._rest[self._pos :]
        self._scanned = max(self._scanned - self._pos, 0)
        self._pos = 0
        return found

    def _line(self, found: list[c.Item]) -> bytes | None:
        """The next line without its end; None if it is not whole."""
        rest, start = self._rest, self._pos
        end = rest.find(b"\n", max(self._scanned, start))
        most = limits.IMAP_COMMAND_MAX - len(self._text)
        if end < 0:
            self._scanned = len(rest)
            if len(rest) - start > most:
                self._complain(rest[start:], found)
                self._pos = len(rest) - _TAIL  # it may end with the size of a literal
            return None
        self._pos = end + 1
        if end - start > most:
            self._complain(rest[start:end], found)
        return rest[start : end - 1] if rest[end - 1 : end] == b"\r" else rest[start:end]

    def _complain(self, line: bytes, found: list[c.Item]) -> None:
        """A command is too long: says so once, and reads past the rest of it."""
        if self._mode is not _COMMAND:
            found.append(self._line_of_mode(b""))
        elif self._skip is _NOT:
            found.append(c.Malformed(self._tag_of(self._text or line), "Command too long"))
        self._skip = _LINE
        self._clear()

    def _take_line(self, line: bytes, found: list[c.Item]) -> None:
        if self._skip is not _NOT:
            self._skip_line(line, found)
            return
        if self._mode is not _COMMAND:
            found.append(self._line_of_mode(line))
            return
        text = self._text + line if self._text else line
        announced = _ANNOUNCED.search(line)
        if announced is not None:
            self._announce(text, announced, found)
        else:
            if text:
                found.append(self._command(text))
            self._clear()

    def _line_of_mode(self, line: bytes) -> c.Item:
        mode, self._mode = self._mode, _COMMAND
        self._held = True
        if mode is _IDLE:
            return c.Done(line.strip().upper() == b"DONE")
        if line == b"*":
            return c.Answer(None, cancelled=True)
        return c.Answer(decoded(line))

    def _command(self, text: bytes) -> c.Item:
        tag = self._tag_of(text)
        if tag is None:
            return c.Malformed(None, "A command begins with a tag")
        cursor = Cursor(text, self._literals or {}, utf8=self.utf8)
        cursor.at = len(tag) + 1
        try:
            found = command(cursor, tag)
        except BadCharset as error:
            return c.Malformed(tag, error.text, "NO", _CHARSETS)
        except Bad as error:
            return c.Malformed(tag, error.text)
        kind = type(found)
        if not allowed(kind, self._stage):
            text_ = f"{kind.__name__} is not allowed in the {self._stage.value} state"
            return c.Malformed(tag, text_)
        if kind in HOLDING:
            self._held = True
        return found

    def _tag_of(self, text: bytes) -> bytes | None:
        match = _TAG.match(text)
        return match[0][:-1] if match is not None else None

    # --- literals

    def _announce(self, text: bytes, announced: re.Match[bytes], found: list[c.Item]) -> None:
        """A line ends with the size of a literal."""
        size = int(announced[1])
        waits = not announced[2]  # RFC 7888: without + the client waits for us
        if not self._text:
            self._append = self._stage is not Stage.GREETED and _APPENDS.match(text) is not None
        refusal = self._refusal(text, size)
        if refusal is not None:
            self._refuse(refusal, size, waits=waits, found=found)
            return
        if self._literals is None:
            self._literals = {}
        self._at = len(text) - len(announced[0])
        self._room += size
        self._text = text
        self._chunks = []
        self._left = size
        if not size:
            self._literals[self._at] = b""
        if waits:
            found.append(c.Continue(size))

    def _refusal(self, text: bytes, size: int) -> c.Malformed | None:
        tag = self._tag_of(text)
        if tag is None:
            return c.Malformed(None, "A command begins with a tag")
        if len(self._literals or ()) >= limits.IMAP_ITEMS_MAX:
            return c.Malformed(tag, "Too many literals")
        if self._append:
            if size > limits.MESSAGE_BYTES_MAX:
                text_ = f"A message may have {limits.MESSAGE_BYTES_MAX} bytes"
                return c.Malformed(tag, text_, "NO", b"TOOBIG")
            most = limits.IMAP_APPEND_MAX
        else:
            early = self._stage is Stage.GREETED
            most = limits.IMAP_LITERAL_EARLY_MAX if early else limits.IMAP_LITERAL_MAX
        if self._room + size > most:
            return c.Malformed(tag, "The literals of a command are too long", "NO", b"LIMIT")
        return None

    def _refuse(self, refusal: c.Malformed, size: int, *, waits: bool, found: list[c.Item]) -> None:
        """Refuses a literal. One that the client sends anyway is read past."""
        self._clear()
        if not waits and size > limits.IMAP_SKIPPED_MAX:
            found.append(c.Malformed(refusal.tag, refusal.text, fatal=True))
            self._held = True
            return
        found.append(refusal)
        if not waits:
            self._skip = _LINE
            self._chunks = None
            self._left = size

    def _take_literal(self) -> None:
        """Takes what has come of a literal."""
        piece = self._rest[self._pos : self._pos + self._left]
        self._pos += len(piece)
        self._left -= len(piece)
        if self._chunks is None:
            return
        self._chunks.append(piece)
        if not self._left:
            assert self._literals is not None
            self._literals[self._at] = b"".join(self._chunks)
            self._chunks = None

    def _skip_line(self, line: bytes, found: list[c.Item]) -> None:
        """A line of a command that was refused already: it may announce one more literal."""
        announced = _ANNOUNCED.search(line)
        if announced is None or not announced[2]:
            self._skip = _NOT
            return
        size = int(announced[1])
        if size > limits.IMAP_SKIPPED_MAX:
            found.append(c.Malformed(None, "A literal is too long", fatal=True))
            self._held = True
            return
        self._chunks = None
        self._left = size


_COMMAND: Final = "command"
_IDLE: Final = "idle"
_ANSWER: Final = "answer"
_NOT: Final = ""
_LINE: Final = "line"
