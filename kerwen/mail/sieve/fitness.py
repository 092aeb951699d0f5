"""What a form does not say of a command's arguments: which values they may have, and together."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Any, Final

from kerwen.base import limits
from kerwen.mail.sieve import vocabulary
from kerwen.mail.sieve.script import Step
from kerwen.mail.sieve.strings import NAME, Text
from kerwen.mail.sieve.tree import Node

_FIELD: Final = re.compile(r"[!-9;-~]{1,998}")
_ADDRESS: Final = re.compile(
    r'[^\s@<>",;:()\\\x00-\x1f\x7f]{1,64}@[^\s@<>",;:()\\\x00-\x1f\x7f]{1,255}'
)
_ZONE: Final = re.compile(r"[+-](?:[01][0-9]|2[0-3])[0-5][0-9]")
SECONDS_MAX: Final = 366 * 86_400
"""The longest time for which anything is remembered."""


def is_address(text: str) -> bool:
    """Whether mail may be sent there."""
    return _ADDRESS.fullmatch(text) is not None


def is_field_name(text: str) -> bool:
    """Whether a header field may be called so."""
    return _FIELD.fullmatch(text) is not None


def zone_minutes(text: str) -> int | None:
    """`+0200` in minutes; None if it is no time zone."""
    if not _ZONE.fullmatch(text):
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:5])
    return -minutes if text[0] == "-" else minutes


def constant(node: Node, text: Text, what: str) -> None:
    """`BadScript` where a string has variables and may not."""
    if not isinstance(text, str):
        raise node.bad(f"{what} has no variables")


def check(node: Node, step: Step, requires: Set[str]) -> None:
    """`BadScript` where an argument makes no sense. What holds variables is seen when it runs."""
    if "match" in step.tags or "comparator" in step.tags:
        _check_match(node, step, requires)
    if (
        "last" in step.tags
        and "index" not in step.tags
        and step.name not in ("addheader", "duplicate")
    ):
        raise node.bad(":last stands with :index")
    if step.tag("index") and step.value("index") < 1:
        raise node.bad(":index counts from 1")
    more = _MORE.get(step.name)
    if more is not None:
        more(node, step)


def _check_match(node: Node, step: Step, requires: Set[str]) -> None:
    comparator = step.value("comparator")
    if comparator is not None:
        if comparator not in vocabulary.COMPARATORS:
            raise node.bad(f"there is no comparator {comparator!r}")
        if (
            comparator not in vocabulary.FREE_COMPARATORS
            and f"comparator-{comparator}" not in requires
        ):
            raise node.bad(f"this comparator needs: require 'comparator-{comparator}'")
    match = step.tag("match")
    if match in ("count", "value") and step.value("match") not in vocabulary.RELATIONS:
        raise node.bad(f":{match} is followed by gt, ge, lt, le, eq or ne")
    if match in ("contains", "matches") and comparator == "i;ascii-numeric":
        raise node.bad(f":{match} makes no sense with numbers")


def _plain(values: Any) -> list[str]:
    """The strings whose text is known already."""
    listed = values if isinstance(values, tuple) else (values,)
    return [one for one in listed if isinstance(one, str)]


def _headers(node: Node, step: Step) -> None:
    for place in ("headers", "header", "name"):
        for name in _plain(step.places.get(place, ())):
            if not is_field_name(name):
                raise node.bad(f"no header field is called {name[:80]!r}")


def _size(node: Node, step: Step) -> None:
    if "size" not in step.tags:
        raise node.bad("size is followed by :over or :under")


def _redirect(node: Node, step: Step) -> None:
    for address in _plain(step.places["address"]):
        if not is_address(address):
            raise node.bad(f"{address[:80]!r} is no address")


def _fileinto(node: Node, step: Step) -> None:
    if "" in _plain(step.places["mailbox"]):
        raise node.bad("a mailbox has a name")


def _variable(node: Node, step: Step) -> None:
    name = step.places.get("name", step.places.get("variable"))
    if name is None:
        return
    constant(node, name, "a variable's name")
    if not NAME.fullmatch(name):
        raise node.bad(f"no variable is called {name[:80]!r}")


def _globals(node: Node, step: Step) -> None:
    for name in step.places["names"]:
        constant(node, name, "a variable's name")
        if not NAME.fullmatch(name) or "." in name:
            raise node.bad(f"no variable is called {name[:80]!r}")


def _envelope(node: Node, step: Step) -> None:
    for name in _plain(step.places["parts"]):
        if name.lower() not in ("from", "to"):
            raise node.bad(f"the envelope has no part {name[:80]!r}, only from and to")


def _date(node: Node, step: Step) -> None:
    for part in _plain(step.places["part"]):
        if part.lower() not in vocabulary.DATE_PARTS:
            raise node.bad(f"a date has no part {part[:80]!r}")
    if step.tag("zone") == "zone":
        for zone in _plain(step.value("zone")):
            if zone_minutes(zone) is None:
                raise node.bad(f"{zone[:80]!r} is no time zone such as +0500")
    if step.name == "date":
        _headers(node, step)


def _vacation(node: Node, step: Step) -> None:
    for address in _plain(step.value("addresses") or ()):
        if not is_address(address):
            raise node.bad(f"{address[:80]!r} is no address")
    if step.tag("mime"):
        constant(node, step.places["reason"], "a reply in :mime form")


def _duplicate(node: Node, step: Step) -> None:
    if step.tag("id") == "header":
        for name in _plain(step.value("id")):
            if not is_field_name(name):
                raise node.bad(f"no header field is called {name[:80]!r}")


def _include(node: Node, step: Step) -> None:
    name = step.places["script"]
    if isinstance(name, str) and not 0 < len(name) <= limits.SIEVE_NAME_MAX:
        raise node.bad("no script has such a name")


def _block_of_tests(node: Node, step: Step) -> None:
    if not step.tests:
        raise node.bad(f"{node.name} lacks tests")


_MORE: Final[dict[str, Callable[[Node, Step], None]]] = {
    "exists": _headers,
    "header": _headers,
    "address": _headers,
    "addheader": _headers,
    "deleteheader": _headers,
    "size": _size,
    "redirect": _redirect,
    "fileinto": _fileinto,
    "set": _variable,
    "setflag": _variable,
    "addflag": _variable,
    "removeflag": _variable,
    "global": _globals,
    "envelope": _envelope,
    "date": _date,
    "currentdate": _date,
    "vacation": _vacation,
    "duplicate": _duplicate,
    "include": _include,
    "allof": _block_of_tests,
    "anyof": _block_of_tests,
}
