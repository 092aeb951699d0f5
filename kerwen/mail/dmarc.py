"""DMARC: whether somebody who may use the author's domain stands behind a message.

The organizational domain is found by walking up the DNS tree, as RFC 9989 has it now: no list of
public suffixes has to be kept and renewed.
"""

# RFC 9989

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import msgspec

from kerwen.mail import addresses, dns, encoded_words, tags
from kerwen.mail.dns import Dns, Rule, Status
from kerwen.mail.fields import Fields
from kerwen.mail.tags import BadTags

QUERIES_MAX: Final = 8  # §4.10: of one walk
_DOMAINS_MAX: Final = 10  # DKIM domains that are looked at


class Policy(enum.Enum):
    """What a domain wants done with what fails."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Result(enum.Enum):
    """RFC 8601 §2.7.4, RFC 9989 §5.4."""

    NONE = "none"  # there is no policy
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Record(msgspec.Struct, frozen=True):
    """A policy record, read."""

    policy: Policy
    subdomains: Policy | None = None  # sp
    nonexistent: Policy | None = None  # np
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"  # y: a public suffix; n: an organization; u: not said
    testing: bool = False
    aggregate: tuple[str, ...] = ()  # rua


class Dmarc(msgspec.Struct, frozen=True):
    """The verdict. `policy` is what to do with it, if the verdict is FAIL."""

    result: Result
    domain: str  # the author's
    policy: Policy = Policy.NONE
    by_dkim: bool = False
    by_spf: bool = False
    organization: str = ""
    record: Record | None = None
    why: str = ""
    place: str = ""  # where the record stands


def parse(text: bytes) -> Record | None:
    """A policy record; None if this TXT is none. # §4.7, §4.8"""
    head, _, _ = text.partition(b";")
    if tags.compact(head) != b"v=DMARC1":
        return None
    try:
        found = tags.parse(text)
    except BadTags:
        return None
    values = {name: tags.text(value).lower() for name, value in found.items()}
    reports = tuple(uri for uri in tags.text(found.get("rua", b"")).split(",") if ":" in uri)
    return Record(
        _policy(values.get("p")) or Policy.NONE,
        _policy(values.get("sp")),
        _policy(values.get("np")),
        values.get("adkim") == "s",
        values.get("aspf") == "s",
        values.get("psd", "u") if values.get("psd") in ("y", "n") else "u",
        values.get("t") == "y",
        reports,
    )


def _policy(value: str | None) -> Policy | None:
    try:
        return Policy(value)
    except ValueError:
        return None


def author_domain(header: Fields) -> str | None:
    """The domain of the one author; None where there is none, or authors of several domains.

    # §4.1, §5.7.1: such a message has no author that a policy could speak for
    """
    values = header.get(b"from", [])
    if len(values) != 1:
        return None
    found = {
        dns.plain(encoded_words.decode(mailbox.host).strip())
        for mailbox in addresses.mailboxes(values[0])
    }
    if len(found) != 1:
        return None
    domain = found.pop()
    return domain if dns.is_name(domain) else None


def check(author: str, spf_domain: str | None, dkim_domains: Iterable[str]) -> Rule[Dmarc]:
    """The verdict on a message from `author`, given the domains that SPF and DKIM have proved.

    `spf_domain` is None where SPF did not pass.
    """
    author = dns.plain(author)
    walks = _Walks()
    proved = [*dict.fromkeys(map(dns.plain, dkim_domains))][:_DOMAINS_MAX]
    if spf_domain is not None:
        spf_domain = dns.plain(spf_domain)
    try:
        own = yield from walks.record(author)
        if own is not None and (author in proved or author == spf_domain):
            # the usual case: no walk is needed
            by_dkim, by_spf = author in proved, author == spf_domain
            return Dmarc(
                Result.PASS, author, Policy.NONE, by_dkim, by_spf, author, own, place=author
            )
        walk = yield from walks.walk(author)
        place, record = _policy_record(author, walk)
        if record is None:
            return Dmarc(Result.NONE, author)
        organization = _organization(author, walk)
        by_spf = spf_domain is not None and (
            yield from walks.aligned(author, organization, spf_domain, strict=record.strict_spf)
        )
        by_dkim = False
        for domain in proved:
            by_dkim = yield from walks.aligned(
                author, organization, domain, strict=record.strict_dkim
            )
            if by_dkim:
                break
        if by_spf or by_dkim:
            return Dmarc(
                Result.PASS, author, Policy.NONE, by_dkim, by_spf, organization, record, place=place
            )
        policy = yield from _asked_policy(author, place, record)
    except _NoAnswer as error:
        return Dmarc(Result.TEMPERROR, author, why=f"no answer for {error}")
    return Dmarc(Result.FAIL, author, policy, organization=organization, record=record, place=place)


