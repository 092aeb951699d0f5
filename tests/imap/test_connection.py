"""The connection: TLS, limits, room, time, the end; and what damage costs."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.imap import connection as connection_module
from kerwen.imap import replies, wildcards
from kerwen.net import certificates, tls
from kerwen.net.door_connection import EARLY_S
from tests.imap.client import Client
from tests.imap.world import World
from tests.mail_store.house import letter


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's."""
    (tmp_path / "keys").mkdir()
    found = certificates.for_development(tmp_path, "kerwen.test")
    client = ssl.create_default_context(cafile=str(tmp_path / "dev-ca.pem"))
    client.check_hostname = False
    return tls.server_context(found.cert, found.key), client


def strict(world: World) -> None:
    """As on a server that is not for development."""
    world.imap._plain = False


async def test_no_password_without_tls(world: World) -> None:
    strict(world)
    client = await world.connect()
    assert b"LOGINDISABLED" in client.greeting
    assert b"AUTH=" not in client.greeting
    for line in ("LOGIN ayna secret-1", "AUTHENTICATE PLAIN AGF5bmEAc2VjcmV0LTE="):
        answer = await client.cmd(line, ok=False)
        assert (answer.status, answer.code) == ("NO", b"PRIVACYREQUIRED")
    assert (await client.cmd("STARTTLS", ok=False)).status == "BAD"
    assert world.spent == [], "nobody was asked"


