"""Writes people and rooms as Synapse keeps them, with events that are signed and hashed as usual.

    maker = Maker(connection, "old.test")
    maker.account("ayna", "a password")
    room = maker.room("11", "@ayna:old.test")
    room.say("@ayna:old.test", "Salam")
    maker.finish()

Works on an empty database of `schema.sql` and on one that a real Synapse has made.
"""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from pathlib import Path
from typing import Any

import bcrypt

from kerwen.base.signing import SigningKey, encode_base64
from kerwen.rooms.auth import auth_types
from kerwen.rooms.build import build_event
from kerwen.rooms.event import Event, StateKey
from kerwen.rooms.versions import ROOM_VERSIONS, RoomVersion

Json = dict[str, Any]
SCHEMA = Path(__file__).with_name("schema.sql")
ROUNDS = 4  # of bcrypt: what it costs is not what is tested


def empty(path: Path) -> sqlite3.Connection:
    """A new database with the tables that we describe."""
    conn = sqlite3.connect(path)
    conn.executescript(SCHEMA.read_text("utf-8"))
    return conn


class Maker:
    """One database under way. `stream` is the last position that was given to an event."""

    def __init__(self, conn: sqlite3.Connection, domain: str, pepper: str = "") -> None:
        self.conn = conn
        self.domain = domain
        self.pepper = pepper
        self.seed = secrets.token_bytes(32)
        self.key = SigningKey("old", self.seed)
        self.stream = self._last("events", "stream_ordering")
        self.earlier = 0
        self.now_ms = 1_700_000_000_000
        self._tokens = self._last("access_tokens", "id")
        self.rooms: list[Room] = []

    def _last(self, table: str, column: str) -> int:
        return int(
            self.conn.execute(f"select coalesce(max({column}), 1) from {table}").fetchone()[0]
        )

    @property
    def signing_key(self) -> str:
        """The line of the signing key's file."""
        return f"ed25519 old {encode_base64(self.seed)}"

    def put(self, table: str, **row: Any) -> None:
        """One row; objects are written as JSON."""
        values = [json.dumps(v) if isinstance(v, dict | list) else v for v in row.values()]
        marks = ", ".join("?" for _ in row)
        self.conn.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", values)

    def user(self, name: str) -> str:
        """A user id of the server."""
        return f"@{name}:{self.domain}"

    def account(self, name: str, password: str | None = None, **more: Any) -> str:
        """An account with a profile; its user id."""
        hashed = None
        if password is not None:
            raw = (password + self.pepper).encode()
            hashed = bcrypt.hashpw(raw, bcrypt.gensalt(ROUNDS)).decode()
        user_id = self.user(name)
        self.put("users", name=user_id, password_hash=hashed, creation_ts=1_600_000_000, **more)
        self.put("profiles", user_id=name, displayname=name.title(), full_user_id=user_id)
        return user_id

    def device(self, user_id: str, device_id: str, name: str = "Telefon") -> str:
        """A device of an account; its access token."""
        self._tokens += 1
        token = f"syt_{base64.b64encode(user_id.encode()).decode()}_{secrets.token_hex(8)}"
        self.put(
            "devices",
            user_id=user_id,
            device_id=device_id,
            display_name=name,
            last_seen=self.now_ms,
        )
        self.put(
            "access_tokens", id=self._tokens, user_id=user_id, device_id=device_id, token=token
        )
        return token

    def room(self, version: str, creator: str, **state: Json) -> Room:
        """A room with its first events; `state`: contents by the last word of the type."""
        room = Room(self, ROOM_VERSIONS[version], creator)
        room.begin(state)
        self.rooms.append(room)
        return room

    def finish(self) -> None:
        """Writes what stands at the end of each room."""
        for room in self.rooms:
            room.end()
        self.rooms.clear()
        self.conn.commit()


