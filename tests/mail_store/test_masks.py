"""Masked addresses lead to their owner, until they are shut; on both engines."""

from __future__ import annotations

import itertools
import secrets

import pytest

from kerwen.accounts.store import accounts as account_store
from kerwen.base.errors import Reason, Refused
from kerwen.mail import masked
from kerwen.mail.actions import masks as actions
from kerwen.mail.actions.masks import Masks
from kerwen.mail.store import forget
from tests.mail_store.house import House


def masks_of(house: House) -> Masks:
    return Masks(house.db, secrets.token_bytes, house.clock)


async def refused(house: House, address: str) -> None:
    with pytest.raises(Refused) as error:
        await house.mail.recipients.find(address)
    assert error.value.reason is Reason.UNKNOWN_RECIPIENT


async def test_a_life(house: House) -> None:
    masks, recipients = masks_of(house), house.mail.recipients
    await recipients.add("*", "catch@elsewhere.test")  # who gets the rest does not get these
    one, two = await masks.make(1, "shop"), await masks.make(1, "list")
    address = f"{one.local}@kerwen.test"
    assert masked.is_mask(one.local)
    assert (await recipients.find(address.upper())).accounts == ((1, ""),)
    assert await recipients.owns(1, "ayna", address)
    assert not await recipients.owns(2, "batyr", address)
    await masks.enable(1, one.local, False)
    await refused(house, address)
    assert not await recipients.owns(1, "ayna", address)
    assert (await recipients.find(f"{two.local}@kerwen.test")).accounts == ((1, ""),)
    assert [(m.local, m.enabled) for m in await masks.listing(1)] == [
        (m.local, m is two) for m in sorted((one, two), key=lambda m: m.local)
    ]
    await masks.enable(1, one.local, True)
    assert (await recipients.find(address)).accounts == ((1, ""),)
    for deed in (masks.drop(2, one.local), masks.enable(2, one.local, False)):
        with pytest.raises(Refused):
            await deed  # another account's
    await masks.drop(1, one.local)
    assert (await recipients.find(address)).elsewhere == ("catch@elsewhere.test",)
    async with house.db.write() as tx:
        await forget.forget_account(tx, 1)
    assert await masks.listing(1) == []


async def test_nobody_takes_one_over_by_its_name(house: House) -> None:
    masks = masks_of(house)
    one = await masks.make(1, "shop")
    async with house.db.write() as tx:
        await account_store.add(tx, 2, one.local, 0, admin=False)
    found = await house.mail.recipients.find(f"{one.local}@kerwen.test")
    assert found.accounts == ((1, ""),)


async def test_limits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = masks_of(house)
    monkeypatch.setattr(actions, "MASKS_MAX", 3)
    for _ in range(3):
        await masks.make(1, "a")
    with pytest.raises(Refused) as error:
        await masks.make(1, "a")
    assert error.value.reason is Reason.LIMIT_EXCEEDED
    await masks.make(2, "a")


@pytest.mark.parametrize("word", ["", "A", "a.b", "a b", "-a", "a" * 25, "ä", "a@b"])
async def test_words_that_are_none(house: House, word: str) -> None:
    with pytest.raises(Refused) as error:
        await masks_of(house).make(1, word)
    assert error.value.reason is Reason.INVALID_PARAM


def test_what_is_drawn_looks_like_one_and_names_do_not() -> None:
    drawn = {masked.made("w", secrets.token_bytes) for _ in range(200)}
    assert len(drawn) == 200
    assert all(masked.is_mask(local) for local in drawn)
    edge = itertools.cycle([b"\xff" * 9, bytes(range(231, 240))])
    assert masked.is_mask(masked.made("w", lambda n: next(edge)[:n] if n > 1 else b"\xff"))
    for name in ("ayna", "x.xavier", "anna.x", "shop.x4", "maria.matthews12"):
        assert not masked.is_mask(name)
