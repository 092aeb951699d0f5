"""A messenger on SQLite (`house`), or on both engines in turn (`both`)."""

from tests.rooms.conftest import both, house

__all__ = ["both", "house"]
