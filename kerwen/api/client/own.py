"""Paths that name a user: they are for that user only."""

from __future__ import annotations

from kerwen.api.http import Request
from kerwen.base.errors import Reason, Refused


def own_account(request: Request, text: str = "Only one's own data may be asked for") -> int:
    """The caller's account, when the path's `{userId}` is the caller. Says `FORBIDDEN`."""
    if request.params["userId"] != request.caller.user_id:
        raise Refused(Reason.FORBIDDEN, text)
    return request.caller.account_no
