"""A place in a command, and the small pieces of the grammar, named as the ABNF names them."""

# RFC 9051 §9

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from kerwen.base import limits
from kerwen.imap.protocol import mailbox_names
from kerwen.imap.protocol.sequence import (
    NUMBER_MAX,
    STAR,
    PartialRange,
    SequenceSet,
)

T = TypeVar("T")

NUMBER64_MAX: Final = 2**63 - 1
_ATOM: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_ASTRING: Final = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')  # ASTRING-CHAR: also ]
_LIST: Final = re.compile(rb'[^\x00-\x20\x7f(){"\\]+')  # list-char; and UTF-8
_WORD: Final = re.compile(rb'[^\x00-\x20\x7f(){%*"\\]+')  # ASTRING-CHAR; and UTF-8
_QUOTED: Final = re.compile(rb'"((?:[^"\\\r\n\x00]|\\["\\])*)"')
_ESCAPED: Final = re.compile(rb'\\(["\\])')
_LITERAL: Final = re.compile(rb"~?\{\d+\+?\}")
_NUMBER: Final = re.compile(rb"\d{1,19}")
_FLAG: Final = re.compile(rb'\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_RANGES: Final = re.compile(rb"(?:[1-9]\d{0,9}|\*)(?::(?:[1-9]\d{0,9}|\*))?"
                            rb"(?:,(?:[1-9]\d{0,9}|\*)(?::(?:[1-9]\d{0,9}|\*))?)*")  # fmt: skip
_PARTIAL: Final = re.compile(rb"(-?)([1-9]\d{0,9}):(-?)([1-9]\d{0,9})")
_DATE: Final = re.compile(rb'("?)(\d{1,2})-([A-Za-z]{3})-(\d{4})\1')
_DATE_TIME: Final = re.compile(
    rb'"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"'
)
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun",
         b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1)
}  # fmt: skip
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()


