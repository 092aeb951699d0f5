"""References from one method call to the results of another, and the pointers in them."""

# RFC 8620 §3.7, §5.3; RFC 6901

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from kerwen.mail.jmap.errors import MethodError

ITEMS_MAX: Final = 50_000
_DEPTH_MAX: Final = 32
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")

Response = tuple[str, dict[str, Any], str]
"""Name, arguments, method call id."""


def resolved(arguments: dict[str, Any], responses: Sequence[Response]) -> dict[str, Any]:
    """The arguments with every `#name` replaced. Raises `MethodError`."""
    if not any(name.startswith("#") for name in arguments):
        return arguments
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if not name.startswith("#"):
            if "#" + name in arguments:
                raise MethodError("invalidArguments", f"{name} and #{name} are both given")
            found[name] = value
        else:
            found[name[1:]] = _result_of(name, value, responses)
    return found


def _result_of(name: str, value: Any, responses: Sequence[Response]) -> Any:
    if not isinstance(value, dict):
        raise MethodError("invalidArguments", f"{name} must be a ResultReference")
    of, method, path = value.get("resultOf"), value.get("name"), value.get("path")
    if not isinstance(of, str) or not isinstance(method, str) or not isinstance(path, str):
        raise MethodError("invalidArguments", f"{name} must be a ResultReference")
    # RFC 8620 §3.7: the first response with this call id
    for told, arguments, call_id in responses:
        if call_id == of:
            if told == method:
                return evaluate(arguments, path)
            break
    raise MethodError("invalidResultReference", f"{name}: there is no such result")


def evaluate(value: Any, path: str) -> Any:
    """What a pointer, which may hold `*`, leads to. Raises `MethodError`."""
    if path and not path.startswith("/"):
        raise MethodError("invalidResultReference", "A path begins with /")
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if len(parts) > _DEPTH_MAX:
        raise MethodError("invalidResultReference", "The path is too deep")
    return _walk(value, parts, 0)


def _walk(value: Any, parts: list[str], at: int) -> Any:
    while at < len(parts):
        part = parts[at]
        at += 1
        if isinstance(value, list):
            if part == "*":
                return _each(value, parts, at)
            if _NUMBER.fullmatch(part) is None or int(part) >= len(value):
                raise MethodError("invalidResultReference", "The path leads nowhere")
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise MethodError("invalidResultReference", "The path leads nowhere")
    return value


def _each(values: list[Any], parts: list[str], at: int) -> list[Any]:
    """`*`: the rest of the path for every item; lists that come of it become one."""
    flat = at + 1 == len(parts) and 0 < len(values) <= ITEMS_MAX
    if flat and set(map(type, values)) == {dict}:
        name = parts[at]  # nearly always: one property of objects
        try:
            told = [one[name] for one in values]
        except KeyError:
            raise MethodError("invalidResultReference", "The path leads nowhere") from None
        if list not in set(map(type, told)):
            return told
    found: list[Any] = []
    for one in values:
        told = _walk(one, parts, at)
        if isinstance(told, list):
            found += told
        else:
            found.append(told)
        if len(found) > ITEMS_MAX:
            raise MethodError("invalidResultReference", f"More than {ITEMS_MAX} items")
    return found
