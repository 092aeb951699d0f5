"""Saying something in a room: messages, state, redactions."""

from __future__ import annotations

from typing import Any

import orjson

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.append import Append, Draft, RoomWriter
from kerwen.rooms.actions.membership import check_invitable
from kerwen.rooms.auth import POWER_LEVELS
from kerwen.rooms.event import Event, redact_event
from kerwen.rooms.power import PowerLevels
from kerwen.rooms.search_words import SEARCHED
from kerwen.rooms.store import aliases, events, marks, members, search, state, users
from kerwen.rooms.store.events import LOUD, MARKED

_RESERVED = {"m.room.redaction"}  # sent through its own endpoint
_ALIASES_MAX = 1_000


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
            sent = await room.sent_before(device_no, event_type, txn_id)
            if sent is not None:
                return sent
            draft = Draft(
                user_id,
                user_no,
                event_type,
                content,
                ts=ts,
                device_no=device_no,
                txn_id=txn_id,
            )
            if "m.relates_to" in content:
                await self._check_relation(room, draft)
            if event_type in _RESERVED:
                redacts = content.get("redacts")
                if not isinstance(redacts, str):
                    raise Refused(Reason.MISSING_PARAM, "A redaction says what it redacts")
                return await self._redact(room, draft, redacts)
            return (await room.add(draft)).event_id

    async def _check_relation(self, room: RoomWriter, draft: Draft) -> None:
        """CS #validation-of-mthread-relationships, #avoiding-duplicate-annotations"""
        relates = draft.content["m.relates_to"]
        if not isinstance(relates, dict):
            return
        rel_type, event_id = relates.get("rel_type"), relates.get("event_id")
        if not isinstance(event_id, str):
            return
        if rel_type == "m.thread":
            root = await events.parent(room.tx, event_id)
            if root is not None and root.rel_type is not None:
                raise Refused(Reason.BAD_THREAD, "A thread cannot begin at such an event")
        elif rel_type == "m.annotation":
            said = await events.annotations_of(room.tx, event_id, draft.sender, draft.type)
            for event in said:
                content = orjson.loads(events.orjson_content(event.client))
                if content["m.relates_to"].get("key") == relates.get("key"):
                    raise Refused(Reason.DUPLICATE_ANNOTATION, "You said that already")

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
        if about is not None and content.get("membership") == "invite":
            await self._append.meet(about)
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
        _check_alias_fields(content)
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
            sent = await room.sent_before(device_no, event_id, txn_id)
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
        loud = target.redacted_by is None and target.flags & (LOUD | MARKED)
        draft.marked = bool(loud)
        stored = await room.add(draft)
        if target.redacted_by is None:
            await self.blank(room, target, redact_event(whole), stored.event_id)
        return stored.event_id

    async def blank(
        self, room: RoomWriter, target: events.Stored, redacted: Event, redacted_by: str
    ) -> None:
        """Takes an event's words out of the database. `redacted`: what is left of it."""
        events.redact_row(room.tx, target.event_no, redacted, redacted_by, None)
        if target.type in SEARCHED:
            search.forget(room.tx, target.event_no)
        await marks.drop_marks(room.tx, room.room_no, target.seq)
        if target.flags & LOUD:  # nobody need read it any more
            marks.add_mark(room.tx, room.room_no, marks.EVERYONE, target.seq, -1, 0, "")
        await self._redact_traces(room, target, redacted)
        room.tx.after(lambda: self._append.recent.drop(room.room_no))
        if target.state_key is not None:
            self._append.views.drop(room.room_no)

    async def _redact_traces(
        self, room: RoomWriter, target: events.Stored, redacted: Event
    ) -> None:
        """The words stand elsewhere too: in `prev_content` of the state that followed, in what
        the invited are shown, in the list of members."""
        if target.state_key is None:
            return
        tx, room_no, key = room.tx, room.room_no, redacted.key
        previous = b'"prev_content":%b,"prev_sender":%b,"replaces_state":%b' % (
            redacted.content_json,
            orjson.dumps(redacted.sender),
            orjson.dumps(redacted.event_id),
        )
        await state.redact_previous(tx, room_no, key[0], key[1], target.seq, previous)
        if target.type == "m.room.member":
            user_no = await users.user_no(tx, target.state_key)
            if user_no is not None:
                await members.clear_profile(tx, room_no, user_no, target.event_no)
        now = await state.current_entry(tx, room_no, key[0], key[1])
        if now is not None and now[0] == target.event_no:
            for user_no, stripped in await members.asked_in(tx, room_no):
                shown = _without_words(stripped, redacted)
                if shown is not None:
                    await members.set_stripped(tx, room_no, user_no, shown)


def _without_words(stripped: bytes, redacted: Event) -> bytes | None:
    """Stripped state with a redacted event; None if it is not in it."""
    shown = orjson.loads(stripped)
    fits = [e for e in shown if (e["type"], e["state_key"]) == redacted.key]
    for event in fits:
        event["content"] = orjson.loads(redacted.content_json)
    return orjson.dumps(shown) if fits else None


def _has_power(user_id: str, auth_state: dict[tuple[str, str], Event], room: RoomWriter) -> bool:
    levels = PowerLevels.of_state(auth_state, room.view.version)
    return levels.user(user_id) >= levels.named("redact")


def _aliases_in(content: dict[str, Any]) -> list[str]:
    others = content.get("alt_aliases")
    found = [content.get("alias"), *(others if isinstance(others, list) else ())]
    return [alias for alias in found if isinstance(alias, str) and alias]


def _check_alias_fields(content: dict[str, Any]) -> None:
    alias, others = content.get("alias"), content.get("alt_aliases", [])
    if alias is not None and not isinstance(alias, str):
        raise Refused(Reason.INVALID_PARAM, "`alias` is a room alias")
    if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
        raise Refused(Reason.INVALID_PARAM, "`alt_aliases` is a list of room aliases")
    if len(others) > _ALIASES_MAX:
        raise Refused(Reason.TOO_LARGE, "Too many aliases")
