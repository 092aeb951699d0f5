"""Configuration in, effective configuration or one line of complaint out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kerwen import cli
from kerwen.base.config import PORTS, BadConfig, Config, Listen, check_domain, load


def places(config: Config) -> dict[str, str]:
    return {w.kind: str(w).partition("=")[2] for w in config.listeners()}


def test_development_needs_nothing(tmp_path: Path) -> None:
    config = load({"dev": True, "data": str(tmp_path)})
    assert config.server_name == "kerwen.test"
    assert config.registration_mode == "open"
    assert not config.limits_rates
    assert places(config) == {
        "http": "127.0.0.1:18080",
        "https": "127.0.0.1:10443",
        "smtp": "127.0.0.1:10025",
        "submission": "127.0.0.1:10587",
        "submissions": "127.0.0.1:10465",
        "imap": "127.0.0.1:10143",
        "imaps": "127.0.0.1:10993",
        "pop3": "127.0.0.1:10110",
        "pop3s": "127.0.0.1:10995",
        "managesieve": "127.0.0.1:14190",
        "federation": "127.0.0.1:18448",
    }


def test_browsers_are_given_a_port_that_they_take(tmp_path: Path) -> None:
    """10080 is one that they refuse (Fetch, "bad port"); programs find it there all the same."""
    config = load({"dev": True, "data": str(tmp_path)})
    found = [listen.port for listen in config.listeners() if listen.kind == "http"]
    assert found == [10080, 18080]
    other = load({"dev": True, "data": str(tmp_path), "port_base": 20_000})
    assert [w.port for w in other.listeners() if w.kind == "http"] == [20080]


def test_production_is_closed_and_slow_to_callers(tmp_path: Path) -> None:
    flags = {"data": str(tmp_path), "domain": "a.test", "tls_cert": __file__, "tls_key": __file__}
    config = load(flags)
    assert config.registration_mode == "closed"
    assert config.limits_rates
    assert places(config)["https"] == "*:443"
    assert places(config)["federation"] == "*:8448"


@pytest.mark.parametrize(
    ("flags", "kinds"),
    [
        ({"mail": "off"}, {"http", "https", "federation"}),
        ({"chat": "off"}, set(PORTS) - {"federation"}),
        ({"mail": "off", "listen": {"https": "off", "federation": "off"}}, {"http"}),
        ({"mail": "off", "listen": {"imap": "127.0.0.1:5"}},
         {"http", "https", "federation", "imap"}),
    ],
)  # fmt: skip
def test_which_listeners(tmp_path: Path, flags: dict[str, Any], kinds: set[str]) -> None:
    assert set(places(load({"dev": True, "data": str(tmp_path), **flags}))) == kinds


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:8801", ("127.0.0.1", 8801)),
        ("*:80", ("", 80)),
        (":80", ("", 80)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_places(tmp_path: Path, text: str, where: tuple[str, int]) -> None:
    config = load({"dev": True, "data": str(tmp_path), "listen": {"http": text}})
    assert config.listeners()[0] == Listen("http", *where)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        'domain = "a.test"\ndev = true\nregistration = "token"\n'
        '[listen]\nhttp = "127.0.0.1:1"\nhttps = "off"\n'
    )
    config = load(
        {"data": str(tmp_path), "registration": "open", "listen": {"http": "127.0.0.1:2"}}
    )
    assert (config.domain, config.registration) == ("a.test", "open")
    assert places(config)["http"] == "127.0.0.1:2"
    assert "https" not in places(config)


def test_a_folder_remembers_its_domain(tmp_path: Path) -> None:
    (tmp_path / "domain").write_text("old.test\n")
    assert load({"dev": True, "data": str(tmp_path)}).server_name == "old.test"
    assert load({"dev": True, "data": str(tmp_path), "domain": "b.test"}).domain == "b.test"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("domain = 5", "Expected `str | null`, got `int` - at `$.domain`"),
        ("speed = 5", "unknown field `speed`"),
        ("domain = ", "Invalid value"),
        ("listen = 5", "listen must be a table"),
        ('registration = "some"', "Invalid enum value 'some' - at `$.registration`"),
        ('[listen]\nhttp = "nowhere"', "write http=HOST:PORT or http=off"),
        ('[listen]\nhttp = "a:99999"', "write http=HOST:PORT or http=off"),
        ('[listen]\nhttp = "a:1"\nhttps = "a:1"', "http and https cannot share port 1"),
        ('blobs = "ftp://x"', "blobs must be s3://"),
        ('proxies = ["a.test"]', "proxies: 'a.test' is no network address"),
        ("port_base = -1", "port_base must be from 0"),
        ("port_base = 57088", "port_base must be from 0"),
        ('ca = "/none"', "ca: there is no file /none"),
        ('app_service = ["/none"]', "app_service: there is no file /none"),
    ],
)
def test_complaints_about_a_file(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(BadConfig) as complaint:
        load({"dev": True, "data": str(tmp_path)})
    assert says in str(complaint.value)
    assert "\n" not in str(complaint.value)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="No such file"):
        load({"dev": True}, tmp_path / "none.toml")


@pytest.mark.parametrize(
    "domain", ["a.test", "localhost:8801", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:443", "x"]
)
def test_domains(domain: str) -> None:
    check_domain(domain)


@pytest.mark.parametrize(
    "domain",
    ["", "A.test", "a_b.test", "a.test:", "a.test:x", "a.test:99999", "-a.test", "a.test-", "[::1",
     "[x]", "::1", "a b", "a.test/", "ä.test", "[::1]:", "a.test:1:2"],
)  # fmt: skip
def test_no_domains(domain: str) -> None:
    with pytest.raises(BadConfig):
        check_domain(domain)


def test_every_key_is_a_flag() -> None:
    given = {
        "dev": ["--dev"],
        "listen": ["--listen", "http=127.0.0.1:1", "--listen", "https=off"],
        "rate_limits": ["--rate-limits"],
        "cheap_passwords": ["--cheap-passwords"],
        "app_service": ["--app-service", __file__, "--app-service", __file__],
        "port_base": ["--port-base", "7"],
        "proxies": ["--proxies", "10.0.0.1", "--proxies", "::1"],
        "relay": ["--relay", "mail.a.test:587"],
        "relay_tls": ["--relay-tls", "starttls"],
        "relay_login": ["--relay-login", "x"],
        "relay_password": ["--relay-password", "y"],
        "mail_ip": ["--mail-ip", "4"],
        "mail_reports": ["--mail-reports", "off"],
        "mta_sts": ["--mta-sts", "testing"],
        "dns": ["--dns", "127.0.0.1", "--dns", "[::1]:54"],
        "dns_trusted": ["--no-dns-trusted"],
        "greylisting": ["--greylisting", "on"],
        "rspamd": ["--rspamd", "http://127.0.0.1:11333"],
        "arc_sealers": ["--arc-sealers", "lists.test"],
        "registration": ["--registration", "token"],
        "mail": ["--mail", "off"],
        "chat": ["--chat", "on"],
        "log_level": ["--log-level", "debug"],
        "database": ["--database", "postgres://x"],
        "blobs": ["--blobs", "s3://x"],
        "domain": ["--domain", "a.test"],
        "data": ["--data", "/nonexistent"],
        "metrics_token": ["--metrics-token", "t"],
        "turn_uris": ["--turn-uris", "turn:a.test", "--turn-uris", "turns:a.test:443"],
        "turn_secret": ["--turn-secret", "s"],
        "janus": ["--janus", "ws://127.0.0.1:8188"],
        "janus_secret": ["--janus-secret", "s"],
        "calls_relay": ["--calls-relay", "on"],
        "presence": ["--presence", "on"],
        "url_previews": ["--url-previews", "on"],
        "keep_messages": ["--keep-messages", "7"],
        "keep_files": ["--keep-files", "7"],
        "keep_cached": ["--keep-cached", "7"],
        "acme": ["--acme", "letsencrypt"],
        "acme_challenge": ["--acme-challenge", "tls-alpn-01"],
        "acme_contact": ["--acme-contact", "a@a.test", "--acme-contact", "b@a.test"],
        "acme_eab_id": ["--acme-eab-id", "x"],
        "acme_eab_key": ["--acme-eab-key", "eHg"],
        "media_budget": ["--media-budget", "7"],
    }
    for key in ("tls_cert", "tls_key", "ca", "hosts"):
        given[key] = [f"--{key.replace('_', '-')}", __file__]
    keys = {key.name for key in msgspec.structs.fields(Config)}
    assert set(given) == keys
    plain, same = Config(), set(keys)
    for left_out in ({"acme"}, {"tls_cert", "tls_key"}):  # the two ways exclude each other
        told = [word for key, words in given.items() if key not in left_out for word in words]
        config = cli.config_of(cli.parser().parse_args(["serve", *told]), serving=True)
        same -= {key for key in keys if getattr(config, key) != getattr(plain, key)}
    assert same == {"chat"}
    assert config.listen == {"http": "127.0.0.1:1", "https": "off"}


def test_flags_that_were_not_given_are_not_there() -> None:
    command = argparse.ArgumentParser()
    cli.add_flags(command)
    assert vars(command.parse_args([])) == {"config": None}
