"""Mail on a full disk: 452, nothing that was acknowledged is lost, service again once there is
room."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

from kerwen.base.config import PORTS
from tests.conftest import FreshServer, Server
from tests.programs.test_imap_programs import Person, letter
from tests.proofs.test_disk_full import FILLER, fill, small_disk

__all__ = ["small_disk"]


def bring(server: Server, person: Person, numbers: list[int], size: int) -> set[int]:
    """Brings letters; those that were taken. The others were refused for want of room."""
    taken = set()
    mail = smtplib.SMTP("127.0.0.1", server.port_base + PORTS["smtp"], timeout=30)
    mail.ehlo("client.test")
    for number in numbers:
        raw = letter(number, "\r\n".join(["x" * 70] * (size // 72 + 1)))
        mail.docmd("MAIL", "FROM:<who@remote.test>")
        mail.docmd("RCPT", f"TO:<{person.name}@kerwen.test>")
        code, said = mail.data(raw)
        if code == 250:
            taken.add(number)
        else:
            assert (code, said[:5]) == (452, b"4.3.1"), said
    mail.quit()
    return taken


def kept(person: Person) -> list[int]:
    """The numbers of the letters that are there."""
    mail = person.imap()
    mail.select("INBOX", readonly=True)
    found = mail.fetch("1:*", "BODY.PEEK[]")[1]
    raws = [item[1] for item in found if isinstance(item, tuple)]
    return sorted(int(raw.split(b"Subject: letter ")[1].split(b"\r\n")[0]) for raw in raws)


async def test_mail_and_a_full_disk(small_disk: Path, fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords", data=small_disk)
    person = await asyncio.to_thread(Person, server)
    taken = await asyncio.to_thread(bring, server, person, [1, 2], 1_000)
    taken |= await asyncio.to_thread(bring, server, person, [3], 200_000)
    assert taken == {1, 2, 3}
    fill(small_disk, 2 * 2**20)
    more = await asyncio.to_thread(bring, server, person, list(range(10, 150)), 40_000)
    assert len(more) < 140, "the disk is never full"
    taken |= more
    fill(small_disk, 0)
    more = await asyncio.to_thread(bring, server, person, list(range(200, 210)), 200_000)
    assert not more
    (small_disk / FILLER).unlink()
    taken |= await asyncio.to_thread(bring, server, person, [300, 301], 200_000)
    assert {300, 301} <= taken
    assert await asyncio.to_thread(kept, person) == sorted(taken)
    assert await asyncio.to_thread(server.stop) == 0
    log = server.log.read_text()
    assert "Traceback" not in log, log[-3000:]
