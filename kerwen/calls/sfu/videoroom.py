"""What we ask of Janus' VideoRoom, in its words (janus.conf.meetecho.com/docs/videoroom.html)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kerwen.base import limits
from kerwen.calls.sfu.janus import Event, Handle, JanusError

RIDS = "lmh"  # LiveKit's clients list the smallest layer first
_OPUS, _VP8 = "opus", "vp8"


@dataclass(frozen=True, slots=True)
class Stream:
    """A section of a receiver's connection: its mid, and whose stream it carries ('' nobody's)."""

    mid: str
    feed: str
    feed_mid: str


@dataclass(frozen=True, slots=True)
class Place:
    """A room of Janus, and the secret that rules it."""

    room: str
    secret: str

    async def make(self, handle: Handle) -> None:
        """Makes the room, with a feed of nobody's so that a first receiver has what to receive."""
        await handle.ask(
            {
                "request": "create",
                "room": self.room,
                "secret": self.secret,
                "permanent": False,
                "is_private": True,
                "publishers": limits.CALL_PEOPLE_MAX + 1,  # and nobody
                "bitrate": limits.CALL_BITRATE_MAX,
                "bitrate_cap": True,
                "audiocodec": _OPUS,
                "videocodec": _VP8,
                "opus_fec": True,
                "opus_dtx": True,
                "audiolevel_ext": True,
                "audiolevel_event": True,
                "audio_active_packets": 25,
                "audio_level_average": 45,
                "transport_wide_cc_ext": True,
                "dummy_publisher": True,
                "dummy_streams": [{"codec": _OPUS}],
            }
        )

    async def end(self, handle: Handle) -> None:
        """Ends the room and all that is in it."""
        await handle.ask({"request": "destroy", "room": self.room, "secret": self.secret})

    async def enter(self, handle: Handle, name: str) -> str:
        """Comes in as somebody who may send; the name of nobody's feed."""
        data, _ = await handle.ask(
            {"request": "join", "ptype": "publisher", "room": self.room, "id": name}
        )
        dummy = [p["id"] for p in data.get("publishers", ()) if p.get("dummy")]
        if not dummy:
            raise JanusError(0, "the room has no feed of nobody's")
        return str(dummy[0])

    async def watch(
        self, handle: Handle, feed: str, take: Iterable[tuple[str, str]]
    ) -> tuple[list[Stream], Event | None]:
        """Comes in as somebody who receives nobody's feed and others' streams, `take` are (feed,
        its mid); and Janus' offer."""
        body = {
            "request": "join",
            "ptype": "subscriber",
            "room": self.room,
            "autoupdate": False,
            "use_msid": False,
            "streams": [{"feed": feed}, *({"feed": one, "mid": mid} for one, mid in take)],
        }
        data, jsep = await handle.ask(body)
        return streams_of(data), jsep

    async def hush(self, handle: Handle, name: str, mid: str, muted: bool) -> None:
        """Passes nothing more of a stream on, or again."""
        await handle.ask(
            {
                "request": "moderate",
                "room": self.room,
                "secret": self.secret,
                "id": name,
                "mid": mid,
                "mute": muted,
            }
        )


async def publish(handle: Handle, sdp: str, again: bool) -> str:
    """A client's offer of what it sends; Janus' answer."""
    body = {"request": "configure" if again else "publish"}
    offer = {"type": "offer", "sdp": sdp, "trickle": True, "rid_order": RIDS}
    _, jsep = await handle.ask(body, offer)
    if jsep is None:
        raise JanusError(0, "no answer to an offer")
    return str(jsep["sdp"])


async def start(handle: Handle, sdp: str) -> None:
    """A client's answer to Janus' offer."""
    await handle.ask({"request": "start"}, {"type": "answer", "sdp": sdp, "trickle": True})


async def restart(handle: Handle) -> Event | None:
    """Janus' offer of a new way (ICE restart) to a receiver."""
    _, jsep = await handle.ask({"request": "configure", "restart": True})
    return jsep


async def update(
    handle: Handle, take: Iterable[tuple[str, str]], leave: Iterable[str]
) -> tuple[list[Stream], Event | None]:
    """Receives other streams: `take` are (feed, its mid), `leave` mids of the receiver's."""
    body: Event = {"request": "update"}
    if taken := [{"feed": feed, "mid": mid} for feed, mid in take]:
        body["subscribe"] = taken
    if left := [{"sub_mid": mid} for mid in leave]:
        body["unsubscribe"] = left
    data, jsep = await handle.ask(body)
    return streams_of(data), jsep


async def send_of(handle: Handle, wishes: list[dict[str, Any]]) -> None:
    """Which streams are sent to a receiver, and which of their layers."""
    await handle.ask({"request": "configure", "streams": wishes})


def streams_of(data: Event) -> list[Stream]:
    """The sections that an answer tells of."""
    return [
        Stream(
            str(s.get("mid", "")),
            str(s.get("feed_id", "")) if s.get("active", True) else "",
            str(s.get("feed_mid", "")),
        )
        for s in data.get("streams", ())
    ]
