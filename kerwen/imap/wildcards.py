"""The patterns of LIST: `*` stands for anything, `%` for anything within one level."""

# RFC 9051 §6.3.9

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_WILD: Final = re.compile(r"[*%]+")


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a name matches. Takes time in proportion to the name, whatever the pattern."""
    pattern = _WILD.sub(lambda match: "*" if "*" in match[0] else "%", pattern)
    if not _WILD.search(pattern):
        return lambda name: name == pattern
    if pattern == "*":
        return lambda name: True
    head = pattern[:-1]
    if not _WILD.search(head):
        if pattern.endswith("*"):
            return lambda name: name.startswith(head)
        if pattern.endswith("%"):
            return lambda name: name.startswith(head) and "/" not in name[len(head) :]
    return _Automaton(pattern).matches


class _Automaton:
    """All places of the pattern where a name may have come to, as the bits of one number."""

    __slots__ = ("_end", "_letters", "_level", "_star", "_wild")

    def __init__(self, pattern: str) -> None:
        self._letters: dict[str, int] = {}
        self._star = self._level = 0
        for at, letter in enumerate(pattern):
            if letter == "*":
                self._star |= 1 << at
            elif letter == "%":
                self._level |= 1 << at
            else:
                self._letters[letter] = self._letters.get(letter, 0) | 1 << at
        self._wild = self._star | self._level
        self._end = 1 << len(pattern)

    def matches(self, name: str) -> bool:
        """Whether a name matches."""
        wild, letters = self._wild, self._letters
        places = 1
        for letter in name:
            places |= (places & wild) << 1  # a wildcard may stand for nothing
            stay = self._star if letter == "/" else wild
            places = (places & letters.get(letter, 0)) << 1 | places & stay
            if not places:
                return False
        return bool((places | (places & wild) << 1) & self._end)
