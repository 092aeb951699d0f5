"""What Email/query asks: filters and sort orders as nouns."""

# RFC 8620 §5.5; RFC 8621 §4.4.1, §4.4.2

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import orjson

from kerwen.base import limits
from kerwen.mail import match
from kerwen.mail.jmap.arguments import is_id, parse_date
from kerwen.mail.jmap.errors import MethodError

_TERM: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_NAME: Final = re.compile(r"[!-9;-~]{1,200}")
_KEYWORD: Final = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]{1,255}")
_TEXTS: Final = ("text", "from", "to", "cc", "bcc", "subject", "body")
_TERMS_MAX: Final = 32
COLLATIONS: Final = ("i;ascii-casemap", "i;unicode-casemap")
SORTS: Final = (
    "receivedAt",
    "size",
    "from",
    "to",
    "subject",
    "sentAt",
    "hasKeyword",
    "allInThreadHaveKeyword",
    "someInThreadHaveKeyword",
)
_WITH_KEYWORD: Final = frozenset(SORTS[6:])


class Condition(msgspec.Struct, frozen=True):
    """All of these. Times in ms; a keyword comes with whether it must be there."""

    in_mailbox: str | None = None
    not_only_in: tuple[str, ...] | None = None
    before: int | None = None
    after: int | None = None
    min_size: int | None = None
    max_size: int | None = None
    keywords: tuple[tuple[str, bool], ...] = ()
    threads: tuple[tuple[str, str], ...] = ()  # (all | some | none, keyword)
    has_attachment: bool | None = None
    key: match.Key | None = None  # what texts must hold

    @property
    def is_mailbox(self) -> bool:
        """Whether nothing but a mailbox is named."""
        return self == Condition(in_mailbox=self.in_mailbox)


class Operator(msgspec.Struct, frozen=True):
    """AND, OR, NOT (none of them)."""

    operator: str
    conditions: tuple[Filter, ...]


Filter = Condition | Operator


class Comparator(msgspec.Struct, frozen=True):
    """One order; the next one counts among what is equal."""

    property: str = "receivedAt"
    ascending: bool = True
    keyword: str = ""


def parse_filter(raw: Any) -> Filter | None:
    """Raises `MethodError` (invalidArguments, unsupportedFilter)."""
    return None if raw is None else _parse(raw, 0, [limits.SEARCH_KEYS_MAX])


def _parse(raw: Any, depth: int, left: list[int]) -> Filter:
    left[0] -= 1
    if depth > limits.SEARCH_DEPTH_MAX or left[0] < 0:
        raise MethodError("unsupportedFilter", "The filter is too large")
    if not isinstance(raw, dict):
        raise _bad("a filter is an object")
    if "operator" not in raw:
        return _condition(raw)
    operator, conditions = raw["operator"], raw.get("conditions")
    if operator not in ("AND", "OR", "NOT") or not isinstance(conditions, list):
        raise _bad("an operator is AND, OR or NOT, and has conditions")
    return Operator(operator, tuple(_parse(one, depth + 1, left) for one in conditions))


def _condition(raw: dict[str, Any]) -> Condition:
    found: dict[str, Any] = {}
    keywords: list[tuple[str, bool]] = []
    threads: list[tuple[str, str]] = []
    keys: list[match.Key] = []
    for name, value in raw.items():
        if value is None:
            continue
        if name in _TEXTS:
            keys += _text_keys(name, value)
        elif name == "header":
            keys.append(_header(value))
        elif name in ("hasKeyword", "notKeyword"):
            keywords.append((_keyword(value), name == "hasKeyword"))
        elif name in _THREADS:
            threads.append((_THREADS[name], _keyword(value)))
        elif name in _PLAIN:
            field, kind = _PLAIN[name]
            found[field] = _typed(name, kind, value)
        else:
            raise MethodError("unsupportedFilter", f"{name[:100]} is unknown")
    if keys:
        found["key"] = keys[0] if len(keys) == 1 else match.And(tuple(keys))
    return Condition(keywords=tuple(keywords), threads=tuple(threads), **found)


_THREADS: Final = {
    "allInThreadHaveKeyword": "all",
    "someInThreadHaveKeyword": "some",
    "noneInThreadHaveKeyword": "none",
}
_PLAIN: Final = {
    "inMailbox": ("in_mailbox", "id"),
    "inMailboxOtherThan": ("not_only_in", "ids"),
    "before": ("before", "date"),
    "after": ("after", "date"),
    "minSize": ("min_size", "size"),
    "maxSize": ("max_size", "size"),
    "hasAttachment": ("has_attachment", "bool"),
}


def _typed(name: str, kind: str, value: Any) -> Any:
    if kind == "id" and is_id(value):
        return value
    if kind == "ids" and isinstance(value, list) and all(map(is_id, value)):
        return tuple(value[: limits.MAILBOXES_MAX])
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "size" and type(value) is int and value >= 0:
        return value
    if kind == "date" and (ms := parse_date(value, utc=True)) is not None:
        return ms
    raise _bad(f"{name} has another type")


def terms(text: str) -> list[str]:
    """The words and quoted phrases of what somebody looks for."""
    found = [
        re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for quoted, plain in _TERM.findall(text)
    ]
    return [one for one in found if one][:_TERMS_MAX]


def _text_keys(name: str, value: Any) -> list[match.Key]:
    if not isinstance(value, str) or len(value) > limits.OAUTH_FIELD_MAX:
        raise _bad(f"{name} must be a text")
    if name == "text":
        return [match.Text(one) for one in terms(value)]
    if name == "body":
        return [match.Body(one) for one in terms(value)]
    return [match.Header(name.encode(), one) for one in terms(value)]


def _header(value: Any) -> match.Key:
    if (
        not isinstance(value, list)
        or len(value) not in (1, 2)
        or not all(isinstance(one, str) for one in value)
        or _NAME.fullmatch(value[0]) is None
    ):
        raise _bad("header must be a name and perhaps a text")
    return match.Header(value[0].lower().encode(), value[1][:1000] if len(value) == 2 else "")


def _keyword(value: Any) -> str:
    if not isinstance(value, str) or _KEYWORD.fullmatch(value) is None:
        raise _bad("this is no keyword")
    return value.lower()


def parse_sort(raw: Any) -> tuple[Comparator, ...]:
    """Raises `MethodError` (invalidArguments, unsupportedSort). Newest first if nothing is said."""
    if raw is None or raw == []:
        return (Comparator(ascending=False),)
    if not isinstance(raw, list) or len(raw) > len(SORTS) * 2:
        raise _bad("sort must be a list of comparators")
    return tuple(map(_comparator, raw))


def _comparator(raw: Any) -> Comparator:
    if not isinstance(raw, dict) or not isinstance(raw.get("property"), str):
        raise _bad("a comparator has a property")
    ascending, collation = raw.get("isAscending", True), raw.get("collation")
    if not isinstance(ascending, bool):
        raise _bad("isAscending must be true or false")
    name = raw["property"]
    if name not in SORTS or collation not in (None, *COLLATIONS):
        raise MethodError("unsupportedSort", f"{name[:100]} cannot be sorted by so")
    keyword = _keyword(raw.get("keyword")) if name in _WITH_KEYWORD else ""
    return Comparator(name, ascending, keyword)


def mark(filter_: Any, sort: Any, collapse: bool) -> bytes:
    """The same bytes for the same question."""
    return orjson.dumps([filter_, sort, collapse], option=orjson.OPT_SORT_KEYS)


def _bad(why: str) -> MethodError:
    return MethodError("invalidArguments", why)
