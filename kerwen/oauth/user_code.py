"""Codes that people type from one screen into another (RFC 8628 §6.1)."""

from __future__ import annotations

from collections.abc import Callable

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words; no letters that look like digits
LENGTH = 8


def fresh_code(choose: Callable[[str], str]) -> str:
    """A code without its hyphen; `choose` picks a letter by chance."""
    return "".join(choose(LETTERS) for _ in range(LENGTH))


def shown_code(code: str) -> str:
    """As people read it: `WDJB-MJHT`."""
    return f"{code[:4]}-{code[4:]}"


def typed_code(text: str) -> str | None:
    """What somebody typed, in its one form; None where it cannot be a code."""
    if len(text) > 64:
        return None
    plain = "".join(c for c in text.upper() if c.isalnum())
    good = len(plain) == LENGTH and all(c in LETTERS for c in plain)
    return plain if good else None
