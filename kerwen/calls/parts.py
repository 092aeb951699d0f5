"""Builds everything about group calls: read it to see what needs what."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kerwen.api.rtc import RtcApi
from kerwen.base.clock import Clock
from kerwen.base.config import Config
from kerwen.calls.actions.admit import Admit
from kerwen.calls.actions.leaves import Leaves
from kerwen.calls.live.hall import Hall
from kerwen.calls.sfu.janus import Janus
from kerwen.calls.transport import PREFIX
from kerwen.calls.turn import Turn
from kerwen.rooms.actions.delay import Delay
from kerwen.rooms.store import users
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from kerwen.storage.key_files import read_secret, write_secret


@dataclass(frozen=True, slots=True)
class Calls:
    """What the messenger needs of group calls."""

    api: RtcApi
    hall: Hall
    leaves: Leaves
    janus: Janus

    def workers(self) -> list[Callable[[], Awaitable[None]]]:
        """What runs while the server does."""
        return [self.janus.run, self.hall.work, self.leaves.work]


def build_calls(
    config: Config,
    db: Database,
    feed: Feed,
    owner: Callable[[str], Awaitable[str]],
    delay: Delay,
    base_url: str,
    clock: Clock,
) -> Calls | None:
    """Group calls; None where no Janus is configured."""
    if config.janus is None:
        return None
    admit = Admit(db, config.server_name, owner)
    leaves = Leaves(db, delay, clock)
    janus = Janus(config.janus, config.janus_secret or "")
    turn = Turn(config.turn_uris, config.turn_secret or "")
    hall = Hall(
        janus,
        _secret(config),
        admit.may_stay,
        lambda user_id: turn.pass_for(user_id, clock()),
        leaves,
        clock,
        config.calls_relay == "on",
    )
    feed.follow(hall.follow, Kind.MEMBERSHIP, Kind.ACCOUNT)

    async def number_of(user_id: str) -> int:
        async with db.read() as snap:
            return await users.user_no(snap, user_id) or 0

    url = "ws" + base_url.removeprefix("http") + PREFIX
    api = RtcApi(hall, admit, leaves, url, config.server_name, number_of)
    return Calls(api, hall, leaves, janus)


def _secret(config: Config) -> bytes:
    """What signs tokens for calls; made at the first start."""
    path = config.data_path / "keys" / "calls.key"
    found = read_secret(path)
    if not found:
        found = secrets.token_urlsafe(32)
        write_secret(path, found)
    return found.encode()
