"""From nothing to a server that others find: a zone that takes signed updates, an authority that
really looks, and the commands of `docs/operate/install.md` in their order."""

from __future__ import annotations

import asyncio
import json
import smtplib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kerwen.base.config import BadConfig
from kerwen.commands import outside
from kerwen.commands.dns import read_key
from kerwen.net import dev_ca
from tests.conftest import KERWEN, PORTS, PortBase
from tests.net.acme_server import AcmeServer
from tests.net.dns_server import DnsServer

DOMAIN = "kerwen.example"
PASSWORD = "one-password-9"
SECRET = "c2VjcmV0IG9mIHRoZSB6b25lIHRoYXQgaXMgbG9uZw=="
ZONE = f"""
{DOMAIN} SOA ns.{DOMAIN}. host.{DOMAIN}. 1 3600 600 86400 60
{DOMAIN} TXT "somebody-else=1"
{DOMAIN} TXT "v=spf1 -all"
mta-sts.{DOMAIN} A 192.0.2.9
1.0.0.127.in-addr.arpa PTR {DOMAIN}.
there.example MX 10 mx.there.example.
mx.there.example A 127.0.0.1
org TXT "a signed zone"
"""


class House:
    """A machine with nothing on it, a name server and an authority beside it."""

    def __init__(self, folder: Path, base: int) -> None:
        self.folder, self.base = folder, base
        self.data = folder / "data"
        self.dns = DnsServer(
            ZONE, secure=(DOMAIN, "org"), keys={"kerwen.": ("hmac-sha256", SECRET)}
        )
        self.authority = AcmeServer()
        self.process: asyncio.subprocess.Process | None = None
        self.key = folder / "zone.key"
        self.key.write_text(
            f'key "kerwen." {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
        )

    async def begin(self) -> None:
        await self.dns.start()
        cert, key = self.folder / "ca.pem", self.folder / "ca.key"
        dev_ca.make_authority(cert, key)
        mine = (self.folder / "acme.pem", self.folder / "acme.key")
        dev_ca.make_server(cert, key, ["127.0.0.1"], *mine)
        await self.authority.start(mine)
        self.ca = self.folder / "authorities.pem"
        self.ca.write_bytes(cert.read_bytes() + self.authority.authority)
        self.authority.places = _ByDns(self.dns, self.base)  # type: ignore[assignment]

    def write_config(self, **more: str) -> None:
        self.data.mkdir(mode=0o700)
        listen = "\n".join(f'{k} = "127.0.0.1:{self.base + p}"' for k, p in PORTS.items())
        lines = {
            "domain": DOMAIN, "mail": "on", "acme": self.authority.directory,
            "ca": str(self.ca), **more,
        }  # fmt: skip
        text = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
        text += f'dns = ["{self.dns.flag}"]\n[listen]\n{listen}\n'
        (self.data / "config.toml").write_text(text)

    async def serve(self) -> None:
        log = (self.folder / "log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            KERWEN, "serve", "--data", str(self.data), stdout=log, stderr=log
        )
        url = f"http://127.0.0.1:{self.base + 80}/_kerwen/health"

        def healthy() -> bool:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        await until(healthy)

    async def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run, [KERWEN, *words, "--data", str(self.data)],
            input=text, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    async def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            await self.process.wait()
        await self.authority.close()
        self.dns.close()


class _ByDns(dict[str, Any]):
    """Where the authority finds a name: where the zone says."""

    def __init__(self, dns: DnsServer, base: int) -> None:
        super().__init__()
        self._dns, self._base = dns, base

    def __getitem__(self, name: str) -> tuple[str, int, int]:
        held = dict(self._dns.records[name])
        if "CNAME" in held:
            return self[held["CNAME"].rstrip(".")]
        return held["A"], self._base + 80, self._base + 443


async def until(done: Any) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(done):  # noqa: ASYNC110 (other processes do it)
            await asyncio.sleep(0.05)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    with PortBase() as base:
        made = House(tmp_path, base.port)
        await made.begin()
        yield made
        await made.close()


def test_reach_asks_the_mail_server_that_comes_first() -> None:
    asked = []

    class Seen:
        def ask(self, kind: str, name: str) -> list[str]:
            return ["10 second.example.", "5 first.example."]

        def addresses(self, name: str) -> list[str]:
            asked.append(name)
            return []

    assert list(outside._reach(Seen(), "there.example")) == []  # type: ignore[arg-type]
    assert asked == ["first.example"]


