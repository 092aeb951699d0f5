"""iprev: the name of an address, believed only if the name has that address too."""

# RFC 8601 §3

from __future__ import annotations

import enum
from typing import Final

import msgspec

from kerwen.mail import dns
from kerwen.mail.dns import Dns, Rule, Status

NAMES_MAX: Final = 5


class Result(enum.Enum):
    """RFC 8601 §2.7.3."""

    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"  # the address has no name


class Iprev(msgspec.Struct, frozen=True):
    """What was found; `name` only with PASS."""

    result: Result
    name: str | None = None


def check(client: str) -> Rule[Iprev]:
    """The name of a client's address."""
    address = dns.address(client)
    found = yield Dns("PTR", dns.reverse_name(address))
    if found.status is Status.FAILED:
        return Iprev(Result.TEMPERROR)
    names = [dns.plain(name) for name in found.names[:NAMES_MAX]]
    if not names:
        return Iprev(Result.PERMERROR)
    unsure = False
    for name in names:
        if not dns.is_name(name):
            continue
        answer = yield Dns(dns.address_kind(address), name)
        unsure = unsure or answer.status is Status.FAILED
        if any(_is(text, address) for text in answer.names):
            return Iprev(Result.PASS, name)
    return Iprev(Result.TEMPERROR if unsure else Result.FAIL)


def _is(text: str, address: dns.Address) -> bool:
    try:
        return dns.address(text) == address
    except ValueError:
        return False
