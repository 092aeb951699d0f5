"""What a web page says of itself: OpenGraph, and what stands for it on pages without.

Read with the standard library's forgiving parser, of a page's beginning only, into a few short
texts. Nothing of the page is ever shown as HTML.
"""

from __future__ import annotations

import contextlib
import re
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin, urlsplit

_READ_MAX: Final = 256 * 1024  # bytes of a page that are looked at
_TEXT_MAX: Final = 1_000  # characters of one value
_URL_MAX: Final = 2_048
_TITLE_PARTS: Final = 64
_WANTED: Final = frozenset(
    {
        *("og:title", "og:description", "og:image", "og:image:alt", "og:image:width"),
        *("og:image:height", "og:site_name", "og:type", "og:url", "og:locale"),
    }
)
# names on pages that do not speak OpenGraph, the better first
_STANDS_FOR: Final = {
    "og:title": ("twitter:title",),
    "og:description": ("twitter:description", "description"),
    "og:image": ("og:image:secure_url", "og:image:url", "twitter:image", "twitter:image:src"),
    "og:image:alt": ("twitter:image:alt",),
}
_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""")


def charset_of(content_type: str) -> str | None:
    """The charset that a header names."""
    found = re.search(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", content_type, re.IGNORECASE)
    return found.group(1) if found else None


def text_of(page: bytes, charset: str | None) -> str:
    """A page's beginning as text, by its header, its own word, or as UTF-8."""
    head = page[:_READ_MAX]
    named = _CHARSET.search(head[:4_096])
    for name in (charset, named.group(1).decode("ascii") if named else None, "utf-8"):
        if name is not None:
            try:
                return head.decode(name, "replace")
            except (LookupError, ValueError):  # no text encoding of this name
                continue
    return head.decode("latin-1")


def open_graph(text: str, url: str) -> dict[str, str]:
    """What the page at `url` says of itself; `og:image` is an absolute URL of HTTP or missing."""
    reader = _Reader()
    with contextlib.suppress(AssertionError):  # the parser's word for what it cannot read
        reader.feed(text)
    found = {name: value for name, value in reader.found.items() if name in _WANTED}
    for name, others in _STANDS_FOR.items():
        for other in others:
            if name not in found and other in reader.found:
                found[name] = reader.found[other]
    if "og:title" not in found and (title := _plain("".join(reader.title))):
        found["og:title"] = title
    image = _absolute(found.pop("og:image", ""), url)
    if image is not None:
        found["og:image"] = image
    else:
        found = {k: v for k, v in found.items() if not k.startswith("og:image")}
    return found


def _absolute(link: str, base: str) -> str | None:
    if not link:
        return None
    try:
        whole = urljoin(base, link)
        scheme = urlsplit(whole).scheme
    except ValueError:
        return None
    return whole if scheme in ("http", "https") and len(whole) <= _URL_MAX else None


def _plain(value: str) -> str:
    """One line without control characters."""
    shown = "".join(c if c.isprintable() else " " for c in value[: 8 * _TEXT_MAX])
    return " ".join(shown.split())[:_TEXT_MAX]


class _Reader(HTMLParser):
    """Keeps the first value of each name."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, str] = {}
        self.title: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = not self.title
        elif tag == "meta" and len(self.found) < 200:
            given = {name: value or "" for name, value in attrs}
            name = (given.get("property") or given.get("name") or "").strip().lower()
            value = _plain(given.get("content", ""))
            if name and value and len(name) <= 64:
                self.found.setdefault(name, value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False

    def handle_data(self, data: str) -> None:
        if self._in_title and len(self.title) < _TITLE_PARTS:
            self.title.append(data[:_TEXT_MAX])
