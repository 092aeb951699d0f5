"""SPF: may this host send for that domain. A rule that asks the DNS (see `base/ask.py`).

At most ten terms that need look-ups and two look-ups for nothing, for all records together; what
costs more is a permanent error, so nobody can make us ask without end.
"""

# RFC 7208

from __future__ import annotations

import enum
import ipaddress
from typing import Final

import msgspec

from kerwen.mail import dns, spf_record
from kerwen.mail.dns import Dns, Found, Rule, Status
from kerwen.mail.spf_record import BadRecord, Macros, Mechanism, Record

LOOKUPS_MAX: Final = 10  # §4.6.4
VOID_MAX: Final = 2
MX_MAX: Final = 10  # §4.6.4
PTR_MAX: Final = 10  # §5.5: further names are not looked at
_EXPLAIN_MAX: Final = 500


class Result(enum.Enum):
    """§2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Spf(msgspec.Struct, frozen=True):
    """What was found, and for which domain; `explanation` is the domain's own words."""

    result: Result
    domain: str
    identity: str  # `mailfrom` or `helo`
    explanation: str = ""
    problem: str = ""  # for the log, where the result is an error


class _Error(Exception):
    def __init__(self, result: Result, problem: str) -> None:
        super().__init__(problem)
        self.result = result
        self.problem = problem


def check_mail_from(
    client: str, sender: str, helo: str, *, receiver: str = "unknown", now_s: int = 0
) -> Rule[Spf]:
    """The MAIL FROM identity; for `<>` it is `postmaster` at the HELO name (§2.4)."""
    if sender:
        local, _, domain = sender.rpartition("@")
        local = local or "postmaster"  # §4.3
        found = yield from _check(client, local, domain, helo, receiver, now_s)
        return Spf(found[0], dns.plain(domain), "mailfrom", *found[1:])
    found = yield from _check(client, "postmaster", helo, helo, receiver, now_s)
    return Spf(found[0], dns.plain(helo), "helo", *found[1:])


def check_helo(client: str, helo: str, *, receiver: str = "unknown", now_s: int = 0) -> Rule[Spf]:
    """The HELO identity (§2.3)."""
    found = yield from _check(client, "postmaster", helo, helo, receiver, now_s)
    return Spf(found[0], dns.plain(helo), "helo", *found[1:])


def _check(
    client: str, local: str, domain: str, helo: str, receiver: str, now_s: int
) -> Rule[tuple[Result, str, str]]:
    plain = dns.plain(domain)
    macros = Macros(
        f"{local}@{domain}", local, domain, plain, helo, dns.address(client), receiver, now_s
    )
    check = _Check(macros)
    try:
        result = yield from check.host(plain)
    except _Error as error:
        return error.result, "", error.problem
    explanation = ""
    if result is Result.FAIL and check.explain is not None:
        explanation = yield from check.explanation()
    return result, explanation, ""


