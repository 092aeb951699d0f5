"""Commands about messages: FETCH and what it asks for, STORE, COPY, MOVE, APPEND, REPLACE."""

# RFC 9051 §6.4, §9

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.commands import Attribute, Kind
from kerwen.imap.protocol.cursor import Bad, Cursor
from kerwen.imap.protocol.sequence import STAR, PartialRange
from kerwen.mail.section import Partial, Section, What

UidRule = Callable[[Cursor, bytes, bool], c.Command]

_NAME: Final = re.compile(rb"[A-Za-z0-9.]+")
_PATH: Final = re.compile(rb"[1-9]\d{0,8}(?:\.[1-9]\d{0,8})*")
_WHAT: Final = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)
_PARTIAL: Final = re.compile(rb"<(\d{1,10})\.([1-9]\d{0,9})>")
_TOKEN: Final = re.compile(rb"[!#$&'+,\-./0-9;<=>?@A-Z^_`a-z|}~]+")
_ENTRY: Final = re.compile(rb"FLAGS(\.SILENT)?", re.IGNORECASE)
_PATH_MAX: Final = 101
_KNOWN_MAX: Final = 512

# --- FETCH -------------------------------------------------------------------------------------

_SIMPLE: Final = {
    "UID": Kind.UID,
    "FLAGS": Kind.FLAGS,
    "INTERNALDATE": Kind.INTERNALDATE,
    "RFC822.SIZE": Kind.SIZE,
    "MODSEQ": Kind.MODSEQ,
    "EMAILID": Kind.EMAILID,
    "THREADID": Kind.THREADID,
    "SAVEDATE": Kind.SAVEDATE,
    "ENVELOPE": Kind.ENVELOPE,
    "BODYSTRUCTURE": Kind.BODYSTRUCTURE,
    "PREVIEW": Kind.PREVIEW,
}
_ATTRIBUTES: Final = {
    **{name: Attribute(kind, name.encode()) for name, kind in _SIMPLE.items()},
    "RFC822": Attribute(Kind.SECTION, b"RFC822", Section(), peek=False),
    "RFC822.HEADER": Attribute(Kind.SECTION, b"RFC822.HEADER", Section(what=What.HEADER)),
    "RFC822.TEXT": Attribute(Kind.SECTION, b"RFC822.TEXT", Section(what=What.TEXT), peek=False),
}
_FAST: Final = tuple(_ATTRIBUTES[name] for name in ("FLAGS", "INTERNALDATE", "RFC822.SIZE"))
_BODY: Final = Attribute(Kind.BODY, b"BODY")
_MACROS: Final = {
    "FAST": _FAST,
    "ALL": (*_FAST, _ATTRIBUTES["ENVELOPE"]),
    "FULL": (*_FAST, _ATTRIBUTES["ENVELOPE"], _BODY),
}


