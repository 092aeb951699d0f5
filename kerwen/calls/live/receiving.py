"""What one participant receives: whose tracks, which of their layers, and the connection.

Janus offers, the client answers. One offer is on its way at a time: a task of the participant's
own looks at what is wanted and what is there, and makes the one into the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from kerwen.base.errors import Unavailable
from kerwen.calls import layers
from kerwen.calls.layers import Chosen, Line, Setting, Shown
from kerwen.calls.live import wire
from kerwen.calls.sdp import with_tracks
from kerwen.calls.sfu import videoroom
from kerwen.calls.sfu.janus import Event, Handle, JanusError
from kerwen.calls.sfu.videoroom import Place, Stream

log = logging.getLogger("kerwen.calls")
ANSWER_S: Final = 15.0  # for a client's answer to an offer
_TRIES: Final = 3


class Source:
    """A track of somebody else's: whose, where Janus has it, and what the receiver is sent."""

    __slots__ = ("feed", "feed_mid", "sid", "sizes", "spoke", "video", "screen")  # noqa: RUF023

    def __init__(self, feed: str, feed_mid: str, sid: str, info: Any, spoke: float) -> None:
        self.feed = feed
        self.feed_mid = feed_mid
        self.sid = sid
        self.video = info.type == wire.m.TrackType.VIDEO
        self.screen = info.source == wire.m.TrackSource.SCREEN_SHARE
        self.sizes = wire.sizes(info)
        self.spoke = spoke


