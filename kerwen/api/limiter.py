"""Rate limits: a token bucket for each caller and cost (CS #rate-limiting)."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kerwen.api.http import Cost
from kerwen.base.errors import Reason, Refused

BUCKETS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """What a bucket allows: `burst` requests at once, `per_second` in the long run."""

    per_second: float
    burst: float


PUBLIC_RATES: Final[Mapping[Cost, Rate]] = {
    Cost.READ: Rate(50, 500),
    Cost.WRITE: Rate(20, 200),
    Cost.MESSAGE: Rate(10, 100),
    Cost.LOGIN: Rate(0.2, 15),
    Cost.REGISTER: Rate(0.1, 15),
    Cost.HEAVY: Rate(2, 40),
}
"""For a server that strangers reach. One address may hold many people behind a NAT."""


class _Bucket:
    __slots__ = ("level", "stamp")

    def __init__(self, level: float, stamp: float) -> None:
        self.level = level
        self.stamp = stamp


class TokenBuckets:
    """The limiter of the HTTP door. A cost without a rate is free; no rates: no limits at all.

    Who has logged in is counted by account, others by address (IPv6: by network of 64 bits,
    which one household holds). The bucket that was not used for longest makes room. `percents`:
    accounts for which an administrator set another share of the rates; 0: no limits.
    """

    def __init__(
        self,
        rates: Mapping[Cost, Rate],
        clock: Callable[[], float] = time.monotonic,
        most: int = BUCKETS_MAX,
        percents: Mapping[int, int] | None = None,
    ) -> None:
        self._rates = dict(rates)
        self._percents = percents if percents is not None else {}
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[tuple[Cost, int | str], _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        """Takes one from the caller's bucket; `Refused(LIMIT_EXCEEDED)` where it is empty."""
        rate = self._rates.get(cost)
        if rate is None:
            return
        if account_no and (percent := self._percents.get(account_no)) is not None:
            if percent == 0:
                return
            rate = Rate(rate.per_second * percent / 100, max(rate.burst * percent / 100, 1))
        key = (cost, account_no or _network(address))
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._add(key, rate, now)
        else:
            self._buckets.move_to_end(key)
            grown = bucket.level + (now - bucket.stamp) * rate.per_second
            bucket.level = min(rate.burst, grown)
            bucket.stamp = now
        if bucket.level < 1:
            wait_ms = int((1 - bucket.level) / rate.per_second * 1000) + 1
            raise Refused(
                Reason.LIMIT_EXCEEDED, "Too many requests", extra={"retry_after_ms": wait_ms}
            )
        bucket.level -= 1

    def give_back(self, cost: Cost, address: str) -> None:
        """Puts one back into an address's bucket: what was counted did no harm (a log-in that was
        right)."""
        bucket = self._buckets.get((cost, _network(address)))
        if bucket is not None:
            bucket.level = min(self._rates[cost].burst, bucket.level + 1)

    def _add(self, key: tuple[Cost, int | str], rate: Rate, now: float) -> _Bucket:
        if len(self._buckets) >= self._most:
            self._buckets.popitem(last=False)
        bucket = self._buckets[key] = _Bucket(rate.burst, now)
        return bucket


def _network(address: str) -> str:
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
