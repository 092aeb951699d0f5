"""Comparators and match types. `:matches` is linear but for `?`, and all of it is charged."""

# RFC 5228 §2.7; RFC 4790; RFC 5231 (relational); RFC 5051 (i;unicode-casemap)

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_UPPER: Final = str.maketrans({chr(c): chr(c - 32) for c in range(ord("a"), ord("z") + 1)})
_DIGITS: Final = re.compile(r"[0-9]*")
_SPECIAL: Final = re.compile(r"\\(.)|([*?])|([^*?\\]+)|\\", re.DOTALL)
_INFINITE: Final = float("inf")
NUMERIC: Final = "i;ascii-numeric"
DEFAULT: Final = "i;ascii-casemap"

Charge = Callable[[int], None]
"""Told what a comparison costs, before it is made."""


def folded(text: str, comparator: str) -> str:
    """A text in the form in which equal ones are the same; it stays as long as it was."""
    if comparator == DEFAULT:
        return text.upper() if text.isascii() else text.translate(_UPPER)
    if comparator == "i;unicode-casemap":
        if text.isascii():
            return text.upper()
        upper = text.upper()
        if len(upper) == len(text):
            return upper
        return "".join(up if len(up := letter.upper()) == 1 else letter for letter in text)
    return text


def number(text: str) -> float:
    """The number at the beginning of a text; what has none is greater than all."""
    found = _DIGITS.match(text)
    digits = found[0] if found is not None else ""
    if not digits:
        return _INFINITE
    digits = digits.lstrip("0")
    return float(int(digits or "0")) if len(digits) <= 15 else float("1e" + str(len(digits)))


def related(relation: str, left: str, right: str, comparator: str) -> bool:
    """`left` relation `right`, as `:value` asks."""
    if comparator == NUMERIC:
        return ordered(relation, number(left), number(right))
    return ordered(relation, folded(left, comparator), folded(right, comparator))


def ordered(relation: str, left: str | float, right: str | float) -> bool:
    """gt, ge, lt, le, eq, ne of two texts or two numbers."""
    if relation == "eq":
        return left == right
    if relation == "ne":
        return left != right
    less, more = left < right, left > right  # type: ignore[operator]  # two of one kind
    if relation == "gt":
        return more
    if relation == "lt":
        return less
    return not less if relation == "ge" else not more


def equal(left: str, right: str, comparator: str) -> bool:
    """`:is`."""
    if comparator == NUMERIC:
        return number(left) == number(right)
    return folded(left, comparator) == folded(right, comparator)


class Pattern:
    """A pattern of `:matches`: pieces between its stars, texts or (with `?`) expressions."""

    __slots__ = ("_holes", "_pieces", "cost")

    def __init__(self, source: str, comparator: str) -> None:
        pieces: list[list[str | None]] = [[]]  # None: any one letter
        for match in _SPECIAL.finditer(source):
            escaped, special, plain = match.groups()
            if special == "*":
                pieces.append([])
            elif special == "?":
                pieces[-1].append(None)
            else:
                pieces[-1].append(escaped or plain or "\\")
        self._holes = [_Piece(piece, comparator) for piece in pieces]
        self._pieces = len(pieces)
        self.cost = max(piece.cost for piece in self._holes)

    def match(self, text: str, comparator: str) -> list[str] | None:
        """What the whole of a text gives for `${0}`, `${1}` …, stars as short as they can be from
        the left; None if it does not fit."""
        seen = folded(text, comparator)
        first, last = self._holes[0], self._holes[-1]
        if self._pieces == 1:
            if len(seen) != first.length or not first.fits(seen, 0):
                return None
            return [text, *first.letters(text, 0)]
        end = len(seen) - last.length
        if end < first.length or not first.fits(seen, 0) or not last.fits(seen, end):
            return None
        found = [text, *first.letters(text, 0)]
        at = first.length
        for piece in self._holes[1:-1]:
            start = piece.find(seen, at, end)
            if start < 0:
                return None
            found.append(text[at:start])
            found += piece.letters(text, start)
            at = start + piece.length
        found.append(text[at:end])
        found += last.letters(text, end)
        return found


class _Piece:
    """What stands between two stars: its letters, and where any letter may stand."""

    __slots__ = ("_holes", "_search", "_text", "cost", "length")

    def __init__(self, parts: list[str | None], comparator: str) -> None:
        texts = ["\0" if part is None else folded(part, comparator) for part in parts]
        self.length = sum(map(len, texts))
        self._text = "".join(texts)
        self._holes: list[int] = []
        self._search: re.Pattern[str] | None = None
        at = 0
        for part, text in zip(parts, texts, strict=True):
            if part is None:
                self._holes.append(at)
            at += len(text)
        if self._holes:
            shapes = ("." if part is None else re.escape(text)
                      for part, text in zip(parts, texts, strict=True))  # fmt: skip
            self._search = re.compile("".join(shapes), re.DOTALL)
        self.cost = self.length if self._holes else 0

    def fits(self, seen: str, at: int) -> bool:
        """Whether it stands at a place."""
        if self._search is None:
            return seen.startswith(self._text, at)
        return self._search.match(seen, at) is not None

    def find(self, seen: str, at: int, end: int) -> int:
        """Where it stands first between two places; -1 for nowhere."""
        if self._search is None:
            return seen.find(self._text, at, end)
        found = self._search.search(seen, at, end)
        return found.start() if found is not None else -1

    def letters(self, text: str, at: int) -> list[str]:
        """What stands where any letter may stand."""
        return [text[at + hole] for hole in self._holes]
