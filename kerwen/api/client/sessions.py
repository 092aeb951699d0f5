"""How a new session reads: the answer of register, log-in and refresh."""

from __future__ import annotations

from typing import Any, Protocol

from kerwen.accounts.actions.log_in import DeviceWanted
from kerwen.accounts.actions.open_session import Session
from kerwen.accounts.actions.register import Wanted

BY_SERVICE = "m.login.application_service"


class ServiceAccounts(Protocol):
    """Registration and log-in by an application service's token."""

    async def register(self, token: str | None, wanted: Wanted) -> tuple[str, Session | None]:
        """`Refused`: MISSING_TOKEN, UNKNOWN_TOKEN, EXCLUSIVE, USER_IN_USE."""

    async def log_in(self, token: str | None, named: object, device: DeviceWanted) -> Session:
        """`Refused`: MISSING_TOKEN, UNKNOWN_TOKEN, EXCLUSIVE, FORBIDDEN."""


def tokens_answer(session: Session) -> dict[str, Any]:
    """The tokens of a session."""
    answer: dict[str, Any] = {"access_token": session.access_token}
    if session.refresh_token is not None:
        answer["refresh_token"] = session.refresh_token
    if session.expires_in_ms is not None:
        answer["expires_in_ms"] = session.expires_in_ms
    return answer


def session_answer(session: Session, domain: str) -> dict[str, Any]:
    """A session with its user and device; `home_server` is for old clients."""
    return {
        "user_id": session.user_id,
        "home_server": domain,
        "device_id": session.device_id,
        **tokens_answer(session),
    }
