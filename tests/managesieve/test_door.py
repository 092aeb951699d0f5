"""ManageSieve: what a program may say, and what becomes of the scripts."""

from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sievelib.managesieve import Client

from kerwen.base import limits
from kerwen.base.errors import Unavailable, Unready
from kerwen.mail.actions.prove_sender import ProveSender
from kerwen.managesieve.protocol import Bad, Command, Item, Reader, TooLong, string
from tests.smtp.conftest import either_world, world
from tests.smtp.doors import Line, doors
from tests.smtp.world import World

__all__ = ["either_world", "world"]
PLAIN = base64.b64encode(b"\0ayna\0secret-1").decode()
LOG_IN = f'AUTHENTICATE "PLAIN" "{PLAIN}"'


@pytest.mark.filterwarnings("ignore:Credentials are sent")
async def test_sievelib_manages_scripts(either_world: World) -> None:
    world = either_world
    async with doors(world) as open_:

        def work() -> None:
            client = Client("127.0.0.1", open_.ports["sieve"])
            assert client.connect("ayna", "secret-1", authmech="PLAIN")
            assert "fileinto" in (client.get_sieve_capabilities() or [])
            assert client.listscripts() == (None, [])
            assert client.havespace("main", 100)
            assert not client.havespace("main", limits.SIEVE_SCRIPT_MAX + 1)
            script = 'require "fileinto";\r\nif header :is "a" "b" { fileinto "ýaz"; }\r\n'
            assert client.checkscript(script)
            assert client.putscript("main", script)
            assert client.putscript("öz", "keep;")
            assert (client.getscript("main") or "").split() == script.split()
            assert not client.putscript("bad", 'keep;\n  fileinto "x";')
            assert b"line 2, column 3" in client.errmsg
            assert not client.checkscript("nonsense;")
            assert client.setactive("main")
            assert client.listscripts() == ("main", ["öz"])
            assert client.renamescript("main", "new")
            assert not client.renamescript("new", "öz")
            assert client.errcode == b"ALREADYEXISTS"
            assert not client.deletescript("new")
            assert client.errcode == b"ACTIVE"
            assert client.setactive("")
            assert client.deletescript("new")
            assert not client.deletescript("new")
            assert client.errcode == b"NONEXISTENT"
            assert client.getscript("new") is None
            client.logout()

        await asyncio.to_thread(work)
    kept = await world.mail.scripts.kept(1)
    assert [one.name for one in kept.scripts] == ["öz"]


async def test_who_cannot_be_asked_about_now_is_told_to_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bool:
        raise Unavailable(Unready.BUSY)

    async with doors(world) as open_:
        line = await open_.connect("sieve")
        await line.until("OK")
        await line.say(f"{LOG_IN}\r\n")
        assert (await line.line()).startswith("OK")
        with monkeypatch.context() as patched:
            patched.setattr(ProveSender, "still", fail)
            await line.say("LISTSCRIPTS\r\n")
            assert (await line.line()).startswith("NO (TRYLATER)")
        await line.say("LISTSCRIPTS\r\n")
        assert (await line.line()).startswith("OK"), "the connection lives"
        line.writer.close()
    assert (await world.mail.scripts.kept(2)).scripts == []


@pytest.mark.filterwarnings("ignore:Credentials are sent")
async def test_a_wrong_password(world: World) -> None:
    async with doors(world) as open_:

        def work() -> None:
            client = Client("127.0.0.1", open_.ports["sieve"])
            assert not client.connect("ayna", "wrong", authmech="PLAIN")

        await asyncio.to_thread(work)
    assert len(world.spent) == 1


async def _open(line: Line) -> list[str]:
    return await line.until("OK")


async def _cmd(line: Line, text: str | bytes) -> list[str]:
    await line.say(text if isinstance(text, bytes) else text + "\r\n")
    return await line.until("OK", "NO", "BYE")


