"""The words of an HTML part: what a reader sees, near enough for previews and search.

Linear in its input, whatever the input; it is no sanitiser, and nothing shows its output as HTML.
"""

from __future__ import annotations

import html
import re
from typing import Final

_UNSEEN: Final = re.compile(r"<!--|<(script|style|title|head|template|svg|math)\b", re.IGNORECASE)
_CLOSING: Final = {
    name: re.compile(rf"</{name}\b[^<>]*>?", re.IGNORECASE)
    for name in ("script", "style", "title", "head", "template", "svg", "math")
}
_BLOCK: Final = re.compile(
    r"</?(?:address|article|aside|blockquote|body|br|center|dd|div|dl|dt|fieldset|footer|form"
    r"|h[1-6]|header|hr|html|li|main|nav|ol|option|p|pre|section|select|table|tbody|td|tfoot|th"
    r"|thead|tr|ul)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"<[a-zA-Z/!?][^<>]*>")


def text_of(source: str) -> str:
    """The text between the tags; blocks end lines, entities are resolved."""
    if "<" in source:
        source = _without_unseen(source)
        source = _BLOCK.sub("\n", source)
        source = _TAG.sub("", source)
    if "&" in source:
        source = html.unescape(source.replace("&nbsp;", " "))
    return source


def _without_unseen(source: str) -> str:
    """Without comments, scripts, styles and the head; what is never closed goes to the end."""
    match = _UNSEEN.search(source)
    if match is None:
        return source
    kept: list[str] = []
    at = 0
    while match is not None:
        kept.append(source[at : match.start()])
        at = _end_of(source, match)
        match = _UNSEEN.search(source, at)
    kept.append(source[at:])
    return "".join(kept)


def _end_of(source: str, opened: re.Match[str]) -> int:
    if opened[1] is None:
        end = source.find("-->", opened.end() - 2)  # `<!-->` is a whole comment
        return end + 3 if end >= 0 else len(source)
    closed = _CLOSING[opened[1].lower()].search(source, opened.end())
    return closed.end() if closed is not None else len(source)
