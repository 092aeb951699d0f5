"""Saying something in a room: messages, state, redactions."""

from __future__ import annotations

from typing import Any

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.append import Append, Draft, RoomWriter
from kerwen.rooms.actions.membership import check_invitable
from kerwen.rooms.auth import POWER_LEVELS
from kerwen.rooms.event import Event, redact_event
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.store import aliases, events, marks, state

_RESERVED = {"m.room.redaction"}  # sent through its own endpoint


class Send:
    """`who` is (user id, user number, device number)."""

    def __init__(self, append: Append) -> None:
        self._append = append

    async def message(
        self,
        who: tuple[str, int, int],
        room_id: str,
        event_type: str,
        txn_id: str,
        content: dict[str, Any],
        ts: int | None = None,
    ) -> str:
        """The id of the event, the same for a repeated transaction id (CS #put-send)."""
        user_id, user_no, device_no = who
        async with self._append.room(room_id) as room:
            sent = await events.sent_before(room.tx, device_no, room.room_no, "e", txn_id)
            if sent is not None:
                return sent
            draft = Draft(
                user_id, user_no, event_type, content, ts=ts, device_no=device_no, txn_id=txn_id
            )
            if event_type in _RESERVED:
                redacts = content.get("redacts")
                if not isinstance(redacts, str):
                    raise Refused(Reason.MISSING_PARAM, "A redaction says what it redacts")
                return await self._redact(room, draft, redacts)
            return (await room.add(draft)).event_id

    async def state(
        self,
        who: tuple[str, int, int],
        room_id: str,
        event_type: str,
        state_key: str,
        content: dict[str, Any],
        ts: int | None = None,
    ) -> str:
        """Sets a piece of state (CS #put-state)."""
        user_id, user_no, _ = who
        about = state_key if event_type == "m.room.member" else None
        async with self._append.room(room_id, about=about) as room:
            if event_type == "m.room.canonical_alias":
                await self._check_aliases(room, content)
            elif about is not None and content.get("membership") == "invite":
                await self._check_invite(room, about)
            draft = Draft(user_id, user_no, event_type, content, state_key=state_key, ts=ts)
            return (await room.add(draft)).event_id

    async def _check_invite(self, room: RoomWriter, user_id: str) -> None:
        user_no = await self._append.names.user(room.tx, user_id)
        if user_no is None:
            raise Refused(Reason.NOT_FOUND, "There is no such user")
        await check_invitable(room.tx, user_no)

    async def _check_aliases(self, room: RoomWriter, content: dict[str, Any]) -> None:
        """New aliases in the event must point here (CS #mroomcanonical_alias)."""
        old = await room.view.state_event(room.tx, "m.room.canonical_alias")
        known = set(_aliases_in(old.content)) if old is not None else set()
        for alias in _aliases_in(content):
            if alias in known:
                continue
            if not alias.startswith("#") or ":" not in alias:
                raise Refused(Reason.INVALID_PARAM, "That is no room alias")
            if await aliases.room_of(room.tx, alias) != room.room_no:
                raise Refused(Reason.BAD_ALIAS, "The alias does not point to this room")

    async def redact(
        self,
        who: tuple[str, int, int],
        room_id: str,
        event_id: str,
        txn_id: str,
        content: dict[str, Any],
    ) -> str:
        """Redacts an event; its words leave the database at once (CS #redactions)."""
        user_id, user_no, device_no = who
        async with self._append.room(room_id) as room:
            sent = await events.sent_before(room.tx, device_no, room.room_no, "e", txn_id)
            if sent is not None:
                return sent
            draft = Draft(
                user_id,
                user_no,
                "m.room.redaction",
                content,
                device_no=device_no,
                txn_id=txn_id,
            )
            return await self._redact(room, draft, event_id)

    async def _redact(self, room: RoomWriter, draft: Draft, event_id: str) -> str:
        target = await events.event_by_id(room.tx, event_id)
        if target is None or target.room_no != room.room_no:
            raise Refused(Reason.NOT_FOUND, "There is no such event in this room")
        draft.redacts = event_id
        auth_state = await room.auth_state([POWER_LEVELS, ("m.room.member", draft.sender)])
        whole = await events.pdu(room.tx, target.event_no, room.view.version)
        if draft.sender != target.sender and not _has_power(draft.sender, auth_state, room):
            raise Refused(Reason.FORBIDDEN, "You may not redact other people's events here")
        stored = await room.add(draft)
        if target.redacted_by is None:
            events.redact_row(
                room.tx, target.event_no, redact_event(whole), stored.event_id, None
            )
            await marks.drop_marks(room.tx, room.room_no, target.seq)
            await self._redact_traces(room, target)
            room.tx.after(lambda: self._append.recent.drop(room.room_no))
            if target.state_key is not None:
                self._append.views.drop(room.room_no)
        return stored.event_id

    async def _redact_traces(self, room: RoomWriter, target: events.Stored) -> None:
        """The state that followed carries the redacted words in its `prev_content`."""
        if target.state_key is not None:
            await state.forget_previous(
                room.tx, room.room_no, target.type, target.state_key, target.seq
            )


def _has_power(user_id: str, auth_state: dict[tuple[str, str], Event], room: RoomWriter) -> bool:
    levels = PowerLevels.of_state(auth_state, room.view.version)
    return levels.user(user_id) >= levels.named("redact")


def _aliases_in(content: dict[str, Any]) -> list[str]:
    found = [content.get("alias"), *(content.get("alt_aliases") or ())]
    return [alias for alias in found if isinstance(alias, str) and alias]
