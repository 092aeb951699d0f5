"""How a new session reads: the answer of register, log-in and refresh."""

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.open_session import Session


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
