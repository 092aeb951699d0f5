"""How a client of the OAuth 2.0 API may replace cross-signing keys (CS #oauth-authentication)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from kerwen.api.http import Reply, Request
from kerwen.api.pages.visit import HOME
from kerwen.base import ids
from kerwen.oauth.actions.renew_keys import RenewKeys

_STAGES = ("m.oauth", "org.matrix.cross_signing_reset")  # the second as of MSC4312


async def prove_new_keys(
    renew_keys: RenewKeys, base_url: str, request: Request, auth: Mapping[str, Any]
) -> Reply | None:
    """None if the owner allowed it on the account's page, else the 401 that leads there."""
    if await renew_keys.use(request.caller.account_no):
        return None
    session = auth.get("session")
    url = f"{base_url}{HOME}/account?action=org.matrix.cross_signing_reset"
    body = {
        "session": session if isinstance(session, str) else ids.secret(),
        "flows": [{"stages": [stage]} for stage in _STAGES],
        "params": {stage: {"url": url} for stage in _STAGES},
    }
    return Reply(orjson.dumps(body), status=401)
