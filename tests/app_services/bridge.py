"""A bridge on mautrix-python's `AppService`: a network of tea houses, each a room, each guest a
ghost. What is said in a portal goes to `network`; `hear` lets a guest speak in it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from mautrix.appservice import AppService
from mautrix.appservice.state_store.file import FileASStateStore
from mautrix.types import (
    EventType,
    Membership,
    MessageEvent,
    MessageType,
    RoomAlias,
    RoomCreatePreset,
    RoomID,
    StateEvent,
    TextMessageEventContent,
    UserID,
)

Json = dict[str, Any]


class TeaBridge:
    """`network` holds what came from Matrix: (room, sender, text)."""

    def __init__(self, server: str, domain: str, registration: Json, folder: Path) -> None:
        self.domain = domain
        self.network: list[tuple[str, str, str]] = []
        self.ephemeral: list[str] = []
        self.to_device: list[Any] = []
        self.key_counts: list[Any] = []
        self.portals: dict[str, RoomID] = {}
        self.service = AppService(
            server=server,
            domain=domain,
            as_token=registration["as_token"],
            hs_token=registration["hs_token"],
            bot_localpart=registration["sender_localpart"],
            id=registration["id"],
            state_store=FileASStateStore(path=str(folder / "mx-state.json"), binary=False),
            query_alias=self._query_alias,
            query_user=self._query_user,
            ephemeral_events=True,
            encryption_events=True,
        )
        self.service.matrix_event_handler(self._on_event)
        self.service.to_device_handler = self._on_to_device
        self.service.otk_handler = self._on_key_counts

    async def start(self, port: int) -> None:
        await self.service.start("127.0.0.1", port)
        await self.service.intent.ensure_registered()

    async def stop(self) -> None:
        await self.service.stop()

    def ghost(self, guest: str) -> Any:
        """The intent of a guest's ghost."""
        return self.service.intent.user(UserID(f"@_irc_{guest}:{self.domain}"))

    async def hear(self, house: str, guest: str, text: str) -> str:
        """A guest of a tea house says something."""
        ghost, room = self.ghost(guest), self.portals[house]
        await ghost.ensure_joined(room, bot=self.service.intent)
        content = TextMessageEventContent(MessageType.TEXT, text)
        return str(await ghost.send_message(room, content, timestamp=1_700_000_000_000))

    async def open(self, house: str) -> RoomID:
        """A portal for a tea house, with its alias."""
        self.portals[house] = await self.service.intent.create_room(
            alias_localpart=f"_irc_{house}", preset=RoomCreatePreset.PUBLIC, name=house
        )
        return self.portals[house]

    async def _query_alias(self, alias: RoomAlias) -> Json | None:
        house = alias.removeprefix("#_irc_").partition(":")[0]
        if house == "closed":
            return None
        await self.open(house)
        return {"made": True}

    async def _query_user(self, user_id: UserID) -> Json | None:
        await self.service.intent.user(user_id).ensure_registered()
        return {"made": True}

    async def _on_event(self, event: Any) -> None:
        if event.type.is_ephemeral:
            self.ephemeral.append(str(event.type))
        elif isinstance(event, StateEvent) and event.type == EventType.ROOM_MEMBER:
            invited = event.content.membership == Membership.INVITE
            if invited and event.state_key.startswith("@_irc_"):
                await self.service.intent.user(event.state_key).join_room(event.room_id)
        elif isinstance(event, MessageEvent) and not event.sender.startswith("@_irc_"):
            self.network.append((event.room_id, event.sender, event.content.body))

    async def _on_to_device(self, event: Any) -> None:
        self.to_device.append(event)

    async def _on_key_counts(self, counts: Any) -> None:
        self.key_counts.append(counts)


async def until(condition: Any, what: str, seconds: float = 30) -> None:
    """Waits for something that comes by itself."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"in vain waited for {what}") from None
