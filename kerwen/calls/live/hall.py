"""All calls of this server: who comes in, who comes back, and what happens when Janus goes.

Nothing of a call outlives the process or Janus: clients come anew, and it is built again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.calls import token
from kerwen.calls.sfu.janus import Janus, JanusError
from kerwen.calls.token import Grant
from kerwen.net.websocket import WebSocket
from kerwen.storage.database import Change, Kind

if TYPE_CHECKING:
    from kerwen.calls.live.call import Call
    from kerwen.calls.live.peer import Peer

log = logging.getLogger("kerwen.calls")

LOOK_S: Final = 0.25
JANUS_GONE_S: Final = 60.0  # how long those whose Janus went away are kept waiting
JANUS_WAIT_S: Final = 4.0  # how long who comes in waits for Janus to be back


class Presence(Protocol):
    """Hears who is in which call, by (call, identity): the keeper of handed-over leaves."""

    def came(self, call: str, identity: str) -> None: ...
    def went(self, call: str, identity: str) -> None: ...


class Hall:
    """Every call. `may_stay` says whether a grant's owner may still be there, and the numbers of
    the Matrix room and the account; `turn` makes a TURN pass for an identity."""

    def __init__(
        self,
        janus: Janus,
        secret: bytes,
        may_stay: Callable[[Grant], Awaitable[tuple[int, int]]],
        turn: Callable[[str], dict[str, Any]],
        presence: Presence,
        clock: Clock,
        relay_only: bool = False,
    ) -> None:
        self.janus = janus
        self._secret = secret
        self._may_stay = may_stay
        self._turn = turn
        self._presence = presence
        self._clock = clock
        self._relay_only = relay_only
        self.calls: dict[str, Call] = {}
        self._stranded: list[Peer] = []  # their Janus went away
        self._doubted: set[tuple[Kind, int]] = set()  # rooms, accounts that changed
        self._janus_went = 0.0
        self._busy = asyncio.Event()
        self.joined = 0
        self.resumed = 0
        janus.on_up = self._send_home
        janus.on_down = self._down

    @property
    def janus_lost(self) -> int:
        """How often Janus went away."""
        return self.janus.lost

    # --- who comes in

    async def admit(self, text: str) -> Grant:
        """The grant of a token, if it still holds and Janus is there. Says `UNKNOWN_TOKEN`,
        `EXPIRED_TOKEN`, `FORBIDDEN`, `LIMIT_EXCEEDED`; raises `Unavailable`."""
        grant = token.read(text, self._secret, self._clock() // 1000)
        await self._may_stay(grant)
        call = self.calls.get(grant.call)
        if call is None and len(self.calls) >= limits.CALLS_MAX:
            raise Refused(Reason.LIMIT_EXCEEDED, "There are too many calls")
        people = len(call.peers) + call.entering if call is not None else 0
        if call is not None and people >= limits.CALL_PEOPLE_MAX and not call.find(grant.identity):
            raise Refused(Reason.LIMIT_EXCEEDED, "The call is full")
        if not self.janus.up.is_set():
            try:
                await asyncio.wait_for(self.janus.up.wait(), JANUS_WAIT_S)
            except TimeoutError:
                raise Unavailable(Unready.CALLS_AWAY) from None
        return grant

    def make_token(self, grant: Grant) -> str:
        """A token for a grant."""
        return token.make(grant, self._secret, self._clock() // 1000)

    async def serve(self, socket: WebSocket, grant: Grant, automatic: bool) -> None:
        """A participant's first line, to its end."""
        from kerwen.calls.live import wire

        try:
            peer = await self._enter(grant, automatic)
        except (JanusError, Unavailable, Refused) as error:
            log.warning("nobody could come in", extra={"why": str(error)})
            socket.close(1013)
            return
        call = peer.call
        others = [other.info() for other in call.others(peer)]
        room = wire.room(call.name, call.sid, len(call.peers), call.began_ms)
        own, turn = peer.info(own=True), self._turn(grant.user_id)
        socket.send(wire.join(room, own, others, turn, self._relay_only))
        peer.receiving.run()
        await peer.serve(socket)

    async def _enter(self, grant: Grant, automatic: bool) -> Peer:
        from kerwen.calls.live.call import Call

        call = self.calls.get(grant.call)
        if call is None:
            make = self.make_token
            call = Call(grant.call, self.janus, make, self._parted, self._relay_only, self._clock())
            self.calls[grant.call] = call
            self._busy.set()
        call.entering += 1
        try:
            return await self._bring_in(call, grant, automatic)
        finally:
            call.entering -= 1
            self._end_if_empty(call)

    async def _bring_in(self, call: Call, grant: Grant, automatic: bool) -> Peer:
        from kerwen.calls.live import wire
        from kerwen.calls.live.peer import Peer

        call.room_no, account_no = await self._may_stay(grant)
        await call.open()
        peer = Peer(call, grant, account_no, self._clock())
        await peer.connect(automatic)
        before = call.find(grant.identity)
        if before is not None:
            before.dismiss(wire.Reason.DUPLICATE_IDENTITY)
            call.part(before, wire.Reason.DUPLICATE_IDENTITY)
        if len(call.peers) >= limits.CALL_PEOPLE_MAX or self.calls.get(grant.call) is not call:
            peer.close_connections()
            raise Refused(Reason.LIMIT_EXCEEDED, "The call is full")
        self._presence.came(grant.call, grant.identity)
        call.enter(peer)
        self.joined += 1
        return peer

    async def resume(self, socket: WebSocket, grant: Grant, sid: str) -> None:
        """A participant is back on another line; whoever is not known any more comes anew."""
        from kerwen.calls.live import wire

        call = self.calls.get(grant.call)
        peer = call.peers.get(sid) if call is not None else None
        if peer is None or peer.grant.identity != grant.identity or peer.broken:
            socket.send(wire.leave(wire.Action.RECONNECT, wire.Reason.STATE_MISMATCH))
            socket.close()
            return
        self.resumed += 1
        await peer.resume(socket, self._turn(grant.user_id))

    def _parted(self, peer: Peer) -> None:
        self._presence.went(peer.grant.call, peer.grant.identity)
        self._end_if_empty(peer.call)

    def _end_if_empty(self, call: Call) -> None:
        if not call.peers and not call.entering and self.calls.get(call.name) is call:
            del self.calls[call.name]
            call.end()

    # --- moderation

    def find(self, call: str, identity: str) -> Peer:
        """A participant. Says `NOT_FOUND`."""
        found = self.calls.get(call)
        peer = found.find(identity) if found is not None else None
        if peer is None:
            raise Refused(Reason.NOT_FOUND, "Nobody of that name is in the call")
        return peer

    def remove(self, peer: Peer) -> None:
        """Puts somebody out of the call."""
        from kerwen.calls.live import wire

        peer.dismiss(wire.Reason.PARTICIPANT_REMOVED)
        peer.call.part(peer, wire.Reason.PARTICIPANT_REMOVED)

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """The feed: whoever leaves a Matrix room, logs out or is locked out leaves the call."""
        if self.calls:
            kinds = (Kind.MEMBERSHIP, Kind.ACCOUNT)
            self._doubted.update((Kind(k), subject) for k, subject, _ in changes if k in kinds)

    async def _check_members(self) -> None:
        doubted, self._doubted = self._doubted, set()
        suspects = [
            peer
            for call in self.calls.values()
            for peer in call.peers.values()
            if (Kind.MEMBERSHIP, call.room_no) in doubted
            or (Kind.ACCOUNT, peer.account_no) in doubted
        ]
        for peer in suspects:
            try:
                await self._may_stay(peer.grant)
            except Refused:
                if not peer.gone:
                    self.remove(peer)
            except Unavailable:  # all are asked again at the next look
                self._doubted |= doubted
                return

    # --- time, and Janus

    async def work(self) -> None:
        """The worker that looks at all calls four times a second."""
        while True:
            if not self.calls and not self._stranded:
                self._busy.clear()
                await self._busy.wait()
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            if self._stranded and now - self._janus_went > JANUS_GONE_S:
                self._send_home()
            for call in list(self.calls.values()):
                call.look(now)
            if self._doubted:
                await self._check_members()

    def _down(self) -> None:
        calls, self.calls = list(self.calls.values()), {}
        for call in calls:
            for peer in call.peers.values():
                peer.broken = peer.gone = True
                peer.receiving.stop()
                self._stranded.append(peer)
        self._janus_went = time.monotonic()
        self._busy.set()
        log.warning("Janus is gone", extra={"people": len(self._stranded)})

    def _send_home(self) -> None:
        """Janus is back, or nobody waits for it any longer: all shall come anew."""
        stranded, self._stranded = self._stranded, []
        if not stranded:
            return
        from kerwen.calls.live import wire

        for peer in stranded:
            peer.dismiss(wire.Reason.MIGRATION, wire.Action.RECONNECT)
            self._presence.went(peer.grant.call, peer.grant.identity)

    def stop(self) -> None:
        """The server stops: all shall come anew, to whoever is here then."""
        for call in self.calls.values():
            from kerwen.calls.live import wire

            for peer in call.peers.values():
                peer.dismiss(wire.Reason.SERVER_SHUTDOWN, wire.Action.RECONNECT)
