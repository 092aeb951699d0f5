"""Writes `docs/api.md` from the table of routes: every method and path, who may, which section."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path

from kerwen.api.http import Access, Route
from kerwen.base.config import Config
from kerwen.main import build, make_folders

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
HEAD = """# Every HTTP endpoint

Written by `python tools/api_table.py` from the routes that the server answers; a test compares the
page with them. Paths under `/_matrix/client/v3/` answer under `/_matrix/client/r0/` too.

*Who*: `anyone` needs no token; `anyone*` is told more, or may do more, with one; `user` is anybody
with an access token; `user, also locked` even one whose account is locked; `administrator` is one
of this house. `not suspended`: a suspended account may not.

*Cost* is the rate limit that counts it (`kerwen/api/limiter.py`).

*Section*: `CS` is the Matrix client-server API v1.19, `SS` the server-server API, `AS` the
application service API, `MSC` a proposal, `LiveKit` its clients' protocol, `docs/` a page of ours.
Group calls (`rtc/livekit` and `/_kerwen/calls/`) answer only where a Janus is configured.
"""
_WHO = {
    Access.ANYONE: "anyone",
    Access.OPTIONAL: "anyone*",
    Access.USER: "user",
    Access.LOCKED: "user, also locked",
    Access.ADMIN: "administrator",
}
_GROUPS = (
    ("Matrix clients", "/_matrix/client/v"),
    ("Matrix clients, proposals", "/_matrix/client/unstable/"),
    ("Matrix clients, before they ask anything else", "/_matrix/client/versions"),
    ("Files", "/_matrix/media/"),
    ("Other servers", "/_matrix/"),
    ("Discovery", "/.well-known/"),
    ("Kerwen's own", "/_kerwen/"),
    ("Everything else", "/"),
)


def table(routes: Iterable[Route]) -> str:
    """The whole page."""
    left = sorted(routes, key=lambda r: (r.path, r.method))
    parts = [HEAD]
    for title, prefix in _GROUPS:
        here = [route for route in left if route.path.startswith(prefix)]
        left = [route for route in left if not route.path.startswith(prefix)]
        if here:
            parts.append(
                f"## {title}\n\n| method | path | who | cost | section |\n|---|---|---|---|---|"
            )
            parts += [_line(route) for route in here]
            parts.append("")
    return "\n".join(parts)


def _line(route: Route) -> str:
    who = _WHO[route.access] + ("" if route.suspended else ", not suspended")
    return f"| {route.method} | `{route.path}` | {who} | {route.cost.value} | {route.spec} |"


async def routes() -> tuple[Route, ...]:
    """The routes of a house on an empty data folder, with all that can be configured."""
    with tempfile.TemporaryDirectory() as folder:
        janus = "ws://127.0.0.1:8188"  # so that the routes of group calls are there
        config = Config(dev=True, data=folder, domain="kerwen.test", janus=janus)
        make_folders(config)
        house = await build(config)
        try:
            return house.http.app.router.routes
        finally:
            await house.close()


if __name__ == "__main__":
    PAGE.write_text(table(asyncio.run(routes())), "utf-8")
