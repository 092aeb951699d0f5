"""What lies at an address that somebody else named: followed as far as `Outgoing` lets us."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urljoin, urlsplit

from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.base.limits import MIB
from kerwen.media.content_type import image_type
from kerwen.net.outgoing import Answer, Outgoing, Unanswered

URL_MAX: Final = 2_048
IMAGE_MAX: Final = 8 * MIB
_HOPS_MAX: Final = 4
_PATIENCE_MS: Final = 10_000
_AT_ONCE: Final = 8
_WAITING_MAX: Final = 64


class Pictures:
    """Pictures that letters name, fetched when a reader asks: their hosts see this server and not
    the reader. Nothing is kept."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def of(self, url: str) -> tuple[str, bytes]:
        """(type, bytes) of a picture, at most 8 MiB. `Refused` and `Unavailable` as previews."""
        url = checked(url)
        if self._waiting >= _WAITING_MAX:
            raise Unavailable(Unready.BUSY, 2_000)
        self._waiting += 1
        try:
            async with self._turns:
                _, answer = await follow(self._outgoing, url, IMAGE_MAX)
        finally:
            self._waiting -= 1
        kind = image_type(answer.body[:16])
        if kind is None:
            raise nothing("no picture")
        return kind, answer.body


async def follow(outgoing: Outgoing, url: str, most: int) -> tuple[str, Answer]:
    """(where it came from, the answer of at most `most` bytes) of a link, over a few redirects."""
    headers = {"Accept": "text/html, image/*;q=0.8"}
    for _ in range(_HOPS_MAX):
        try:
            answer = await outgoing.ask(
                "GET", url, headers=headers, timeout_ms=_PATIENCE_MS, answer_max=most
            )
        except Unanswered as error:
            raise nothing(error.why.value) from None
        if answer.good:
            return url, answer
        target = answer.headers.get("location", "")
        if answer.status not in (301, 302, 303, 307, 308) or not target:
            break
        try:
            url = urljoin(url, target)[:URL_MAX]
        except ValueError:
            break
    raise nothing("no answer")


def nothing(why: str) -> Refused:
    return Refused(Reason.NOT_FOUND, "There is nothing to preview", why=why)


def checked(url: str) -> str:
    """A link without its fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or len(url) > URL_MAX:
        raise Refused(Reason.INVALID_PARAM, "That is no URL of HTTP")
    if any(ord(c) < 0x21 or ord(c) == 0x7F for c in url):
        raise Refused(Reason.INVALID_PARAM, "That is no URL")
    return parts._replace(fragment="").geturl()
