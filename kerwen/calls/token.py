"""Tokens that let one device into one call: LiveKit's form, a JWT signed with HS256.

Only this server makes them and only this server reads them.
"""

# RFC 7519, RFC 7515; the claims are LiveKit's, with ours beside them

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

import orjson

from kerwen.base.errors import Reason, Refused

LIFE_S: Final = 3_600
TOKEN_MAX: Final = 4_096  # characters
_HEAD: Final = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may be in which call, and what of it."""

    call: str  # the call's name on this server
    room_id: str
    identity: str  # of the participant, as LiveKit has it
    user_id: str
    device_id: str
    publishes: bool


def call_name(room_id: str, slot_id: str) -> str:
    """The name of the call of a room's slot (MSC4195)."""
    return _hashed([room_id, slot_id])


def plain_identity(user_id: str, device_id: str) -> str:
    """The identity of calls whose members are state events."""
    return f"{user_id}:{device_id}"


def member_identity(user_id: str, device_id: str, member_id: str) -> str:
    """The identity of a member of MatrixRTC that has an id of its own (MSC4195)."""
    return _hashed([user_id, device_id, member_id])


def make(grant: Grant, secret: bytes, now_s: int) -> str:
    """A token for a grant, good for `LIFE_S`."""
    claims = {
        "iss": "kerwen",
        "sub": grant.identity,
        "name": grant.user_id,
        "nbf": now_s - 60,
        "exp": now_s + LIFE_S,
        "video": {
            "room": grant.call,
            "roomJoin": True,
            "canPublish": grant.publishes,
            "canPublishData": False,
            "canSubscribe": True,
        },
        "kerwen": {"room": grant.room_id, "user": grant.user_id, "device": grant.device_id},
    }
    text = f"{_HEAD}.{_encode(orjson.dumps(claims))}"
    return f"{text}.{_encode(_sign(text, secret))}"


def read(token: str, secret: bytes, now_s: int) -> Grant:
    """The grant of a token. Says `UNKNOWN_TOKEN`, `EXPIRED_TOKEN`."""
    text, dot, code = token.rpartition(".")
    head, _, body = text.partition(".")
    if not dot or len(token) > TOKEN_MAX or head != _HEAD or not token.isascii():
        raise Refused(Reason.UNKNOWN_TOKEN, "That is no token for a call")
    if not hmac.compare_digest(_encode(_sign(text, secret)), code):
        raise Refused(Reason.UNKNOWN_TOKEN, "That is no token for a call")
    claims: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    if claims["exp"] <= now_s:
        raise Refused(Reason.EXPIRED_TOKEN, "The token for the call has expired")
    video, ours = claims["video"], claims["kerwen"]
    return Grant(
        video["room"],
        ours["room"],
        claims["sub"],
        ours["user"],
        ours["device"],
        video["canPublish"],
    )


def _sign(text: str, secret: bytes) -> bytes:
    return hmac.digest(secret, text.encode(), "sha256")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _hashed(parts: list[str]) -> str:
    digest = hashlib.sha256(orjson.dumps(parts)).digest()
    return base64.b64encode(digest).rstrip(b"=").decode()
