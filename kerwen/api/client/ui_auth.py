"""The 401 answers of user-interactive authentication."""

from __future__ import annotations

import orjson

from kerwen.accounts.actions.prove import Challenge
from kerwen.api.http import Reply


def challenge_reply(challenge: Challenge) -> Reply:
    """Asks the client for (more) authentication (CS #user-interactive-authentication-api)."""
    return Reply(orjson.dumps(challenge.body), status=401)
