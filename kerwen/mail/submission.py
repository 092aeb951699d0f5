"""What a message that is submitted lacks is filled in; what nobody may see is taken out.

Also who its authors are, for the question whether they are the sender's own addresses.
"""

# RFC 6409 §8; RFC 5322 §3.6

from __future__ import annotations

import re
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import addresses, dates, fields

_FIRST_LINE: Final = re.compile(rb"[!-9;-~]++[ \t]*+:|>?From ")
_DROPPED: Final = frozenset({b"bcc", b"resent-bcc", b"return-path"})


def header_end(raw: bytes) -> int:
    """Where the body of a message with CRLF line ends begins; its length if there is none, 0 if
    there is no header."""
    if raw[:2] == b"\r\n":
        return 2
    if _FIRST_LINE.match(raw) is None:
        return 0
    found = raw.find(b"\r\n\r\n")
    return found + 4 if found >= 0 else len(raw)


def check_size(header: bytes, most: int = limits.FIELDS_TAKEN_MAX) -> None:
    """`Refused(MALFORMED_MESSAGE)` where a header has more fields than any message needs."""
    lines = header.count(b"\n")
    # nearly never; and what is folded is no field
    if lines > most and lines - header.count(b"\n ") - header.count(b"\n\t") > most:
        raise Refused(Reason.MALFORMED_MESSAGE, "The header has too many fields")


def completed(header: bytes, message_id: str, at_ms: int) -> tuple[bytes, bytes]:
    """(fields that were missing, the header without Bcc); Date and Message-ID are needed."""
    found = list(fields.split(header))
    names = {field.name for field in found}
    kept: list[bytes] = []
    at = 0
    for field in found:
        if field.name in _DROPPED:
            kept.append(header[at : field.start])
            at = field.end
    added = ""
    if b"message-id" not in names:
        added += f"Message-ID: <{message_id}>\r\n"
    if b"date" not in names:
        added += f"Date: {dates.write(at_ms)}\r\n"
    return added.encode(), b"".join((*kept, header[at:])) if kept else header


def authors(header: bytes) -> list[str]:
    """The addresses of From, and of Sender if it is there, in small letters where ASCII is."""
    read = fields.read(fields.pick(header, frozenset({b"from", b"sender"})))
    found: dict[str, None] = {}
    for name in (b"from", b"sender"):
        for value in read.get(name, ()):
            for mailbox in addresses.mailboxes(value):
                found[mailbox.address.decode("utf-8", "replace")] = None
    return list(found)


def has_one_author_field(header: bytes) -> bool:
    """Whether From stands there exactly once (RFC 5322 §3.6)."""
    return sum(field.name == b"from" for field in fields.split(header)) == 1
