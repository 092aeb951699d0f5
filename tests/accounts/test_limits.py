"""Rate limits, and the bounded queue of password checks."""

from __future__ import annotations

import asyncio

import pytest

from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.password import CHEAP
from kerwen.api.http import Cost
from kerwen.api.limiter import PUBLIC_RATES, Rate, TokenBuckets
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.accounts.world import V3, World


class Seconds:
    """A clock in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spent(buckets: TokenBuckets, cost: Cost, account_no: int = 0, address: str = "a") -> int:
    """0 if it passed, else how many ms to wait."""
    try:
        buckets.spend(cost, account_no, address)
    except Refused as refusal:
        if refusal.reason is Reason.LIMIT_EXCEEDED and refusal.extra is not None:
            return int(refusal.extra["retry_after_ms"])
        raise
    return 0


def test_a_bucket_empties_and_fills() -> None:
    clock = Seconds()
    buckets = TokenBuckets({Cost.LOGIN: Rate(0.5, 3)}, clock)
    assert [spent(buckets, Cost.LOGIN) for _ in range(3)] == [0, 0, 0]
    wait_ms = spent(buckets, Cost.LOGIN)
    assert 2000 <= wait_ms <= 2001
    clock.now += 1.9
    assert spent(buckets, Cost.LOGIN) > 0
    clock.now += 0.11
    assert spent(buckets, Cost.LOGIN) == 0
    clock.now += 1e6
    assert [spent(buckets, Cost.LOGIN) for _ in range(4)][:3] == [0, 0, 0]
    assert spent(buckets, Cost.LOGIN) > 0


def test_what_was_right_is_given_back() -> None:
    buckets = TokenBuckets({Cost.LOGIN: Rate(0.5, 2)}, Seconds())
    for _ in range(10):
        assert spent(buckets, Cost.LOGIN) == 0
        buckets.give_back(Cost.LOGIN, "a")
    buckets.give_back(Cost.LOGIN, "a")  # never more than there was
    assert [spent(buckets, Cost.LOGIN) for _ in range(2)] == [0, 0]
    assert spent(buckets, Cost.LOGIN) > 0
    buckets.give_back(Cost.LOGIN, "nobody")
    buckets.give_back(Cost.WRITE, "a")


def test_callers_and_costs_do_not_share() -> None:
    buckets = TokenBuckets({Cost.LOGIN: Rate(1, 1), Cost.WRITE: Rate(1, 1)}, Seconds())
    assert spent(buckets, Cost.LOGIN, 0, "192.0.2.1") == 0
    assert spent(buckets, Cost.LOGIN, 0, "192.0.2.2") == 0
    assert spent(buckets, Cost.LOGIN, 7, "192.0.2.1") == 0
    assert spent(buckets, Cost.WRITE, 7, "192.0.2.1") == 0
    assert spent(buckets, Cost.LOGIN, 7, "198.51.100.9") > 0
    assert spent(buckets, Cost.LOGIN, 0, "192.0.2.1") > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("no:address", "no:address", True),
        ("", "", True),
    ],
)
def test_a_household_has_one_bucket(one: str, other: str, same: bool) -> None:
    buckets = TokenBuckets({Cost.LOGIN: Rate(1, 1)}, Seconds())
    spent(buckets, Cost.LOGIN, 0, one)
    assert (spent(buckets, Cost.LOGIN, 0, other) > 0) is same


def test_memory_is_bounded_and_busy_buckets_stay() -> None:
    clock = Seconds()
    buckets = TokenBuckets({Cost.LOGIN: Rate(0.001, 1)}, clock, most=10)
    spent(buckets, Cost.LOGIN, 0, "busy")
    for n in range(100):
        spent(buckets, Cost.LOGIN, 0, f"address {n}")
        assert spent(buckets, Cost.LOGIN, 0, "busy") > 0
        assert len(buckets) <= 10


def test_without_rates_everything_is_free() -> None:
    buckets = TokenBuckets({})
    assert [spent(buckets, cost) for cost in Cost for _ in range(1000)] == [0] * 1000 * len(Cost)
    assert len(buckets) == 0
    assert Cost.FREE not in PUBLIC_RATES


async def test_a_refusal_over_http(database: Database, feed: Feed) -> None:
    limiter = TokenBuckets({Cost.LOGIN: Rate(0.01, 2)})
    world = World(database, feed, limiter=limiter)
    await world.sign_up("ayna")
    for _ in range(2):
        assert (await world.sign_in("ayna", "wrong")).status == 403
    answer = await world.sign_in("ayna")
    answer.refused(429, "M_LIMIT_EXCEEDED")
    wait_ms = answer.json["retry_after_ms"]
    assert 0 < wait_ms <= 100_001
    assert wait_ms <= int(answer.headers["retry-after"]) * 1000 < wait_ms + 1000
    other = await world.ask(
        "POST",
        V3 + "/login",
        {"type": "m.login.password", "user": "ayna", "password": "correct horse"},
        address="198.51.100.1",
    )
    assert other.status == 200
    world.close()


async def test_password_checks_wait_in_a_bounded_queue() -> None:
    stretcher = Stretcher(CHEAP, at_once=1, queue_max=2)
    results = await asyncio.gather(
        *(stretcher.fresh("correct horse") for _ in range(5)), return_exceptions=True
    )
    busy = [r for r in results if isinstance(r, Unavailable)]
    assert len(busy) == 2
    assert all(r.reason is Unready.BUSY for r in busy)
    keys, kept = await stretcher.fresh("correct horse")  # the queue is free again
    assert await stretcher.check("correct horse", kept) == keys
    assert await stretcher.check("wrong horse", kept) is None
    assert await stretcher.check("correct horse", None) is None
    assert await stretcher.check("x" * 10_000, kept) is None
    stretcher.close()
