"""ENVELOPE and BODYSTRUCTURE, rendered once as the bytes that IMAP sends.

Fields are given as they stand in the message, encoded words and all; what is not printable ASCII
travels as a literal, which both IMAP4rev1 and rev2 allow. NUL, which no IMAP string may hold, is
left out.
"""

# RFC 9051 §7.5.2, §9 (ABNF: envelope, body)

from __future__ import annotations

import re
from typing import Final

from kerwen.mail import addresses, fields, media_type
from kerwen.mail.addresses import GroupEnd, GroupStart
from kerwen.mail.fields import Fields
from kerwen.mail.media_type import Params
from kerwen.mail.message import Part

_SAFE: Final = re.compile(rb"[ !#-\[\]-~]*")
_PRINTABLE: Final = re.compile(rb"[ -~]*")
_BREAKS: Final = re.compile(rb"[\r\n]+")
_SPECIAL: Final = re.compile(rb'(["\\])')
_LANGUAGE: Final = re.compile(rb"[A-Za-z0-9*-]+")


def string(value: bytes) -> bytes:
    """An IMAP string: quoted where that is allowed, else a literal."""
    if _SAFE.fullmatch(value):
        return b'"%b"' % value
    if _PRINTABLE.fullmatch(value):
        return b'"%b"' % _SPECIAL.sub(rb"\\\1", value)
    value = _BREAKS.sub(b" ", value.replace(b"\0", b""))
    return b"{%d}\r\n%b" % (len(value), value)


def nstring(value: bytes | None) -> bytes:
    """An IMAP string, or NIL where there is nothing."""
    return b"NIL" if value is None else string(value)


# --- ENVELOPE -----------------------------------------------------------------------------------


def envelope(header: Fields) -> bytes:
    """The ENVELOPE of a message with these fields."""
    first = fields.first
    sender = _address_list(fields.joined(header, b"from"))
    return b"(%b)" % b" ".join(
        (
            nstring(first(header, b"date")),
            nstring(first(header, b"subject")),
            sender,
            # RFC 9051 §7.5.2: without a Sender or a Reply-To, the From stands there
            _address_list(fields.joined(header, b"sender"), sender),
            _address_list(fields.joined(header, b"reply-to"), sender),
            _address_list(fields.joined(header, b"to")),
            _address_list(fields.joined(header, b"cc")),
            _address_list(fields.joined(header, b"bcc")),
            nstring(first(header, b"in-reply-to")),
            nstring(first(header, b"message-id")),
        )
    )


def _address_list(value: bytes, otherwise: bytes = b"NIL") -> bytes:
    if not value:
        return otherwise
    rendered = []
    for entry in addresses.parse(value):
        if type(entry) is GroupStart:
            rendered.append(b"(NIL NIL %b NIL)" % string(entry.name))
        elif type(entry) is GroupEnd:
            rendered.append(b"(NIL NIL NIL NIL)")
        else:
            assert isinstance(entry, addresses.Mailbox)
            # a NIL host would make it a group, so an address without one has an empty one
            name = string(entry.name) if entry.name else b"NIL"
            rendered.append(b"(%b NIL %b %b)" % (name, string(entry.local), string(entry.host)))
    return b"(%b)" % b"".join(rendered) if rendered else otherwise


# --- BODYSTRUCTURE ------------------------------------------------------------------------------


def bodystructure(part: Part) -> bytes:
    """BODYSTRUCTURE, with all extension data."""
    return _body(part, extended=True)


def body(part: Part) -> bytes:
    """BODY, its older form without extension data."""
    return _body(part, extended=False)


