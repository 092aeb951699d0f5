"""Flags of messages: IMAP's own as a bit mask, keywords beside them.

A keyword keeps the capitals it was first given; two that differ in capitals only are one.
"""

# RFC 9051 §2.3.2; RFC 8621 §4.1.1 (JMAP keywords)

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused


class System(enum.IntFlag):
    """The flags that every mailbox has."""

    NONE = 0
    SEEN = 1
    ANSWERED = 2
    FLAGGED = 4
    DELETED = 8
    DRAFT = 16


BITS: Final = {  # system flags by their names in small letters
    "\\seen": System.SEEN,
    "\\answered": System.ANSWERED,
    "\\flagged": System.FLAGGED,
    "\\deleted": System.DELETED,
    "\\draft": System.DRAFT,
}
_NAMES: Final = (
    (System.SEEN, b"\\Seen"),
    (System.ANSWERED, b"\\Answered"),
    (System.FLAGGED, b"\\Flagged"),
    (System.DELETED, b"\\Deleted"),
    (System.DRAFT, b"\\Draft"),
)
# registered keywords in the capitals that clients know them by
_KNOWN: Final = {
    name.lower(): name
    for name in ("$Forwarded", "$MDNSent", "$Junk", "$NotJunk", "$Phishing", "$Important",
                 "$SubmitPending", "$Submitted", "Junk", "NonJunk")
}  # fmt: skip
_KEYWORD: Final = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_RENDERED: Final = tuple(
    b" ".join(name for bit, name in _NAMES if mask & bit) for mask in range(32)
)
_JMAP: Final = {
    "$seen": System.SEEN,
    "$answered": System.ANSWERED,
    "$flagged": System.FLAGGED,
    "$draft": System.DRAFT,
}


class Flags(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The flags of a message; keywords in order."""

    system: int = 0
    keywords: tuple[str, ...] = ()

    def has(self, flag: str) -> bool:
        """Whether a flag is set, system flag or keyword, in any capitals."""
        small = flag.lower()
        bit = BITS.get(small)
        if bit is not None:
            return bool(self.system & bit)
        return any(keyword.lower() == small for keyword in self.keywords)

    def render(self) -> bytes:
        """The flags as IMAP lists them, without the brackets."""
        listed = _RENDERED[self.system & 31]
        if not self.keywords:
            return listed
        named = " ".join(self.keywords).encode("ascii")
        return listed + b" " + named if listed else named

    def jmap(self) -> dict[str, bool]:
        """The keywords of JMAP (RFC 8621 §4.1.1); `\\Deleted` has none."""
        found = {name: True for name, bit in _JMAP.items() if self.system & bit}
        return found | {keyword.lower(): True for keyword in self.keywords}


NONE: Final = Flags()


def parse(names: Iterable[str]) -> Flags:
    """The flags that a client names; `\\Recent` is passed over.

    `Refused(BAD_FLAG)` for unknown system flags and what is no keyword.
    """
    system = 0
    keywords: dict[str, str] = {}
    for name in names:
        small = name.lower()
        bit = BITS.get(small)
        if bit is not None:
            system |= bit
        elif small != "\\recent":
            keywords.setdefault(small, keyword(name))
    return _made(system, keywords)


def keyword(name: str) -> str:
    """A keyword in the capitals in which we keep it; `Refused(BAD_FLAG)` if it is none."""
    if not _KEYWORD.fullmatch(name) or len(name) > limits.KEYWORD_MAX:
        raise Refused(Reason.BAD_FLAG, "This is not a flag")
    return _KNOWN.get(name.lower(), name)


def from_jmap(keywords: Iterable[str]) -> Flags:
    """The flags of a JMAP keywords object; `Refused(BAD_FLAG)` for what is no keyword."""
    system = 0
    others: dict[str, str] = {}
    for name in keywords:
        small = name.lower()
        bit = _JMAP.get(small)
        if bit is not None:
            system |= bit
        else:
            others[small] = keyword(name)
    return _made(system, others)


def added(old: Flags, more: Flags) -> Flags:
    """`+FLAGS`."""
    system = old.system | more.system
    if not more.keywords:
        return old if system == old.system else Flags(system, old.keywords)
    keywords = {name.lower(): name for name in more.keywords}
    keywords |= {name.lower(): name for name in old.keywords}
    return _made(system, keywords)


def removed(old: Flags, less: Flags) -> Flags:
    """`-FLAGS`."""
    system = old.system & ~less.system
    if not less.keywords or not old.keywords:
        return old if system == old.system else Flags(system, old.keywords)
    gone = {name.lower() for name in less.keywords}
    return Flags(system, tuple(name for name in old.keywords if name.lower() not in gone))


def _made(system: int, keywords: dict[str, str]) -> Flags:
    if len(keywords) > limits.KEYWORDS_MAX:
        raise Refused(Reason.BAD_FLAG, f"A message may have {limits.KEYWORDS_MAX} keywords")
    return Flags(int(system), tuple(name for _, name in sorted(keywords.items())))
