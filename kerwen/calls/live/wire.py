"""LiveKit's messages as we write them. Imported with the first call: protobuf costs 9 MB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from livekit.protocol import models
from livekit.protocol import rtc as signals

from kerwen.base import limits
from kerwen.calls.token import Grant

m: Any = models
rtc: Any = signals

SERVER: Final = m.ServerInfo(
    edition=m.ServerInfo.Standard, version="1.8.0", protocol=15, node_id="kerwen"
)
PING_S: Final = 5
PING_TIMEOUT_S: Final = 15
CODECS: Final = ("video/VP8", "audio/opus")
_TEXT_MAX: Final = 200  # characters of a name that a client gives
_LAYERS_MAX: Final = 3

Reason = m.DisconnectReason
Action = rtc.LeaveRequest.Action


def read(message: bytes) -> Any:
    """A client's request. Raises `ValueError`."""
    from google.protobuf.message import DecodeError

    try:
        return rtc.SignalRequest.FromString(message)
    except DecodeError:
        raise ValueError("no request of LiveKit's") from None


def leave(action: int, reason: int) -> bytes:
    """Goodbye: for good (DISCONNECT), or to come anew (RECONNECT)."""
    told = rtc.LeaveRequest(action=action, reason=reason, can_reconnect=action != 0)
    return dump(leave=told)


def dump(**what: Any) -> bytes:
    """One response."""
    return bytes(rtc.SignalResponse(**what).SerializeToString())


def ice_servers(turn: dict[str, Any]) -> list[Any]:
    """The TURN servers of a pass (`Turn.pass_for`)."""
    if not turn:
        return []
    server = rtc.ICEServer(
        urls=turn["uris"], username=turn["username"], credential=turn["password"]
    )
    return [server]


def permission(grant: Grant) -> Any:
    """What a participant may do. Data channels lead nowhere: Janus cannot send on them."""
    return m.ParticipantPermission(
        can_subscribe=True,
        can_publish=grant.publishes,
        can_publish_data=False,
        can_update_metadata=False,
    )


def track_info(asked: Any, sid: str) -> Any:
    """The track that a client will publish (`AddTrackRequest`), as others are told of it."""
    video = asked.type == m.TrackType.VIDEO
    layers = sorted(asked.layers, key=lambda layer: int(layer.quality))[:_LAYERS_MAX]
    mime = CODECS[0] if video else CODECS[1]
    cids = [c.cid for c in asked.simulcast_codecs if c.cid] or [asked.cid]
    return m.TrackInfo(
        sid=sid,
        type=asked.type,
        name=asked.name[:_TEXT_MAX],
        muted=asked.muted,
        width=asked.width,
        height=asked.height,
        simulcast=len(layers) > 1,
        disable_dtx=asked.disable_dtx,
        source=asked.source,
        layers=layers,
        mime_type=mime,
        codecs=[m.SimulcastCodecInfo(mime_type=mime, cid=cids[0], layers=layers)],
        stereo=asked.stereo,
        disable_red=True,
        encryption=asked.encryption,
        stream=asked.stream[:_TEXT_MAX],
    )


def sizes(info: Any) -> list[tuple[int, int]]:
    """The sizes of a track's layers, the smallest first."""
    return [(layer.width, layer.height) for layer in info.layers]


def room(name: str, sid: str, people: int, began_ms: int) -> Any:
    """The call as clients see it."""
    return m.Room(
        sid=sid,
        name=name,
        max_participants=limits.CALL_PEOPLE_MAX,
        creation_time=began_ms // 1000,
        creation_time_ms=began_ms,
        num_participants=people,
        enabled_codecs=[m.Codec(mime=mime) for mime in CODECS],
    )


def join(
    call: Any, own: Any, others: Iterable[Any], turn: dict[str, Any], relay_only: bool
) -> bytes:
    """The first message to a participant."""
    answer = rtc.JoinResponse(
        room=call,
        participant=own,
        other_participants=others,
        server_version=SERVER.version,
        server_info=SERVER,
        ice_servers=ice_servers(turn),
        subscriber_primary=True,
        client_configuration=_client(relay_only),
        ping_timeout=PING_TIMEOUT_S,
        ping_interval=PING_S,
        sif_trailer=b"kerwen",
        enabled_publish_codecs=[m.Codec(mime=mime) for mime in CODECS],
    )
    return dump(join=answer)


def reconnect(turn: dict[str, Any], relay_only: bool) -> bytes:
    """The first message on a line that takes up an old one."""
    answer = rtc.ReconnectResponse(
        ice_servers=ice_servers(turn),
        client_configuration=_client(relay_only),
        server_info=SERVER,
    )
    return dump(reconnect=answer)


def _client(relay_only: bool) -> Any:
    on = m.ClientConfigSetting.ENABLED
    relay = on if relay_only else m.ClientConfigSetting.UNSET
    return m.ClientConfiguration(resume_connection=on, force_relay=relay)


def description(kind: str, sdp: str, tracks: dict[str, str]) -> Any:
    """An offer or an answer; `tracks` are sids by mid."""
    return rtc.SessionDescription(type=kind, sdp=sdp, mid_to_track_id=tracks)


def qualities(sid: str, wanted: list[tuple[int, bool]]) -> bytes:
    """Which layers of a track anybody looks at."""
    told = [rtc.SubscribedQuality(quality=q, enabled=on) for q, on in wanted]
    codec = rtc.SubscribedCodec(codec="vp8", qualities=told)
    answer = rtc.SubscribedQualityUpdate(
        track_sid=sid, subscribed_qualities=told, subscribed_codecs=[codec]
    )
    return dump(subscribed_quality_update=answer)


def stream_states(paused: dict[tuple[str, str], bool]) -> bytes:
    """Which tracks we hold back, by (participant, track), since the line is narrow."""
    infos = [
        rtc.StreamStateInfo(
            participant_sid=owner,
            track_sid=track,
            state=rtc.StreamState.PAUSED if held else rtc.StreamState.ACTIVE,
        )
        for (owner, track), held in paused.items()
    ]
    return dump(stream_state_update=rtc.StreamStateUpdate(stream_states=infos))


def speakers(levels: dict[str, float]) -> bytes:
    """Who speaks now (above 0) or no more (0)."""
    told = [m.SpeakerInfo(sid=s, level=level, active=level > 0) for s, level in levels.items()]
    return dump(speakers_changed=rtc.SpeakersChanged(speakers=told))


def quality_of(sid: str, good: bool) -> bytes:
    """How a participant's own line is."""
    quality = m.ConnectionQuality.EXCELLENT if good else m.ConnectionQuality.POOR
    info = rtc.ConnectionQualityInfo(
        participant_sid=sid, quality=quality, score=5.0 if good else 2.0
    )
    return dump(connection_quality=rtc.ConnectionQualityUpdate(updates=[info]))
