"""Asks push gateways: others' by HTTP, our own without leaving the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from kerwen.base import limits
from kerwen.base.errors import Unavailable
from kerwen.net.outgoing import Outgoing, Unanswered, Why
from kerwen.push.notification import rejected_of, retry_after_ms, wait_ms
from kerwen.storage.database import Retry

_HOSTS_MAX: Final = 10_000
PATH: Final = "/_matrix/push/v1/notify"

Local = Callable[[Mapping[str, Any]], Awaitable[list[str]]]
"""Our own gateway: takes a request's body, gives the pushkeys that it rejects."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request. `rejected`: the pusher is to go; `wait_ms`: what was asked for."""

    done: bool
    rejected: bool = False
    wait_ms: int = 0


DONE: Final = Outcome(True)


class Gateways:
    """All gateways. One that cannot be reached is left alone for a while, whoever asks."""

    def __init__(
        self,
        outgoing: Outgoing,
        local: Local,
        own_origins: frozenset[str],
        clock: Callable[[], int],
    ) -> None:
        self._outgoing = outgoing
        self._local = local
        self._own = own_origins
        self._clock = clock
        self._away: OrderedDict[str, tuple[int, int]] = OrderedDict()  # origin → failures, until
        self.asked = 0
        self.failed = 0

    async def push(self, url: str, pushkey: str, body: Mapping[str, Any]) -> Outcome:
        """Tells a gateway; never raises."""
        origin = origin_of(url)
        if origin in self._own:
            try:
                return Outcome(True, pushkey in await self._local(body))
            except (Unavailable, Retry):
                return Outcome(False)
        failures, until = self._away.get(origin, (0, 0))
        now = self._clock()
        if now < until:
            return Outcome(False, wait_ms=until - now)
        self.asked += 1
        try:
            answer = await self._outgoing.ask(
                "POST",
                url,
                body=orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout_ms=limits.PUSH_TIMEOUT_MS,
                answer_max=limits.PUSH_ANSWER_MAX,
            )
        except Unanswered as error:
            self.failed += 1
            if error.why in (Why.UNREACHABLE, Why.TIMEOUT, Why.NOT_HTTP):
                self._note_away(origin, failures + 1)
            return Outcome(False)
        self._away.pop(origin, None)
        if answer.good:
            return Outcome(True, pushkey in rejected_of(answer.body))
        self.failed += 1
        return Outcome(False, wait_ms=retry_after_ms(answer.headers.get("retry-after")))

    def _note_away(self, origin: str, failures: int) -> None:
        self._away[origin] = (failures, self._clock() + wait_ms(failures))
        self._away.move_to_end(origin)
        if len(self._away) > _HOSTS_MAX:
            self._away.popitem(last=False)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, with the port always told; empty if it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname or ''}:{port}"
