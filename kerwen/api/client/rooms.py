"""Making rooms, coming and going (CS #rooms)."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.api.http import Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.create_room import CreateRoom, Wish
from kerwen.rooms.actions.membership import Membership
from kerwen.rooms.actions.read import Read

_C = "/_matrix/client/v3"
_REASON_MAX = 4_096


class _Reasoned(msgspec.Struct):
    reason: str | None = None
    third_party_signed: dict[str, Any] | None = None


class _Target(msgspec.Struct):
    user_id: str
    reason: str | None = None


class _Invite(msgspec.Struct):
    user_id: str | None = None
    reason: str | None = None
    id_server: str | None = None
    medium: str | None = None
    address: str | None = None


class RoomsApi:
    """Handlers of rooms and memberships."""

    def __init__(self, create: CreateRoom, membership: Membership, read: Read) -> None:
        self._create = create
        self._membership = membership
        self._read = read

    def routes(self) -> list[Route]:
        room = f"{_C}/rooms/{{room_id}}"
        write: dict[str, Any] = {"cost": Cost.WRITE, "spec": "CS #room-membership"}
        return [
            Route(
                "POST",
                f"{_C}/createRoom",
                self.create,
                cost=Cost.HEAVY,
                spec="CS #creation",
                suspended=False,
            ),
            Route("GET", f"{_C}/joined_rooms", self.joined, spec="CS #get-joined-rooms"),
            Route("POST", f"{_C}/join/{{room}}", self.join, suspended=False, **write),
            Route("POST", f"{room}/join", self.join_id, suspended=False, **write),
            Route("POST", f"{room}/leave", self.leave, **write),
            Route("POST", f"{room}/forget", self.forget, **write),
            Route("POST", f"{room}/invite", self.invite, suspended=False, **write),
            Route("POST", f"{room}/kick", self.kick, suspended=False, **write),
            Route("POST", f"{room}/ban", self.ban, suspended=False, **write),
            Route("POST", f"{room}/unban", self.unban, suspended=False, **write),
            Route("POST", f"{_C}/knock/{{room}}", self.knock, suspended=False, **write),
        ]

    async def create(self, request: Request) -> Any:
        """POST /_matrix/client/v3/createRoom"""
        room_id = await self._create(
            _who(request), request.json(Wish), service=request.caller.service
        )
        return {"room_id": room_id}

    async def joined(self, request: Request) -> Any:
        """GET /_matrix/client/v3/joined_rooms"""
        return {"joined_rooms": await self._read.joined_rooms(request.caller.account_no)}

    async def join(self, request: Request) -> Any:
        """POST /_matrix/client/v3/join/{roomIdOrAlias}"""
        asked = request.json(_Reasoned)
        room_id = await self._membership.resolve(request.params["room"])
        await self._membership.join(_who(request), room_id, _reason(asked.reason))
        return {"room_id": room_id}

    async def join_id(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/join"""
        asked = request.json(_Reasoned)
        room_id = request.params["room_id"]
        await self._membership.join(_who(request), room_id, _reason(asked.reason))
        return {"room_id": room_id}

    async def leave(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/leave"""
        asked = request.json(_Reasoned)
        await self._membership.leave(
            _who(request), request.params["room_id"], _reason(asked.reason)
        )
        return b"{}"

    async def forget(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/forget"""
        await self._membership.forget(request.caller.account_no, request.params["room_id"])
        return b"{}"

    async def invite(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/invite"""
        asked = request.json(_Invite)
        if asked.user_id is None:
            if asked.medium is not None or asked.address is not None:
                raise Refused(Reason.THREEPID_UNSUPPORTED, "There is no identity server here")
            raise Refused(Reason.MISSING_PARAM, "Missing user_id")
        await self._membership.invite(
            _who(request), request.params["room_id"], asked.user_id, _reason(asked.reason)
        )
        return b"{}"

    async def kick(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/kick"""
        return await self._remove(request, "leave", ("join", "invite", "knock"))

    async def ban(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/ban"""
        return await self._remove(request, "ban", None)

    async def unban(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/unban"""
        return await self._remove(request, "leave", ("ban",))

    async def _remove(
        self, request: Request, membership: str, only_from: tuple[str, ...] | None
    ) -> bytes:
        asked = request.json(_Target)
        await self._membership.remove(
            _who(request),
            request.params["room_id"],
            asked.user_id,
            membership,
            _reason(asked.reason),
            only_from,
        )
        return b"{}"

    async def knock(self, request: Request) -> Any:
        """POST /_matrix/client/v3/knock/{roomIdOrAlias}"""
        asked = request.json(_Reasoned)
        room_id = await self._membership.resolve(request.params["room"])
        await self._membership.knock(_who(request), room_id, _reason(asked.reason))
        return {"room_id": room_id}


def _who(request: Request) -> tuple[str, int]:
    return request.caller.user_id, request.caller.account_no


def _reason(text: str | None) -> str | None:
    if text is not None and len(text) > _REASON_MAX:
        raise Refused(Reason.TOO_LARGE, "The reason is too long")
    return text
