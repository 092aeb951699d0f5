"""The body of an Email: its parts, which of them are shown, and their texts."""

# RFC 8621 §4.1.4

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from kerwen.mail import charsets, fields, media_type, texts, transfer
from kerwen.mail.jmap import headers
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.jmap.headers import HeaderProperty
from kerwen.mail.message import Part

PROPERTIES: Final = frozenset(
    {
        "partId",
        "blobId",
        "size",
        "headers",
        "name",
        "type",
        "charset",
        "disposition",
        "cid",
        "language",
        "location",
        "subParts",
    }
)
DEFAULT: Final = PROPERTIES - {"headers", "subParts"}
_INLINE: Final = ("image/", "audio/", "video/")


class Leaf(msgspec.Struct):
    """A part as JMAP numbers it; a multipart has no number."""

    part: Part
    id: str | None
    parts: list[Leaf]

    @property
    def type(self) -> str:
        """Its media type."""
        return str(self.part.type)

    def walk(self) -> list[Leaf]:
        """The leaves below it."""
        if self.id is not None:
            return [self]
        return [leaf for child in self.parts for leaf in child.walk()]


def tree(root: Part) -> Leaf:
    """The parts, numbered as in IMAP; a message inside is one part."""
    return _tree(root, "")


def _tree(part: Part, path: str) -> Leaf:
    if part.is_multipart:
        inner = [
            _tree(child, f"{path}.{at}" if path else str(at))
            for at, child in enumerate(part.parts, 1)
        ]
        return Leaf(part, None, inner)
    return Leaf(part, path or "1", [])


def find(root: Part, part_id: str) -> Part | None:
    """The part of a number; None: there is none."""
    for leaf in tree(root).walk():
        if leaf.id == part_id:
            return leaf.part
    return None


def content(raw: bytes, part: Part) -> bytes:
    """What a part holds, without its transfer encoding."""
    return transfer.decode(raw[part.body : part.end], part.encoding)


class Shown(msgspec.Struct):
    """Which leaves are shown as text, as HTML, and which are attachments."""

    text: list[Leaf]
    html: list[Leaf]
    files: list[Leaf]


def shown(root: Leaf) -> Shown:
    """RFC 8621 §4.1.4, the algorithm that it suggests."""
    found = Shown([], [], [])
    _sort([root], "mixed", False, found.html, found.text, found.files)
    return found


def _is_media(kind: str) -> bool:
    return kind.startswith(_INLINE)


def _is_inline(leaf: Leaf, at: int, multipart: str) -> bool:
    kind = leaf.type
    value = fields.first(leaf.part.fields, b"content-disposition")
    disposition = media_type.disposition(value) if value else None
    if disposition is not None and disposition.kind == "attachment":
        return False
    if kind not in ("text/plain", "text/html") and not _is_media(kind):
        return False
    if at == 0:
        return True
    return multipart != "related" and (_is_media(kind) or not texts.file_name(leaf.part))


def _sort(
    parts: Sequence[Leaf],
    multipart: str,
    alternative: bool,
    html: list[Leaf] | None,
    text: list[Leaf] | None,
    files: list[Leaf],
) -> None:
    text_before = len(text) if text is not None else -1
    html_before = len(html) if html is not None else -1
    for at, leaf in enumerate(parts):
        if leaf.id is None:
            kind = leaf.part.type.subtype
            _sort(leaf.parts, kind, alternative or kind == "alternative", html, text, files)
        elif not _is_inline(leaf, at, multipart):
            files.append(leaf)
        elif multipart == "alternative":
            if leaf.type == "text/plain" and text is not None:
                text.append(leaf)
            elif leaf.type == "text/html" and html is not None:
                html.append(leaf)
            else:
                files.append(leaf)
        else:
            if alternative and leaf.type == "text/plain":
                html = None
            if alternative and leaf.type == "text/html":
                text = None
            if text is not None:
                text.append(leaf)
            if html is not None:
                html.append(leaf)
            if (text is None or html is None) and _is_media(leaf.type):
                files.append(leaf)
    if multipart == "alternative" and text is not None and html is not None:
        if text_before == len(text) and html_before != len(html):
            text += html[html_before:]
        elif html_before == len(html) and text_before != len(text):
            html += text[text_before:]


# --- EmailBodyPart ------------------------------------------------------------------------------


