"""What application services ask of us, and what clients ask about their networks."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from kerwen.api.http import JSON_HEADERS, Cost, Reply, Request, Route
from kerwen.app_services import store
from kerwen.app_services.actions.lookup import Lookup
from kerwen.app_services.client import ServiceClient
from kerwen.app_services.registration import Service, Services
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.net.outgoing import Unanswered, Why
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Database

_C = "/_matrix/client"
_BODY_SHOWN_MAX = 4_096
_NETWORK_MAX = 255
_FIELDS_MAX = 50


class PingBody(msgspec.Struct):
    """What POST /appservice/{id}/ping takes."""

    transaction_id: str | None = None


class VisibilityBody(msgspec.Struct):
    """What PUT /directory/list/appservice/… takes."""

    visibility: str


class AppServicesApi:
    """The routes of appservice_ping.yaml, appservice_room_directory.yaml and
    third_party_lookup.yaml."""

    def __init__(
        self,
        services: Services,
        lookup: Lookup,
        client: ServiceClient,
        db: Database,
        names: Names,
        clock: Clock,
    ) -> None:
        self._services = services
        self._lookup = lookup
        self._client = client
        self._db = db
        self._names = names
        self._clock = clock

    def routes(self) -> list[Route]:
        """The table."""
        third, spec = f"{_C}/v3/thirdparty", "CS #third-party-networks"
        listed = f"{_C}/v3/directory/list/appservice/{{networkId}}/{{roomId}}"
        return [
            Route(
                "POST",
                f"{_C}/v1/appservice/{{appserviceId}}/ping",
                self.ping,
                cost=Cost.WRITE,
                spec="AS #pinging",
            ),
            Route(
                "PUT",
                listed,
                self.list_room,
                cost=Cost.WRITE,
                spec="AS #published-room-directories",
            ),
            Route("GET", f"{third}/protocols", self.protocols, spec=spec),
            Route("GET", f"{third}/protocol/{{protocol}}", self.protocol, spec=spec),
            Route("GET", f"{third}/user/{{protocol}}", self.users, spec=spec),
            Route("GET", f"{third}/location/{{protocol}}", self.locations, spec=spec),
            Route("GET", f"{third}/user", self.of_user, spec=spec),
            Route("GET", f"{third}/location", self.of_alias, spec=spec),
        ]

    async def ping(self, request: Request) -> Any:
        """POST /_matrix/client/v1/appservice/{appserviceId}/ping"""
        service = self._service(request)
        if service.id != request.params["appserviceId"]:
            raise Refused(Reason.FORBIDDEN, "That is another application service")
        transaction_id = request.json(PingBody).transaction_id
        if service.url is None:
            return _failed(400, "M_URL_NOT_SET", "The registration has no URL")
        begun = self._clock()
        try:
            answer = await self._client.ping(service, transaction_id)
        except Unanswered as error:
            if error.why is Why.TIMEOUT:
                return _failed(504, "M_CONNECTION_TIMEOUT", "The service did not answer in time")
            return _failed(502, "M_CONNECTION_FAILED", "The service cannot be reached")
        if not answer.good:
            body = answer.body[:_BODY_SHOWN_MAX].decode(errors="replace")
            text = f"The service answered with status {answer.status}"
            more = {"status": answer.status, "body": body}
            return _failed(502, "M_BAD_STATUS", text, more)
        return {"duration_ms": max(self._clock() - begun, 0)}

    async def list_room(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}"""
        service = self._service(request)
        visibility = request.json(VisibilityBody).visibility
        if visibility not in ("public", "private"):
            raise Refused(Reason.INVALID_PARAM, "visibility is public or private")
        network_id = request.params["networkId"]
        if not network_id or len(network_id) > _NETWORK_MAX:
            raise Refused(Reason.INVALID_PARAM, "That is no network")
        async with self._db.write() as tx:
            room_no = await self._names.room(tx, request.params["roomId"])
            if room_no is None:
                raise Refused(Reason.UNKNOWN_ROOM, "There is no such room")
            await store.list_room(tx, service.id, network_id, room_no, visibility == "public")
        return b"{}"

    async def protocols(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/protocols"""
        return await self._lookup.protocols()

    async def protocol(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/protocol/{protocol}"""
        return await self._lookup.protocol(request.params["protocol"])

    async def users(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/user/{protocol}"""
        return await self._lookup.of_network("user", request.params["protocol"], _fields(request))

    async def locations(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/location/{protocol}"""
        return await self._lookup.of_network(
            "location", request.params["protocol"], _fields(request)
        )

    async def of_user(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/user"""
        return await self._lookup.of_matrix("user", "userid", request.query("userid", "") or "")

    async def of_alias(self, request: Request) -> Any:
        """GET /_matrix/client/v3/thirdparty/location"""
        return await self._lookup.of_matrix("location", "alias", request.query("alias", "") or "")

    def _service(self, request: Request) -> Service:
        service = self._services.by_id(request.caller.service)
        if service is None:
            raise Refused(Reason.FORBIDDEN, "Only an application service may do this")
        return service


def _failed(status: int, errcode: str, text: str, more: dict[str, Any] | None = None) -> Reply:
    body = orjson.dumps({"errcode": errcode, "error": text, **(more or {})})
    return Reply(body, status, JSON_HEADERS)


def _fields(request: Request) -> dict[str, list[str]]:
    """The fields of a search, as they came; a token in the query is not one of them."""
    found = {}
    for name in list(request.query_names())[:_FIELDS_MAX]:
        if name not in ("access_token", "user_id", "device_id"):
            found[name] = request.queries(name)
    return found
