"""The authenticator: its cache, what changes it, what a hit costs."""

from __future__ import annotations

import asyncio
import time

import pytest

from kerwen.accounts.actions.authenticate import Authenticate
from kerwen.accounts.store import devices
from kerwen.api.http import Caller
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Kind
from tests.accounts.test_login import account_no_of
from tests.accounts.world import DOMAIN, World


async def test_who_asks(world: World) -> None:
    up = await world.sign_up("ayna", device_id="PHONE")
    no = await account_no_of(world, "ayna")
    caller = await world.accounts.authenticate.caller(up["access_token"])
    async with world.db.read() as snap:
        (device,) = await devices.of(snap, no)
    assert caller == Caller(
        no, f"@ayna:{DOMAIN}", device.device_no, "PHONE", caller.token_no, False, False, False
    )
    assert caller.token_no > 0


@pytest.mark.parametrize("token", ["", "x", "kat_" + "A" * 43, "\u00e9", "\ud800", "a" * 100_000])
async def test_nobody(world: World, token: str) -> None:
    with pytest.raises(Refused) as caught:
        await world.accounts.authenticate.caller(token)
    assert caught.value.reason is Reason.UNKNOWN_TOKEN


async def test_a_hit_asks_no_database_and_is_quick(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    authenticate = world.accounts.authenticate
    first = await authenticate.caller(token)
    monkeypatch.setattr(authenticate, "_db", None)
    assert await authenticate.caller(token) is first
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            await authenticate.caller(token)
        best = min(best, (time.perf_counter() - start) / 200)
    assert best < 20e-6  # about 1.5 µs on an idle machine


async def test_the_feed_changes_the_cache(world: World) -> None:
    up = await world.sign_up("ayna")
    other = await world.sign_up("batyr")
    caller = world.accounts.authenticate.caller
    mine, his = await caller(up["access_token"]), await caller(other["access_token"])
    no = await account_no_of(world, "ayna")
    async with world.db.write() as tx:
        tx.change(Kind.ACCOUNT_DATA, no)
    assert await caller(up["access_token"]) is mine
    await world.accounts.moderate.set_admin(up["user_id"], True)
    assert (await caller(up["access_token"])).admin
    assert await caller(other["access_token"]) is his


async def test_a_change_told_during_a_load_is_not_lost(world: World) -> None:
    up = await world.sign_up("ayna")
    authenticate = world.accounts.authenticate
    read = world.db.read

    class Slow:
        """A snapshot taken before a lock that is told after it."""

        async def __aenter__(self):  # type: ignore[no-untyped-def]
            self.inner = read()
            return await self.inner.__aenter__()

        async def __aexit__(self, *about):  # type: ignore[no-untyped-def]
            await self.inner.__aexit__(*about)
            world.db.read = read  # type: ignore[method-assign]
            await world.accounts.moderate.lock(0, up["user_id"], True)

    world.db.read = Slow  # type: ignore[assignment, method-assign]
    before = await authenticate.caller(up["access_token"])
    assert not before.locked
    assert (await authenticate.caller(up["access_token"])).locked


async def test_the_cache_is_bounded(world: World) -> None:
    few = Authenticate(world.db, world.feed, DOMAIN, world.vaults, Caller, world.clock, 2)
    found = [(await world.sign_up(name))["access_token"] for name in ("a1", "b2", "c3", "d4")]
    for token in found * 2:
        assert (await few.caller(token)).token_no
    assert len(few._entries) == 2
    assert sum(len(hashes) for hashes in few._of_account.values()) == 2


async def test_last_seen_is_written_now_and_then(world: World) -> None:
    up = await world.sign_up("ayna")
    no = await account_no_of(world, "ayna")
    token, authenticate = up["access_token"], world.accounts.authenticate

    async def seen() -> int:
        async with world.db.read() as snap:
            (device,) = await devices.of(snap, no)
        return device.seen_ms

    start = await seen()
    world.clock.ms += 300_000
    await world.whoami(token)
    assert await seen() == start
    assert await authenticate.store_seen() == 1
    assert await seen() == start + 300_000
    world.clock.ms += 1000
    await world.whoami(token)
    assert await authenticate.store_seen() == 0  # too soon to be worth a write
    world.clock.ms += 1000
    await world.whoami(token)
    async with world.db.write() as tx:  # drops the entry: its time is not lost
        tx.change(Kind.ACCOUNT, no)
    assert await authenticate.store_seen() == 1
    assert await seen() == start + 302_000


async def test_many_first_uses_at_once(world: World) -> None:
    up = await world.sign_up("ayna", refresh_token=True)
    pair = (await world.accounts.refresh.run(up["refresh_token"])).access_token
    answers = await asyncio.gather(*(world.whoami(pair) for _ in range(6)))
    assert {answer.status for answer in answers} == {200}
