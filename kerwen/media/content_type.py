"""What a file says it is, what its first bytes say, and which types may open in a browser."""

from __future__ import annotations

import re
from typing import Final

from kerwen.base import limits

OPAQUE: Final = "application/octet-stream"

# CS #serving-inline-content
INLINE: Final = frozenset(
    [
        "text/css",
        "text/plain",
        "text/csv",
        "application/json",
        "application/ld+json",
        "image/jpeg",
        "image/gif",
        "image/png",
        "image/apng",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "video/ogg",
        "video/quicktime",
        "audio/mp4",
        "audio/webm",
        "audio/aac",
        "audio/mpeg",
        "audio/ogg",
        "audio/wave",
        "audio/wav",
        "audio/x-wav",
        "audio/x-pn-wav",
        "audio/flac",
        "audio/x-flac",
    ]
)

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
# RFC 9110 §8.3.1
_MEDIA_TYPE: Final = re.compile(
    rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?)*", re.ASCII
)


def declared(header: str | None) -> str:
    """The type of an upload as it will be served again; what is no media type is opaque."""
    if header is None:
        return OPAQUE
    text = header.strip(" \t")
    if len(text) > limits.CONTENT_TYPE_MAX or not _MEDIA_TYPE.fullmatch(text):
        return OPAQUE
    return text


def essence(content_type: str) -> str:
    """The type without its parameters, in small letters."""
    return content_type.partition(";")[0].rstrip(" \t").lower()


def may_be_inline(content_type: str) -> bool:
    """True for the types that a browser may show at once. # CS #serving-inline-content"""
    return essence(content_type) in INLINE


def image_type(head: bytes) -> str | None:
    """The image type that the first 16 bytes show, of those from which thumbnails are made."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def may_have_thumbnail(content_type: str) -> bool:
    """Only what its owner calls an image is looked into: an encrypted file stays opaque."""
    return essence(content_type).startswith("image/")
