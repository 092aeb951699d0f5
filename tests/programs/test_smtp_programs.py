"""Programs that people send mail with, at work on a running Kerwen: swaks, msmtp, curl, smtplib."""

from __future__ import annotations

import http.client
import imaplib
import json
import smtplib
import ssl
import subprocess
from email.message import EmailMessage
from pathlib import Path

import pytest

from kerwen.base.config import PORTS
from tests.conftest import Server
from tests.programs.test_imap_programs import Person, letter, needs

PASSWORD = "Gyzyl-gül 7"


class Writer(Person):
    """Somebody who sends."""

    def __init__(self, server: Server, password: str = PASSWORD) -> None:
        super().__init__(server, password)
        self.server = server
        for kind in ("smtp", "submission", "submissions"):
            self.ports[kind] = server.port_base + PORTS[kind]
        self.address = f"{self.name}@kerwen.test"

    def context(self) -> ssl.SSLContext:
        """TLS that knows the server's authority."""
        made = ssl.create_default_context(cafile=str(self.ca))
        made.check_hostname = False
        return made

    def imap(self) -> imaplib.IMAP4:
        found = imaplib.IMAP4("127.0.0.1", self.ports["imap"])
        secret = f"\0{self.name}\0{self.password}".encode()
        found.authenticate("PLAIN", lambda _: secret)
        return found

    def mail(self, mailbox: str = "INBOX") -> list[bytes]:
        """Every message, as it is read by IMAP."""
        mail = self.imap()
        mail.select(mailbox, readonly=True)
        found = mail.fetch("1:*", "BODY.PEEK[]")[1]
        return [item[1] for item in found if isinstance(item, tuple)]


@pytest.fixture
def ayna(server: Server) -> Writer:
    return Writer(server)


@pytest.fixture
def batyr(server: Server) -> Writer:
    return Writer(server, "one-password-8")


# --- swaks -------------------------------------------------------------------------------------


