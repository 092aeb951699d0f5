"""Who comes in, and what ends a session."""

from __future__ import annotations

import hashlib

import pytest

from kerwen.accounts.password import CHEAP, StoredPassword
from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Kind
from kerwen.storage.sql import sql
from tests.imap.world import World


@pytest.fixture
async def accounts_kept(world: World) -> None:
    """Accounts with rows, and a password whose proof is that of the world's accounts."""
    kept = StoredPassword(b"salt", CHEAP, hashlib.sha256(b"").digest())
    async with world.house.db.write() as tx:
        await accounts.add(tx, 1, "ayna", 0, admin=False)
        await accounts.set_password(tx, 1, kept, 0)


async def test_sessions_of_one_account_share_the_open_vault(world: World) -> None:
    first = await world.sign_in.by_password("ayna", "secret-1")
    second = await world.sign_in.by_password("ayna@kerwen.test", "secret-1")
    assert second.unlocked is first.unlocked
    with pytest.raises(Refused) as refused:
        await world.sign_in.by_password("ayna", "secret-2")
    assert refused.value.reason is Reason.WRONG_PASSWORD
    first.close()
    assert len(world.house.mail.vaults) == 1
    second.close()
    second.close()
    assert len(world.house.mail.vaults) == 0
    assert len(world.sign_in) == 0


async def test_a_check_opens_nothing(world: World) -> None:
    account = await world.sign_in.check_password("ayna@kerwen.test", "secret-1")
    assert account.account.localpart == "ayna"
    assert len(world.house.mail.vaults) == len(world.sign_in) == 0
    with pytest.raises(Refused) as refused:
        await world.sign_in.check_password("ayna@elsewhere.test", "secret-1")
    assert refused.value.reason is Reason.WRONG_PASSWORD


async def change(world: World, statement: str = "") -> None:
    """Something changes in ayna's account, and is told."""
    async with world.house.db.write() as tx:
        if statement:
            await tx.run(sql(statement))
        tx.change(Kind.ACCOUNT, 1)


async def test_a_change_of_the_account_is_looked_at(world: World, accounts_kept: None) -> None:
    ended: list[str] = []
    signed = await world.sign_in.by_password("ayna", "secret-1")
    signed.on_end = lambda: ended.append("ayna")
    await change(world)
    await world.sign_in.check_doubted()
    assert ended == [], "it is still good"
    await change(world, "update passwords set proof_hash = x'00' where account_no = 1")
    await world.sign_in.check_doubted()
    assert ended == ["ayna"]


@pytest.mark.parametrize(
    "statement",
    [
        "update accounts set locked = 1 where account_no = 1",
        "update accounts set deactivated_ms = 5 where account_no = 1",
        "delete from vault_slots where account_no = 1",
        "update passwords set proof_hash = x'00' where account_no = 1",
        "delete from passwords where account_no = 1",
    ],
)
async def test_what_ends_a_session(world: World, accounts_kept: None, statement: str) -> None:
    client = await world.ayna("INBOX")
    await client.idle()
    await change(world, statement)
    assert (await client.gone()).startswith(b"* BYE [EXPIRED]")
    assert len(world.sign_in) == 0


async def test_after_a_jump_of_the_feed_every_session_is_looked_at(
    world: World, accounts_kept: None
) -> None:
    ended: list[str] = []
    signed = await world.sign_in.by_password("ayna", "secret-1")
    signed.on_end = lambda: ended.append("ayna")
    async with world.house.db.write() as tx:
        await tx.run(sql("update accounts set locked = 1 where account_no = 1"))
    await world.sign_in.check_doubted()
    assert ended == [], "nobody told"
    feed = world.house.feed
    feed.tell(feed.settled + 1, [(Kind.JUMP, 0, feed.settled + 9)])
    await world.sign_in.check_doubted()
    assert ended == ["ayna"]