class _Check:
    """One check_host() and what it has spent."""

    def __init__(self, macros: Macros) -> None:
        self._macros = macros
        self._lookups = 0
        self._void = 0
        self._name: str | None = None  # %{p}, once it was looked up
        self.explain: tuple[str, str] | None = None  # the macro-string, and its domain

    # --- §4 -------------------------------------------------------------------------------------

    def host(self, domain: str, *, depth: int = 0) -> Rule[Result]:
        """check_host() for one domain."""
        record = yield from self._record(domain)
        if record is None:
            return Result.NONE
        for mechanism in record.mechanisms:
            if (yield from self._matches(mechanism, domain, depth)):
                result = Result(mechanism.result)
                if result is Result.FAIL and record.explain is not None and depth == 0:
                    self.explain = (record.explain, domain)
                return result
        has_all = any(mechanism.name == "all" for mechanism in record.mechanisms)
        if record.redirect is None or has_all:
            return Result.NEUTRAL
        self._count()
        target = yield from self._expanded(record.redirect, domain)
        result = yield from self.host(target, depth=depth)
        if result is Result.NONE:
            raise _Error(Result.PERMERROR, f"redirect to {target} without a record")
        return result

    def _record(self, domain: str) -> Rule[Record | None]:
        """The domain's record; None where it has none (§4.3 to §4.5)."""
        if not dns.is_name(domain) or "." not in domain:
            return None
        found = yield Dns("TXT", domain)
        if found.status is Status.FAILED:
            raise _Error(Result.TEMPERROR, f"no answer for {domain}")
        texts = [text for text in found.texts if spf_record.is_spf(text)]
        if not texts:
            return None
        if len(texts) > 1:
            raise _Error(Result.PERMERROR, f"{domain} has several records")
        try:
            return spf_record.parse(texts[0])
        except BadRecord as error:
            raise _Error(Result.PERMERROR, f"{domain}: {error}") from None

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            raise _Error(Result.PERMERROR, "too many look-ups")

    def _ask(self, kind: str, name: str) -> Rule[Found]:
        """A look-up of a mechanism: failure ends the check, nothing is counted."""
        name = dns.plain(name)
        if not dns.is_name(name):
            return dns.NOTHING
        found = yield Dns(kind, name)
        if found.status is Status.FAILED:
            raise _Error(Result.TEMPERROR, f"no answer for {name}")
        self._count_void(found)
        return found

    def _count_void(self, found: Found) -> None:
        if found.is_void:
            self._void += 1
            if self._void > VOID_MAX:
                raise _Error(Result.PERMERROR, "too many look-ups for nothing")

    def _expanded(self, text: str, domain: str) -> Rule[str]:
        macros = msgspec.structs.replace(self._macros, domain=domain)
        name = "unknown"
        if spf_record.wants_name(text):
            name = yield from self._validated_name(domain)
        return spf_record.to_fit(dns.plain(spf_record.expand(text, macros, name)))

    # --- §5 -------------------------------------------------------------------------------------

    def _matches(self, mechanism: Mechanism, domain: str, depth: int) -> Rule[bool]:
        name = mechanism.name
        if name == "all":
            return True
        if mechanism.network is not None:
            return self._macros.address in mechanism.network
        self._count()
        target = domain
        if mechanism.domain:
            target = yield from self._expanded(mechanism.domain, domain)
        if name == "include":
            return (yield from self._include(target, depth))
        if name == "exists":
            found = yield from self._ask("A", target)
            return found.status is Status.FOUND
        if name == "ptr":
            names = yield from self._validated_names()
            return any(_is_below(one, target) for one in names)
        if name == "a":
            return (yield from self._has_address(target, mechanism))
        return (yield from self._mx(target, mechanism))

    def _include(self, target: str, depth: int) -> Rule[bool]:
        """§5.2: what the other domain says counts only if it is pass, or an error."""
        result = yield from self.host(target, depth=depth + 1)
        if result is Result.NONE:
            raise _Error(Result.PERMERROR, f"include of {target} without a record")
        return result is Result.PASS

    def _mx(self, target: str, mechanism: Mechanism) -> Rule[bool]:
        found = yield from self._ask("MX", target)
        hosts = [host for _, host in sorted(found.mx) if host.rstrip(".")]
        for place, host in enumerate(hosts):
            if place >= MX_MAX:
                raise _Error(Result.PERMERROR, f"{target} has too many MX")
            if (yield from self._has_address(host, mechanism)):
                return True
        return False

    def _has_address(self, name: str, mechanism: Mechanism) -> Rule[bool]:
        client = self._macros.address
        found = yield from self._ask(dns.address_kind(client), name)
        bits = mechanism.cidr4 if client.version == 4 else mechanism.cidr6
        return any(_is_in(client, text, bits) for text in found.names)

    # --- §5.5, §7.3: names of the client --------------------------------------------------------

    def _validated_names(self) -> Rule[list[str]]:
        """Names that the client's address has and that have this address. Failures match not."""
        client = self._macros.address
        found = yield Dns("PTR", dns.reverse_name(client))
        if found.status is Status.FAILED:
            return []
        self._count_void(found)
        good: list[str] = []
        for name in found.names[:PTR_MAX]:
            plain = dns.plain(name)
            if not dns.is_name(plain):
                continue
            answer = yield Dns(dns.address_kind(client), plain)
            if any(_is_in(client, text, client.max_prefixlen) for text in answer.names):
                good.append(plain)
        return good

    def _validated_name(self, domain: str) -> Rule[str]:
        """%{p}: the domain itself if it is among the names, else one below, else any."""
        if self._name is None:
            names = yield from self._validated_names()
            below = [one for one in names if _is_below(one, domain)]
            self._name = domain if domain in names else next(iter(below + names), "unknown")
        return self._name

    # --- §6.2 -----------------------------------------------------------------------------------

    def explanation(self) -> Rule[str]:
        """The domain's words; nothing where anything about them is wrong."""
        assert self.explain is not None
        text, domain = self.explain
        try:
            target = yield from self._expanded(text, domain)
            if not dns.is_name(target):
                return ""
            found = yield Dns("TXT", target)
            if len(found.texts) != 1:
                return ""
            words = found.texts[0].decode("ascii")
            name = "unknown"
            if spf_record.wants_name(words):
                name = yield from self._validated_name(domain)
        except (_Error, UnicodeDecodeError):
            return ""
        if not spf_record.is_explanation(words):
            return ""
        macros = msgspec.structs.replace(self._macros, domain=domain)
        told = spf_record.expand(words, macros, name)
        return told[:_EXPLAIN_MAX] if told.isascii() and told.isprintable() else ""


def _is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _is_in(client: dns.Address, text: str, bits: int) -> bool:
    try:
        network = ipaddress.ip_network((text, bits), strict=False)
    except ValueError:
        return False
    return client in network