async def test_starttls(world: World, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    strict(world)
    server, mine = contexts
    world.imap.take_tls(server)
    client = await world.connect()
    assert b" STARTTLS" in client.greeting
    await client.cmd("STARTTLS")
    await client.writer.start_tls(mine)
    line = (await client.cmd("CAPABILITY")).lines[0]
    assert b"STARTTLS" not in line
    assert b"LOGINDISABLED" not in line
    await client.login()
    await client.append("INBOX", letter(1, pad=2_000_000))
    await client.cmd("SELECT INBOX")
    assert len((await client.cmd("FETCH 1 BODY.PEEK[]")).lines[0]) > 2_000_000
    await client.cmd("LOGOUT")


async def test_what_comes_before_tls_is_dropped(
    world: World, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, mine = contexts
    world.imap.take_tls(server)
    client = await world.connect()
    client.send(b"a STARTTLS\r\nb CREATE injected\r\nc LOGIN ayna secret-1\r\n")
    assert (await client.end(b"a")).status == "OK"
    await client.writer.start_tls(mine)
    answer = await client.cmd("NOOP")
    assert answer.lines == []
    assert len(world.sign_in) == 0


async def test_a_broken_handshake_ends_the_connection(
    world: World, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    world.imap.take_tls(contexts[0])
    client = await world.connect()
    await client.cmd("STARTTLS")
    client.send(b"this is no TLS at all\r\n" * 10)
    try:
        await client.gone()
    except ConnectionError:
        pass
    await settled(world, 0)


async def until(done: Callable[[], object]) -> None:
    """Lets the loop run until something is so."""
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def settled(world: World, count: int) -> None:
    """Waits until so many connections are left."""
    await until(lambda: len(world.imap.connections) == count and not world.imap.tasks)


# --- limits ------------------------------------------------------------------------------------


async def test_too_many_connections(world: World) -> None:
    world.imap._most = 2
    await world.connect()
    client = await world.connect()
    refused = await Client.connect(world.port, greeted=False)
    assert await refused.gone() == b"* BYE [UNAVAILABLE] Too many connections\r\n"
    await client.cmd("NOOP")


async def test_too_many_sessions_of_an_account(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IMAP_CONNECTIONS_PER_ACCOUNT", 2)
    await world.ayna()
    await world.ayna()
    client = await world.connect()
    answer = await client.cmd("LOGIN ayna secret-1", ok=False)
    assert answer.code == b"LIMIT"
    await client.login("batyr", "secret-2")


async def test_log_ins_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str) -> None:
        raise Refused(Reason.LIMIT_EXCEEDED, "Too many requests")

    client = await world.connect()
    object.__setattr__(world.imap.deeds, "spend", refuse)
    answer = await client.cmd("LOGIN ayna secret-1", ok=False)
    assert answer.code == b"LIMIT"


async def test_large_messages_find_room_one_after_the_other(world: World) -> None:
    size = 4 * limits.MIB
    world.imap._room = size + limits.MIB
    clients = [await world.ayna() for _ in range(4)]
    message = letter(1, pad=size)
    answers = await asyncio.gather(*(client.append("INBOX", message) for client in clients))
    assert all(answer.code.startswith(b"APPENDUID") for answer in answers)
    assert world.imap._room == size + limits.MIB
    assert not world.imap._wanting


async def test_room_is_given_back_by_whoever_goes_away(world: World) -> None:
    size = 4 * limits.MIB
    world.imap._room = size
    quitter, other = await world.ayna(), await world.ayna()
    quitter.send(b"a APPEND INBOX {%d+}\r\n" % size + b"x" * (size // 2))
    await until(lambda: world.imap._room != size)
    task = asyncio.ensure_future(other.append("INBOX", b"y" * size))
    await until(lambda: world.imap._wanting)
    quitter.writer.transport.abort()
    assert (await task).status == "OK"
    assert world.imap._room == size


async def test_whoever_does_not_read_is_not_written_to(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", letter(1, pad=3_000_000))
    client.reader._limit = 1  # the client's own buffer: reading pauses
    client.send(b"".join(b"x%d FETCH 1 BODY.PEEK[]\r\n" % n for n in range(40)))
    (connection,) = world.imap.connections
    await until(lambda: connection._writable is not None)
    for _ in range(200):
        await asyncio.sleep(0)
    assert connection._transport.get_write_buffer_size() < 8_000_000
    client.reader._limit = 1 << 26
    assert len((await client.end(b"x0")).lines[0]) > 3_000_000
    client.writer.transport.abort()
    await settled(world, 0)


async def test_commands_that_wait_are_bounded(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", letter(1, pad=3_000_000))
    client.reader._limit = 1
    client.send(b"a FETCH 1 BODY.PEEK[]\r\n" + b"n NOOP\r\n" * 200_000)
    (connection,) = world.imap.connections
    await until(lambda: connection._paused)
    assert connection._parser.waiting < 1_000_000
    assert len(connection._queue) <= limits.IMAP_PIPELINE_MAX
    client.writer.transport.abort()
    await settled(world, 0)


async def test_a_compressed_bomb_is_read_in_pieces(world: World) -> None:
    import zlib

    client = await world.ayna()
    await client.cmd("COMPRESS DEFLATE")
    client.compress()
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(b"a NOOP\r\n" * 1_000_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 100_000
    client.writer.write(data)
    (connection,) = world.imap.connections
    await until(lambda: connection._paused)
    assert connection._parser.waiting < 2 * connection_module.INFLATED_MAX
    client.writer.transport.abort()
    await settled(world, 0)


# --- time and the end --------------------------------------------------------------------------


async def test_silence_ends_a_connection(world: World) -> None:
    early, late = await world.connect(), await world.ayna("INBOX")
    await late.idle()
    for connection in tuple(world.imap.connections):
        connection.check_time(world.imap.now + EARLY_S + 1)
    assert (await early.gone()).startswith(b"* BYE [TIMEOUT]")
    await world.house.deliver(letter(1), 1)
    assert await late.line() == b"* 1 EXISTS"
    for connection in tuple(world.imap.connections):
        connection.check_time(world.imap.now + connection_module.IDLE_S + 1)
    assert (await late.gone()).startswith(b"* BYE [TIMEOUT]")


async def test_who_says_no_more_is_still_answered(world: World) -> None:
    client = await world.connect()
    client.send(b"a LOGIN ayna secret-1\r\nb SELECT INBOX\r\nc NOOP\r\n")
    client.writer.write_eof()
    for tag in (b"a", b"b", b"c"):  # the second is not read before the first is done
        assert (await client.end(tag)).status == "OK"
    assert await client.gone() == b""


async def test_stop(world: World) -> None:
    idle, busy = await world.ayna("INBOX"), await world.ayna("INBOX")
    await idle.idle()
    busy.send(b"a APPEND INBOX {3000+}\r\n" + b"x" * 3000 + b"\r\n")
    await until(lambda: world.imap.tasks)
    await world.imap.stop(5)
    assert b"BYE" in await idle.gone()
    assert b"a OK [APPENDUID" in await busy.gone(), "what runs may end"


async def test_half_closed_clients_are_answered(world: World) -> None:
    client = await world.connect()
    client.send(b"a LOGIN ayna secret-1\r\nb STATUS INBOX (MESSAGES)\r\n")
    client.writer.write_eof()
    said = await client.gone()
    assert b"a OK" in said
    assert b"* STATUS INBOX (MESSAGES 0)\r\nb OK" in said


async def test_sessions_end_when_their_owner_is_thrown_out(world: World) -> None:
    client = await world.ayna("INBOX")
    (signed,) = next(iter(world.sign_in._sessions.values()))
    assert signed.on_end is not None
    signed.on_end()
    assert (await client.gone()).startswith(b"* BYE [EXPIRED]")
    await settled(world, 0)


# --- damage, refusals --------------------------------------------------------------------------


async def test_damage_costs_the_one_message(world: World) -> None:
    from kerwen.storage.sql import sql

    client = await world.ayna("INBOX")
    await client.append("INBOX", letter(1), letter(2), letter(3))
    async with world.house.db.write() as tx:
        rows = await tx.all(sql("select message_no, body from mail_loose order by message_no"))
        await tx.run(
            sql("update mail_loose set body = :body, card = :body where message_no = :no"),
            no=rows[1][0],
            body=rows[0][1],
        )
    for items in ("BODY.PEEK[]", "ENVELOPE", "(FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])"):
        answer = await client.cmd(f"FETCH 1:3 {items}", ok=False)
        assert (answer.status, answer.code) == ("NO", b"CORRUPTION"), items
        assert [line[:7] for line in answer.of(b"FETCH")] == [b"1 FETCH", b"3 FETCH"]
        assert b"NO UID 2: A sealed record is damaged" in answer.lines
    await client.cmd("FETCH 1:3 (FLAGS RFC822.SIZE)")


async def test_what_cannot_be_done_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await world.ayna("INBOX")

    async def full(*_: object, **__: object) -> None:
        raise Unavailable(Unready.DISK_FULL)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.imap.deeds.append, "run", full)
    answer = await client.cmd(b"APPEND INBOX {1+}\r\nx", ok=False)
    assert (answer.status, answer.code) == ("NO", b"UNAVAILABLE")
    monkeypatch.setattr(world.imap.deeds.append, "run", broken)
    answer = await client.cmd(b"APPEND INBOX {1+}\r\nx", ok=False)
    assert (answer.status, answer.code) == ("NO", b"SERVERBUG")
    await client.cmd("NOOP")


def test_every_reason_has_a_code() -> None:
    assert set(Reason) == replies.CODES.keys()
    for reason in Reason:
        ending = replies.refusal(Refused(reason, "text"))
        assert ending.status == "NO"
        assert re.fullmatch(rb"[A-Z]+", ending.code), reason
    for unready in Unready:
        assert re.fullmatch(rb"[A-Z]+", replies.unavailability(Unavailable(unready)).code)


# --- patterns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", "INBOX a a/b", ""),
        ("%", "INBOX a", "a/b"),
        ("a/*", "a/b a/b/c a/", "a b/a"),
        ("a/%", "a/b", "a/b/c a"),
        ("*b", "b a/b ab", "ba"),
        ("%/b", "a/b", "a/c/b b"),
        ("*a%b", "ab a/ab xaxb", "a/b"),
        ("a*b*c", "abc axbxc a/b/c", "acb ab"),
        ("%*%", "a a/b", ""),
        ("a", "a", "A ab"),
        ("", "", "a"),
        ("*%/x", "a/x a/b/x", "x"),
    ],
)
def test_patterns(pattern: str, yes: str, no: str) -> None:
    matches = wildcards.matcher(pattern)
    assert [name for name in yes.split() if not matches(name)] == []
    assert [name for name in no.split() if matches(name)] == []


def test_patterns_take_little_time() -> None:
    import time

    matches = wildcards.matcher("*a" * 500 + "b")
    start = time.process_time()
    assert not matches("a" * 1_000)
    assert time.process_time() - start < 0.5
