"""A message as a script sees it: header fields that can be changed, addresses, texts, dates."""

# RFC 5228 §2.4.2, §2.7.4; RFC 5173 (body); RFC 5233 (subaddress); RFC 5260 (date)

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import (
    addresses,
    charsets,
    dates,
    encoded_words,
    fields,
    message,
    submission,
    texts,
    transfer,
)
from kerwen.mail.dates import Date
from kerwen.mail.message import Part

_PLAIN: Final = re.compile(r"[ -~]{0,900}")
_FOLDS: Final = (b"\r\n", b"\n")
_WEEK_EPOCH: Final = 4  # 1 January 1970 was a Thursday
_JULIAN: Final = 40_587  # the modified Julian day of 1 January 1970
PROTECTED: Final = frozenset({b"received", b"auto-submitted"})  # RFC 5293 §5: these stay


class Line(msgspec.Struct, frozen=True, gc=False):
    """One header field as it stands, with its line end."""

    name: bytes  # in small letters
    raw: bytes

    @property
    def value(self) -> bytes:
        """What stands behind the colon, on one line."""
        value = self.raw.partition(b":")[2]
        if b"\n" in value[:-1]:
            value = b"".join(value.splitlines())
        return value.strip()[: limits.FIELD_SHOWN_MAX]

    @property
    def text(self) -> str:
        """The value, decoded."""
        return encoded_words.decode(self.value)


class Mail:
    """A message and its envelope. Changes to the header are seen at once."""

    def __init__(self, raw: bytes, sender: str, recipient: str) -> None:
        self.raw = raw
        self.sender = sender
        self.recipient = recipient
        self._end = submission.header_end(raw)
        self._lines: list[Line] | None = None
        self._lines_end = 0  # up to where they were read
        self._root: Part | None = None
        self._texts: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        self._versions: list[bytes | None] = [None]
        self.edits = 0

    # --- the header

    @property
    def lines(self) -> list[Line]:
        """Every field, from top to bottom."""
        if self._lines is None:
            header = self.raw[: self._end][: limits.HEADER_SHOWN_MAX]
            most = limits.FIELDS_SHOWN_MAX
            found = list(islice(fields.split(header), most + 1))
            self._lines_end = found[most].start if len(found) > most else len(header)
            self._lines = [Line(one.name, header[one.start : one.end]) for one in found[:most]]
        return self._lines

    def named(self, name: str) -> list[Line]:
        """The fields of a name, in any capitals."""
        small = name.lower().encode(errors="replace")
        return [line for line in self.lines if line.name == small]

    def add(self, name: str, value: str, *, last: bool) -> None:
        """Puts a field on top, or at the end."""
        if _PLAIN.fullmatch(value) and "=?" not in value:
            told = value.encode()
        else:
            told = encoded_words.encode(value, first=len(name) + 2)
        raw = name.encode() + b": " + told + b"\r\n"
        self.lines.insert(len(self.lines) if last else 0, Line(name.lower().encode(), raw))
        self._changed()

    def drop(self, gone: list[Line]) -> None:
        """Takes fields out; those that tell of the message's way stay."""
        dropped = {id(line) for line in gone if line.name not in PROTECTED}
        if dropped:
            self._lines = [line for line in self.lines if id(line) not in dropped]
            self._changed()

    def _changed(self) -> None:
        self.edits += 1
        self._versions.append(None)

    def version(self) -> int:
        """A number for the header as it is now; 0: as it came. See `header`."""
        at = len(self._versions) - 1
        if at and self._versions[at] is None:
            self._versions[at] = self._rendered()
        return at

    def header(self, version: int) -> bytes:
        """The header of a version, with the empty line."""
        found = self._versions[version]
        return self.raw[: self._end] if found is None else found

    def _rendered(self) -> bytes:
        found = []
        for line in self.lines:
            found.append(line.raw if line.raw.endswith(_FOLDS) else line.raw + b"\r\n")
        rest = self.raw[self._lines_end : self._end].rstrip(b"\r\n")
        if rest:  # what was not read is kept
            found.append(rest + b"\r\n")
        return b"".join(found) + b"\r\n"

    # --- the body

    def body(self, transform: str, types: tuple[str, ...] = ()) -> list[str]:
        """The texts that a body test looks at: `raw`, `text`, or `content` of some types."""
        key = (transform, types)
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = list(self._read(transform, types))
        return found

    def _read(self, transform: str, types: tuple[str, ...]) -> Iterator[str]:
        if transform == "raw":
            piece = self.raw[self._end : self._end + limits.TEXT_READ_MAX]
            yield charsets.guess(piece)
            return
        if self._root is None:
            self._root = message.scan(self.raw)
        room = limits.TEXT_READ_MAX
        for part in self._root.walk():
            if transform == "text":
                if part.parts or part.type.type != "text" or texts.is_attachment(part):
                    continue
            elif not _is_of(part, types):
                continue
            if room <= 0:
                return
            size = part.end - part.body
            yield self._text_of(part, room, plain=transform == "text")
            room -= max(size, 1)

    def _text_of(self, part: Part, room: int, *, plain: bool) -> str:
        if plain:
            return texts.text_of(self.raw, part, room)
        if part.is_message:
            inner = part.parts[0]
            return charsets.guess(self.raw[inner.start : inner.body][:room])
        if part.is_multipart:  # what stands before the first and after the last part
            before = self.raw[part.body : part.parts[0].start]
            return charsets.guess((before + self.raw[part.parts[-1].end : part.end])[:room])
        data = self.raw[part.body : min(part.end, part.body + room)]
        if part.encoding:
            data = transfer.decode(data, part.encoding)
        return charsets.decode(data, part.type.get(b"charset"))


