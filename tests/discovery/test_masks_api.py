"""Masked addresses over HTTP, and mail to them by SMTP."""

from __future__ import annotations

import json
import smtplib
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.conftest import Server
from tests.mail_import.test_files import token_of
from tests.programs.test_smtp_programs import Writer


def ask(server: Server, token: str, method: str, path: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(
        f"{server.url}/_kerwen/mail/masks{path}", data=data, method=method,
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


def test_made_used_shut(server: Server) -> None:
    person, other = Writer(server), Writer(server, "one-password-3")
    token = token_of(person)
    address = ask(server, token, "POST", "", {"word": "Shop"})["address"]
    assert address.startswith("shop.x")
    assert address.endswith("@kerwen.test")

    def bring() -> None:
        with smtplib.SMTP("127.0.0.1", person.ports["smtp"]) as line:
            line.sendmail(
                "s@shop.test", [address], f"Subject: to you\r\nTo: {address}\r\n\r\nx\r\n"
            )

    bring()
    assert len(person.mail()) == 1
    ask(server, token, "PUT", f"/{address}", {"enabled": False})
    assert ask(server, token, "GET", "")["masks"][0]["enabled"] is False
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        bring()
    for method, body in (("PUT", {"enabled": True}), ("DELETE", None)):
        with pytest.raises(urllib.error.HTTPError) as error:
            ask(server, token_of(other), method, f"/{address}", body)
        assert error.value.code == 404
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(server, token, "POST", "", {"word": "no word"})
    assert error.value.code == 400
    ask(server, token, "DELETE", f"/{address}")
    assert ask(server, token, "GET", "") == {"masks": []}
