"""The resolver against a DNS server of the test's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.config import BadConfig, Config, load
from kerwen.mail.dns import Dns, Status
from kerwen.net.dns_wire import Bad, Question
from kerwen.net.resolver import Resolver, read_resolv_conf

from .dns_server import DnsServer

KEY = "ab" * 32
ZONE = f"""
far.test MX 10 mx1.far.test.
far.test MX 20 MX2.Far.test.
far.test TXT "v=spf1 " "-all"
null.test MX 0 .
mx1.far.test A 192.0.2.1
mx1.far.test AAAA 2001:db8::1
www.far.test CNAME mx1.far.test.
loop.test CNAME loop.test.
1.2.0.192.in-addr.arpa PTR mx1.far.test.
_25._tcp.mx1.far.test TLSA 3 1 1 {KEY}
bad.test FAIL
mute.test SILENT
here.test EXISTS
"""


class Now:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    made = await DnsServer(ZONE, secure=("far.test",)).start()
    yield made
    made.close()


def asking(server: DnsServer, **more: object) -> Resolver:
    told: dict[str, object] = {"rounds_s": (5.0,), "now": Now()}
    return Resolver([server.place], **(told | more))  # type: ignore[arg-type]


async def test_every_kind_of_answer(server: DnsServer) -> None:
    resolver = asking(server)
    mx = await resolver.answer(Dns("MX", "far.test"))
    assert sorted(mx.mx) == [(10, "mx1.far.test"), (20, "mx2.far.test")]
    assert (await resolver.answer(Dns("MX", "null.test"))).mx == ((0, ""),)
    assert (await resolver.answer(Dns("TXT", "far.test"))).texts == (b"v=spf1 -all",)
    assert (await resolver.answer(Dns("A", "www.far.test"))).names == ("192.0.2.1",)
    assert (await resolver.answer(Dns("AAAA", "mx1.far.test"))).names == ("2001:db8::1",)
    assert (await resolver.answer(Dns("PTR", "1.2.0.192.in-addr.arpa"))).names == ("mx1.far.test",)
    tlsa = await resolver.answer(Dns("TLSA", "_25._tcp.mx1.far.test"))
    assert tlsa.tlsa == ((3, 1, 1, bytes.fromhex(KEY)),)


@pytest.mark.parametrize(
    ("kind", "name", "status"),
    [
        ("A", "here.test", Status.EMPTY),
        ("A", "far.test", Status.EMPTY),
        ("A", "nowhere.test", Status.NO_NAME),
        ("A", "bad.test", Status.FAILED),
        ("A", "mute.test", Status.FAILED),
        ("A", "loop.test", Status.FAILED),
        ("A", "", Status.NO_NAME),
        ("A", "a..b", Status.NO_NAME),
        ("A", "x" * 64 + ".test", Status.NO_NAME),
        ("A", "жук" * 40 + ".test", Status.NO_NAME),
        ("A", "a\\999.test", Status.NO_NAME),
    ],
)
async def test_what_is_not_found(server: DnsServer, kind: str, name: str, status: Status) -> None:
    rounds_s = (0.1,) if name == "mute.test" else (5.0,)
    assert (await asking(server, rounds_s=rounds_s).answer(Dns(kind, name))).status is status


async def test_an_answer_is_kept_as_long_as_it_holds(server: DnsServer) -> None:
    now = Now()
    resolver = asking(server, now=now)
    question = Dns("A", "mx1.far.test")
    together = await asyncio.gather(*(resolver.answer(question) for _ in range(20)))
    assert {one.names for one in together} == {("192.0.2.1",)}
    assert await resolver.answer(Dns("A", "MX1.far.test.")) == together[0]
    assert len(server.asked) == 1, "those who ask the same wait for one answer"
    now.seconds += 299
    await resolver.answer(question)
    assert len(server.asked) == 1
    now.seconds += 2
    await resolver.answer(question)
    assert len(server.asked) == 2
    server.records["mx1.far.test"] = [("FAIL", "")]
    now.seconds += 301
    assert (await resolver.answer(question)).status is Status.FAILED
    assert (await resolver.answer(question)).status is Status.FAILED
    assert len(server.asked) == 3, "a failure is kept for a moment"
    server.records["mx1.far.test"] = [("A", "192.0.2.9")]
    now.seconds += 6
    assert (await resolver.answer(question)).names == ("192.0.2.9",)


async def test_who_asked_first_may_go(server: DnsServer) -> None:
    resolver = asking(server)
    first = asyncio.create_task(resolver.answer(Dns("A", "mx1.far.test")))
    second = asyncio.create_task(resolver.answer(Dns("A", "mx1.far.test")))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).names == ("192.0.2.1",)


async def test_a_long_answer_comes_by_tcp(server: DnsServer) -> None:
    server.add("\n".join(f'long.test TXT "{n:03} {"x" * 240}"' for n in range(40)))
    found = await asking(server, rounds_s=(2.0,)).answer(Dns("TXT", "long.test"))
    assert len(found.texts) == 40
    assert server.asked == ["TXT long.test", "TXT long.test"]


async def test_another_server_is_asked_where_one_fails(server: DnsServer) -> None:
    bad = await DnsServer("mx1.far.test FAIL\n").start()
    away = await DnsServer().start()
    away.close()
    resolver = Resolver([away.place, bad.place, server.place], rounds_s=(5.0,))
    assert (await resolver.answer(Dns("A", "mx1.far.test"))).names == ("192.0.2.1",)
    assert bad.asked == ["A mx1.far.test"]
    bad.close()


@pytest.mark.parametrize(("trusted", "secure"), [(None, True), (True, True), (False, False)])
async def test_who_is_believed(server: DnsServer, trusted: bool | None, secure: bool) -> None:
    resolver = asking(server, trusted=trusted)
    assert (await resolver.answer(Dns("A", "mx1.far.test"))).secure is secure
    assert (await resolver.answer(Dns("TXT", "other.far.test"))).secure is secure
    assert not (await resolver.answer(Dns("MX", "null.test"))).secure


async def test_memory_is_bounded(server: DnsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_CACHE_BYTES", 3_000)
    resolver = asking(server)
    for n in range(30):
        await resolver.answer(Dns("A", f"n{n}.test"))
    assert 0 < resolver._cache_bytes <= 3_000
    assert len(resolver._cache) <= 11
    await resolver.answer(Dns("A", "n29.test"))
    assert len(server.asked) == 30, "the last one is still there"


async def test_development_asks_nobody() -> None:
    resolver = Resolver.of(Config(dev=True))
    assert (await resolver.answer(Dns("MX", "far.test"))).status is Status.NO_NAME
    with pytest.raises(BadConfig, match="leaves this machine"):
        load({"dev": True, "dns": ["192.0.2.53"]})
    with pytest.raises(BadConfig, match="no network address"):
        load({"dev": True, "dns": ["localhost"]})
    found = load({"dev": True, "dns": ["127.0.0.1:5353", "[::1]:54", "::1"]})
    assert Resolver.of(found).servers().places == (
        ("127.0.0.1", 5353), ("::1", 54), ("::1", 53),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "places", "trusted"),
    [
        ("", ["127.0.0.1"], True),
        ("nameserver 127.0.0.53\noptions edns0 trust-ad\n", ["127.0.0.53"], True),
        (
            "# no\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n",
            ["192.0.2.1", "fe80::1%eth0"],
            False,
        ),
        ("nameserver 192.0.2.1\noptions trust-ad", ["192.0.2.1"], True),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", ["127.0.0.1", "192.0.2.1"], False),
        ("nameserver nonsense\nnameserver ::1", ["::1"], True),
    ],
)
def test_resolv_conf(text: str, places: list[str], trusted: bool) -> None:
    found = read_resolv_conf(text)
    assert [host for host, _ in found.places] == places
    assert found.trusted is trusted


async def test_the_systems_servers_are_asked_by_default(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.1\n")
    resolver = Resolver(None, resolv_conf=conf)
    assert resolver.servers().places == (("192.0.2.1", 53),)
    conf.write_text("nameserver 192.0.2.22\n")
    os.utime(conf, ns=(1, 1))
    assert resolver.servers().places == (("192.0.2.22", 53),)


QUESTION = Question("TXT", "x.test")
ANSWER = DnsServer('x.test TXT "hello"\n').answer(QUESTION.wire, udp=True) or b""


def test_a_forged_datagram_is_passed_over() -> None:
    assert not isinstance(QUESTION.read(ANSWER), Bad)
    other = Question("TXT", "x.test")
    number = bytes([QUESTION.wire[0] ^ 1]) + ANSWER[1:]
    assert other.read(number) is Bad.FOREIGN
    elsewhere = DnsServer().answer(QUESTION.wire[:2] + Question("TXT", "y.test").wire[2:], udp=True)
    assert QUESTION.read(elsewhere or b"") is Bad.FOREIGN


@settings(max_examples=300)
@given(st.one_of(
    st.binary(max_size=100),
    st.tuples(st.integers(0, len(ANSWER) - 1), st.binary(min_size=1, max_size=4)).map(
        lambda cut: ANSWER[: cut[0]] + cut[1] + ANSWER[cut[0] + len(cut[1]) :]
    ),
    st.integers(0, len(ANSWER)).map(lambda end: ANSWER[:end]),
))  # fmt: skip
def test_any_bytes_are_read(wire: bytes) -> None:
    found = QUESTION.read(wire)
    assert isinstance(found, Bad) or isinstance(found[1], int)
