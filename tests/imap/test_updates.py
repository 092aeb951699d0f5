"""What one client does and another is told: unasked, in IDLE, by NOTIFY, after an absence."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.imap.updates import Teller, differences
from kerwen.mail.actions.views import View
from kerwen.mail.store.mailboxes import Mailbox
from kerwen.mail.store.placed import Row
from kerwen.mail.store.segment import Placed, Segment
from tests.imap.client import Answer, Client
from tests.imap.world import World
from tests.mail_store.house import letter

FETCH = re.compile(rb"(\d+) FETCH \(UID (\d+) FLAGS \(([^)]*)\)(?: MODSEQ \((\d+)\))?\)")


# --- in a command ------------------------------------------------------------------------------


async def test_flags_and_expunges_of_others(world: World) -> None:
    one, two = await world.ayna("INBOX"), await world.ayna("INBOX")
    await one.append("INBOX", *(letter(n) for n in range(1, 6)))
    await two.cmd("NOOP")
    await one.cmd("STORE 2 +FLAGS.SILENT (\\Flagged $New)")
    answer = await two.cmd("NOOP")
    assert answer.lines == [
        b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $New)",
        b"2 FETCH (UID 2 FLAGS (\\Flagged $New))",
    ]
    await one.cmd("UID MOVE 1:3 Archive")
    await one.append("INBOX", letter(6))
    # RFC 9051 §7.5.1: sequence numbers stand still while FETCH, STORE and SEARCH run
    for line in ("FETCH 5 UID", "SEARCH ALL", "STORE 4 +FLAGS.SILENT (\\Seen)"):
        answer = await two.cmd(line)
        assert not answer.of(b"EXPUNGE"), line
        assert not answer.of(b"EXISTS"), line
    assert (await two.cmd("FETCH 5 UID")).lines == [b"5 FETCH (UID 5)"]
    answer = await two.cmd("FETCH 1:2 ENVELOPE")
    assert len(answer.lines) == 2, "a moved message is still there to read"
    answer = await two.cmd("UID FETCH 5 UID")
    assert answer.lines[1:4] == [b"1 EXPUNGE", b"1 EXPUNGE", b"1 EXPUNGE"]
    assert b"3 EXISTS" in answer.lines


async def test_silent_is_about_what_it_did_itself(world: World) -> None:
    """What others changed before is told with a STORE.SILENT, whatever share of a segment."""
    one, two = await world.ayna("INBOX"), await world.ayna("INBOX")
    await one.append("INBOX", *(letter(n) for n in range(1, 5)))
    await two.cmd("NOOP")
    for line in (
        "STORE 1:4 +FLAGS.SILENT",
        "UID STORE 1,3:4 +FLAGS.SILENT",
        "STORE 2:3 FLAGS.SILENT",
    ):
        await one.cmd("STORE 2 +FLAGS.SILENT (\\Flagged)")
        told = (await two.cmd(f"{line} (\\Seen)")).lines
        assert told == [b"2 FETCH (UID 2 FLAGS (\\Flagged))"], line
        assert (await two.cmd("NOOP")).lines == []
        await one.cmd("STORE 1:* FLAGS (\\Draft)")
        await one.cmd("STORE 1:* FLAGS ()")
        assert len((await two.cmd("NOOP")).lines) == 4
    # with CONDSTORE the MODSEQ is told, and no flags (RFC 7162 §3.1.3)
    await two.cmd("ENABLE CONDSTORE")
    told = (await two.cmd("STORE 1:4 +FLAGS.SILENT (\\Seen)")).lines
    assert [b"FLAGS" in line for line in told] == [False] * 4
    assert all(b"MODSEQ (" in line for line in told)


async def test_a_message_that_is_gone_meanwhile(world: World) -> None:
    one, two = await world.ayna("INBOX"), await world.ayna("INBOX")
    await one.append("INBOX", letter(1), letter(2))
    await two.cmd("NOOP")
    await one.cmd("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await one.cmd("EXPUNGE")
    answer = await two.cmd("FETCH 1:2 (FLAGS BODY.PEEK[])")
    assert answer.code == b"EXPUNGEISSUED"
    assert [line[:7] for line in answer.lines] == [b"2 FETCH"]
    assert (await two.cmd("STORE 1 +FLAGS.SILENT (\\Seen)")).lines == []
    assert (await two.cmd("NOOP")).lines == [b"1 EXPUNGE"]


async def test_a_mailbox_that_is_deleted_under_somebody(world: World) -> None:
    one, two = await world.ayna(), await world.ayna()
    await one.cmd("CREATE Work")
    await two.cmd("SELECT Work")
    await one.cmd("DELETE Work")
    two.send(b"a NOOP\r\n")
    assert (await two.gone()).startswith(b"* BYE [NONEXISTENT]")


# --- IDLE --------------------------------------------------------------------------------------


async def test_idle(world: World) -> None:
    one, two = await world.ayna("INBOX"), await world.ayna("INBOX")
    await two.idle()
    await world.house.deliver(letter(1), 1)
    assert await two.line() == b"* 1 EXISTS"
    await one.cmd("UID STORE 1 +FLAGS (\\Seen)")
    assert await two.line() == b"* 1 FETCH (UID 1 FLAGS (\\Seen))"
    await one.cmd("UID MOVE 1 Archive")
    assert await two.line() == b"* 1 EXPUNGE"
    await one.append("Sent", letter(2))
    assert (await two.done()).lines == []
    await two.idle()
    two.send(b"NOOP\r\n")
    assert (await two.end(b"i")).status == "BAD"
    await two.cmd("NOOP")


async def test_idle_tells_first_what_was_not_told_yet(world: World) -> None:
    two = await world.ayna("INBOX")
    await world.house.deliver(letter(1), 1)
    await two.idle()
    assert await two.line() == b"* 1 EXISTS"
    await two.done()


async def test_nothing_is_lost_between_the_look_and_the_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await world.ayna("INBOX")
    await world.house.deliver(letter(1), 1)
    views = world.imap.deeds.views
    current = type(views).current

    async def slow(self: object, *args: int) -> View:
        found = await current(views, *args)
        monkeypatch.undo()
        await world.house.deliver(letter(2), 1)  # after it was looked at
        return found

    monkeypatch.setattr(type(views), "current", slow)
    client.send(b"i IDLE\r\n")
    assert await client.line() == b"+ idling"
    assert await client.line() == b"* 1 EXISTS"
    assert await client.line() == b"* 2 EXISTS"


async def test_idle_without_a_mailbox(world: World) -> None:
    client = await world.ayna()
    await client.idle()
    await world.house.deliver(letter(1), 1)
    assert (await client.done()).lines == []


async def test_idle_costs_no_task(world: World) -> None:
    clients = [await world.ayna("INBOX") for _ in range(20)]
    for client in clients:
        await client.idle()
    assert not world.imap.tasks
    await world.house.deliver(letter(1), 1)
    for client in clients:
        assert await client.line() == b"* 1 EXISTS"


# --- NOTIFY ------------------------------------------------------------------------------------


async def test_notify(world: World) -> None:
    client, other = await world.ayna("INBOX"), await world.ayna()
    answer = await client.cmd(
        "NOTIFY SET STATUS (selected (MessageNew (FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])"
        " MessageExpunge)) (subtree Work (MessageNew MessageExpunge FlagChange MailboxName))"
        " (personal (SubscriptionChange))"
    )
    assert answer.lines == []
    await world.house.deliver(letter(1, subject="news"), 1)
    assert await client.line() == b"* 1 EXISTS"
    assert await client.line() == (
        b"* 1 FETCH (UID 1 FLAGS () BODY[HEADER.FIELDS (Subject)] {17}\r\nSubject: news\r\n\r\n)"
    )
    await other.cmd("CREATE Work/a")
    assert {await client.line(), await client.line()} == {
        b'* LIST () "/" Work', b'* LIST () "/" Work/a',
    }  # fmt: skip
    await other.append("Work/a", letter(2))
    line = await client.line()
    assert re.fullmatch(
        rb"\* STATUS Work/a \(MESSAGES 1 UIDNEXT 2 UIDVALIDITY \d+ UNSEEN 1\)", line
    )
    await other.cmd("SELECT Work/a")
    await other.cmd("STORE 1 +FLAGS (\\Seen)")
    assert b"UNSEEN 0" in await client.line()
    await other.cmd("RENAME Work/a Work/b")
    assert await client.line() == b'* LIST () "/" Work/b ("OLDNAME" (Work/a))'
    await other.cmd("DELETE Work/b")
    assert await client.line() == b'* LIST (\\NonExistent) "/" Work/b'
    await other.cmd("UNSUBSCRIBE Sent")
    assert await client.line() == b'* LIST () "/" Sent'
    await client.cmd("NOTIFY NONE")
    await other.append("INBOX", letter(3))
    assert (await client.cmd("CAPABILITY")).lines[1:] == [b"2 EXISTS"]


async def test_notify_tells_how_it_stands(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("Sent", letter(1))
    answer = await client.cmd("NOTIFY SET STATUS (personal (MessageNew MessageExpunge))")
    told = sorted(line.split()[1] for line in answer.of(b"STATUS"))
    assert told == [b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash"]


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        ("NOTIFY SET (personal (MailboxMetadataChange))", "NO", b"BADEVENT"),
        ("NOTIFY SET (personal (MessageNew))", "BAD", b""),
        ("NOTIFY SET (personal (FlagChange))", "BAD", b""),
        ("NOTIFY SET (personal (MessageNew (UID) MessageExpunge))", "BAD", b""),
        ("NOTIFY SET (selected NONE) (selected-delayed NONE)", "BAD", b""),
    ],
)
async def test_notify_refuses(world: World, line: str, status: str, code: bytes) -> None:
    client = await world.ayna()
    answer = await client.cmd(line, ok=False)
    assert answer.status == status
    assert answer.code.startswith(code)


# --- CONDSTORE ---------------------------------------------------------------------------------


async def test_condstore(world: World) -> None:
    client = await world.ayna()
    await client.append("INBOX", *(letter(n) for n in range(1, 5)))
    await client.cmd("SELECT INBOX (CONDSTORE)")
    before = modseqs(await client.cmd("FETCH 1:* (UID FLAGS MODSEQ)"))
    answer = await client.cmd("STORE 2 +FLAGS.SILENT (\\Seen)")
    (line,) = answer.lines
    found = re.fullmatch(rb"2 FETCH \(UID 2 MODSEQ \((\d+)\)\)", line)
    assert found, "RFC 7162 §3.1.3: .SILENT still tells MODSEQ"
    assert int(found[1]) > max(before.values())
    answer = await client.cmd(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {max(before.values())})")
    assert [FETCH.fullmatch(x)[2] for x in answer.lines] == [b"2"]  # type: ignore[index]
    answer = await client.cmd(
        f"UID STORE 1,2 (UNCHANGEDSINCE {max(before.values())}) +FLAGS (\\Flagged)"
    )
    assert answer.code == b"MODIFIED 2"
    assert b"1 FETCH (UID 1 FLAGS (\\Flagged)" in answer.lines[0]
    assert (await client.cmd("FETCH 2 FLAGS")).lines[0].startswith(b"2 FETCH (FLAGS (\\Seen)")


def modseqs(answer: Answer) -> dict[int, int]:
    found = [FETCH.fullmatch(line) for line in answer.lines]
    return {int(one[2]): int(one[4]) for one in found if one}


async def test_silent_is_silent_without_condstore(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", letter(1))
    assert (await client.cmd("STORE 1 +FLAGS.SILENT (\\Seen)")).lines == []


# --- QRESYNC -----------------------------------------------------------------------------------


async def test_qresync_must_be_enabled(world: World) -> None:
    client = await world.ayna()
    assert (await client.cmd("SELECT INBOX (QRESYNC (1 1))", ok=False)).status == "BAD"
    await client.cmd("SELECT INBOX")
    line = "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"
    assert (await client.cmd(line, ok=False)).status == "BAD"
    assert (await client.cmd("ENABLE QRESYNC")).lines == [b"ENABLED QRESYNC"]


async def test_vanished_takes_the_place_of_expunge(world: World) -> None:
    client = await world.ayna()
    await client.cmd("ENABLE QRESYNC")
    await client.append("INBOX", *(letter(n) for n in range(1, 6)))
    await client.cmd("SELECT INBOX")
    await client.cmd("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
    answer = await client.cmd("EXPUNGE")
    assert answer.lines == [b"VANISHED 2:3"]
    assert answer.code.startswith(b"HIGHESTMODSEQ ")
    answer = await client.cmd("MOVE 1 Archive")
    assert answer.lines[1:] == [b"VANISHED 1"]


class Copy:
    """What a client remembers of a mailbox while it is away."""

    def __init__(self) -> None:
        self.uidvalidity = 0
        self.modseq = 0
        self.flags: dict[int, bytes] = {}

    def take(self, answer: Answer) -> None:
        """Learns what a SELECT with QRESYNC, or a command, tells."""
        for line in answer.lines:
            if line.startswith(b"VANISHED "):
                for piece in line.split()[-1].split(b","):
                    low, _, high = piece.partition(b":")
                    for uid in range(int(low), int(high or low) + 1):
                        self.flags.pop(uid, None)
            elif found := FETCH.fullmatch(line):
                self.flags[int(found[2])] = found[3]
            elif found := re.match(rb"OK \[(UIDVALIDITY|HIGHESTMODSEQ) (\d+)\]", line):
                setattr(self, found[1].decode().lower().replace("highest", ""), int(found[2]))

    async def come_back(self, client: Client) -> None:
        """Selects, and learns what happened."""
        if not self.modseq:
            self.take(await client.cmd("SELECT INBOX"))
            self.take(await client.cmd("UID FETCH 1:* (FLAGS)"))
            return
        self.take(await client.cmd(f"SELECT INBOX (QRESYNC ({self.uidvalidity} {self.modseq}))"))

    async def ask(self, client: Client) -> None:
        """Asks what happened, and for the flags of what is new."""
        answer = await client.cmd("NOOP")
        self.take(answer)
        if answer.of(b"EXISTS"):
            self.take(await client.cmd(f"UID FETCH {max(self.flags, default=0) + 1}:* (FLAGS)"))


async def truth(client: Client) -> dict[int, bytes]:
    answer = await client.cmd("UID FETCH 1:* (FLAGS)")
    found = [FETCH.fullmatch(line) for line in answer.lines]
    return {int(one[2]): one[3] for one in found if one}


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_comes_back_knows_everything(world: World, seed: int) -> None:
    """Any deeds of others: a client that was away, one that idles and one that asks agree."""
    dice = random.Random(seed)
    doer, away, awake = await world.ayna("INBOX"), await world.ayna(), await world.ayna()
    for client in (away, awake):
        await client.cmd("ENABLE QRESYNC")
    remembered, watched = Copy(), Copy()
    await watched.come_back(awake)
    highest, serial = 0, 0
    for _ in range(12):
        for _ in range(dice.randrange(1, 6)):
            serial += 1
            await deed(dice, doer, serial)
        await watched.ask(awake)
        await remembered.come_back(away)
        known = await truth(doer)
        assert watched.flags == known
        assert remembered.flags == known
        assert remembered.modseq >= highest, "HIGHESTMODSEQ never goes back"
        highest = remembered.modseq
        await away.cmd("UNSELECT")


async def deed(dice: random.Random, client: Client, serial: int) -> None:
    """Something happens in INBOX."""
    low = dice.randrange(1, 30)
    some = f"{low}:{low + dice.randrange(1, 6)}"
    what = dice.randrange(7)
    if what <= 1:
        await client.append(
            "INBOX", *(letter(serial * 10 + n) for n in range(dice.randrange(1, 4)))
        )
    elif what == 2:
        await client.cmd(f"UID STORE {some} +FLAGS.SILENT (\\Seen $k{dice.randrange(3)})")
    elif what == 3:
        await client.cmd(f"UID STORE {some} FLAGS.SILENT (\\Flagged)")
    elif what == 4:
        await client.cmd(f"UID STORE {some} +FLAGS.SILENT (\\Deleted)")
        await client.cmd("EXPUNGE")
    elif what == 5:
        await client.cmd(f"UID MOVE {some} Archive")
    else:
        await client.cmd(f"UID COPY {some} INBOX")


async def test_what_was_forgotten_counts_as_vanished(world: World) -> None:
    client = await world.ayna()
    await client.cmd("ENABLE QRESYNC")
    await client.append("INBOX", *(letter(n) for n in range(1, 9)))
    remembered = Copy()
    await remembered.come_back(client)
    await client.cmd("UID STORE 2:4,7 +FLAGS.SILENT (\\Deleted)")
    await client.cmd("EXPUNGE")
    await client.cmd("UNSELECT")
    async with world.house.db.write() as tx:  # as the sweep does when there is too much of it
        from kerwen.mail.store import mailboxes, placed

        account = await mailboxes.lock(tx, 1)
        assert account is not None
        await placed.forget(tx, 1, 0, 1 << 40)
        await mailboxes.set_forgot(tx, 1, account.modseq)
    uidvalidity, modseq = remembered.uidvalidity, remembered.modseq
    answer = await client.cmd(f"SELECT INBOX (QRESYNC ({uidvalidity} {modseq} 1:6))")
    assert b"VANISHED (EARLIER) 2:4" in answer.lines
    answer = await client.cmd(f"SELECT INBOX (QRESYNC ({uidvalidity} {modseq}))")
    assert b"VANISHED (EARLIER) 2:4,7" in answer.lines
    answer = await client.cmd(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
    assert answer.lines[0] == b"VANISHED (EARLIER) 2:4,7"


async def test_another_uidvalidity_tells_nothing(world: World) -> None:
    client = await world.ayna()
    await client.cmd("ENABLE QRESYNC")
    await client.append("INBOX", letter(1))
    answer = await client.cmd("SELECT INBOX (QRESYNC (1 1))")
    assert not answer.of(b"FETCH")
    assert not answer.of(b"VANISHED")


# --- the comparison itself ---------------------------------------------------------------------

MESSAGES = st.dictionaries(st.integers(1, 40), st.integers(1, 5))


def view(messages: dict[int, int], width: int) -> View:
    """A view of UIDs and their MODSEQs, in segments of UIDs that share their `uid // width`."""
    rows: dict[int, Segment] = {}
    for uid in sorted(messages):
        segment = rows.setdefault(uid // width, Segment())
        segment.append(Placed(uid, uid, 0, 0, messages[uid], 0, 0, 0, 0, 0))
    mailbox = Mailbox(1, 1, "INBOX", "", 1, 50, 1, 0, 0, len(messages), 0, 0, 0)
    return View(mailbox, 1, [Row(first, 1, segment) for first, segment in rows.items()])


@given(MESSAGES, MESSAGES, st.sets(st.integers(1, 40)), st.integers(1, 20), st.data())
def test_differences(
    before: dict[int, int], touched: dict[int, int], gone: set[int], width: int, data: st.DataObject
) -> None:
    after = {uid: m for uid, m in before.items() if uid not in gone}
    after |= {uid: m for uid, m in touched.items() if uid in after}
    top = max(before, default=0)
    after |= dict.fromkeys(range(top + 1, top + 1 + data.draw(st.integers(0, 5))), 9)
    old, new = view(before, width), view(after, width)
    found = differences(old, new)
    assert found.gone_uids == [uid for uid in sorted(before) if uid not in after]
    assert [old.uids[at] for at in found.gone] == found.gone_uids
    assert [new.uids[at] for at in found.changed] == [
        uid for uid in sorted(before) if uid in after and after[uid] != before[uid]
    ]
    assert found.added == len(after.keys() - before.keys())


@given(MESSAGES, st.sets(st.integers(1, 40)))
def test_expunges_lead_from_one_view_to_the_next(before: dict[int, int], gone: set[int]) -> None:
    after = {uid: m for uid, m in before.items() if uid not in gone}
    old, new = view(before, 7), view(after, 7)
    teller = Teller(lambda system, bits: b"", modseq=False, vanished=False)
    known = sorted(before)
    for line in teller.expunged(differences(old, new)).split(b"\r\n")[:-1]:
        del known[int(line.split()[1]) - 1]
    assert known == sorted(after)
