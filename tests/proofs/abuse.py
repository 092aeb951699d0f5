"""Requests that no decent client makes: made from the routes of the house, in a seeded order."""

from __future__ import annotations

import inspect
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from kerwen.api.http import Access, Route

LONG = "x" * 300_000
DEEP_LIST = b"[" * 10_000 + b"]" * 10_000
DEEP_OBJECT = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
BODIED = ("PUT", "POST", "DELETE")

NOT_JSON = {
    "no json": b"not json",
    "cut": b'{"a":',
    "two": b"{}{}",
    "nan": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "bad utf-8": b'{"a":"\xff\xfe"}',
    "cut utf-8": b'{"a":"\xe2\x82"}',
    "utf-16": '{"a":1}'.encode("utf-16"),
    "surrogate bytes": b'{"a":"\xed\xa0\x80"}',
    "raw nul": b'{"a":"\x00"}',
    "only nul": b"\x00",
    "bare word": b"{a:1}",
    "form": b"a=1&b=2",
    "comma": b'{"a":1,}',
}
NO_OBJECT = {
    "list": b"[]",
    "text": b'"x"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "objects": b"[{}]",
}
PERHAPS = {  # JSON that a route may take where it ignores what it does not know
    "empty": b"",
    "space": b" \r\n\t",
    "lone surrogate": b'{"a":"\\ud800"}',
    "surrogate name": b'{"\\udfff":1}',
    "nul": b'{"\\u0000":"\\u0000"}',
    "huge exponent": b'{"a":1e999}',
    "tiny exponent": b'{"a":1e-999}',
    "huge number": b'{"a":' + b"9" * 5_000 + b"}",
    "minus zero": b'{"a":-0}',
    "deep list": b'{"a":' + DEEP_LIST + b"}",
    "deep top": DEEP_LIST,
    "deep object": DEEP_OBJECT,
    "long text": orjson.dumps({"a": LONG}),
    "long name": orjson.dumps({LONG: 1}),
    "many names": orjson.dumps({str(n): n for n in range(20_000)}),
    "twice": b'{"a":1,"a":2,"a":3}',
    "marked": b'\xef\xbb\xbf{"a":1}',
}
VALUES: dict[str, Any] = {  # in the place of a field
    "null": None,
    "true": True,
    "one": 1,
    "minus": -1,
    "fraction": 1.5,
    "big": 2**53,
    "bigger": 2**63,
    "huge": 1e308,
    "empty": "",
    "text": "x",
    "nul": "a\0b",
    "user": "@nobody:elsewhere.test",
    "colon": ":",
    "long": LONG,
    "list": [],
    "numbers": [1, None, "x"],
    "object": {},
    "nested": {"a": {"b": [{"c": None}]}},
}
PARTS = {  # percent-encoded, in the place of a part of a path
    "nul": "%00",
    "nul inside": "a%00b",
    "bad utf-8": "%ff%fe",
    "surrogate": "%ed%a0%80",
    "overlong": "%c0%af",
    "percent": "%",
    "half": "%2",
    "no hex": "%zz",
    "dots": "..",
    "slashes": "..%2f..%2fetc%2fpasswd",
    "empty": "",
    "space": "%20",
    "break": "%0d%0ax-evil:%201",
    "long": "a" * 20_000,
    "rather long": "a" * 300,
    "picture": "%f0%9f%a6%84",
    "user": "%40a%3Ab",
    "bare sign": "%40",
    "room": "%21x%3Aelsewhere.test",
    "alias": "%23x%3Aelsewhere.test",
    "event": "%24x",
    "number": "99999999999999999999",
    "minus": "-1",
    "null": "null",
    "object": "%7B%7D",
}
QUERIES = {  # percent-encoded, as the value of a parameter
    "empty": "",
    "minus": "-1",
    "very minus": "-99999999999999999999",
    "exponent": "1e9",
    "fraction": "1.5",
    "nan": "NaN",
    "big": "9223372036854775808",
    "huge": "9" * 5_000,
    "arabic": "%D9%A3",
    "nul": "%00",
    "bad utf-8": "%ff",
    "surrogate": "%ed%a0%80",
    "long": "x" * 10_000,
    "token": "AAAAAAAAAAAAAAAA",
    "word": "null",
    "cut json": "%7B%22a%22%3A",
    "list": "%5B%5D",
    "deep": "%5B" * 9_000,
    "object": "%7B%22room%22%3A1%2C%22event_fields%22%3A%7B%7D%7D",
    "types": "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A%22x%22%7D%7D%7D",
    "break": "%0d%0a",
}
RAW_QUERIES = (
    "&&&=&",
    "=",
    "=x",
    "%",
    "%%%=%zz",
    "a" * 20_000,
    "&".join("a=1" for _ in range(900)),
)
WRONG_TOKENS = ("x", "k" * 43, "-" * 10_000, "ÿ", "a b", "'or 1=1--", "syt_eA_eA_eA")