async def test_capabilities_and_tls(world: World) -> None:
    async with doors(world, plain=False) as open_:
        line = await open_.connect("sieve")
        greeting = await _open(line)
        assert '"SASL" ""' in greeting
        assert '"STARTTLS"' in greeting
        said = await _cmd(line, LOG_IN)
        assert said == ['NO (ENCRYPT-NEEDED) "Passwords are taken under TLS only"']
        await line.say(b'STARTTLS\r\nAUTHENTICATE "PLAIN"\r\n')
        assert (await line.until("OK"))[-1] == 'OK "Begin TLS"'
        world.tls.check_hostname = False
        await line.writer.start_tls(world.tls)
        again = await _open(line)
        assert '"SASL" "PLAIN OAUTHBEARER"' in again
        assert '"STARTTLS"' not in again
        assert (await _cmd(line, LOG_IN))[-1] == 'OK "Welcome"'
        assert '"OWNER" "ayna"' in await _cmd(line, "CAPABILITY")
        line.writer.close()


ANSWERS = [
    ("LISTSCRIPTS", 'NO "Log in first"'),
    ("SING", 'NO "There is no such command"'),
    ("noop", 'OK "Done"'),
    ('NOOP "a\\"b"', 'OK (TAG "a\\"b") "Done"'),
    ("NOOP {3+}\r\na\"b", 'OK (TAG "a\\"b") "Done"'),
    ("NOOP {3}\r\na\"b", 'OK (TAG "a\\"b") "Done"'),
    ('NOOP "a', 'NO "This is no command"'),
    ("NOOP a", 'NO "Arguments are strings and numbers"'),
    ('"NOOP"', 'NO "A command begins with its name"'),
    ("", 'NO "A command begins with its name"'),
    ('AUTHENTICATE "CRAM-MD5"', 'NO "This mechanism is not supported"'),
    ('AUTHENTICATE "PLAIN" "*"', 'NO "Cancelled"'),
    (f'{LOG_IN}\r\n{LOG_IN}', 'NO "Somebody is logged in already"'),
    (f'{LOG_IN}\r\nUNAUTHENTICATE\r\nLISTSCRIPTS', 'NO "Log in first"'),
    (f'{LOG_IN}\r\nPUTSCRIPT "x"', 'NO "An argument is missing"'),
    (f'{LOG_IN}\r\nPUTSCRIPT "" "keep;"', 'NO "No script can be called so"'),
    (f'{LOG_IN}\r\nPUTSCRIPT "x" {{5+}}\r\nkeep;', "OK"),
    (f'{LOG_IN}\r\nHAVESPACE "x" 999999999', "NO (QUOTA/MAXSIZE)"),
    (f'{LOG_IN}\r\nSETACTIVE "none"', "NO (NONEXISTENT)"),
    (f'{LOG_IN}\r\nSTARTTLS', 'NO "TLS is not to be had here"'),
    ("NOOP {20000+}\r\n" + "x" * 20_000, 'BYE "This is too long"'),
    (f'{LOG_IN}\r\nPUTSCRIPT "x" {{200000+}}\r\n' + "x" * 200_000, "NO (QUOTA/MAXSIZE)"),
    ("NOOP " + "x" * 9_000, 'BYE "This line is too long"'),
    ("LOGOUT", 'OK "Goodbye"'),
]  # fmt: skip


async def test_answers(world: World) -> None:
    async with doors(world) as open_:
        for said, answer in ANSWERS:
            line = await open_.connect("sieve")
            await _open(line)
            await line.say(said.encode() + b"\r\n")
            for _ in range(said.startswith(LOG_IN) * (1 + ("UNAUTH" in said))):
                await line.until("OK")
            assert (await line.until("OK", "NO", "BYE"))[-1].startswith(answer), said[:99]
            line.writer.close()


async def test_a_mechanism_that_asks(world: World) -> None:
    async with doors(world) as open_:
        line = await open_.connect("sieve")
        await _open(line)
        await line.say('AUTHENTICATE "PLAIN"\r\n')
        assert await line.line() == '""'
        assert (await _cmd(line, f'"{PLAIN}"'))[-1] == 'OK "Welcome"'
        await _cmd(line, "UNAUTHENTICATE")
        bearer = base64.b64encode(b"n,,\1auth=Bearer x\1\1").decode()
        await line.say(f'AUTHENTICATE "OAUTHBEARER" "{bearer}"\r\n')
        assert "invalid_token" in base64.b64decode(await line.line()).decode()
        assert (await _cmd(line, '"AQ=="'))[-1] == 'NO "This token is not good"'
        for _ in range(2):
            said = await _cmd(line, 'AUTHENTICATE "PLAIN" "AGFhAGFh"')
        assert said[-1] == 'BYE "Too many failed log-ins"'


