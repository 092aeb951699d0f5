"""Who gets the mail of an address."""

from __future__ import annotations

import pytest

from kerwen.accounts.store import accounts
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.queue import Envelope
from kerwen.mail.actions.recipients import Found
from tests.mail_store.house import House, letter


@pytest.fixture
async def house(house: House) -> House:
    async with house.db.write() as tx:
        await accounts.add(tx, 1, "batyr", 0, admin=False)
        await accounts.add(tx, 2, "ayna", 0, admin=True)
        await accounts.add(tx, 3, "gone", 0, admin=False)
        await accounts.close(tx, 3, 1, erased=False)
    return house


async def find(house: House, address: str) -> Found:
    return await house.mail.recipients.find(address)


@pytest.mark.parametrize(
    ("address", "detail"),
    [
        ("batyr@kerwen.test", ""),
        ("Batyr@Kerwen.Test", ""),
        ("batyr+shop@kerwen.test", "shop"),
        ("batyr+a+b@kerwen.test", "a+b"),
    ],
)
async def test_accounts_and_details(house: House, address: str, detail: str) -> None:
    assert await find(house, address) == Found(((1, detail),))


@pytest.mark.parametrize("address", ["nobody@kerwen.test", "gone@kerwen.test", "@kerwen.test"])
async def test_unknown(house: House, address: str) -> None:
    with pytest.raises(Refused) as caught:
        await find(house, address)
    assert caught.value.reason is Reason.UNKNOWN_RECIPIENT


async def test_aliases_groups_and_the_rest(house: House) -> None:
    mail = house.mail.recipients
    for local, target in (
        ("office", "batyr"),
        ("office", "ayna+work"),
        ("office", "far@away.test"),
        ("all", "office"),
        ("all", "all"),
        ("all", "Batyr@kerwen.test"),
        ("*", "ayna"),
    ):
        await mail.add(local, target)
    assert await find(house, "office@kerwen.test") == Found(
        ((2, "work"), (1, "")), ("far@away.test",)
    )
    every = await find(house, "all@kerwen.test")
    assert sorted(no for no, _ in every.accounts) == [1, 2]
    assert await find(house, "office+x@kerwen.test") == await find(house, "office@kerwen.test")
    assert await find(house, "whoever@kerwen.test") == Found(((2, ""),))
    await mail.drop("*", "ayna")
    with pytest.raises(Refused):
        await find(house, "whoever@kerwen.test")
    for reason, local, target in (
        (Reason.USER_IN_USE, "ayna", "batyr"),
        (Reason.CONFLICT, "office", "batyr"),
        (Reason.BAD_ADDRESS, "böse", "batyr"),
        (Reason.BAD_ADDRESS, "x", "a b"),
    ):
        with pytest.raises(Refused) as caught:
            await mail.add(local, target)
        assert caught.value.reason is reason


async def test_roles_lead_to_the_administrators(house: House) -> None:
    assert await find(house, "postmaster@kerwen.test") == Found(((2, ""),))
    assert await find(house, "postmaster") == Found(((2, ""),))
    await house.mail.recipients.add("abuse", "batyr")
    assert await find(house, "abuse@kerwen.test") == Found(((1, ""),))


async def test_receive_delivers_here_and_queues_for_elsewhere(house: House) -> None:
    mail = house.mail
    for target in ("batyr", "ayna", "far@away.test"):
        await mail.recipients.add("office", target)
    found = [
        await mail.receive.recipient("office@kerwen.test", 100),
        await mail.receive.recipient("batyr@kerwen.test"),
    ]
    raw, envelope = letter(1), Envelope("who@remote.test")
    done = await mail.receive.run(envelope, found, (b"Received: a\r\n", raw))
    assert [one.refused for one in done] == [None, None]
    again = await mail.receive.run(envelope, found, (b"Received: b\r\n", raw))
    assert [one.twice for one in again] == [True, True], "the sender repeats all of it"
    assert len(await house.view(1)) == len(await house.view(2)) == 1
    leased = await mail.queue.lease()
    assert leased is not None
    assert [to.address for to in leased.recipients.values()] == ["far@away.test"]


async def test_a_full_mailbox_is_refused_at_rcpt(house: House) -> None:
    from kerwen.mail.store import mailboxes

    async with house.db.write() as tx:
        await mailboxes.set_quota(tx, 1, 1000)
    await house.mail.receive.recipient("batyr@kerwen.test", 900)
    with pytest.raises(Refused) as caught:
        await house.mail.receive.recipient("batyr@kerwen.test", 1100)
    assert caught.value.reason is Reason.MAILBOX_FULL