def _is_of(part: Part, types: tuple[str, ...]) -> bool:
    kind, sub = part.type.type, part.type.subtype
    for one in types:
        if not one:
            return True
        wanted, slash, wanted_sub = one.lower().partition("/")
        if wanted == kind and (not slash or wanted_sub == sub):
            return "/" not in wanted_sub
    return False


# --- addresses


def listed(line: Line) -> list[str]:
    """The addresses of a field."""
    found = addresses.mailboxes(line.value)
    return [one.address.decode("utf-8", "replace") for one in found]


def part_of(address: str, part: str) -> str | None:
    """A part of an address; None where there is no such part."""
    if part in ("", "all"):
        return address
    local, _, domain = address.rpartition("@")
    if not local and "@" not in address:
        local, domain = address, ""
    if part == "domain":
        return domain
    if part == "localpart":
        return local
    user, plus, detail = local.partition("+")
    if part == "user":
        return user
    return detail if plus else None


# --- dates


def date_in(line: Line) -> Date | None:
    """The moment that a field tells; of trace fields it stands behind the last semicolon."""
    value = line.value
    return dates.parse(value.rpartition(b";")[2] if b";" in value else value)


def date_part(moment: Date, part: str) -> str:
    """A part of a moment as `date` compares it, in the moment's own zone.  # RFC 5260 §4.2"""
    seconds = moment.ms // 1000 + moment.zone * 60
    try:
        at = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(
            seconds=seconds
        )
    except OverflowError:
        return ""
    sign = "-" if moment.zone < 0 else "+"
    zone = f"{sign}{abs(moment.zone) // 60:02}{abs(moment.zone) % 60:02}"
    day, clock = f"{at.year:04}-{at.month:02}-{at.day:02}", f"{at:%H:%M:%S}"
    shown = {
        "year": f"{at.year:04}",
        "month": f"{at.month:02}",
        "day": f"{at.day:02}",
        "date": day,
        "julian": str(seconds // 86_400 + _JULIAN),
        "hour": f"{at.hour:02}",
        "minute": f"{at.minute:02}",
        "second": f"{at.second:02}",
        "time": clock,
        "iso8601": f"{day}T{clock}{zone[:3]}:{zone[3:]}",
        "std11": dates.write(moment.ms, moment.zone),
        "zone": zone,
        "weekday": str((seconds // 86_400 + _WEEK_EPOCH) % 7),
    }
    return shown.get(part, "")
