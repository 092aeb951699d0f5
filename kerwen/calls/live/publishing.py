"""What one participant sends: its tracks, and the connection on which it offers them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final

from kerwen.base import limits
from kerwen.calls.live import wire
from kerwen.calls.sdp import Section, sections
from kerwen.calls.sfu import videoroom
from kerwen.calls.sfu.janus import Event, Handle

LESS_S: Final = 4.0  # before a layer that nobody looks at is given up


class Track:
    """A track that is sent, or is about to be."""

    __slots__ = ("cids", "hushed", "info", "less_since", "shown", "told")

    def __init__(self, info: Any, cids: set[str]) -> None:
        self.info = info
        self.cids = cids  # how the client names it in its offer
        self.shown = False  # others know of it
        self.hushed = False  # a moderator silenced it
        self.told: list[tuple[int, bool]] | None = None  # layers that its owner was asked for
        self.less_since = 0.0  # that long fewer of them would do

    @property
    def sid(self) -> str:
        """Its name in the call."""
        return str(self.info.sid)

    @property
    def mid(self) -> str:
        """Its section in the publisher's description; '' before it is offered."""
        return str(self.info.mid)

    @property
    def video(self) -> bool:
        """Whether it is seen and not heard."""
        return bool(self.info.type == wire.m.TrackType.VIDEO)


class Publishing:
    """The sending side of a participant. `changed` hears when others should be told."""

    def __init__(
        self, handle: Handle, may: bool, say: Callable[[bytes], None], changed: Callable[[], None]
    ) -> None:
        self.handle = handle
        self._may = may
        self._say = say
        self._changed = changed
        self.tracks: dict[str, Track] = {}
        self.up = False  # the connection stands
        self.alive: dict[str, bool] = {}  # by mid: whether packets come
        self._offered = False
        self._lock = asyncio.Lock()

    @property
    def flows(self) -> bool:
        """Whether any media comes."""
        return self.up and any(self.alive.values())

    def add(self, asked: Any) -> None:
        """The client will publish a track (`AddTrackRequest`)."""
        if asked.sid in self.tracks or asked.type not in (0, 1):
            return  # a second codec of a track: VP8 is all there is
        unoffered = [t.sid for t in self.tracks.values() if not t.mid]
        if len(self.tracks) >= limits.CALL_TRACKS_MAX and unoffered:
            del self.tracks[unoffered[0]]  # its client gave it up without a word
        if not self._may or len(self.tracks) >= limits.CALL_TRACKS_MAX:
            why = "NOT_ALLOWED" if not self._may else "LIMIT_EXCEEDED"
            refusal = wire.rtc.RequestResponse(
                reason=wire.rtc.RequestResponse.Reason.Value(why), add_track=asked
            )
            self._say(wire.dump(request_response=refusal))
            return
        info = wire.track_info(asked, "TR_" + secrets.token_urlsafe(9))
        cids = {asked.cid, *(codec.cid for codec in asked.simulcast_codecs)} - {""}
        self.tracks[info.sid] = Track(info, cids)
        answer = wire.rtc.TrackPublishedResponse(cid=asked.cid, track=info)
        self._say(wire.dump(track_published=answer))

    def mute(self, sid: str, muted: bool) -> None:
        """The client muted a track of its own, or speaks again."""
        track = self.tracks.get(sid)
        if track is not None and track.info.muted != muted and not (track.hushed and not muted):
            track.info.muted = muted
            if track.shown:
                self._changed()

    async def offer(self, told: Any) -> None:
        """The client's offer. Says `INVALID_PARAM`; raises what Janus raises."""
        found = sections(told.sdp)
        if not self._may and any(s.sends and s.kind != "application" for s in found):
            return
        async with self._lock:
            ended = self._match(found)
            sdp = await videoroom.publish(self.handle, told.sdp, self._offered)
            self._offered = True
        answer = wire.rtc.SessionDescription(type="answer", sdp=sdp, id=told.id)
        self._say(wire.dump(answer=answer))
        if self.show() or ended:
            self._changed()

    def _match(self, found: list[Section]) -> bool:
        """Which section carries which track; whether one that was shown is over."""
        sending = {s.mid: s for s in found if s.sends and s.track and s.kind != "application"}
        ended = False
        for track in list(self.tracks.values()):
            if track.mid and not self._goes_on(track, sending.get(track.mid)):
                del self.tracks[track.sid]
                self.alive.pop(track.mid, None)
                ended = ended or track.shown
        taken = {track.mid for track in self.tracks.values() if track.mid}
        free = [section for mid, section in sending.items() if mid not in taken]
        for section in free:
            track_of = self._waiting(section)
            if track_of is not None:
                track_of.info.mid = section.mid
                track_of.info.codecs[0].mid = section.mid
        return ended

    @staticmethod
    def _goes_on(track: Track, section: Section | None) -> bool:
        return section is not None and (section.track in track.cids or not track.cids)

    def _waiting(self, section: Section) -> Track | None:
        """The announced track that a section carries: by its name, or, where a browser made up
        another, the first of its kind."""
        waiting = [t for t in self.tracks.values() if not t.mid]
        for track in waiting:
            if section.track in track.cids:
                return track
        for track in waiting:
            if track.video == (section.kind == "video"):
                track.cids.add(section.track)
                return track
        return None

    def show(self) -> bool:
        """Shows what is sent by now to the others; whether there was something."""
        fresh = [t for t in self.tracks.values() if t.mid and not t.shown] if self.up else []
        for track in fresh:
            track.shown = True
        return bool(fresh)

    def hear(self, message: Event) -> None:
        """What Janus says of the connection."""
        kind = message.get("janus")
        if kind == "webrtcup":
            self.up = True
            if self.show():
                self._changed()
        elif kind == "media":
            self.alive[str(message.get("mid", ""))] = bool(message.get("receiving"))
        elif kind == "hangup":
            self.up = False
            self.alive.clear()

    def shown(self) -> list[Track]:
        """The tracks that others may receive."""
        return [track for track in self.tracks.values() if track.shown]

    def want(self, track: Track, wanted: list[tuple[int, bool]], now: float) -> None:
        """Asks the client for the layers that somebody looks at: for more at once, for less when
        nobody has looked for a while."""
        if track.told == wanted:
            track.less_since = 0.0
            return
        if track.told is not None and all(
            before >= after for before, after in _pairs(track, wanted)
        ):
            track.less_since = track.less_since or now
            if now - track.less_since < LESS_S:
                return
        track.told, track.less_since = wanted, 0.0
        self._say(wire.qualities(track.sid, wanted))


def _pairs(track: Track, wanted: list[tuple[int, bool]]) -> list[tuple[bool, bool]]:
    return [(old[1], new[1]) for old, new in zip(track.told or (), wanted, strict=True)]
