"""SEARCH, SORT and THREAD: keys as nouns of `mail/match.py`, numbers not yet resolved."""

# RFC 9051 §6.4.4; RFC 5256, RFC 5032, RFC 7162, RFC 8474, RFC 8514

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.cursor import Bad, Cursor
from kerwen.imap.protocol.sequence import PartialRange
from kerwen.mail import match as m

UidRule = Callable[[Cursor, bytes, bool], c.Command]

CHARSETS: Final = {
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "US-ASCII": "utf-8",
    "ISO-8859-1": "latin-1",
    "ISO-8859-15": "iso-8859-15",
    "WINDOWS-1250": "cp1250",
    "WINDOWS-1251": "cp1251",
    "WINDOWS-1252": "cp1252",
    "KOI8-R": "koi8-r",
}
_DEFAULT: Final = "utf-8"


class BadCharset(Bad):
    """A charset that we do not search in."""


# --- the commands ------------------------------------------------------------------------------


def search(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 9051 §6.4.4."""
    cursor.sp()
    returns = None
    if cursor.text[cursor.at : cursor.at + 8].upper() == b"RETURN (":
        cursor.at += 7
        returns = search_return_opts(cursor)
        cursor.sp()
    codec = _DEFAULT
    if cursor.text[cursor.at : cursor.at + 8].upper() == b"CHARSET ":
        cursor.at += 8
        codec = charset(cursor)
        cursor.sp()
    return c.Search(tag, _Keys(cursor, codec).all(), returns, uid)


def sort(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 5256 §3; RETURN: RFC 5267 §3."""
    cursor.sp()
    returns = None
    if cursor.text[cursor.at : cursor.at + 8].upper() == b"RETURN (":
        cursor.at += 7
        returns = search_return_opts(cursor)
        cursor.sp()
    criteria = cursor.listed(lambda: sort_criterion(cursor))
    cursor.sp()
    codec = charset(cursor)
    cursor.sp()
    return c.Sort(tag, criteria, _Keys(cursor, codec).all(), returns, uid)


def thread(cursor: Cursor, tag: bytes, uid: bool) -> c.Command:
    """RFC 5256 §3."""
    cursor.sp()
    algorithm = cursor.word()
    if algorithm not in ("REFERENCES", "ORDEREDSUBJECT"):
        raise Bad("Unknown algorithm")
    cursor.sp()
    codec = charset(cursor)
    cursor.sp()
    return c.Thread(tag, algorithm, _Keys(cursor, codec).all(), uid)


def charset(cursor: Cursor) -> str:
    """charset: the codec of it. Raises `BadCharset`."""
    name = cursor.text_of(cursor.astring()).upper()
    codec = CHARSETS.get(name)
    if codec is None:
        raise BadCharset("This charset is not supported")
    return codec


def sort_criterion(cursor: Cursor) -> tuple[c.SortKey, bool]:
    """sort-criterion: what to order by, and whether REVERSE stands before it."""
    name = cursor.word()
    reverse = name == "REVERSE"
    if reverse:
        cursor.sp()
        name = cursor.word()
    try:
        return c.SortKey(name), reverse
    except ValueError:
        raise Bad(f"Unknown criterion {name[:40]}") from None


def search_return_opts(cursor: Cursor) -> c.Returns:
    """search-return-opts; none at all mean ALL."""
    options = dict(cursor.listed(lambda: _return_option(cursor), empty=True))
    if "PARTIAL" in options and "ALL" in options:
        raise Bad("PARTIAL does not go with ALL")  # RFC 9394 §3.1
    return c.Returns(
        "MIN" in options,
        "MAX" in options,
        "ALL" in options or not options,
        "COUNT" in options,
        "SAVE" in options,
        options.get("PARTIAL"),
    )


def _return_option(cursor: Cursor) -> tuple[str, PartialRange | None]:
    name = cursor.word()
    if name == "PARTIAL":
        cursor.sp()
        return name, cursor.partial_range()
    if name not in ("MIN", "MAX", "ALL", "COUNT", "SAVE"):
        raise Bad(f"Unknown option {name[:40]}")
    return name, None


# --- the keys ----------------------------------------------------------------------------------

_FLAGS: Final = {
    "ANSWERED": "\\Answered",
    "DELETED": "\\Deleted",
    "DRAFT": "\\Draft",
    "FLAGGED": "\\Flagged",
    "SEEN": "\\Seen",
}
_FIELDS: Final = {
    "BCC": b"bcc",
    "CC": b"cc",
    "FROM": b"from",
    "SUBJECT": b"subject",
    "TO": b"to",
}
_DAYS: Final = {
    prefix + op.value: (when, op)
    for prefix, when in (
        ("", m.When.INTERNAL), ("SENT", m.When.SENT), ("SAVED", m.When.SAVED),
    )
    for op in m.Op
}  # fmt: skip
_FIXED: Final[dict[str, m.Key]] = {
    **{name: m.Flagged(flag) for name, flag in _FLAGS.items()},
    **{"UN" + name: m.Flagged(flag, is_set=False) for name, flag in _FLAGS.items()},
    "ALL": m.All(),
    "SAVEDATESUPPORTED": m.All(),
    # no message is \Recent for anybody: RFC 9051 does without it
    "NEW": m.Not(m.All()),
    "RECENT": m.Not(m.All()),
    "OLD": m.All(),
}


class _Keys:
    """Reads search keys; counts them and how deep they stand."""

    __slots__ = ("_codec", "_count", "_cursor", "_depth")

    def __init__(self, cursor: Cursor, codec: str) -> None:
        self._cursor = cursor
        self._codec = codec
        self._depth = 0
        self._count = 0

    def all(self) -> m.Key:
        """search-key *(SP search-key), to the end."""
        found = [self.key()]
        cursor = self._cursor
        while not cursor.ends() and cursor.text[cursor.at :].strip(b" "):
            cursor.sp()
            found.append(self.key())
        return found[0] if len(found) == 1 else m.And(tuple(found))

    def key(self) -> m.Key:
        """search-key."""
        self._count += 1
        self._depth += 1
        if self._count > limits.SEARCH_KEYS_MAX or self._depth > limits.SEARCH_DEPTH_MAX:
            raise Bad("Too many search keys")
        try:
            return self._key()
        finally:
            self._depth -= 1

    def _key(self) -> m.Key:
        cursor = self._cursor
        if cursor.sees(b"("):
            found = cursor.listed(self.key)
            return found[0] if len(found) == 1 else m.And(found)
        first = cursor.text[cursor.at : cursor.at + 1]
        if first.isdigit() or first in (b"*", b"$"):
            return c.SetKey(cursor.sequence_set(), uid=False)
        name = cursor.word()
        fixed = _FIXED.get(name)
        if fixed is not None:
            return fixed
        if name in ("NOT", "OR"):
            cursor.sp()
            left = self.key()
            if name == "NOT":
                return m.Not(left)
            cursor.sp()
            return m.Or(left, self.key())
        rule = _KEYS.get(name)
        if rule is None:
            raise Bad(f"Unknown search key {name[:40]}")
        cursor.sp()
        return rule(self, name)

    def text(self) -> str:
        """A text to look for, in the charset of the command."""
        raw = self._cursor.astring()
        try:
            return raw.decode(self._codec).replace("\0", "")
        except UnicodeDecodeError:
            raise Bad("A text is not in its charset") from None

    def field(self, name: str) -> m.Key:
        return m.Header(_FIELDS[name], self.text())

    def header(self, name: str) -> m.Key:
        field = self._cursor.astring().lower()
        self._cursor.sp()
        return m.Header(field, self.text())

    def body(self, name: str) -> m.Key:
        return m.Body(self.text())

    def anywhere(self, name: str) -> m.Key:
        return m.Text(self.text())

    def keyword(self, name: str) -> m.Key:
        return m.Flagged(self._cursor.flag(), is_set=name == "KEYWORD")

    def day(self, name: str) -> m.Key:
        when, op = _DAYS[name]
        return m.Day(when, op, self._cursor.date())

    def size(self, name: str) -> m.Key:
        return m.Size(self._cursor.number64(), larger=name == "LARGER")

    def within(self, name: str) -> m.Key:
        return m.Within(self._cursor.nz_number(), younger=name == "YOUNGER")

    def uids(self, name: str) -> m.Key:
        return c.SetKey(self._cursor.sequence_set(), uid=True)

    def modseq(self, name: str) -> m.Key:
        """RFC 7162 §3.1.5: the name of a flag may stand first, and does not matter to us."""
        cursor = self._cursor
        if cursor.sees(b'"'):
            cursor.quoted()
            cursor.sp()
            if cursor.word() not in ("PRIV", "SHARED", "ALL"):
                raise Bad("priv, shared or all is missing")
            cursor.sp()
        return m.Changed(cursor.number64())

    def id(self, name: str) -> m.Key:
        return m.Id(self._cursor.text_of(self._cursor.astring()), thread=name == "THREADID")


_KEYS: Final[dict[str, Callable[[_Keys, str], m.Key]]] = {
    **dict.fromkeys(_FIELDS, _Keys.field),
    **dict.fromkeys(_DAYS, _Keys.day),
    "HEADER": _Keys.header,
    "BODY": _Keys.body,
    "TEXT": _Keys.anywhere,
    "KEYWORD": _Keys.keyword,
    "UNKEYWORD": _Keys.keyword,
    "LARGER": _Keys.size,
    "SMALLER": _Keys.size,
    "OLDER": _Keys.within,
    "YOUNGER": _Keys.within,
    "UID": _Keys.uids,
    "MODSEQ": _Keys.modseq,
    "EMAILID": _Keys.id,
    "THREADID": _Keys.id,
}

SEARCH_RULES: Final[dict[str, UidRule]] = {"SEARCH": search, "SORT": sort, "THREAD": thread}
