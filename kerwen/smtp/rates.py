"""How much one neighbour or one account may send: buckets that fill up again with time."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused

BUCKETS_MAX: Final = 50_000


class Rate(msgspec.Struct, frozen=True):
    """`burst` at once, `per_hour` in the long run."""

    per_hour: float
    burst: float


MESSAGES: Final = Rate(3_000, 300)  # from one network address, of strangers
LOST: Final = Rate(120, 60)  # recipients that we do not have, of one network address
SENT: Final = Rate(600, 600)  # recipients that one account writes to


class Rates:
    """Buckets by whom they count. Without `on` nothing is counted. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float], *, on: bool = True) -> None:
        self._clock = clock
        self._on = on
        self._buckets: OrderedDict[tuple[str, str | int], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def message(self, address: str) -> None:
        """A message of a stranger begins; `Refused(LIMIT_EXCEEDED)` if there were too many."""
        self._spend("message", network(address), MESSAGES, 1)

    def sent(self, account_no: int, recipients: int = 1) -> None:
        """An account writes to somebody; `Refused(LIMIT_EXCEEDED)`."""
        self._spend("sent", account_no, SENT, recipients)

    def lost(self, address: str) -> None:
        """A stranger named somebody whom we do not have."""
        key = ("lost", network(address))
        if self._on:
            self._put(key, max(self._level(key, LOST) - 1, 0.0))

    def may_ask(self, address: str) -> None:
        """Whether a stranger may name recipients; `Refused(LIMIT_EXCEEDED)` to who only guesses."""
        if self._on and self._level(("lost", network(address)), LOST) < 1:
            raise Refused(Reason.LIMIT_EXCEEDED, "Too many unknown recipients, come back later")

    def _spend(self, kind: str, who: str | int, rate: Rate, count: int) -> None:
        if not self._on:
            return
        level = self._level((kind, who), rate)
        if level < count:
            raise Refused(Reason.LIMIT_EXCEEDED, "Too much in too short a time, come back later")
        self._put((kind, who), level - count)

    def _level(self, key: tuple[str, str | int], rate: Rate) -> float:
        known = self._buckets.get(key)
        if known is None:
            return rate.burst
        level, stamp = known
        return min(rate.burst, level + (self._clock() - stamp) * rate.per_hour / 3600)

    def _put(self, key: tuple[str, str | int], level: float) -> None:
        self._buckets[key] = (level, self._clock())
        self._buckets.move_to_end(key)
        while len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)


def network(address: str) -> str:
    """Who is counted together: an IPv4 address, an IPv6 network of 64 bits."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
