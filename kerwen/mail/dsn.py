"""Delivery reports: what a sender is told when a message failed, waits, or arrived."""

# RFC 3461, RFC 3464, RFC 6522; RFC 6533 where addresses are not ASCII

from __future__ import annotations

import enum
import re
from typing import Final

import msgspec

from kerwen.mail import dates, encoded_words

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_ENHANCED: Final = re.compile(r"(?:\d{3}[ -])?([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_TEXT_MAX: Final = 500
_RETURNED_MAX: Final = 1024 * 1024


class Action(enum.Enum):
    """What became of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient."""

    recipient: str
    action: Action
    status: str  # enhanced code: `5.1.1`
    original: str | None = None  # ORCPT as it was given, `rfc822;…`
    host: str | None = None  # who told us
    answer: str | None = None  # and what it said
    attempted_ms: int | None = None
    until_ms: int | None = None  # for delays


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report. Nothing random is made here: `boundary` and `message_id` are given."""

    host: str  # ours
    postmaster: str  # our address
    sender: str  # whom to tell: the envelope's sender
    outcomes: tuple[Outcome, ...]
    at_ms: int
    arrived_ms: int
    message_id: str
    boundary: str
    envelope_id: str | None = None  # ENVID
    header: bytes  # of the message
    message: bytes | None = None  # all of it, where RET=FULL asks for it


_SUBJECTS: Final = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was handed on",
    Action.EXPANDED: "Your message was delivered to a list",
}
_SAYING: Final = {
    Action.FAILED: "could not be delivered. We will not try again.",
    Action.DELAYED: "could not be delivered yet. We keep trying; you need not send it again.",
    Action.DELIVERED: "was delivered.",
    Action.RELAYED: "was handed on to a server that does not send reports.",
    Action.EXPANDED: "was delivered to a list of addresses.",
}


def build(report: Report) -> bytes:
    """The report as a message with CRLF line ends."""
    utf8 = any(not _is_ascii(outcome) for outcome in report.outcomes)
    actions = {outcome.action for outcome in report.outcomes}
    action = next(a for a in Action if a in actions)
    boundary = report.boundary.encode()
    body = (
        _part(boundary, b"text/plain; charset=utf-8", _words(report).encode(), b"8bit"),
        _status_part(report, boundary, utf8=utf8),
        _returned(report, boundary, utf8=utf8),
        b"--%b--\r\n" % boundary,
    )
    return _header(report, action) + b"\r\n" + b"".join(body)


def _header(report: Report, action: Action) -> bytes:
    subject = encoded_words.encode(_SUBJECTS[action]).decode()
    lines = [
        f"From: Mail Delivery System <{report.postmaster}>",
        f"To: <{report.sender}>",
        f"Subject: {subject}",
        f"Date: {dates.write(report.at_ms)}",
        f"Message-ID: <{report.message_id}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 §5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="'
        f'{report.boundary}"',
    ]
    return "".join(f"{line}\r\n" for line in lines).encode()


def _words(report: Report) -> str:
    lines = [f"This is the mail server {report.host}.", ""]
    for action in Action:
        told = [outcome for outcome in report.outcomes if outcome.action is action]
        if told:
            lines += [f"Your message to the following {_SAYING[action]}", ""]
            for outcome in told:
                lines.append(f"  {_clean(outcome.recipient)}")
                if outcome.answer:
                    told_by = f"{_clean(outcome.host)} said: " if outcome.host else ""
                    lines.append(f"    {told_by}{_clean(outcome.answer)}")
            lines.append("")
    return "\r\n".join(lines) + "\r\n"


def _status_part(report: Report, boundary: bytes, *, utf8: bool) -> bytes:
    """The machine's part (RFC 3464 §2)."""
    blocks = [_per_message(report)]
    blocks += [_per_recipient(outcome, utf8=utf8) for outcome in report.outcomes]
    text = "\r\n".join("".join(f"{line}\r\n" for line in block) for block in blocks)
    kind = b"message/global-delivery-status" if utf8 else b"message/delivery-status"
    return _part(boundary, kind, text.encode(), b"8bit" if utf8 else b"")


def _per_message(report: Report) -> list[str]:
    lines = []
    if report.envelope_id:
        lines.append(f"Original-Envelope-Id: {_ascii(report.envelope_id)}")
    lines.append(f"Reporting-MTA: dns; {report.host}")
    lines.append(f"Arrival-Date: {dates.write(report.arrived_ms)}")
    return lines


def _per_recipient(outcome: Outcome, *, utf8: bool) -> list[str]:
    lines = []
    if outcome.original:
        kind, _, address = _clean(outcome.original).partition(";")
        lines.append(f"Original-Recipient: {kind}; {address}")
    kind = "rfc822" if outcome.recipient.isascii() else "utf-8"
    lines.append(f"Final-Recipient: {kind}; {_clean(outcome.recipient)}")
    lines.append(f"Action: {outcome.action.value}")
    lines.append(f"Status: {outcome.status}")
    if outcome.host:
        lines.append(f"Remote-MTA: dns; {_clean(outcome.host)}")
    if outcome.answer:
        answer = _clean(outcome.answer)
        lines.append(f"Diagnostic-Code: smtp; {answer if utf8 else _ascii(answer)}")
    if outcome.attempted_ms is not None:
        lines.append(f"Last-Attempt-Date: {dates.write(outcome.attempted_ms)}")
    if outcome.until_ms is not None and outcome.action is Action.DELAYED:
        lines.append(f"Will-Retry-Until: {dates.write(outcome.until_ms)}")
    return lines


def _returned(report: Report, boundary: bytes, *, utf8: bool) -> bytes:
    """The message itself where it was asked for and is not too large, else its header."""
    eight = b"" if report.header.isascii() else b"8bit"
    if report.message is not None and len(report.message) <= _RETURNED_MAX:
        kind = b"message/global" if utf8 else b"message/rfc822"
        encoding = b"" if report.message.isascii() else b"8bit"
        return _part(boundary, kind, report.message, encoding)
    kind = b"message/global-headers" if utf8 else b"text/rfc822-headers"
    return _part(boundary, kind, report.header, eight)


def _part(boundary: bytes, kind: bytes, body: bytes, encoding: bytes) -> bytes:
    header = b"Content-Type: %b\r\n" % kind
    if encoding:
        header += b"Content-Transfer-Encoding: %b\r\n" % encoding
    return b"--%b\r\n%b\r\n%b\r\n" % (boundary, header, body)


def _clean(text: str | None) -> str:
    return _CONTROL.sub(" ", text or "")[:_TEXT_MAX]


def _ascii(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)[:_TEXT_MAX]


def _is_ascii(outcome: Outcome) -> bool:
    return outcome.recipient.isascii() and (outcome.original or "").isascii()


def status_of(code: int, text: str) -> str:
    """The enhanced status of a remote answer; without one, what its code implies.

    # RFC 3463; RFC 3464 §2.3.4
    """
    match = _ENHANCED.match(text.lstrip())
    if match is not None and match[1] == str(code // 100):
        return ".".join(match.groups())
    return f"{code // 100 if code // 100 in (2, 4, 5) else 5}.0.0"
