"""Bytes that are no right HTTP: each connection gets a clear 4xx or is hung up on, soon."""

from __future__ import annotations

import asyncio
import os
import random
from urllib.parse import urlsplit

import httptools

from tests.conftest import FreshServer, Server
from tests.proofs.test_bad_input import judge_error, pss
from tests.proofs.wire import Answer, Wire

SEED = int(os.environ.get("KERWEN_SEED", "1"))
PATIENCE_S = 5.0
GARBAGE = 1_500
GROWTH_MAX = 10 * 2**20
_LONG = b"x" * 70_000
_OK = b"GET /_matrix/client/versions HTTP/1.1\r\nhost: x\r\n"
_LOGIN = b"POST /_matrix/client/v3/login HTTP/1.1\r\nhost: x\r\n"

# what is sent, then whether an answer must come (else the connection may simply end)
FAULTS: dict[str, tuple[bytes, bool]] = {
    "long header": (_OK + b"x: " + _LONG + b"\r\n\r\n", True),
    "many headers": (_OK + b"x: y\r\n" * 2_000 + b"\r\n", True),
    "long name": (_OK + _LONG + b": y\r\n\r\n", True),
    "long path": (b"GET /" + _LONG + b" HTTP/1.1\r\n\r\n", True),
    "long query": (b"GET /_matrix/client/versions?" + _LONG + b" HTTP/1.1\r\n\r\n", True),
    "long method": (_LONG + b" / HTTP/1.1\r\n\r\n", True),
    "no version": (b"GET /\r\n\r\n", True),
    "wrong version": (b"GET / HTTP/7.7\r\n\r\n", True),
    "no path": (b"GET  HTTP/1.1\r\n\r\n", True),
    "no colon": (_OK + b"nothing\r\n\r\n", True),
    "space before colon": (_OK + b"x : y\r\n\r\n", True),
    "folded": (_OK + b"x: a\r\n b\r\n\r\n", True),
    "nul in header": (_OK + b"x: a\0b\r\n\r\n", True),
    "bare cr": (_OK + b"x: a\rb\r\n\r\n", True),
    "length minus": (_LOGIN + b"content-length: -1\r\n\r\n{}", True),
    "length word": (_LOGIN + b"content-length: two\r\n\r\n{}", True),
    "length plus": (_LOGIN + b"content-length: +2\r\n\r\n{}", True),
    "length huge": (_LOGIN + b"content-length: 99999999999999999999\r\n\r\n{}", True),
    "length large": (_LOGIN + b"content-length: 9999999999\r\n\r\n{}", True),
    "two lengths": (_LOGIN + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} ", True),
    "length and chunks": (
        _LOGIN + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        True,
    ),
    "length too small": (_LOGIN + b"content-length: 2\r\n\r\n{}garbage\r\n\r\n", True),
    "length too large": (_LOGIN + b"content-length: 200\r\n\r\n{}", False),
    "chunk no number": (_LOGIN + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n", False),
    "chunk huge": (_LOGIN + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n", False),
    "chunk minus": (_LOGIN + b"transfer-encoding: chunked\r\n\r\n-1\r\n\r\n", False),
    "chunk cut": (_LOGIN + b"transfer-encoding: chunked\r\n\r\nff\r\n{}", False),
    "chunk without end": (_LOGIN + b"transfer-encoding: chunked\r\n\r\n2\r\n{}", False),
    "long extension": (
        _LOGIN + b"transfer-encoding: chunked\r\n\r\n2;" + _LONG * 5 + b"\r\n{}\r\n0\r\n\r\n",
        False,
    ),
    "many trailers": (
        _LOGIN + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 30_000 + b"\r\n",
        False,
    ),
    "unknown coding": (_LOGIN + b"transfer-encoding: gzip\r\n\r\n{}", True),
    "coding twice": (_LOGIN + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", True),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
    "upgrade": (_OK + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n", True),
    "connect": (b"CONNECT elsewhere.test:443 HTTP/1.1\r\nhost: x\r\n\r\n", True),
    "proxy": (b"GET http://elsewhere.test/ HTTP/1.1\r\nhost: elsewhere.test\r\n\r\n", True),
    "star": (b"GET * HTTP/1.1\r\nhost: x\r\n\r\n", True),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, True),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", True),
    "nothing": (b"", False),
    "breaks": (b"\r\n" * 20_000, False),
    "expect nonsense": (_LOGIN + b"expect: x\r\ncontent-length: 2\r\n\r\n{}", True),
    "wrong token kind": (
        b"GET /_matrix/client/v3/account/whoami HTTP/1.1\r\nauthorization: Basic eDp5\r\n\r\n",
        True,
    ),
    "binary token": (
        b"GET /_matrix/client/v3/account/whoami HTTP/1.1\r\nauthorization: Bearer \xff\xfe\r\n\r\n",
        True,
    ),
}


class _Heard:
    """The first answer in what a server said."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:
            self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        if not self.done:
            self.body += part

    def on_message_complete(self) -> None:
        self.done = True


async def say(
    server: Server, data: bytes, cuts: list[int] | None = None, awaited: bool = False
) -> bytes:
    """Sends bytes, says that this was all, and reads until the server hangs up.

    With `awaited` an answer is waited for before.
    """
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    told = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            for start, end in zip([0, *(cuts or [])], [*(cuts or []), len(data)], strict=True):
                if writer.transport.is_closing():
                    break
                writer.write(data[start:end])
                await asyncio.sleep(0)
            while awaited and first_answer(told) is None and (part := await reader.read(65_536)):
                told += part
            if not writer.transport.is_closing():
                writer.write_eof()
            return told + await reader.read(-1)
    except OSError as error:  # reset: the server hung up while we still spoke
        if isinstance(error, TimeoutError):
            raise
        return told
    finally:
        writer.transport.abort()


def first_answer(told: bytes) -> Answer | None:
    """The first whole answer in what was told."""
    heard = _Heard()
    parser = httptools.HttpResponseParser(heard)
    try:
        parser.feed_data(told)
    except httptools.HttpParserError:
        pass  # what follows the first answer
    if not heard.done:
        return None
    return Answer(int(told.split(b" ")[1]), heard.headers, heard.body)


async def test_each_fault_is_answered(fresh_server: FreshServer) -> None:
    server = fresh_server("--cheap-passwords")
    wrong = []
    for name, (data, must) in FAULTS.items():
        answer = first_answer(await say(server, data, awaited=must))
        if answer is None:
            if must:
                wrong.append(f"{name}: no answer")
        elif answer.status >= 500:
            wrong.append(f"{name}: {answer}")
        elif answer.status >= 400 and (fault := judge_error(answer)):
            wrong.append(f"{name}: {fault}: {answer} {answer.headers}")
    assert not wrong, "\n".join(wrong)
    assert (await Wire(server.url).call("GET", "/_kerwen/health")).status == 200
    assert '"bug"' not in server.log.read_text(), server.log.read_text()[-3000:]


async def test_garbage_of_all_kinds(fresh_server: FreshServer) -> None:
    """Right requests with some bytes changed, and bytes by chance, cut anywhere."""
    server, chance = fresh_server("--cheap-passwords"), random.Random(SEED)
    grave: list[str] = []

    async def one(data: bytes, cuts: list[int]) -> None:
        try:
            told = await say(server, data, cuts)
        except TimeoutError:
            grave.append(f"no end within {PATIENCE_S} s: {data[:300]!r}")
            return
        if told.startswith(b"HTTP/1.1 5"):
            grave.append(f"{told[:100]!r}: {data[:300]!r}")

    for _ in range(50):
        await one(_garbage(chance), [])
    before = pss(server.pid)
    for _ in range(GARBAGE // 10):
        batch = [_garbage(chance) for _ in range(10)]
        cuts = [sorted(chance.sample(range(len(d) + 1), min(3, len(d)))) for d in batch]
        await asyncio.gather(*map(one, batch, cuts))
    assert not grave, f"{len(grave)}\n" + "\n".join(grave[:10])
    grown = pss(server.pid) - before
    print(f"{GARBAGE} connections, memory + {grown / 2**20:.1f} MiB")
    assert grown <= GROWTH_MAX
    assert (await Wire(server.url).call("GET", "/_kerwen/health")).status == 200
    assert '"bug"' not in server.log.read_text(), server.log.read_text()[-3000:]


def _garbage(chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return chance.randbytes(chance.choice((1, 20, 500, 20_000)))
    body = b'{"type":"m.login.password","password":"x","identifier":{}}'
    data = bytearray(_LOGIN + b"content-length: %d\r\n\r\n" % len(body) + body)
    if chance.random() < 0.3:
        data = bytearray(_LOGIN + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(chance.randrange(4)):
            data += b"%x\r\n%b\r\n" % (len(body), body)
        data += b"0\r\n\r\n"
    for _ in range(chance.choice((1, 1, 3, 20))):
        place = chance.randrange(len(data))
        data[place] = chance.choice((0, 10, 13, 32, 58, 255, chance.randrange(256)))
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    return bytes(data)
