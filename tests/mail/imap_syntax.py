"""A strict reader of IMAP's envelope and body, as an oracle of what clients must understand.

# RFC 9051 §9
"""

from __future__ import annotations

import re

ITEM = re.compile(rb'\(|\)|NIL|"((?:[^"\\\r\n\0]|\\["\\])*)"|\{(\d+)\}\r\n|(\d+)')
Tree = object


class Wrong(AssertionError):
    """It is not what the grammar says."""


def tree(data: bytes) -> list[object]:
    """Lists, bytes, numbers and None; single spaces where the grammar has SP."""
    stack: list[list[object]] = [[]]
    at = 0
    while at < len(data):
        if data[at : at + 1] == b" ":
            if not stack[-1] or data[at + 1 : at + 2] in (b" ", b")", b""):
                raise Wrong(f"a space at {at}")
            at += 1
        match = ITEM.match(data, at)
        if match is None:
            raise Wrong(f"no item at {at}: {data[at : at + 30]!r}")
        at = match.end()
        if match[0] == b"(":
            stack.append([])
        elif match[0] == b")":
            done = stack.pop()
            stack[-1].append(done)
        elif match[0] == b"NIL":
            stack[-1].append(None)
        elif match[2] is not None:
            end = at + int(match[2])
            if b"\0" in data[at:end] or end > len(data):
                raise Wrong("a literal")
            stack[-1].append(data[at:end])
            at = end
        elif match[3] is not None:
            stack[-1].append(int(match[3]))
        else:
            if not match[0].isascii():
                raise Wrong("8-bit text in a quoted string")
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[1]))
    if len(stack) != 1 or len(stack[0]) != 1 or not isinstance(stack[0][0], list):
        raise Wrong("brackets")
    return stack[0][0]


def is_string(item: object, *, nil: bool = True) -> None:
    """string or nstring."""
    if not (isinstance(item, bytes) or (nil and item is None)):
        raise Wrong(f"{item!r} is no string")


def envelope(items: object) -> None:
    """envelope"""
    if not isinstance(items, list) or len(items) != 10:
        raise Wrong("an envelope has ten items")
    for place in (0, 1, 8, 9):
        is_string(items[place])
    for place in range(2, 8):
        addresses(items[place])


def addresses(items: object) -> None:
    """env-from and its like; groups open and close."""
    if items is None:
        return
    if not isinstance(items, list) or not items:
        raise Wrong("an address list is NIL or has addresses")
    inside = False
    for address in items:
        if not isinstance(address, list) or len(address) != 4:
            raise Wrong("an address has four items")
        for item in address:
            is_string(item)
        if address[3] is None:
            if (address[2] is None) != inside:
                raise Wrong("groups")
            inside = not inside
        elif address[2] is None:
            raise Wrong("a mailbox without a name")
    if inside:
        raise Wrong("a group is open")


def params(items: object) -> None:
    """body-fld-param"""
    if items is None:
        return
    if not isinstance(items, list) or not items or len(items) % 2:
        raise Wrong("parameters are pairs")
    for item in items:
        is_string(item, nil=False)


def body(items: object, *, extended: bool) -> None:
    """body"""
    if not isinstance(items, list) or not items:
        raise Wrong("a body is a list")
    if isinstance(items[0], list):
        multipart(items, extended=extended)
    else:
        leaf(items, extended=extended)


def multipart(items: list[object], *, extended: bool) -> None:
    """body-type-mpart"""
    count = next(place for place, item in enumerate(items) if not isinstance(item, list))
    for child in items[:count]:
        body(child, extended=extended)
    is_string(items[count], nil=False)
    rest = items[count + 1 :]
    if extended:
        params(rest[0])
        extension(rest[1:])
    elif rest:
        raise Wrong("extension data in BODY")


def leaf(items: list[object], *, extended: bool) -> None:
    """body-type-1part"""
    kind, subtype, parameters, content_id, description, encoding, size = items[:7]
    for item in (kind, subtype, encoding):
        is_string(item, nil=False)
    params(parameters)
    is_string(content_id)
    is_string(description)
    if not isinstance(size, int):
        raise Wrong("a size is a number")
    rest = items[7:]
    if kind == b"message" and subtype in (b"rfc822", b"global"):
        envelope(rest[0])
        body(rest[1], extended=extended)
        rest = rest[2:]
        if not isinstance(rest.pop(0), int):
            raise Wrong("lines")
    elif kind == b"text" and not isinstance(rest.pop(0), int):
        raise Wrong("lines")
    if extended:
        is_string(rest[0])
        extension(rest[1:])
    elif rest:
        raise Wrong("extension data in BODY")


def extension(items: list[object]) -> None:
    """body-fld-dsp, -lang, -loc"""
    disposition, language, location = items
    if disposition is not None:
        if not isinstance(disposition, list) or len(disposition) != 2:
            raise Wrong("a disposition has two items")
        is_string(disposition[0], nil=False)
        params(disposition[1])
    for item in language if isinstance(language, list) else [language]:
        is_string(item)
    is_string(location)
