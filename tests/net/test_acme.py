"""Certificates by ACME, from an authority that really looks: got, renewed, refused, delayed."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kerwen.base.config import BadConfig, Config
from kerwen.base.config import _check as check
from kerwen.net import served_tls
from kerwen.net.acme import certs
from kerwen.net.acme.answers import ShownAnswers
from kerwen.net.acme.client import Acme, AcmeError, Eab
from kerwen.net.acme.jws import AccountKey
from kerwen.net.acme.keeper import Keeper, State, renewal_time
from kerwen.net.outgoing import Outgoing
from kerwen.net.served_tls import ServedTls
from tests.conftest import FreshServer
from tests.net.acme_server import AcmeServer

NAMES = ["kerwen.test", "mta-sts.kerwen.test", "autoconfig.kerwen.test"]
DAY = 86_400.0


class World:
    """A keeper with its listeners, an authority, a clock that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "acme"
        self.authority = AcmeServer()
        self.now = time.time()
        self.names = list(NAMES)
        self.served: ServedTls | None = None
        self.answers = ShownAnswers(lambda: self.served)
        self.outgoing = Outgoing(dev=True)
        self.kind: Any = "http-01"
        self.eab: Eab | None = None
        self.pauses: list[float] = []
        self.changes = 0
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        await self.authority.start()
        http = await asyncio.start_server(self._http, "127.0.0.1", 0)
        self.keeper = self.make()
        files = self.keeper.begin(tuple(self.names))
        self.served = ServedTls(files.cert, files.key)
        https = await asyncio.start_server(self._echo, "127.0.0.1", 0, ssl=self.served.context)
        self._servers = [http, https]
        ports = [server.sockets[0].getsockname()[1] for server in self._servers]
        self.authority.places = dict.fromkeys(self.names, ("127.0.0.1", *ports))
        self.tls_port = ports[1]

    def make(self) -> Keeper:
        async def wanted() -> list[str]:
            return self.names

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        def account(key: AccountKey) -> Acme:
            return Acme(
                self.outgoing, self.authority.directory, key, self.answers,
                kind=self.kind, contact=("ayna@kerwen.test",), eab=self.eab, pause=pause,
            )  # fmt: skip

        def changed(cert: Path, key: Path) -> None:
            self.changes += 1
            if self.served is not None:
                self.served.replace(cert, key)

        return Keeper(
            self.folder, self.authority.directory, wanted, account, changed,
            now=lambda: self.now, chance=lambda: 0.5,
        )  # fmt: skip

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode().split()[1]
        found = self.answers.tokens.get(line.rpartition("/")[2], "nothing").encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(found), found))
        await writer.drain()
        writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.readline():
            writer.write(data)
        writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cadata=self.authority.authority.decode())
        return await asyncio.open_connection(
            "127.0.0.1", self.tls_port, ssl=context, server_hostname="kerwen.test"
        )

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        await self.authority.close()
        await self.outgoing.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.start()
    yield made
    await made.close()


async def test_a_certificate_is_got_and_serves_without_a_new_start(world: World) -> None:
    with pytest.raises(ssl.SSLError):
        await world.connect()  # a stand-in: nobody signed it
    await world.keeper.step()
    assert sorted(world.authority.seen) == sorted(f"http-01 {name}" for name in NAMES)
    _, writer = await world.connect()
    names = {v for _, v in writer.get_extra_info("peercert")["subjectAltName"]}
    writer.close()
    assert names == set(NAMES)
    assert world.answers.tokens == {}, "what was proved is not shown for ever"
    assert {p.name for p in world.folder.iterdir()} == {
        "account.key", "server.key", "chain.pem", "state.json",
    }  # fmt: skip
    assert (world.folder / "server.key").stat().st_mode & 0o077 == 0
    assert (world.folder / "account.key").stat().st_mode & 0o077 == 0
    account = next(iter(world.authority.accounts.values()))
    assert account["contact"] == ["mailto:ayna@kerwen.test"]


async def test_by_tls_alpn(world: World) -> None:
    world.kind = "tls-alpn-01"
    await world.keeper.step()
    assert sorted(world.authority.seen) == sorted(f"tls-alpn-01 {name}" for name in NAMES)
    _, writer = await world.connect()
    writer.close()


