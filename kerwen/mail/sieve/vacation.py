"""Answers of somebody who is away: whom they may go to, and how they look."""

# RFC 5230 §4.5-4.7, §5; RFC 3834; RFC 8621 §8

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from kerwen.mail import addresses, dates, encoded_words
from kerwen.mail.sieve import fitness
from kerwen.mail.sieve.mail import Mail, listed
from kerwen.mail.sieve.outcome import Reply

_NOBODY: Final = re.compile(
    r"owner-.*|.*-(?:request|owner|bounces?|confirm|noreply)|mailer-daemon|postmaster|listserv"
    r"|majordomo|bounces?|no-?_?reply|do-?not-?reply|notifications?|(?:bounces?|prvs|msprvs\d*|srs\d)"
    r"[+=-].*",
    re.IGNORECASE,
)
_LISTS: Final = re.compile(rb"list-.*|mailing-list|x-mailing-list|feedback-id|x-loop")
_MACHINES: Final = {
    b"precedence": re.compile(r"\s*(?:bulk|junk|list|auto_reply)\b", re.IGNORECASE),
    b"x-auto-response-suppress": re.compile(r".*\b(?:all|oof|autoreply)\b", re.IGNORECASE),
    b"auto-submitted": re.compile(r"(?!\s*no\s*(?:;|\Z))", re.IGNORECASE),
    b"x-autoreply": re.compile(r"\s*yes", re.IGNORECASE),
    b"content-type": re.compile(
        r"\s*multipart/report|\s*message/(?:delivery-status|disposition)", re.IGNORECASE
    ),
}
_FOR: Final = ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc")
_ID: Final = re.compile(rb"<[^<>\s]{1,900}>")
_CONTENT: Final = re.compile(r"(?:content-[a-z-]{1,60}|mime-version)[ \t]*:", re.IGNORECASE)
_REFERENCES_MAX: Final = 20
_WEEK_S: Final = 7 * 86_400


class Vacation(msgspec.Struct, frozen=True, rename="camel"):
    """What is answered without any script, between two times (ms; None: no bound)."""

    enabled: bool = False
    from_ms: int | None = None
    to_ms: int | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None

    def reply(self, now_ms: int) -> Reply | None:
        """The answer, if it is time for it. Other words are told again to everybody."""
        if not self.enabled or (self.from_ms is not None and now_ms < self.from_ms):
            return None
        if self.to_ms is not None and now_ms >= self.to_ms:
            return None
        handle = "\0".join(("vacation", str(self.subject), str(self.text), str(self.html)))
        if self.html is None:
            return Reply(self.text or "", _WEEK_S, self.subject, handle=handle)
        body = alternative(self.text, self.html)
        return Reply(body, _WEEK_S, self.subject, mime=True, handle=handle)


def may_answer(mail: Mail, own: Iterable[str]) -> bool:
    """Whether a person wrote this to one of these addresses and may be answered."""
    local, at, domain = mail.sender.rpartition("@")
    if not at or not domain or _NOBODY.fullmatch(local):
        return False
    mine = {plain(address) for address in own}
    if plain(mail.sender) in mine:
        return False
    for line in mail.lines:
        if _LISTS.fullmatch(line.name):
            return False
        machine = _MACHINES.get(line.name)
        if machine is not None and machine.match(line.text):
            return False
    return any(
        plain(address) in mine
        for name in _FOR
        for line in mail.named(name)
        for address in listed(line)
    )


def plain(address: str) -> str:
    """An address without its detail, in small letters."""
    local, _, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer needs beside its words."""

    sender: str  # From, as it stands in the field
    to: str
    message_id: str
    at_ms: int


def build(mail: Mail, reply: Reply, sending: Sending) -> bytes:
    """The answer to a message, CRLF between its lines."""
    told = [line.text for line in mail.named("subject")[:1]]
    subject = reply.subject or f"Auto: {told[0] if told else ''}".rstrip().rstrip(":")
    lines = [
        b"From: " + sending.sender.encode(),
        b"To: <" + sending.to.encode() + b">",
        b"Subject: " + encoded_words.encode(subject, first=9),
        b"Date: " + dates.write(sending.at_ms).encode(),
        b"Message-ID: <" + sending.message_id.encode() + b">",
        *_thread(mail),
        b"Auto-Submitted: auto-replied",
        b"X-Auto-Response-Suppress: All",
    ]
    head, body = _given(reply.reason) if reply.mime else ([], reply.reason)
    if not any(line.lower().startswith("content-transfer-encoding") for line in head):
        head, body = _encoded(head, body)
    lines += [line.encode() for line in ["MIME-Version: 1.0", *head]]
    return b"\r\n".join(lines) + b"\r\n\r\n" + _crlf(body).encode()


def _thread(mail: Mail) -> list[bytes]:
    ids = [found for line in mail.named("message-id")[:1] for found in _ID.findall(line.value)][:1]
    if not ids:
        return []
    before = [
        found
        for line in (mail.named("references") or mail.named("in-reply-to"))[:1]
        for found in _ID.findall(line.value)
    ]
    every = (before + ids)[-_REFERENCES_MAX:]
    return [b"In-Reply-To: " + ids[0], b"References: " + b"\r\n ".join(every)]


def _given(reason: str) -> tuple[list[str], str]:
    """The fields and the body of a `:mime` answer; only what tells of the content is taken."""
    head, _, body = reason.replace("\r\n", "\n").partition("\n\n")
    kept: list[str] = []
    open_ = False
    for line in head.split("\n"):
        if line[:1] in (" ", "\t"):
            if open_:
                kept[-1] += "\r\n" + line
            continue
        open_ = _CONTENT.match(line) is not None and not line.lower().startswith("mime-")
        if open_:
            kept.append(line)
    return kept, body


def _encoded(head: list[str], body: str) -> tuple[list[str], str]:
    """The same in a form that every server takes."""
    head = head or ["Content-Type: text/plain; charset=utf-8"]
    if any(line.lower().startswith("content-type") and "multipart/" in line.lower()
           for line in head):  # fmt: skip
        return [*head, "Content-Transfer-Encoding: 8bit"], body
    raw = base64.encodebytes(_crlf(body).encode(errors="replace")).decode()
    return [*head, "Content-Transfer-Encoding: base64"], raw


def alternative(text: str | None, html: str) -> str:
    """Text and HTML side by side, as a `:mime` answer."""
    mark = "=_answer"  # Base64 has no underscores
    pieces = [("html", html)] if text is None else [("plain", text), ("html", html)]
    said = [f'Content-Type: multipart/alternative; boundary="{mark}"', ""]
    for kind, body in pieces:
        said += [
            f"--{mark}",
            f"Content-Type: text/{kind}; charset=utf-8",
            "Content-Transfer-Encoding: base64",
            "",
            base64.encodebytes(body.encode(errors="replace")).decode().rstrip("\n"),
        ]
    return "\n".join([*said, f"--{mark}--", ""])


def _crlf(text: str) -> str:
    return "\r\n".join(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def author(text: str) -> tuple[str, str] | None:
    """The address of a `:from`, and the same as From has it; None if it is none."""
    found = addresses.mailboxes(text.encode(errors="replace"))
    if len(found) != 1 or not found[0].host:
        return None
    one = found[0]
    address = one.address.decode("utf-8", "replace")
    if not fitness.is_address(address):
        return None
    if not one.name:
        return address, f"<{address}>"
    name = encoded_words.encode(one.shown, first=6).decode()
    if name == one.shown:  # no encoded word: quoted
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return address, f"{name} <{address}>"
