"""The seam to application services: what rooms ask of them, and their absence."""

from __future__ import annotations

from typing import Protocol

from kerwen.storage.database import Snap


class Bridges(Protocol):
    """Users and aliases that application services hold (AS #registration)."""

    async def make_user(self, user_id: str) -> bool:
        """A user is not known here: whether a service has made them now."""

    async def make_alias(self, alias: str) -> bool:
        """An alias is not known here: whether a service has made it now."""

    def check_alias(self, user_id: str, alias: str, service: str) -> None:
        """Refuses (`EXCLUSIVE`) a name that is a service's alone. `service` is the id of the one
        that asks, empty for people."""

    async def listed(self, snap: Snap, instance_id: str | None) -> list[int]:
        """The rooms that stand in a network's directory; None: in any network's."""


class NoBridges:
    """A house without application services."""

    async def make_user(self, user_id: str) -> bool:
        return False

    async def make_alias(self, alias: str) -> bool:
        return False

    def check_alias(self, user_id: str, alias: str, service: str) -> None:
        """Every name is free."""

    async def listed(self, snap: Snap, instance_id: str | None) -> list[int]:
        return []
