"""Values written into SQL text for PostgreSQL: the tail of a transaction is one text message.

This is the only place where a value becomes part of a text. It relies on
`standard_conforming_strings = on` and UTF-8, which every connection proves at connect.
"""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.base.errors import Reason, Refused

_INT_MIN = -(2**63)
_INT_MAX = 2**63 - 1

Value = None | bool | int | str | bytes | bytearray | memoryview


def literal(value: Value) -> str:
    """One value. `Refused` for text that no database holds; TypeError for other types."""
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]
    if kind is int:
        return _number(value)  # type: ignore[arg-type]
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"'\\x{value.hex()}'"
    if isinstance(value, str):  # subclasses: string enums
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _number(int(value))
    raise TypeError(f"{kind.__name__} cannot be stored")


def int_list(values: Iterable[int]) -> str:
    """An array of BIGINT."""
    return "'{" + ",".join(str(_checked(int(value))) for value in values) + "}'::bigint[]"


def text_list(values: Iterable[str]) -> str:
    """An array of TEXT."""
    return "array[" + ",".join(_text(value) for value in values) + "]::text[]"


def _text(value: str) -> str:
    if "\0" in value:
        raise Refused(Reason.INVALID_PARAM, "A text holds a null character")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Refused(Reason.INVALID_PARAM, "A text is not Unicode") from error
    return "'" + value.replace("'", "''") + "'"


def _checked(value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise OverflowError("an integer needs more than 64 bits")
    return value


def _number(value: int) -> str:
    return str(_checked(value)) if value >= 0 else f"({_checked(value)})"
