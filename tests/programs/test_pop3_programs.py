"""Programs that fetch mail by POP3 from a running Kerwen, and one that brings a Sieve script."""

from __future__ import annotations

import smtplib
import subprocess
from pathlib import Path

import pytest
from sievelib.managesieve import Client

from kerwen.base.config import PORTS
from tests.conftest import Server
from tests.programs.test_imap_programs import needs
from tests.programs.test_smtp_programs import Writer


@pytest.fixture
def ayna(server: Server) -> Writer:
    return Writer(server, "one-password-8")


def _send(who: Writer, to: str, subject: str) -> None:
    with smtplib.SMTP("127.0.0.1", who.ports["submission"]) as mail:
        mail.login(who.name, who.password)
        raw = f"From: {who.address}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n.body\r\n"
        mail.sendmail(who.address, [to], raw)


@needs("mpop")
def test_mpop_fetches_new_mail_once(ayna: Writer, server: Server, tmp_path: Path) -> None:
    _send(ayna, ayna.address, "one")
    _send(ayna, ayna.address, "two")
    box, config = tmp_path / "box", tmp_path / "mpoprc"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    config.write_text(
        f"defaults\ntls on\ntls_starttls off\ntls_trust_file {ayna.ca}\n"
        f"account a\nhost localhost\nport {server.port_base + PORTS['pop3s']}\n"
        f"user {ayna.name}\npassword {ayna.password}\nkeep on\n"
        f"uidls_file {tmp_path}/uidls\ndelivery maildir {box}\naccount default : a\n"
    )
    config.chmod(0o600)
    for _ in range(2):
        done = subprocess.run(
            ["mpop", "-C", str(config)], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
    found = [one.read_text() for one in (box / "new").iterdir()]
    assert len(found) == 2
    assert all("\n.body" in one and "\n..body" not in one for one in found)


@needs("curl")
def test_curl_lists_and_deletes(ayna: Writer, server: Server) -> None:
    _send(ayna, ayna.address, "one")
    url = f"pop3://127.0.0.1:{server.port_base + PORTS['pop3']}/"
    command = ["curl", "-s", "--ssl-reqd", "--insecure", "-u", f"{ayna.name}:{ayna.password}"]
    shown = subprocess.run([*command, url], capture_output=True, timeout=30, check=True).stdout
    assert shown.startswith(b"1 ")
    raw = subprocess.run([*command, url + "1"], capture_output=True, timeout=30, check=True)
    assert b"Subject: one" in raw.stdout
    subprocess.run([*command, "-X", "DELE", "-l", url + "1"], timeout=30, check=False,
                   capture_output=True)  # fmt: skip
    assert subprocess.run([*command, url], capture_output=True, timeout=30).stdout.strip() == b""


@pytest.mark.filterwarnings("ignore:Credentials are sent")
def test_a_script_put_by_sievelib_files_mail(ayna: Writer, server: Server) -> None:
    client = Client("127.0.0.1", server.port_base + PORTS["managesieve"])
    assert client.connect(ayna.name, ayna.password, authmech="PLAIN")
    script = 'require ["fileinto", "mailbox", "imap4flags"];\r\n'
    script += 'if header :contains "subject" "bill" { fileinto :create :flags "$Bill" "Bills"; }'
    assert client.putscript("main", script)
    assert client.setactive("main")
    client.logout()
    _send(ayna, ayna.address, "a bill")
    _send(ayna, ayna.address, "a letter")
    assert [b"Subject: a bill" in one for one in ayna.mail("Bills")] == [True]
    assert [b"Subject: a letter" in one for one in ayna.mail()] == [True]