async def test_while_an_authority_looks_others_see_the_certificate(world: World) -> None:
    await world.keeper.step()
    assert world.served is not None
    world.served.show("kerwen.test", *certs.alpn_answer("kerwen.test", "x"))
    _, writer = await world.connect()  # its check of the chain would fail on the answer
    writer.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    for name, asked in (("kerwen.test", True), ("mta-sts.kerwen.test", False)):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", world.tls_port, ssl=context, server_hostname=name
        )
        shown = writer.get_extra_info("ssl_object")
        assert (shown.selected_alpn_protocol() == "acme-tls/1") is asked
        writer.close()


async def test_it_is_renewed_in_time_and_connections_go_on(world: World) -> None:
    await world.keeper.step()
    reader, writer = await world.connect()
    before = writer.get_extra_info("peercert")["serialNumber"]
    key = (world.folder / "server.key").read_bytes()
    world.now += 55 * DAY
    await world.keeper.step()
    assert world.changes == 1, "not yet"
    world.now += 6 * DAY
    keeper = world.make()  # after a new start of the process
    await keeper.step()
    assert world.changes == 2
    writer.write(b"still here\n")
    assert await reader.readline() == b"still here\n"
    _, other = await world.connect()
    assert other.get_extra_info("peercert")["serialNumber"] != before
    assert (world.folder / "server.key").read_bytes() == key, "TLSA 3 1 1 holds on"
    assert len(world.authority.accounts) == 1, "the same account"
    assert world.authority.orders["1"]["replaces"], "the authority knows which one it replaces"
    for one in (writer, other):
        one.close()


async def test_the_authority_may_want_it_renewed_sooner(world: World) -> None:
    await world.keeper.step()
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    world.authority.window = (start, start + datetime.timedelta(hours=1))
    world.now += DAY / 2
    await world.keeper.step()
    assert world.changes == 2
    assert any(said.startswith("ari ") for said in world.authority.said)


async def test_a_wrong_nonce_is_asked_for_again(world: World) -> None:
    world.authority.wrong_nonces = 3
    await world.keeper.step()
    assert world.authority.said.count("badNonce") == 3
    assert world.changes == 1


async def test_nonces_that_are_never_right_end(world: World) -> None:
    world.authority.wrong_nonces = 1000
    await world.keeper.step()
    assert world.changes == 0
    assert "badNonce" in State.read(world.folder).error


async def test_failures_come_more_and_more_slowly(world: World) -> None:
    world.authority.places.clear()
    waits = []
    for _ in range(12):
        await world.keeper.step()
        waits.append(world.keeper.state.next_try_s - world.now)
        world.now = world.keeper.state.next_try_s
    assert waits == sorted(waits)
    assert 300 <= waits[0] < 600
    assert DAY <= waits[-1] < 1.3 * DAY
    assert "kerwen.test" in world.keeper.state.error
    asked = len(world.authority.orders)
    world.now += 1
    await world.keeper.step()
    await world.make().step()
    assert len(world.authority.orders) <= asked + 1, "a new start does not ask sooner"


async def test_a_name_that_cannot_be_proved_does_not_stop_the_others(world: World) -> None:
    del world.authority.places["autoconfig.kerwen.test"]
    assert await world.keeper.step() < 10
    await world.keeper.step()
    assert set(world.keeper.state.names) == set(NAMES[:2])
    await world.keeper.step()
    assert world.changes == 1
    world.authority.places["autoconfig.kerwen.test"] = world.authority.places["kerwen.test"]
    world.now += 2 * DAY
    await world.keeper.step()
    assert set(world.keeper.state.names) == set(NAMES)


async def test_a_new_name_is_taken_in(world: World) -> None:
    world.names = NAMES[:1]
    await world.keeper.step()
    world.names = list(NAMES)
    await world.keeper.step()
    assert set(world.keeper.state.names) == set(NAMES)


async def test_rate_limits_are_kept(world: World) -> None:
    world.authority.limited = 1
    await world.keeper.step()
    assert 3600 <= world.keeper.state.next_try_s - world.now < 4000
    await world.keeper.step()
    assert world.authority.said.count("rateLimited") == 1
    world.now = world.keeper.state.next_try_s + 1
    await world.keeper.step()
    assert world.changes == 1


