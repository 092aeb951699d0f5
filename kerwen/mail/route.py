"""Which hosts take a domain's mail: MX with fall-back to the domain itself, null MX, no loops."""

# RFC 5321 §5.1, RFC 7505, RFC 7672 §2.2

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from kerwen.mail import dane, dns
from kerwen.mail.dane import Tlsa
from kerwen.mail.dns import Dns, Rule, Status

HOSTS_MAX: Final = 10  # tried in one attempt
ADDRESSES_MAX: Final = 6  # of one host


class NoRoute(msgspec.Struct, frozen=True):
    """Why nobody can be asked. `final`: it will not be otherwise later."""

    final: bool
    status: str
    why: str


class Route(msgspec.Struct, frozen=True):
    """Hosts by preference. `secure`: that these are the hosts is proved by DNSSEC."""

    hosts: tuple[str, ...]
    secure: bool = False


class Binding(enum.Enum):
    """What DANE says of a host."""

    NONE = "none"
    RECORDS = "records"  # its certificates must fit them
    UNUSABLE = "unusable"  # TLS is required, its certificates are not looked at
    FAILED = "failed"  # what it says cannot be learned now: this host is passed over


class Places(msgspec.Struct, frozen=True):
    """The addresses of a host, in the order in which they are to be tried, and its TLSA records."""

    addresses: tuple[str, ...]
    failed: bool = False  # there may be others, the DNS did not answer
    binding: Binding = Binding.NONE
    tlsa: tuple[Tlsa, ...] = ()


def hosts_of(
    domain: str, is_us: Callable[[str], bool], chance: Callable[[], float]
) -> Rule[Route | NoRoute]:
    """The hosts for a domain. `is_us` knows our own; `chance` (0 to 1) mixes equal ones."""
    literal = _literal(domain)
    if literal is not None:
        return Route((literal,))
    domain = dns.plain(domain)
    if not dns.is_name(domain) or not domain.isascii():
        return NoRoute(True, "5.1.2", "The domain is no name that the DNS could know")
    found = yield Dns("MX", domain)
    if found.status is Status.FAILED:
        return NoRoute(False, "4.4.3", "The DNS does not answer")
    if found.status is Status.NO_NAME:
        return NoRoute(True, "5.1.2", "There is no such domain")
    if found.status is Status.EMPTY:
        return Route((domain,), found.secure)
    if [host for _, host in found.mx] == [""]:
        return NoRoute(True, "5.1.10", "The domain takes no mail (null MX)")
    told = [(preference, host) for preference, host in found.mx if dns.is_name(host)]
    ours = min((preference for preference, host in told if is_us(host)), default=None)
    if ours is not None:
        told = [pair for pair in told if pair[0] < ours]
        if not told:
            return NoRoute(True, "5.4.6", "The domain's mail leads back to this server")
    if not told:
        return NoRoute(True, "5.4.4", "The domain's MX records name no host")
    mixed = sorted(told, key=lambda pair: (pair[0], chance()))
    return Route(tuple(dict.fromkeys(host for _, host in mixed))[:HOSTS_MAX], found.secure)


def places_of(host: str, *, secure: bool, families: Sequence[int] = (6, 4)) -> Rule[Places]:
    """The addresses of a host, kinds of IP in turn; `secure`: its name was proved (for DANE)."""
    if _is_address(host):
        return Places((host,))
    kinds = {6: "AAAA", 4: "A"}
    by_family: list[tuple[str, ...]] = []
    failed, proved = False, secure
    for family in families:
        found = yield Dns(kinds[family], host)
        failed = failed or found.status is Status.FAILED
        proved = proved and (found.secure or found.status is Status.FAILED)
        by_family.append(found.names)
    mixed: list[str] = []
    for at in range(max(map(len, by_family))):
        mixed += [names[at] for names in by_family if at < len(names)]
    addresses = tuple(mixed)[:ADDRESSES_MAX]
    if not proved or not addresses:
        return Places(addresses, failed)
    told = yield Dns("TLSA", dane.name(host))
    if told.status is Status.FAILED:
        return Places(addresses, failed, Binding.FAILED)
    if not told.tlsa or not told.secure:
        return Places(addresses, failed)
    records = dane.usable(told.tlsa)
    return Places(addresses, failed, Binding.RECORDS if records else Binding.UNUSABLE, records)


def _literal(domain: str) -> str | None:
    """The address in `[192.0.2.1]` or `[IPv6:2001:db8::1]`."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    text = domain[1:-1]
    text = text[5:] if text[:5].lower() == "ipv6:" else text
    return text if _is_address(text) else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