def _body(part: Part, *, extended: bool) -> bytes:
    if part.is_multipart:
        inner = b"".join(_body(child, extended=extended) for child in part.parts)
        shape = b"%b %b" % (inner, string(part.type.subtype.encode("latin-1")))
        if extended:
            shape += b" %b %b" % (_params(part.type.params), _extension(part.fields))
        return b"(%b)" % shape
    kind = part.type
    first = fields.first
    shape = b"%b %b %b %b %b %b %d" % (
        string(kind.type.encode("latin-1")),
        string(kind.subtype.encode("latin-1")),
        _params(kind.params),
        nstring(first(part.fields, b"content-id")),
        nstring(first(part.fields, b"content-description")),
        string(part.encoding or b"7bit"),
        part.end - part.body,
    )
    if part.is_message:
        inside = part.parts[0]
        inner = _body(inside, extended=extended)
        shape += b" %b %b %d" % (envelope(inside.fields), inner, part.lines)
    elif kind.type == "text":
        shape += b" %d" % part.lines
    if extended:
        shape += b" %b %b" % (nstring(first(part.fields, b"content-md5")), _extension(part.fields))
    return b"(%b)" % shape


def _params(params: Params) -> bytes:
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join(b"%b %b" % (string(k), string(v)) for k, v in params)


def _extension(header: Fields) -> bytes:
    """Disposition, language, location."""
    found = fields.first(header, b"content-disposition")
    shown = media_type.disposition(found) if found else None
    if shown is None:
        disposition = b"NIL"
    else:
        kind = string(shown.kind.encode("latin-1"))
        disposition = b"(%b %b)" % (kind, _params(shown.params))
    found = fields.first(header, b"content-language")
    languages = _LANGUAGE.findall(found) if found else []
    language = b"(%b)" % b" ".join(map(string, languages)) if languages else b"NIL"
    return b"%b %b %b" % (
        disposition,
        language,
        nstring(fields.first(header, b"content-location")),
    )


# --- BODY out of BODYSTRUCTURE ------------------------------------------------------------------

_ITEM: Final = re.compile(rb'\(|\)|"(?:[^"\\]|\\.)*+"|\{(\d+)\}\r\n|[^\s()"{]++')
_BASIC, _TEXT, _MESSAGE = 7, 8, 10  # items of a leaf that are not extension data


def without_extensions(rendered: bytes) -> bytes:
    """BODY from a stored BODYSTRUCTURE, so that one of them is kept."""
    return _short(_parse(rendered))


_Tree = bytes | list["_Tree"]


def _parse(rendered: bytes) -> _Tree:
    stack: list[list[_Tree]] = [[]]
    at = 0
    while (match := _ITEM.search(rendered, at)) is not None:
        at = match.end()
        item = match[0]
        if item == b"(":
            stack.append([])
        elif item == b")":
            closed = stack.pop()
            stack[-1].append(closed)
        elif match[1] is not None:
            end = at + int(match[1])
            stack[-1].append(rendered[match.start() : end])
            at = end
        else:
            stack[-1].append(item)
    return stack[0][0]


def _short(tree: _Tree) -> bytes:
    assert isinstance(tree, list)
    if isinstance(tree[0], list):
        children = [item for item in tree if isinstance(item, list)]
        inner = children if len(children) == len(tree) else _leading(tree)
        return b"(%b %b)" % (b"".join(map(_short, inner)), _flat(tree[len(inner)]))
    kind, subtype = tree[0], tree[1]
    if kind == b'"message"' and subtype in (b'"rfc822"', b'"global"'):
        kept = [_flat(item) for item in tree[:_MESSAGE]]
        kept[8] = _short(tree[8])
        return b"(%b)" % b" ".join(kept)
    count = _TEXT if kind == b'"text"' else _BASIC
    return b"(%b)" % b" ".join(map(_flat, tree[:count]))


def _leading(tree: list[_Tree]) -> list[_Tree]:
    """The children of a multipart: the lists before its subtype."""
    for place, item in enumerate(tree):
        if not isinstance(item, list):
            return tree[:place]
    return tree


def _flat(item: _Tree) -> bytes:
    if isinstance(item, bytes):
        return item
    if item and all(isinstance(inner, list) for inner in item):  # addresses touch each other
        return b"(%b)" % b"".join(map(_flat, item))
    return b"(%b)" % b" ".join(map(_flat, item))
