"""One participant of a call: its line to us, what it says on it, and when it is gone."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from kerwen.base import limits
from kerwen.base.errors import Refused, Unavailable
from kerwen.calls.layers import Setting
from kerwen.calls.live import wire
from kerwen.calls.live.publishing import Publishing, Track
from kerwen.calls.live.receiving import Receiving, Source
from kerwen.calls.sfu.janus import Event, JanusError
from kerwen.calls.token import LIFE_S, Grant
from kerwen.net.websocket import POLICY, WebSocket

if TYPE_CHECKING:
    from kerwen.calls.live.call import Call

log = logging.getLogger("kerwen.calls")

SILENT_S: Final = 20.0  # without a word on a line that seems to stand
LOST_S: Final = 10.0  # the line broke, but its media still comes
DEAD_S: Final = 0.5  # the line broke and no media comes
WATCHER_S: Final = 4.0  # the line of somebody who sent nothing broke
RENEW_S: Final = LIFE_S / 3  # between two fresh tokens


class Peer:
    """A participant. Made by its call, which also ends it."""

    publishing: Publishing
    receiving: Receiving

    def __init__(self, call: Call, grant: Grant, account_no: int, joined_ms: int) -> None:
        self.call = call
        self.grant = grant
        self.account_no = account_no
        self.sid = "PA_" + secrets.token_urlsafe(9)
        self.joined_ms = joined_ms
        self.gone = False
        self.broken = False  # the connections are lost: it has to come anew
        self._version = 0
        self._socket: WebSocket | None = None
        self._heard = time.monotonic()
        self._lost_at = 0.0
        self._renewed = time.monotonic()
        self._allowance = float(limits.CALL_MESSAGES_BURST)
        self._counted = time.monotonic()
        self.spoke = 0.0

    async def connect(self, automatic: bool) -> None:
        """Makes its two connections. Raises what Janus raises."""
        call = self.call
        sending = await call.janus.attach(self._hear_sending)
        self.publishing = Publishing(sending, self.grant.publishes, self.say, self._changed)
        try:
            dummy = await call.place.enter(sending, self.sid)
            receiving = await call.janus.attach(self._hear_receiving)
        except BaseException:
            sending.detach()
            raise
        self.receiving = Receiving(receiving, self.say, self._sources, self.fail, automatic)
        try:
            await self.receiving.begin(call.place, dummy)
        except BaseException:
            self.close_connections()
            raise

    def close_connections(self) -> None:
        """Ends both connections."""
        self.receiving.stop()
        self.publishing.handle.detach()

    # --- what others see

    def info(self, own: bool = False) -> Any:
        """The participant as others are told of it; itself is told of all its tracks."""
        publishing = self.publishing
        tracks = publishing.tracks.values() if own else publishing.shown()
        state = wire.m.ParticipantInfo.State
        return wire.m.ParticipantInfo(
            sid=self.sid,
            identity=self.grant.identity,
            name=self.grant.user_id,
            state=state.DISCONNECTED if self.gone else state.ACTIVE,
            joined_at=self.joined_ms // 1000,
            joined_at_ms=self.joined_ms,
            permission=wire.permission(self.grant),
            is_publisher=bool(publishing.tracks),
            tracks=[track.info for track in tracks if own or track.shown],
            version=self._version,
        )

    def _changed(self) -> None:
        """Its tracks are others than before."""
        self._version += 1
        self.call.tell_of(self)

    def _sources(self) -> dict[str, Source]:
        return {
            track.sid: Source(other.sid, track.mid, track.sid, track.info, other.spoke)
            for other in self.call.others(self)
            for track in other.publishing.shown()
        }

    def track(self, sid: str) -> Track | None:
        """One of its tracks."""
        return self.publishing.tracks.get(sid)

    # --- its line

    def say(self, message: bytes) -> None:
        """Sends it a message; lost where the line is."""
        if self._socket is not None:
            self._socket.send(message)

    async def serve(self, socket: WebSocket) -> None:
        """Reads a line of it to the end of the line."""
        self._take(socket)
        self._heard, self._lost_at = time.monotonic(), 0.0
        try:
            await self._read_all(socket)
        finally:  # also after a fault of ours: nobody stays in a call by it
            if self._socket is socket:
                self._socket, self._lost_at = None, time.monotonic()

    async def _read_all(self, socket: WebSocket) -> None:
        while (message := await socket.receive()) is not None:
            self._heard = time.monotonic()
            if not self._may_speak():
                socket.close(POLICY, "too many messages")
                return
            if isinstance(message, bytes) and not await self._read(message):
                socket.close()
                return

    def _take(self, socket: WebSocket) -> None:
        before, self._socket = self._socket, socket
        if before is not None and before is not socket:
            before.close()

    def _may_speak(self) -> bool:
        now = self._heard
        more = (now - self._counted) * limits.CALL_MESSAGES_RATE
        self._allowance = min(self._allowance + more, limits.CALL_MESSAGES_BURST) - 1
        self._counted = now
        return self._allowance >= 0

    async def _read(self, message: bytes) -> bool:
        """Does what the client asks; False where that ends the line."""
        try:
            return await self._do(wire.read(message))
        except (ValueError, Refused) as error:
            log.info("a participant's message made no sense", extra={"why": str(error)})
            return False
        except (JanusError, Unavailable) as error:
            self.fail(str(error))
            return True

    async def _do(self, request: Any) -> bool:
        kind = request.WhichOneof("message")
        if kind == "leave":
            self.call.part(self, wire.Reason.CLIENT_INITIATED)
            return False
        if kind == "ping_req":
            pong = wire.rtc.Pong(
                last_ping_timestamp=request.ping_req.timestamp, timestamp=time.time_ns() // 10**6
            )
            self.say(wire.dump(pong_resp=pong))
        elif kind == "ping":
            self.say(wire.dump(pong=request.ping))
        elif self.gone or self.broken:
            pass
        elif kind in _SENDING:
            await self._do_sending(kind, request)
        elif kind in _RECEIVING:
            self._do_receiving(kind, request)
        elif kind == "trickle":
            self._trickle(request.trickle)
        elif kind == "update_metadata":
            told = wire.rtc.RequestResponse(
                request_id=request.update_metadata.request_id,
                reason=wire.rtc.RequestResponse.Reason.NOT_ALLOWED,
            )
            self.say(wire.dump(request_response=told))
        return True

    async def _do_sending(self, kind: str, request: Any) -> None:
        if kind == "add_track":
            self.publishing.add(request.add_track)
        elif kind == "mute":
            self.publishing.mute(request.mute.sid, request.mute.muted)
        else:
            await self.publishing.offer(request.offer)

    def _do_receiving(self, kind: str, request: Any) -> None:
        if kind == "answer":
            if len(request.answer.sdp) <= limits.CALL_SDP_MAX:
                self.receiving.take_answer(request.answer.sdp)
        elif kind == "subscription":
            asked = request.subscription
            sids = [*asked.track_sids]
            for group in asked.participant_tracks:
                sids += group.track_sids
            self.receiving.subscribe(sids, asked.subscribe)
        else:
            asked = request.track_setting
            setting = Setting(asked.disabled, asked.quality, asked.width, asked.height)
            self.receiving.set(list(asked.track_sids), setting)

    def _trickle(self, told: Any) -> None:
        import orjson

        sending = told.target == wire.rtc.SignalTarget.PUBLISHER
        handle = self.publishing.handle if sending else self.receiving.handle
        if told.final and not told.candidateInit:
            handle.trickle(None)
            return
        if len(told.candidateInit) > 2_000:
            raise ValueError("a candidate of that size")
        found = orjson.loads(told.candidateInit or "null")
        if isinstance(found, dict) and isinstance(found.get("candidate"), str):
            kept = ("candidate", "sdpMid", "sdpMLineIndex")
            handle.trickle({key: found[key] for key in kept if found.get(key) is not None})

    # --- coming back, going away

    async def resume(self, socket: WebSocket, turn: dict[str, Any]) -> None:
        """It is back on another line; its connections stand."""
        socket.send(wire.reconnect(turn, self.call.relay_only))
        others = [other.info() for other in self.call.others(self)]
        update = wire.rtc.ParticipantUpdate(participants=[self.info(own=True), *others])
        socket.send(wire.dump(update=update))
        self._take(socket)
        self.receiving.resume()
        await self.serve(socket)

    def fail(self, why: str) -> None:
        """Its connections are of no use any more: it shall come anew."""
        if self.gone or self.broken:
            return
        self.broken = True
        log.info("a participant has to come anew", extra={"why": why})
        self.dismiss(wire.Reason.MIGRATION, wire.Action.RECONNECT)
        self.call.part(self, wire.Reason.MEDIA_FAILURE)

    def dismiss(self, reason: int, action: int = 0) -> None:
        """Tells it that it is out, and hangs up."""
        self.say(wire.leave(action, reason))
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    def look(self, now: float) -> None:
        """Is it gone? Is its token old? Is its line better?"""
        if self._socket is None:
            patience = LOST_S if self.publishing.flows else DEAD_S
            if not self.publishing.tracks:
                patience = WATCHER_S
            if now - self._lost_at > patience:
                self.call.part(self, wire.Reason.SIGNAL_CLOSE)
            return
        if now - self._heard > SILENT_S:
            self._socket.cut()
            return
        if now - self._renewed > RENEW_S:
            self._renewed = now
            self.say(wire.dump(refresh_token=self.call.token(self.grant)))
        if self.receiving.line.look(now):
            self.receiving.look()

    # --- what Janus says

    def _hear_sending(self, message: Event) -> None:
        data = message.get("plugindata", {}).get("data", {})
        kind = data.get("videoroom")
        if kind in ("talking", "stopped-talking") and data.get("id") == self.sid:
            below = abs(float(data.get("audio-level-dBov-avg", 127)))
            self.call.speaks(self, 10 ** (-below / 20) if kind == "talking" else 0.0)
            return
        if message.get("janus") == "slowlink" and message.get("uplink"):
            self.call.poor_line(self)
        self.publishing.hear(message)
        if message.get("janus") == "hangup" and self.publishing.tracks:
            self.fail("Janus hung up on what it sends")

    def _hear_receiving(self, message: Event) -> None:
        self.receiving.hear(message)
        if message.get("janus") == "hangup":
            self.fail("Janus hung up on what it receives")


_SENDING: Final = frozenset({"add_track", "mute", "offer"})
_RECEIVING: Final = frozenset({"answer", "subscription", "track_setting"})