class PartPlan(msgspec.Struct, frozen=True):
    """Which properties of parts are wanted."""

    names: frozenset[str]
    headers: tuple[HeaderProperty, ...] = ()


def plan(names: Sequence[str] | None) -> PartPlan:
    """A plan of `bodyProperties`. Raises `MethodError(invalidArguments)`."""
    if names is None:
        return PartPlan(DEFAULT)
    asked = tuple(headers.parse_property(name) for name in names if name.startswith("header:"))
    own = frozenset(name for name in names if not name.startswith("header:"))
    unknown = own - PROPERTIES
    if unknown:
        raise MethodError("invalidArguments", f"bodyProperties: {min(unknown)[:100]} is unknown")
    return PartPlan(own, asked)


class Teller:
    """Tells of the parts of one message. `blob_id` names a part's blob."""

    def __init__(self, raw: bytes, asked: PartPlan, blob_id: Callable[[str], str]) -> None:
        self._raw = raw
        self._plan = asked
        self._blob_id = blob_id

    def tell(self, leaf: Leaf, *, below: bool = False) -> dict[str, Any]:
        """An EmailBodyPart; `below`: with the parts below it (bodyStructure)."""
        part, wanted = leaf.part, self._plan.names
        found: dict[str, Any] = {}
        for name, value in _PARTS.items():
            if name in wanted:
                found[name] = value(part)
        if "partId" in wanted:
            found["partId"] = leaf.id
        if "blobId" in wanted:
            found["blobId"] = None if leaf.id is None else self._blob_id(leaf.id)
        if "size" in wanted:
            found["size"] = len(content(self._raw, part)) if leaf.id is not None else 0
        block = self._raw[part.start : part.body]
        if "headers" in wanted:
            found["headers"] = headers.listed(block)
        if self._plan.headers:
            values = headers.read(block)
            for asked in self._plan.headers:
                found[asked.key] = headers.value_of(values, asked)
        if below and (leaf.id is None or "subParts" in wanted):
            found["subParts"] = [self.tell(child, below=True) for child in leaf.parts] or None
        return found


def _charset(part: Part) -> str | None:
    if part.type.type != "text":
        return None
    return part.type.get(b"charset") or "us-ascii"


def _disposition(part: Part) -> str | None:
    value = fields.first(part.fields, b"content-disposition")
    found = media_type.disposition(value) if value else None
    return found.kind if found is not None else None


def _cid(part: Part) -> str | None:
    value = fields.first(part.fields, b"content-id")
    return charsets.guess(value).strip().removeprefix("<").removesuffix(">") if value else None


def _language(part: Part) -> list[str] | None:
    value = fields.first(part.fields, b"content-language")
    return [one.strip() for one in charsets.guess(value).split(",")] if value else None


def _location(part: Part) -> str | None:
    value = fields.first(part.fields, b"content-location")
    return charsets.guess(value) if value else None


_PARTS: Final[dict[str, Callable[[Part], Any]]] = {
    "name": texts.file_name,
    "type": lambda part: str(part.type),
    "charset": _charset,
    "disposition": _disposition,
    "cid": _cid,
    "language": _language,
    "location": _location,
}


# --- EmailBodyValue -----------------------------------------------------------------------------


def value(raw: bytes, part: Part, most: int) -> dict[str, Any]:
    """An EmailBodyValue of a text part, of at most `most` bytes of UTF-8 (0: all)."""
    data = content(raw, part)
    charset = part.type.get(b"charset")
    text = charsets.decode(data, charset)
    problem = part.encoding not in transfer.KNOWN or "\ufffd" in text
    if charset and not problem:
        problem = not _known(charset)
    text = text.replace("\r\n", "\n")
    cut = False
    if most and len(text) * 4 > most:
        coded = text.encode("utf-8", "replace")
        if len(coded) > most:
            text, cut = coded[:most].decode("utf-8", "ignore"), True
            if part.type.subtype == "html":  # not in the middle of a tag
                open_at = text.rfind("<")
                if open_at > text.rfind(">"):
                    text = text[:open_at]
    return {"value": text, "isEncodingProblem": problem, "isTruncated": cut}


def _known(charset: str) -> bool:
    try:
        codecs.lookup(charset.strip(" '\""))
    except (LookupError, ValueError):
        return charset.lower() in ("default", "unknown-8bit", "ansi_x3.4-1968")
    return True
