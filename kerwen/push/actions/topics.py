"""UnifiedPush, the provider's part: topics of people here, and the wake-ups that go there.

A topic belongs to an account and goes with its device. Whoever knows its name may wake; to
listen, one must be its owner. So the name can be given away as an endpoint.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.push import ntfy, store
from kerwen.push.notification import for_phone
from kerwen.push.ntfy import Place
from kerwen.push.store import Topic
from kerwen.storage.database import Change, Database, Kind
from kerwen.storage.feed import Feed

PATH: Final = "/_kerwen/push/"
APP_MAX: Final = 255
KEEPALIVE_S: Final = 55.0
_TOPIC_BYTES: Final = 20  # 160 bits
_TRIES: Final = 3


class _Listener:
    """A stream that waits. `topics` by number."""

    __slots__ = ("news", "topics")

    def __init__(self, topics: Mapping[int, str]) -> None:
        self.topics = topics
        self.news = asyncio.Event()


class Topics:
    """`base` is how this server is reached from outside; `follow` must be told by the feed."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        base: str,
        own_origins: frozenset[str],
        clock: Clock,
    ) -> None:
        self._db = db
        self._feed = feed
        self._base = base
        self._own = own_origins
        self._clock = clock
        self._listeners: dict[int, set[_Listener]] = {}
        self.listening = 0
        self._stopping = False

    # --- of one's own ---------------------------------------------------------------------

    async def make(self, account_no: int, device_no: int, app: str) -> str:
        """The endpoint of an app on a device, made if it has none."""
        if not 1 <= len(app) <= APP_MAX or not app.isprintable():
            raise Refused(Reason.INVALID_PARAM, f"app has 1 to {APP_MAX} characters")
        for _ in range(_TRIES):
            known = await self.all(account_no)
            for topic in known:
                if topic.app == app and topic.device_no == device_no:
                    return self.endpoint(topic.topic)
            name = "up" + secrets.token_urlsafe(_TOPIC_BYTES)
            if await self._add(known, Topic(0, name, account_no, device_no, app)):
                return self.endpoint(name)
        raise Unavailable(Unready.BUSY, 500)

    async def _add(self, known: Sequence[Topic], topic: Topic) -> bool:
        if len(known) >= ntfy.TOPICS_MAX:
            raise Refused(Reason.OVER_QUOTA, f"An account may have {ntfy.TOPICS_MAX} topics")
        topic.topic_no = await self._db.take_id("push_topic")
        async with self._db.write() as tx:
            return await store.add_topic(tx, topic, self._clock())

    async def all(self, account_no: int) -> list[Topic]:
        """The topics of an account."""
        async with self._db.read(single=True) as snap:
            return await store.topics_of(snap, account_no)

    async def drop(self, account_no: int, name: str) -> None:
        """Ends a topic. Says `NOT_FOUND`."""
        async with self._db.write() as tx:
            if not await store.drop_topic(tx, account_no, name):
                raise Refused(Reason.NOT_FOUND, "There is no such topic")

    def now_ms(self) -> int:
        """The time by which messages are kept."""
        return self._clock()

    def endpoint(self, name: str) -> str:
        """The URL to which whoever wants to wake sends."""
        return f"{self._base}{PATH}{name}"

    # --- waking ---------------------------------------------------------------------------

    async def publish(self, name: str, body: bytes) -> dict[str, Any]:
        """A wake-up for a topic. Says `NOT_FOUND`, `TOO_LARGE`."""
        if len(body) > ntfy.MESSAGE_MAX:
            raise Refused(Reason.TOO_LARGE, f"A message may have {ntfy.MESSAGE_MAX} bytes")
        topic = (await self._known([name])).get(name)
        if topic is None:
            raise Refused(Reason.NOT_FOUND, "There is no such topic")
        now = self._clock()
        async with self._db.write() as tx:
            await store.add_message(tx, topic.topic_no, 0, body, now, limits.WAKE_UPS_MAX)
        return ntfy.message(name, (tx.pos, 0), now, body)

    async def notify(self, body: Mapping[str, Any]) -> list[str]:
        """The Matrix push gateway: hands a push on; the pushkeys that are none of ours (PG)."""
        devices = _devices(body)
        names = {key: self._topic_of(key) for _, key in devices}
        known = await self._known([name for name in names.values() if name is not None])
        rejected, wakings = [], []
        for device, key in devices:
            topic = known.get(names[key] or "")
            if topic is None:
                rejected.append(key)
            elif (text := _fitting(body, device)) is not None:
                wakings.append((topic.topic_no, text))
        if wakings:
            now = self._clock()
            async with self._db.write() as tx:
                for n, (topic_no, text) in enumerate(wakings):
                    await store.add_message(tx, topic_no, n, text, now, limits.WAKE_UPS_MAX)
        return rejected

    async def exists(self, name: str) -> bool:
        """Whether a topic is somebody's."""
        return bool(await self._known([name]))

    async def _known(self, names: Sequence[str]) -> dict[str, Topic]:
        wanted = [name for name in names if ntfy.TOPIC.fullmatch(name)]
        if not wanted:
            return {}
        async with self._db.read(single=True) as snap:
            return await store.topics(snap, wanted)

    def _topic_of(self, pushkey: str) -> str | None:
        """The topic of an endpoint of ours; nothing is ever sent to another host."""
        try:
            parts = urlsplit(pushkey)
            port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
        except ValueError:
            return None
        if f"{parts.scheme}://{parts.hostname}:{port}" not in self._own:
            return None
        if not parts.path.startswith(PATH):
            return None
        return parts.path.removeprefix(PATH)

    # --- listening ------------------------------------------------------------------------

    async def claim(self, account_no: int, names: Sequence[str]) -> dict[int, str]:
        """Topics to listen to, by number. A free name that an app chose becomes its owner's."""
        known = await self._known(names)
        own = await self.all(account_no)
        for name in names:
            if name in known:
                continue
            await self._add(own, Topic(0, name, account_no, 0, name))
        known = await self._known(names)
        foreign = [name for name in names if known[name].account_no != account_no]
        if foreign:
            raise Refused(Reason.FORBIDDEN, "That is somebody else's topic")
        async with self._db.write() as tx:
            await store.use_topics(tx, [t.topic_no for t in known.values()], self._clock())
        return {topic.topic_no: topic.topic for topic in known.values()}

    async def fetch(
        self, topics: Mapping[int, str], after: Place, after_ms: int
    ) -> list[tuple[Place, bytes]]:
        """What waits, with its places: lines of the stream."""
        if after == ntfy.NOW:
            return []
        async with self._db.read(single=True) as snap:
            found = await store.messages(snap, list(topics), after, after_ms, self._feed.settled)
        lines = []
        for m in found:
            told = ntfy.message(topics[m.topic_no], (m.pos, m.n), m.at_ms, m.body)
            lines.append(((m.pos, m.n), orjson.dumps(told) + b"\n"))
        return lines

    async def listen(
        self, topics: Mapping[int, str], after: Place, after_ms: int
    ) -> AsyncIterator[bytes]:
        """The stream: what waits, then what comes, with a sign of life in between."""
        if self.listening >= limits.WAKE_UP_LISTENERS_MAX or self._stopping:
            raise Unavailable(Unready.BUSY, 60_000)
        listener = _Listener(topics)
        names = ",".join(topics.values())
        for topic_no in topics:
            self._listeners.setdefault(topic_no, set()).add(listener)
        self.listening += 1
        if after == ntfy.NOW:
            after = (self._feed.settled, 2**31)
        try:
            yield ntfy.line("open", names, self._clock(), ntfy.message_id((0, 0)))
            while not self._stopping:
                listener.news.clear()
                lines = await self.fetch(topics, after, after_ms)
                if lines:
                    after, after_ms = lines[-1][0], 0
                    yield b"".join(line for _, line in lines)
                    continue
                if not await self._wait(listener):
                    yield ntfy.line("keepalive", names, self._clock(), ntfy.message_id(after))
        finally:
            self.listening -= 1
            for topic_no in topics:
                self._leave(topic_no, listener)

    async def _wait(self, listener: _Listener) -> bool:
        if self._stopping:
            return True
        try:
            async with asyncio.timeout(KEEPALIVE_S):
                await listener.news.wait()
        except TimeoutError:
            return False
        return True

    def _leave(self, topic_no: int, listener: _Listener) -> None:
        others = self._listeners.get(topic_no)
        if others is not None:
            others.discard(listener)
            if not others:
                del self._listeners[topic_no]

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed."""
        for kind, subject, _ in changes:
            if kind == Kind.WAKE_UP:
                for listener in self._listeners.get(subject, ()):
                    listener.news.set()

    def stop(self) -> None:
        """The server stops: every stream ends."""
        self._stopping = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.news.set()

    # --- tidying --------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Forgets what nobody fetched, and topics to which nobody listens."""
        now = self._clock()
        async with self._db.write() as tx:
            await store.sweep_messages(tx, now - ntfy.KEPT_MS)
            await store.drop_unused_topics(tx, now - limits.TOPIC_UNUSED_MS)


def _devices(body: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The devices of a push with their pushkeys. Says `BAD_JSON`, `TOO_LARGE`."""
    told = body.get("notification")
    devices = told.get("devices") if isinstance(told, Mapping) else None
    if not isinstance(devices, list):
        raise Refused(Reason.BAD_JSON, "A notification has devices")
    if len(devices) > limits.PUSH_DEVICES_MAX:
        raise Refused(Reason.TOO_LARGE, f"At most {limits.PUSH_DEVICES_MAX} devices")
    found = []
    for device in devices:
        if not isinstance(device, Mapping) or not isinstance(device.get("pushkey"), str):
            raise Refused(Reason.BAD_JSON, "A device has a pushkey")
        found.append((device, device["pushkey"]))
    return found


def _fitting(body: Mapping[str, Any], device: Mapping[str, Any]) -> bytes | None:
    """What a phone gets; without the device's own data where that would be too much."""
    for shown in (device, {"pushkey": device["pushkey"]}):
        made = for_phone(body, shown)
        text = orjson.dumps(made)
        if len(text) <= ntfy.MESSAGE_MAX:
            return text
    return None
