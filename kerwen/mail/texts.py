"""The texts that a message holds, decoded: for previews and for search."""

from __future__ import annotations

from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import charsets, encoded_words, fields, html_text, media_type, transfer
from kerwen.mail.message import Part

_NO_FILES: Final = {
    "application/pgp-signature",
    "application/pkcs7-signature",
    "application/x-pkcs7-signature",
    "application/pgp-encrypted",
    "message/delivery-status",
    "message/global-delivery-status",
    "message/disposition-notification",
}
_SAID: Final = (b"subject", b"from", b"to", b"cc")


class Texts(msgspec.Struct, gc=False):
    """What was read of a message."""

    plain: list[str]  # texts of the message itself
    html: list[str]  # its HTML, as text
    attached: list[str]  # texts of attachments and of messages inside, names of files
    files: int  # attachments
    cut: bool  # something was too long, or too much, to be read


def texts(
    raw: bytes,
    root: Part,
    *,
    bytes_max: int = limits.TEXT_READ_MAX,
    parts_max: int = limits.TEXT_PARTS_MAX,
) -> Texts:
    """Every text part of a message, up to so many bytes and parts."""
    reader = _Reader(raw, bytes_max, parts_max)
    reader.read(root, own=True)
    return reader.found


class _Reader:
    __slots__ = ("_parts", "_raw", "_room", "found")

    def __init__(self, raw: bytes, bytes_max: int, parts_max: int) -> None:
        self._raw = raw
        self._room = bytes_max
        self._parts = parts_max
        self.found = Texts([], [], [], 0, False)

    def read(self, part: Part, *, own: bool) -> None:
        """A part and all below it; `own` is False inside of attachments."""
        found = self.found
        attached = is_attachment(part)
        if attached:
            found.files += own
            own = False
        if part.start and (part.type.params or b"content-disposition" in part.fields):
            name = file_name(part)
            if name:
                found.attached.append(name)
        if part.is_message:
            inner = part.parts[0].fields
            for field in _SAID:
                found.attached += map(encoded_words.decode, inner.get(field, ()))
        for child in part.parts:
            self.read(child, own=own)
        if part.type.type == "text" and not part.parts:
            self._text(part, own=own)

    def _text(self, part: Part, *, own: bool) -> None:
        found = self.found
        size = part.end - part.body
        if not size:
            return
        if size > self._room or not self._parts:
            found.cut = True
            if not self._parts or self._room <= 0:
                return
        text = text_of(self._raw, part, self._room)
        self._room -= size
        self._parts -= 1
        if not own:
            found.attached.append(text)
        elif part.type.subtype == "html":
            found.html.append(text)
        else:
            found.plain.append(text)


def text_of(raw: bytes, part: Part, size_max: int) -> str:
    """The text of one part, of at most `size_max` bytes as they travelled; HTML without tags."""
    data = raw[part.body : min(part.end, part.body + size_max)]
    if part.encoding:
        data = transfer.decode(data, part.encoding)
    text = charsets.decode(data, part.type.get(b"charset"))
    return html_text.text_of(text) if part.type.subtype == "html" else text


def file_name(part: Part) -> str | None:
    """The name that a part's sender gave it."""
    value = fields.first(part.fields, b"content-disposition")
    shown = media_type.disposition(value) if value else None
    name = shown.get(b"filename") if shown is not None else None
    return name or part.type.get(b"name") or None


def is_attachment(part: Part) -> bool:
    """Whether a reader would call it a file that came with the message."""
    kind = part.type
    value = fields.first(part.fields, b"content-disposition")
    if value is None and kind.type in ("text", "multipart"):
        return False
    shown = media_type.disposition(value) if value else None
    if kind.type == "multipart":
        return False
    if shown is not None and shown.kind != "inline":
        return True
    if kind.type == "text":
        return False
    if kind.type == "message":
        return part.is_message
    if kind.type == "image" and b"content-id" in part.fields:
        return False  # a picture inside the HTML
    return str(kind) not in _NO_FILES
