"""Reads somebody's mail from another IMAP server: folders, then messages in the order of UIDs.

On the standard library's `imaplib`, which waits: every method is called on a thread. Nothing is
changed there: folders are opened for reading, and bodies are peeked at.
"""

# RFC 3501, RFC 6154 (special use), RFC 2595 (STARTTLS)

from __future__ import annotations

import calendar
import imaplib
import re
import ssl
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.imap.protocol import mailbox_names
from kerwen.mail import mbox
from kerwen.mail.flags import BITS
from kerwen.mail.mbox import Found

Security = Literal["tls", "starttls", "none"]

_PATIENCE_S: Final = 120.0
_WINDOW: Final = 2_000  # UIDs that are asked about at once
_WINDOW_MAX: Final = 1 << 30
_BATCH: Final = 200  # messages that are fetched at once
_BATCH_BYTES: Final = 4 << 20
_FOLDERS_MAX: Final = 2_000
_LIST: Final = re.compile(
    rb'\((?P<flags>[^)]*)\) (?P<delimiter>NIL|"(?:[^"\\]|\\.)") (?P<name>.*)', re.DOTALL
)
_UID: Final = re.compile(rb"\bUID (\d+)")
_SIZE: Final = re.compile(rb"\bRFC822\.SIZE (\d+)")
_FLAGS: Final = re.compile(rb"\bFLAGS \(([^)]*)\)")
_DATE: Final = re.compile(
    rb'\bINTERNALDATE "([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"'
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun",
           "jul", "aug", "sep", "oct", "nov", "dec")  # fmt: skip
_NOT_OPENED: Final = frozenset({b"\\noselect", b"\\nonexistent"})


class Away(Exception):
    """The other server does not answer, or breaks off: begin again later. The text says why."""


class Account(msgspec.Struct, frozen=True):
    """Where the mail is, and how one gets in."""

    host: str
    port: int
    user: str
    password: str
    security: Security = "tls"

    def __repr__(self) -> str:
        return f"Account({self.user!r} at {self.host!r})"


class Folder(msgspec.Struct, frozen=True):
    """A folder there: `wire` as the server writes it, `target` where it comes here; `all`: it
    shows messages of other folders once more."""

    wire: bytes
    target: str
    all: bool
    messages: int = 0


class Head(msgspec.Struct, frozen=True, gc=False):
    """What is known of a message before it is fetched."""

    uid: int
    size: int
    flags: int
    keywords: tuple[str, ...]
    date_s: int | None


class ImapSource:
    """One connection. Every method raises `Away`; `open_` also `Refused`."""

    def __init__(self, account: Account, context: ssl.SSLContext | None) -> None:
        self._account = account
        self._context = context
        self._line: imaplib.IMAP4 | None = None
        self._uidnext = 0

    def sign_in(self) -> None:
        """Connects and signs in. `Refused(WRONG_PASSWORD)`."""
        account = self._account
        try:
            if account.security == "tls":
                line: imaplib.IMAP4 = imaplib.IMAP4_SSL(
                    account.host, account.port, ssl_context=self._context, timeout=_PATIENCE_S
                )
            else:
                line = imaplib.IMAP4(account.host, account.port, timeout=_PATIENCE_S)
            self._line = line
            if account.security == "starttls":
                line.starttls(self._context)
        except (imaplib.IMAP4.error, OSError) as error:
            raise Away(f"{account.host}: {error}") from None
        secret = f"\0{account.user}\0{account.password}".encode()
        try:
            if "AUTH=PLAIN" in line.capabilities:
                line.authenticate("PLAIN", lambda _: secret)
            else:
                line.login(account.user, account.password)
        except imaplib.IMAP4.abort as error:
            raise Away(str(error)) from None
        except (imaplib.IMAP4.error, UnicodeError):
            raise Refused(Reason.WRONG_PASSWORD, "The other server does not let us in") from None

    def close(self) -> None:
        """Hangs up."""
        line, self._line = self._line, None
        if line is not None:
            try:
                line.shutdown()
            except (imaplib.IMAP4.error, OSError):
                pass

    def folders(self) -> list[Folder]:
        """Every folder that holds messages; those that show others' once more come last."""
        found = []
        for item in self._ask("LIST", b'""', b"*")[:_FOLDERS_MAX]:
            folder = _folder(item)
            if folder is None:
                continue
            count = self._count(folder.wire)
            if count != 0:
                found.append(msgspec.structs.replace(folder, messages=count or 0))
        return sorted(found, key=lambda one: one.all)

    def _count(self, wire: bytes) -> int | None:
        """None where the server does not say: whether there are any is seen when it is opened."""
        try:
            told = self._ask("STATUS", _quoted(wire), b"(MESSAGES)")
        except Refused:
            return None
        match = re.search(rb"MESSAGES (\d+)", b" ".join(map(_whole, told)))
        return int(match[1]) if match else None

    def open_(self, folder: Folder) -> int:
        """Opens a folder for reading; its UIDVALIDITY."""
        line = self._need()
        try:
            kind, told = line.select(_quoted(folder.wire), readonly=True)  # type: ignore[arg-type]
        except (imaplib.IMAP4.abort, OSError) as error:
            raise Away(str(error) or type(error).__name__) from None
        except imaplib.IMAP4.error as error:
            raise Refused(Reason.NOT_FOUND, f"The other server says: {error}") from None
        if kind != "OK":
            said = b" ".join(map(_whole, told)).decode("utf-8", "replace")
            raise Refused(Reason.NOT_FOUND, f"The other server says: {said}")
        self._uidnext = _number(line.response("UIDNEXT")[1])
        return _number(line.response("UIDVALIDITY")[1])

    def heads(self, after: int) -> Iterator[list[Head]]:
        """What is known of the messages behind a UID, window by window."""
        first, window = after + 1, _WINDOW
        while self._uidnext == 0 or first < self._uidnext:
            last = first + window - 1
            if self._uidnext == 0:  # a server that does not tell where they end
                last = _WINDOW_MAX * 4 - 1
            told = self._ask(
                "UID", b"FETCH", b"%d:%d" % (first, last),
                b"(UID FLAGS INTERNALDATE RFC822.SIZE)", answer="FETCH",
            )  # fmt: skip
            heads = [head for item in told if (head := _head(_whole(item))) is not None]
            # some servers answer with the last message where none lies in the range
            heads = sorted((h for h in heads if first <= h.uid <= last), key=lambda h: h.uid)
            if heads:
                window = _WINDOW
                yield heads
            else:
                window = min(window * 8, _WINDOW_MAX)
            if self._uidnext == 0:
                return
            first = last + 1

    def fetch(self, heads: list[Head], folder: Folder) -> list[Found]:
        """The messages, those that are gone meanwhile left out."""
        if not heads:
            return []
        uids = b",".join(b"%d" % head.uid for head in heads)
        told = self._ask("UID", b"FETCH", uids, b"(UID BODY.PEEK[])", answer="FETCH")
        bodies: dict[int, bytes] = {}
        for at, item in enumerate(told):
            if not isinstance(item, tuple):
                continue
            behind = told[at + 1] if at + 1 < len(told) else b""
            match = _UID.search(item[0]) or _UID.search(_whole(behind))
            if match is not None:
                bodies[int(match[1])] = item[1]
        return [
            Found(folder.target, bodies[h.uid], h.flags, h.keywords, h.date_s, h.uid)
            for h in heads
            if h.uid in bodies
        ]

    # --- the line

    def _need(self) -> imaplib.IMAP4:
        if self._line is None:
            raise Away("the connection is shut")
        return self._line

    def _ask(self, name: str, *words: bytes, answer: str = "") -> list[Any]:
        """One command; what came untagged. `Refused` where the server says no."""
        line = self._need()
        try:
            kind, told = line._simple_command(name, *words)
            kind, data = line._untagged_response(kind, told, answer or name)
        except (imaplib.IMAP4.abort, OSError) as error:
            raise Away(str(error) or type(error).__name__) from None
        except imaplib.IMAP4.error as error:
            raise Refused(Reason.NOT_FOUND, f"The other server says: {error}") from None
        if kind != "OK":
            said = b" ".join(map(_whole, told)).decode("utf-8", "replace")
            raise Refused(Reason.NOT_FOUND, f"The other server says: {said}")
        return [item for item in data if item is not None]