VALID: dict[str, Any] = {  # bodies that the routes take which read a plain object
    "/device_signing/upload": {
        "master_key": {"user_id": "USER", "usage": ["master"], "keys": {"ed25519:AAAA": "AAAA"}},
        "self_signing_key": {"user_id": "USER", "usage": ["self_signing"], "keys": {}},
        "auth": {"type": "m.login.password", "session": "x"},
    },
    "/signatures/upload": {"USER": {"DEVICE": {"signatures": {"USER": {"ed25519:AAAA": "AA"}}}}},
    "/room_keys/version": {"algorithm": "a", "auth_data": {"public_key": "x"}, "version": "1"},
    "/room_keys/keys": {
        "rooms": {
            "!r:x": {
                "sessions": {
                    "s": {
                        "first_message_index": 1,
                        "forwarded_count": 0,
                        "is_verified": True,
                        "session_data": {"ciphertext": "x"},
                    }
                }
            }
        },
        "sessions": {"s": {"first_message_index": 1}},
        "first_message_index": 1,
        "forwarded_count": 0,
        "is_verified": True,
        "session_data": {"ciphertext": "x"},
    },
    "/keys/upload": {
        "device_keys": {
            "user_id": "USER",
            "device_id": "DEVICE",
            "algorithms": ["m.olm.v1"],
            "keys": {"ed25519:DEVICE": "AAAA"},
            "signatures": {"USER": {"ed25519:DEVICE": "AAAA"}},
        },
        "one_time_keys": {"signed_curve25519:AA": {"key": "x", "signatures": {}}},
        "fallback_keys": {"signed_curve25519:BB": {"key": "x", "fallback": True}},
    },
    "/profile/": {"displayname": "x", "avatar_url": "mxc://a/b", "m.tz": "Asia/Ashgabat"},
    "/pushers/set": {
        "app_display_name": "x",
        "app_id": "x",
        "data": {"url": "https://x.test/_matrix/push/v1/notify", "format": "event_id_only"},
        "device_display_name": "x",
        "kind": "http",
        "lang": "tk",
        "pushkey": "x",
        "append": False,
    },
    "/pushrules/": {
        "actions": ["notify", {"set_tweak": "sound", "value": "x"}],
        "conditions": [{"kind": "event_match", "key": "type", "pattern": "x"}],
        "pattern": "x",
        "enabled": True,
    },
    "/sendToDevice/": {"messages": {"USER": {"DEVICE": {"a": 1}}}},
    "/filter": {
        "event_fields": ["type"],
        "event_format": "client",
        "presence": {"types": ["x"]},
        "room": {
            "timeline": {"limit": 5, "not_senders": ["x"], "lazy_load_members": True},
            "rooms": ["x"],
            "include_leave": True,
        },
    },
    "/tags/": {"order": 0.5},
    "/send/": {
        "msgtype": "m.text",
        "body": "x",
        "m.mentions": {"user_ids": ["x"], "room": True},
        "m.relates_to": {"rel_type": "m.thread", "event_id": "x"},
    },
    "/state/": {
        "membership": "join",
        "users": {"x": 1},
        "events": {"x": 1},
        "ban": 50,
        "alias": "x",
        "alt_aliases": ["x"],
        "join_rule": "public",
        "history_visibility": "shared",
        "notifications": {"room": 50},
    },
    "/redact/": {"reason": "x"},
    "/account_data/": {"ignored_users": {"USER": {}}},
    "/kick": {"user_id": "@x:kerwen.test", "reason": "x"},
    "/ban": {"user_id": "@x:kerwen.test", "reason": "x"},
    "/unban": {"user_id": "@x:kerwen.test", "reason": "x"},
    "/createRoom": {
        "preset": "private_chat",
        "name": "x",
        "topic": "x",
        "invite": ["@x:kerwen.test"],
        "room_version": "11",
        "creation_content": {"type": "x", "m.federate": False},
        "initial_state": [{"type": "m.room.topic", "state_key": "", "content": {"topic": "x"}}],
        "power_level_content_override": {"users_default": 0},
        "visibility": "private",
        "is_direct": True,
    },
    "/keys/query": {"device_keys": {"USER": ["DEVICE"]}, "timeout": 1000},
    "/keys/claim": {"one_time_keys": {"USER": {"DEVICE": "signed_curve25519"}}},
    "/login": {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "USER"},
        "password": "wrong",
        "device_id": "x",
    },
    "/3pid": {"client_secret": "x", "email": "a@b.test", "send_attempt": 1, "sid": "x"},
    "/requestToken": {"client_secret": "x", "email": "a@b.test", "send_attempt": 1},
    "/sync": {
        "lists": {"a": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": [["", ""]]}},
        "room_subscriptions": {"!r:x": {"timeline_limit": 1, "required_state": []}},
        "extensions": {"e2ee": {"enabled": True}, "to_device": {"enabled": True, "limit": 1}},
        "conn_id": "x",
    },
}
ENDS_SESSION = re.compile(
    r"/logout|/deactivate|/account/password$|delete_devices|/devices/|/refresh$|/admin/"
)
AT_ONCE = {  # what makes a long poll answer at once
    re.compile(r"/(sync|events)$"): "timeout=0",
    re.compile(r"/push/.*/json$"): "poll=1",
}