class Bad(Exception):
    """The text is no command; says why, for the client."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Cursor:
    """Reads a command whose literals stand apart: `literals` has them by their place in `text`."""

    __slots__ = ("at", "literals", "text", "utf8")

    def __init__(self, text: bytes, literals: Mapping[int, bytes], *, utf8: bool) -> None:
        self.text = text
        self.literals = literals
        self.utf8 = utf8
        self.at = 0

    # --- punctuation

    def ends(self) -> bool:
        """Whether everything is read."""
        return self.at >= len(self.text)

    def done(self) -> None:
        """Nothing may follow; a space too many at the end is forgiven."""
        if self.text[self.at :].strip(b" "):
            raise Bad("Something follows that does not belong there")

    def sees(self, text: bytes) -> bool:
        """Whether these bytes stand here."""
        return self.text.startswith(text, self.at)

    def takes(self, text: bytes) -> bool:
        """Reads these bytes if they stand here."""
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def sp(self) -> None:
        """SP."""
        if not self.takes(b" "):
            raise Bad("A space is missing")

    def open(self) -> None:
        """An opening bracket."""
        if not self.takes(b"("):
            raise Bad("( is missing")

    def close(self) -> None:
        """A closing bracket."""
        if not self.takes(b")"):
            raise Bad(") is missing")

    def listed(self, read: Callable[[], T], *, empty: bool = False) -> tuple[T, ...]:
        """`( x SP x … )`."""
        self.open()
        found: list[T] = []
        if empty and self.takes(b")"):
            return ()
        while True:
            found.append(read())
            if len(found) > limits.IMAP_ITEMS_MAX:
                raise Bad("Too many items")
            if self.takes(b")"):
                return tuple(found)
            self.sp()

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise Bad(f"{what} is missing")
        self.at = match.end()
        return match

    # --- strings

    def atom(self) -> bytes:
        """atom."""
        return self._match(_ATOM, "A word")[0]

    def word(self) -> str:
        """An atom in capitals: names of commands, options, attributes."""
        return self.atom().upper().decode("ascii")

    def quoted(self) -> bytes:
        """quoted."""
        inner = self._match(_QUOTED, "A quoted string")[1]
        return _ESCAPED.sub(rb"\1", inner) if b"\\" in inner else inner

    def literal(self) -> bytes:
        """literal or literal8."""
        found = self.literals.get(self.at)
        if found is None:
            raise Bad("A literal is missing")
        self._match(_LITERAL, "A literal")
        return found

    def sees_literal(self) -> bool:
        """Whether a literal stands here."""
        return self.at in self.literals

    def string(self) -> bytes:
        """string."""
        return self.quoted() if self.sees(b'"') else self.literal()

    def astring(self) -> bytes:
        """astring; 8-bit bytes are let through."""
        if self.sees(b'"'):
            return self.quoted()
        if self.at in self.literals:
            return self.literal()
        return self._match(_WORD, "A string")[0]

    def nstring(self) -> bytes | None:
        """nstring."""
        if self.text[self.at : self.at + 3].upper() == b"NIL" and not self.sees_literal():
            self.at += 3
            return None
        return self.string()

    def text_of(self, raw: bytes) -> str:
        """A string as text: UTF-8."""
        try:
            found = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("A string is not UTF-8") from None
        if "\0" in found:
            raise Bad("A string holds a NUL")
        return found

    # --- names, flags

    def mailbox(self) -> str:
        """mailbox."""
        return self._named(self.astring())

    def list_mailbox(self) -> str:
        """list-mailbox: a name with wildcards."""
        if self.sees(b'"') or self.sees_literal():
            return self._named(self.string())
        return self._named(self._match(_LIST, "A mailbox name")[0])

    def _named(self, raw: bytes) -> str:
        if b"\0" in raw:
            raise Bad("A mailbox name holds a NUL")
        try:
            return mailbox_names.decode(raw, utf8=self.utf8)
        except mailbox_names.BadName as error:
            raise Bad(f"Bad mailbox name: {error}") from None

    def flag(self) -> str:
        """flag: a system flag or keyword."""
        return self._match(_FLAG, "A flag")[0].decode("ascii")

    def flag_list(self) -> tuple[str, ...]:
        """flag-list."""
        return self.listed(self.flag, empty=True)

    # --- numbers

    def number(self, most: int = NUMBER_MAX) -> int:
        """number."""
        found = int(self._match(_NUMBER, "A number")[0])
        if found > most:
            raise Bad("A number is too large")
        return found

    def nz_number(self, most: int = NUMBER_MAX) -> int:
        """nz-number."""
        found = self.number(most)
        if not found:
            raise Bad("A number may not be 0")
        return found

    def number64(self) -> int:
        """number64."""
        return self.number(NUMBER64_MAX)

    def sequence_set(self) -> SequenceSet:
        """sequence-set, or `$` (RFC 5182)."""
        if self.takes(b"$"):
            return SequenceSet(saved=True)
        raw = self._match(_RANGES, "A sequence set")[0]
        if raw.count(b",") >= limits.IMAP_RANGES_MAX:
            raise Bad("A sequence set has too many ranges")
        return SequenceSet(tuple(map(_range, raw.split(b","))))

    def partial_range(self) -> PartialRange:
        """partial-range (RFC 9394 §3.3)."""
        match = self._match(_PARTIAL, "A range")
        if match[1] != match[3]:
            raise Bad("A range counts from both ends")
        first, last = int(match[1] + match[2]), int(match[3] + match[4])
        return PartialRange(first, last, match[0])

    # --- dates

    def date(self) -> int:
        """date: days since 1970."""
        match = self._match(_DATE, "A date")
        return _day(match[2], match[3], match[4])

    def sees_date_time(self) -> bool:
        """Whether a date-time stands here."""
        return _DATE_TIME.match(self.text, self.at) is not None

    def date_time(self) -> int:
        """date-time: milliseconds since 1970."""
        match = self._match(_DATE_TIME, "A date")
        day = _day(match[1], match[2], match[3])
        hour, minute, second = int(match[4]), int(match[5]), int(match[6])
        zone = int(match[8]) * 60 + int(match[9])
        if hour > 23 or minute > 59 or second > 60 or zone > 24 * 60:
            raise Bad("This is no time of day")
        east = -zone if match[7] == b"-" else zone
        return (((day * 24 + hour) * 60 + minute - east) * 60 + second) * 1000


def _range(raw: bytes) -> tuple[int, int]:
    low, colon, high = raw.partition(b":")
    first = _seq_number(low)
    if not colon:
        return first, first
    second = _seq_number(high)
    return (first, second) if first <= second else (second, first)


def _seq_number(raw: bytes) -> int:
    if raw == b"*":
        return STAR
    found = int(raw)
    if found > NUMBER_MAX:
        raise Bad("A number is too large")
    return found


def _day(day: bytes, month: bytes, year: bytes) -> int:
    try:
        number = _MONTHS[month.lower()]
        return datetime.date(int(year), number, int(day)).toordinal() - _EPOCH
    except (KeyError, ValueError):
        raise Bad("There is no such day") from None