async def test_an_account_that_the_authority_forgot_is_made_again(world: World) -> None:
    await world.keeper.step()
    world.authority.accounts.clear()
    world.now += 70 * DAY
    await world.keeper.step()
    world.now = world.keeper.state.next_try_s + 1
    await world.keeper.step()
    assert world.changes == 2


async def test_an_authority_that_wants_to_know_its_customers(world: World) -> None:
    world.authority.eab = {"k1": b"secret of ours"}
    await world.keeper.step()
    assert "acme_eab_id" in world.keeper.state.error
    world.eab = Eab("k1", "c2VjcmV0IG9mIG91cnM")
    world.now = world.keeper.state.next_try_s + 1
    await world.make().step()
    assert world.changes == 1


async def test_an_authority_that_is_away(world: World) -> None:
    await world.authority.close()
    await world.keeper.step()
    assert world.keeper.state.error == "Why.UNREACHABLE"
    assert world.keeper.state.next_try_s > world.now
    await world.authority.start()


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff", b'{"newNonce":1}'])
async def test_an_authority_that_talks_nonsense(world: World, body: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    acme = Acme(
        world.outgoing, f"http://127.0.0.1:{port}/", AccountKey.generate(), world.answers
    )  # fmt: skip
    with pytest.raises(AcmeError):
        await acme.certificate(("kerwen.test",), certs.new_key())
    server.close()


def test_a_chain_for_another_key_or_name_is_not_taken() -> None:
    key = certs.new_key()
    chain = certs.stand_in(key, ("a.test",))
    assert certs.check_chain(chain, key, ("a.test",)).names == ("a.test",)
    for wrong in ((certs.new_key(), ("a.test",)), (key, ("b.test",))):
        with pytest.raises(certs.BadChain):
            certs.check_chain(chain, *wrong)
    with pytest.raises(certs.BadChain):
        certs.facts(b"no certificate")


@pytest.mark.parametrize(
    ("days", "chance", "after"), [(90, 0.5, 60), (90, 0.0, 55.5), (90, 1.0, 64.5), (6, 0.5, 3)]
)
def test_when_a_certificate_is_renewed(days: int, chance: float, after: float) -> None:
    assert renewal_time(0, int(days * DAY), chance) == pytest.approx(after * DAY)


def test_what_a_client_asks_for_is_read_from_its_hello() -> None:
    hello = hello_of(["acme-tls/1"])
    assert served_tls.asked_protocols(hello) == [b"acme-tls/1"]
    for size in range(len(hello)):
        served_tls.asked_protocols(hello[:size])  # whatever is cut off, nothing breaks
    assert served_tls.asked_protocols(hello_of([])) == []


def hello_of(protocols: list[str]) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    out = ssl.MemoryBIO()
    talk = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    return out.read()[5:]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"acme": "http://elsewhere/dir"}, "acme must be"),
        ({"acme": "letsencrypt", "tls_cert": "x", "tls_key": "x"}, "exclude"),
        ({"acme": "letsencrypt", "acme_eab_id": "x"}, "belong together"),
        ({"acme": "letsencrypt", "acme_eab_id": "x", "acme_eab_key": "?"}, "base64url"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        check(Config(domain="a.test", **settings))


async def test_a_server_gets_its_certificate(fresh_server: FreshServer) -> None:
    """The whole process: HTTPS, IMAP and SMTP with STARTTLS show it soon after the start."""
    authority = await AcmeServer().start()
    authority.gate = asyncio.Event()  # it answers when it knows where the server is
    loop = asyncio.get_running_loop()
    server = await loop.run_in_executor(None, lambda: fresh_server("--acme", authority.directory))
    authority.places = {"kerwen.test": ("127.0.0.1", server.port_base + 80, 0)}
    authority.gate.set()
    state = server.data / "keys" / "acme"
    context = ssl.create_default_context(cadata=authority.authority.decode())
    async with asyncio.timeout(20):
        while not State.read(state).names:  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.05)
    for port in (443, 465, 993):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", server.port_base + port, ssl=context, server_hostname="kerwen.test"
        )
        writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port_base + 143)
    await reader.readline()
    writer.write(b"a STARTTLS\r\n")
    assert b"OK" in await reader.readline()
    await writer.start_tls(context, server_hostname="kerwen.test")
    writer.close()
    await authority.close()
