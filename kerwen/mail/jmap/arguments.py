"""Reads a method's arguments: each is of the type that the specification says, or refused."""

# RFC 8620 §1.2-1.4, §5

from __future__ import annotations

import datetime
import functools
import re
from typing import Any, Final

from kerwen.base import limits
from kerwen.mail.jmap.errors import MethodError, bad_argument

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_IDS: Final = re.compile(r"[A-Za-z0-9_-]{1,255}+(?:,[A-Za-z0-9_-]{1,255}+)*+")
_DATE: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|([+-])(\d\d):(\d\d))"
)
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
INT_MAX: Final = 2**53 - 1


def is_id(value: Any) -> bool:
    """Whether something is an Id."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _are_ids(values: list[Any]) -> bool:
    try:
        told = ",".join(values)
    except TypeError:
        return False
    return not values or (_IDS.fullmatch(told) is not None and told.count(",") == len(values) - 1)


def parse_date(value: Any, *, utc: bool = False) -> int | None:
    """Milliseconds of a Date (`utc`: of a UTCDate); None: it is none."""
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or (utc and match[8] != "Z"):
        return None
    year, month, day, hour, minute, second = (int(match[at]) for at in range(1, 7))
    try:
        moment = datetime.datetime(
            year, month, day, hour, minute, min(second, 59), tzinfo=datetime.UTC
        )
    except ValueError:
        return None
    ms = int(moment.timestamp()) * 1000
    if match[7]:
        ms += int(float("0" + match[7]) * 1000)
    if match[9]:
        zone = (int(match[10]) * 60 + int(match[11])) * 60_000
        ms += zone if match[9] == "-" else -zone
    return ms


def utc_date(ms: int) -> str:
    """A UTCDate."""
    day, second = divmod(ms // 1000, 86_400)
    return f"{_day(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


@functools.lru_cache(4_096)
def _day(number: int) -> str:
    """A day, counted from 1970; what is no day of our calendar is its first or last."""
    ordinal = min(max(number + _EPOCH, 1), datetime.date.max.toordinal())
    return datetime.date.fromordinal(ordinal).isoformat()


class Arguments:
    """The arguments of one call."""

    __slots__ = ("raw",)

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self.raw.get(name) is not None

    def boolean(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.raw.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise bad_argument(name, "must be true or false")
        return value

    def integer(self, name: str, default: int = 0) -> int:
        """A number without a fraction."""
        value = self.raw.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > INT_MAX:
            raise bad_argument(name, "must be an integer")
        return value

    def unsigned(self, name: str) -> int | None:
        """An UnsignedInt; None: not given."""
        value = self.raw.get(name)
        if value is None:
            return None
        found = self.integer(name)
        if found < 0:
            raise bad_argument(name, "must not be negative")
        return found

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.raw.get(name)
        if not isinstance(value, str):
            raise bad_argument(name, "must be a text")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text; None: not given."""
        return None if self.raw.get(name) is None else self.text(name)

    def ids(self, name: str = "ids", most: int = limits.JMAP_OBJECTS_GET_MAX) -> list[str] | None:
        """A list of Ids, each once; None: not given. Says `requestTooLarge`."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not _are_ids(value):
            raise bad_argument(name, "must be a list of ids")
        found = list(dict.fromkeys(value))
        if len(found) > most:
            raise MethodError("requestTooLarge", f"At most {most} ids")
        return found

    def texts(self, name: str) -> list[str] | None:
        """A list of texts; None: not given."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise bad_argument(name, "must be a list of texts")
        if len(value) > limits.JMAP_LIST_MAX:
            raise bad_argument(name, f"may have {limits.JMAP_LIST_MAX} items")
        return value

    def properties(self, known: frozenset[str], name: str = "properties") -> frozenset[str]:
        """Which properties are wanted, all by default; `id` always. Says `invalidArguments`."""
        wanted = self.texts(name)
        if wanted is None:
            return known
        unknown = [one for one in wanted if one not in known]
        if unknown:
            raise bad_argument(name, f"{unknown[0][:100]} is unknown")
        return frozenset(wanted) | {"id"}

    def object(self, name: str) -> dict[str, Any] | None:
        """A JSON object; None: not given."""
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise bad_argument(name, "must be an object")
        return value
