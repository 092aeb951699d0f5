"""Reports of how TLS went with a domain's servers: whom to send them to, and what they say."""

# RFC 8460

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from kerwen.mail import report_letter
from kerwen.mail.report_letter import Letter

SUCCESS: Final = "success"
_DESTINATIONS_MAX: Final = 2
_DETAILS_MAX: Final = 1_000
_RECORD: Final = re.compile(rb"v=TLSRPTv1[ \t]*;(.*)", re.DOTALL)
_RUA: Final = re.compile(rb"(?:^|;)[ \t]*rua[ \t]*=[ \t]*([^;]+)")
_MAILTO: Final = re.compile(r"mailto:([^\s@<>,;?%]+@[^\s@<>,;?%]+)", re.IGNORECASE)
_HTTPS: Final = re.compile(r"https://[^\s,;\x00-\x1f\x7f]+", re.IGNORECASE)


class Line(msgspec.Struct, frozen=True):
    """How often a result came at a host. `policy`: `sts`, `tlsa`, `no-policy-found`."""

    policy: str
    host: str
    result: str
    count: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one report is made of. `day`: of UTC, since 1970; `host`: ours."""

    host: str
    domain: str
    day: int
    lines: Sequence[Line]
    sts_policy: tuple[str, ...] = ()  # the lines of the policy that was applied

    @property
    def id(self) -> str:
        """The same when it is sent again."""
        return report_letter.report_id(self.host, self.domain, self.day)


def record_name(domain: str) -> str:
    """Where the TXT record stands that asks for reports (§3)."""
    return f"_smtp._tls.{domain}"


def destinations(texts: tuple[bytes, ...]) -> tuple[str, ...]:
    """Where reports are wanted: addresses, and URLs of https; none if nobody asks."""
    found = [match[1] for text in texts if (match := _RECORD.fullmatch(text))]
    if len(found) != 1 or (told := _RUA.search(found[0])) is None:
        return ()
    places = []
    for one in told[1].decode("ascii", "replace").split(","):
        if mailto := _MAILTO.fullmatch(one.strip()):
            places.append(mailto[1])
        elif _HTTPS.fullmatch(one.strip()):
            places.append(one.strip())
    return tuple(places[:_DESTINATIONS_MAX])


def pressed(report: Report) -> bytes:
    """The report as JSON, pressed (§4.4, §5.2); the same bytes each time."""
    import gzip  # once a day

    start = report_letter.start_of(report.day)
    end = start + datetime.timedelta(days=1, seconds=-1)
    told = {
        "organization-name": report.host,
        "date-range": {"start-datetime": _iso(start), "end-datetime": _iso(end)},
        "contact-info": f"postmaster@{report.host}",
        "report-id": report.id,
        "policies": [
            _policy(report, kind) for kind in sorted({one.policy for one in report.lines})
        ],
    }
    return gzip.compress(json.dumps(told).encode(), mtime=0)


def _policy(report: Report, kind: str) -> dict[str, Any]:
    lines = [one for one in report.lines if one.policy == kind]
    failures = [one for one in lines if one.result != SUCCESS]
    policy: dict[str, Any] = {"policy-type": kind, "policy-domain": report.domain}
    if kind == "sts" and report.sts_policy:
        policy["policy-string"] = list(report.sts_policy)
    hosts = sorted({one.host for one in lines if one.host})
    if hosts:
        policy["mx-host"] = hosts
    return {
        "policy": policy,
        "summary": {
            "total-successful-session-count": sum(
                one.count for one in lines if one.result == SUCCESS
            ),
            "total-failure-session-count": sum(one.count for one in failures),
        },
        "failure-details": [_failure(one) for one in failures[:_DETAILS_MAX]],
    }


def _failure(line: Line) -> dict[str, Any]:
    told: dict[str, Any] = {"result-type": line.result, "failed-session-count": line.count}
    if line.host:
        told["receiving-mx-hostname"] = line.host
    return told


def letter(report: Report, to: str, body: bytes, at_ms: int) -> bytes:
    """The report as a message to an address (§5.3). `body`: `pressed`."""
    return report_letter.build(
        Letter(
            host=report.host,
            domain=report.domain,
            day=report.day,
            to=to,
            report_id=report.id,
            at_ms=at_ms,
            headers=(
                f"TLS-Report-Domain: {report.domain}",
                f"TLS-Report-Submitter: {report.host}",
                "TLS-Required: No",
            ),
            content_type='multipart/report; report-type="tlsrpt"',
            words=f"How TLS went with the servers of {report.domain}, as {report.host} saw it.",
            file_type="application/tlsrpt+gzip",
            ending="json.gz",
            file=body,
        )
    )


def _iso(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
