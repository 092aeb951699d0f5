"""TLS between servers: what is asked of it, what is let go, and what is counted."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kerwen.mail.actions.ways import Relay
from kerwen.smtp.client import Trust

from .policy_server import PolicyServer
from .remote import Behaviour, Remote
from .world import HOUR, World

ZONE = """
far.test MX 10 mx.far.test.
mx.far.test A 127.0.0.1
"""
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def _zone(world: World) -> None:
    world.dns.add(ZONE)


async def server(world: World, *names: str, tls: str = "good") -> tuple[Remote, Path]:
    remote = await world.remote(behaviour=Behaviour(tls=tls))
    cert, remote.context = world.certificate(*(names or ("mx.far.test",)))
    world.build()
    return remote, cert


async def counted(world: World) -> dict[tuple[str, str, str], int]:
    await world.tls_results.flush()
    rows = await world.tls_results.of_day(world.clock.now // DAY)
    return {(one.policy, one.host, one.result): count for one, count in rows}


async def last_answer(world: World) -> str:
    (listed,) = await world.queue.listing()
    return listed.recipients[0][3]


# --- opportunistic


@pytest.mark.parametrize(
    ("tls", "encrypted", "result"),
    [
        ("good", True, "success"),
        ("none", False, "starttls-not-supported"),
        ("refused", False, "starttls-not-supported"),
        ("broken", False, "validation-failure"),
    ],
)
async def test_tls_is_taken_where_it_works(
    world: World, tls: str, encrypted: bool, result: str
) -> None:
    remote, _ = await server(world, "some.other.name", tls=tls)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    (kept,) = remote.kept
    assert kept.tls is encrypted
    assert await counted(world) == {("no-policy-found", "mx.far.test", result): 1}
    assert remote.connections == (2 if tls == "broken" else 1)


async def test_what_was_said_before_hands_were_shaken_counts_for_nothing(world: World) -> None:
    remote, _ = await server(world)
    remote.behaviour.speaks_early = True
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    (kept,) = remote.kept
    assert kept.tls
    assert remote.connections == 1
    assert await world.queue.totals() == (0, 0, None)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
async def test_counts_add_up_and_are_forgotten(world: World) -> None:
    await server(world)
    for n in range(3):
        await world.enqueue(n, "a@far.test")
        await world.sender.step()
        await world.hand_on.close()
        assert (await counted(world))["no-policy-found", "mx.far.test", "success"] == n + 1
    day = world.clock.now // DAY
    world.clock.now += 15 * DAY
    await world.tls_results.sweep()
    assert await world.tls_results.of_day(day) == []


# --- REQUIRETLS


@pytest.mark.parametrize(
    ("names", "extensions", "sent", "words"),
    [
        ("mx.far.test", ("REQUIRETLS",), True, ""),
        ("mx.far.test", (), False, "does not promise"),
        ("other.test", ("REQUIRETLS",), False, "TLS failed"),
    ],
)
async def test_require_tls(
    world: World, names: str, extensions: tuple[str, ...], sent: bool, words: str
) -> None:
    remote, _ = await server(world, names)
    remote.behaviour.extensions = extensions
    await world.enqueue(1, "a@far.test", require_tls=True)
    await world.sender.step()
    assert len(remote.kept) == sent
    if not sent and extensions:
        assert words in await last_answer(world)
    elif not sent:
        assert words.encode() in (await world.reports())[0]


# --- MTA-STS


def policy(mode: str, *mx: str, age: int = 86_400) -> str:
    lines = ["version: STSv1", f"mode: {mode}", f"max_age: {age}", *(f"mx: {one}" for one in mx)]
    return "\r\n".join(lines) + "\r\n"


@pytest.fixture
async def policies(world: World) -> Any:
    _, context = world.certificate("mta-sts.far.test")
    made = await PolicyServer(context).start()
    world.https_port = made.port
    world.dns.add('_mta-sts.far.test TXT "v=STSv1; id=1;"')
    yield made
    made.close()


@pytest.mark.parametrize(
    ("text", "names", "tls", "sent", "result"),
    [
        (policy("enforce", "mx.far.test"), "mx.far.test", "good", True, "success"),
        (policy("enforce", "*.far.test"), "mx.far.test", "good", True, "success"),
        (policy("enforce", "mx.far.test"), "no.test", "good", False, "certificate-host-mismatch"),
        (policy("enforce", "mx.far.test"), "mx.far.test", "none", False, "starttls-not-supported"),
        (policy("enforce", "mx.far.test"), "mx.far.test", "broken", False, "validation-failure"),
        (policy("enforce", "mx.other.test"), "mx.far.test", "good", False, "validation-failure"),
        (policy("testing", "mx.far.test"), "no.test", "good", True, "certificate-host-mismatch"),
        (policy("testing", "mx.far.test"), "mx.far.test", "none", True, "starttls-not-supported"),
        (policy("testing", "mx.other.test"), "mx.far.test", "good", True, "validation-failure"),
        (policy("none"), "no.test", "none", True, None),
    ],
)
async def test_mta_sts(
    world: World, policies: PolicyServer, text: str, names: str, tls: str, sent: bool, result: str
) -> None:
    policies.text = text
    remote, _ = await server(world, names, tls=tls)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert len(remote.kept) == sent
    if result:
        host = "mx.far.test" if "mx.far.test" in text or sent or "*" in text else ""
        assert await counted(world) == {("sts", host, result): 1}


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
async def test_a_policy_is_kept_and_outlives_its_server(
    world: World, policies: PolicyServer
) -> None:
    policies.text = policy("enforce", "mx.far.test", age=3 * 86_400)
    remote, _ = await server(world, tls="good")
    for n in range(3):
        await world.enqueue(n, "a@far.test")
        await world.sender.step()
    assert policies.asked == 1
    policies.close()
    world.dns.records.pop("_mta-sts.far.test")
    remote.behaviour.tls = "none"
    world.clock.now += 2 * DAY
    world.build()  # as after a restart: what is kept is on the disk
    await world.enqueue(9, "a@far.test")
    await world.sender.step()
    assert len(remote.kept) == 3, "who takes TLS away gets nothing while the policy holds"
    world.clock.now += 2 * DAY
    await world.sender.step()
    assert len(remote.kept) == 4


def everything(folder: Path) -> bytes:
    files = [*folder.glob("kerwen.db*"), *(folder / "data").rglob("*")]
    return b"".join(file.read_bytes() for file in files if file.is_file())


async def test_whom_we_write_to_stands_nowhere_in_clear(
    world: World, policies: PolicyServer, tmp_path: Path
) -> None:
    policies.text = policy("enforce", "mx.far.test")
    remote, _ = await server(world)
    await world.enqueue(1, "a@far.test")
    remote.behaviour.tls = "none"
    await world.enqueue(2, "qyzylgul@far.test")
    await world.sender.step()
    assert [listed.recipients[0][0] for listed in await world.queue.listing()] != []
    assert len(await counted(world)) >= 1
    await world.house.db.close()
    whole = everything(tmp_path)
    assert len(whole) > 100_000
    assert b"mail_sts" in whole
    for word in (b"far.test", b"qyzylgul", b"mx.far", b"starttls-not"):
        assert word not in whole


async def test_a_policy_with_a_new_id_is_fetched_again(
    world: World, policies: PolicyServer
) -> None:
    policies.text = policy("enforce", "mx.other.test")
    remote, _ = await server(world)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert "not among the hosts" in await last_answer(world)
    policies.text = policy("enforce", "mx.far.test")
    world.dns.records["_mta-sts.far.test"] = [("TXT", '"v=STSv1; id=2"')]
    world.clock.now += HOUR
    await world.sender.step()
    assert len(remote.kept) == 1
    assert policies.asked == 2


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"status": 404}, "sts-policy-fetch-error"),
        ({"status": 301}, "sts-policy-fetch-error"),
        ({"kind": "text/html"}, "sts-policy-fetch-error"),
        ({"text": "version: STSv2\nmode: enforce\n"}, "sts-policy-invalid"),
        ({"text": "x" * 70_000}, "sts-policy-fetch-error"),
    ],
)
async def test_a_policy_that_cannot_be_had(
    world: World, policies: PolicyServer, change: dict[str, object], result: str
) -> None:
    policies.text = policy("enforce", "mx.other.test")
    for key, value in change.items():
        setattr(policies, key, value)
    remote, _ = await server(world)
    for n in range(2):
        await world.enqueue(n, "a@far.test")
        await world.sender.step()
    assert len(remote.kept) == 2
    assert (await counted(world))["sts", "", result] == 1
    assert policies.asked == 1, "it is not asked with every message"


async def test_a_policy_host_without_a_good_certificate(world: World) -> None:
    _, context = world.certificate("evil.test")
    bad = await PolicyServer(context).start()
    bad.text = policy("enforce", "mx.evil.test")
    world.https_port = bad.port
    world.dns.add('_mta-sts.far.test TXT "v=STSv1; id=1;"')
    remote, _ = await server(world)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    bad.close()
    assert len(remote.kept) == 1
    assert bad.asked == 0


# --- DANE


def tlsa(cert: Path, usage: int, selector: int, matching: int) -> str:
    found = x509.load_pem_x509_certificate(cert.read_bytes())
    der = found.public_bytes(Encoding.DER)
    if selector:
        der = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    data = {0: der, 1: hashlib.sha256(der).digest(), 2: hashlib.sha512(der).digest()}[matching]
    return f"{usage} {selector} {matching} {data.hex()}"


def with_chain(world: World, cert: Path) -> ssl.SSLContext:
    """The server shows its authority's certificate too, as DANE-TA asks."""
    whole = cert.with_suffix(".chain")
    whole.write_bytes(cert.read_bytes() + (world.folder / "ca.pem").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(whole, cert.with_suffix(".key"))
    return context


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", [2, 3])
async def test_dane(world: World, usage: int, selector: int, matching: int) -> None:
    world.dns.secure = ("far.test",)
    # DANE-EE looks at no names; DANE-TA does
    remote, cert = await server(world, "mx.far.test" if usage == 2 else "no.test")
    remote.context = with_chain(world, cert)
    bound = world.folder / "ca.pem" if usage == 2 else cert
    world.dns.add(f"_25._tcp.mx.far.test TLSA {tlsa(bound, usage, selector, matching)}")
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    (kept,) = remote.kept
    assert kept.tls
    assert await counted(world) == {("tlsa", "mx.far.test", "success"): 1}


@pytest.mark.parametrize(
    ("names", "record", "tls", "result"),
    [
        ("mx.far.test", f"3 1 1 {'00' * 32}", "good", "validation-failure"),
        ("no.test", "2 1 1 CA", "good", "validation-failure"),
        ("mx.far.test", "3 1 1 EE", "none", "starttls-not-supported"),
        ("mx.far.test", "3 1 1 EE", "broken", "validation-failure"),
        ("mx.far.test", "3 1 1 EE", "refused", "starttls-not-supported"),
    ],
)
async def test_dane_is_not_let_go(
    world: World, names: str, record: str, tls: str, result: str
) -> None:
    world.dns.secure = ("far.test",)
    remote, cert = await server(world, names, tls=tls)
    remote.context = with_chain(world, cert)
    if record.endswith("CA"):
        record = tlsa(world.folder / "ca.pem", 2, 1, 1)
    elif record.endswith("EE"):
        record = tlsa(cert, 3, 1, 1)
    world.dns.add(f"_25._tcp.mx.far.test TLSA {record}")
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert remote.kept == []
    assert await counted(world) == {("tlsa", "mx.far.test", result): 1}
    world.dns.records["_25._tcp.mx.far.test"] = [("TLSA", tlsa(cert, 3, 1, 1))]
    remote.behaviour.tls = "good"
    world.clock.now += 2 * HOUR
    await world.sender.step()
    assert len(remote.kept) == 1


async def test_tlsa_records_that_cannot_be_used_ask_for_tls_alone(world: World) -> None:
    world.dns.secure = ("far.test",)
    world.dns.add(f"_25._tcp.mx.far.test TLSA 1 1 1 {'ab' * 32}")
    remote, _ = await server(world, "no.test", tls="none")
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert remote.kept == []
    remote.behaviour.tls = "good"
    world.clock.now += 2 * HOUR
    await world.sender.step()
    assert remote.kept[0].tls


async def test_tlsa_records_that_cannot_be_had_hold_the_mail_back(world: World) -> None:
    world.dns.secure = ("far.test",)
    world.dns.add("_25._tcp.mx.far.test FAIL")
    remote, _ = await server(world)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert remote.connections == 0
    assert "TLSA records cannot be had" in await last_answer(world)
    assert await counted(world) == {("tlsa", "", "dnssec-invalid"): 1}


@pytest.mark.parametrize("secure", [(), ("mx.far.test",)])
async def test_without_dnssec_there_is_no_dane(world: World, secure: tuple[str, ...]) -> None:
    world.dns.secure = secure
    world.dns.add(f"_25._tcp.mx.far.test TLSA 3 1 1 {'00' * 32}")
    remote, _ = await server(world)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert len(remote.kept) == 1
    assert not [one for one in world.dns.asked if one.startswith("TLSA")]


async def test_dane_is_not_made_good_by_mta_sts(world: World, policies: PolicyServer) -> None:
    policies.text = policy("enforce", "mx.far.test")
    world.dns.secure = ("far.test",)
    world.dns.add(f"_25._tcp.mx.far.test TLSA 3 1 1 {'00' * 32}")
    remote, _ = await server(world)
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert remote.kept == []


# --- a smart host


LOGIN = ("us", "word")
GIVEN = "AHVzAHdvcmQ="


async def test_a_smart_host_takes_all(world: World) -> None:
    remote, _ = await server(world, "relay.test")
    remote.behaviour.login = GIVEN
    world.dns.add("relay.test A 127.0.0.1")
    world.build(Relay("relay.test", world.port, Trust.NAMED, login=LOGIN))
    await world.enqueue(1, "a@far.test", "b@nowhere.test")
    await world.sender.step()
    assert sorted(to for one in remote.kept for to in one.recipients) == [
        "a@far.test", "b@nowhere.test",
    ]  # fmt: skip
    assert all(one.tls and one.logged_in for one in remote.kept)
    assert await counted(world) == {}, "it tells nothing of the domains' own servers"


@pytest.mark.parametrize(
    ("names", "login", "words"),
    [("no.test", GIVEN, "TLS failed"), ("relay.test", "eHh4", "535")],
)
async def test_a_smart_host_that_is_not_what_it_should_be(
    world: World, names: str, login: str, words: str
) -> None:
    remote, _ = await server(world, names)
    remote.behaviour.login = login
    world.dns.add("relay.test A 127.0.0.1")
    world.build(Relay("relay.test", world.port, Trust.NAMED, login=LOGIN))
    await world.enqueue(1, "a@far.test")
    await world.sender.step()
    assert words in await last_answer(world)
    assert remote.kept == []
    if names == "no.test":
        assert not [one for one in remote.commands if one.startswith("AUTH")]
