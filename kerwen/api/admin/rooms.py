"""Rooms, and removals, for administrators: by their numbers only."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from kerwen.admin.actions.look import Look
from kerwen.admin.store.overview import RoomRow
from kerwen.api.admin.table import BASE, AdminRoute, Nothing, Query
from kerwen.api.http import Request
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.purge import Purge
from kerwen.rooms.store.expiry import Job

_NUMBERS = "room ids and numbers; aliases, which are public; how a room is run"
_REMOVAL = "messages, which are removed unread"


class Room(msgspec.Struct):
    """A room. `events` counts all that were ever in its timeline."""

    room_id: str
    version: str
    joined: int
    invited: int
    events: int
    created_ms: int
    encrypted: bool
    published: bool
    blocked: bool


class RoomPage(msgspec.Struct):
    """`next` goes into `after` for the next page; null: this was the last."""

    rooms: list[Room]
    next: int | None


class RoomDetails(msgspec.Struct):
    """`settings`: join rule, visibility of history, algorithm and their like; `state`: how many
    entries of each specified type there are, all others as `other`."""

    room: Room
    aliases: list[str]
    settings: dict[str, str | bool]
    state: dict[str, int]


class Block(msgspec.Struct):
    blocked: bool


class HistoryBody(msgspec.Struct):
    """Messages from before this time go; state stays."""

    before_ms: int


class Removal(msgspec.Struct):
    """A removal under way, or done (`done_ms` above 0). `kind`: history, room or erase."""

    removal: int
    kind: str
    room_id: str
    before_ms: int
    removed: int
    asked_ms: int
    done_ms: int


class Removals(msgspec.Struct):
    """`next` goes into `before` for the next page; null: this was the last."""

    removals: list[Removal]
    next: int | None


class RoomsApi:
    """The routes under `rooms` and `removals`."""

    def __init__(self, look: Look, purge: Purge) -> None:
        self._look = look
        self._purge = purge

    def lines(self) -> list[AdminRoute]:
        """The table."""
        every, one = f"{BASE}/rooms", f"{BASE}/rooms/{{roomId}}"
        limit = Query("limit", "integer", "how many at most, 1,000 at most")
        pages = (
            Query("search", "string", "a part of the id, or a whole alias"),
            Query("after", "integer", "`next` of the page before"),
            limit,
        )
        before = (Query("before", "integer", "`next` of the page before"), limit)
        line = AdminRoute
        history = line(
            "POST",
            f"{one}/purge_history",
            self.history,
            "Removes messages from before a time",
            _REMOVAL,
            Removal,
            HistoryBody,
        )
        shut = line(
            "POST", f"{one}/shut_down", self.shut, "Ends a room and removes it", _REMOVAL, Removal
        )
        return [
            line(
                "GET", every, self.page, "Rooms, the oldest first", _NUMBERS, RoomPage, None, pages
            ),
            line("GET", one, self.one, "One room", _NUMBERS, RoomDetails),
            line(
                "PUT",
                f"{one}/block",
                self.block,
                "Whether anybody may enter",
                "whether a room is shut",
                Block,
                Block,
                tells=("blocked",),
            ),
            replace(history, tells=("before_ms",), confirmed=True),
            replace(shut, confirmed=True),
            line(
                "GET",
                f"{BASE}/removals",
                self.removals,
                "Removals, the newest first",
                _NUMBERS,
                Removals,
                query=before,
            ),
        ]

    async def page(self, request: Request) -> RoomPage:
        """GET /_kerwen/admin/rooms"""
        count = request.int_query("limit", 100, 1, 1000)
        search = request.query("search") or ""
        if "\0" in search:
            raise Refused(Reason.INVALID_PARAM, "An id holds no NUL")
        found = await self._look.rooms(search, request.int_query("after", 0, 0, 2**62), count)
        return RoomPage(
            [_room(row) for row in found], found[-1].room_no if len(found) == count else None
        )

    async def one(self, request: Request) -> RoomDetails:
        """GET /_kerwen/admin/rooms/{roomId}"""
        found = await self._look.room(request.params["roomId"])
        return RoomDetails(_room(found.row), found.aliases, found.settings, found.state)

    async def block(self, request: Request) -> Block:
        """PUT /_kerwen/admin/rooms/{roomId}/block"""
        body = request.json(Block)
        await self._purge.block(request.params["roomId"], body.blocked)
        return body

    async def history(self, request: Request) -> Removal:
        """POST /_kerwen/admin/rooms/{roomId}/purge_history"""
        before_ms = request.json(HistoryBody).before_ms
        return _removal(await self._purge.history(request.params["roomId"], before_ms))

    async def shut(self, request: Request) -> Removal:
        """POST /_kerwen/admin/rooms/{roomId}/shut_down"""
        request.json(Nothing)
        return _removal(await self._purge.room(request.params["roomId"]))

    async def removals(self, request: Request) -> Removals:
        """GET /_kerwen/admin/removals"""
        count = request.int_query("limit", 100, 1, 1000)
        found = await self._purge.jobs(request.int_query("before", 2**62, 1, 2**62), count)
        return Removals(
            [_removal(job) for job in found], found[-1].job_no if len(found) == count else None
        )


def _room(row: RoomRow) -> Room:
    fields = msgspec.structs.asdict(row)
    fields.pop("room_no")
    return Room(**fields)


def _removal(job: Job) -> Removal:
    return Removal(
        job.job_no, job.kind, job.room_id, job.before_ms, job.removed, job.asked_ms, job.done_ms
    )
