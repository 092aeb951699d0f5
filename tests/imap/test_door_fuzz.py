"""Any commands in any order: the door never breaks, and always answers."""

from __future__ import annotations

import random

import pytest

from kerwen.imap.protocol import commands as c
from tests.imap.test_parser import LOGGED_IN, SELECTED
from tests.imap.world import World
from tests.mail_store.house import letter

WORDS = [text for text, item in (*LOGGED_IN, *SELECTED) if not isinstance(item, c.Compress)]
OWN = [b"SELECT INBOX", b"EXAMINE Archive", b"SELECT Drafts (CONDSTORE)", b"ENABLE QRESYNC",
       b"UID STORE 1:* +FLAGS (\\Seen $k)", b"FETCH 1:* (FLAGS BODY[] BODY[1] BINARY[1])",
       b"UID FETCH 1:* (ENVELOPE BODYSTRUCTURE BODY PREVIEW MODSEQ) (CHANGEDSINCE 3)",
       b"SORT (FROM CC SUBJECT DATE) UTF-8 ALL", b"THREAD REFERENCES UTF-8 ALL",
       b"UID COPY 1:* Archive", b"UID MOVE 1:2 INBOX", b"LIST \"\" *", b"CREATE a/b/c",
       b"RENAME a x", b"UID SEARCH RETURN (SAVE ALL) UNSEEN"]  # fmt: skip
MESSAGES = [letter(1), letter(2, reply_to=1), b"", b"\r\n", b"\0\xff\r\n\r\n", b"Subject:",
            b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--",
            b"From: \"a\\\r\nTo: ,;:<>@\r\nDate: no\r\n\r\nx" * 3]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
async def test_any_order(world: World, seed: int) -> None:
    dice = random.Random(seed)
    one, two = await world.ayna("INBOX"), await world.ayna()
    for _ in range(120):
        client = dice.choice((one, two))
        pick = dice.random()
        if pick < 0.15:
            await client.append("INBOX", *dice.sample(MESSAGES, 3))
            continue
        text = dice.choice(OWN if pick < 0.6 else WORDS)
        if dice.random() < 0.1:
            place = dice.randrange(len(text))
            text = text[:place] + bytes([dice.randrange(32, 127)]) + text[place + 1 :]
            if b"{" in text or text.startswith((b"IDLE", b"COMPRESS")):
                continue
        answer = await client.cmd(text, ok=False)
        assert answer.status in ("OK", "NO", "BAD")
        assert answer.code != b"SERVERBUG", (seed, text)
        for client in (one, two):
            assert client.reader.at_eof() is False
    await one.cmd("LOGOUT")
    await two.cmd("LOGOUT")
