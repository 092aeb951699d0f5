"""The table of all HTTP routes: each area brings its own, and here they become one router."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from kerwen.api.http import Route
from kerwen.api.router import Later, Router


class Area(Protocol):
    """A part of the API: an object with what its handlers need, and its lines of the table."""

    def routes(self) -> Iterable[Route]:
        """The lines of the table that it answers."""


def gather(areas: Sequence[Area], later: Sequence[Later] = ()) -> Router:
    """The router of all areas; two lines for one method and path are a bug (`AssertionError`)."""
    return Router((route for area in areas for route in area.routes()), later)
