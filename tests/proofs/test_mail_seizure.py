"""Who takes the data folder of a server that mail has passed finds no word of it."""

from __future__ import annotations

import asyncio
import secrets
import smtplib
import ssl

import pytest

from kerwen.base.config import PORTS
from tests.conftest import FreshServer, Server
from tests.programs.test_imap_programs import Person
from tests.proofs.seizure import search


def bring(server: Server, person: Person, words: dict[str, bytes]) -> None:
    """Mail of strangers, of our own people, and for elsewhere, which waits in the queue; of each
    one message that fits into a row, and one that does not."""

    def word(name: str) -> str:
        found = "sir" + secrets.token_hex(12)
        words[name] = found.encode()
        return found

    def raw(name: str, author: str, size: int) -> bytes:
        return (
            f"From: {word(name + ' author')} <{author}>\r\nTo: {word(name + ' to')}@far.test\r\n"
            f"Subject: {word(name + ' subject')}\r\n\r\n{word(name + ' body')}\r\n"
            + "some more words\r\n"
            * (size // 17)
        ).encode()

    address = f"{person.name}@kerwen.test"
    mail = smtplib.SMTP("127.0.0.1", server.port_base + PORTS["smtp"], timeout=30)
    for size in (100, 150_000):
        sender = f"{word('sender')}@remote.test"
        mail.sendmail(sender, [address], raw(f"stranger {size}", sender, size))
    # a message that is not finished when the power goes
    mail.docmd("MAIL", "FROM:<who@remote.test>")
    mail.docmd("RCPT", f"TO:<{address}>")
    mail.docmd("DATA")
    mail.send(raw("half", "who@remote.test", 300_000))
    context = ssl.create_default_context(cafile=str(server.ca))
    context.check_hostname = False
    port = server.port_base + PORTS["submissions"]
    own = smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=30)
    own.login(person.name, person.password)
    for size in (100, 150_000):
        far = f"{word('queued recipient')}@far.test"
        own.sendmail(address, [address, far], raw(f"own {size}", address, size))


@pytest.mark.parametrize("killed", [False, True])
async def test_no_word_of_mail_is_in_the_folder(fresh_server: FreshServer, killed: bool) -> None:
    server = fresh_server("--cheap-passwords")
    person = await asyncio.to_thread(Person, server)
    words: dict[str, bytes] = {}
    await asyncio.to_thread(bring, server, person, words)
    assert len(words) > 20
    if killed:
        server.kill9()
    else:
        assert await asyncio.to_thread(server.stop) == 0
    assert search(server.data, words) == []
    assert search(server.data, {"who is here": person.name.encode()}), "it looks where mail is"
