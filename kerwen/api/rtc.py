"""Group calls: LiveKit's signalling, and the tokens of MatrixRTC that lead to it.

Clients first try LiveKit's newer path, `rtc/v1`; that there is no such route here is what makes
them take the older one, which is ours.
"""

# MSC4195 and its earlier form (lk-jwt-service); LiveKit's client protocol

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from kerwen.api.http import Access, Cost, Reply, Request, Route, Upgrade, token_of
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.calls.actions.admit import DEFAULT_SLOT, Admit
from kerwen.calls.actions.leaves import Leaves
from kerwen.calls.live.hall import Hall
from kerwen.calls.token import Grant, call_name
from kerwen.calls.transport import PREFIX
from kerwen.net.websocket import WebSocket

_MSC4195: Final = "/_matrix/client/unstable/io.element.msc4195/rtc/livekit"
_STABLE: Final = "/_matrix/client/v1/rtc/livekit"
_TRUE: Final = ("1", "true")


class Member(msgspec.Struct):
    """`member` of MatrixRTC, as clients send it."""

    id: str
    claimed_device_id: str = ""
    claimed_user_id: str = ""


class LegacyBody(msgspec.Struct):
    """The body of `POST /sfu/get`."""

    room: str
    openid_token: dict[str, Any]
    device_id: str
    delay_id: str = ""


class TokenBody(msgspec.Struct):
    """The body of `get_token`, of both forms."""

    room_id: str
    member: Member | None = None
    member_id: str = ""
    slot_id: str = DEFAULT_SLOT
    openid_token: dict[str, Any] | None = None
    server_name: str | None = None
    delay_id: str = ""


class RuleBody(msgspec.Struct):
    """The body of `POST /_kerwen/calls/rule`."""

    room_id: str
    identity: str
    action: str
    track_sid: str = ""
    slot_id: str = DEFAULT_SLOT


