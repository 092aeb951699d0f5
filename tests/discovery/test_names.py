"""Nobody registers a name that mail has given away, or that others trust."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.conftest import KERWEN, Server
from tests.mail_import.test_files import token_of
from tests.programs.test_smtp_programs import Writer


def register(server: Server, name: str) -> str:
    """Why not; empty where an account was made."""
    body = {"username": name, "password": "one-password-4", "auth": {"type": "m.login.dummy"}}
    asked = urllib.request.Request(
        f"{server.url}/_matrix/client/v3/register", data=json.dumps(body).encode(), method="POST"
    )
    try:
        with urllib.request.urlopen(asked) as answer:
            return "" if answer.status == 200 else "?"
    except urllib.error.HTTPError as error:
        return str(json.load(error)["errcode"])


def kerwen(server: Server, *words: str) -> None:
    command = [KERWEN, *words, "--data", str(server.data), "--dev"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_of_others_are_taken(server: Server) -> None:
    person = Writer(server)
    kerwen(server, "alias", "add", "office-of-test", person.name)
    kerwen(server, "list", "add", "list-of-test", "--owner", person.name)
    asked = urllib.request.Request(
        f"{server.url}/_kerwen/mail/masks", data=b"{}", method="POST",
        headers={"Authorization": f"Bearer {token_of(person)}"},
    )  # fmt: skip
    with urllib.request.urlopen(asked) as answer:
        mask = json.load(answer)["address"].partition("@")[0]
    for name in ("office-of-test", "list-of-test", mask):
        assert register(server, name) == "M_USER_IN_USE"


@pytest.mark.parametrize(
    "name",
    ["postmaster", "abuse", "hostmaster", "webmaster", "dmarc-reports", "tls-reports"],
)
def test_names_that_others_trust(server: Server, name: str) -> None:
    assert register(server, name) == "M_USER_IN_USE"