@dataclass(slots=True)
class Case:
    """One request. `refused`: whether anything but a 4xx is wrong; `code`: the right errcode."""

    name: str
    route: Route
    method: str
    path: str  # with {names} still in it, but for the part that is abused
    query: str = ""
    body: bytes = b""
    token: str | None = "own"  # own: of the one who walks
    refused: bool = False
    code: str = ""
    parts: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = self.body if len(self.body) < 80 else self.body[:40] + b"..."
        return f"{self.method} {self.path}?{self.query[:60]} [{self.name}] {shown!r}"


def cases(routes: tuple[Route, ...], chance: random.Random, most: int) -> list[Case]:
    """At most so many, shuffled; those that may end the walker's session come last."""
    found = [case for route in routes for case in _of_route(route)]
    found += _methods(routes)
    chance.shuffle(found)
    del found[most:]
    found.sort(key=lambda case: bool(ENDS_SESSION.search(case.path)))
    return found


def _of_route(route: Route) -> Iterator[Case]:
    def case(name: str, **more: Any) -> Case:
        return Case(name, route, route.method, more.pop("path", route.path), **more)

    if route.access not in (Access.ANYONE, Access.OPTIONAL):
        yield case("no token", token=None, refused=True, code="M_MISSING_TOKEN")
        for token in WRONG_TOKENS:
            yield case("wrong token", token=token, refused=True, code="M_UNKNOWN_TOKEN")
    yield from _paths(route, case)
    yield from _queries(route, case)
    if route.method in BODIED and not route.stream:
        yield from _bodies(route, case)
        yield from _fields(route, case)


def _paths(route: Route, case: Callable[..., Case]) -> Iterator[Case]:
    now = _at_once(route)
    for name in re.findall(r"\{(\w+)\}", route.path):
        for kind, part in PARTS.items():
            path = route.path.replace("{" + name + "}", part)
            if len(part) > 300 and kind != "long":
                continue
            yield case(f"{name} {kind}", path=path, query=now)


def _at_once(route: Route) -> str:
    return next((q for path, q in AT_ONCE.items() if path.search(route.path)), "")


