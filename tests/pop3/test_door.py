"""POP3: what a program may say, and what becomes of the mailbox."""

from __future__ import annotations

import asyncio
import base64
import poplib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerwen.base.errors import Unavailable, Unready
from kerwen.mail.actions.views import Views
from kerwen.pop3.protocol import Item, Reader, TooLong, stuffed, top
from tests.mail_store.house import letter
from tests.smtp.conftest import either_world, world
from tests.smtp.doors import Doors, doors
from tests.smtp.world import World

__all__ = ["either_world", "world"]
PLAIN = base64.b64encode(b"\0ayna\0secret-1").decode()


async def _two(world: World) -> None:
    await world.house.deliver(letter(1, "first", body=".one\r\n..two\r\nthree"), 1)
    await world.house.deliver(letter(2, "second"), 1)


async def test_poplib_reads_and_deletes(either_world: World) -> None:
    world = either_world
    await _two(world)
    async with doors(world) as open_:

        def work() -> None:
            mail = poplib.POP3_SSL("127.0.0.1", open_.ports["pop3s"], context=world.tls)
            assert {"TOP", "UIDL", "PIPELINING", "USER", "SASL"} <= mail.capa().keys()
            mail.user("ayna@kerwen.test")
            assert mail.pass_("secret-1") == b"+OK 2 messages"
            count, size = mail.stat()
            assert count == 2
            listed = mail.list()[1]
            assert sum(int(line.split()[1]) for line in listed) == size
            lines = mail.retr(1)[1]
            assert b"\r\n".join(lines) + b"\r\n" == letter(1, "first", ".one\r\n..two\r\nthree")
            assert mail.top(1, 1)[1][-2:] == [b"", b".one"]
            uids = mail.uidl()[1]
            assert mail.uidl(2) == b"+OK " + uids[1]
            mail.dele(1)
            assert mail.stat()[0] == 1
            with pytest.raises(poplib.error_proto, match="no such message"):
                mail.retr(1)
            mail.rset()
            mail.dele(2)
            mail.quit()
            again = poplib.POP3("127.0.0.1", open_.ports["pop3"])
            again.stls(world.tls)
            again.user("ayna")
            again.pass_("secret-1")
            assert again.uidl()[1] == uids[:1], "the same id in another session"
            again.dele(1)
            again.close()  # without QUIT nothing is deleted

        await asyncio.to_thread(work)
    assert len(await world.inbox()) == 1
    assert len(world.given) == len(world.spent) == 2


async def test_a_log_in_without_the_messages_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable(Unready.BUSY)

    async with doors(world) as open_:
        with monkeypatch.context() as patched:
            patched.setattr(Views, "current", fail)
            line = await open_.connect("pop3")
            await line.say("USER ayna\r\nPASS secret-1\r\n")
            assert (await line.until("-ERR"))[-1].startswith("-ERR [SYS/TEMP]")
        await line.say("STAT\r\n")
        assert await line.line() == "-ERR Log in first"
        assert not world.sign_in._sessions, "its vault is closed"
        await line.say("USER ayna\r\nPASS secret-1\r\nSTAT\r\n")
        assert (await line.until("-ERR", "+OK 0 0"))[-1] == "+OK 0 0"
        line.writer.close()


async def _talk(open_: Doors, *lines: str, kind: str = "pop3") -> list[str]:
    line = await open_.connect(kind)
    await line.say("".join(f"{one}\r\n" for one in lines))
    line.writer.write_eof()
    found = [one for one in await line.until("never") if one]
    line.writer.close()
    return found


ANSWERS = [
    (["STAT"], "-ERR Log in first"),
    (["HELO"], "-ERR There is no such command"),
    (["PASS x"], "-ERR USER comes first"),
    (["USER ayna", "PASS wrong"], "-ERR [AUTH] Wrong name or password"),
    (["USER nobody", "PASS secret-1"], "-ERR [AUTH] Wrong name or password"),
    (["AUTH PLAIN " + PLAIN], "+OK 2 messages"),
    (["AUTH PLAIN", PLAIN], "+OK 2 messages"),
    (["AUTH PLAIN", "*"], "-ERR Cancelled"),
    (["AUTH PLAIN ="], "-ERR [AUTH] These are no credentials"),
    (["AUTH CRAM-MD5"], "-ERR This mechanism is not supported"),
    (["AUTH OAUTHBEARER " + base64.b64encode(b"n,,\1auth=Bearer x\1\1").decode(), "AQ=="],
     "-ERR [AUTH] This token is not good"),
    (["AUTH PLAIN " + PLAIN, "USER ayna"], "-ERR Somebody is logged in already"),
    (["AUTH PLAIN " + PLAIN, "RETR"], "-ERR Numbers are missing, or these are none"),
    (["AUTH PLAIN " + PLAIN, "RETR x"], "-ERR Numbers are missing, or these are none"),
    (["AUTH PLAIN " + PLAIN, "RETR 0"], "-ERR There is no such message"),
    (["AUTH PLAIN " + PLAIN, "RETR 3"], "-ERR There is no such message"),
    (["AUTH PLAIN " + PLAIN, "TOP 1"], "-ERR Numbers are missing, or these are none"),
    (["AUTH PLAIN " + PLAIN, "DELE 1", "DELE 1"], "-ERR There is no such message"),
    (["AUTH PLAIN " + PLAIN, "DELE 1", "LIST 2"], "+OK 2 "),
    (["AUTH PLAIN " + PLAIN, "NOOP"], "+OK"),
    (["UTF8"], "+OK"),
    (["x" * 3000], "-ERR This line is too long"),
]  # fmt: skip


