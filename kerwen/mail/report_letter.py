"""The form of a daily report to another domain: a few words, and a pressed file."""

# RFC 8460 §5.3; RFC 9990 §4.1

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence

import msgspec

from kerwen.mail import dates

DAY_S = 86_400
DMARC_NAME = "dmarc-reports"
TLS_NAME = "tls-reports"
NAMES = frozenset({DMARC_NAME, TLS_NAME})
"""Local parts that the house itself reads: where it asks others to send their reports."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What a letter is made of. `host`: ours; `day`: of UTC, since 1970."""

    host: str
    domain: str
    day: int
    to: str
    report_id: str
    at_ms: int
    headers: Sequence[str] = ()
    content_type: str  # of the whole, without its boundary
    words: str
    file_type: str
    ending: str  # of the file's name
    file: bytes


def build(letter: Letter) -> bytes:
    """The message, CRLF between its lines."""
    boundary = f"report-{letter.day}"
    start = letter.day * DAY_S
    name = f"{letter.host}!{letter.domain}!{start}!{start + DAY_S - 1}.{letter.ending}"
    lines = [
        f"From: Mail Delivery System <postmaster@{letter.host}>",
        f"To: <{letter.to}>",
        f"Subject: Report Domain: {letter.domain} Submitter: {letter.host}",
        f" Report-ID: <{letter.report_id}>",
        f"Date: {dates.write(letter.at_ms)}",
        f"Message-ID: <{letter.ending}.{letter.report_id}>",
        *letter.headers,
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: {letter.content_type};\r\n boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        letter.words,
        f"--{boundary}",
        f"Content-Type: {letter.file_type}",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment;\r\n filename="{name}"',
        "",
    ]
    head = "".join(f"{line}\r\n" for line in lines).encode()
    file = base64.encodebytes(letter.file).replace(b"\n", b"\r\n")
    return head + file + f"--{boundary}--\r\n".encode()


def report_id(host: str, domain: str, day: int) -> str:
    """The same when a report is sent again."""
    return f"{start_of(day).strftime('%Y%m%d')}.{domain}@{host}"


def start_of(day: int) -> datetime.datetime:
    """When a day begins."""
    return datetime.datetime.fromtimestamp(day * DAY_S, datetime.UTC)
