"""The server is killed amid sixteen deliveries: what got 250 is in each mailbox, once."""

from __future__ import annotations

import asyncio
import os
import random
import re

import pytest

from kerwen.base.config import PORTS
from tests.conftest import FreshServer, Server
from tests.imap.client import Client as Imap
from tests.programs.test_imap_programs import Person, letter
from tests.smtp.world import Client

ROUNDS = int(os.environ.get("KERWEN_KILL_ROUNDS", "3"))
WORKERS = 16
SUBJECT = re.compile(rb"Subject: letter (\d+)")


class Books:
    """What was sent, and what was acknowledged. By number: to which of the people."""

    def __init__(self) -> None:
        self.asked: dict[int, tuple[int, ...]] = {}
        self.acknowledged: set[int] = set()
        self.serial = 0
        self.uids: dict[str, int] = {}


async def work(books: Books, people: list[Person], server: Server, seed: int) -> None:
    """Brings letters, short and long, to one or several, until the server is gone."""
    dice = random.Random(seed)
    try:
        port = server.port_base + PORTS["smtp"]
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        await client.reply()
        await client.cmd("EHLO client.test")
        while True:
            books.serial += 1
            number = books.serial
            to = tuple(dice.sample(range(len(people)), dice.choice((1, 1, 3))))
            books.asked[number] = to
            size = dice.choice((10, 3_000, 90_000))
            addresses = [f"{people[who].name}@kerwen.test" for who in to]
            raw = letter(number, "\r\n".join(["x" * 70] * (size // 70 + 1)))
            said = await client.send("who@remote.test", addresses, raw)
            assert said.startswith("250"), said
            books.acknowledged.add(number)
    except (OSError, asyncio.IncompleteReadError, EOFError):
        return


async def check(books: Books, people: list[Person], server: Server) -> None:
    """Everything acknowledged is there once, whole; nothing is there twice; UIDs go up."""
    found: list[list[int]] = []
    for person in people:
        client = await Imap.connect(server.port_base + PORTS["imap"])
        await client.cmd(f"LOGIN {person.name} {person.password}")
        said = b"\n".join((await client.cmd("SELECT INBOX")).lines)
        uidnext = re.search(rb"UIDNEXT (\d+)", said)
        assert uidnext
        assert int(uidnext[1]) >= books.uids.get(person.name, 0)
        books.uids[person.name] = int(uidnext[1])
        answer = await client.cmd("UID FETCH 1:* (UID BODY.PEEK[])")
        numbers = []
        for line in answer.of(b"FETCH"):
            number = SUBJECT.search(line)
            assert number
            numbers.append(int(number[1]))
        found.append(numbers)
        await client.cmd("LOGOUT")
    for who, numbers in enumerate(found):
        assert len(numbers) == len(set(numbers)), "one is there twice"
        wanted = {n for n in books.acknowledged if who in books.asked[n]}
        assert wanted <= set(numbers)
    for number, to in books.asked.items():
        there = [who for who in to if number in found[who]]
        assert there in ([], list(to)), "all recipients in one transaction"


@pytest.mark.timeout(60 + 20 * ROUNDS)
async def test_killed_again_and_again(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    people = [Person(server) for _ in range(4)]
    books = Books()
    for round_ in range(ROUNDS):
        tasks = [
            asyncio.ensure_future(work(books, people, server, round_ * 100 + n))
            for n in range(WORKERS)
        ]
        before = len(books.acknowledged)
        async with asyncio.timeout(30):
            while len(books.acknowledged) < before + 40 + round_ * 7:  # noqa: ASYNC110
                await asyncio.sleep(0)
        server.kill9()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(server.start)
        await check(books, people, server)
    assert len(books.acknowledged) >= ROUNDS * 40
