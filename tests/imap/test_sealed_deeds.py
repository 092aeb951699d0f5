"""Deeds over IMAP that other parts of the store see: REPLACE, lessons of junk, annotations."""

from __future__ import annotations

from kerwen.storage.sql import sql
from tests.imap.world import World
from tests.mail_store.house import letter


async def test_replace_into_another_mailbox_is_one_deed(world: World) -> None:
    client, other = await world.ayna("Drafts"), await world.ayna("Drafts")
    await client.append("Drafts", letter(1), letter(2))
    before = await world.house.view(1, "Drafts")
    answer = await client.cmd(b"UID REPLACE 2 Sent {%d+}\r\n%b" % (5, b"hello"))
    assert b"2 EXPUNGE" in answer.lines
    drafts, sent = await world.house.view(1, "Drafts"), await world.house.view(1, "Sent")
    assert (list(drafts.uids), list(sent.sizes)) == ([1], [5])
    assert drafts.modseq == sent.modseq == before.head + 1, "both under one MODSEQ"
    # it is gone for whoever did not hear of it yet: nothing is appended then
    answer = await other.cmd(b"UID REPLACE 2 Sent {%d+}\r\n%b" % (5, b"again"), ok=False)
    assert answer.status == "NO"
    assert len(await world.house.view(1, "Sent")) == 1
    # nor is the old one gone where the new one finds no place
    answer = await client.cmd(b"UID REPLACE 1 Nowhere {%d+}\r\n%b" % (5, b"hello"), ok=False)
    assert answer.code == b"TRYCREATE"
    assert list((await world.house.view(1, "Drafts")).uids) == [1]


async def test_moves_into_junk_and_out_of_it_are_lessons(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", *[letter(n) for n in range(4)])
    await client.append("Junk", letter(9))
    nos = list((await world.house.view(1)).nos)
    (posted,) = (await world.house.view(1, "Junk")).nos
    await client.cmd("MOVE 1 Junk")
    await client.cmd("COPY 1 Junk")
    await client.cmd("STORE 2 +FLAGS.SILENT ($Junk)")
    await client.cmd("UID STORE 4 FLAGS ($NotJunk)")
    await world.house.mail.tastes.drain()
    await client.cmd("SELECT Junk")
    await client.cmd("UID MOVE 2 INBOX")
    await world.house.mail.tastes.drain()
    with await world.house.open(1) as lease:
        taste = (await world.house.mail.tastes._read(lease.unlocked)).taste
    told = [taste.lesson(no) for no in nos]
    assert told == [False, True, True, False]
    assert taste.lesson(posted) is True


async def test_metadata_is_sealed_each_for_its_place(world: World) -> None:
    client = await world.ayna()
    await client.cmd('SETMETADATA INBOX (/private/comment "my own" /private/other "second")')
    db = world.house.db
    async with db.write() as tx:
        rows = await tx.all(sql("select entry, value from mail_metadata order by entry"))
        assert all(b"own" not in bytes(row[1]) for row in rows)
        # the one value in the other's place, and one of before they were sealed
        await tx.run(
            sql("update mail_metadata set value = :box where entry = '/private/other'"),
            box=bytes(rows[0][1]),
        )
        await tx.run(
            sql(
                "insert into mail_metadata (account_no, mailbox_no, entry, value)"
                " select account_no, mailbox_no, '/private/old', :value from mail_metadata"
                " where entry = '/private/other'"
            ),
            value=b"clear",
        )
    answer = await client.cmd("GETMETADATA INBOX (/private/comment /private/old)")
    assert answer.lines == [b'METADATA INBOX (/private/comment "my own" /private/old "clear")']
    answer = await client.cmd("GETMETADATA (DEPTH infinity) INBOX /private/other")
    assert b"own" not in b"".join(answer.lines), "a value in another's place does not open"
