"""Making a room: all its first events in one transaction (CS #creation)."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.actions.append import Append, Draft, RoomWriter
from kerwen.rooms.actions.membership import Membership, shown_profile
from kerwen.rooms.auth import check_auth
from kerwen.rooms.build import build_event
from kerwen.rooms.event import Event, server_of
from kerwen.rooms.store import aliases
from kerwen.rooms.versions import DEFAULT_ROOM_VERSION, RoomVersion, room_version

_INVITES_MAX = 200
_STATE_MAX = 200

_PRESETS: dict[str, tuple[str, str, str]] = {  # join rule, history, guests
    "private_chat": ("invite", "shared", "can_join"),
    "trusted_private_chat": ("invite", "shared", "can_join"),
    "public_chat": ("public", "shared", "forbidden"),
}
_CREATOR_LEVEL = 100
_EVENT_LEVELS = {
    "m.room.name": 50,
    "m.room.avatar": 50,
    "m.room.canonical_alias": 50,
    "m.room.power_levels": 100,
    "m.room.history_visibility": 100,
    "m.room.encryption": 100,
    "m.room.server_acl": 100,
    "m.room.tombstone": 100,
}


class InitialState(msgspec.Struct):
    """A state event that the creator wants from the start."""

    type: str
    content: dict[str, Any]
    state_key: str = ""


class Wish(msgspec.Struct):
    """What `POST /createRoom` asks for."""

    visibility: str = "private"
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] = []
    invite_3pid: list[Any] = []
    room_version: str | None = None
    creation_content: dict[str, Any] = {}
    initial_state: list[InitialState] = []
    preset: str | None = None
    is_direct: bool = False
    power_level_content_override: dict[str, Any] = {}


class CreateRoom:
    """`encrypt_private`: private rooms are encrypted unless their creator says otherwise."""

    def __init__(
        self,
        append: Append,
        membership: Membership,
        *,
        encrypt_private: bool = True,
    ) -> None:
        self._append = append
        self._membership = membership
        self._encrypt_private = encrypt_private

    async def __call__(
        self,
        who: tuple[str, int],
        wish: Wish,
        levels: dict[str, Any] | None = None,
        service: str = "",
    ) -> str:
        """The id of the new room. `who` is (user id, user number); `levels` are power levels
        to take as they are; `service` the application service that acts. Refuses
        (`INVALID_ROOM_STATE`) state that contradicts itself.
        """
        version = room_version(wish.room_version or DEFAULT_ROOM_VERSION)
        preset = self._check(wish)
        alias = self._alias(wish)
        if alias is not None:
            self._append.bridges.check_alias(who[0], alias, service)
        for user_id in wish.invite:
            await self._append.meet(user_id)
        numbers = await self._append.numbers(12 + len(wish.initial_state) + len(wish.invite))
        room_no = await self._append.db.take_id("room")
        create = self._create_event(who[0], version, wish, preset)
        _check_create(create, version)
        try:
            async with self._append.db.write() as tx:
                room = await self._append.start(tx, room_no, create, numbers, who[1])
                if levels is None:
                    levels = self._levels(who[0], version, wish, preset)
                await self._fill(room, who, levels, wish, preset, alias)
                room.finish()
        except BaseException:
            self._append.views.drop(room_no)
            raise
        return create.room_id

    def _check(self, wish: Wish) -> str:
        if wish.visibility not in ("public", "private"):
            raise Refused(Reason.INVALID_PARAM, "visibility is public or private")
        preset = wish.preset or ("public_chat" if wish.visibility == "public" else "private_chat")
        if preset not in _PRESETS:
            raise Refused(Reason.INVALID_PARAM, "There is no such preset")
        if len(wish.invite) > _INVITES_MAX or len(wish.initial_state) > _STATE_MAX:
            raise Refused(Reason.TOO_LARGE, "Too many invites or state events at once")
        if wish.invite_3pid:
            raise Refused(Reason.THREEPID_UNSUPPORTED, "Third-party invites are not offered")
        for user_id in wish.invite:
            if not user_id.startswith("@") or server_of(user_id) == "":
                raise Refused(Reason.INVALID_PARAM, "That is no user id")
            if server_of(user_id) != self._append.server_name:
                raise Refused(Reason.FORBIDDEN, "This server does not federate yet")
        return preset

    def _alias(self, wish: Wish) -> str | None:
        name = wish.room_alias_name
        if name is None:
            return None
        return make_alias(name, self._append.server_name)

    def _create_event(self, user_id: str, version: RoomVersion, wish: Wish, preset: str) -> Event:
        content = {k: v for k, v in wish.creation_content.items() if k != "creator"}
        content["room_version"] = version.id
        if not version.creator_is_sender:
            content["creator"] = user_id
        if version.privileged_creators and preset == "trusted_private_chat":
            more = content.get("additional_creators")
            people = [*(more if isinstance(more, list) else []), *wish.invite]
            content["additional_creators"] = [p for p in dict.fromkeys(people) if p != user_id]
        room_id = None
        if not version.room_id_is_create_hash:
            room_id = f"!{secrets.token_urlsafe(18)}:{self._append.server_name}"
        return build_event(
            version,
            room_id=room_id,
            sender=user_id,
            type="m.room.create",
            content=content,
            prev_events=(),
            auth_events=(),
            depth=1,
            origin_server_ts=self._append.clock(),
            key=self._append.key,
            server_name=self._append.server_name,
            state_key="",
        )

    async def _fill(
        self,
        room: RoomWriter,
        who: tuple[str, int],
        levels: dict[str, Any],
        wish: Wish,
        preset: str,
        alias: str | None,
    ) -> None:
        name, avatar = await shown_profile(room.tx, who[1])
        me: dict[str, Any] = {"membership": "join", "displayname": name, "avatar_url": avatar}
        me = {k: v for k, v in me.items() if v is not None}
        await self._say(room, who, "m.room.member", me, who[0])
        await self._say(room, who, "m.room.power_levels", levels)
        if alias is not None:
            now = self._append.clock()
            if not await aliases.add_alias(room.tx, alias, room.room_no, who[0], now):
                raise Refused(Reason.ROOM_IN_USE, "The alias is taken")
            await self._say(room, who, "m.room.canonical_alias", {"alias": alias})
        asked = {(s.type, s.state_key) for s in wish.initial_state}
        for event_type, content in self._preset_state(wish, preset):
            if (event_type, "") not in asked:
                await self._say(room, who, event_type, content)
        for initial in wish.initial_state:
            await self._say(room, who, initial.type, initial.content, initial.state_key)
        if wish.name is not None:
            await self._say(room, who, "m.room.name", {"name": wish.name})
        if wish.topic is not None:
            topic = {"topic": wish.topic, "m.topic": {"m.text": [{"body": wish.topic}]}}
            await self._say(room, who, "m.room.topic", topic)
        if wish.visibility == "public":
            await aliases.publish(room.tx, room.room_no, True, self._append.clock())
        extra = {"is_direct": True} if wish.is_direct else {}
        for user_id in dict.fromkeys(wish.invite):
            if user_id != who[0]:
                await self._invite(room, who, user_id, extra)

    async def _invite(
        self, room: RoomWriter, who: tuple[str, int], user_id: str, extra: dict[str, Any]
    ) -> None:
        try:
            await self._membership.invite_in(room, who, user_id, None, **extra)
        except Refused as error:
            if error.reason is Reason.NOT_FOUND:
                raise Refused(Reason.INVALID_PARAM, f"There is no user {user_id}") from None
            raise _impossible(error) from None

    async def _say(
        self,
        room: RoomWriter,
        who: tuple[str, int],
        event_type: str,
        content: dict[str, Any],
        state_key: str = "",
    ) -> None:
        try:
            await room.add(Draft(who[0], who[1], event_type, content, state_key=state_key))
        except Refused as error:
            raise _impossible(error) from None

    def _levels(
        self, user_id: str, version: RoomVersion, wish: Wish, preset: str
    ) -> dict[str, Any]:
        events = dict(_EVENT_LEVELS)
        users: dict[str, int] = {}
        if version.privileged_creators:
            events["m.room.tombstone"] = 150  # CS #creation: above every named level
        else:
            users[user_id] = _CREATOR_LEVEL
            if preset == "trusted_private_chat":
                users |= dict.fromkeys(wish.invite, _CREATOR_LEVEL)
        levels = {
            "users": users,
            "users_default": 0,
            "events": events,
            "events_default": 0,
            "state_default": 50,
            "ban": 50,
            "kick": 50,
            "redact": 50,
            "invite": 50 if preset == "public_chat" else 0,
        }
        return levels | wish.power_level_content_override

    def _preset_state(self, wish: Wish, preset: str) -> list[tuple[str, dict[str, Any]]]:
        join_rule, history, guests = _PRESETS[preset]
        found: list[tuple[str, dict[str, Any]]] = [
            ("m.room.join_rules", {"join_rule": join_rule}),
            ("m.room.history_visibility", {"history_visibility": history}),
            ("m.room.guest_access", {"guest_access": guests}),
        ]
        if self._encrypt_private and preset != "public_chat" and wish.visibility != "public":
            found.append(("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}))
        return found


def _check_create(create: Event, version: RoomVersion) -> None:
    try:
        check_auth(create, {}, version)
    except Refused as error:
        raise Refused(Reason.INVALID_PARAM, error.public_text) from None


def _impossible(error: Refused) -> Refused:
    """What the room's own first state does not allow."""
    if error.reason is Reason.FORBIDDEN:
        return Refused(Reason.INVALID_ROOM_STATE, error.public_text)
    return error


def make_alias(name: str, server_name: str) -> str:
    """The alias of a local part. Says `INVALID_PARAM`."""
    alias = f"#{name}:{server_name}"
    if not name or ":" in name or "\0" in name or name != name.strip():
        raise Refused(Reason.INVALID_PARAM, "That is no name for a room")
    if len(alias.encode("utf-8", "replace")) > 255:
        raise Refused(Reason.INVALID_PARAM, "The room's name is too long")
    return alias