def swaks(*words: str) -> str:
    """Runs it; what it said."""
    command = ["swaks", "--helo", "client.test", "--timeout", "10", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout


@needs("swaks")
def test_swaks_brings_mail(ayna: Writer, batyr: Writer) -> None:
    said = swaks(
        "--server", f"127.0.0.1:{ayna.ports['smtp']}", "--from", "who@remote.test",
        "--to", f"{ayna.address},{batyr.address}", "--header", "Subject: from swaks",
        "--body", "text", "--tls", "--pipeline",
    )  # fmt: skip
    assert "250 2.0.0 Received as" in said
    for person in (ayna, batyr):
        [raw] = person.mail()
        assert b"\r\nSubject: from swaks\r\n" in raw
        assert b"with ESMTPS (TLSv1.3" in b" ".join(raw.split())


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("tls", ["--tls", "--tlsc"])
def test_swaks_sends(ayna: Writer, batyr: Writer, mechanism: str, tls: str) -> None:
    port = ayna.ports["submission" if tls == "--tls" else "submissions"]
    swaks(
        "--server", f"127.0.0.1:{port}", "--from", ayna.address, "--to", batyr.address, tls,
        "--auth", mechanism, "--auth-user", ayna.address, "--auth-password", ayna.password,
        "--header", "Subject: from swaks",
    )  # fmt: skip
    [raw] = batyr.mail()
    assert b"with ESMTPSA" in raw
    assert b"DKIM-Signature" not in raw, "what stays here needs no proof"


# --- msmtp -------------------------------------------------------------------------------------


@needs("msmtp")
@pytest.mark.parametrize("kind", ["submission", "submissions"])
def test_msmtp_sends(ayna: Writer, batyr: Writer, kind: str) -> None:
    starts = "on" if kind == "submission" else "off"
    command = [
        "msmtp", "--host=127.0.0.1", f"--port={ayna.ports[kind]}", "--tls=on",
        f"--tls-starttls={starts}", f"--tls-trust-file={ayna.ca}", "--auth=plain",
        f"--user={ayna.name}", f"--passwordeval=printf '%s' '{ayna.password}'",
        f"--from={ayna.address}", "--read-recipients", "--domain=client.test",
        "--tls-host-override=kerwen.test",
    ]  # fmt: skip
    head = f"From: {ayna.address}\nTo: {batyr.address}\nBcc: {ayna.address}\nSubject: hi\n"
    raw = head + "\n.dot\ntext\n"
    done = subprocess.run(command, input=raw.encode(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    for person in (ayna, batyr):
        [kept] = person.mail()
        assert kept.endswith(b"\r\n\r\n.dot\r\ntext\r\n")
        assert b"\nBcc:" not in kept
        assert b"\nMessage-ID: <" in kept or b"\nMessage-Id: <" in kept


# --- curl --------------------------------------------------------------------------------------


@needs("curl")
def test_curl_brings_mail(ayna: Writer, tmp_path: Path) -> None:
    file = tmp_path / "letter"
    file.write_bytes(letter(1, "x" * 70 + "\r\n" + "y" * 300_000))
    command = [
        "curl", "-s", "-S", "--max-time", "20", f"smtp://127.0.0.1:{ayna.ports['smtp']}/client",
        "--mail-from", "who@remote.test", "--mail-rcpt", ayna.address, "-T", str(file),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ayna.mail()[0].endswith(file.read_bytes())


@needs("curl")
def test_curl_sends_by_a_token(ayna: Writer, batyr: Writer, tmp_path: Path) -> None:
    file = tmp_path / "letter"
    file.write_bytes(f"From: {ayna.address}\r\nSubject: token\r\n\r\nx\r\n".encode())
    command = [
        "curl", "-s", "-S", "-k", "--max-time", "20",
        f"smtps://127.0.0.1:{ayna.ports['submissions']}/client", "--user", ayna.name,
        "--oauth2-bearer", ayna.token, "--login-options", "AUTH=OAUTHBEARER",
        "--mail-from", ayna.address, "--mail-rcpt", batyr.address, "-T", str(file),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\nSubject: token\r\n" in batyr.mail()[0]


# --- smtplib -----------------------------------------------------------------------------------


def test_smtplib_and_an_app_password(ayna: Writer, batyr: Writer) -> None:
    mail = smtplib.SMTP_SSL("127.0.0.1", ayna.ports["submissions"], context=ayna.context())
    with pytest.raises(smtplib.SMTPAuthenticationError, match=r"5\.7\.8"):
        mail.login(ayna.name, "wrong")
    mail.login(ayna.address, app_password(ayna))
    letter_ = EmailMessage()
    letter_["From"] = f"Aýna <{ayna.address}>"
    letter_["To"] = batyr.address
    letter_["Subject"] = "Salam, dünýä"
    letter_.set_content("Gyzyl gül\n" * 20)
    assert mail.send_message(letter_) == {}
    assert len(mail.send_message(letter_, to_addrs=[batyr.address, "nobody@kerwen.test"])) == 1
    mail.quit()
    assert len(batyr.mail()) == 2


def app_password(person: Writer) -> str:
    """Made as the web app does it."""
    line = http.client.HTTPConnection("127.0.0.1", person.server.port_base + PORTS["http"])
    headers = {"Authorization": f"Bearer {person.token}"}
    body: dict[str, object] = {"name": "a program"}
    for _ in range(2):
        line.request("POST", "/_kerwen/account/app_passwords", json.dumps(body), headers)
        found = json.load(line.getresponse())
        if "app_password" in found:
            break
        body["auth"] = {
            "type": "m.login.password", "password": person.password, "session": found["session"],
            "identifier": {"type": "m.id.user", "user": person.name},
        }  # fmt: skip
    return str(found["app_password"])


def test_smtplib_utf8_and_starttls(ayna: Writer, batyr: Writer) -> None:
    mail = smtplib.SMTP("127.0.0.1", ayna.ports["submission"])
    mail.starttls(context=ayna.context())
    mail.login(ayna.name, app_password(ayna))
    raw = f"From: {ayna.address}\r\nTo: гүл@kerwen.test\r\nSubject: Гүл\r\n\r\nГүл\r\n".encode()
    options = ["SMTPUTF8", "BODY=8BITMIME"]  # it adds SIZE itself
    assert mail.sendmail(ayna.address, [batyr.address], raw, options) == {}
    [kept] = batyr.mail()
    assert b"with UTF8SMTPSA" in kept
    assert kept.endswith("Subject: Гүл\r\n\r\nГүл\r\n".encode())
