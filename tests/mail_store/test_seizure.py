"""Who takes the stopped server's data folder reads no word; who has a secret reads all."""

from __future__ import annotations

import base64
import quopri
import shutil
import zlib
from pathlib import Path

import pytest

from kerwen.mail.actions import sealing
from kerwen.mail.actions.annotations import Annotations
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.mail.match import Body
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from tests.mail_store.house import SLOT, House, letter

MARKS = (
    "markedsubject", "markedname", "markedaddress", "markedbody", "markedpost", "маркаслово",
    "markednote",
)  # fmt: skip
KEY = b"r" * 32


def forms(word: str) -> set[bytes]:
    """How a word may stand somewhere."""
    raw = word.encode()
    found = {raw, word.upper().encode(), word.encode("utf-16-le"), raw.hex().encode()}
    found |= {raw[::-1], quopri.encodestring(raw)}
    for shift in range(3):  # inside a longer text the Base64 begins anywhere
        text = base64.b64encode(b"\0" * shift + raw)
        found.add(text[-(-shift * 8 // 6) + 1 : -4])
    return {form for form in found if len(form) >= 6}


def everything(folder: Path) -> bytes:
    """Every byte of the folder, and all that deflate gives back of it."""
    pieces = [f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()]
    pieces += [f.name.encode() for f in folder.rglob("*")]
    whole = b"\n".join(pieces)
    opened = []
    for head in (b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
        at = whole.find(head)
        while at >= 0:
            try:
                opened.append(zlib.decompressobj().decompress(whole[at : at + 100_000]))
            except zlib.error:
                pass
            at = whole.find(head, at + 1)
    return b"\n".join([whole, *opened])


async def fill(house: House) -> list[bytes]:
    raws = []
    for n in range(90):
        raw = letter(
            n,
            f"markedsubject {n}",
            f"markedbody маркаслово {n} " + base64.b64encode(b"markedbody" * 5).decode(),
            sender=f"Markedname <markedaddress{n}@remote.test>",
            pad=120_000 if n == 3 else 0,
        )
        raws.append(raw)
        await house.deliver(raw, 1)
    await house.mail.compact.run(1)
    for raw in raws[:30]:
        await house.deliver(raw, 1)
    items = [Item(sealing.make(raw)) for raw in raws[:40]]
    await house.mail.append.run(1, "Drafts", items)
    envelope = Envelope("markedpost@kerwen.test")
    await house.mail.queue.enqueue(envelope, [Addressee("markedpost@far.test")], raws[0])
    await house.mail.queue.enqueue(envelope, [Addressee("markedpost@far.test")], raws[3])
    notes = Annotations(house.db, house.mail.records, house.mail.delivery_keys, house.clock)
    await notes.write(1, "Drafts", {"/private/comment": b"markednote"})
    with await house.open(1) as lease:
        assert await notes.read(lease.unlocked, "Drafts") == {"/private/comment": b"markednote"}
        view = await house.view(1)
        await house.mail.tastes.learn(lease.unlocked, {view.nos[0]: True, view.nos[1]: False})
        found = await house.mail.search.run(lease.unlocked, view, Body("markedbody"))
        assert len(found) == 120
        async with house.db.write() as tx:
            await house.vaults.add_recovery(tx, 1, lease.unlocked.vault, KEY)
            await house.vaults.add_slot(tx, 1, lease.unlocked.vault, "app_password", "1", KEY)
    return raws


@pytest.mark.parametrize("stopped", [True, False])
async def test_no_marked_word_in_any_byte(
    sqlite_template: Path, tmp_path: Path, stopped: bool
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "kerwen.db")
    feed = Feed()
    db = SqliteDatabase(folder / "kerwen.db", feed)
    house = House(db, feed, folder)
    await house.account(1)
    raws = await fill(house)
    if stopped:
        await house.close()
        await db.close()
    taken = everything(folder)
    for mark in MARKS:
        for form in forms(mark):
            assert form.lower() not in taken.lower(), (mark, form)
    assert b"kerwen" in taken, "what is looked at is the data"
    if not stopped:
        await house.close()
        await db.close()
        return
    db = SqliteDatabase(folder / "kerwen.db", Feed())
    house = House(db, Feed(), folder)
    house.clock.now += 10_000_000
    view = await house.view(1)
    for kind, ref, key in (
        ("password", "", SLOT),
        ("app_password", "1", KEY),
        ("recovery", "", KEY),
    ):
        with await house.mail.vaults.open(1, kind, ref, key) as lease:
            found = await house.mail.records.messages(lease.unlocked, list(view.nos))
        assert [found[no] for no in view.nos] == raws + raws[:30]
    await house.close()
    await db.close()
