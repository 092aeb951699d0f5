"""Header fields of an Email in the forms that JMAP knows, and the properties made of them."""

# RFC 8621 §4.1.2, §4.1.3

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from kerwen.mail import addresses, charsets, dates, encoded_words, fields, threads
from kerwen.mail.jmap.errors import MethodError

_NAME: Final = re.compile(r"[!-9;-~]{1,200}")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_URL: Final = re.compile(r"<\s*([^<>\s]+)\s*>")

_ADDRESSES: Final = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc"
    b" resent-bcc".split()
)
_IDS: Final = frozenset(b"message-id in-reply-to references resent-message-id".split())
_DATES: Final = frozenset((b"date", b"resent-date"))
_URLS: Final = frozenset(
    b"list-help list-unsubscribe list-subscribe list-post list-owner list-archive".split()
)
_TEXTS: Final = frozenset(b"subject comments keywords list-id".split())
_STANDARD: Final = _ADDRESSES | _IDS | _DATES | _URLS | _TEXTS | frozenset(
    b"return-path received mime-version content-type content-transfer-encoding"
    b" content-disposition content-id content-description".split()
)  # fmt: skip


class HeaderProperty(msgspec.Struct, frozen=True):
    """`header:Name:asForm:all` taken apart."""

    key: str
    name: bytes  # in small letters
    form: str
    all: bool


CONVENIENT: Final = {
    name: HeaderProperty(name, field, form, False)
    for name, field, form in (
        ("messageId", b"message-id", "asMessageIds"),
        ("inReplyTo", b"in-reply-to", "asMessageIds"),
        ("references", b"references", "asMessageIds"),
        ("sender", b"sender", "asAddresses"),
        ("from", b"from", "asAddresses"),
        ("to", b"to", "asAddresses"),
        ("cc", b"cc", "asAddresses"),
        ("bcc", b"bcc", "asAddresses"),
        ("replyTo", b"reply-to", "asAddresses"),
        ("subject", b"subject", "asText"),
        ("sentAt", b"date", "asDate"),
    )
}
"""The properties that stand for a header field in its usual form."""


def parse_property(key: str) -> HeaderProperty:
    """A `header:` property. Raises `MethodError(invalidArguments)`."""
    name, *more = key.split(":")[1:]
    every = bool(more) and more[-1] == "all"
    if every:
        more.pop()
    form = more.pop(0) if more else "asRaw"
    small = name.lower().encode("ascii", "replace")
    if more or form not in FORMS or _NAME.fullmatch(name) is None or not fits(small, form):
        raise MethodError("invalidArguments", f"{key[:100]} is not a property")
    return HeaderProperty(key, small, form, every)


def fits(name: bytes, form: str) -> bool:
    """Whether a field may be asked for in a form. # RFC 8621 §4.1.2"""
    if form == "asRaw" or name not in _STANDARD:
        return True
    if form in ("asAddresses", "asGroupedAddresses"):
        return name in _ADDRESSES
    if form == "asText":
        return name in _TEXTS
    return name in {"asMessageIds": _IDS, "asDate": _DATES, "asURLs": _URLS}[form]


def read(block: bytes) -> dict[bytes, list[bytes]]:
    """The raw values of a header by name: what stands after the colon, folds and all."""
    found: dict[bytes, list[bytes]] = {}
    for field in fields.split(block):
        found.setdefault(field.name, []).append(_raw(block, field))
    return found


def listed(block: bytes) -> list[dict[str, str]]:
    """`headers`: every field, as it stands. # RFC 8621 §4.1.3"""
    return [
        {
            "name": charsets.guess(block[field.start : field.colon].rstrip(b" \t")),
            "value": as_raw(_raw(block, field)),
        }
        for field in fields.split(block)
    ]


def _raw(block: bytes, field: fields.Field) -> bytes:
    value = block[field.colon + 1 : field.end]
    return value.removesuffix(b"\n").removesuffix(b"\r")


def value_of(found: Mapping[bytes, list[bytes]], asked: HeaderProperty) -> Any:
    """A property's value; the last field of the name counts. # RFC 8621 §4.1.3"""
    values = found.get(asked.name)
    form = FORMS[asked.form]
    if asked.all:
        return [form(value) for value in values or ()]
    return form(values[-1]) if values else None


# --- forms --------------------------------------------------------------------------------------


def as_raw(value: bytes) -> str:
    """The value as it stands; what is not UTF-8 is guessed."""
    return charsets.guess(value).replace("\0", "\ufffd")


def unfolded(value: bytes) -> bytes:
    """In one line."""
    if b"\n" in value:
        value = _FOLD.sub(b"", value)
    return value.strip()


def as_text(value: bytes) -> str:
    """Decoded, unfolded."""
    text = encoded_words.decode(unfolded(value))
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _address(one: addresses.Mailbox) -> dict[str, str | None]:
    name = one.shown if one.name else ""
    if name and not name.isascii():
        name = unicodedata.normalize("NFC", name)
    return {"name": name or None, "email": charsets.guess(one.address)}


def as_addresses(value: bytes) -> list[dict[str, str | None]]:
    """Every mailbox, without the groups."""
    return [_address(one) for one in addresses.mailboxes(unfolded(value))]


def as_grouped(value: bytes) -> list[dict[str, Any]]:
    """Groups, and runs of mailboxes that are in none."""
    found: list[dict[str, Any]] = []
    current: dict[str, Any] | None = None
    for entry in addresses.parse(unfolded(value)):
        if isinstance(entry, addresses.GroupStart):
            current = {"name": encoded_words.decode(entry.name), "addresses": []}
            found.append(current)
        elif isinstance(entry, addresses.GroupEnd):
            current = None
        else:
            if current is None:
                current = {"name": None, "addresses": []}
                found.append(current)
            current["addresses"].append(_address(entry))
    return found


def as_message_ids(value: bytes) -> list[str] | None:
    """Message ids without their brackets; None where there is none."""
    return [charsets.guess(one) for one in threads.ids(unfolded(value))] or None


def as_date(value: bytes) -> str | None:
    """A Date; None where it makes no sense."""
    date = dates.parse(unfolded(value))
    return None if date is None else local_date(date)


def local_date(date: dates.Date) -> str | None:
    """A moment with its writer's zone."""
    try:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=date.ms, minutes=date.zone)
    except OverflowError:
        return None
    text = f"{moment.year:04}-{moment.month:02}-{moment.day:02}T" + moment.strftime("%H:%M:%S")
    if not date.zone:
        return text + "Z"
    sign = "-" if date.zone < 0 else "+"
    return f"{text}{sign}{abs(date.zone) // 60:02}:{abs(date.zone) % 60:02}"


def as_urls(value: bytes) -> list[str] | None:
    """What stands between angle brackets; None where there is nothing."""
    return _URL.findall(charsets.guess(unfolded(value))) or None


FORMS: Final[dict[str, Callable[[bytes], Any]]] = {
    "asRaw": as_raw,
    "asText": as_text,
    "asAddresses": as_addresses,
    "asGroupedAddresses": as_grouped,
    "asMessageIds": as_message_ids,
    "asDate": as_date,
    "asURLs": as_urls,
}
