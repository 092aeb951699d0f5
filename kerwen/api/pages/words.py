"""The words of the pages in each language, and which language somebody reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

LANGUAGES: Final = {"tk": "Türkmençe", "ru": "Русский", "en": "English", "fr": "Français"}
DEFAULT: Final = "en"
_FOLDER: Final = Path(__file__).parent / "words"


class Words:
    """The words of one language."""

    __slots__ = ("_texts", "language")

    def __init__(self, language: str, texts: dict[str, str]) -> None:
        self.language = language
        self._texts = texts

    def __call__(self, key: str, **parts: str) -> str:
        """A text with its `{parts}` filled in; every language has every key (a test sees to it)."""
        found = self._texts[key]
        for name, part in parts.items():
            found = found.replace("{" + name + "}", part)
        return found

    def __contains__(self, key: str) -> bool:
        return key in self._texts


@cache
def words_of(language: str) -> Words:
    """The words of one of `LANGUAGES`."""
    return Words(language, json.loads((_FOLDER / f"{language}.json").read_text("utf-8")))


def chosen(wishes: Iterable[str | None], accept: str | None) -> str:
    """The first wish that we speak, else the best of an Accept-Language (RFC 9110 §12.5.4)."""
    for wish in wishes:
        for one in (wish or "")[:200].replace("_", "-").split():
            if (found := one.partition("-")[0].lower()) in LANGUAGES:
                return found
    best, weight = DEFAULT, 0.0
    for entry in (accept or "")[:500].split(","):
        name, _, rest = entry.strip().partition(";")
        found = name.strip().partition("-")[0].lower()
        if found in LANGUAGES and (mine := _weight(rest)) > weight:
            best, weight = found, mine
    return best


def _weight(rest: str) -> float:
    _, found, value = rest.strip().partition("q=")
    if not found:
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