async def test_answers(world: World) -> None:
    await _two(world)
    async with doors(world) as open_:
        for lines, said in ANSWERS:
            line = await open_.connect("pop3")
            assert await line.line() == "+OK Kerwen is ready"
            for one in lines:  # pipelined
                await line.say(one + "\r\n")
            found = ""
            for _ in range(len(lines)):
                found = await line.line()
            assert found.startswith(said), lines
            line.writer.close()


async def test_no_password_goes_in_clear(world: World) -> None:
    async with doors(world, plain=False) as open_:
        found = await _talk(open_, "CAPA", "USER ayna", "AUTH PLAIN " + PLAIN)
        assert "STLS" in found
        assert "USER" not in found
        assert found[-2:] == ["-ERR Passwords are taken under TLS only"] * 2


async def test_who_guesses_is_sent_away(world: World) -> None:
    async with doors(world) as open_:
        line = await open_.connect("pop3")
        await line.say("USER ayna\r\nPASS no\r\n" * 4)
        said = await line.until("never")
        assert said[-2] == "-ERR [AUTH] Too many failed log-ins"
    assert len(world.spent) == 3


async def test_what_was_said_before_tls_counts_for_nothing(world: World) -> None:
    async with doors(world) as open_:
        line = await open_.connect("pop3")
        await line.line()
        await line.say("STLS\r\nUSER ayna\r\n")
        assert await line.line() == "+OK Begin TLS"
        await line.writer.start_tls(world.tls)
        await line.say("PASS secret-1\r\n")
        assert await line.line() == "-ERR USER comes first"
        line.writer.close()


async def test_a_door_that_stops_says_so(world: World) -> None:
    async with doors(world) as open_:
        line = await open_.connect("pop3")
        await line.line()
        await open_.pop3.stop(1)
        assert await line.line() == "-ERR [SYS/TEMP] The server stops"
        assert (await open_.connect("sieve")) is not None


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n.b", b"..\r\n..b\r\n.\r\n"),
        (b"", b"\r\n.\r\n"),
        (b"a\r\n..\r\n", b"a\r\n...\r\n.\r\n"),
    ],
)
def test_dots(raw: bytes, sent: bytes) -> None:
    assert stuffed(raw) == sent


def test_beginnings() -> None:
    raw = b"A: b\r\n\r\n1\r\n2\r\n3"
    assert [top(raw, n)[8:] for n in (0, 1, 2, 3, 9)] == [
        b"", b"1\r\n", b"1\r\n2\r\n", b"1\r\n2\r\n3", b"1\r\n2\r\n3",
    ]  # fmt: skip
    assert top(b"A: b", 1) == b"A: b"


def _items(chunks: list[bytes]) -> list[Item]:
    reader = Reader()
    found: list[Item] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (item := reader.take()) is not None:
            found.append(item)
            if isinstance(item, TooLong):
                return found
            reader.asking = getattr(item, "name", "") == "AUTH"
    return found


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from([b"AUTH x\r\n", b"USER a\r\n", b"\r\n", b"\n", b"x" * 2100,
                             b"AUTH " + b"y" * 13_000]),
        ),
        max_size=8,
    )
)  # fmt: skip
@settings(max_examples=60)
def test_any_bytes_however_they_come(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    whole = _items([raw])
    assert _items(pieces) == whole
    if len(raw) < 4_000:
        assert _items([raw[at : at + 1] for at in range(len(raw))]) == whole


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.builds(
                lambda name, rest: name + b" " + rest + b"\r\n",
                st.sampled_from([b"RETR", b"TOP", b"LIST", b"UIDL", b"DELE", b"AUTH", b"USER",
                                 b"PASS", b"STAT", b"RSET", b"CAPA", b"UTF8"]),
                st.sampled_from([b"", b"1", b"2 1", b"1 99999999999", b"-1", b"\xff", b"=",
                                 b"PLAIN", b"\xd9\xa1"]),
            ),
        ),
        max_size=12,
    )
)  # fmt: skip
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_the_door_survives_anything(fuzzed: Fuzzed, pieces: list[bytes]) -> None:
    fuzzed.run(b"".join(pieces))


class Fuzzed:
    """A door on a loop of its own, and a way to throw bytes at it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, open_: Doors) -> None:
        self._loop = loop
        self._open = open_

    def run(self, data: bytes) -> None:
        self._loop.run_until_complete(self._run(data))

    async def _run(self, data: bytes) -> None:
        line = await self._open.connect("pop3")
        await line.say(b"AUTH PLAIN " + PLAIN.encode() + b"\r\n" + data + b"\r\nQUIT\r\n")
        said = await asyncio.wait_for(line.reader.read(1 << 22), 10)
        assert said.startswith(b"+OK")
        line.writer.close()


@pytest.fixture
def fuzzed(tmp_path: object, caplog: pytest.LogCaptureFixture):  # type: ignore[no-untyped-def]
    from pathlib import Path

    from kerwen.storage.feed import Feed
    from kerwen.storage.open_database import open_database

    folder = Path(str(tmp_path))
    loop = asyncio.new_event_loop()
    feed = Feed()

    async def begin() -> tuple[World, Doors, object]:
        database = await open_database(folder / "kerwen.db", feed)
        made = World(database, feed, folder / "data")
        await made.start()
        await _two(made)
        open_ = Doors(made, plain=True)
        await open_.start()
        return made, open_, database

    made, open_, database = loop.run_until_complete(begin())
    yield Fuzzed(loop, open_)

    async def end() -> None:
        await open_.stop()
        await made.stop()
        await database.close()  # type: ignore[attr-defined]

    loop.run_until_complete(end())
    loop.close()
    assert "a connection broke" not in caplog.text
