"""Passes for TURN servers: a name that ends, and a password that only the two servers can make.

The form is that of `use-auth-secret` in coturn and its like (draft-uberti-behave-turn-rest).
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

PASS_S: Final = 86_400  # seconds; clients ask again before the end
_PLACE: Final = re.compile(r"turn:([^:?\[\]]+)(?::(\d+))?(?:\?|\Z)")


@dataclass(frozen=True, slots=True)
class Turn:
    """The TURN servers of this house. Without `uris` there are none."""

    uris: Sequence[str] = ()
    secret: str = ""

    def pass_for(self, user_id: str, now_ms: int) -> dict[str, Any]:
        """What `/voip/turnServer` answers (CS #voice-over-ip); empty where there are none."""
        if not self.uris:
            return {}
        name = f"{now_ms // 1000 + PASS_S}:{user_id}"
        code = hmac.digest(self.secret.encode(), name.encode(), "sha1")
        return {
            "username": name,
            "password": base64.b64encode(code).decode("ascii"),
            "uris": list(self.uris),
            "ttl": PASS_S,
        }

    def line_for(self, now_ms: int) -> str:
        """`host:port:name:password` of the first server without TLS, as Delta Chat reads it from
        IMAP METADATA; '' where there is none. The name is when the pass ends, and nothing else.
        """
        places = filter(None, map(_PLACE.match, self.uris))
        place = next(places, None)
        if place is None:
            return ""
        name = str(now_ms // 1000 + PASS_S)
        code = hmac.digest(self.secret.encode(), name.encode(), "sha1")
        password = base64.b64encode(code).decode("ascii")
        return f"{place[1]}:{place[2] or 3478}:{name}:{password}"