class Receiving:
    """The receiving side of a participant. `sources` tells what the others send now."""

    def __init__(
        self,
        handle: Handle,
        say: Callable[[bytes], None],
        sources: Callable[[], dict[str, Source]],
        fail: Callable[[str], None],
        automatic: bool,
    ) -> None:
        self.handle = handle
        self._say = say
        self._sources = sources
        self._fail = fail
        self._automatic = automatic
        self._wishes: dict[str, bool] = {}  # by track, where the client said so itself
        self._settings: dict[str, Setting] = {}
        self._streams: list[Stream] = []
        self._mids: dict[str, str] = {}  # by track
        self._sent: dict[str, Chosen] = {}
        self._first: Event | None = None  # Janus' first offer
        self._answer: asyncio.Future[str] | None = None
        self._restart = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._up = asyncio.Event()  # the connection stands
        self.line = Line()
        self.chosen: dict[str, Chosen] = {}  # what is wanted of what is subscribed to

    async def begin(self, place: Place, dummy: str) -> None:
        """Comes in as a receiver. Raises what Janus raises."""
        wanted = self._wanted()
        pairs = [(one.feed, one.feed_mid) for one in wanted.values()]
        self._streams, self._first = await place.watch(self.handle, dummy, pairs)
        self._name(wanted)

    def _wanted(self) -> dict[str, Source]:
        sources = self._sources()
        return {s: one for s, one in sources.items() if self._wishes.get(s, self._automatic)}

    def run(self) -> None:
        """Starts its task."""
        self._task = asyncio.ensure_future(self._work())
        self.look()

    def stop(self) -> None:
        """Ends its task and the connection."""
        if self._task is not None:
            self._task.cancel()
        self.handle.detach()

    def look(self) -> None:
        """Something changed: tracks, wishes, the line."""
        self._news.set()

    def resume(self) -> None:
        """The client is back on another line and knows nothing of an offer under way."""
        self._restart = True
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
        self._news.set()

    # --- what the client says

    def take_answer(self, sdp: str) -> None:
        """The client's answer to our offer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(sdp)

    def subscribe(self, sids: list[str], wanted: bool) -> None:
        """The client wants tracks, or wants them no more."""
        for sid in sids:
            self._wishes[sid] = wanted
        self._forget()
        self.look()

    def set(self, sids: list[str], setting: Setting) -> None:
        """How the client shows tracks."""
        for sid in sids:
            self._settings[sid] = setting
        self._forget()
        self.look()

    def _forget(self) -> None:
        """Wishes about tracks that are gone are of no use, and must not pile up."""
        if len(self._wishes) + len(self._settings) > 1_000:
            here = self._sources()
            self._wishes = {s: w for s, w in self._wishes.items() if s in here}
            self._settings = {s: w for s, w in self._settings.items() if s in here}

    # --- the task

    async def _work(self) -> None:
        tries = 0
        try:
            if self._first is not None:
                await self._offer(self._first)
            async with asyncio.timeout(ANSWER_S):
                await self._up.wait()  # a second offer before that breaks the first
            while True:
                await self._news.wait()
                self._news.clear()
                try:
                    await self._step()
                    tries = 0
                except JanusError as error:
                    tries += 1
                    log.warning("a receiver's update failed", extra={"why": str(error)})
                    if tries >= _TRIES:
                        raise
                    self._news.set()
                    await asyncio.sleep(0.2)
        except (JanusError, Unavailable) as error:
            self._fail(str(error))
        except TimeoutError:
            self._fail("no answer to an offer")

    async def _step(self) -> None:
        if self._restart:
            self._restart = False
            jsep = await videoroom.restart(self.handle)
            if jsep is not None:
                await self._offer(jsep)
        wanted = self._wanted()
        take = [one for sid, one in wanted.items() if sid not in self._mids]
        leave = [mid for sid, mid in self._mids.items() if sid not in wanted]
        if take or leave:
            pairs = [(one.feed, one.feed_mid) for one in take]
            self._streams, jsep = await videoroom.update(self.handle, pairs, leave)
            self._name(wanted)
            if jsep is not None:
                await self._offer(jsep)
        await self._choose(wanted)

    def _name(self, wanted: dict[str, Source]) -> None:
        by_place = {(one.feed, one.feed_mid): sid for sid, one in wanted.items()}
        self._mids = {}
        for stream in self._streams:
            sid = by_place.get((stream.feed, stream.feed_mid))
            if sid is not None:
                self._mids[sid] = stream.mid
        self._sent = {sid: one for sid, one in self._sent.items() if sid in self._mids}
        self.chosen = {sid: one for sid, one in self.chosen.items() if sid in self._mids}

    async def _offer(self, jsep: Event) -> None:
        sources = self._sources()
        names = {mid: (sources[sid].feed, sid) for sid, mid in self._mids.items() if sid in sources}
        tracks = {mid: sid for sid, mid in self._mids.items()}
        sdp = with_tracks(str(jsep["sdp"]), names)
        self._answer = asyncio.get_running_loop().create_future()
        self._say(wire.dump(offer=wire.description("offer", sdp, tracks)))
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return  # the client came back: what follows is a new offer
        finally:
            self._answer = None
        await videoroom.start(self.handle, answer)

    async def _choose(self, wanted: dict[str, Source]) -> None:
        shown = [
            Shown(
                sid,
                one.video,
                one.screen,
                one.sizes,
                self._settings.get(sid, Setting()),
                one.spoke,
            )
            for sid, one in wanted.items()
            if sid in self._mids
        ]
        self.chosen = layers.choose(shown, self.line.step)
        moved = layers.changed(self._sent, self.chosen)
        if not moved:
            return
        wishes = [_wish(self._mids[s], self.chosen[s], len(wanted[s].sizes)) for s in moved]
        await videoroom.send_of(self.handle, wishes)
        held = {
            (wanted[s].feed, s): self.chosen[s].paused
            for s in moved
            if self.chosen[s].paused != (s in self._sent and self._sent[s].paused)
        }
        self._sent.update({sid: self.chosen[sid] for sid in moved})
        if held:
            self._say(wire.stream_states(held))

    # --- what Janus says

    def hear(self, message: Event) -> None:
        """What Janus says of the connection."""
        kind = message.get("janus")
        if kind == "webrtcup":
            self._up.set()
        elif (
            kind == "slowlink"
            and message.get("media") == "video"
            and self.line.slow(time.monotonic())
        ):
            self.look()


def _wish(mid: str, chosen: Chosen, layers_: int) -> dict[str, Any]:
    wish: dict[str, Any] = {"mid": mid, "send": chosen.send}
    if layers_ > 1:
        wish["substream"] = chosen.layer
    return wish