async def test_from_nothing_by_the_words_of_the_docs(house: House) -> None:
    house.write_config()
    await house.serve()
    ill = await house.run("doctor")
    assert ill.returncode == 1
    assert f"{DOMAIN} has no address in DNS: publish what `kerwen dns` prints" in ill.stdout
    made = await house.run("account", "add", "ayna", "--admin", "--password-file", "-",
                           text=PASSWORD + "\n")  # fmt: skip
    assert made.returncode == 0, made.stderr

    update = ("dns", "--address", "127.0.0.1", "--update", house.dns.flag, "--key", str(house.key))
    written = await house.run(*update)
    assert written.returncode == 0, written.stderr
    assert f"{DOMAIN}: " in written.stdout
    texts = [value for kind, value in house.dns.records[DOMAIN] if kind == "TXT"]
    assert sorted(texts) == ['"somebody-else=1"', '"v=spf1 mx -all"'], "others' texts stay"

    state = house.data / "keys" / "acme" / "state.json"
    await until(lambda: len(json.loads(state.read_text())["names"]) == 5)
    shown = await house.run("certificate")
    assert "mta-sts.kerwen.example" in shown.stdout
    # the authority is known by its name only now, and the key has its record
    again = await house.run(*update)
    assert again.returncode == 0, again.stderr

    well = await house.run("doctor", "--reach", f"there.example:{house.base + 25}")
    lines = well.stdout.splitlines()
    # (whether something keeps this machine's clock right is not the server's)
    ill_ones = [one for one in lines if not one.startswith("good") and " clock " not in one]
    assert ill_ones == [], well.stdout
    assert well.returncode == 0
    for kind in ("https", "federation", "smtp", "submission", "submissions", "imap", "imaps",
                 "pop3s", "managesieve"):  # fmt: skip
        assert any(f"{kind}, port" in line and "TLS is good" in line for line in lines), kind
    await a_program_signs_in(house)


async def a_program_signs_in(house: House) -> None:
    trust = ssl.create_default_context(cafile=str(house.ca))

    def sign_in() -> None:
        mail = smtplib.SMTP("127.0.0.1", house.base + 587)
        mail._host = DOMAIN  # type: ignore[attr-defined]
        mail.starttls(context=trust)
        mail.login(f"ayna@{DOMAIN}", PASSWORD)
        mail.quit()

    await asyncio.to_thread(sign_in)


async def test_what_the_zone_lacks_is_said_in_words(house: House) -> None:
    house.write_config(mta_sts="testing")
    (house.data / "keys").mkdir()
    house.dns.add(
        f"""
        {DOMAIN} A 127.0.0.1
        {DOMAIN} MX 10 elsewhere.example.
        {DOMAIN} TXT "v=spf1 ip4:192.0.2.1 -all"
        _dmarc.{DOMAIN} TXT "v=DMARC1; p=none"
        _mta-sts.{DOMAIN} TXT "v=STSv1; id=old"
        {DOMAIN} CAA 0 issue "another.example"
        """
    )
    done = await house.run("doctor")
    text = done.stdout
    assert done.returncode == 1
    assert f"publish: {DOMAIN}.  3600  IN  MX   10 {DOMAIN}." in text
    assert f"{DOMAIN} has 2 records of v=spf1: none of them counts" in text
    assert "says 'v=DMARC1; p=none'" in text
    assert "says 'v=STSv1; id=old'" in text
    assert "_smtp._tls" in text
    assert f"mta-sts.{DOMAIN} does not lead here" in text
    assert "nobody answers; does the server run" in text
    assert "Traceback" not in text + done.stderr


async def test_records_are_printed_for_programs_too(house: House) -> None:
    house.write_config()
    done = await house.run("dns", "--json", "--address", "192.0.2.1", "--address", "2001:db8::2")
    found = json.loads(done.stdout)
    assert {"name": DOMAIN, "kind": "AAAA", "value": "2001:db8::2", "about": "where the server is",
            "level": "must", "ttl": 3600} in found  # fmt: skip
    kinds = {one["kind"] for one in found}
    assert kinds >= {"A", "AAAA", "MX", "TXT", "SRV", "CNAME"}
    plain = await house.run("dns", "--address", "192.0.2.1")
    import dns.zone

    zone = dns.zone.from_text(plain.stdout, origin=f"{DOMAIN}.", check_origin=False)
    assert f"_imaps._tcp.{DOMAIN}" in {f"{name}.{DOMAIN}" for name in zone.nodes}


@pytest.mark.parametrize(
    ("name", "secret", "says"),
    [("kerwen.", "AAAA", "does not take the key"), ("other.", SECRET, "does not take the key")],
)
async def test_a_key_that_the_zone_does_not_know(
    house: House, name: str, secret: str, says: str
) -> None:
    house.write_config()
    house.key.write_text(f"{name.rstrip('.')}:{secret}\n")
    done = await house.run("dns", "--update", house.dns.flag, "--key", str(house.key),
                           "--zone", DOMAIN, "--address", "192.0.2.1")  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert house.dns.updates == 0


def test_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "k"
    file.write_text('key "a.b" { algorithm hmac-sha512; secret "QUI="; };')
    assert (read_key(file).name, read_key(file).algorithm) == ("a.b", "hmac-sha512")
    for text in ("", "key {", "a:b:c", "x"):
        file.write_text(text)
        with pytest.raises(BadConfig):
            read_key(file)


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("smtp", b"220 x\r\n250 x\r\n502 no\r\n"),
        ("imap", b"* BYE\r\n"),
        ("imap", b"x" * 9000),
        ("pop3s", b"\x00\xff\r\n"),
    ],
)
async def test_doors_that_talk_nonsense_are_said_to(kind: str, answers: bytes) -> None:
    from kerwen.base.config import Listen

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    context = ssl.create_default_context()
    listen = Listen("imaps" if kind == "pop3s" else kind, "127.0.0.1", port)
    level, _, text = await asyncio.to_thread(outside._door, listen, "a.test", "127.0.0.1", context)
    assert level == "bad"
    assert str(port) in text
    server.close()
