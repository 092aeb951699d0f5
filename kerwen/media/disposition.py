"""File names: which are taken, and how they are written into Content-Disposition."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.media.content_type import may_be_inline

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# printable ASCII without quote and backslash, and no space at either end
_PLAIN: Final = re.compile(r"(?! )[ !#-\[\]-~]*(?<! )")
# what an extended value may hold as it is: RFC 8187 §3.2.1
_ATTR_CHARS: Final = "!#$&+-.^_`|~"


def file_name(text: str | None) -> str | None:
    """A name as a peer gave it, or None for none; control characters are refused."""
    if not text:
        return None
    if _CONTROL.search(text):
        raise Refused(Reason.INVALID_PARAM, "A file name may not hold control characters")
    if len(text.encode()) > limits.FILE_NAME_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A file name may have {limits.FILE_NAME_MAX} bytes")
    return text


def disposition(content_type: str, name: str | None) -> bytes:
    """The value of Content-Disposition: ASCII, so that no name can end the header."""
    kind = "inline" if may_be_inline(content_type) else "attachment"
    if name is None:
        return kind.encode()
    if _PLAIN.fullmatch(name):
        return f'{kind}; filename="{name}"'.encode()
    # RFC 6266 §4.3; no second, plain name beside it: some parsers would take that one
    exact = quote(name, safe=_ATTR_CHARS)
    return f"{kind}; filename*=UTF-8''{exact}".encode("ascii")
