"""What administrators do goes by the audit log, whichever route they take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from kerwen.base.errors import Refused, Unavailable

if TYPE_CHECKING:
    from kerwen.api.http import Request, Route

_WORD_MAX = 100
Run = Callable[["Request", "Route"], Awaitable[Any]]


class Auditor(Protocol):
    """Writes down what administrators do."""

    async def begin(
        self, actor: str, deed: str, target: str, told: Mapping[str, int | bool | str] | None
    ) -> int:
        """A deed begins; its number."""

    async def end(self, entry_no: int, outcome: str) -> None:
        """How it ended."""

    async def denied(self, actor: str, deed: str, target: str) -> None:
        """Somebody without the right tried."""


def is_administration(request: Request, route: Route) -> bool:
    """Whether it is an administrator's deed: by its route, or by whom it is about."""
    if route.access.name == "ADMIN":
        return True
    caller = request.caller_
    return (
        route.of_others
        and caller is not None
        and caller.admin
        and caller.user_id not in request.params.values()
    )


async def audited(auditor: Auditor, request: Request, route: Route, run: Run) -> Any:
    """Does a deed that is written down before it begins, and how it ended."""
    deed, target = _named(request, route)
    told = _told(request.body, route.tells)
    entry_no = await auditor.begin(request.caller.user_id, deed, target, told)
    outcome = "failed"
    try:
        answer = await run(request, route)
        outcome = "done" if getattr(answer, "status", 200) < 400 else "refused: proof asked for"
    except Refused as error:
        outcome = f"refused: {error.reason.value}"
        raise
    except Unavailable as error:
        outcome = f"failed: {error.reason.value}"
        raise
    finally:
        await auditor.end(entry_no, outcome)
    return answer


async def denied(auditor: Auditor, request: Request, route: Route) -> None:
    """Somebody without the right tried."""
    await auditor.denied(request.caller.user_id, *_named(request, route))


def _named(request: Request, route: Route) -> tuple[str, str]:
    return f"{route.method} {route.path}", " ".join(request.params.values())


def _told(raw: bytes, names: tuple[str, ...]) -> dict[str, int | bool | str]:
    """Those fields of a body, as far as they are numbers, switches or short words."""
    if not names:
        return {}
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(body, dict):
        return {}
    found = {name: body[name] for name in names if isinstance(body.get(name), (bool, int, str))}
    return {k: v[:_WORD_MAX] if isinstance(v, str) else v for k, v in found.items()}
