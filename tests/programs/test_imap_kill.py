"""The server is killed amid appends, moves and expunges: what got OK is there, once."""

from __future__ import annotations

import asyncio
import os
import random
import re
from dataclasses import dataclass, field

import pytest

from kerwen.base.config import PORTS
from tests.conftest import FreshServer, Server
from tests.imap.client import Answer, Client
from tests.programs.test_imap_programs import Person, letter

ROUNDS = int(os.environ.get("KERWEN_KILL_ROUNDS", "4"))
WORKERS = 16
SUBJECT = re.compile(rb"Subject: letter (\d+)")


@dataclass
class Books:
    """What was asked for and what was acknowledged. A letter's place: a mailbox, or gone."""

    settled: dict[int, str] = field(default_factory=dict)
    open: dict[int, set[str]] = field(default_factory=dict)  # a deed was asked for, unanswered
    uidvalidity: dict[str, int] = field(default_factory=dict)
    uidnext: dict[str, int] = field(default_factory=dict)
    modseq: dict[str, int] = field(default_factory=dict)
    serial: int = 0

    def note(self, mailbox: str, answer: Answer) -> None:
        """UIDVALIDITY stays; UIDNEXT and HIGHESTMODSEQ never go back."""
        said = b"\n".join(answer.lines)
        for name, book in (
            (b"UIDVALIDITY", self.uidvalidity),
            (b"UIDNEXT", self.uidnext),
            (b"HIGHESTMODSEQ", self.modseq),
        ):
            found = re.search(name + rb" (\d+)", said)
            assert found
            number = int(found[1])
            assert number >= book.get(mailbox, 0), (mailbox, name)
            if book is self.uidvalidity:
                assert book.setdefault(mailbox, number) == number
            book[mailbox] = number


async def work(books: Books, person: Person, server: Server, seed: int) -> None:
    """Appends letters, moves some, throws some away, until the server is gone."""
    dice = random.Random(seed)
    try:
        client = await Client.connect(server.port_base + PORTS["imap"])
        await client.cmd(f"LOGIN {person.name} {person.password}")
        await client.cmd("SELECT INBOX")
        while True:
            books.serial += 1
            number = books.serial
            books.open[number] = {"INBOX", "gone"}
            answer = await client.append("INBOX", letter(number, "x" * dice.randrange(9_000)))
            uid = int(answer.code.split()[-1])
            books.settled[number] = "INBOX"
            del books.open[number]
            what = dice.randrange(3)
            if what == 1:
                books.open[number] = {"INBOX", "Archive"}
                await client.cmd(f"UID MOVE {uid} Archive")
                books.settled[number] = "Archive"
            elif what == 2:
                books.open[number] = {"INBOX", "gone"}
                await client.cmd(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
                await client.cmd(f"UID EXPUNGE {uid}")
                books.settled[number] = "gone"
            books.open.pop(number, None)
    except (OSError, asyncio.IncompleteReadError, EOFError):
        return


async def check(books: Books, person: Person, server: Server) -> None:
    """Everything is where it was said to be, once, and can be read."""
    client = await Client.connect(server.port_base + PORTS["imap"])
    await client.cmd(f"LOGIN {person.name} {person.password}")
    found: dict[int, list[str]] = {}
    for mailbox in ("INBOX", "Archive"):
        books.note(mailbox, await client.cmd(f"SELECT {mailbox}"))
        answer = await client.cmd("UID FETCH 1:* (UID BODY.PEEK[])")
        for line in answer.of(b"FETCH"):
            number = SUBJECT.search(line)
            assert number
            found.setdefault(int(number[1]), []).append(mailbox)
    for number in range(1, books.serial + 1):
        places = found.get(number, ["gone"])
        assert len(places) == 1, (number, places)
        allowed = books.open.get(number) or {books.settled[number]}
        assert places[0] in allowed, (number, places, allowed)
        books.settled[number] = places[0]
    books.open.clear()
    await client.cmd("LOGOUT")


@pytest.mark.timeout(60 + 20 * ROUNDS)
async def test_killed_again_and_again(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    person = Person(server)
    books = Books()
    for round_ in range(ROUNDS):
        tasks = [
            asyncio.ensure_future(work(books, person, server, round_ * 100 + n))
            for n in range(WORKERS)
        ]
        before = books.serial
        async with asyncio.timeout(30):
            while books.serial < before + 60 + round_ * 7:  # noqa: ASYNC110
                await asyncio.sleep(0)
        server.kill9()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(server.start)
        await check(books, person, server)
    assert books.serial > ROUNDS * 50
