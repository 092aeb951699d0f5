"""Questions to the DNS as nouns: the rules of mail yield them and are sent the answers."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Generator
from typing import Final, TypeVar

import msgspec

R = TypeVar("R")


class Status(enum.Enum):
    """How a look-up ended."""

    FOUND = "found"
    EMPTY = "empty"  # the name exists, such records do not
    NO_NAME = "no name"  # NXDOMAIN
    FAILED = "failed"  # no answer, SERVFAIL, broken DNSSEC: it may be otherwise later


class Dns(msgspec.Struct, frozen=True, gc=False):
    """A question: `A`, `AAAA`, `MX`, `PTR`, `TXT` or `TLSA` of a name (small, no last dot)."""

    kind: str
    name: str


class Found(msgspec.Struct, frozen=True, gc=False):
    """An answer. Which field is filled depends on what was asked."""

    status: Status
    texts: tuple[bytes, ...] = ()  # TXT, the strings of a record put together
    names: tuple[str, ...] = ()  # addresses of A and AAAA, names of PTR
    mx: tuple[tuple[int, str], ...] = ()  # preference and host; the root is an empty host
    tlsa: tuple[tuple[int, int, int, bytes], ...] = ()  # usage, selector, matching, data
    secure: bool = False  # proved by DNSSEC

    @property
    def is_void(self) -> bool:
        """Whether there is nothing, for sure."""
        return self.status in (Status.EMPTY, Status.NO_NAME)


Rule = Generator[Dns, Found, R]
"""A rule that asks the DNS: run it with `base/ask.py`."""

NOTHING: Final = Found(Status.EMPTY)
NO_NAME: Final = Found(Status.NO_NAME)
FAILED: Final = Found(Status.FAILED)

_NAME_MAX: Final = 253
_LABEL_MAX: Final = 63

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(text: str) -> Address:
    """An address; an IPv4 one that comes as IPv6 is IPv4. `ValueError` if it is none."""
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def address_kind(found: Address) -> str:
    """The kind of record that holds such addresses."""
    return "A" if found.version == 4 else "AAAA"


def reverse_name(found: Address) -> str:
    """The name whose PTR records tell an address's names."""
    return found.reverse_pointer


def plain(name: str) -> str:
    """A name as it is asked for: small, without the last dot, letters beyond ASCII as A-labels."""
    name = name.rstrip(".").lower()
    if name.isascii():
        return name
    return ".".join(map(_a_label, name.split(".")))


def _a_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return label.encode("idna").decode("ascii") if len(label) <= _LABEL_MAX else label
    except UnicodeError:
        return label


def is_name(name: str) -> bool:
    """Whether this can be asked for: no empty or long label, not too long."""
    labels = name.split(".")
    return 0 < len(name) <= _NAME_MAX and all(0 < len(label) <= _LABEL_MAX for label in labels)
