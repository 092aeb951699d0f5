"""Passes for TURN servers: a name that ends, and a password that only the two servers can make.

The form is that of `use-auth-secret` in coturn and its like (draft-uberti-behave-turn-rest).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

PASS_S: Final = 86_400  # seconds; clients ask again before the end


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
