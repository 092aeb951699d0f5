"""What we say, as bytes. Whoever calls decides what; here is only how it is written."""

# RFC 9051 §7, §9, and the extensions beside each function

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from kerwen.imap.protocol import mailbox_names
from kerwen.imap.protocol.commands import StatusItem
from kerwen.imap.protocol.sequence import PartialRange, encode
from kerwen.mail import threads
from kerwen.mail.threads import Node

CRLF: Final = b"\r\n"
CONTINUE: Final = b"+ OK\r\n"
IDLING: Final = b"+ idling\r\n"
_ATOM: Final = re.compile(rb"[A-Za-z0-9!#$&'+,\-./:;<=>?@^_`|~]+")
_SAFE: Final = re.compile(rb"[ !#-\[\]-~]*")
_PRINTABLE: Final = re.compile(rb"[ -~]*")
_TEXT: Final = re.compile(r"[^ -~]+")
_MONTHS: Final = (
    b"", b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
    b"Dec",
)  # fmt: skip


# --- status responses --------------------------------------------------------------------------


def tagged(tag: bytes, status: str, text: str, code: bytes = b"") -> bytes:
    """The end of a command: OK, NO or BAD."""
    return b"%b %b" % (tag, status_line(status, text, code))


def untagged(status: str, text: str, code: bytes = b"") -> bytes:
    """OK, NO, BAD, BYE or PREAUTH that belongs to no command, or to one that still runs."""
    return b"* " + status_line(status, text, code)


def status_line(status: str, text: str, code: bytes = b"") -> bytes:
    """`OK [CODE] text`, to which a tag belongs."""
    clean = _TEXT.sub("?", text).encode("ascii") or b"."
    if code:
        return b"%b [%b] %b\r\n" % (status.encode(), code, clean)
    return b"%b %b\r\n" % (status.encode(), clean)


def continuation(data: bytes) -> bytes:
    """A challenge of an authentication exchange, base64 already."""
    return b"+ %b\r\n" % data


# --- strings -----------------------------------------------------------------------------------


def string(value: bytes) -> bytes:
    """A quoted string where that is allowed, else a literal. NUL is left out."""
    if _SAFE.fullmatch(value):
        return b'"%b"' % value
    if _PRINTABLE.fullmatch(value):
        return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return literal(value.replace(b"\0", b""))


def literal(value: bytes) -> bytes:
    """A literal, which may hold anything but NUL."""
    return b"{%d}\r\n%b" % (len(value), value)


def literal8(value: bytes) -> bytes:
    """A literal8 (RFC 9051 §4.3.1) where it must be one: only NUL forces it."""
    return b"~{%d}\r\n%b" % (len(value), value) if b"\0" in value else literal(value)


def nstring(value: bytes | None) -> bytes:
    """A string, or NIL for nothing."""
    return b"NIL" if value is None else string(value)


def astring(value: bytes) -> bytes:
    """A bare word where that is allowed."""
    return value if _ATOM.fullmatch(value) and value.upper() != b"NIL" else string(value)


def mailbox(name: str, *, utf8: bool) -> bytes:
    """The name of a mailbox; UTF-8 stands in quotes once the client enabled it (RFC 6855 §3)."""
    raw = mailbox_names.encode(name, utf8=utf8)
    if utf8 and not raw.isascii() and not any(c < 32 or c == 127 for c in raw):
        return b'"%b"' % raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return astring(raw)


# --- the server and its mailboxes --------------------------------------------------------------


def capability(names: Iterable[str]) -> bytes:
    """CAPABILITY, for a line of its own or a code."""
    return b"CAPABILITY " + " ".join(names).encode("ascii")


def enabled(names: Iterable[str]) -> bytes:
    """ENABLED (RFC 9051 §7.2.1)."""
    return b"* ENABLED" + b"".join(b" " + name.encode("ascii") for name in names) + CRLF


def id_(fields: Mapping[str, str]) -> bytes:
    """ID (RFC 2971 §3.2)."""
    if not fields:
        return b"* ID NIL\r\n"
    told = b" ".join(
        b"%b %b" % (string(key.encode()), string(value.encode())) for key, value in fields.items()
    )
    return b"* ID (%b)\r\n" % told


def namespace() -> bytes:
    """NAMESPACE (RFC 9051 §7.3.4): everybody's own mailboxes, and no others."""
    return b'* NAMESPACE (("" "/")) NIL NIL\r\n'


def list_(
    attributes: Iterable[bytes],
    name: bytes,
    *,
    word: bytes = b"LIST",
    child_info: bytes = b"",
    old_name: bytes | None = None,
) -> bytes:
    """LIST or LSUB; `child_info` is quoted words of CHILDINFO (RFC 5258 §4)."""
    line = b'* %b (%b) "/" %b' % (word, b" ".join(attributes), name)
    if child_info:
        line += b' ("CHILDINFO" (%b))' % child_info
    if old_name is not None:
        line += b' ("OLDNAME" (%b))' % old_name
    return line + CRLF


def status(name: bytes, values: Iterable[tuple[StatusItem, bytes]]) -> bytes:
    """STATUS."""
    told = b" ".join(b"%b %b" % (item.value, value) for item, value in values)
    return b"* STATUS %b (%b)\r\n" % (name, told)


