"""Requests made from the specification's own data: every operation, its path, query and body.

`Asking` draws one after the other from a seed. Most values have the shape that is specified and
name what there is (the rooms, events, devices … of `Pool`); each may be another one in its place.
"""

from __future__ import annotations

import json
import random
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from tests.api.operations import OPERATIONS, Operation

_DATA = json.loads((Path(__file__).parent / "requests.json").read_text())
REQUESTS: dict[str, Any] = _DATA["requests"]
_DEFS: dict[str, Any] = _DATA["$defs"]

ODD = 0.06  # how often a value is another than what is specified
DEPTH_MAX = 8
KEPT_MAX = 12  # of each name
_WAITS = {"timeout", "timeout_ms"}  # how long an answer may take: never long
_WAITING = ("/sync", "/events", "/initialSync")
WORDS = ("", "x", "salam", "m.text", "Aýna \U0001f984", "a.b*?[", "../..", "'; --", "x" * 600, "%s")
EVENT_TYPES = (
    "m.room.message", "m.room.encrypted", "m.reaction", "m.room.name", "m.room.topic",
    "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility",
    "m.room.canonical_alias", "m.room.create", "m.room.redaction", "m.room.server_acl",
    "m.room.third_party_invite", "m.room.encryption", "m.room.tombstone", "m.space.child",
    "m.direct", "m.fully_read", "m.push_rules", "m.tag", "m.ignored_user_list", "test.x",
)  # fmt: skip
CONTENT = {  # what events hold, as the specification names it
    "body": "salam", "msgtype": "m.text", "membership": "join", "name": "x", "topic": "x",
    "ban": 50, "users": {}, "events": {}, "users_default": 0, "join_rule": "public",
    "history_visibility": "shared", "alias": "#x:kerwen.test", "alt_aliases": [], "via": ["a.b"],
    "replacement_room": "!x:kerwen.test", "algorithm": "m.megolm.v1.aes-sha2", "allow": [],
    "m.relates_to": {"rel_type": "m.thread", "event_id": "$x"}, "redacts": "$x",
    "m.mentions": {"user_ids": ["@x:kerwen.test"], "room": True}, "ignored_users": {},
    "m.new_content": {"body": "y"}, "displayname": "x", "avatar_url": "mxc://a/b",
    "notifications": {"room": 50}, "third_party_invite": {"signed": {"token": "x"}},
}  # fmt: skip
ODDITIES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 1e308,
    "", "x", "\0", "a\0b", "\ud800", "\u202e", "\U0001f984" * 80, "x" * 70_000, ":", "@", "@:",
    "!", "$", "#", "null", "-1", "1e9", [], [None], [[]], [1, "x", {}], {}, {"": ""}, {"a": None},
    {"a": {"a": {"a": {"a": {"a": {"a": []}}}}}}, ["x"] * 2_000, {str(n): n for n in range(1_000)},
)  # fmt: skip


@dataclass(slots=True)
class Call:
    """One request, ready to be sent."""

    operation: Operation
    path: str
    query: str
    body: bytes
    token: str | None

    def __str__(self) -> str:
        return f"{self.operation.method} {self.path}?{self.query[:300]} {self.body[:600]!r}"


@dataclass(slots=True)
class Pool:
    """What there is to name: values by the names that paths, queries and bodies give them."""

    password: str
    known: dict[str, deque[str]] = field(default_factory=dict)

    def add(self, name: str, *values: str) -> None:
        """Remembers values; the oldest ones of a name are forgotten."""
        self.known.setdefault(spelt(name), deque(maxlen=KEPT_MAX)).extend(values)

    def learn(self, answer: Any, depth: int = 3) -> None:
        """Remembers ids out of an answer, so that later requests name them."""
        pairs = answer.items() if isinstance(answer, dict) else ()
        for name, value in pairs:
            if isinstance(value, str) and spelt(name) in LEARNT and len(value) < 500:
                self.add(LEARNT[spelt(name)], value)
            elif depth:
                for inner in value[:3] if isinstance(value, list) else [value]:
                    self.learn(inner, depth - 1)


