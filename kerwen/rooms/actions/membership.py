"""Coming and going: invite, join, leave, kick, ban, unban, knock, forget."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts import account_data_store as account_data
from kerwen.accounts import profile_store
from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.append import Append, Draft, RoomWriter
from kerwen.rooms.actions.carry_over import carry_over
from kerwen.rooms.auth import CREATE, POWER_LEVELS
from kerwen.rooms.event import Event, server_of
from kerwen.rooms.power import PowerLevels, creators_of
from kerwen.rooms.store import aliases, members
from kerwen.rooms.store.users import room_ids
from kerwen.storage.database import Kind, Snap

# what a join says and a later change of the name need not repeat
_OF_THE_JOIN = ("reason", "join_authorised_via_users_server", "third_party_invite")
_ALLOWED_ROOMS_MAX = 100  # rooms of a restricted join rule that are looked at


class Membership:
    """`who` is (user id, user number). `voice`: who speaks for the server (CS #server-notices)."""

    def __init__(self, append: Append, voice: str = "") -> None:
        self._append = append
        self._voice = voice

    async def resolve(self, room_or_alias: str) -> str:
        """The room id of an id or an alias (CS #room-aliases)."""
        if not room_or_alias.startswith("#"):
            return room_or_alias
        async with self._append.db.read() as snap:
            known = await aliases.room_of(snap, room_or_alias)
        if known is None:
            await self._append.bridges.make_alias(room_or_alias)
        async with self._append.db.read() as snap:
            room_no = await aliases.room_of(snap, room_or_alias)
            if room_no is None:
                raise Refused(Reason.NOT_FOUND, "There is no such room alias")
            return (await room_ids(snap, [room_no]))[room_no]

    async def invite(
        self, who: tuple[str, int], room_id: str, target: str, reason: str | None, **extra: Any
    ) -> None:
        """Asks somebody in (CS #inviting-users)."""
        self._need_local(target)
        await self._append.meet(target)
        async with self._append.room(room_id) as room:
            await self.invite_in(room, who, target, reason, **extra)

    async def invite_in(
        self,
        room: RoomWriter,
        who: tuple[str, int],
        target: str,
        reason: str | None,
        **extra: Any,
    ) -> None:
        """The same in a transaction that has the room already."""
        target_no = await self._append.names.user(room.tx, target)
        if target_no is None:
            raise Refused(Reason.NOT_FOUND, "There is no such user")
        await check_invitable(room.tx, target_no)
        now = await room.view.state_event(room.tx, "m.room.member", target)
        if now is not None and now.membership == "join":
            raise Refused(Reason.FORBIDDEN, "They are in the room already")
        content = await self._content(room, "invite", target_no, reason)
        await room.add(_member(who, target, content | extra))

    async def join(
        self,
        who: tuple[str, int],
        room_id: str,
        reason: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Enters a room (CS #joining-rooms)."""
        user_id, user_no = who
        async with self._append.room(room_id) as room:
            now = await room.view.state_event(room.tx, "m.room.member", user_id)
            if now is not None and now.membership == "join":
                return
            content = await self._content(room, "join", user_no, reason)
            if extra:
                content = {**extra, **content}
            if now is None or now.membership != "invite":
                await self._authorize_restricted(room, user_id, user_no, content)
            await room.add(_member(who, user_id, content))
            create = await room.view.state_event(room.tx, *CREATE)
        predecessor = create.content.get("predecessor") if create is not None else None
        old_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        if isinstance(old_id, str):
            await carry_over(self._append.db, user_no, old_id, room_id)

    async def leave(self, who: tuple[str, int], room_id: str, reason: str | None) -> None:
        """Leaves a room, declines an invite, takes a knock back (CS #leaving-rooms)."""
        user_id, _ = who
        async with self._append.room(room_id) as room:
            now = await room.view.state_event(room.tx, "m.room.member", user_id)
            if now is None:
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            if now.membership == "leave":
                return
            if now.membership == "invite" and now.sender == self._voice:
                raise Refused(Reason.CANNOT_LEAVE, "What the server has to say is not declined")
            await room.add(_member(who, user_id, _bare("leave", reason)))

    async def remove(
        self,
        who: tuple[str, int],
        room_id: str,
        target: str,
        membership: str,
        reason: str | None,
        only_from: tuple[str, ...] | None = None,
    ) -> None:
        """Kicks, bans or unbans (CS #kicking-users, #banning-users).

        `only_from`: the memberships from which the deed makes sense; others are refused.
        """
        async with self._append.room(room_id, about=target) as room:
            now = await room.view.state_event(room.tx, "m.room.member", target)
            before = now.membership if now is not None else None
            if only_from is not None and before not in only_from:
                own = await room.view.state_event(room.tx, "m.room.member", who[0])
                if own is None or own.membership != "join":  # who is where is not their business
                    raise Refused(Reason.FORBIDDEN, "You are not in this room")
                unban = only_from == ("ban",)
                why = Reason.BAD_STATE if unban else Reason.FORBIDDEN
                raise Refused(why, f"Their membership is {before or 'none'}")
            await room.add(_member(who, target, _bare(membership, reason)))

    async def knock(self, who: tuple[str, int], room_id: str, reason: str | None) -> None:
        """Asks to be let in (CS #knocking-on-rooms)."""
        async with self._append.room(room_id) as room:
            content = await self._content(room, "knock", who[1], reason)
            await room.add(_member(who, who[0], content))

    async def forget(self, user_no: int, room_id: str) -> None:
        """The room no longer shows (CS #post-forget); only for those who left."""
        async with self._append.db.write() as tx:
            room_no = await self._append.names.room(tx, room_id)
            if room_no is None:
                raise Refused(Reason.UNKNOWN_ROOM, "There is no such room")
            if not await members.forget(tx, room_no, user_no):
                member = await members.member(tx, room_no, user_no)
                if member is None:
                    raise Refused(Reason.FORBIDDEN, "You were never in this room")
                raise Refused(Reason.STILL_JOINED, "Leave the room before you forget it")
            tx.change(Kind.ACCOUNT, user_no)

    async def refresh_profile(self, who: tuple[str, int]) -> None:
        """Name or picture changed: tells it in every room, a transaction each."""
        async with self._append.db.read() as snap:
            joined = await members.joined_rooms(snap, who[1])
            ids = await room_ids(snap, joined)
        for room_id in ids.values():
            try:
                await self._tell_profile(who, room_id)
            except Refused:
                continue  # left or banned meanwhile

    async def leave_all(self, user_no: int, user_id: str, erase: bool) -> None:
        """Somebody leaves for good: out of every room, invites declined, a transaction each."""
        async with self._append.db.read() as snap:
            places = await members.members_of(snap, user_no)
            ids = await room_ids(snap, [p.room_no for p in places])
        for place in places:
            if place.membership in ("join", "invite", "knock"):
                try:
                    await self.leave((user_id, user_no), ids[place.room_no], None)
                except Refused:
                    continue  # banned or gone meanwhile

    async def _tell_profile(self, who: tuple[str, int], room_id: str) -> None:
        async with self._append.room(room_id) as room:
            now = await room.view.state_event(room.tx, "m.room.member", who[0])
            if now is None or now.membership != "join":
                return
            name, avatar = await shown_profile(room.tx, who[1])
            content = {**now.content, "displayname": name, "avatar_url": avatar}
            for field in _OF_THE_JOIN:
                content.pop(field, None)
            content = {k: v for k, v in content.items() if v is not None}
            await room.add(_member(who, who[0], content))

    async def _content(
        self, room: RoomWriter, membership: str, user_no: int, reason: str | None
    ) -> dict[str, Any]:
        name, avatar = await shown_profile(room.tx, user_no)
        content: dict[str, Any] = {"membership": membership}
        if name is not None:
            content["displayname"] = name
        if avatar is not None:
            content["avatar_url"] = avatar
        if reason is not None:
            content["reason"] = reason
        return content

    async def _authorize_restricted(
        self, room: RoomWriter, user_id: str, user_no: int, content: dict[str, Any]
    ) -> None:
        """RV8 #authorization-rules: one of ours who may invite vouches for the join."""
        rules = await room.view.state_event(room.tx, "m.room.join_rules")
        rule = rules.content.get("join_rule") if rules is not None else None
        if rules is None or rule not in ("restricted", "knock_restricted"):
            return
        if not await self._in_an_allowed_room(room, rules, user_no):
            raise Refused(Reason.FORBIDDEN, "You are in none of the rooms that open this one")
        voucher = await self._voucher(room)
        if voucher is None:
            raise Refused(Reason.FORBIDDEN, "Nobody here may let you in")
        content["join_authorised_via_users_server"] = voucher

    async def _in_an_allowed_room(self, room: RoomWriter, rules: Event, user_no: int) -> bool:
        allow = rules.content.get("allow")
        for entry in (allow if isinstance(allow, list) else [])[:_ALLOWED_ROOMS_MAX]:
            if not isinstance(entry, dict) or entry.get("type") != "m.room_membership":
                continue
            allowed = entry.get("room_id")
            if not isinstance(allowed, str):
                continue
            room_no = await self._append.names.room(room.tx, allowed)
            if room_no is None:
                continue
            member = await members.member(room.tx, room_no, user_no)
            if member is not None and member.membership == "join":
                return True
        return False

    async def _voucher(self, room: RoomWriter) -> str | None:
        """A joined user of this server who may invite."""
        state = await room.auth_state([POWER_LEVELS])
        levels = PowerLevels.of_state(state, room.view.version)
        needed = levels.named("invite")
        named = state[POWER_LEVELS].content.get("users") if POWER_LEVELS in state else None
        people: list[str] = [*creators_of(state[CREATE])]
        people += named if isinstance(named, dict) else ()
        for user_id in people[:1000]:
            if server_of(user_id) == self._append.server_name and levels.user(user_id) >= needed:
                member = await room.view.state_event(room.tx, "m.room.member", user_id)
                if member is not None and member.membership == "join":
                    return user_id
        if levels.named("users_default") >= needed:
            return await members.any_joined(room.tx, room.room_no, ":" + self._append.server_name)
        return None

    def _need_local(self, user_id: str) -> None:
        if not user_id.startswith("@") or ":" not in user_id:
            raise Refused(Reason.INVALID_PARAM, "That is no user id")
        if server_of(user_id) != self._append.server_name:
            raise Refused(Reason.FORBIDDEN, "This server does not federate yet")


def _member(who: tuple[str, int], target: str, content: dict[str, Any]) -> Draft:
    return Draft(who[0], who[1], "m.room.member", content, state_key=target)


def _bare(membership: str, reason: str | None) -> dict[str, Any]:
    return (
        {"membership": membership}
        if reason is None
        else {
            "membership": membership,
            "reason": reason,
        }
    )


class _InviteConfig(msgspec.Struct):
    default_action: object = None


async def check_invitable(snap: Snap, user_no: int) -> None:
    """Refuses to invite who is not here (`NOT_FOUND`) or wants no invites (`INVITE_BLOCKED`)."""
    account = await accounts.by_no(snap, user_no)
    if account is None or account.deactivated_ms:
        raise Refused(Reason.NOT_FOUND, "There is no such user")
    if await blocks_invites(snap, user_no):
        raise Refused(Reason.INVITE_BLOCKED, "They accept no invites")


async def blocks_invites(snap: Snap, user_no: int) -> bool:
    """Whether somebody wants no invites (CS #invite-permission)."""
    stored = await account_data.get_global(snap, user_no, "m.invite_permission_config")
    if stored is None:
        return False
    return msgspec.json.decode(stored, type=_InviteConfig).default_action == "block"


async def shown_profile(snap: Snap, user_no: int) -> tuple[str | None, str | None]:
    """(display name, avatar url) for a member event."""
    return (await profile_store.names(snap, [user_no])).get(user_no, (None, None))
