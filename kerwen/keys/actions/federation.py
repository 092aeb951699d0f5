"""The seam to other servers: what these actions ask of federation, and its absence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kerwen.base.errors import Unavailable, Unready
from kerwen.keys.to_device import Messages
from kerwen.storage.database import Tx

TIMEOUT_DEFAULT_MS = 10_000
TIMEOUT_MAX_MS = 30_000


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """A server's answer to a query: JSON by user id (and device id)."""

    devices: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    master: Mapping[str, bytes] = field(default_factory=dict)  # last field: `signatures`
    self_signing: Mapping[str, bytes] = field(default_factory=dict)


class Federation(Protocol):
    """What other servers are asked. Raises `Unavailable` for a server that cannot be reached."""

    async def query_keys(
        self, server: str, users: Mapping[str, list[str]], timeout_ms: int
    ) -> RemoteKeys:
        """SS #post_matrixfederationv1userkeysquery."""

    async def claim_keys(
        self, server: str, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Mapping[str, bytes]]:
        """SS #post_matrixfederationv1userkeysclaim: JSON objects by user and device."""

    def send_to_devices(
        self, tx: Tx, server: str, sender: str, event_type: str, txn: str, messages: Messages
    ) -> None:
        """Puts an m.direct_to_device EDU into the outbox, with the transaction."""


class NoFederation:
    """A server alone: nobody can be reached."""

    async def query_keys(
        self, server: str, users: Mapping[str, list[str]], timeout_ms: int
    ) -> RemoteKeys:
        raise Unavailable(Unready.TIMEOUT)

    async def claim_keys(
        self, server: str, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Mapping[str, bytes]]:
        raise Unavailable(Unready.TIMEOUT)

    def send_to_devices(
        self, tx: Tx, server: str, sender: str, event_type: str, txn: str, messages: Messages
    ) -> None:
        """Nobody is there to get it."""


def server_of(user_id: str) -> str | None:
    """The server of a user id; None if it is no user id."""
    if not user_id.startswith("@") or len(user_id) > 255 or "\0" in user_id:
        return None
    _, _, server = user_id.partition(":")
    return server or None


def timeout_ms(asked: float | None) -> int:
    """How long other servers are waited for."""
    if asked is None:
        return TIMEOUT_DEFAULT_MS
    return int(min(max(asked, 0), TIMEOUT_MAX_MS))
