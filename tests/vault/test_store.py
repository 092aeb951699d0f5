"""Vaults in the database, on both engines."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql
from kerwen.vault.actions.delivery_keys import DeliveryKeys
from kerwen.vault.epoch import EPOCH_MESSAGES_MAX, EPOCH_MS_MAX
from kerwen.vault.seal import Belonging, public_of
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import OpenVault, Secret, Vaults

AYNA, BATYR = 1, 2
PASSWORD: Secret = (SlotKind.PASSWORD, "", b"p" * 32)
TOKEN: Secret = (SlotKind.TOKEN, "9", b"t" * 32)
LETTER = Belonging(AYNA, 55, "message")


class Time:
    now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


def drawing() -> Callable[[int], bytes]:
    """Bytes that differ each time, the same in every run."""
    count = itertools.count(1)
    return lambda size: next(count).to_bytes(size, "big")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def vaults(time: Time) -> Vaults:
    return Vaults(drawing(), time)


@pytest.fixture
def keys(database: Database, vaults: Vaults, time: Time) -> DeliveryKeys:
    return DeliveryKeys(database, vaults, drawing(), time)


async def create(database: Database, vaults: Vaults, *slots: Secret) -> bytes:
    async with database.write() as tx:
        return await vaults.create(tx, AYNA, slots)


async def unlock(database: Database, vaults: Vaults, secret: Secret) -> OpenVault:
    async with database.read() as snap:
        return await vaults.unlock(snap, AYNA, *secret)


async def closed(database: Database, vaults: Vaults, secret: Secret) -> bool:
    with pytest.raises(Refused) as refused:
        await unlock(database, vaults, secret)
    return refused.value.reason is Reason.VAULT_CLOSED


async def test_each_secret_opens_the_vault(database: Database, vaults: Vaults) -> None:
    private_key = await create(database, vaults, PASSWORD)
    async with database.write() as tx:
        await vaults.add_slot(tx, AYNA, private_key, *TOKEN)
    for secret in (PASSWORD, TOKEN):
        assert (await unlock(database, vaults, secret)).private_key == private_key
    async with database.read() as snap:
        assert await vaults.public_key(snap, AYNA) == (1, public_of(private_key))
        assert await vaults.public_key(snap, BATYR) is None
        assert await vaults.slots(snap, AYNA) == [("password", ""), ("token", "9")]


@pytest.mark.parametrize(
    "wrong",
    [(*PASSWORD[:2], b"x" * 32), (*TOKEN[:2], PASSWORD[2]), (SlotKind.RECOVERY, "", b"p" * 32)],
)
async def test_a_wrong_secret_opens_nothing(
    database: Database, vaults: Vaults, wrong: Secret
) -> None:
    await create(database, vaults, PASSWORD, TOKEN)
    assert await closed(database, vaults, wrong)


async def test_a_dropped_slot_opens_nothing_and_the_others_stay(
    database: Database, vaults: Vaults
) -> None:
    others = [(SlotKind.TOKEN, str(n), b"t" * 32) for n in (10, 11)]
    await create(database, vaults, PASSWORD, TOKEN, *others)
    async with database.write() as tx:
        await vaults.drop_slot(tx, AYNA, "token", "9")
    assert await closed(database, vaults, TOKEN)
    async with database.write() as tx:
        await vaults.drop_slots(tx, AYNA, "token", ["10", "99"])
    assert await closed(database, vaults, others[0])
    (await unlock(database, vaults, others[1])).close()
    async with database.write() as tx:
        await vaults.drop_slots(tx, AYNA, "token")
    assert await closed(database, vaults, others[1])
    (await unlock(database, vaults, PASSWORD)).close()


async def test_a_new_password_rewraps_one_slot(database: Database, vaults: Vaults) -> None:
    private_key = await create(database, vaults, PASSWORD, TOKEN)
    new: Secret = (*PASSWORD[:2], b"q" * 32)
    async with database.write() as tx:
        await vaults.rewrap(tx, AYNA, PASSWORD, new)
    assert await closed(database, vaults, PASSWORD)
    assert (await unlock(database, vaults, new)).private_key == private_key
    (await unlock(database, vaults, TOKEN)).close()


async def test_rewrapping_with_a_wrong_secret_changes_nothing(
    database: Database, vaults: Vaults
) -> None:
    await create(database, vaults, PASSWORD)
    with pytest.raises(Refused):
        async with database.write() as tx:
            await vaults.rewrap(tx, AYNA, (*PASSWORD[:2], b"x" * 32), (*PASSWORD[:2], b"q" * 32))
    (await unlock(database, vaults, PASSWORD)).close()


async def test_a_token_hands_the_vault_on(database: Database, vaults: Vaults) -> None:
    private_key = await create(database, vaults, TOKEN)
    fresh: Secret = (SlotKind.TOKEN, "10", b"f" * 32)
    async with database.write() as tx:
        await vaults.copy_slot(tx, AYNA, TOKEN, fresh)
        await vaults.copy_slot(tx, BATYR, TOKEN, fresh)  # has no vault: nothing happens
    assert (await unlock(database, vaults, fresh)).private_key == private_key


async def test_a_slot_of_anothers_key_is_not_made(database: Database, vaults: Vaults) -> None:
    await create(database, vaults, PASSWORD)
    with pytest.raises(Refused) as refused:
        async with database.write() as tx:
            await vaults.add_slot(tx, AYNA, b"z" * 32, *TOKEN)
    assert refused.value.reason is Reason.VAULT_CLOSED


async def test_rows_swapped_between_accounts_do_not_open(
    database: Database, vaults: Vaults
) -> None:
    await create(database, vaults, PASSWORD)
    async with database.write() as tx:
        await tx.run(sql("update vault_slots set account_no = 2"))
    async with database.read() as snap:
        with pytest.raises(Refused):
            await vaults.unlock(snap, BATYR, *PASSWORD)


async def test_old_mail_stays_shut_until_the_recovery_key_opens_it(
    database: Database, feed: Feed, vaults: Vaults, keys: DeliveryKeys
) -> None:
    feed.follow(keys.follow, Kind.ACCOUNT)
    await create(database, vaults, PASSWORD)
    recovery = b"r" * 32
    async with database.write() as tx:
        with await vaults.unlock(tx, AYNA, *PASSWORD) as opened:
            await vaults.add_recovery(tx, AYNA, opened, recovery)
    old_box = (await keys.of(AYNA)).seal(LETTER, b"old mail")
    # the password is forgotten: a new one, a new vault
    new: Secret = (*PASSWORD[:2], b"q" * 32)
    async with database.write() as tx:
        await vaults.drop_slot(tx, AYNA, *PASSWORD[:2])
        await vaults.create(tx, AYNA, [new])
        tx.change(Kind.ACCOUNT, AYNA)
    new_box = (await keys.of(AYNA)).seal(LETTER, b"new mail")
    async with database.read() as snap:
        with await vaults.unlock(snap, AYNA, *new) as opened:
            assert await vaults.unseal(snap, opened, LETTER, new_box) == b"new mail"
            with pytest.raises(Refused) as refused:
                await vaults.unseal(snap, opened, LETTER, old_box)
            assert refused.value.reason is Reason.VAULT_CLOSED
    # the recovery key is found again, and the old vault joins the new one under the password
    async with database.write() as tx:
        with await vaults.unlock_by_recovery(tx, AYNA, recovery) as found:
            await vaults.add_slot(tx, AYNA, found, *new)
    async with database.read() as snap:
        with await vaults.unlock(snap, AYNA, *new) as opened:
            assert opened.generations == [1, 2]
            assert await vaults.unseal(snap, opened, LETTER, old_box) == b"old mail"
            assert await vaults.unseal(snap, opened, LETTER, new_box) == b"new mail"


async def test_an_epoch_outlives_changes_that_make_no_vault(
    database: Database, feed: Feed, vaults: Vaults, keys: DeliveryKeys
) -> None:
    feed.follow(keys.follow, Kind.ACCOUNT)
    await create(database, vaults, PASSWORD)
    first = await keys.of(AYNA)
    async with database.write() as tx:
        tx.change(Kind.ACCOUNT, AYNA)
    assert await keys.of(AYNA) is first
    async with database.write() as tx:
        await vaults.drop_account(tx, AYNA)
        tx.change(Kind.ACCOUNT, AYNA)
    with pytest.raises(Refused) as refused:
        await keys.of(AYNA)
    assert refused.value.reason is Reason.VAULT_CLOSED
    assert not any(first.key), "it was overwritten"


async def test_a_new_recovery_key_ends_the_old_one(database: Database, vaults: Vaults) -> None:
    await create(database, vaults, PASSWORD)
    for key in (b"r" * 32, b"s" * 32):
        async with database.write() as tx:
            with await vaults.unlock(tx, AYNA, *PASSWORD) as opened:
                await vaults.add_recovery(tx, AYNA, opened, key)
    async with database.read() as snap:
        (await vaults.unlock_by_recovery(snap, AYNA, b"s" * 32)).close()
        with pytest.raises(Refused):
            await vaults.unlock_by_recovery(snap, AYNA, b"r" * 32)


async def test_delivery_needs_no_secret_and_reading_one_box_an_epoch(
    database: Database, vaults: Vaults, keys: DeliveryKeys
) -> None:
    await create(database, vaults, PASSWORD)
    epochs = [await keys.of(AYNA) for _ in range(3)]
    assert len({id(epoch) for epoch in epochs}) == 1
    assert epochs[0].messages == 3
    boxes = [epoch.seal(LETTER, b"%d" % n) for n, epoch in enumerate(epochs)]
    async with database.read() as snap:
        with await vaults.unlock(snap, AYNA, *PASSWORD) as opened:
            found = [await vaults.unseal(snap, opened, LETTER, box) for box in boxes]
            assert found == [b"0", b"1", b"2"]
            assert opened.knows(epochs[0].epoch_no)
            assert opened.unseal(LETTER, boxes[0]) == b"0"
        with pytest.raises(Refused) as refused:
            opened.unseal(LETTER, boxes[0])
        assert refused.value.reason is Reason.VAULT_CLOSED


async def test_an_epoch_in_use_is_taught_to_who_may_open_it(
    database: Database, vaults: Vaults, keys: DeliveryKeys
) -> None:
    await create(database, vaults, PASSWORD)
    first = await keys.of(AYNA)
    box = first.seal(LETTER, b"x")
    with await unlock(database, vaults, PASSWORD) as opened:
        assert not keys.teach(opened, first.epoch_no + 1)
        assert keys.teach(opened, first.epoch_no)
        assert opened.unseal(LETTER, box) == b"x"
        taught = opened._epochs[first.epoch_no]
    assert not any(taught)
    assert any(first.key), "the vault had a copy of its own"
    # a new vault, which the old secret does not open
    await create(database, vaults, TOKEN)
    keys.forget(AYNA)
    second = await keys.of(AYNA)
    with await unlock(database, vaults, PASSWORD) as opened:
        assert not keys.teach(opened, second.epoch_no)
        assert not opened.knows(second.epoch_no)
    with await unlock(database, vaults, TOKEN) as opened:
        assert keys.teach(opened, second.epoch_no)


async def test_a_delivery_key_is_changed_in_time(
    database: Database, vaults: Vaults, keys: DeliveryKeys, time: Time
) -> None:
    await create(database, vaults, PASSWORD)
    first = await keys.of(AYNA)
    time.now_ms += EPOCH_MS_MAX
    second = await keys.of(AYNA)
    assert second.epoch_no != first.epoch_no
    assert second.key != first.key
    second.messages = EPOCH_MESSAGES_MAX
    assert (await keys.of(AYNA)).epoch_no != second.epoch_no
    keys.close()
    assert (await keys.of(AYNA)).epoch_no != second.epoch_no


async def test_no_delivery_without_a_vault(database: Database, keys: DeliveryKeys) -> None:
    with pytest.raises(Refused) as refused:
        await keys.of(AYNA)
    assert refused.value.reason is Reason.VAULT_CLOSED


async def test_a_box_of_an_epoch_that_is_not_there_is_damaged(
    database: Database, vaults: Vaults, keys: DeliveryKeys
) -> None:
    await create(database, vaults, PASSWORD)
    box = (await keys.of(AYNA)).seal(LETTER, b"x")
    async with database.write() as tx:
        await tx.run(sql("delete from vault_epochs"))
    async with database.read() as snap:
        opened = await vaults.unlock(snap, AYNA, *PASSWORD)
        with opened, pytest.raises(Refused) as refused:
            await vaults.unseal(snap, opened, LETTER, box)
    assert refused.value.reason is Reason.BOX_DAMAGED


async def test_a_closed_vault_holds_no_key(database: Database, vaults: Vaults) -> None:
    await create(database, vaults, PASSWORD)
    with await unlock(database, vaults, PASSWORD) as opened:
        held = opened.key_of(1)
        assert any(held)
    assert not any(held), "overwritten, not only forgotten"
    for ask in (lambda: opened.private_key, lambda: opened.key_of(1)):
        with pytest.raises(Refused):
            ask()


async def test_nothing_in_the_database_opens_the_vault(
    database: Database, vaults: Vaults, keys: DeliveryKeys
) -> None:
    private_key = await create(database, vaults, PASSWORD, TOKEN)
    epoch = await keys.of(AYNA)
    async with database.read() as snap:
        stored = [
            value
            for table in ("vaults", "vault_slots", "vault_epochs")
            for row in await snap.all(sql(f"select * from {table}"))
            for value in row
            if isinstance(value, bytes)
        ]
    assert stored
    for secret in (private_key, bytes(epoch.key), PASSWORD[2], TOKEN[2]):
        assert not any(secret in value for value in stored)


async def test_a_dropped_account_has_nothing_left(
    database: Database, vaults: Vaults, keys: DeliveryKeys
) -> None:
    await create(database, vaults, PASSWORD)
    await keys.of(AYNA)
    async with database.write() as tx:
        await vaults.drop_account(tx, AYNA)
        for table in ("vaults", "vault_slots", "vault_epochs"):
            assert await tx.one(sql(f"select 1 from {table}")) is None
