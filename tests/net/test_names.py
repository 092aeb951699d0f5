"""Where other servers are, by a file."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from kerwen.net import certificates, tls
from kerwen.net.names import Hosts


def test_look_ups_follow_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hosts.toml"
    hosts = Hosts(file)
    assert hosts.find("b.test", "matrix") is None
    file.write_text('"b.test" = {matrix = "127.0.0.1:28448", smtp = "[::1]:25"}\n')
    assert hosts.find("b.test", "matrix") == ("127.0.0.1", 28448)
    assert hosts.find("b.test", "smtp") == ("::1", 25)
    assert hosts.find("c.test", "matrix") is None
    file.write_text('"b.test" = {matrix = "127.0.0.1:9"}\n')
    os.utime(file, ns=(1, 1))
    assert hosts.find("b.test", "matrix") == ("127.0.0.1", 9)
    assert hosts.find("b.test", "smtp") is None


def test_without_a_file_nobody_is_anywhere() -> None:
    assert Hosts(None).find("b.test", "matrix") is None


@pytest.mark.parametrize(
    "text", ["x", '"b" = 5', '"b" = {matrix = "1"}', '"b" = {http = "a:1"}', '"b" = {smtp = "a:x"}']
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"hosts\.toml: [^\n]+$"):
        Hosts(file).find("b", "matrix")


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("a.test", ["a.test", "*.a.test", "localhost", "127.0.0.1", "::1"]),
        ("a.test:8801", ["a.test", "*.a.test", "localhost", "127.0.0.1", "::1"]),
        ("localhost:8801", ["localhost", "127.0.0.1", "::1"]),
        ("127.0.0.1:80", ["127.0.0.1", "localhost", "::1"]),
        ("[::1]:80", ["::1", "localhost", "127.0.0.1"]),
    ],
)
def test_what_a_certificate_stands_for(tmp_path: Path, domain: str, names: list[str]) -> None:
    assert certificates.names_of(domain) == names
    made = certificates.for_development(tmp_path, domain)
    tls.server_context(made.cert, made.key)  # they belong together
    tls.client_context(tmp_path / "dev-ca.pem", only=True)


def test_the_authority_stays_when_the_certificate_is_made_again(tmp_path: Path) -> None:
    first = certificates.for_development(tmp_path, "a.test")
    authority, cert = (tmp_path / "dev-ca.pem").read_bytes(), first.cert.read_bytes()
    assert certificates.for_development(tmp_path, "a.test").cert.read_bytes() == cert
    assert certificates.for_development(tmp_path, "b.test").cert.read_bytes() != cert
    assert (tmp_path / "dev-ca.pem").read_bytes() == authority
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "keys").glob("*.key")} == {0o600}


def test_a_client_trusts_the_authority_and_nobody_else(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
    made = certificates.for_development(ours, "a.test")
    certificates.for_development(theirs, "a.test")
    server = tls.server_context(made.cert, made.key)
    assert shake_hands(server, tls.client_context(ours / "dev-ca.pem", only=True), "m.a.test")
    assert not shake_hands(server, tls.client_context(theirs / "dev-ca.pem", only=True), "a.test")
    assert not shake_hands(server, tls.client_context(ours / "dev-ca.pem", only=True), "b.test")


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Whether a client takes a server for `name`, without a network."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return True