class _NoAnswer(Exception):
    """The DNS does not answer now."""


Walk = list[tuple[str, Record]]
"""Domains with a record, from the one asked about up."""


class _Walks:
    """The walks of one check; a domain is asked for once."""

    def __init__(self) -> None:
        self._records: dict[str, Record | None] = {}

    def walk(self, domain: str) -> Rule[Walk]:
        """# §4.10: the DNS tree walk"""
        found: Walk = []
        for name in _names(domain):
            record = yield from self.record(name)
            if record is not None:
                found.append((name, record))
                if record.psd != "u":
                    break
        return found

    def record(self, name: str) -> Rule[Record | None]:
        """The one policy record of a name."""
        if name in self._records:
            return self._records[name]
        asked = f"_dmarc.{name}"
        if not dns.is_name(asked):
            return None
        answer = yield Dns("TXT", asked)
        if answer.status is Status.FAILED:
            raise _NoAnswer(asked)
        records = [record for text in answer.texts if (record := parse(text)) is not None]
        # several records are as good as none
        self._records[name] = records[0] if len(records) == 1 else None
        return self._records[name]

    def aligned(self, author: str, organization: str, domain: str, *, strict: bool) -> Rule[bool]:
        """Whether a proved domain is the author's. # §4.4.1, §4.4.2"""
        if domain == author:
            return True
        if strict or not (domain == organization or domain.endswith("." + organization)):
            return False
        walk = yield from self.walk(domain)
        return _organization(domain, walk) == organization


def _names(domain: str) -> list[str]:
    """The names that a walk asks for: the domain, then upwards, at most eight in all."""
    labels = domain.split(".")
    names = [domain]
    above = labels[1:] if len(labels) <= QUERIES_MAX else labels[-(QUERIES_MAX - 1) :]
    while above:
        names.append(".".join(above))
        above = above[1:]
    return names


def _organization(domain: str, walk: Walk) -> str:
    """The organizational domain. # §4.10.2"""
    for name, record in walk:
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            # the name just below the public suffix
            below = domain.removesuffix("." + name)
            return f"{below.rpartition('.')[2]}.{name}"
    if not walk:
        return domain
    return min((name for name, _ in walk), key=lambda name: name.count("."))


def _policy_record(author: str, walk: Walk) -> tuple[str, Record | None]:
    """Whose record counts: the author's own, the organization's, the public suffix's. # §4.10.1"""
    found = dict(walk)
    if author in found:
        return author, found[author]
    organization = _organization(author, walk)
    if organization in found:
        return organization, found[organization]
    for name, record in walk:
        if record.psd == "y":
            return name, record
    return author, None


def _asked_policy(author: str, place: str, record: Record) -> Rule[Policy]:
    """What is to be done with a message that failed. # §4.7: p, sp, np, t"""
    policy = record.policy
    if place != author:
        below = record.subdomains or record.policy
        policy = below
        if record.nonexistent is not None and record.nonexistent is not below:
            exists = yield from _exists(author)
            policy = below if exists else record.nonexistent
    if record.testing:
        policy = Policy.QUARANTINE if policy is Policy.REJECT else Policy.NONE
    return policy


def _exists(domain: str) -> Rule[bool]:
    """# §3.2.13: a domain with neither MX nor address does not exist for mail"""
    for kind in ("MX", "A", "AAAA"):
        answer = yield Dns(kind, domain)
        if answer.status is Status.FAILED:
            raise _NoAnswer(domain)
        if answer.status is Status.FOUND:
            return True
        if answer.status is Status.NO_NAME:
            return False
    return False
