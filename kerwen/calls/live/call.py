"""One call: who is in it, what they are told of one another, and its room in Janus."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Final

from kerwen.base.errors import Unavailable
from kerwen.calls import layers
from kerwen.calls.live import wire
from kerwen.calls.live.peer import Peer
from kerwen.calls.live.publishing import Track
from kerwen.calls.sfu.janus import Handle, Janus, JanusError
from kerwen.calls.sfu.videoroom import Place
from kerwen.calls.token import Grant

POOR_S: Final = 10.0  # a line counts as poor for so long after packets were lost


class Call:
    """A call. `parted` hears of everybody who goes."""

    def __init__(
        self,
        name: str,
        janus: Janus,
        token: Callable[[Grant], str],
        parted: Callable[[Peer], None],
        relay_only: bool,
        began_ms: int,
    ) -> None:
        self.name = name
        self.sid = "RM_" + secrets.token_urlsafe(9)
        self.janus = janus
        self.token = token
        self._parted = parted
        self.relay_only = relay_only
        self.began_ms = began_ms
        self.room_no = 0
        self.place = Place(f"call-{secrets.token_urlsafe(12)}", secrets.token_urlsafe(18))
        self.peers: dict[str, Peer] = {}
        self.entering = 0  # people on their way in
        self._keeper: Handle | None = None  # holds the room
        self._lock = asyncio.Lock()
        self._speaking: dict[str, float] = {}  # news of who speaks
        self._poor: dict[str, float] = {}  # until when a line counts as poor
        self._ending: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Makes its room in Janus, once. Raises what Janus raises."""
        async with self._lock:
            if self._keeper is None:
                keeper = await self.janus.attach(lambda _: None)
                await self.place.make(keeper)
                self._keeper = keeper

    def end(self) -> None:
        """Ends its room in Janus."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            self._ending = asyncio.ensure_future(self._end(keeper))

    async def _end(self, keeper: Handle) -> None:
        with contextlib.suppress(JanusError, Unavailable):
            await self.place.end(keeper)
        keeper.detach()

    # --- who is in it

    def others(self, peer: Peer) -> Iterable[Peer]:
        """Everybody but one."""
        return [other for other in self.peers.values() if other is not peer]

    def find(self, identity: str) -> Peer | None:
        """Who is in it under an identity."""
        return next((p for p in self.peers.values() if p.grant.identity == identity), None)

    def enter(self, peer: Peer) -> None:
        """Somebody whose connections stand comes in."""
        self.peers[peer.sid] = peer
        self.tell_of(peer)

    def part(self, peer: Peer, reason: int) -> None:
        """Somebody is gone."""
        if peer.gone:
            return
        peer.gone = True
        self.peers.pop(peer.sid, None)
        self._poor.pop(peer.sid, None)
        self._speaking.pop(peer.sid, None)
        peer.close_connections()
        info = peer.info()
        info.disconnect_reason = reason
        del info.tracks[:]
        self._say(peer, wire.dump(update=wire.rtc.ParticipantUpdate(participants=[info])))
        for other in self.peers.values():
            other.receiving.look()
        self._parted(peer)

    # --- what they are told

    def _say(self, about: Peer | None, message: bytes) -> None:
        for peer in self.peers.values():
            if peer is not about:
                peer.say(message)

    def tell_of(self, peer: Peer) -> None:
        """Others, and itself, are told how a participant is now."""
        update = wire.rtc.ParticipantUpdate
        self._say(peer, wire.dump(update=update(participants=[peer.info()])))
        peer.say(wire.dump(update=update(participants=[peer.info(own=True)])))
        for other in self.others(peer):
            other.receiving.look()

    def speaks(self, peer: Peer, level: float) -> None:
        """Somebody begins to speak, or stops (0). All are told at the next look."""
        self._speaking[peer.sid] = level
        if level:
            peer.spoke = time.monotonic()

    def poor_line(self, peer: Peer) -> None:
        """Packets of somebody's do not arrive here."""
        if peer.sid not in self._poor:
            self._say(None, wire.quality_of(peer.sid, good=False))
        self._poor[peer.sid] = time.monotonic() + POOR_S

    def look(self, now: float) -> None:
        """What is done four times a second."""
        for peer in list(self.peers.values()):
            peer.look(now)
        if self._speaking:
            told, self._speaking = self._speaking, {}
            self._say(None, wire.speakers(told))
        for sid, until in list(self._poor.items()):
            if now > until:
                del self._poor[sid]
                self._say(None, wire.quality_of(sid, good=True))
        for peer in self.peers.values():
            for track in peer.publishing.shown():
                if track.video and len(track.info.layers) > 1:
                    self._ask_for_layers(peer, track, now)

    def _ask_for_layers(self, peer: Peer, track: Track, now: float) -> None:
        chosen = [other.receiving.chosen.get(track.sid) for other in self.others(peer)]
        if any(chosen):  # before anybody looks, all layers may come
            wanted = layers.qualities_wanted(len(track.info.layers), chosen)
            peer.publishing.want(track, wanted, now)

    # --- moderation

    async def hush(self, peer: Peer, track: Track, muted: bool) -> None:
        """A moderator silences a track, or lets it speak again; its owner decides then."""
        await self.place.hush(peer.publishing.handle, peer.sid, track.mid, muted)
        track.hushed = muted
        if muted:
            peer.say(wire.dump(mute=wire.rtc.MuteTrackRequest(sid=track.sid, muted=True)))
            peer.publishing.mute(track.sid, True)
