"""Delta Chat, a messenger whose wire is mail, holds an encrypted chat between two accounts here."""

from __future__ import annotations

import quopri
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FreshServer
from tests.programs.test_smtp_programs import Writer

SECRET = "Duşuşyk sagat dörtde"
ANSWER = "Bolýar, gelerin"

deltachat = pytest.importorskip("deltachat_rpc_client")


@pytest.fixture
def people(fresh_server: FreshServer) -> list[Writer]:
    server = fresh_server(
        "--mail", "on", "--turn-uris", "turn:127.0.0.1:3478?transport=udp",
        "--turn-secret", "shared with the relay",
    )  # fmt: skip
    return [Writer(server, f"one-password-{n}") for n in (1, 2)]


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[Any]:
    program = shutil.which("deltachat-rpc-server", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("deltachat-rpc-server is not here")
    with deltachat.Rpc(accounts_dir=str(tmp_path / "accounts"), rpc_server_path=program) as found:
        yield found


def account_of(rpc: Any, person: Writer, security: str) -> Any:
    """A profile of the program, logged in."""
    made = deltachat.DeltaChat(rpc).add_account()
    made.set_config("displayname", person.name)
    ssl = security == "ssl"
    made.add_or_update_transport(
        {
            "addr": person.address,
            "password": person.password,
            "imapServer": "127.0.0.1",
            "imapPort": person.ports["imaps" if ssl else "imap"],
            "imapSecurity": security,
            "smtpServer": "127.0.0.1",
            "smtpPort": person.ports["submissions" if ssl else "submission"],
            "smtpSecurity": security,
            "certificateChecks": "acceptInvalidCertificates",
        }
    )
    assert made.is_configured()
    made.bring_online()
    return made


def heard(account: Any, text: str) -> Any:
    """Waits for a message of this text."""
    while True:
        found = account.wait_for_incoming_msg().get_snapshot()
        if found.text == text:
            return found


def everything(person: Writer) -> list[bytes]:
    """All messages of all mailboxes."""
    mail = person.imap()
    found: list[bytes] = []
    for line in mail.list()[1]:
        assert isinstance(line, bytes)
        count = mail.select(line.rsplit(b" ", 1)[1].decode(), readonly=True)[1][0]
        if count != b"0":
            answer = mail.fetch("1:*", "BODY.PEEK[]")[1]
            found += [item[1] for item in answer if isinstance(item, tuple)]
    return found


@pytest.mark.timeout(90)
def test_an_encrypted_chat(rpc: Any, people: list[Writer]) -> None:
    ayna = account_of(rpc, people[0], "ssl")
    batyr = account_of(rpc, people[1], "starttls")

    # they meet: the invitation's handshake goes through us, several messages each way
    batyr.secure_join(ayna.get_qr_code())
    ayna.wait_for_securejoin_inviter_success()
    batyr.wait_for_securejoin_joiner_success()

    batyr.create_chat(ayna).send_text(SECRET)
    found = heard(ayna, SECRET)
    assert found.show_padlock

    # the answer waits until its reader is there again: what a server of mail sees of it
    batyr.stop_io()
    found.chat.accept()
    ayna.clear_all_events()
    found.chat.send_text(ANSWER)
    ayna.wait_for_event(deltachat.EventType.MSG_DELIVERED)
    raws = everything(people[1])
    assert any(b"multipart/encrypted" in raw for raw in raws)
    for raw in raws:
        assert b"BEGIN PGP MESSAGE" in raw
        assert ANSWER.encode() not in quopri.decodestring(raw)
    batyr.start_io()
    assert heard(batyr, ANSWER).show_padlock

    # calls: the program takes our relay from METADATA
    servers = ayna.ice_servers()
    assert [one["urls"] for one in servers] == [["turn:127.0.0.1:3478"]]


def test_it_finds_the_doors_by_the_address_alone(fresh_server: FreshServer, rpc: Any) -> None:
    """It asks `https://DOMAIN/.well-known/autoconfig/…`, where ports are no matter of choice."""
    try:
        with socket.create_server(("127.0.0.1", 443)):
            pass
    except OSError:
        pytest.skip("port 443 cannot be had here")
    server = fresh_server("--mail", "on", "--listen", "https=127.0.0.1:443", domain="localhost")
    person = Writer(server, "one-password-1")
    account = deltachat.DeltaChat(rpc).add_account()
    account.add_or_update_transport(
        {
            "addr": f"{person.name}@localhost",
            "password": person.password,
            "certificateChecks": "acceptInvalidCertificates",
        }
    )
    assert account.is_configured()
    found = str(account.get_info())
    assert f"127.0.0.1:{person.ports['imaps']}:tls" in found
    assert f"127.0.0.1:{person.ports['submissions']}:tls" in found
