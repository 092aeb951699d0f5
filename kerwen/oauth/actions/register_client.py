"""Registers clients, and finds them (CS #client-registration)."""

from __future__ import annotations

from kerwen.base.clock import Clock, now_ms
from kerwen.oauth.client_metadata import ClientMetadata
from kerwen.oauth.store import clients
from kerwen.oauth.store.clients import Client
from kerwen.storage.database import Database


class RegisterClient:
    """The same metadata gives the same id: ten thousand phones with one app are one client."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._db = db
        self._clock = clock

    async def run(self, metadata: ClientMetadata) -> str:
        """The client's id."""
        client_no = await self._db.take_id("oauth_client")
        async with self._db.write() as tx:
            await clients.add(tx, client_no, metadata, self._clock())
        return metadata.client_id()

    async def find(self, client_id: str) -> Client | None:
        """A client by its id."""
        async with self._db.read() as snap:
            return await clients.by_id(snap, client_id)

    async def of_devices(self, device_nos: list[int]) -> dict[int, Client]:
        """Which clients hold the tokens of devices, where these are OAuth clients."""
        async with self._db.read() as snap:
            return await clients.of_devices(snap, device_nos)
