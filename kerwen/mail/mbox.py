"""Messages from files: mbox as it comes, Maildir's names, and the folders that both mean."""

# RFC 4155; qmail's mbox(5) and maildir(5); Google's X-Gmail-Labels

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import encoded_words, submission
from kerwen.mail.flags import System

_BREAK: Final = re.compile(rb"\n\r?\n(From [^\n]{0,998}\d\d:\d\d[^\n]{0,998}\n)")
_FIRST: Final = re.compile(rb"[\r\n]*(From [^\n]{0,2000}\n)")
_QUOTED: Final = re.compile(rb"^>(>*From )", re.MULTILINE)
_OWN: Final = re.compile(
    rb"^(Status|X-Status|X-Mozilla-Status|X-Gmail-Labels):"
    rb"((?:[^\n]*\n)(?:[ \t][^\n]*\n)*)",
    re.IGNORECASE | re.MULTILINE,
)
_FROM_DATE: Final = re.compile(
    r"([A-Z][a-z]{2})\s+(\d{1,2})\s+(\d\d):(\d\d)(?::(\d\d))?(?:\s+([+-]\d{4}))?"
    r"(?:\s+[A-Z]+)?\s+(\d{4})(?:\s+([+-]\d{4}))?"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # fmt: skip
_STEP_BACK: Final = 2048  # a break may begin in what was looked at before
_ANSWERED, _FLAGGED, _DELETED = System.ANSWERED, System.FLAGGED, System.DELETED
_STATUS: Final = {
    b"R": System.SEEN, b"A": _ANSWERED, b"F": _FLAGGED, b"D": _DELETED, b"T": System.DRAFT,
}  # fmt: skip
_MAILDIR: Final = {
    "S": System.SEEN, "R": _ANSWERED, "F": _FLAGGED, "T": _DELETED, "D": System.DRAFT,
}  # fmt: skip
SPECIAL_NAMES: Final = {
    "sent": "sent", "sent items": "sent", "sent messages": "sent", "sent mail": "sent",
    "drafts": "drafts", "draft": "drafts",
    "junk": "junk", "spam": "junk", "junk e-mail": "junk", "junk email": "junk",
    "bulk mail": "junk",
    "trash": "trash", "deleted items": "trash", "deleted messages": "trash", "bin": "trash",
    "archive": "archive", "archives": "archive", "archived": "archive", "all mail": "archive",
}  # fmt: skip
"""What folders are called elsewhere, where nobody says what they are for."""

_MARKS: Final = frozenset({"unread", "opened", "starred", "important", "chat"})
_BAD_LETTERS: Final = re.compile(r"[\x00-\x1f\x7f%*]")


class Found(msgspec.Struct, frozen=True, gc=False):
    """A message as it was found. `folder` "" means INBOX; one that begins with a backslash is a
    special use. `raw` has CRLF. `place` is where it was, for whoever goes on behind it."""

    folder: str
    raw: bytes
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date_s: int | None = None
    place: int = 0


class NotMbox(ValueError):
    """The bytes do not begin as an mbox does."""


class MboxSplitter:
    """Cuts an mbox that comes in pieces. Memory: one message, never more than may be stored."""

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._buffer = bytearray()
        self._scanned = 0
        self._from: bytes | None = None
        self._lost = False  # the message that comes is too long
        self.too_long = 0

    def feed(self, data: bytes) -> list[Found]:
        """The messages that are whole now. Raises `NotMbox`."""
        self._buffer += data
        found: list[Found] = []
        if self._from is None and not self._begin():
            return found
        while (match := _BREAK.search(self._buffer, self._scanned)) is not None:
            self._take(bytes(self._buffer[: match.start() + 1]), found)
            self._from = match[1]
            del self._buffer[: match.end()]
            self._scanned = 0
        self._scanned = max(0, len(self._buffer) - _STEP_BACK)
        if len(self._buffer) > limits.MESSAGE_BYTES_MAX:
            self._lost = True
            del self._buffer[: self._scanned]
            self._scanned = 0
        return found

    def end(self) -> list[Found]:
        """What is left. Raises `NotMbox`."""
        found: list[Found] = []
        if self._from is None:
            if self._buffer.strip():
                raise NotMbox("it does not begin with a line `From `")
            return found
        self._take(bytes(self._buffer), found)
        self._buffer.clear()
        return found

    def _begin(self) -> bool:
        match = _FIRST.match(self._buffer)
        if match is None:
            start = bytes(self._buffer[:4096]).lstrip(b"\r\n")
            if (start and not b"From ".startswith(start[:5])) or len(self._buffer) > 8192:
                raise NotMbox("it does not begin with a line `From `")
            return False
        self._from = match[1]
        del self._buffer[: match.end()]
        return True

    def _take(self, raw: bytes, found: list[Found]) -> None:
        if self._lost:
            self._lost = False
            self.too_long += 1
            return
        if raw.strip():
            found.append(of_mbox(self._from or b"", raw, self._folder))


def of_mbox(from_line: bytes, raw: bytes, folder: str) -> Found:
    """A message of an mbox, with what its own fields say of its state."""
    raw = crlf(_QUOTED.sub(rb"\1", raw))
    head = raw[: submission.header_end(raw)]
    flags = 0
    labels: str | None = None
    for match in _OWN.finditer(head):
        name, value = match[1].lower(), match[2].strip()
        if name in (b"status", b"x-status"):
            for letter, flag in _STATUS.items():
                flags |= flag if letter in value.upper() else 0
        elif name == b"x-mozilla-status":
            flags |= _mozilla(value)
        elif name == b"x-gmail-labels":
            labels = encoded_words.decode(b" ".join(value.split()))
    if labels is not None:
        folder, more = by_labels(labels, folder)
        flags |= more
    return Found(folder, raw, flags, (), _date(from_line))


def by_labels(text: str, otherwise: str) -> tuple[str, int]:
    """The folder that Google's labels mean, and the flags."""
    labels = [label.strip() for label in text.split(",") if label.strip()]
    small = {label.lower() for label in labels}
    flags = 0 if "unread" in small else int(System.SEEN)
    flags |= System.FLAGGED if "starred" in small else 0
    flags |= System.DRAFT if "drafts" in small else 0
    for label, folder in (("trash", "\\trash"), ("spam", "\\junk"), ("drafts", "\\drafts")):
        if label in small:
            return folder, flags
    own = [
        label
        for label in labels
        if label.lower() not in _MARKS | {"inbox", "sent", "archived"}
        and not label.lower().startswith("category ")
    ]
    if own:
        return folder_of(own[0], "/", ()), flags
    if "inbox" in small:
        return "", flags
    if "sent" in small:
        return "\\sent", flags
    return ("\\archive" if labels else otherwise), flags


def folder_of(name: str, delimiter: str, uses: Iterable[str]) -> str:
    """Where a folder of elsewhere comes here: by its use, by its name, else under its own name."""
    if name.upper() == "INBOX":
        return ""
    for use in uses:
        known = use.lower().lstrip("\\")
        if known in ("sent", "drafts", "junk", "trash", "archive"):
            return "\\" + known
        if known == "all":
            return "\\archive"
    parts = name.split(delimiter) if delimiter else [name]
    if parts[0].upper() == "INBOX" and len(parts) > 1:  # servers that put all below INBOX
        parts = parts[1:]
    if parts[0].lower() in ("[gmail]", "[google mail]") and len(parts) > 1:
        parts = parts[1:]
    if len(parts) == 1 and parts[0].lower() in SPECIAL_NAMES:
        return "\\" + SPECIAL_NAMES[parts[0].lower()]
    parts = [_BAD_LETTERS.sub("_", part).replace("/", "_").strip() or "_" for part in parts]
    return "/".join(parts)


def maildir_flags(name: str) -> int:
    """The flags in the name of a file of a Maildir."""
    info = name.rpartition(":2,")[2] if ":2," in name else ""
    found = 0
    for letter, flag in _MAILDIR.items():
        found |= flag if letter in info else 0
    return found


def maildir_folder(name: str) -> str:
    """The folder of a Maildir++ by the name of its directory (`.Sent`, `.Work.2024`)."""
    return folder_of(name.lstrip("."), ".", ())


def crlf(raw: bytes) -> bytes:
    """Every end of line as mail has it."""
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw.replace(b"\n", b"\r\n")


def _mozilla(value: bytes) -> int:
    try:
        bits = int(value[:8], 16)
    except ValueError:
        return 0
    pairs = ((1, System.SEEN), (2, _ANSWERED), (4, _FLAGGED), (8, _DELETED))
    return sum(flag for bit, flag in pairs if bits & bit)


def _date(from_line: bytes) -> int | None:
    match = _FROM_DATE.search(from_line.decode("latin-1"))
    if match is None or match[1] not in _MONTHS:
        return None
    zone = match[6] or match[8] or "+0000"
    minutes = int(zone[1:3]) * 60 + int(zone[3:5])
    minutes = -minutes if zone[0] == "-" else minutes
    try:
        when = datetime.datetime(
            int(match[7]), _MONTHS.index(match[1]) + 1, int(match[2]),
            int(match[3]), int(match[4]), min(int(match[5] or 0), 59), tzinfo=datetime.UTC,
        )  # fmt: skip
    except ValueError:
        return None
    found = int(when.timestamp()) - minutes * 60
    return found if found > 0 else None
