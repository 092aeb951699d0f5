"""The administrators' API whole: its lines, and their description for client generators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Protocol

import orjson

from kerwen.api.admin.table import BASE, AdminRoute, Confirmations, as_route, description
from kerwen.api.http import Access, Request, Route


class AdminArea(Protocol):
    """A part of the API."""

    def lines(self) -> list[AdminRoute]:
        """Its lines of the table."""


class AdminTable:
    """The router's area of all parts."""

    def __init__(self, areas: Sequence[AdminArea], confirmations: Confirmations) -> None:
        self._confirmations = confirmations
        own = AdminRoute(
            "GET",
            f"{BASE}/openapi.json",
            self.openapi,
            "This description",
            "nothing but the table of routes",
            dict,
            access=Access.ANYONE,
        )
        self.lines = [own, *(line for area in areas for line in area.lines())]
        self._page = lru_cache(1)(self._describe)

    def routes(self) -> list[Route]:
        """The lines of the router's table."""
        return [as_route(line, self._confirmations) for line in self.lines]

    async def openapi(self, request: Request) -> bytes:
        """GET /_kerwen/admin/openapi.json"""
        return self._page()

    def _describe(self) -> bytes:
        return orjson.dumps(description(self.lines, version("kerwen")))
