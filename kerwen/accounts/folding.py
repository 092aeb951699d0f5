"""Names as people search them: no case, no marks above or below letters.

So `ayna` finds Aýna, `cary` finds Çary, `елка` finds Ёлка, and I, İ, ı are one letter.
"""

from __future__ import annotations

import unicodedata
from typing import Final

FOLDED_MAX: Final = 512
_ALIKE: Final = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ŋ": "n"})


def fold(text: str) -> str:
    """The searched form of a text, bounded in length; spaces between words become single."""
    plain = unicodedata.normalize("NFKD", text[:FOLDED_MAX].casefold())
    bare = "".join(c for c in plain if not unicodedata.combining(c)).translate(_ALIKE)
    return " ".join(bare.split())[:FOLDED_MAX]


def like(text: str) -> str:
    """A text inside a LIKE pattern whose escape letter is the backslash."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
