"""The messenger of `tests/rooms` for tests of the whole API."""

from __future__ import annotations

from tests.rooms.conftest import both, house

__all__ = ["both", "house"]
