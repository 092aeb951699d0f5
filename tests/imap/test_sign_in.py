"""Who comes in, and what ends a session."""

from __future__ import annotations

import pytest

from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Kind
from kerwen.storage.sql import sql
from tests.imap.world import Accounts, World


@pytest.fixture
async def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Accounts with rows; the passwords that were checked the dear way."""
    async with world.house.db.write() as tx:
        await accounts.add(tx, 1, "ayna", 0, admin=False)
    passwords: list[str] = []
    dear = Accounts.password

    async def password(self: Accounts, localpart: str | None, said: str) -> object:
        passwords.append(said)
        return await dear(self, localpart, said)

    monkeypatch.setattr(Accounts, "password", password)
    return passwords


async def test_the_same_password_again_is_cheap(world: World, asked: list[str]) -> None:
    first = await world.sign_in.by_password("ayna", "secret-1")
    second = await world.sign_in.by_password("ayna@kerwen.test", "secret-1")
    assert asked == ["secret-1"]
    assert second.unlocked is first.unlocked
    with pytest.raises(Refused) as refused:
        await world.sign_in.by_password("ayna", "secret-2")
    assert refused.value.reason is Reason.WRONG_PASSWORD
    first.close()
    third = await world.sign_in.by_password("ayna", "secret-1")
    assert asked == ["secret-1", "secret-2"]
    second.close()
    third.close()
    assert len(world.house.mail.vaults) == 0
    await world.sign_in.by_password("ayna", "secret-1")
    assert asked[2:] == ["secret-1"], "nothing is known once the vault is closed"


async def change(world: World, statement: str = "") -> None:
    """Something changes in ayna's account, and is told."""
    async with world.house.db.write() as tx:
        if statement:
            await tx.run(sql(statement))
        tx.change(Kind.ACCOUNT, 1)


async def test_a_change_of_the_account_is_looked_at(world: World, asked: list[str]) -> None:
    ended: list[str] = []
    signed = await world.sign_in.by_password("ayna", "secret-1")
    signed.on_end = lambda: ended.append("ayna")
    await change(world)
    await world.sign_in.check_doubted()
    assert ended == [], "it is still good"
    await world.sign_in.by_password("ayna", "secret-1")
    assert len(asked) == 2, "but what was known of the password is forgotten"


@pytest.mark.parametrize(
    "statement",
    [
        "update accounts set locked = 1 where account_no = 1",
        "update accounts set deactivated_ms = 5 where account_no = 1",
        "delete from vault_slots where account_no = 1",
        "insert into passwords (account_no, salt, memory_kib, passes, lanes, proof_hash, set_ms)"
        " values (1, x'00', 1, 1, 1, x'00', 0)",
    ],
)
async def test_what_ends_a_session(world: World, asked: list[str], statement: str) -> None:
    client = await world.ayna("INBOX")
    await client.idle()
    await change(world, statement)
    assert (await client.gone()).startswith(b"* BYE [EXPIRED]")
    assert len(world.sign_in) == 0


async def test_a_locked_account_stays_outside(world: World, asked: list[str]) -> None:
    first = await world.sign_in.by_password("ayna", "secret-1")
    await change(world, "update accounts set locked = 1 where account_no = 1")
    await world.sign_in.by_password("ayna", "secret-1")  # the accounts of this test know no locks
    assert len(asked) == 2, "the short way is closed"
    first.close()
