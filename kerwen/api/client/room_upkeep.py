"""Rooms from outside, their replacement, and reports of what is bad in them."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.report import Reports
from kerwen.rooms.actions.room_summary import RoomSummary
from kerwen.rooms.actions.upgrade_room import UpgradeRoom

_C = "/_matrix/client"
_CREATORS_MAX = 200


class _Upgrade(msgspec.Struct):
    new_version: str
    additional_creators: list[str] = []


class _Reasoned(msgspec.Struct):
    reason: str


class _Event(msgspec.Struct):
    reason: str | None = None


class RoomUpkeepApi:
    """The routes of room_summary.yaml, mutual_rooms.yaml, room_upgrades.yaml and
    report_content.yaml."""

    def __init__(self, summary: RoomSummary, upgrade: UpgradeRoom, reports: Reports) -> None:
        self._summary = summary
        self._upgrade = upgrade
        self._reports = reports

    def routes(self) -> list[Route]:
        room = f"{_C}/v3/rooms/{{room_id}}"
        report: dict[str, Any] = {"cost": Cost.WRITE, "spec": "CS #reporting-content"}
        summary: dict[str, Any] = {"access": Access.OPTIONAL, "spec": "CS #get-room-summary"}
        old = f"{_C}/unstable/im.nheko.summary"
        mutual = "CS #mutual-rooms"
        half_shot = f"{_C}/unstable/uk.half-shot.msc2666/user/mutual_rooms"
        return [
            Route("GET", f"{_C}/v1/room_summary/{{room}}", self.summary, **summary),
            Route("GET", f"{old}/summary/{{room}}", self.summary, **summary),
            Route("GET", f"{old}/rooms/{{room}}/summary", self.summary, **summary),
            Route("GET", f"{_C}/v1/mutual_rooms", self.mutual, spec=mutual),
            Route("GET", half_shot, self.mutual, spec=mutual),
            Route(
                "POST",
                f"{room}/upgrade",
                self.upgrade,
                cost=Cost.HEAVY,
                spec="CS #room-upgrades",
                suspended=False,
            ),
            Route("POST", f"{room}/report", self.report_room, **report),
            Route("POST", f"{room}/report/{{event_id}}", self.report_event, **report),
            Route("POST", f"{_C}/v3/users/{{user_id}}/report", self.report_user, **report),
        ]

    async def summary(self, request: Request) -> Any:
        """GET /_matrix/client/v1/room_summary/{roomIdOrAlias}"""
        who = None if request.caller_ is None else _who(request)
        return await self._summary(who, request.params["room"])

    async def mutual(self, request: Request) -> Any:
        """GET /_matrix/client/v1/mutual_rooms"""
        start = request.query("from") or request.query("batch_token")
        found = await self._summary.mutual(_who(request), request.need_query("user_id"), start)
        answer: dict[str, Any] = {"joined": found.room_ids, "count": found.count}
        if found.next_batch is not None:
            answer["next_batch"] = answer["next_batch_token"] = found.next_batch  # MSC2666's name
        return answer

    async def upgrade(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/upgrade"""
        asked = request.json(_Upgrade)
        if len(asked.additional_creators) > _CREATORS_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many creators")
        caller = request.caller
        new_id = await self._upgrade(
            (caller.user_id, caller.account_no),
            request.params["room_id"],
            asked.new_version,
            asked.additional_creators,
        )
        return {"replacement_room": new_id}

    async def report_room(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/report"""
        reason = request.json(_Reasoned).reason
        await self._reports.room(_who(request), request.params["room_id"], reason)
        return b"{}"

    async def report_event(self, request: Request) -> Any:
        """POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}"""
        params = request.params
        reason = request.json(_Event).reason or ""
        await self._reports.event(_who(request), params["room_id"], params["event_id"], reason)
        return b"{}"

    async def report_user(self, request: Request) -> Any:
        """POST /_matrix/client/v3/users/{userId}/report"""
        reason = request.json(_Reasoned).reason
        await self._reports.user(_who(request), request.params["user_id"], reason)
        return b"{}"


def _who(request: Request) -> Who:
    caller = request.caller
    return Who(caller.user_id, caller.account_no, caller.device_no)