def quota(root: bytes, used_kib: int, limit_kib: int) -> bytes:
    """QUOTA of storage, in units of 1,024 bytes (RFC 9208 §4.2.1, §5)."""
    return b"* QUOTA %b (STORAGE %d %d)\r\n" % (root, used_kib, limit_kib)


def quotaroot(name: bytes, root: bytes) -> bytes:
    """QUOTAROOT (RFC 9208 §4.2.2)."""
    return b"* QUOTAROOT %b %b\r\n" % (name, root)


def metadata(name: bytes, values: Iterable[tuple[str, bytes | None]]) -> bytes:
    """METADATA with values (RFC 5464 §4.4.1)."""
    told = []
    for entry, value in values:
        shown = literal8(value) if value and b"\0" in value else nstring(value)
        told.append(b"%b %b" % (astring(entry.encode()), shown))
    return b"* METADATA %b (%b)\r\n" % (name, b" ".join(told))


def metadata_changed(name: bytes, entries: Iterable[str]) -> bytes:
    """METADATA without values: these changed (RFC 5464 §4.4.2)."""
    told = b" ".join(astring(entry.encode()) for entry in entries)
    return b"* METADATA %b %b\r\n" % (name, told)


# --- messages ----------------------------------------------------------------------------------


def flags(names: Iterable[bytes]) -> bytes:
    """FLAGS of a mailbox."""
    return b"* FLAGS (%b)\r\n" % b" ".join(names)


def exists(count: int) -> bytes:
    """EXISTS."""
    return b"* %d EXISTS\r\n" % count


def expunges(places: Sequence[int]) -> bytes:
    """EXPUNGE of messages at these places (sorted, from 0); each shifts those behind it."""
    numbers = [place + 1 - gone for gone, place in enumerate(places)]
    # neighbours have the same number one after the other
    return b"".join([b"* %d EXPUNGE\r\n" % at * len(list(same)) for at, same in groupby(numbers)])


def vanished(uids: Iterable[int], *, earlier: bool = False) -> bytes:
    """VANISHED (RFC 7162 §3.2.10); nothing for no UIDs."""
    told = encode(uids)
    if not told:
        return b""
    return b"* VANISHED %b%b\r\n" % (b"(EARLIER) " if earlier else b"", told)


def fetch(number: int, items: Iterable[bytes]) -> bytes:
    """FETCH of items that are whole already (`UID 5`)."""
    return b"* %d FETCH (%b)\r\n" % (number, b" ".join(items))


def internal_dates(seconds: Iterable[int]) -> list[bytes]:
    """date-time of each of these seconds since 1970, in UTC."""
    day, times, rest = _day, _TIMES, _SECONDS
    return [day(at // 86_400) + times[at // 60 % 1_440] + rest[at % 60] for at in seconds]


_TIMES: Final = tuple(b"%02d:%02d:" % divmod(minute, 60) for minute in range(1_440))
_SECONDS: Final = tuple(b'%02d +0000"' % second for second in range(60))


@functools.lru_cache(4_096)
def _day(days: int) -> bytes:
    year, month, day = _civil(days)
    return b'"%2d-%b-%04d ' % (day, _MONTHS[month], year)


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970, by the proleptic calendar."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153  # months since March
    month = shifted + 3 if shifted < 10 else shifted - 9
    return (
        year_of_era + era * 400 + (month <= 2),
        month,
        day_of_year - (153 * shifted + 2) // 5 + 1,
    )


# --- searches ----------------------------------------------------------------------------------


def search(numbers: Sequence[int], modseq: int | None = None) -> bytes:
    """SEARCH, the old form (RFC 3501 §7.2.5; RFC 7162 §3.1.6)."""
    return b"* SEARCH" + _numbers(numbers, modseq)


def sort(numbers: Sequence[int], modseq: int | None = None) -> bytes:
    """SORT (RFC 5256 §4)."""
    return b"* SORT" + _numbers(numbers, modseq)


def _numbers(numbers: Sequence[int], modseq: int | None) -> bytes:
    told = (" " + " ".join(map(str, numbers))).encode("ascii") if numbers else b""
    if modseq is not None and numbers:
        told += b" (MODSEQ %d)" % modseq
    return told + CRLF


def esearch(tag: bytes, *, uid: bool, results: Iterable[bytes]) -> bytes:
    """ESEARCH (RFC 9051 §7.3.4)."""
    line = b'* ESEARCH (TAG "%b")' % tag
    if uid:
        line += b" UID"
    return line + b"".join(b" " + result for result in results) + CRLF


def partial_result(asked: PartialRange, numbers: bytes) -> bytes:
    """PARTIAL of an ESEARCH; no numbers: NIL (RFC 9394 §3.1)."""
    return b"PARTIAL (%b %b)" % (asked.text, numbers or b"NIL")


def thread(nodes: Sequence[Node]) -> bytes:
    """THREAD (RFC 5256 §4)."""
    found = threads.render(nodes)
    return b"* THREAD %b\r\n" % found if found else b"* THREAD\r\n"