class Room:
    """One room under way: its state, its newest events."""

    def __init__(self, maker: Maker, version: RoomVersion, creator: str) -> None:
        self.maker = maker
        self.version = version
        self.creator = creator
        self.id: str | None = None
        if not version.room_id_is_create_hash:
            self.id = f"!{secrets.token_hex(9)}:{maker.domain}"
        self.state: dict[StateKey, Event] = {}
        self.tips: list[Event] = []

    def begin(self, state: dict[str, Json]) -> None:
        """The events that every room has."""
        content: Json = {"room_version": self.version.id}
        if not self.version.creator_is_sender:
            content["creator"] = self.creator
        created = self.add(self.creator, "m.room.create", content, state_key="")
        self.id = created.room_id
        self.maker.put("rooms", room_id=self.id, is_public=False, room_version=self.version.id)
        self.join(self.creator)
        users = {} if self.version.privileged_creators else {self.creator: 100}
        levels: Json = {"users": users, "events_default": 0, "invite": 0}
        self.add(self.creator, "m.room.power_levels", levels, state_key="")
        rest = {"join_rules": {"join_rule": "public"}, **state}
        for name, one in rest.items():
            self.add(self.creator, f"m.room.{name}", one, state_key="")

    def join(self, user_id: str, membership: str = "join", by: str | None = None) -> Event:
        """A member event."""
        content: Json = {"membership": membership}
        if membership == "join":
            content["displayname"] = user_id[1:].partition(":")[0]
        return self.add(by or user_id, "m.room.member", content, state_key=user_id)

    def say(self, sender: str, text: str, **more: Any) -> Event:
        """A message."""
        return self.add(sender, "m.room.message", {"msgtype": "m.text", "body": text, **more})

    def redact(self, sender: str, target: Event, **about: Any) -> Event:
        """A redaction, and Synapse's row about it."""
        event = self.add(sender, "m.room.redaction", {}, redacts=target.event_id, **about)
        self.maker.put("redactions", event_id=event.event_id, redacts=target.event_id)
        return event

    def add(
        self,
        sender: str,
        event_type: str,
        content: Json,
        *,
        state_key: str | None = None,
        redacts: str | None = None,
        after: list[Event] | None = None,
        keep: bool = True,
        outlier: bool = False,
        rejected: bool = False,
        earlier: bool = False,
        about: Json | None = None,
        spoil: bool = False,
    ) -> Event:
        """An event with its rows. `after`: what it follows, instead of the newest; `keep`: whether
        state changes; `earlier`: it came by backfill; `spoil`: its words are not those it had.
        """
        maker = self.maker
        maker.now_ms += 1_000
        before = self.tips if after is None else after
        keys = auth_types(self.version, event_type, sender, state_key, content)
        if not self.version.create_in_auth_events:
            keys = [key for key in keys if key[0] != "m.room.create"]
        event = build_event(
            self.version,
            room_id=self.id,
            sender=sender,
            type=event_type,
            content=content,
            prev_events=[e.event_id for e in before],
            auth_events=[self.state[key].event_id for key in keys if key in self.state],
            depth=max((e.depth for e in before), default=0) + 1,
            origin_server_ts=maker.now_ms,
            key=maker.key,
            server_name=maker.domain,
            state_key=state_key,
            redacts=redacts,
        )
        self._write(event, outlier, rejected, earlier, about or {}, spoil)
        if state_key is not None and keep and not rejected:
            self.state[event.key] = event
        if not (outlier or rejected or earlier):
            self.tips = [e for e in self.tips if e not in before] + [event]
        return event

    def _write(
        self, event: Event, outlier: bool, rejected: bool, earlier: bool, about: Json, spoil: bool
    ) -> None:
        maker = self.maker
        if earlier:
            maker.earlier -= 1
            stream = maker.earlier
        else:
            maker.stream += 1
            stream = maker.stream
        maker.put(
            "events", stream_ordering=stream, topological_ordering=event.depth,
            event_id=event.event_id, type=event.type, room_id=event.room_id, outlier=outlier,
            depth=event.depth, origin_server_ts=event.origin_server_ts, sender=event.sender,
            state_key=event.state_key, rejection_reason="no right" if rejected else None,
            **_MORE_OF_EVENTS,
        )  # fmt: skip
        pdu = event.pdu() | {"unsigned": {"age_ts": event.origin_server_ts}}
        if spoil:
            pdu["depth"] += 1
        maker.put(
            "event_json", event_id=event.event_id, room_id=event.room_id,
            internal_metadata=about, json=json.dumps(pdu, ensure_ascii=False),
        )  # fmt: skip
        if event.type == "m.room.member":
            maker.put(
                "room_memberships", event_id=event.event_id, user_id=event.state_key,
                room_id=event.room_id, membership=event.membership, **_MORE_OF_MEMBERS,
                **({"sender": event.sender} if _MORE_OF_EVENTS else {}),
            )  # fmt: skip

    def end(self) -> None:
        """What stands at the end."""
        for (event_type, state_key), event in self.state.items():
            self.maker.put(
                "current_state_events", event_id=event.event_id, room_id=self.id,
                type=event_type, state_key=state_key,
            )  # fmt: skip
        for tip in self.tips:
            self.maker.put("event_forward_extremities", event_id=tip.event_id, room_id=self.id)


_MORE_OF_EVENTS: Json = {}  # columns that only a real Synapse insists on
_MORE_OF_MEMBERS: Json = {}


def for_a_real_synapse() -> None:
    """From now on rows have what a real Synapse's tables insist on."""
    _MORE_OF_EVENTS["processed"] = True
