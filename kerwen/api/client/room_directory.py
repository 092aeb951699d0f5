"""Aliases and the published directory (directory.yaml, list_public_rooms.yaml)."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.directory import PAGE_MAX, Directory, Search
from kerwen.rooms.actions.read import Who

_C = "/_matrix/client/v3"
_TERM_MAX = 255
_TYPES_MAX = 100


class _Target(msgspec.Struct):
    room_id: str


class _Visibility(msgspec.Struct):
    visibility: str = "public"


class _Filter(msgspec.Struct):
    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class _Query(msgspec.Struct):
    limit: int | None = None
    since: str | None = None
    filter: _Filter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


class RoomDirectoryApi:
    """Handlers of names for rooms and of their list."""

    def __init__(self, directory: Directory, server_name: str) -> None:
        self._directory = directory
        self._server_name = server_name

    def routes(self) -> list[Route]:
        alias = f"{_C}/directory/room/{{alias}}"
        shown = f"{_C}/directory/list/room/{{room_id}}"
        rooms = f"{_C}/publicRooms"
        names, listed = "CS #room-aliases", "CS #published-room-directory"
        anyone, write = Access.ANYONE, Cost.WRITE
        return [
            Route("GET", alias, self.find, anyone, spec=names),
            Route("PUT", alias, self.add, cost=write, spec=names, suspended=False),
            Route("DELETE", alias, self.remove, cost=write, spec=names),
            Route("GET", f"{_C}/rooms/{{room_id}}/aliases", self.of_room, spec=names),
            Route("GET", shown, self.visibility, anyone, spec=listed),
            Route("PUT", shown, self.publish, cost=write, spec=listed, suspended=False),
            Route("GET", rooms, self.browse, anyone, spec=listed),
            Route("POST", rooms, self.search, spec=listed),
        ]

    async def find(self, request: Request) -> Any:
        """GET /_matrix/client/v3/directory/room/{roomAlias}"""
        room_id, servers = await self._directory.find(request.params["alias"])
        return {"room_id": room_id, "servers": servers}

    async def add(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/directory/room/{roomAlias}"""
        target = request.json(_Target)
        await self._directory.add(
            _who(request), request.params["alias"], target.room_id, request.caller.service
        )
        return b"{}"

    async def remove(self, request: Request) -> Any:
        """DELETE /_matrix/client/v3/directory/room/{roomAlias}"""
        caller = request.caller
        await self._directory.remove(
            _who(request), request.params["alias"], caller.admin, caller.service
        )
        return b"{}"

    async def of_room(self, request: Request) -> Any:
        """GET /_matrix/client/v3/rooms/{roomId}/aliases"""
        found = await self._directory.of_room(_who(request), request.params["room_id"])
        return {"aliases": found}

    async def visibility(self, request: Request) -> Any:
        """GET /_matrix/client/v3/directory/list/room/{roomId}"""
        shown = await self._directory.published(request.params["room_id"])
        return {"visibility": "public" if shown else "private"}

    async def publish(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/directory/list/room/{roomId}"""
        visibility = request.json(_Visibility).visibility
        if visibility not in ("public", "private"):
            raise Refused(Reason.INVALID_PARAM, "visibility is public or private")
        await self._directory.publish(
            _who(request),
            request.params["room_id"],
            visibility == "public",
            request.caller.admin,
        )
        return b"{}"

    async def browse(self, request: Request) -> Any:
        """GET /_matrix/client/v3/publicRooms"""
        self._check_server(request)
        limit = request.int_query("limit", 0, 0, PAGE_MAX)
        return await self._found(Search(limit, request.query("since")))

    async def search(self, request: Request) -> Any:
        """POST /_matrix/client/v3/publicRooms"""
        self._check_server(request)
        asked = request.json(_Query)
        if asked.third_party_instance_id is not None and asked.include_all_networks:
            raise Refused(Reason.INVALID_PARAM, "One network or all networks, not both")
        if asked.limit is not None and asked.limit < 0:
            raise Refused(Reason.INVALID_PARAM, "limit must be at least 0")
        chosen = asked.filter or _Filter()
        if len(chosen.generic_search_term or "") > _TERM_MAX:
            raise Refused(Reason.TOO_LARGE, "The search term is too long")
        if len(chosen.room_types or ()) > _TYPES_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many room types")
        limit = min(asked.limit or 0, PAGE_MAX)
        return await self._found(
            Search(
                limit,
                asked.since,
                chosen.generic_search_term,
                chosen.room_types,
                asked.third_party_instance_id,
                asked.include_all_networks,
            )
        )

    async def _found(self, search: Search) -> dict[str, Any]:
        found = await self._directory.page(search)
        answer: dict[str, Any] = {
            "chunk": found.chunk,
            "total_room_count_estimate": found.total,
        }
        if found.next_batch is not None:
            answer["next_batch"] = found.next_batch
        if found.prev_batch is not None:
            answer["prev_batch"] = found.prev_batch
        return answer

    def _check_server(self, request: Request) -> None:
        server = request.query("server")
        if server and server != self._server_name:
            raise Refused(Reason.NOT_FOUND, "This server does not federate yet")


def _who(request: Request) -> Who:
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)
