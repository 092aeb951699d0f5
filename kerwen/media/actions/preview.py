"""What somebody's link leads to, in a few words and a picture (CS #url-previews). Off by default.

A server that looks at links tells their hosts what its people write about, so the operator has to
want it. It goes only where `Outgoing` lets it: public addresses, each redirect asked anew.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from typing import Final

from kerwen.base.clock import Clock
from kerwen.base.errors import Refused, Unavailable, Unready
from kerwen.base.limits import MIB
from kerwen.media import open_graph, store
from kerwen.media.actions.picture import IMAGE_MAX, checked, follow
from kerwen.media.content_type import essence, image_type
from kerwen.media.mxc import mxc
from kerwen.media.store import OURS, Media
from kerwen.net.outgoing import Answer, Outgoing
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, retrying

_PAGE_MAX: Final = 4 * MIB
_AT_ONCE: Final = 8
_WAITING_MAX: Final = 64
_KEPT_MAX: Final = 1_000
_KEPT_MS: Final = 3_600_000
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})

Preview = dict[str, str | int]


class Previews:
    """Looks at links. What was found is kept for an hour, in memory; the pictures are media of
    nobody, which the cleaner removes when they are not used."""

    def __init__(
        self, db: Database, blobs: Blobs, outgoing: Outgoing, domain: str, clock: Clock
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._outgoing = outgoing
        self._domain = domain
        self._clock = clock
        self._kept: OrderedDict[str, tuple[int, Preview]] = OrderedDict()
        self._running: dict[str, asyncio.Task[Preview]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def of(self, url: str) -> Preview:
        """A preview, perhaps empty. `Refused`: INVALID_PARAM (no URL), NOT_FOUND (nothing there
        that we may look at); `Unavailable(BUSY)` while too many are looked at."""
        url = checked(url)
        kept = self._kept.get(url)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        running = self._running.get(url)
        if running is None:
            if len(self._running) >= _WAITING_MAX:
                raise Unavailable(Unready.BUSY, 2_000)
            running = asyncio.ensure_future(self._look(url))
            self._running[url] = running
            running.add_done_callback(lambda task: self._ended(url, task))
        return await asyncio.shield(running)  # who asked first may hang up

    def _ended(self, url: str, task: asyncio.Task[Preview]) -> None:
        self._running.pop(url, None)
        if not task.cancelled():
            task.exception()  # told to those who still wait; perhaps nobody does

    def stop(self) -> None:
        """Looks at nothing more."""
        for task in self._running.values():
            task.cancel()

    async def _look(self, url: str) -> Preview:
        async with self._turns:
            found = await self._read(url)
        self._kept[url] = (self._clock() + _KEPT_MS, found)
        self._kept.move_to_end(url)
        if len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)
        return found

    async def _read(self, url: str) -> Preview:
        at, answer = await follow(self._outgoing, url, _PAGE_MAX)
        kind = essence(answer.headers.get("content-type", ""))
        if kind.startswith("image/"):
            return await self._keep(answer)
        if kind not in _PAGES:
            return {}
        charset = open_graph.charset_of(answer.headers["content-type"])
        text = open_graph.text_of(answer.body, charset)
        found: Preview = dict(await asyncio.to_thread(open_graph.open_graph, text, at))
        image = found.pop("og:image", None)
        if isinstance(image, str):
            try:
                _, picture = await follow(self._outgoing, image, IMAGE_MAX)
                found |= await self._keep(picture)
            except Refused:
                pass  # the words are worth showing without it
        if "og:image" not in found:
            found = {k: v for k, v in found.items() if not k.startswith("og:image")}
        return found

    async def _keep(self, answer: Answer) -> Preview:
        """Keeps a picture as media of nobody's; nothing for what is none."""
        kind = image_type(answer.body[:16])
        if kind is None:
            return {}
        blob = await self._blobs.put_bytes(answer.body)
        media_id = secrets.token_urlsafe(16)
        media = Media(OURS, media_id, None, blob.key, kind, None, blob.size, self._clock(), None)

        async def write() -> None:
            async with self._db.write() as tx:
                await store.add(tx, media)

        await retrying(write)
        return {
            "og:image": mxc(self._domain, media_id),
            "og:image:type": kind,
            "matrix:image:size": blob.size,
        }
