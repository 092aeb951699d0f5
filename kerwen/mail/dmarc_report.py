"""Aggregate reports of DMARC: what came in a domain's name, and what became of it."""

# RFC 9990 (which replaced RFC 7489 §7.2)

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.mail import dkim, dmarc, report_letter, spf
from kerwen.mail.junk import Seen, Verdict
from kerwen.mail.report_letter import Letter

_PLACES_MAX: Final = 2
_KEYS_MAX: Final = 4  # signatures told of one message
_ROWS_MAX: Final = 10_000  # of one report
_MAILTO: Final = re.compile(r"mailto:([^\s@<>,;?%!]+@[^\s@<>,;?%!]+)(?:![0-9]+[kmgt]?)?", re.I)
_UNFIT: Final = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]")


class Came(msgspec.Struct, frozen=True, array_like=True):
    """One kind of message that came: all that makes it another row of the report."""

    domain: str  # whose policy counted
    organization: str
    places: tuple[str, ...]  # addresses that want reports
    published: tuple[str, str, str, str]  # adkim, aspf, p, sp
    source: str  # network address
    author: str
    sender: str  # the envelope's domain
    done: str  # none, quarantine, reject
    dkim: bool  # proved the author
    spf: bool
    keys: tuple[tuple[str, str, str], ...]  # domain, selector, result
    spf_result: tuple[str, str]  # domain, result


def came(seen: Seen, verdict: Verdict, source: str, sender: str) -> Came | None:
    """What is to be told of a message; None where nobody asks, or nothing is certain."""
    told = seen.dmarc
    if told is None or told.record is None or seen.spf is None:
        return None
    places = destinations(told.record.aggregate)
    if not places or told.result not in (dmarc.Result.PASS, dmarc.Result.FAIL):
        return None
    record = told.record
    by_policy = told.result is dmarc.Result.FAIL and told.policy is not dmarc.Policy.NONE
    done = {Verdict.REFUSE: "reject", Verdict.JUNK: "quarantine"}.get(verdict, "none")
    return Came(
        told.place or told.domain,
        told.organization or told.domain,
        places,
        (
            "s" if record.strict_dkim else "r",
            "s" if record.strict_spf else "r",
            record.policy.value,
            (record.subdomains or record.policy).value,
        ),
        source,
        told.domain,
        sender.rpartition("@")[2].lower(),
        done if by_policy else "none",
        told.by_dkim,
        told.by_spf,
        tuple((one.domain, one.selector, _key_result(one)) for one in seen.dkim[:_KEYS_MAX]),
        (seen.spf.domain, _spf_result(seen.spf)),
    )


def _key_result(one: dkim.Dkim) -> str:
    return one.result.value


def _spf_result(one: spf.Spf) -> str:
    return one.result.value


def destinations(uris: Sequence[str]) -> tuple[str, ...]:
    """The addresses among the URIs of `rua`; their limits of size are far above our reports."""
    found = (_MAILTO.fullmatch(uri.strip()) for uri in uris)
    return tuple(match[1] for match in found if match)[:_PLACES_MAX]


def consent_name(domain: str, organization: str, place: str) -> str | None:
    """The name at which an address elsewhere must say that it wants a domain's reports (RFC 9990
    §3.5); None where it is of the same organization."""
    host = place.rpartition("@")[2].lower()
    if any(host == own or host.endswith("." + own) for own in (domain, organization)):
        return None
    return f"{domain}._report._dmarc.{host}"


def consents(texts: tuple[bytes, ...]) -> bool:
    """Whether the records there say yes."""
    return any(re.match(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(;|\Z)", text) for text in texts)


def pressed(host: str, domain: str, day: int, rows: Sequence[tuple[Came, int]]) -> bytes:
    """The report of a day as XML, pressed."""
    import gzip  # once a day

    start = day * report_letter.DAY_S
    adkim, aspf, policy, below = rows[-1][0].published
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0"><version>1.0</version>'
        f"<report_metadata>{_tag('org_name', host)}{_tag('email', f'postmaster@{host}')}"
        f"{_tag('report_id', report_letter.report_id(host, domain, day))}<date_range>"
        f"{_tag('begin', str(start))}{_tag('end', str(start + report_letter.DAY_S - 1))}"
        "</date_range></report_metadata>"
        f"<policy_published>{_tag('domain', domain)}{_tag('p', policy)}{_tag('sp', below)}"
        f"{_tag('adkim', adkim)}{_tag('aspf', aspf)}</policy_published>"
        + "".join(_record(one, count) for one, count in rows[:_ROWS_MAX])
        + "</feedback>\n"
    )
    return gzip.compress(text.encode(), mtime=0)


def _record(one: Came, count: int) -> str:
    keys = "".join(
        f"<dkim>{_tag('domain', domain)}{_tag('selector', selector)}{_tag('result', result)}</dkim>"
        for domain, selector, result in one.keys
    )
    sender = _tag("envelope_from", one.sender) if one.sender else ""
    return (
        f"<record><row>{_tag('source_ip', one.source)}{_tag('count', str(count))}"
        f"<policy_evaluated>{_tag('disposition', one.done)}"
        f"{_tag('dkim', 'pass' if one.dkim else 'fail')}"
        f"{_tag('spf', 'pass' if one.spf else 'fail')}</policy_evaluated></row>"
        f"<identifiers>{sender}{_tag('header_from', one.author)}</identifiers>"
        f"<auth_results>{keys}<spf>{_tag('domain', one.spf_result[0])}"
        f"{_tag('result', one.spf_result[1])}</spf></auth_results></record>"
    )


def _tag(name: str, text: str) -> str:
    fit = _UNFIT.sub("?", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{fit}</{name}>"


def letter(host: str, domain: str, day: int, to: str, file: bytes, at_ms: int) -> bytes:
    """The report as a message. `file`: `pressed`."""
    return report_letter.build(
        Letter(
            host=host,
            domain=domain,
            day=day,
            to=to,
            report_id=report_letter.report_id(host, domain, day),
            at_ms=at_ms,
            content_type="multipart/mixed",
            words=f"What came to {host} in the name of {domain}: an aggregate report of DMARC.",
            file_type="application/gzip",
            ending="xml.gz",
            file=file,
        )
    )
