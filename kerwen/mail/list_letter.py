"""A message as a mailing list sends it on: its own From, so that DMARC of the author's domain does
not make others refuse it, and the fields by which programs know a list."""

# RFC 2369, RFC 2919, RFC 8058 §1 (not offered), RFC 9057 (Author), RFC 3834 §2 (what is automatic)

from __future__ import annotations

import re
from typing import Final

import msgspec

from kerwen.mail import addresses, encoded_words, fields, submission

_DROPPED: Final = frozenset(
    {
        b"from", b"sender", b"reply-to", b"author", b"return-path", b"dkim-signature",
        b"domainkey-signature", b"authentication-results", b"arc-seal", b"arc-message-signature",
        b"arc-authentication-results", b"precedence", b"list-id", b"list-post", b"list-help",
        b"list-unsubscribe", b"list-unsubscribe-post", b"list-subscribe", b"list-owner",
        b"list-archive", b"disposition-notification-to", b"return-receipt-to", b"errors-to",
        b"x-confirm-reading-to", b"delivered-to",
    }
)  # fmt: skip
_LOOKED_AT: Final = frozenset({b"list-id", b"auto-submitted", b"from", b"reply-to"})
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\"\\<>@,;:]+")
_NAME_MAX: Final = 80
_VALUE_MAX: Final = 900


class MailList(msgspec.Struct, frozen=True):
    """A list. `posting`: members, owner or anyone."""

    local: str
    title: str
    owner: str  # a local part here
    posting: str

    def address(self, domain: str, detail: str = "") -> str:
        """Where one writes to it; with a detail, to who looks after it."""
        return f"{self.local}{'+' + detail if detail else ''}@{domain}"


class NotForLists(ValueError):
    """A list does not send this on; the text says why."""


def sent_on(raw: bytes, of: MailList, domain: str) -> bytes:
    """The message for all members. Raises `NotForLists` for what comes of machines, or of the
    list itself."""
    end = submission.header_end(raw)
    header = raw[:end]
    told = fields.read(fields.pick(header, _LOOKED_AT))
    list_id = f"{of.local}.{domain}".encode()
    if any(list_id in value.lower() for value in told.get(b"list-id", ())):
        raise NotForLists("it has been there already")
    automatic = told.get(b"auto-submitted", [b"no"])[0].strip().lower()
    if not automatic.startswith(b"no"):
        raise NotForLists("it comes of a machine")
    authors = [one for value in told.get(b"from", ()) for one in addresses.mailboxes(value)]
    if len(authors) != 1 or not authors[0].host:
        raise NotForLists("it has not one author")
    kept = fields.pick(header, _DROPPED, without=True)
    if kept.endswith(b"\r\n\r\n"):
        kept = kept[:-2]
    return _fields(authors[0], told, of, domain) + kept + b"\r\n" + raw[end:]


def _fields(author: addresses.Mailbox, told: fields.Fields, of: MailList, domain: str) -> bytes:
    who = author.address.decode("utf-8", "replace")
    name = _plain(encoded_words.decode(author.name)) or who.partition("@")[0]
    title = _plain(of.title) or of.local
    post = f"<mailto:{of.address(domain)}>"
    if of.posting == "owner":
        post = "NO"
    reply = b", ".join(told.get(b"reply-to", ()))[:_VALUE_MAX] or author.address
    lines = [
        b"From: " + _phrase(f"{name} via {title}") + f" <{of.address(domain)}>".encode(),
        b"Reply-To: " + reply,
        b"Author: " + told[b"from"][0][:_VALUE_MAX],
        b"List-Id: " + _phrase(title) + f" <{of.local}.{domain}>".encode(),
        f"List-Post: {post}".encode(),
        f"List-Unsubscribe: <mailto:{of.address(domain, 'leave')}>".encode(),
        f"List-Owner: <mailto:{of.address(domain, 'owner')}>".encode(),
        b"Precedence: list",
    ]
    return b"".join(line + b"\r\n" for line in lines)


def _plain(text: str) -> str:
    return " ".join(_UNFIT.sub(" ", text).split())[:_NAME_MAX]


def _phrase(text: str) -> bytes:
    """A name before an address: quoted where it is ASCII, else encoded words."""
    if text.isascii():
        return f'"{text}"'.encode()
    return encoded_words.encode(text, first=10)
