"""The lines of the administrators' table: a route with what its description needs."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused

BASE: Final = "/_kerwen/admin"
PAGE: Final = "docs/administration.md"
CONFIRMED_MS: Final = 15 * 60_000
_SESSIONS_MAX: Final = 1_000


class Nothing(msgspec.Struct):
    """The answer `{}`."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter. `kind`: integer, boolean or string."""

    name: str
    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """One deed. `touches` says in a few words what it reads or changes: it is reviewed, and a
    test compares the table with it. `confirmed`: only for who has shown the password lately."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Any]]
    words: str
    touches: str
    answer: Any = Nothing
    body: Any = None
    query: tuple[Query, ...] = ()
    tells: tuple[str, ...] = ()
    confirmed: bool = False
    cost: Cost | None = None
    access: Access = Access.ADMIN

    @property
    def operation(self) -> str:
        """A name for client generators, made of method and path."""
        parts = [p for p in re.split(r"[/_{}.]+", self.path[len(BASE) :]) if p]
        return self.method.lower() + "".join(part[0].upper() + part[1:] for part in parts)


class Confirmations:
    """Who has shown the password again lately: an access token alone undoes nothing for ever.

    In the memory of one process: another worker, or a restart, asks again.
    """

    def __init__(self, prove: Prove, clock: Clock) -> None:
        self._prove = prove
        self._clock = clock
        self._until: OrderedDict[int, int] = OrderedDict()  # token → until when

    async def confirm(self, request: Request, auth: dict[str, Any] | None) -> int | Challenge:
        """Until when the caller's token may do what cannot be undone, in ms since 1970."""
        caller = request.caller
        proof = await self._prove.owner("administration", caller.account_no, auth)
        if isinstance(proof, Challenge):
            return proof
        self._prove.done(proof)
        until = self._until[caller.token_no] = self._clock() + CONFIRMED_MS
        self._until.move_to_end(caller.token_no)
        if len(self._until) > _SESSIONS_MAX:
            self._until.popitem(last=False)
        return until

    def check(self, request: Request) -> None:
        """`Refused(FORBIDDEN)` with `confirm: true` where it must be shown first."""
        if self._until.get(request.caller.token_no, 0) <= self._clock():
            raise Refused(
                Reason.FORBIDDEN,
                f"Show your password first: POST {BASE}/confirm",
                extra={"confirm": True},
            )


class ConfirmBody(msgspec.Struct):
    """`auth` as user-interactive authentication; without it the stages are asked for."""

    auth: dict[str, Any] | None = None


class Confirmed(msgspec.Struct):
    """Until when this access token may do what cannot be undone."""

    until_ms: int


class ConfirmApi:
    """Showing the password again."""

    def __init__(self, confirmations: Confirmations) -> None:
        self._confirmations = confirmations

    def lines(self) -> list[AdminRoute]:
        """The table."""
        return [
            AdminRoute(
                "POST",
                f"{BASE}/confirm",
                self.confirm,
                "Shows the password again: for 15 minutes this token may do what cannot be undone",
                "the caller's own session",
                Confirmed,
                ConfirmBody,
                cost=Cost.LOGIN,
            )
        ]

    async def confirm(self, request: Request) -> Any:
        """POST /_kerwen/admin/confirm"""
        found = await self._confirmations.confirm(request, request.json(ConfirmBody).auth)
        return challenge_reply(found) if isinstance(found, Challenge) else Confirmed(found)


def as_route(line: AdminRoute, confirmations: Confirmations) -> Route:
    """The line of the house's table."""
    handler = line.handler
    if line.confirmed:

        async def after_proof(request: Request) -> Any:
            confirmations.check(request)
            return await line.handler(request)

        handler = after_proof
    reads = line.method == "GET"
    return Route(
        line.method,
        line.path,
        handler,
        line.access,
        line.cost or (Cost.READ if reads else Cost.WRITE),
        PAGE,
        tells=line.tells,
    )


# --- the description ------------------------------------------------------------------------

_ERROR = {
    "type": "object",
    "required": ["errcode", "error"],
    "properties": {"errcode": {"type": "string"}, "error": {"type": "string"}},
}


def description(lines: list[AdminRoute], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the table."""
    shapes = [shape for line in lines for shape in (line.answer, line.body) if shape is not None]
    schemas, components = msgspec.json.schema_components(
        shapes, ref_template="#/components/schemas/{name}"
    )
    by_shape = dict(zip(shapes, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for line in lines:
        paths.setdefault(line.path, {})[line.method.lower()] = _operation(line, by_shape)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kerwen administration",
            "version": version,
            "description": "Deeds of administrators. None reads a message, a file or a key, enters"
            " an account, or changes a key.",
        },
        "security": [{"accessToken": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer"}},
            "schemas": {**components, "Error": _ERROR},
        },
    }


def _operation(line: AdminRoute, schemas: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    named = re.findall(r"\{(\w+)\}", line.path)
    found: dict[str, Any] = {
        "operationId": line.operation,
        "summary": line.words,
        "description": f"Touches: {line.touches}."
        + (" Asks for a password shown lately." if line.confirmed else ""),
        "parameters": [
            {"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in named
        ]
        + [
            {"name": q.name, "in": "query", "description": q.words, "schema": {"type": q.kind}}
            for q in line.query
        ],
        "responses": {
            "200": {
                "description": "Done",
                "content": {"application/json": {"schema": schemas[line.answer]}},
            },
            "default": {"description": "Not done", "content": error},
        },
    }
    if line.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[line.body]}},
        }
    if line.access is Access.ANYONE:
        found["security"] = []
    return found
