"""What the server has to say to somebody, in a room of their own (CS #server-notices).

The room is not encrypted: who speaks is the server itself. Its account has no password and no
session, so nobody can speak as it. People may leave; the next notice asks them in again.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.accounts.actions.moderate import Moderate
from kerwen.accounts.actions.register import Register, Wanted
from kerwen.accounts.address import user_id_of
from kerwen.accounts.store import accounts
from kerwen.admin.store import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.create_room import CreateRoom, Wish
from kerwen.rooms.actions.membership import Membership
from kerwen.rooms.actions.send import Send
from kerwen.rooms.store import members
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Database, Tx

NAME: Final = "server-notices"  # nobody else can have it
TEXT_MAX: Final = 16_384
_TAG: Final = orjson.dumps({"tags": {"m.server_notice": {}}})


async def _known(tx: Tx, account_no: int, user_id: str) -> None:
    """The name is good: it is ours."""


class Notices:
    """`create_room` makes rooms that are not encrypted."""

    def __init__(
        self,
        db: Database,
        domain: str,
        register: Register,
        moderate: Moderate,
        create_room: CreateRoom,
        membership: Membership,
        send: Send,
        names: Names,
    ) -> None:
        self._db = db
        self._domain = domain
        self._register = register
        self._moderate = moderate
        self._create_room = create_room
        self._membership = membership
        self._send = send
        self._names = names
        self._turn = asyncio.Lock()  # one room for each account

    async def say(self, user_id: str, text: str) -> str:
        """Tells an account something; the event's id. `Refused`: NOT_FOUND, INVALID_PARAM."""
        if not text.strip() or len(text) > TEXT_MAX:
            raise Refused(Reason.INVALID_PARAM, f"A notice has 1 to {TEXT_MAX} characters")
        account = await self._moderate.account(user_id)
        if account.localpart == NAME:
            raise Refused(Reason.INVALID_PARAM, "The server need not be told")
        target = user_id_of(account.localpart, self._domain)
        async with self._turn:
            voice = await self._voice()
            room_id = await self._room(voice, account.account_no, target)
        content = {"msgtype": "m.text", "body": text}
        who = (*voice, -voice[1])
        return await self._send.message(
            who, room_id, "m.room.message", secrets.token_urlsafe(12), content
        )

    async def _voice(self) -> tuple[str, int]:
        """(user id, number) of who speaks for the server."""
        async with self._db.read() as snap:
            account = await accounts.by_localpart(snap, NAME)
        if account is None:
            await self._register.run(
                Wanted(NAME, None, log_in=False, kind="bot", by_service=_known)
            )
            async with self._db.read() as snap:
                account = await accounts.by_localpart(snap, NAME)
        if account is None or account.kind != "bot" or not account.active:
            raise Refused(Reason.CONFLICT, f"The name {NAME} is somebody's")
        return user_id_of(NAME, self._domain), account.account_no

    async def _room(self, voice: tuple[str, int], account_no: int, target: str) -> str:
        """The room of an account, into which it is asked if it is not there."""
        async with self._db.read() as snap:
            room_id = await limits.notice_room(snap, account_no)
            room_no = await self._names.room(snap, room_id) if room_id is not None else None
            mine = other = None
            if room_no is not None:
                mine = await members.member(snap, room_no, voice[1])
                other = await members.member(snap, room_no, account_no)
        if room_id is None or mine is None or mine.membership != "join":
            return await self._make(voice, account_no, target)
        if other is None or other.membership not in ("join", "invite"):
            await self._membership.invite(voice, room_id, target, None)
        return room_id

    async def _make(self, voice: tuple[str, int], account_no: int, target: str) -> str:
        wish = Wish(
            name="Server notices",
            preset="private_chat",
            invite=[target],
            power_level_content_override={"users_default": -10},
        )
        room_id = await self._create_room(voice, wish)
        async with self._db.write() as tx:
            room_no = await self._names.room(tx, room_id)
            assert room_no is not None, "it was just made"
            await account_data.lock(tx, account_no)
            account_data.set_room(tx, account_no, room_no, "m.tag", _TAG)
            await limits.set_notice_room(tx, account_no, room_id)
        return room_id