async def test_long_scripts_come_and_go(world: World) -> None:
    source = b"keep; # " + "ýüz\r\n# ".encode() * 12_000 + b"\r\n"
    assert len(source) < limits.SIEVE_SCRIPT_MAX
    async with doors(world) as open_:
        line = await open_.connect("sieve")
        await _open(line)
        await _cmd(line, LOG_IN)
        said = await _cmd(line, b'PUTSCRIPT "a" {%d+}\r\n%b\r\n' % (len(source), source))
        assert said == ["OK"]
        await line.say('GETSCRIPT "a"\r\n')
        assert await line.line() == f"{{{len(source)}}}"
        assert await line.reader.readexactly(len(source)) == source
        line.writer.close()


@pytest.mark.parametrize("text", ["", "a", 'q"\\', "l\n", "x" * 1025, "ý"])
def test_strings_are_read_as_they_are_written(text: str) -> None:
    reader = Reader()
    reader.feed(b"NOOP " + string(text) + b"\r\n")
    assert reader.take() == Command("NOOP", (text.encode(),))


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"NOOP ", b'"a\\"b"', b"{3+}\r\n", b"{3}\r\nabc", b"{99999}\r\n", b"{9999999999}\r\n",
         b"\r\n", b"12", b" ", b"PUTSCRIPT ", b"x" * 5000, b'"']
    ),
)  # fmt: skip


def _items(chunks: list[bytes], *, early: bool) -> list[Item]:
    reader = Reader()
    reader.early = early
    found: list[Item] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (item := reader.take()) is not None:
            found.append(item)
            if isinstance(item, Bad) and item.fatal:
                return found
            reader.asking = isinstance(item, Command) and item.name == "NOOP"
    return found


@given(st.lists(PIECES, max_size=10), st.booleans())
@settings(max_examples=150)
def test_any_bytes_however_they_come(pieces: list[bytes], early: bool) -> None:
    raw = b"".join(pieces)
    whole = _items([raw], early=early)
    assert _items(pieces, early=early) == whole
    if len(raw) < 3_000:
        assert _items([raw[at : at + 1] for at in range(len(raw))], early=early) == whole


def test_a_literal_that_is_too_long_is_read_past() -> None:
    size = limits.MANAGESIEVE_LITERAL_MAX + 1
    raw = b"PUTSCRIPT {%d+}\r\n" % size + b"x" * size + b" 5\r\nNOOP\r\n"
    assert _items([raw], early=False) == [TooLong("PUTSCRIPT"), Command("NOOP")]
    chunks = [raw[at : at + 1000] for at in range(0, len(raw), 1000)]
    assert _items(chunks, early=False) == [TooLong("PUTSCRIPT"), Command("NOOP")]
    huge = b"PUTSCRIPT {%d+}\r\n" % (limits.MANAGESIEVE_SKIPPED_MAX + 1)
    assert _items([huge], early=False) == [Bad("This is too long", fatal=True)]


@given(st.lists(PIECES, max_size=8))
@settings(max_examples=25, deadline=None)
def test_sessions_survive_anything(pieces: list[bytes]) -> None:
    """Whatever comes of the bytes, a session answers it."""

    class Said:
        address = "192.0.2.1"
        may_log_in = can_start_tls = True

        def say(self, data: bytes) -> None: ...

        def hang_up(self, said: bytes = b"") -> None: ...

        async def failed(self) -> None: ...

        async def start_tls(self, said: bytes) -> None: ...

    from kerwen.managesieve.session import Deeds, Session

    session = Session(Deeds(None, None, lambda _: None, lambda _: None), Said())  # type: ignore[arg-type]

    async def talk() -> None:
        for item in _items([b"".join(pieces)], early=False):
            await session.do(item)

    asyncio.run(talk())
