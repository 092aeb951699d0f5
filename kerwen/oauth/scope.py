"""Scopes: full access to the client-server API, for one device (CS #scope)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kerwen.base import limits
from kerwen.oauth.errors import OAuthRefused

_PREFIXES = ("urn:matrix:client:", "urn:matrix:org.matrix.msc2967.client:")
_DEVICE_ID = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)  # RFC 3986 §2.3, unreserved


@dataclass(frozen=True, slots=True)
class Scope:
    """What was asked for and is given: `text` as the client spelt it, and the device."""

    text: str
    device_id: str


def scope_of(asked: str | None) -> Scope:
    """The scope of a log-in; `OAuthRefused(invalid_scope)`.

    Exactly one device and full access, each in the stable or the unstable spelling (MSC2967).
    Others that a client asks for besides (`openid`) are not given, which the answer tells.
    """
    if asked is None or len(asked) > limits.OAUTH_FIELD_MAX:
        raise OAuthRefused("invalid_scope", "The scope is missing or too long")
    given: list[str] = []
    devices: list[str] = []
    full = False
    for token in asked.split(" "):
        prefix = next((p for p in _PREFIXES if token.startswith(p)), None)
        rest = token[len(prefix) :] if prefix else ""
        if rest == "api:*":
            full = True
        elif rest.startswith("device:"):
            devices.append(rest[7:])
        else:
            continue
        given.append(token)
    if not full or len(devices) != 1:
        raise OAuthRefused(
            "invalid_scope", "Ask for urn:matrix:client:api:* and one urn:matrix:client:device:"
        )
    device_id = devices[0]
    if len(device_id) > limits.DEVICE_ID_MAX or not _DEVICE_ID.fullmatch(device_id):
        raise OAuthRefused("invalid_scope", "This device id cannot be used")
    return Scope(" ".join(dict.fromkeys(given)), device_id)