def fetch(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.4.5; modifiers: RFC 7162 §3.1.4, RFC 9394 §3.2."""
    cursor.sp()
    numbers = cursor.sequence_set()
    cursor.sp()
    rest = cursor.text[cursor.at :]
    if len(rest) <= _KNOWN_MAX and not cursor.literals:
        attributes, read = _known_attributes(rest)
        cursor.at += read
    else:
        attributes = fetch_attributes(cursor)
    changed_since, vanished, partial = None, False, None
    if cursor.takes(b" "):
        for option, value in cursor.listed(lambda: fetch_modifier(cursor)):
            if option == "CHANGEDSINCE":
                assert isinstance(value, int)
                changed_since = value
            elif option == "VANISHED":
                vanished = True
            else:
                assert isinstance(value, PartialRange)
                partial = value
    if vanished and (not uid or changed_since is None):
        raise Bad("VANISHED goes with UID FETCH and CHANGEDSINCE only")
    if partial is not None and not uid:
        raise Bad("PARTIAL goes with UID FETCH only")
    return c.Fetch(tag, numbers, attributes, uid, changed_since, vanished, partial)


def fetch_attributes(cursor: Cursor) -> tuple[Attribute, ...]:
    """What FETCH asks for: a list, a macro, or one item."""
    if cursor.sees(b"("):
        return cursor.listed(lambda: fetch_att(cursor))
    start = cursor.at
    macro = _MACROS.get(_name(cursor))
    if macro is not None:
        return macro
    cursor.at = start
    return (fetch_att(cursor),)


@functools.lru_cache(512)
def _known_attributes(text: bytes) -> tuple[tuple[Attribute, ...], int]:
    """The same, and how long it is: programs ask for the same few things over and over."""
    cursor = Cursor(text, {}, utf8=False)
    return fetch_attributes(cursor), cursor.at


def fetch_modifier(cursor: Cursor) -> tuple[str, int | PartialRange | None]:
    """fetch-modifier."""
    name = cursor.word()
    if name == "VANISHED":
        return name, None
    if name == "CHANGEDSINCE":
        cursor.sp()
        return name, cursor.number64()
    if name == "PARTIAL":
        cursor.sp()
        return name, cursor.partial_range()
    raise Bad(f"Unknown modifier {name[:40]}")


def _name(cursor: Cursor) -> str:
    match = _NAME.match(cursor.text, cursor.at)
    if match is None:
        raise Bad("An item is missing")
    cursor.at = match.end()
    return match[0].upper().decode("ascii")


def fetch_att(cursor: Cursor) -> Attribute:
    """fetch-att."""
    name = _name(cursor)
    simple = _ATTRIBUTES.get(name)
    if simple is not None:
        if simple.kind is Kind.PREVIEW and cursor.takes(b" ("):  # RFC 8970 §4: LAZY
            if cursor.word() != "LAZY":
                raise Bad("Unknown modifier of PREVIEW")
            cursor.close()
        return simple
    base, dot, peek = name.partition(".")
    if base == "BODY" and (not dot or peek == "PEEK"):
        if cursor.sees(b"["):
            return _body_section(cursor, peek=bool(dot))
        if not dot:
            return _BODY
    elif base == "BINARY" and (not dot or peek in ("PEEK", "SIZE")) and cursor.sees(b"["):
        return _binary(cursor, size=peek == "SIZE", peek=bool(dot))
    raise Bad(f"Unknown item {name[:40]}")


def _body_section(cursor: Cursor, *, peek: bool) -> Attribute:
    found, label = section(cursor)
    part = partial(cursor)
    label = b"BODY" + label
    if part is not None:
        label += b"<%d>" % part.start
    return Attribute(Kind.SECTION, label, found, part, peek)


def _binary(cursor: Cursor, *, size: bool, peek: bool) -> Attribute:
    found, label = section(cursor)
    if found.what is not What.WHOLE:
        raise Bad("BINARY takes a part number only")
    if size:
        return Attribute(Kind.BINARY_SIZE, b"BINARY.SIZE" + label, found)
    part = partial(cursor)
    label = b"BINARY" + label
    if part is not None:
        label += b"<%d>" % part.start
    return Attribute(Kind.BINARY, label, found, part, peek)


def section(cursor: Cursor) -> tuple[Section, bytes]:
    """section: what stands in the square brackets, and how an answer repeats it."""
    if not cursor.takes(b"["):
        raise Bad("[ is missing")
    path: tuple[int, ...] = ()
    match = _PATH.match(cursor.text, cursor.at)
    label = b"["
    if match is not None:
        cursor.at = match.end()
        path = tuple(map(int, match[0].split(b".")))
        label += match[0]
        if len(path) > _PATH_MAX:
            raise Bad("A part number is too long")
    if cursor.takes(b"]"):
        return Section(path), label + b"]"
    if path:
        if not cursor.takes(b"."):
            raise Bad("This is no section")
        label += b"."
    match = _WHAT.match(cursor.text, cursor.at)
    if match is None:
        raise Bad("This is no section")
    cursor.at = match.end()
    what = What(match[0].upper().decode("ascii"))
    label += what.value.encode()
    names: tuple[bytes, ...] = ()
    if what in (What.FIELDS, What.FIELDS_NOT):
        cursor.sp()
        names = cursor.listed(lambda: header_fld_name(cursor))
        label += b" (%b)" % b" ".join(map(_told, names))
    if what is What.MIME and not path:
        raise Bad("MIME needs a part number")
    if not cursor.takes(b"]"):
        raise Bad("] is missing")
    return Section(path, what, names), label + b"]"


def header_fld_name(cursor: Cursor) -> bytes:
    """header-fld-name."""
    found = cursor.astring()
    if not found or b"\r" in found or b"\n" in found or b":" in found or not found.isascii():
        raise Bad("This is no name of a field")
    return found


def _told(name: bytes) -> bytes:
    if _TOKEN.fullmatch(name):
        return name
    return b'"%b"' % name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def partial(cursor: Cursor) -> Partial | None:
    """partial: `<start.size>`."""
    match = _PARTIAL.match(cursor.text, cursor.at)
    if match is None:
        return None
    cursor.at = match.end()
    return Partial(int(match[1]), int(match[2]))


# --- STORE, COPY, MOVE, EXPUNGE ----------------------------------------------------------------


def store(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.4.6; RFC 7162 §3.1.3."""
    cursor.sp()
    numbers = cursor.sequence_set()
    cursor.sp()
    unchanged_since = None
    if cursor.takes(b"("):
        if cursor.word() != "UNCHANGEDSINCE":
            raise Bad("Unknown modifier")
        cursor.sp()
        unchanged_since = cursor.number64()
        cursor.close()
        cursor.sp()
    mode = c.StoreMode.SET
    if cursor.takes(b"+"):
        mode = c.StoreMode.ADD
    elif cursor.takes(b"-"):
        mode = c.StoreMode.REMOVE
    match = _ENTRY.match(cursor.text, cursor.at)
    if match is None:
        raise Bad("FLAGS is missing")
    cursor.at = match.end()
    cursor.sp()
    if cursor.sees(b"("):
        flags = cursor.flag_list()
    else:
        found = [cursor.flag()]
        while cursor.takes(b" "):
            found.append(cursor.flag())
        flags = tuple(found)
    return c.Store(tag, numbers, mode, flags, match[1] is not None, uid, unchanged_since)


def copy(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.4.7."""
    cursor.sp()
    numbers = cursor.sequence_set()
    cursor.sp()
    return c.Copy(tag, numbers, cursor.mailbox(), uid)


def move(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.4.8."""
    cursor.sp()
    numbers = cursor.sequence_set()
    cursor.sp()
    return c.Move(tag, numbers, cursor.mailbox(), uid)


def expunge(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.4.3, §6.4.9."""
    if not uid:
        return c.Expunge(tag)
    cursor.sp()
    return c.Expunge(tag, cursor.sequence_set())


# --- APPEND, REPLACE ---------------------------------------------------------------------------


def append(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.3.12; several messages: RFC 3502 §6.3.11."""
    if uid:
        raise Bad("Unknown command UID APPEND")
    cursor.sp()
    name = cursor.mailbox()
    messages = []
    while not cursor.ends():
        messages.append(append_message(cursor))
        if len(messages) > limits.IMAP_APPENDS_MAX:
            raise Bad("Too many messages")
    if not messages:
        raise Bad("A message is missing")
    return c.Append(tag, name, tuple(messages))


def append_message(cursor: Cursor) -> c.NewMessage:
    """append-message."""
    cursor.sp()
    flags: tuple[str, ...] = ()
    date_ms = None
    if cursor.sees(b"("):
        flags = cursor.flag_list()
        cursor.sp()
    if cursor.sees(b'"'):
        date_ms = cursor.date_time()
        cursor.sp()
    if cursor.sees_literal():
        return c.NewMessage(flags, date_ms, cursor.literal())
    if cursor.word() != "UTF8":  # RFC 6855 §4
        raise Bad("A message is missing")
    cursor.sp()
    cursor.open()
    data = cursor.literal()
    cursor.close()
    return c.NewMessage(flags, date_ms, data, utf8=True)


def replace(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 8508 §3."""
    cursor.sp()
    number = STAR if cursor.takes(b"*") else cursor.nz_number()
    cursor.sp()
    name = cursor.mailbox()
    return c.Replace(tag, number, name, append_message(cursor), uid)


MESSAGE_RULES: Final[dict[str, UidRule]] = {
    "FETCH": fetch,
    "STORE": store,
    "COPY": copy,
    "MOVE": move,
    "EXPUNGE": expunge,
    "APPEND": append,
    "REPLACE": replace,
}
