"""An account with a second factor, met by programs that know nothing of it: matrix-nio, imaplib,
smtplib, matrix-js-sdk. They are refused in words, and go on with an app password.
"""

from __future__ import annotations

import base64
import http.client
import imaplib
import json
import smtplib
import ssl
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import nio
import pytest

from kerwen.accounts import totp
from kerwen.base.config import PORTS
from tests.conftest import Server

from .conftest import Target

PASSWORD = "one-password-7"
STAGE = "org.kerwen.second_factor"


class Owner:
    """Somebody with an authenticator app, who also made an app password."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self.name = f"p{uuid.uuid4().hex[:12]}"
        self._port = server.port_base + PORTS["http"]
        self.reconnect()
        self.token = ""
        auth = {"type": "m.login.dummy"}
        body = {"username": self.name, "password": PASSWORD, "auth": auth}
        self.token = self.ask("POST", "/_matrix/client/v3/register", body)["access_token"]
        own = "/_kerwen/account/second_factor"
        begun = self.ask("POST", own + "/totp", self.first("phone"))
        self.secret = base64.b32decode(begun["secret"])
        self._step = 0
        confirm = {"enrolment": begun["enrolment"], "code": self.code()}
        self.recovery_codes = self.ask("POST", own + "/confirm", confirm)["recovery_codes"]
        self.app_password = self._make_app_password()

    def code(self) -> str:
        """A code that was not used: of the next step where this one's was."""
        self._step = max(self._step + 1, totp.step_at(int(time.time() * 1000)) - 1)
        return totp.hotp(self.secret, self._step)

    def _make_app_password(self) -> str:
        path = "/_kerwen/account/app_passwords"
        half = self.ask("POST", path, self.first("mail"))
        body = {"name": "mail", **self.second(half["session"])}
        found: str = self.ask("POST", path, body)["app_password"]
        return found

    def reconnect(self) -> None:
        """After the server was away."""
        self._http = http.client.HTTPConnection("127.0.0.1", self._port)

    def first(self, name: str) -> dict[str, Any]:
        """A body with a name and the password's stage."""
        return {"name": name, "auth": self._password(PASSWORD)}

    def second(self, session: str) -> dict[str, Any]:
        """A body with the second stage."""
        return {"auth": {"type": STAGE, "session": session, "code": self.code()}}

    def log_in(self, code: str) -> Any:
        """The answer to the password with a code behind it."""
        return self.ask("POST", "/_matrix/client/v3/login", self._password(f"{PASSWORD} {code}"))

    def _password(self, password: str) -> dict[str, Any]:
        identifier = {"type": "m.id.user", "user": self.name}
        return {"type": "m.login.password", "identifier": identifier, "password": password}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request as the owner."""
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        self._http.request(method, path, json.dumps(body or {}), headers)
        return json.load(self._http.getresponse())


@pytest.fixture(scope="module")
def owner(server: Server) -> Owner:
    return Owner(server)


async def nio_logs_in(owner: Owner, password: str) -> Any:
    client = nio.AsyncClient(owner.url, owner.name)
    try:
        return await client.login(password)
    finally:
        await client.close()


async def test_matrix_nio_is_refused_in_words(owner: Owner) -> None:
    refused = await nio_logs_in(owner, PASSWORD)
    assert isinstance(refused, nio.LoginError)
    assert refused.status_code == "M_FORBIDDEN"
    assert "app password" in refused.message


async def test_matrix_nio_logs_in_with_a_code_behind_the_password(owner: Owner) -> None:
    answer = await nio_logs_in(owner, f"{PASSWORD} {owner.recovery_codes.pop()}")
    assert isinstance(answer, nio.LoginResponse), answer
    answer = await nio_logs_in(owner, f"{PASSWORD} {owner.code()}")
    assert isinstance(answer, nio.LoginResponse), answer
    refused = await nio_logs_in(owner, f"{PASSWORD} 000000")
    assert isinstance(refused, nio.LoginError)


async def test_matrix_nio_logs_in_with_an_app_password(owner: Owner) -> None:
    answer = await nio_logs_in(owner, owner.app_password)
    assert isinstance(answer, nio.LoginResponse), answer


def test_imap_alerts_and_takes_app_passwords(server: Server, owner: Owner) -> None:
    port = server.port_base + PORTS["imap"]
    with imaplib.IMAP4("127.0.0.1", port) as program:
        with pytest.raises(imaplib.IMAP4.error, match=r"\[ALERT\].*app password"):
            program.login(owner.name, PASSWORD)
        with pytest.raises(imaplib.IMAP4.error, match=r"\[AUTHENTICATIONFAILED\]"):
            program.login(owner.name, f"{PASSWORD} {owner.recovery_codes[0]}")
    with imaplib.IMAP4("127.0.0.1", port) as program:
        assert program.login(owner.name, owner.app_password)[0] == "OK"


def test_submission_refuses_by_its_own_code(server: Server, owner: Owner) -> None:
    context = ssl.create_default_context(cafile=str(server.ca))
    context.check_hostname = False
    with smtplib.SMTP("127.0.0.1", server.port_base + PORTS["submission"]) as program:
        program.starttls(context=context)
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            program.login(owner.name, PASSWORD)
        assert refused.value.smtp_code == 534
        assert b"5.7.9" in refused.value.smtp_error
        assert program.login(owner.name, owner.app_password)[0] == 235


class Reader(Owner):
    """Somebody whose mail program is connected, by the password, while they enrol."""

    def __init__(self, server: Server) -> None:
        self._imap_port = server.port_base + PORTS["imap"]
        super().__init__(server)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """As an owner does; the program logs in just before."""
        if path.endswith("/totp"):
            self.program = imaplib.IMAP4("127.0.0.1", self._imap_port)
            assert self.program.login(self.name, PASSWORD)[0] == "OK"
        return super().ask(method, path, body)

    def read_on(self) -> None:
        """Asks for news until the server hangs up."""
        for _ in range(100):
            self.program.noop()


def test_enrolment_ends_mail_sessions_that_the_password_opened(server: Server) -> None:
    reader = Reader(server)
    with pytest.raises(imaplib.IMAP4.abort):
        reader.read_on()


def test_matrix_js_sdk_proves_both_stages(story_server: Target, js_folder: Path) -> None:
    """It does not know the second one: it opens its page and polls."""
    command = ["node", str(js_folder / "second_factor.mjs"), story_server.url]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert "js told: 3 steps" in told.stdout
