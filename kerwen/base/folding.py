"""Letters as people search them: no case, no marks above or below, ligatures taken apart.

So `Aýna` is `ayna`, `Ёлка` is `елка`, `№` is `no`, and I, İ, ı are one letter.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LETTERS_KEPT_MAX: Final = 16_384
_ALIKE: Final = {"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ŋ": "n"}


class Letters(dict[int, str]):
    """A table for `str.translate` that fills itself, letter by letter, as text passes."""

    def __missing__(self, code: int) -> str:
        found = self.folded(chr(code))
        if len(self) < LETTERS_KEPT_MAX:
            self[code] = found
        return found

    def folded(self, letter: str) -> str:
        """What one letter becomes; it may vanish or become several."""
        plain = unicodedata.normalize("NFKD", letter.casefold()).casefold()
        return "".join(_ALIKE.get(c, c) for c in plain if not unicodedata.combining(c))


_LETTERS: Final = Letters()


def fold_letters(text: str) -> str:
    """The searched form of a text, letter by letter; everything between letters stays."""
    return text.translate(_LETTERS)
