"""Boxes that were swapped, cut or altered on disk: refused for that message alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.store import page
from kerwen.mail.store.record import Card
from kerwen.storage.sql import sql
from tests.mail_store.house import House, letter

SET_BODY = sql("update mail_loose set body = :box where message_no = :no")
SET_CARD = sql("update mail_loose set card = :box where message_no = :no")
GET = sql("select card, word, body from mail_loose where message_no = :no")
GET_BOX = sql("select box from mail_page_boxes where page_no = :no and kind = :kind")
SET_BOX = sql("update mail_page_boxes set box = :box where page_no = :no and kind = :kind")
PAGES = sql("select page_no from mail_pages order by page_no")


async def three(house: House) -> list[int]:
    return [(await house.deliver(letter(n), 1))[0].no for n in range(3)]


async def boxes(house: House, no: int) -> tuple[bytes, bytes, bytes]:
    async with house.db.read() as snap:
        row = await snap.one(GET, no=no)
    assert row is not None
    return bytes(row[0]), bytes(row[1]), bytes(row[2])


@pytest.mark.parametrize("how", ["swapped", "another kind", "cut", "altered", "empty", "other"])
async def test_a_loose_message(house: House, how: str) -> None:
    nos = await three(house)
    foreign = (await house.deliver(letter(1), 2))[0].no
    card, _, body = await boxes(house, nos[1])
    spoilt = {
        "swapped": (await boxes(house, nos[0]))[2],
        "another kind": card,
        "cut": body[:-1],
        "altered": body[:40] + bytes([body[40] ^ 1]) + body[41:],
        "empty": b"",
        "other": (await boxes(house, foreign))[2],
    }[how]
    async with house.db.write() as tx:
        await tx.run(SET_BODY, box=spoilt, no=nos[1])
    with await house.open(1) as lease:
        found = await house.mail.records.messages(lease.unlocked, nos)
        assert [found[nos[0]], found[nos[2]]] == [letter(0), letter(2)]
        bad = found[nos[1]]
        assert isinstance(bad, Refused)
        assert bad.reason is Reason.BOX_DAMAGED
        with pytest.raises(Refused):
            await house.mail.records.message(lease.unlocked, nos[1])
        cards = await house.mail.records.cards(lease.unlocked, nos)
        assert all(isinstance(one, Card) for one in cards.values()), "it is listed all the same"


@pytest.mark.parametrize("how", ["swapped", "cut", "altered"])
async def test_a_card_is_made_anew_of_its_message(house: House, how: str) -> None:
    nos = await three(house)
    card = (await boxes(house, nos[1]))[0]
    spoilt = {
        "swapped": (await boxes(house, nos[0]))[0],
        "cut": card[:30],
        "altered": card[:-1] + bytes([card[-1] ^ 255]),
    }[how]
    async with house.db.write() as tx:
        await tx.run(SET_CARD, box=spoilt, no=nos[1])
    with await house.open(1) as lease:
        cards = await house.mail.records.cards(lease.unlocked, nos)
    for n, no in enumerate(nos):
        one = cards[no]
        assert isinstance(one, Card)
        assert one.listing is not None
        assert b"<m%d@remote.test>" % n in one.listing[0]


async def paged(house: House) -> tuple[list[int], int]:
    items = [Item(sealing.make(letter(n))) for n in range(30)]
    done = await house.mail.append.run(1, "INBOX", items)
    async with house.db.read() as snap:
        row = await snap.one(PAGES)
    assert row is not None
    return done.nos, row[0]


@pytest.mark.parametrize("kind", [page.LIST, page.HEAD, page.MORE])
async def test_a_damaged_page_is_read_from_its_messages_and_mended(house: House, kind: str) -> None:
    nos, page_no = await paged(house)
    async with house.db.write() as tx:
        row = await tx.one(GET_BOX, no=page_no, kind=kind)
        assert row is not None
        await tx.run(SET_BOX, no=page_no, kind=kind, box=bytes(row[0])[:-3])
    with await house.open(1) as lease:
        cards = await house.mail.records.cards(lease.unlocked, nos)
        for n, no in enumerate(nos):
            one = cards[no]
            assert isinstance(one, Card)
            assert one.listing is not None
            assert b"<m%d@remote.test>" % n in one.listing[0]
        # another small page beside it: the two become one, and whole
        more = [Item(sealing.make(letter(100 + n))) for n in range(40)]
        await house.mail.append.run(1, "INBOX", more)
        assert await house.mail.compact.run(1, lease.unlocked) == 1
        async with house.db.read() as snap:
            rows = await snap.all(PAGES)
            assert len(rows) == 1
            content = await house.mail.records.boxes(snap, lease.unlocked, [rows[0][0]], kind)
        assert not isinstance(content[rows[0][0]], Refused)


def pack(house: House) -> Path:
    (found,) = [f for f in (house.folder / "blobs").rglob("*") if f.is_file()]
    return found


async def test_a_pack_that_was_cut_costs_what_was_behind(house: House) -> None:
    nos, _ = await paged(house)
    file = pack(house)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with await house.open(1) as lease:
        found = await house.mail.records.messages(lease.unlocked, nos)
        good = [no for no in nos if isinstance(found[no], bytes)]
        assert 10 < len(good) < 20
        assert good == nos[: len(good)]
        assert all(found[no] == letter(n) for n, no in enumerate(good))
        assert await house.mail.records.message(lease.unlocked, nos[0]) == letter(0)
        with pytest.raises(Refused) as caught:
            await house.mail.records.message(lease.unlocked, nos[-1])
        assert caught.value.reason is Reason.BOX_DAMAGED


async def test_a_bit_in_a_pack_costs_one_message(house: House) -> None:
    nos, _ = await paged(house)
    file = pack(house)
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 4
    file.write_bytes(bytes(whole))
    with await house.open(1) as lease:
        found = await house.mail.records.messages(lease.unlocked, nos)
    assert sum(isinstance(one, Refused) for one in found.values()) == 1


async def test_a_pack_that_is_gone_costs_its_messages_only(house: House) -> None:
    nos, _ = await paged(house)
    pack(house).unlink()
    alone = (await house.deliver(letter(77), 1))[0].no
    with await house.open(1) as lease:
        found = await house.mail.records.messages(lease.unlocked, [*nos, alone])
    assert found[alone] == letter(77)
    for no in nos:
        one = found[no]
        assert isinstance(one, Refused)
        assert one.reason is Reason.BOX_DAMAGED
