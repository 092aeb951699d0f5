"""Asks application services: hands over transactions, asks whether somebody or a room exists."""

# AS #homeserver---application-service-api

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from kerwen.app_services.registration import Service
from kerwen.net.outgoing import Answer, Outgoing, Unanswered, Why

TXN_TIMEOUT_MS: Final = 60_000
QUERY_TIMEOUT_MS: Final = 10_000
PING_TIMEOUT_MS: Final = 20_000
_V1: Final = "/_matrix/app/v1"
_OLD_THIRD: Final = "/_matrix/app/unstable"
_UNKNOWN: Final = frozenset({404, 405, 501})  # perhaps it knows the routes of old only
_LIST_MAX: Final = 1_000


class ServiceClient:
    """Requests to the services of the configuration, which may stand in this network."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing

    async def transaction(self, service: Service, txn_id: str, body: bytes) -> str:
        """Hands a transaction over; empty where it was taken, else why not."""
        path = "/transactions/" + quote(txn_id, safe="")
        try:
            answer = await self._ask(service, "PUT", _V1 + path, body, TXN_TIMEOUT_MS)
            if answer.status in _UNKNOWN:
                answer = await self._ask(service, "PUT", path, body, TXN_TIMEOUT_MS)
        except Unanswered as error:
            return error.why.value
        return "" if answer.good else f"status {answer.status}"

    async def has_user(self, service: Service, user_id: str) -> bool:
        """AS #querying: the service makes the user, if it wants to, before it answers."""
        return await self._query(service, "/users/" + quote(user_id, safe=""))

    async def has_alias(self, service: Service, alias: str) -> bool:
        """The same for the room of an alias."""
        return await self._query(service, "/rooms/" + quote(alias, safe=""))

    async def _query(self, service: Service, path: str) -> bool:
        try:
            answer = await self._ask(service, "GET", _V1 + path, None, QUERY_TIMEOUT_MS)
            if answer.status in _UNKNOWN and b"M_UNRECOGNIZED" in answer.body:
                answer = await self._ask(service, "GET", path, None, QUERY_TIMEOUT_MS)
        except Unanswered:
            return False
        return answer.good

    async def ping(self, service: Service, transaction_id: str | None) -> Answer:
        """AS #pinging; `Unanswered` where there is no answer."""
        body = {} if transaction_id is None else {"transaction_id": transaction_id}
        return await self._ask(service, "POST", _V1 + "/ping", orjson.dumps(body), PING_TIMEOUT_MS)

    async def protocol(self, service: Service, protocol: str) -> dict[str, Any] | None:
        """What a service says of a network; None where it says nothing sensible."""
        found = await self._third(service, "/thirdparty/protocol/" + quote(protocol, safe=""), {})
        return found if isinstance(found, dict) else None

    async def third(
        self, service: Service, path: str, fields: Mapping[str, Sequence[str]]
    ) -> list[dict[str, Any]]:
        """Users or locations; `path` is `user`, `location/irc` and the like."""
        found = await self._third(service, "/thirdparty/" + path, fields)
        if not isinstance(found, list):
            return []
        return [entry for entry in found[:_LIST_MAX] if isinstance(entry, dict)]

    async def _third(
        self, service: Service, path: str, fields: Mapping[str, Sequence[str]]
    ) -> object:
        if fields:
            path += "?" + urlencode(fields, doseq=True)
        try:
            answer = await self._ask(service, "GET", _V1 + path, None, QUERY_TIMEOUT_MS)
            if answer.status in _UNKNOWN:
                answer = await self._ask(service, "GET", _OLD_THIRD + path, None, QUERY_TIMEOUT_MS)
            return orjson.loads(answer.body) if answer.good else None
        except (Unanswered, orjson.JSONDecodeError):
            return None

    async def _ask(
        self, service: Service, method: str, path: str, body: bytes | None, timeout_ms: int
    ) -> Answer:
        if service.url is None:
            raise Unanswered(Why.UNREACHABLE, "the registration has no url")
        headers = {"Authorization": f"Bearer {service.hs_token}"}  # AS #authorisation
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._outgoing.ask(
            method,
            service.url + path,
            headers=headers,
            body=body,
            timeout_ms=timeout_ms,
            by_operator=True,
        )
