"""A whole server sends: from submission to the other side; killed with a full queue; operated."""

from __future__ import annotations

import asyncio
import json
import smtplib
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kerwen.base.config import PORTS, Config
from kerwen.mail import dkim
from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.mailhouse import MailHouse, build_mail
from kerwen.net import dev_ca, tls
from kerwen.storage.blobs_files import FileBlobs
from kerwen.storage.feed import Feed
from kerwen.storage.sqlite import SqliteDatabase
from kerwen.vault.store import Vaults
from tests.conftest import KERWEN, FreshServer, Server
from tests.mail.zone import Zone
from tests.mail_store.house import letter
from tests.net.dns_server import DnsServer

from .remote import Behaviour, Remote

PASSWORD = "correct horse battery"


def kerwen(*command: str, text: str = "") -> str:
    done = subprocess.run(
        [KERWEN, *command], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def hosts(folder: Path, **places: tuple[str, int]) -> Path:
    """Where domains are: `far=…` is `far.test`."""
    file = folder / "hosts.toml"
    lines = [f'"{name}.test" = {{smtp = "{host}:{port}"}}' for name, (host, port) in places.items()]
    file.write_text("\n".join(lines) + "\n")
    return file


@asynccontextmanager
async def stopped(folder: Path) -> AsyncIterator[MailHouse]:
    """The mail house of a server that does not run."""
    feed = Feed()
    db = SqliteDatabase(folder / "kerwen.db", feed)
    blobs = FileBlobs(folder / "blobs", ready=False)
    config = Config(dev=True, data=str(folder), domain="kerwen.test")
    house = build_mail(config, db, feed, blobs, Vaults(bytes, lambda: 0))
    yield house
    for deed in house.at_end:
        await deed()
    await db.close()


async def test_from_submission_to_the_other_side(fresh_server: FreshServer, tmp_path: Path) -> None:
    dev_ca.make_authority(tmp_path / "ca.pem", tmp_path / "ca.key")
    cert, key = tmp_path / "mx.pem", tmp_path / "mx.key"
    dev_ca.make_server(tmp_path / "ca.pem", tmp_path / "ca.key", ["mx.far.test"], cert, key)
    context = tls.server_context(cert, key)
    remote = await Remote("mx.far.test", Behaviour(tls="good"), context).start()
    dns = await DnsServer("far.test MX 5 mx.far.test.").start()
    file = hosts(tmp_path, **{"mx.far": remote.at})
    server = await asyncio.to_thread(
        fresh_server, "--hosts", str(file), "--dns", dns.flag, "--cheap-passwords"
    )
    data = str(server.data)
    await asyncio.to_thread(
        kerwen, "account", "add", "batyr", "--data", data, "--password-file", "-", text=PASSWORD
    )
    await asyncio.to_thread(submit, server)
    await remote.until(lambda: bool(remote.kept))
    (kept,) = remote.kept
    assert kept.tls
    assert (kept.sender, kept.recipients) == ("batyr@kerwen.test", ["dost@far.test"])
    header, _, body = kept.raw.partition(b"\r\n\r\n")
    printed = await asyncio.to_thread(kerwen, "dns", "--data", data, "--dev")
    zone = Zone("\n".join(key_lines(printed)))
    results = zone.ask(dkim.verify(header + b"\r\n", body, 1_900_000_000))
    assert [(one.result.value, one.domain) for one in results] == [("pass", "kerwen.test")] * 2
    assert "MX far.test" in dns.asked
    metrics = await asyncio.to_thread(read_metrics, server)
    assert 'kerwen_mail_recipients_total{verdict="relayed"} 1.0' in metrics
    assert 'kerwen_mail_tls_total{result="success"} 1.0' in metrics
    log = server.log.read_text()
    turn = next(json.loads(line) for line in log.splitlines() if "had its turn" in line)
    assert turn["relayed"] == 1
    assert "far.test" not in log
    assert "dost" not in log
    remote.close()
    dns.close()


def submit(server: Server) -> None:
    context = ssl.create_default_context(cafile=str(server.ca))
    with smtplib.SMTP("127.0.0.1", server.port_base + PORTS["submission"]) as client:
        client.starttls(context=context)
        client.login("batyr", PASSWORD)
        client.sendmail(
            "batyr@kerwen.test",
            ["dost@far.test"],
            b"From: batyr@kerwen.test\r\nTo: dost@far.test\r\nSubject: s\r\n\r\n.one\r\ntwo\r\n",
        )


def key_lines(printed: str) -> list[str]:
    """The DKIM records of `kerwen dns`, as the test's zone has them."""
    found = []
    for line in printed.splitlines():
        name, _, rest = line.partition(" ")
        if "._domainkey." in name and not line.startswith(";"):
            text = "".join(rest.split('"')[1::2])
            found.append(f"{name.rstrip('.')} TXT {text}")
    return found


def read_metrics(server: Server) -> str:
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/_kerwen/metrics") as answer:
        return str(answer.read().decode())


COUNT = 180
KILLS = 3


async def test_killed_with_a_full_queue(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Everything arrives. Twice comes only what was under way at a kill: its answer was given and
    was not on our disk yet."""
    names = [f"d{n}" for n in range(6)]
    remote = await Remote(behaviour=Behaviour(wait_s=0.002)).start()
    file = hosts(tmp_path, **dict.fromkeys(names, remote.at))
    server = await asyncio.to_thread(fresh_server, "--hosts", str(file))
    await asyncio.to_thread(server.stop)
    async with stopped(server.data) as house:
        for n in range(COUNT):
            to = [Addressee(f"a@{names[n % 6]}.test"), Addressee(f"b@{names[(n + 1) % 6]}.test")]
            raw = letter(n, pad=100_000 if n % 40 == 0 else 0)
            await house.queue.enqueue(Envelope("batyr@kerwen.test"), to, raw)
    for kill in range(1, KILLS + 1):
        await asyncio.to_thread(server.start)
        await remote.until(lambda kill=kill: len(remote.kept) >= kill * COUNT // 3)
        await asyncio.to_thread(server.kill9)
    await asyncio.to_thread(server.start)
    await remote.until(lambda: len(remote.copies()) == 2 * COUNT)
    assert await asyncio.to_thread(server.stop) == 0
    async with stopped(server.data) as house:
        assert await house.queue.totals() == (0, 0, None)
    copies = remote.copies()
    assert len(copies) == 2 * COUNT
    twice = [count for count in copies.values() if count > 1]
    assert sum(twice) - len(twice) <= KILLS * 6 * 8, "eight messages a destination were under way"
    assert max(copies.values()) <= 1 + KILLS
    remote.close()


async def test_a_server_that_stops_ends_what_is_under_way(
    fresh_server: FreshServer, tmp_path: Path
) -> None:
    remote = await Remote(behaviour=Behaviour(wait_s=0.15)).start()
    file = hosts(tmp_path, far=remote.at)
    server = await asyncio.to_thread(fresh_server, "--hosts", str(file))
    await asyncio.to_thread(server.stop)
    async with stopped(server.data) as house:
        await house.queue.enqueue(
            Envelope("batyr@kerwen.test"), [Addressee("a@far.test")], letter(1)
        )
    await asyncio.to_thread(server.start)
    await remote.until(lambda: remote.open == 1)
    assert await asyncio.to_thread(server.stop) == 0
    assert len(remote.kept) == 1
    async with stopped(server.data) as house:
        assert await house.queue.totals() == (0, 0, None)
    remote.close()


async def test_what_an_operator_does(fresh_server: FreshServer, tmp_path: Path) -> None:
    busy = Behaviour(greeting="421 4.3.2 not today")
    remote = await Remote(behaviour=busy).start()
    file = hosts(tmp_path, far=remote.at)
    server = await asyncio.to_thread(fresh_server, "--hosts", str(file))
    data = ["--data", str(server.data), "--domain", "kerwen.test", "--dev"]

    async def do(*words: str) -> str:
        return await asyncio.to_thread(kerwen, *words, *data)

    await asyncio.to_thread(server.stop)
    async with stopped(server.data) as house:
        numbers = [
            await house.queue.enqueue(
                Envelope("batyr@kerwen.test"), [Addressee(f"a{n}@far.test")], letter(n)
            )
            for n in range(3)
        ]
    assert await do("queue", "hold", str(numbers[0])) == "recipients: 1\n", "without a server too"
    await asyncio.to_thread(server.start)
    await remote.until(lambda: remote.connections > 0)
    listed = ""
    async with asyncio.timeout(60):
        while listed.count("not today") < 2:
            listed = await do("queue", "list")
    assert f"{numbers[0]}  " in listed
    assert "a0@far.test  tries 0  held" in listed
    assert "a1@far.test  tries 1  next in" in listed
    assert "from batyr@kerwen.test" in listed
    told = await do("doctor")
    assert "3 messages wait to be sent" in told
    await do("queue", "drop", str(numbers[1]))
    busy.greeting = "220 now"
    assert await do("queue", "retry", "--all") == "recipients: 1\n"
    await remote.until(lambda: len(remote.kept) == 1)
    assert await do("queue", "retry", str(numbers[0])) == "recipients: 1\n"
    await remote.until(lambda: len(remote.kept) == 2)
    assert [one.recipients for one in remote.kept] == [["a2@far.test"], ["a0@far.test"]]
    with pytest.raises(AssertionError, match="no such message"):
        await do("queue", "drop", "999")
    remote.close()
