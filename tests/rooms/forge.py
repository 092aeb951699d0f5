"""A forge of room events for tests: real, signed events of any room version, no store."""

from __future__ import annotations

import hashlib
from typing import Any

from kerwen.base.errors import Refused
from kerwen.base.signing import SigningKey
from kerwen.rooms.auth import auth_types, check_auth
from kerwen.rooms.build import build_event
from kerwen.rooms.event import Event, StateKey, server_of
from kerwen.rooms.versions import ROOM_VERSIONS

ALICE = "@alice:a.test"  # who made the room
MOD = "@mod:a.test"  # level 50
BOB = "@bob:b.test"
CAROL = "@carol:c.test"
VERSIONS = list(ROOM_VERSIONS)
_KEYS: dict[str, SigningKey] = {}


def key_of(server: str) -> SigningKey:
    if server not in _KEYS:
        _KEYS[server] = SigningKey("k1", hashlib.sha256(server.encode()).digest())
    return _KEYS[server]


class Forge:
    """A room. `put` writes into its state unchecked; `make` only makes an event."""

    def __init__(self, version: str = "12", creator: str = ALICE, **create_content: Any) -> None:
        self.version = ROOM_VERSIONS[version]
        self.events: dict[str, Event] = {}
        self.state: dict[StateKey, Event] = {}
        self.last: tuple[str, ...] = ()
        self.clock = 1_700_000_000_000
        self.room_id: str | None = None
        content = {"room_version": version, **create_content}
        if not self.version.creator_is_sender:
            content["creator"] = creator
        if not self.version.room_id_is_create_hash:
            self.room_id = "!room:" + server_of(creator)
        self.create = self.put(creator, "m.room.create", content)
        self.room_id = self.create.room_id
        self.creator = creator

    def furnish(self, join_rule: str | None = "invite", **levels: Any) -> Forge:
        """Alice and Mod join; levels and join rule are set."""
        users = {MOD: 50, **levels.pop("users", {})}
        if not self.version.privileged_creators:
            users = {self.creator: 100, **users}
        self.member(self.creator, "join")
        self.put(self.creator, "m.room.power_levels", {"users": users, **levels})
        if join_rule is not None:
            self.put(self.creator, "m.room.join_rules", {"join_rule": join_rule})
        self.member(MOD, "join")
        return self

    def make(
        self,
        sender: str,
        type: str,
        content: dict[str, Any],
        state_key: str | None = None,
        *,
        prev: tuple[str, ...] | None = None,
        state: dict[StateKey, Event] | None = None,
        ts: int | None = None,
        redacts: str | None = None,
    ) -> Event:
        """An event with the auth events that `state` (the room's) gives it."""
        state = self.state if state is None else state
        self.clock += 1
        keys = auth_types(self.version, type, sender, state_key, content)
        prev = self.last if prev is None else prev
        depths = [self.events[p].depth for p in prev if p in self.events]
        return build_event(
            self.version,
            room_id=self.room_id,
            sender=sender,
            type=type,
            content=content,
            prev_events=prev,
            auth_events=[state[k].event_id for k in keys if k in state],
            depth=max(depths, default=0) + 1,
            origin_server_ts=self.clock if ts is None else ts,
            key=key_of(server_of(sender)),
            server_name=server_of(sender),
            state_key=state_key,
            redacts=redacts,
        )

    def put(self, sender: str, type: str, content: dict[str, Any], state_key: str = "") -> Event:
        """A state event, in the state without asking whether it may."""
        event = self.make(sender, type, content, state_key)
        self.events[event.event_id] = event
        self.state[event.key] = event
        self.last = (event.event_id,)
        return event

    def member(self, user: str, membership: str, sender: str | None = None, **more: Any) -> Event:
        content = {"membership": membership, **more}
        return self.put(sender or user, "m.room.member", content, user)

    def on(
        self,
        state: dict[StateKey, Event],
        sender: str,
        type: str,
        content: dict[str, Any],
        state_key: str = "",
        ts: int | None = None,
    ) -> Event:
        """A state event on a branch of its own, written into the branch's `state`."""
        event = self.make(sender, type, content, state_key, state=state, ts=ts)
        self.events[event.event_id] = event
        state[event.key] = event
        return event

    def allows(self, event: Event) -> bool:
        try:
            check_auth(event, self.state)
        except Refused:
            return False
        return True


def from_to(first: int, last: int = 12) -> list[str]:
    return [str(n) for n in range(first, last + 1)]
