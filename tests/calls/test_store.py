"""What is kept of calls, on both engines."""

from __future__ import annotations

from kerwen.calls import store
from kerwen.calls.store import Leave
from kerwen.storage.database import Database

ONE = Leave("d1", 7, "call", "@u:a:D", 3_600_000)
OTHER = Leave("d2", 8, "call", "@v:a:E", 18_000)


async def kept(database: Database) -> set[Leave]:
    async with database.read() as snap:
        return set(await store.everything(snap))


async def test_leaves_are_kept_and_dropped(database: Database) -> None:
    async with database.write() as tx:
        await store.add(tx, ONE)
        await store.add(tx, OTHER)
        await store.add(tx, ONE)  # handed over again
    assert await kept(database) == {ONE, OTHER}
    async with database.write() as tx:
        await store.drop(tx, "d1")
    assert await kept(database) == {OTHER}
    async with database.write() as tx:
        await store.drop_account(tx, 8)
    assert await kept(database) == set()
