"""Registration files: what is good, and in one clear line what is not."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.app_services.parts import load_services
from kerwen.app_services.registration import (
    Services,
    check_together,
    compiled,
    service_localpart,
    service_of,
)
from kerwen.base.config import BadConfig, Config
from tests.app_services.service import registration
from tests.conftest import KERWEN

DOMAIN = "kerwen.test"

EXAMPLE = """
id: "IRC Bridge"
url: "http://127.0.0.1:1234/"
as_token: "30c05ae90a248a4188e620216fa72e349803310ec83e2a77b34fe90be6081f46"
hs_token: "312df522183efd404ec1cd22d2ffa4bbc76a8c1ccf541dd692eef281356bb74e"
sender_localpart: "_irc_bot" # Will result in @_irc_bot:example.org
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
some_other_server: {key: value}
"""


def load(folder: Path, *texts: str) -> Services:
    files = []
    for n, text in enumerate(texts):
        files.append(folder / f"{n}.yaml")
        files[-1].write_text(text)
    return load_services(Config(domain=DOMAIN, app_service=[str(f) for f in files]))


def test_the_example_of_the_specification(tmp_path: Path) -> None:
    (service,) = load(tmp_path, EXAMPLE).all
    assert (service.id, service.url) == ("IRC Bridge", "http://127.0.0.1:1234")
    assert service.sender == "@_irc_bot:kerwen.test"
    assert service.rate_limited
    assert not service.ephemeral
    assert not service.encryption
    assert service.protocols == ()
    assert service.has_user("@_irc_bridge_x:kerwen.test")
    assert service.has_user(service.sender)
    assert not service.has_user("@_irc_bridge_x:other.test")
    assert not service.has_user("@x_irc_bridge_:kerwen.test")
    assert service.claims_user("@_irc_bridge_x:kerwen.test")
    assert service.aliases.covers("#_irc_bridge_x:kerwen.test")
    assert not service.aliases.claims("#_irc_bridge_x:kerwen.test")


def test_without_files_yaml_is_not_even_imported() -> None:
    code = "import sys, kerwen.messenger; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": ""}, "id has 1 to 255"),
        ({"id": "a\nb"}, "id has 1 to 255"),
        ({"id": 7}, "Expected `str`, got `int` - at `$.id`"),
        ({"url": "irc.test:99"}, "is no URL of HTTP"),
        ({"as_token": ""}, "as_token is empty"),
        ({"hs_token": "ключ"}, "hs_token is empty or holds more"),
        ({"hs_token": "as-secret-of-irc"}, "must be two secrets"),
        ({"sender_localpart": "Irc Bot"}, "'Irc Bot' is no localpart"),
        ({"namespaces": None}, "Expected `object`"),
        ({"namespaces": {"users": [{"regex": "@x"}]}}, "missing required field `exclusive`"),
        ({"namespaces": {"users": [{"exclusive": True, "regex": "["}]}}, "regex '['"),
        ({"namespaces": {"rooms": [{"exclusive": 1, "regex": "a"}]}}, "Expected `bool`"),
        ({"namespaces": {"rooms": [{"exclusive": True, "regex": "(a*)*"}]}}, "for ever"),
        ({"namespaces": {"rooms": [{"exclusive": True, "regex": "a" * 1001}]}}, "1000 characters"),
        ({"namespaces": {"rooms": [{"exclusive": True, "regex": "a"}] * 201}}, "200 namespaces"),
        ({"protocols": "irc"}, "Expected `array"),
        ({"rate_limited": "no"}, "Expected `bool`"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        service_of(registration("http://127.0.0.1:1") | change, DOMAIN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["id", "url", "as_token", "hs_token", "namespaces"])
def test_what_is_missing_is_said(name: str) -> None:
    data = registration(None)
    del data[name]
    with pytest.raises(ValueError, match=f"missing required field `{name}`"):
        service_of(data, DOMAIN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "it is not YAML"),
        ("\tx: 1", "in line 1"),
        ("- 1\n- 2\n", "a mapping of keys"),
        ("", "a mapping of keys"),
        ("!!python/object/apply:os.system ['true']", "it is not YAML"),
        ("a: \x00", "it is not YAML"),
        ("{" * 10_000, "it is not YAML"),
    ],
)
def test_files_that_are_no_registration(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadConfig, match=said) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"app_service {tmp_path}")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadConfig, match="not UTF-8"):
        load_services(Config(domain=DOMAIN, app_service=[str(file)]))


@pytest.mark.parametrize("same", ["id", "as_token", "sender_localpart"])
def test_ids_and_tokens_are_unique(same: str) -> None:
    one = registration("http://a")
    two = {k: f"{v}-2" if isinstance(v, str) else v for k, v in one.items()} | {same: one[same]}
    pair = [("one.yaml", service_of(one, DOMAIN)), ("two.yaml", service_of(two, DOMAIN))]
    with pytest.raises(ValueError, match=f"two.yaml: {same} is the same as in one.yaml"):
        check_together(pair)


def test_the_server_says_it_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "irc.yaml"
    file.write_text("id: irc\n")
    command = [KERWEN, "serve", "--dev", "--data", str(tmp_path / "data"), "--port-base", "20000"]
    done = subprocess.run(
        [*command, "--app-service", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("kerwen: ")]
    assert line == f"kerwen: app_service {file}: Object missing required field `url`"


# --- patterns ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "@_irc_.*",
        "^@telegram_[0-9]+:example\\.org$",
        "@(whatsapp|signal)_.+:x",
        "(?:ab)+",
        ".*.*.*",
        "a{1000}",
        "",
    ],
)
def test_good_patterns(pattern: str) -> None:
    compiled(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a*)*",
        "(a+)+$",
        "(a?){40}",
        "(ab|a)+c",
        "(a.|.b)+c",
        "(?:x(?:a*)y)*",
        r"(a)\1",
        ".*.*.*.*",
        "(a{2,3}){5}",
        "[",
        "(",
        "(?P<x",
        "*",
    ],
)
def test_patterns_that_could_take_for_ever_or_are_none(pattern: str) -> None:
    with pytest.raises(ValueError, match="regex"):
        compiled(pattern)


@given(st.text("ab|()*+?.{}0123456789,[]^$\\", max_size=14), st.text("ab", max_size=60))
def test_a_pattern_that_is_taken_is_quick(pattern: str, text: str) -> None:
    try:
        made = compiled(pattern)
    except ValueError:
        return
    begun = time.process_time()
    made.match(text * 4 + "!")
    assert time.process_time() - begun < 0.5


def test_the_worst_that_is_taken() -> None:
    match = compiled(".*.*.*x").match
    begun = time.process_time()
    match("a" * 255)
    assert time.process_time() - begun < 0.5


def test_exclusive_names_of_others() -> None:
    one = registration("http://a")
    two = {k: f"{v}-2" if isinstance(v, str) else v for k, v in one.items()}
    two |= {"namespaces": {"users": [{"exclusive": False, "regex": "@_irc_.*"}]}}
    first, second = service_of(one, DOMAIN), service_of(two, DOMAIN)
    both = Services([first, second])
    user = "@_irc_x:kerwen.test"
    assert both.user_is_claimed(user)
    assert not both.user_is_claimed(user, besides=first)
    assert both.user_is_claimed(user, besides=second)
    assert both.of_user(user) == [first, second]
    assert both.by_token("as-secret-of-irc") is first
    assert both.by_token("as-secret-of-irc-2") is second
    assert both.by_token("") is None


@given(st.text(max_size=300))
def test_localparts(text: str) -> None:
    try:
        found = service_localpart(text)
    except ValueError:
        return
    assert re.fullmatch(r"[a-z0-9._=/+-]{1,255}", found, re.ASCII)