def batches(heads: list[Head]) -> Iterator[list[Head]]:
    """Messages that are fetched together: not too many, not too large."""
    some: list[Head] = []
    size = 0
    for head in heads:
        if some and (len(some) >= _BATCH or size + head.size > _BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(head)
        size += head.size
    if some:
        yield some


def is_too_long(head: Head) -> bool:
    """Whether a message cannot be kept here."""
    return head.size > limits.MESSAGE_BYTES_MAX


def _folder(item: Any) -> Folder | None:
    literal = item[1] if isinstance(item, tuple) else None
    match = _LIST.match(item[0] if isinstance(item, tuple) else item)
    if match is None:
        return None
    flags = {flag.lower() for flag in match["flags"].split()}
    if flags & _NOT_OPENED or b"\\flagged" in flags or b"\\important" in flags:
        return None
    wire = literal if literal is not None else _unquoted(match["name"].strip())
    told = match["delimiter"]
    delimiter = "" if told == b"NIL" else _unquoted(told).decode("latin-1")
    try:
        name = mailbox_names.decode(wire, utf8=False)
    except mailbox_names.BadName:
        name = wire.decode("utf-8", "replace")
    uses = [flag.decode("ascii", "replace") for flag in flags]
    return Folder(wire, mbox.folder_of(name, delimiter, uses), b"\\all" in flags)


def _head(line: bytes) -> Head | None:
    uid, size = _UID.search(line), _SIZE.search(line)
    if uid is None or size is None:
        return None
    flags = _FLAGS.search(line)
    system, keywords = 0, []
    for name in (flags[1] if flags else b"").decode("ascii", "replace").split():
        bit = BITS.get(name.lower())
        if bit is not None:
            system |= bit
        elif not name.startswith("\\"):
            keywords.append(name)
    return Head(int(uid[1]), int(size[1]), system, tuple(keywords), _seconds(line))


def _seconds(line: bytes) -> int | None:
    match = _DATE.search(line)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, off_h, off_m = (
        g.decode() for g in match.groups()
    )
    if month.lower() not in _MONTHS:
        return None
    offset = (int(off_h) * 60 + int(off_m)) * 60
    offset = -offset if sign == "-" else offset
    when = (int(year), _MONTHS.index(month.lower()) + 1, int(day))
    try:
        return calendar.timegm((*when, int(hour), int(minute), int(second))) - offset
    except ValueError:
        return None


def _whole(item: Any) -> bytes:
    return b" ".join(item) if isinstance(item, tuple) else bytes(item)


def _number(told: Any) -> int:
    found = told[0] if told and told[0] else b""
    return int(found) if found.isdigit() else 0


def _quoted(wire: bytes) -> bytes:
    return b'"' + wire.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _unquoted(text: bytes) -> bytes:
    if len(text) >= 2 and text[:1] == text[-1:] == b'"':
        return re.sub(rb"\\(.)", rb"\1", text[1:-1])
    return text