class RtcApi:
    """The routes. `url` is where LiveKit's clients connect, `ws://…` or `wss://…`; `number_of`
    says an account's number."""

    def __init__(
        self,
        hall: Hall,
        admit: Admit,
        leaves: Leaves,
        url: str,
        server_name: str,
        number_of: Callable[[str], Awaitable[int]],
    ) -> None:
        self._hall = hall
        self._admit = admit
        self._leaves = leaves
        self._url = url
        self._server_name = server_name
        self._number_of = number_of

    def routes(self) -> list[Route]:
        """The table."""
        anyone = Access.ANYONE
        spec = "LiveKit"
        found = [
            Route("GET", f"{PREFIX}/rtc", self.signal, anyone, Cost.WRITE, spec),
            Route("GET", f"{PREFIX}/rtc/validate", self.validate, anyone, Cost.WRITE, spec),
            Route("POST", f"{PREFIX}/sfu/get", self.sfu_get, anyone, Cost.WRITE, "MSC4195"),
            Route("POST", f"{PREFIX}/get_token", self.open_token, anyone, Cost.WRITE, "MSC4195"),
            Route(
                "POST",
                f"{PREFIX}/delegate_delayed_leave",
                self.open_leave,
                anyone,
                Cost.WRITE,
                "MSC4195",
            ),
            Route("POST", f"{PREFIX}/rule", self.rule, cost=Cost.WRITE, spec="docs/calls.md"),
        ]
        for base in (_STABLE, _MSC4195):
            found += [
                Route(
                    "POST",
                    f"{base}/get_token",
                    self.own_token,
                    cost=Cost.WRITE,
                    spec="MSC4195",
                    suspended=False,
                ),
                Route(
                    "POST",
                    f"{base}/delegate_delayed_leave",
                    self.own_leave,
                    cost=Cost.WRITE,
                    spec="MSC4195",
                ),
            ]
        return found

    # --- LiveKit's signalling

    async def signal(self, request: Request) -> Any:
        """GET /_kerwen/calls/rtc, a WebSocket"""
        grant = await self._hall.admit(token_of(request) or "")
        sid = request.query("sid", "") or ""
        automatic = request.query("auto_subscribe", "1") in _TRUE
        again = request.query("reconnect") in _TRUE

        async def serve(socket: WebSocket) -> None:
            if again:
                await self._hall.resume(socket, grant, sid)
            else:
                await self._hall.serve(socket, grant, automatic)

        return Upgrade(serve, message_max=limits.CALL_MESSAGE_MAX)

    async def validate(self, request: Request) -> Any:
        """GET /_kerwen/calls/rtc/validate"""
        await self._hall.admit(token_of(request) or "")
        return Reply(b"success")

    # --- tokens

    async def sfu_get(self, request: Request) -> Any:
        """POST /_kerwen/calls/sfu/get"""
        body = request.json(LegacyBody)
        user_id = await self._admit.proven(body.openid_token)
        grant = await self._admit.grant(user_id, body.room, DEFAULT_SLOT, body.device_id, None)
        await self._take_leave(grant, body.delay_id)
        return self._token(grant)

    async def open_token(self, request: Request) -> Any:
        """POST /_kerwen/calls/get_token"""
        body = request.json(TokenBody)
        user_id = await self._admit.proven(body.openid_token)
        grant = await self._grant(user_id, body, "")
        await self._take_leave(grant, body.delay_id)
        return self._token(grant)

    async def own_token(self, request: Request) -> Any:
        """POST /_matrix/client/v1/rtc/livekit/get_token"""
        body = request.json(TokenBody)
        if body.server_name not in (None, self._server_name):
            raise Refused(Reason.FORBIDDEN, "This server does not federate yet")
        grant = await self._grant(request.caller.user_id, body, request.caller.device_id)
        return self._token(grant)

    async def _grant(self, user_id: str, body: TokenBody, device_id: str) -> Grant:
        member = body.member or Member(body.member_id)
        device_id = member.claimed_device_id or device_id
        if member.claimed_user_id not in ("", user_id):
            raise Refused(Reason.FORBIDDEN, "The member is somebody else")
        return await self._admit.grant(user_id, body.room_id, body.slot_id, device_id, member.id)

    def _token(self, grant: Grant) -> dict[str, str]:
        return {"url": self._url, "jwt": self._hall.make_token(grant)}

    # --- leaves

    async def open_leave(self, request: Request) -> Any:
        """POST /_kerwen/calls/delegate_delayed_leave"""
        body = request.json(TokenBody)
        user_id = await self._admit.proven(body.openid_token)
        grant = await self._grant(user_id, body, "")
        await self._take_leave(grant, body.delay_id, needed=True)
        return b"{}"

    async def own_leave(self, request: Request) -> Any:
        """POST /_matrix/client/v1/rtc/livekit/delegate_delayed_leave"""
        body = request.json(TokenBody)
        grant = await self._grant(request.caller.user_id, body, request.caller.device_id)
        await self._take_leave(grant, body.delay_id, needed=True)
        return b"{}"

    async def _take_leave(self, grant: Grant, delay_id: str, needed: bool = False) -> None:
        if delay_id:
            user_no = await self._number_of(grant.user_id)
            await self._leaves.hand_over(user_no, grant, delay_id)
        elif needed:
            raise Refused(Reason.BAD_JSON, "The body needs a `delay_id`")

    # --- moderation

    async def rule(self, request: Request) -> Any:
        """POST /_kerwen/calls/rule"""
        body = request.json(RuleBody)
        peer = self._hall.find(call_name(body.room_id, body.slot_id), body.identity)
        caller = request.caller
        own = Grant("", body.room_id, "", caller.user_id, caller.device_id, False)
        await self._admit.may_stay(own)
        await self._admit.check_rules(own.user_id, body.room_id, peer.grant.user_id)
        if body.action == "remove":
            self._hall.remove(peer)
            return b"{}"
        if body.action not in ("mute", "unmute"):
            raise Refused(Reason.INVALID_PARAM, "The action is mute, unmute or remove")
        track = peer.track(body.track_sid)
        if track is None or not track.mid:
            raise Refused(Reason.NOT_FOUND, "There is no such track")
        await peer.call.hush(peer, track, body.action == "mute")
        return b"{}"
