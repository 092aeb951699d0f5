"""OpenPGP keys by the Web Key Directory, as programs ask for them."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest

from kerwen.mail.openpgp import wkd_hash
from tests.conftest import Server
from tests.mail.test_openpgp import packet
from tests.mail_import.test_files import token_of
from tests.programs.test_smtp_programs import Writer


def ask(server: Server, path: str, method: str = "GET", token: str = "", data: Any = None) -> bytes:
    asked = urllib.request.Request(server.url + path, data=data, method=method)
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(asked) as answer:
        assert answer.headers["access-control-allow-origin"] == "*"
        return bytes(answer.read())


def code(server: Server, path: str, *more: Any) -> int:
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(server, path, *more)
    return error.value.code


def test_published_found_and_removed(server: Server) -> None:
    person = Writer(server)
    token = token_of(person)
    own, base = "/_kerwen/mail/openpgp", "/.well-known/openpgpkey"
    ways = [f"{base}/hu/{wkd_hash(person.name)}?l={person.name}",
            f"{base}/kerwen.test/hu/{wkd_hash(person.name)}?l={person.name}"]  # fmt: skip
    key = packet(6, b"key") + packet(13, f"X <{person.name}@kerwen.test>".encode())
    for way in ways:
        assert code(server, way) == 404
    assert code(server, own, "PUT", token, b"no key") == 400
    assert code(server, own, "PUT", "", key) == 401
    ask(server, own, "PUT", token, key)
    for way in ways:
        assert ask(server, way) == key
    assert ask(server, own, "GET", token) == key
    assert code(server, ways[1].replace("kerwen.test", "elsewhere.test")) == 404
    assert code(server, f"{base}/hu/{'x' * 40}") == 404
    for policy in ("/policy", "/kerwen.test/policy"):
        assert ask(server, base + policy) == b""
    ask(server, own, "DELETE", token)
    assert code(server, ways[0]) == 404
    assert code(server, own, "GET", token) == 404
