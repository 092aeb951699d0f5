"""Any commands in any order, whole and byte by byte, through the real listener: the door never
breaks, answers each line, and a message comes out as it went in."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from tests.mail import ugly
from tests.smtp.world import Client, World

LINES = [
    b"EHLO client.test", b"HELO client.test", b"MAIL FROM:<who@remote.test>", b"MAIL FROM:<>",
    b"MAIL FROM:<who@remote.test> SIZE=99 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x",
    b"RCPT TO:<ayna@kerwen.test>", b"RCPT TO:<batyr@kerwen.test> NOTIFY=NEVER",
    b"RCPT TO:<nobody@kerwen.test>", b"RCPT TO:<far@away.test>", b"DATA", b"BDAT 5\r\nhallo",
    b"BDAT 6 LAST\r\nhallo\n", b"BDAT x", b"RSET", b"NOOP", b"HELP", b"VRFY ayna", b"EXPN all",
    b"AUTH PLAIN AGF5bmEAc2VjcmV0LTE=", b"AUTH LOGIN", b"AUTH OAUTHBEARER", b"AUTH X", b"*",
    b"", b"\0", b"\xff\xfe", b"MAIL", b"RCPT TO:<>", b"DATA x", b"Subject: s", b".", b"..",
    b"x" * 3000, "RCPT TO:<гүл@kerwen.test>".encode(),
]  # fmt: skip


async def drain(client: Client) -> bytes:
    """Everything that comes back until the server hangs up."""
    said = b""
    while data := await client.reader.read(65_536):
        said += data
    return said


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cut", ["whole", "bytes"])
async def test_any_order(
    world: World, seed: int, cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(seed)
    for door in ("smtp", "submission", "submissions"):
        client = await world.connect(door, hello=False)
        reading = asyncio.ensure_future(drain(client))
        lines = [dice.choice(LINES) for _ in range(120)]
        for place in range(0, 120, 11):
            line = bytearray(lines[place] or b"x")
            line[dice.randrange(len(line))] = dice.randrange(256)
            lines[place] = bytes(line)
        text = b"EHLO client.test\r\n" + b"\r\n".join(lines) + b"\r\n" * 100
        text += b".\r\nRSET\r\nQUIT\r\n"
        size = 1 if cut == "bytes" else len(text)
        try:
            for at in range(0, len(text), size):
                client.writer.write(text[at : at + size])
                if at % 64 == 0:
                    await client.writer.drain()
                    await asyncio.sleep(0)
            if door != "submissions":
                client.writer.write_eof()
        except OSError:
            pass  # it had enough of us
        async with asyncio.timeout(20):
            said = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(said[0], bytes):
            assert said[0].count(b"\r\n") >= 1
            assert b"451 4.3.0 Something went wrong" not in said[0]
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    fine = await world.connect()
    assert await fine.cmd("NOOP") == "250 2.0.0 OK"
    assert world.smtp._room == world.smtp_room, "all memory was given back"


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
async def test_ugly_mail_comes_out_as_it_went_in(world: World, cut: int) -> None:
    client = await world.connect()
    limit = {1: 3_000, 7: 20_000}.get(cut, 2_000_000)
    every = [*ugly.files().values(), *ugly.made().values()]
    wanted = []
    for raw in [one for one in every if len(one) < limit]:
        whole = raw.replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
        if not whole.endswith(b"\r\n"):
            whole += b"\r\n"
        assert (await client.cmd("MAIL FROM:<who@remote.test>")).startswith("250")
        assert (await client.cmd("RCPT TO:<ayna@kerwen.test>")).startswith("250")
        assert (await client.cmd("DATA")).startswith("354")
        text = whole.replace(b"\r\n.", b"\r\n..")
        text = (b"." + text if text.startswith(b".") else text) + b".\r\n"
        for at in range(0, len(text), cut):
            client.writer.write(text[at : at + cut])
            if at % 128 == 0:
                await asyncio.sleep(0)
        said = await client.reply()
        if said.startswith("250"):
            wanted.append(whole)
    kept = await world.inbox() + await world.inbox(1, "Junk")
    assert len(kept) == len(wanted) > 20
    for whole in wanted:
        body = whole.partition(b"\r\n\r\n")[2]
        assert any(one.endswith(whole) or (body and one.endswith(body)) for one in kept)
