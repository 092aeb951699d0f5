"""JMAP's ids of things here. Those of Emails and blobs are keyed to their account: no id of another
account can be told from nonsense (kerwen/mail/store/tags.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.mail.store.tags import Tags

_MAILBOX: Final = re.compile(r"F([1-9][0-9]{0,17})")
_BLOB: Final = re.compile(r"([BUS][A-Za-z0-9_-]{22})((?:p[0-9]{1,4}(?:-[0-9]{1,4}){0,30}){0,4})")


class BlobRef(msgspec.Struct, frozen=True):
    """What a blob id names: a message, a part of it, an uploaded file, or a Sieve script."""

    no: int
    upload: bool  # it is no message, nor in one
    parts: tuple[str, ...]  # 1.2, and parts of a message that stands there
    script: int | None = None  # of a script: the version of its text


def mailbox_id(mailbox_no: int) -> str:
    """As IMAP's MAILBOXID (RFC 8474)."""
    return f"F{mailbox_no}"


def mailbox_no(told: object) -> int | None:
    """The number of a mailbox's id; None: it is none."""
    match = _MAILBOX.fullmatch(told) if isinstance(told, str) else None
    return int(match[1]) if match is not None else None


def email_ids(tags: Tags, account_no: int, nos: list[int]) -> list[str]:
    """As IMAP's EMAILID."""
    return tags.email_ids(account_no, nos)


def email_no(tags: Tags, account_no: int, told: str) -> int | None:
    """The number of an Email's id; None: it is none of this account."""
    return tags.message_no(account_no, told) if told[:1] == "M" else None


def email_nos(tags: Tags, account_no: int, told: Sequence[str]) -> list[int | None]:
    """The numbers of many."""
    return tags.message_nos(account_no, told)


def account_id(tags: Tags, account_no: int) -> str:
    """The id of an account."""
    return tags.email_ids(account_no, [0], "A")[0]


def blob_of_email(email_id: str) -> str:
    """The blob of a message."""
    return "B" + email_id[1:]


def blob_of_part(blob_id: str, part_id: str) -> str:
    """The blob of a part of a message."""
    return f"{blob_id}p{part_id.replace('.', '-')}"


def upload_id(tags: Tags, account_no: int, upload_no: int) -> str:
    """The blob of an uploaded file."""
    return tags.email_ids(account_no, [upload_no], "U")[0]


def script_blob(tags: Tags, account_no: int, script_no: int, version: int) -> str:
    """The blob of a Sieve script; `version` (32 bits) is another one for another text."""
    return tags.email_ids(account_no, [script_no << 32 | version], "S")[0]


def blob(tags: Tags, account_no: int, told: object) -> BlobRef | None:
    """What a blob id names; None: nothing of this account."""
    match = _BLOB.fullmatch(told) if isinstance(told, str) else None
    if match is None:
        return None
    no = tags.message_no(account_no, match[1], match[1][0])
    if no is None:
        return None
    parts = tuple(match[2].replace("-", ".").split("p")[1:])
    if match[1][0] == "S":
        return BlobRef(no >> 32, True, parts, no & 0xFFFFFFFF)
    return BlobRef(no, match[1][0] == "U", parts)
