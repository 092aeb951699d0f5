"""Receipts, read markers and typing (CS #receipts, #fully-read-markers, #typing-notifications)."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.api.http import Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.mark_read import FULLY, PRIVATE, READ, MarkRead
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.store import members
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Database

_ROOM = "/_matrix/client/v3/rooms/{room_id}"
_THREAD_MAX = 255


class _Receipt(msgspec.Struct):
    thread_id: str | None = None


class _Markers(msgspec.Struct, rename={"fully": FULLY, "read": READ, "private": PRIVATE}):
    fully: str | None = None
    read: str | None = None
    private: str | None = None


class _Typing(msgspec.Struct):
    typing: bool
    timeout: int = 30_000


class ReceiptsApi:
    """Handlers of what people do without saying anything."""

    def __init__(self, mark_read: MarkRead, typing: Typing, db: Database, names: Names) -> None:
        self._mark_read = mark_read
        self._typing = typing
        self._db = db
        self._names = names

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST",
                f"{_ROOM}/receipt/{{receipt_type}}/{{event_id}}",
                self.receipt,
                cost=Cost.WRITE,
                spec="CS #post-receipt",
            ),
            Route(
                "POST",
                f"{_ROOM}/read_markers",
                self.read_markers,
                cost=Cost.WRITE,
                spec="CS #post-read-markers",
            ),
            Route(
                "PUT",
                f"{_ROOM}/typing/{{user_id}}",
                self.typing,
                cost=Cost.WRITE,
                spec="CS #put-typing",
            ),
        ]

    async def receipt(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}"""
        params = request.params
        thread = request.json(_Receipt).thread_id
        if thread is not None and (not thread or len(thread) > _THREAD_MAX):
            raise Refused(Reason.INVALID_PARAM, "That is no thread")
        await self._mark_read(
            request.caller.account_no,
            params["room_id"],
            {params["receipt_type"]: params["event_id"]},
            thread,
        )
        return b"{}"

    async def read_markers(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/read_markers"""
        asked = request.json(_Markers)
        named = {FULLY: asked.fully, READ: asked.read, PRIVATE: asked.private}
        wanted = {k: v for k, v in named.items() if v is not None}
        await self._mark_read(request.caller.account_no, request.params["room_id"], wanted)
        return b"{}"

    async def typing(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}"""
        caller, params = request.caller, request.params
        if params["user_id"] != caller.user_id:
            raise Refused(Reason.FORBIDDEN, "Only oneself can type")
        asked = request.json(_Typing)
        async with self._db.read() as snap:
            room_no = await self._names.room(snap, params["room_id"])
            place = (
                await members.member(snap, room_no, caller.account_no)
                if room_no is not None
                else None
            )
        if room_no is None or place is None or place.membership != "join":
            raise Refused(Reason.FORBIDDEN, "You are not in this room")
        self._typing.set(room_no, caller.user_id, asked.typing, asked.timeout)
        return b"{}"
