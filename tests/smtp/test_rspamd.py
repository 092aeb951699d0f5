"""rspamd's answers, by a server of the test's own that speaks as it does."""

from __future__ import annotations

import asyncio
import json

import pytest

from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail.client.rspamd import Rspamd
from kerwen.mail.junk import JUNK_POINTS
from kerwen.mail.letter import Letter, Peer
from kerwen.net.outgoing import Outgoing

PEER = Peer(address="192.0.2.1", helo="client.test")
LETTER = Letter(sender="who@remote.test")


async def asked(answer: bytes) -> tuple[object, str]:
    """What comes of an answer, and the head of the question."""
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(4)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    outgoing = Outgoing(dev=True)
    rspamd = Rspamd(outgoing, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    try:
        found: object = await rspamd.points(PEER, LETTER, ["ayna@kerwen.test"], b"mail")
    except (Refused, Unavailable) as error:
        found = error.reason
    finally:
        await outgoing.close()
        server.close()
    return found, heads[0].decode()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ("no action", 0.0),
        ("add header", JUNK_POINTS),
        ("rewrite subject", JUNK_POINTS),
        ("reject", Reason.MAIL_POLICY),
    ],
)
async def test_its_actions(action: str, found: object) -> None:
    body = json.dumps({"action": action, "score": 7.5, "symbols": {}}).encode()
    told, head = await asked(http(body))
    assert told == found
    assert head.startswith("POST /checkv2 HTTP/1.1")
    assert "IP: 192.0.2.1" in head
    assert "From: who@remote.test" in head


async def test_what_is_put_off() -> None:
    told, _ = await asked(http(b'{"action": "soft reject"}'))
    assert getattr(told, "name", "") == "GREYLISTED"


@pytest.mark.parametrize("answer", [http(b"no json"), http(b"{}", "500 Oops"), b"nonsense\r\n\r\n"])
async def test_mail_does_not_wait_for_an_adviser(answer: bytes) -> None:
    assert (await asked(answer))[0] == 0.0
