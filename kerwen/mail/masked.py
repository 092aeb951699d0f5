"""Addresses that hide an account's own: what they look like."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"  # none that are taken for another
_RANDOM: Final = 9
_MASK: Final = re.compile(r"[a-z0-9-]{1,24}\.x[0-9][2-9a-hjkmnp-tv-z]{9}")
_WORD: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?")


def is_mask(local: str) -> bool:
    """Whether a local part looks like one: hardly any name that people choose does."""
    return _MASK.fullmatch(local) is not None


def is_word(word: str) -> bool:
    """Whether this may stand before the random part."""
    return _WORD.fullmatch(word) is not None


def made(word: str, draw: Callable[[int], bytes]) -> str:
    """A new one; 2^44 that begin so, so nobody guesses another."""
    found: list[str] = []
    while len(found) < _RANDOM:  # without a bias: what does not fit is drawn again
        found += [_LETTERS[byte % 30] for byte in draw(_RANDOM) if byte < 240]
    return f"{word}.x{draw(1)[0] % 10}{''.join(found[:_RANDOM])}"
