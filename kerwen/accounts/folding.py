"""Names as people search them: no case, no marks above or below letters.

So `ayna` finds Aýna, `cary` finds Çary, `елка` finds Ёлка, and I, İ, ı are one letter.
"""

from __future__ import annotations

from typing import Final

from kerwen.base.folding import fold_letters

FOLDED_MAX: Final = 512


def fold(text: str) -> str:
    """The searched form of a text, bounded in length; spaces between words become single."""
    return " ".join(fold_letters(text[:FOLDED_MAX]).split())[:FOLDED_MAX]


def like(text: str) -> str:
    """A text inside a LIKE pattern whose escape letter is the backslash."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
