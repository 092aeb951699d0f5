"""A bot on mautrix-python: joins when invited, answers `!ping`, syncs by plain /sync.

Its encryption needs python-olm, which PyPI has as a wheel up to Python 3.12; without it the bot
stays in clear rooms.
"""

from __future__ import annotations

import asyncio
import importlib.util

from mautrix.api import HTTPAPI, Method, Path
from mautrix.client import Client, InternalEventType, MemorySyncStore
from mautrix.client.dispatcher import MembershipEventDispatcher
from mautrix.client.state_store import MemoryStateStore
from mautrix.types import (
    EventType,
    Membership,
    MessageEvent,
    MessageType,
    RoomID,
    StateEvent,
    TextMessageEventContent,
    UserID,
)

HAS_OLM = importlib.util.find_spec("olm") is not None


class SharedRooms(MemoryStateStore):
    """mautrix's store in memory, and the one look-up that its encryption needs beside it."""

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        """Encrypted rooms that this person is in."""
        return [
            room_id
            for room_id, members in self.members.items()
            if self.encryption.get(room_id)
            and user_id in members
            and members[user_id].membership == Membership.JOIN
        ]


class PingBot:
    """One account with one device."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.state = SharedRooms()
        api = HTTPAPI(base_url=url)
        self.client = Client(api=api, sync_store=MemorySyncStore(), state_store=self.state)
        self.client.add_dispatcher(MembershipEventDispatcher)
        self.client.add_event_handler(InternalEventType.INVITE, self._on_invite)
        self.client.add_event_handler(EventType.ROOM_MESSAGE, self._on_message)
        self.answered = 0

    async def register(self, password: str) -> None:
        """Register, then log in through the library's own call."""
        body = {
            "username": self.name,
            "password": password,
            "auth": {"type": "m.login.dummy"},
            "inhibit_login": True,
        }
        answer = await self.client.api.request(Method.POST, Path.v3.register, body)
        assert "access_token" not in answer, "inhibit_login was asked for"
        await self.client.login(answer["user_id"], password=password, device_name="bot")

    async def start(self) -> None:
        """Publish keys if there is encryption, and begin to sync."""
        if HAS_OLM:
            await self._enable_encryption()
        self._loop = asyncio.ensure_future(self.client.start(None))

    async def _enable_encryption(self) -> None:
        from mautrix.crypto import OlmMachine
        from mautrix.crypto.store import MemoryCryptoStore

        store = MemoryCryptoStore(self.client.mxid, "secret")
        await store.put_device_id(self.client.device_id)
        machine = OlmMachine(self.client, store, self.state)
        await machine.load()
        self.client.crypto = machine
        await machine.share_keys()

    async def stop(self) -> None:
        """End the sync and close the connections."""
        self.client.stop()
        await asyncio.gather(self._loop, return_exceptions=True)
        await self.client.api.session.close()

    @property
    def user_id(self) -> str:
        return str(self.client.mxid)

    async def _on_invite(self, event: StateEvent) -> None:
        if event.state_key == self.client.mxid:
            await self.client.join_room(event.room_id)

    async def _on_message(self, event: MessageEvent) -> None:
        content = event.content
        if event.sender == self.client.mxid or content.msgtype != MessageType.TEXT:
            return
        if content.body.startswith("!ping"):
            words = content.body.removeprefix("!ping").strip()
            answer = TextMessageEventContent(MessageType.NOTICE, f"pong {words}".strip())
            answer.set_reply(event, disable_fallback=True)
            await self.client.send_message(event.room_id, answer)
            self.answered += 1
