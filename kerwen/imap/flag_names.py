"""Flags as IMAP writes them, from the bits in which they are stored."""

# RFC 9051 §2.3.2

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kerwen.base.errors import Refused
from kerwen.mail import flags
from kerwen.mail.actions import keywords

SYSTEM: Final = (b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Seen", b"\\Draft")
_MASKS: Final = tuple(flags.Flags(mask).render() for mask in range(32))


class FlagNames:
    """An account's keywords by their bits; renders flags and remembers how."""

    __slots__ = ("_rendered", "known")

    def __init__(self, known: Sequence[str] = ()) -> None:
        self.known = tuple(known)
        self._rendered: dict[tuple[int, int], bytes] | None = None

    def render(self, system: int, bits: int) -> bytes:
        """The flags of a message, without brackets."""
        if not bits:
            return _MASKS[system & 31]
        if self._rendered is None:
            self._rendered = {}
        found = self._rendered.get((system, bits))
        if found is None:
            named = " ".join(keywords.names(self.known, bits)).encode("ascii")
            found = b" ".join(part for part in (_MASKS[system & 31], named) if part)
            if len(self._rendered) < 1_000:
                self._rendered[system, bits] = found
        return found

    def all(self) -> list[bytes]:
        """Every flag of a mailbox."""
        return [*SYSTEM, *(name.encode("ascii") for name in self.known)]


NO_NAMES: Final = FlagNames()


def wanted(names: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """System bits and keywords of a client's flags; says `BAD_FLAG`."""
    found = flags.parse(names)
    return found.system, found.keywords


def tolerated(names: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """The same, passing over what is no flag: a message is not refused for that."""
    system = 0
    found: list[str] = []
    for name in names:
        try:
            one = flags.parse([name])
        except Refused:
            continue
        system |= one.system
        found += one.keywords
    return system, tuple(dict.fromkeys(found))
