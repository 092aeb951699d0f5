"""The ways to a domain: its hosts in order, their addresses, and what their TLS must prove.

The demands, from the strictest: REQUIRETLS and MTA-STS in force ask for a certificate of the
host's name; DANE for one that fits the TLSA records (and its failure is never made good by
MTA-STS, RFC 8461 §2); else TLS is taken where it works, whoever is at the other end.
"""

# RFC 5321 §5.1, RFC 7672 §2, RFC 8461 §4, RFC 8689 §4.2.1

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from kerwen.base.ask import ask
from kerwen.mail import dns, mta_sts, route
from kerwen.mail.actions.sts import Asks, StsPolicies
from kerwen.mail.mta_sts import Mode, Policy
from kerwen.mail.route import Binding, NoRoute
from kerwen.net.names import Hosts
from kerwen.smtp.client import Failed, Target, Trust

NO_POLICY: Final = "no-policy-found"
_MIXED: Final = (Trust.ANY, Trust.CLEAR)


class Way(msgspec.Struct, frozen=True):
    """One address to try: `targets` one after the other while TLS is what fails. `policy` is the
    word of RFC 8460 §4.2 under which it is counted; empty: it is not."""

    host: str
    targets: tuple[Target, ...]
    policy: str = NO_POLICY
    failed: str = ""  # what is wrong with it already (RFC 8460 §4.3), though it is tried


class Relay(msgspec.Struct, frozen=True):
    """The server that takes everything for elsewhere (a smart host)."""

    host: str
    port: int
    trust: Trust = Trust.NAMED
    tls_at_once: bool = False
    login: tuple[str, str] | None = None


class Ways:
    """Finds ways. `hosts` tells where servers are in development, in place of the DNS."""

    def __init__(
        self,
        resolver: Asks,
        sts: StsPolicies,
        is_us: Callable[[str], bool],
        chance: Callable[[], float],
        *,
        hosts: Hosts | None = None,
        relay: Relay | None = None,
        families: tuple[int, ...] = (6, 4),
        port: int = 25,
    ) -> None:
        self._resolver = resolver
        self._sts = sts
        self._is_us = is_us
        self._chance = chance
        self._hosts = hosts
        self._families = families
        self._port = port
        self.relay = relay

    async def find(self, domain: str, *, require_tls: bool) -> AsyncIterator[Way | Failed]:
        """Every way in its order; `Failed` for a host that has none. Ends at the first use that
        succeeds: the caller stops asking."""
        if self.relay is not None:
            async for way in self._by_relay(self.relay):
                yield way
            return
        place = self._hosts.find(domain, "smtp") if self._hosts else None
        if place is not None:
            yield self._at(domain, place, _mixed(require_tls))
            return
        found = await ask(route.hosts_of(domain, self._is_us, self._chance), self._resolver.answer)
        if isinstance(found, NoRoute):
            yield Failed(found.final, found.status, found.why)
            return
        name = dns.plain(domain)
        policy = None if domain.startswith("[") else await self._sts.find(name)
        for host in found.hosts:
            async for way in self._to_host(name, host, found.secure, policy, require_tls):
                yield way

    def _at(self, host: str, place: tuple[str, int], trusts: tuple[Trust, ...]) -> Way:
        return Way(
            host,
            tuple(
                Target(host=host, address=place[0], port=place[1], trust=trust) for trust in trusts
            ),
        )

    async def _to_host(
        self, domain: str, host: str, secure: bool, policy: Policy | None, require_tls: bool
    ) -> AsyncIterator[Way | Failed]:
        told = NO_POLICY if policy is None else "sts"
        allowed = policy is None or mta_sts.allows(policy, host)
        if policy is not None and not allowed and policy.mode is Mode.ENFORCE:
            why = f"{host} is not among the hosts of the domain's MTA-STS policy"
            yield Failed(False, "4.7.5", why, "validation-failure")
            return
        place = self._hosts.find(host, "smtp") if self._hosts else None
        if place is not None:
            yield self._at(host, place, _mixed(require_tls))
            return
        rule = route.places_of(host, secure=secure, families=self._families)
        places = await ask(rule, self._resolver.answer)
        if places.binding is Binding.FAILED:
            yield Failed(
                False, "4.7.5", f"{host}: its TLSA records cannot be had", "dnssec-invalid"
            )
            return
        if not places.addresses:
            why = f"{host} has no address"
            yield Failed(not places.failed, "4.4.3" if places.failed else "5.4.4", why)
            return
        trusts = _trusts(places.binding, policy, require_tls)
        told = "tlsa" if places.binding is not Binding.NONE else told
        names = (host, domain) if secure else (host,)
        for address in places.addresses:
            yield Way(
                host,
                tuple(
                    Target(
                        host=host,
                        address=address,
                        port=self._port,
                        trust=trust,
                        tlsa=places.tlsa,
                        names=names,
                    )
                    for trust in trusts
                ),
                told,
                "" if allowed or told != "sts" else "validation-failure",
            )

    async def _by_relay(self, relay: Relay) -> AsyncIterator[Way | Failed]:
        rule = route.places_of(relay.host, secure=False, families=self._families)
        places = await ask(rule, self._resolver.answer)
        if not places.addresses:
            yield Failed(False, "4.4.3", "The smart host has no address")
        for address in places.addresses:
            target = Target(
                host=relay.host,
                address=address,
                port=relay.port,
                trust=relay.trust,
                tls_at_once=relay.tls_at_once,
                login=relay.login,
                by_operator=True,
            )
            yield Way(relay.host, (target,), policy="")


def _mixed(require_tls: bool) -> tuple[Trust, ...]:
    return (Trust.NAMED,) if require_tls else _MIXED


def _trusts(binding: Binding, policy: Policy | None, require_tls: bool) -> tuple[Trust, ...]:
    """What is asked of TLS, and what of it may be let go."""
    if binding is Binding.RECORDS:
        return (Trust.BOUND,)
    if require_tls or (policy is not None and policy.mode is Mode.ENFORCE):
        return (Trust.NAMED,)
    if binding is Binding.UNUSABLE:
        return (Trust.ENCRYPTED,)
    if policy is not None:  # testing: it is tried, so that failures are counted
        return (Trust.NAMED, *_MIXED)
    return _MIXED