def _queries(route: Route, case: Callable[..., Case]) -> Iterator[Case]:
    names = query_names(route)
    now = _at_once(route)
    joint = now + "&" if now else ""
    for name in names:
        for kind, value in QUERIES.items():
            long = (name == "timeout" and kind == "big") or name == "poll"
            if not (now and long):  # it may well wait for long
                yield case(f"{name} {kind}", query=f"{joint}{name}={value}")
        yield case(f"{name} twice", query=f"{joint}{name}=b&{name}=1")
    if names:
        for raw in RAW_QUERIES:
            yield case("raw query", query=joint + raw)


def _bodies(route: Route, case: Callable[..., Case]) -> Iterator[Case]:
    reads = reads_body(route)
    for name, body in NOT_JSON.items():
        yield case(name, body=body, refused=reads)
    for name, body in NO_OBJECT.items():
        yield case(name, body=body, refused=reads)
    for name, body in PERHAPS.items():
        yield case(name, body=body)


def _fields(route: Route, case: Callable[..., Case]) -> Iterator[Case]:
    valid = valid_body(route)
    yield case("valid", body=orjson.dumps(valid))
    struct = struct_of(route)
    for place in _places(valid):
        for name, value in VALUES.items():
            body = _replaced(valid, place, value)
            try:
                raw = orjson.dumps(body)
            except TypeError:  # a number that orjson does not write
                continue
            yield case(
                f"{'.'.join(map(str, place))} {name}",
                body=raw,
                refused=struct is not None and not _fits(body, struct),
            )


def _fits(body: Any, struct: type) -> bool:
    try:
        msgspec.convert(body, struct)
    except (msgspec.ValidationError, ValueError, OverflowError):
        return False
    return True


def _methods(routes: tuple[Route, ...]) -> Iterator[Case]:
    known: dict[str, set[str]] = {}
    for route in routes:
        known.setdefault(_shape(route.path), set()).add(route.method)
    for route in routes:
        for method in set(METHODS) - known[_shape(route.path)]:
            yield Case(
                "wrong method", route, method, route.path, refused=True, code="M_UNRECOGNIZED"
            )


def _shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def _places(value: Any, depth: int = 4) -> Iterator[tuple[Any, ...]]:
    """Every place inside a value, as a path of names and numbers."""
    if depth == 0:
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (key,)
        if isinstance(inner, dict | list):
            for rest in _places(inner, depth - 1):
                yield (key, *rest)


def _replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _replaced(value[place[0]], place[1:], new)
    return copy


# --- what the handlers read, found in their source -----------------------------------------


def _source(route: Route) -> str:
    return inspect.getsource(route.handler)


def struct_of(route: Route) -> type | None:
    """The struct that a handler reads its body into, if it says so itself."""
    found = re.search(r"request\.json\((\w+)\)", _source(route))
    if found is None:
        return None
    handler: Any = route.handler
    module = sys.modules[getattr(handler, "__func__", handler).__module__]
    struct = getattr(module, found[1], None)
    return struct if isinstance(struct, type) else None


def reads_body(route: Route) -> bool:
    """Whether a handler reads its body first of all: then what is no JSON object is refused."""
    return bool(re.search(r"request\.(json|object)\(|_content\(request\)", _source(route)))


def query_names(route: Route) -> list[str]:
    """The query parameters that a handler's module reads."""
    handler: Any = route.handler
    module = sys.modules[getattr(handler, "__func__", handler).__module__]
    text = inspect.getsource(module) if route.method in ("GET", "POST") else _source(route)
    return sorted(set(re.findall(r"quer(?:y|ies)\(\s*\"([\w.]+)\"", text)))


def valid_body(route: Route) -> Any:
    """A body that a route may take: from the table, else every field of its struct."""
    for part in sorted(VALID, key=len, reverse=True):
        if part in route.path and not (part == "/sync" and route.path.endswith("/keys/sync")):
            return VALID[part]
    struct = struct_of(route)
    if struct is None:
        return {"a": {"b": [1]}}
    return {f.encode_name: "x" for f in msgspec.structs.fields(struct)}


def filled(text: str, parts: dict[str, str]) -> str:
    """A path with its {names} replaced by what the walker has."""
    return re.sub(r"\{(\w+)\}", lambda m: quote(_part(m[1], parts), safe=""), text)


def _part(name: str, parts: dict[str, str]) -> str:
    return parts.get(name.lower().replace("_", ""), "x")