def spelt(name: str) -> str:
    """`room_id`, `roomId`: one name."""
    return name.lower().replace("_", "").replace("-", "")


LEARNT = {
    "roomid": "roomid", "eventid": "eventid", "filterid": "filterid", "version": "version",
    "nextbatch": "since", "prevbatch": "from", "start": "from", "end": "from", "token": "token",
    "replacementroom": "roomid", "session": "session", "delayid": "delayid",
    "contenturi": "contenturi",
}  # fmt: skip
_ALSO = {  # other names of the same thing
    "room": "roomid", "roomidoralias": "roomid", "user": "userid", "sender": "userid",
    "to": "from", "nextbatch": "from", "eventtype": "type", "rooms": "roomid", "notrooms": "roomid",
    "senders": "userid", "notsenders": "userid", "types": "type", "nottypes": "type",
    "mfullyread": "eventid", "mread": "eventid", "mreadprivate": "eventid", "invite": "userid",
    "users": "userid", "devices": "deviceid", "redacts": "eventid", "alias": "roomalias",
    "statekey": "userid", "txnid": "txnid", "newroom": "roomid", "url": "contenturi",
}  # fmt: skip


def _odd(chance: random.Random) -> Any:
    return chance.choice(ODDITIES)


class Asking:
    """Draws requests; equal seeds and pools draw equal ones."""

    def __init__(self, chance: random.Random, odd: float = ODD) -> None:
        self.chance = chance
        self.odd = odd
        self._turn: list[Operation] = []

    def operation(self) -> Operation:
        """Each operation as often as any other, in an order of chance."""
        if not self._turn:
            self._turn = list(OPERATIONS)
            self.chance.shuffle(self._turn)
        return self._turn.pop()

    def call(self, operation: Operation, pool: Pool, token: str | None, said: Any = None) -> Call:
        """A request of one operation; `said` describes one that the specification does not know."""
        said, chance = said or REQUESTS[operation.id], self.chance
        path = re.sub(r"\{(\w+)\}", lambda m: self._part(m[1], pool), operation.path)
        query = {}
        for name, schema in said["query"].items():
            if name in _WAITS:
                query[name] = chance.choice(["0", "0", "1", "-1", "x", ""])
            elif chance.random() < 0.6:
                query[name] = self._text(self.value(schema, pool, name))
        if operation.path.endswith(_WAITING):
            query["timeout"] = "0"
        if operation.path.endswith("/json"):
            query["poll"] = "1"
        body = b""
        if operation.method != "GET":
            body = self._body(said["body"], operation, pool)
        return Call(operation, path, urlencode(query, errors="replace"), body, token)

    def _part(self, name: str, pool: Pool) -> str:
        if self.chance.random() < self.odd:
            odd = _odd(self.chance)
            text = self._text(odd)[:500] or "-"
        else:
            text = self._named(name, pool) or "x"
        return quote(text.encode("utf-8", "surrogatepass"), safe="") or "x"

    def _body(self, schema: Any, operation: Operation, pool: Pool) -> bytes:
        if schema is None and "/media/" in operation.path:
            return self.chance.randbytes(self.chance.choice((0, 1, 100, 5_000)))
        if operation.id in ("sendMessage", "setRoomStateWithKey") or schema == {"type": "object"}:
            body = self._content(pool)
        elif operation.id == "setProfileField":
            names = ("displayname", "avatar_url", "m.tz", "test.x")
            body = {n: self.value({"type": "string"}, pool, n) for n in names}
        else:
            body = self.value(schema or {"type": "object"}, pool, "")
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def _content(self, pool: Pool) -> Any:
        names = self.chance.sample(sorted(CONTENT), self.chance.randrange(6))
        found = {name: CONTENT[name] for name in names}
        for name in list(found):
            if self.chance.random() < 3 * self.odd:
                found[name] = _odd(self.chance)
            elif named := self._named(name, pool):
                found[name] = named
        if "m.relates_to" in found and (event := self._named("eventid", pool)):
            kind = self.chance.choice(["m.thread", "m.replace", "m.annotation", "m.reference"])
            found["m.relates_to"] = {"rel_type": kind, "event_id": event, "key": "x"}
        return found

    def value(self, schema: Any, pool: Pool, name: str, depth: int = 0) -> Any:
        """A value for a place called `name`: mostly as the schema says."""
        chance = self.chance
        if chance.random() < self.odd or depth > DEPTH_MAX:
            known = self._named(name, pool)
            return self._bent(known) if known and chance.random() < 0.5 else _odd(chance)
        schema = self._whole(schema)
        if spelt(name) == "auth" and chance.random() < 0.5:
            return self._proof(pool)
        if "enum" in schema:
            return chance.choice(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = chance.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self._object(schema, pool, depth)
        if kind == "array":
            inner = schema.get("items", {"type": "string"})
            return [self.value(inner, pool, name, depth + 1) for _ in range(chance.randrange(4))]
        if kind == "boolean":
            return chance.random() < 0.5
        if kind in ("integer", "number"):
            return chance.choice((0, 1, 2, 5, 10, 50, 100, 1_000, 1_800_000_000_000))
        return self._named(name, pool) or chance.choice(WORDS)

    def _whole(self, schema: Any) -> Any:
        """A schema with what it points to and what it is made of."""
        found = dict(schema)
        if "$ref" in found:
            found |= self._whole(_DEFS[found.pop("$ref").removeprefix("#/$defs/")])
        for part in found.pop("allOf", ()):
            more = self._whole(part)
            properties = {**found.get("properties", {}), **more.get("properties", {})}
            found = {**more, **found, "properties": properties}
        for choice in ("oneOf", "anyOf"):
            if choice in found:
                found |= self._whole(self.chance.choice(found.pop(choice)))
        return found

    def _object(self, schema: Any, pool: Pool, depth: int) -> Any:
        chance, found = self.chance, {}
        required = set(schema.get("required", ()))
        for name, inner in schema.get("properties", {}).items():
            if chance.random() < (0.95 if name in required else 0.5):
                found[name] = self.value(inner, pool, name, depth + 1)
        inners = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
        for inner in inners:
            if isinstance(inner, dict):
                for _ in range(chance.randrange(3)):
                    name = self._key(depth, pool)
                    found[name] = self.value(inner, pool, name, depth + 1)
        if not found and chance.random() < 0.5:
            return self._content(pool)
        return found

    def _key(self, depth: int, pool: Pool) -> str:
        """A name in a map: what such maps are keyed by."""
        kinds = ("userid", "deviceid", "roomid", "keyid", "type", "sessionid")
        return self._named(self.chance.choice(kinds), pool) or "x"

    def _named(self, name: str, pool: Pool) -> str | None:
        name = spelt(name)
        known = pool.known.get(name) or pool.known.get(_ALSO.get(name, ""))
        return self.chance.choice(known) if known else None

    def _bent(self, text: str) -> str:
        """A name that nearly is one of what there is: a character changed, or its end cut off."""
        at = self.chance.randrange(len(text)) if text else 0
        return text[:at] + self.chance.choice(("", "A", "_", "\0", text[at + 1 :]))

    def _proof(self, pool: Pool) -> Any:
        user = self._named("userid", pool)
        return {
            "type": self.chance.choice(["m.login.password", "m.login.dummy"]),
            "identifier": {"type": "m.id.user", "user": user},
            "password": pool.password,
            "session": self._named("session", pool) or "x",
        }

    @staticmethod
    def _text(value: Any) -> str:
        if isinstance(value, str):
            return value
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # a number or text that orjson does not write
            return "x"
