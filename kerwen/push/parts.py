"""Builds everything about push: read it to see what needs what."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from kerwen.accounts.push_rules_store import PushRules
from kerwen.base.clock import Clock
from kerwen.base.config import Config
from kerwen.net.outgoing import Outgoing
from kerwen.push.actions.notify import Notify
from kerwen.push.actions.topics import Topics
from kerwen.push.gateway import Gateways, origin_of
from kerwen.push.sender import Count, PushSender
from kerwen.storage.cursors import CursorFollower
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed

_SWEEP_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Push:
    """The subject's objects."""

    topics: Topics
    gateways: Gateways
    notify: Notify
    sender: PushSender
    follower: CursorFollower
    feed: Feed

    async def follow(self) -> None:
        """A worker: writes down who is to be told of what."""

        async def start() -> int:
            return self.feed.settled  # whoever was away for a month is told of what comes

        await self.follower.run(start)

    async def sweep(self) -> None:
        """A worker: forgets what nobody fetched."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            await self.topics.sweep()


def build_push(
    config: Config,
    db: Database,
    feed: Feed,
    rulebook: PushRules,
    count: Count,
    outgoing: Outgoing,
    base_url: str,
    clock: Clock,
) -> Push:
    """`base_url` is how clients reach us, `count` the unread events of accounts."""
    own = own_origins(config, base_url)
    topics = Topics(db, feed, base_url, own, clock)
    feed.follow(topics.follow, Kind.WAKE_UP)
    gateways = Gateways(outgoing, topics.notify, own, clock)
    sender = PushSender(db, gateways, count, clock)
    notify = Notify(db, rulebook, clock, sender.awake)
    kinds = (Kind.EVENT, Kind.MEMBERSHIP, Kind.RECEIPT)
    owner = secrets.token_hex(8)
    follower = CursorFollower(db, feed, "push", owner, notify, kinds=kinds, alone=db.alone)
    return Push(topics, gateways, notify, sender, follower, feed)


def own_origins(config: Config, base_url: str) -> frozenset[str]:
    """Scheme, host and port by which this server may be named."""
    host = urlsplit("//" + config.server_name).hostname or config.server_name
    ports = config.ports
    found = {origin_of(base_url), f"https://{host}:443"}
    hosts = {host, "localhost", "127.0.0.1"} if config.dev else {host}
    for kind in ("http", "https"):
        if kind in ports:
            found |= {f"{kind}://{name}:{ports[kind]}" for name in hosts}
    return frozenset(found)
