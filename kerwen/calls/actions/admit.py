"""Who may be in a call: whoever is joined in its Matrix room, and proves it to us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kerwen.accounts.store import accounts, devices
from kerwen.base.errors import Reason, Refused
from kerwen.calls import token
from kerwen.calls.token import Grant
from kerwen.rooms.auth import CREATE, POWER_LEVELS
from kerwen.rooms.event import Event
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.store import events, heads, members, state, users
from kerwen.rooms.versions import room_version
from kerwen.storage.database import Database

DEFAULT_SLOT = "m.call#ROOM"
_FIELD_MAX = 255


class Admit:
    """`owner` says whose an OpenID token of ours is (SS #openid)."""

    def __init__(
        self, db: Database, server_name: str, owner: Callable[[str], Awaitable[str]]
    ) -> None:
        self._db = db
        self._server_name = server_name
        self._owner = owner

    async def proven(self, proof: object) -> str:
        """The user of an OpenID token (`openid_token` of a request). Says `FORBIDDEN` of other
        servers' users, `UNKNOWN_TOKEN`, `BAD_JSON`."""
        given: dict[str, Any] = proof if isinstance(proof, dict) else {}
        text, server = given.get("access_token"), given.get("matrix_server_name")
        if not isinstance(text, str) or not isinstance(server, str):
            raise Refused(Reason.BAD_JSON, "The body needs an `openid_token`")
        if server != self._server_name:
            raise Refused(Reason.FORBIDDEN, "This server does not know other servers' users yet")
        return await self._owner(text)

    async def grant(
        self, user_id: str, room_id: str, slot_id: str, device_id: str, member_id: str | None
    ) -> Grant:
        """What lets a device into the call of a room. Says `FORBIDDEN`, `INVALID_PARAM`."""
        for text in (room_id, slot_id, device_id, member_id or "-"):
            if not text or len(text) > _FIELD_MAX:
                raise Refused(Reason.INVALID_PARAM, "A name is empty or too long")
        identity = token.plain_identity(user_id, device_id)
        if member_id is not None:
            identity = token.member_identity(user_id, device_id, member_id)
        grant = Grant(
            token.call_name(room_id, slot_id), room_id, identity, user_id, device_id, True
        )
        await self.may_stay(grant)
        return grant

    async def may_stay(self, grant: Grant) -> tuple[int, int]:
        """The numbers of the grant's room and account. Says `FORBIDDEN` if its owner is not joined
        there, may not speak, or has logged the device out."""
        async with self._db.read() as snap:
            room_no = await users.room_no(snap, grant.room_id)
            user_no = await users.user_no(snap, grant.user_id)
            if room_no is None or user_no is None:
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            member = await members.member(snap, room_no, user_no)
            if member is None or member.membership != "join":
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            account = await accounts.by_no(snap, user_no)
            if account is None or not account.active or account.locked or account.suspended:
                raise Refused(Reason.FORBIDDEN, "This account may not speak")
            if await devices.one(snap, user_no, grant.device_id) is None:
                raise Refused(Reason.FORBIDDEN, "There is no such device")
        return room_no, user_no

    async def check_rules(self, user_id: str, room_id: str, other: str) -> None:
        """Whether somebody may put another out of a room, and so rule it in a call. Says
        `FORBIDDEN`."""
        async with self._db.read() as snap:
            room_no = await users.room_no(snap, room_id)
            head = await heads.get_head(snap, room_no) if room_no is not None else None
            if head is None:
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            version = room_version(head.version)
            found: list[Event | None] = []
            for key in (CREATE, POWER_LEVELS):
                entry = await state.current_entry(snap, head.room_no, *key)
                found.append(await events.pdu(snap, entry[0], version) if entry else None)
        levels = PowerLevels(found[0], found[1], version)
        own = levels.user(user_id)
        if user_id != other and (own < levels.named("kick") or own <= levels.user(other)):
            raise Refused(Reason.FORBIDDEN, "You may not rule this call")
