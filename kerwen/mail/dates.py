"""Dates of messages, read as they come and written as they should be."""

# RFC 5322 §3.3, §4.3

from __future__ import annotations

import datetime
import functools
import re
from typing import Final

import msgspec

_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun",
                  b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")  # fmt: skip
_MONTH_NUMBER: Final = {name: number for number, name in enumerate(_MONTHS, 1)}
_MONTH_NAMES: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # fmt: skip
_DAY_NAMES: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ZONES: Final = {b"est": -300, b"edt": -240, b"cst": -360, b"cdt": -300, b"mst": -420,
                 b"mdt": -360, b"pst": -480, b"pdt": -420, b"msk": 180, b"msd": 240,
                 b"cet": 60, b"cest": 120, b"eet": 120, b"eest": 180}  # fmt: skip
_USUAL: Final = re.compile(
    rb"\s*+(?:[A-Za-z]{3,9}\.?\s*,?\s*)?(\d{1,2})[\s-]+([A-Za-z]{3,9})\.?[\s-]+(\d{2,4})"
    rb"[\s,]+(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2})(?:[.,]\d+)?)?"
    rb"\s*+(?:(?:GMT|UTC)?([+-])(\d{2}):?(\d{2})|([A-Za-z]{1,5}))?"
)
_ASCTIME: Final = re.compile(
    rb"\s*+[A-Za-z]{3,9},?\s+([A-Za-z]{3,9})\s+(\d{1,2}),?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?"
    rb"\s+(?:[A-Z]{3,4}\s+)?(\d{4})"
)
_ISO: Final = re.compile(
    rb"\s*+(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?"
    rb"\s*+(?:Z|([+-])(\d{2}):?(\d{2}))?"
)
_EPOCH_DAY: Final = datetime.date(1970, 1, 1).toordinal()
_DATE_BYTES_MAX: Final = 200


class Date(msgspec.Struct, frozen=True, gc=False):
    """A moment in ms since 1970, and how far the writer's clock was from UTC, in minutes."""

    ms: int
    zone: int

    @property
    def day(self) -> int:
        """The day as the writer had it, counted from 1 January 1970 (for SENTON)."""
        return (self.ms + self.zone * 60_000) // 86_400_000


def parse(value: bytes) -> Date | None:
    """The moment that a Date field tells; None if it makes no sense."""
    value = value[:_DATE_BYTES_MAX]
    match = _USUAL.match(value)
    if match is not None:
        day, month, year, hour, minute, second, sign, hours, minutes, name = match.groups()
        number = _MONTH_NUMBER.get(month[:3].lower(), 0)
        zone = _zone(sign, hours, minutes) if sign else _named_zone(name)
        return _date(_year(year), number, day, hour, minute, second, zone)
    match = _ISO.match(value)
    if match is not None:
        year, month, day, hour, minute, second, sign, hours, minutes = match.groups()
        return _date(int(year), int(month), day, hour, minute, second, _zone(sign, hours, minutes))
    match = _ASCTIME.match(value)
    if match is not None:
        month, day, hour, minute, second, year = match.groups()
        number = _MONTH_NUMBER.get(month[:3].lower(), 0)
        return _date(int(year), number, day, hour, minute, second, 0)
    return None


def _year(digits: bytes) -> int:
    """RFC 5322 §4.3: two digits are 1950 to 2049, three are counted from 1900."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _zone(sign: bytes | None, hours: bytes | None, minutes: bytes | None) -> int:
    if not sign or hours is None or minutes is None:
        return 0
    size = int(hours) * 60 + int(minutes)
    if size >= 24 * 60:
        return 0
    return -size if sign == b"-" else size


def _named_zone(name: bytes | None) -> int:
    return _ZONES.get(name.lower(), 0) if name else 0


def _date(
    year: int, month: int, day: bytes, hour: bytes, minute: bytes, second: bytes | None, zone: int
) -> Date | None:
    try:
        days = datetime.date(year, month, int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    h, m, s = int(hour), int(minute), min(int(second or 0), 59)  # a leap second is the one before
    if h > 23 or m > 59:
        return None
    return Date((((days * 24 + h) * 60 + m - zone) * 60 + s) * 1000, zone)


def write(ms: int, zone: int = 0) -> str:
    """A moment as RFC 5322 §3.3 writes it; `zone` is minutes east of UTC."""
    return _written(ms // 1000, zone)


@functools.lru_cache(maxsize=16)
def _written(seconds: int, zone: int) -> str:
    """A busy server writes the same second often."""
    moment = _moment(seconds * 1000, zone)
    day, month = _DAY_NAMES[moment.weekday()], _MONTH_NAMES[moment.month - 1]
    clock = f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
    return f"{day}, {moment.day} {month} {moment.year:04} {clock} {_offset(zone)}"


def write_internal(ms: int, zone: int = 0) -> str:
    """A moment as IMAP's INTERNALDATE has it, without the quotes (RFC 9051 §9, date-time)."""
    moment = _moment(ms, zone)
    month = _MONTH_NAMES[moment.month - 1]
    clock = f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
    return f"{moment.day:2}-{month}-{moment.year:04} {clock} {_offset(zone)}"


def _moment(ms: int, zone: int) -> datetime.datetime:
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return start + datetime.timedelta(seconds=ms // 1000 + zone * 60)


def _offset(zone: int) -> str:
    sign = "-" if zone < 0 else "+"
    return f"{sign}{abs(zone) // 60:02}{abs(zone) % 60:02}"
