"""Programs that people read mail with, at work on a running Kerwen: imaplib, curl, mbsync, mutt."""

from __future__ import annotations

import http.client
import imaplib
import json
import os
import re
import shutil
import ssl
import subprocess
import uuid
from pathlib import Path

import pytest

from kerwen.base.config import PORTS
from tests.conftest import Server

PASSWORD = 'Гызыл-gül-7 "x" \\'


def letter(n: int, body: str = "text") -> bytes:
    return (
        f"From: Batyr <batyr@kerwen.test>\r\nTo: ayna@kerwen.test\r\nSubject: letter {n}\r\n"
        f"Message-ID: <{n}@x.test>\r\nDate: Tue, 14 Nov 2023 10:0{n % 10}:00 +0500\r\n"
        f"\r\n{body}\r\n"
    ).encode()


class Person:
    """Somebody with an account of their own on the server."""

    def __init__(self, server: Server, password: str = "one-password-7") -> None:
        self.name = f"p{uuid.uuid4().hex[:12]}"
        self.password = password
        self.ports = {kind: server.port_base + PORTS[kind] for kind in ("imap", "imaps")}
        self.ca = server.ca
        self._http = http.client.HTTPConnection("127.0.0.1", server.port_base + PORTS["http"])
        body = {"username": self.name, "password": password}
        session = self._register(body)["session"]
        body["auth"] = {"type": "m.login.dummy", "session": session}  # type: ignore[assignment]
        self.token: str = self._register(body)["access_token"]

    def _register(self, body: object) -> dict[str, str]:
        self._http.request("POST", "/_matrix/client/v3/register", json.dumps(body))
        found: dict[str, str] = json.load(self._http.getresponse())
        return found

    def imap(self) -> imaplib.IMAP4:
        """A session by imaplib."""
        found = imaplib.IMAP4("127.0.0.1", self.ports["imap"])
        found.login(self.name, self.password)
        return found


@pytest.fixture
def person(server: Server) -> Person:
    return Person(server)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not here")


# --- imaplib -----------------------------------------------------------------------------------


def test_imaplib(person: Person) -> None:
    mail = person.imap()
    assert "IDLE" in mail.capability()[1][0].decode()
    for n in range(1, 4):
        status, data = mail.append("INBOX", "\\Flagged", None, letter(n))
        assert status == "OK", data
    assert mail.select("INBOX") == ("OK", [b"3"])
    assert mail.search(None, "SUBJECT", '"letter 2"') == ("OK", [b"2"])
    status, data = mail.fetch("2", "(FLAGS BODY.PEEK[])")
    assert data[0][1] == letter(2)  # type: ignore[index]
    assert mail.uid("STORE", "1", "+FLAGS", "(\\Deleted)")[0] == "OK"
    assert mail.uid("COPY", "2", "Archive")[0] == "OK"
    assert mail.uid("MOVE", "3", "Trash")[0] == "OK"
    assert mail.expunge()[0] == "OK"
    assert mail.search(None, "ALL") == ("OK", [b"1"])
    assert mail.status("Archive", "(MESSAGES)") == ("OK", [b"Archive (MESSAGES 1)"])
    assert mail.sort("(REVERSE DATE)", "UTF-8", "ALL") == ("OK", [b"1"])
    assert mail.thread("REFERENCES", "UTF-8", "ALL") == ("OK", [b"(1)"])
    assert mail.getquotaroot("INBOX")[0] == "OK"
    assert mail.logout()[0] == "BYE"


def test_imaplib_under_tls(server: Server) -> None:
    person = Person(server, PASSWORD)
    context = ssl.create_default_context(cafile=str(person.ca))
    context.check_hostname = False
    mail = imaplib.IMAP4_SSL("127.0.0.1", person.ports["imaps"], ssl_context=context)
    secret = f"\0{person.name}\0{PASSWORD}".encode()
    assert mail.authenticate("PLAIN", lambda _: secret)[0] == "OK"
    mail.logout()
    mail = imaplib.IMAP4("127.0.0.1", person.ports["imap"])
    assert mail.starttls(context)[0] == "OK"
    mail._encoding = "utf-8"  # type: ignore[attr-defined]
    quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    assert mail._simple_command("LOGIN", person.name, f'"{quoted}"')[0] == "OK"  # type: ignore[attr-defined]


def test_tokens(person: Person) -> None:
    bearer = f"n,a={person.name},\1host=x\1auth=Bearer {person.token}\1\1".encode()
    xoauth2 = f"user={person.name}@kerwen.test\1auth=Bearer {person.token}\1\1".encode()
    for mechanism, said in (("OAUTHBEARER", bearer), ("XOAUTH2", xoauth2)):
        mail = imaplib.IMAP4("127.0.0.1", person.ports["imap"])
        assert mail.authenticate(mechanism, lambda _, said=said: said)[0] == "OK"  # type: ignore[misc]
        assert mail.append("INBOX", "", None, letter(1))[0] == "OK"
        mail.select("INBOX")
        assert mail.fetch("1", "BODY.PEEK[]")[0] == "OK", "the token opens the vault"
    mail = imaplib.IMAP4("127.0.0.1", person.ports["imap"])
    wrong = xoauth2.replace(b"Bearer k", b"Bearer j")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        mail.authenticate("XOAUTH2", lambda challenge: b"" if challenge else wrong)


def test_a_changed_password_ends_sessions(person: Person) -> None:
    mail = person.imap()
    mail.select("INBOX")
    headers = {"Authorization": f"Bearer {person.token}"}
    body = {
        "new_password": "another-one-8",
        "auth": {"type": "m.login.password", "password": person.password,
                 "identifier": {"type": "m.id.user", "user": person.name}},
    }  # fmt: skip
    person._http.request("POST", "/_matrix/client/v3/account/password", json.dumps(body), headers)
    answer = person._http.getresponse()
    assert answer.status == 200, answer.read()
    mail.sock.settimeout(10)

    def ask_often() -> None:
        for _ in range(50):
            mail.noop()

    with pytest.raises((imaplib.IMAP4.abort, OSError), match=r"EXPIRED|EOF|closed|reset|pipe"):
        ask_often()
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        person.imap()
    person.password = "another-one-8"
    assert person.imap().select("INBOX")[0] == "OK"


# --- curl --------------------------------------------------------------------------------------


@needs("curl")
def test_curl(person: Person, tmp_path: Path) -> None:
    base = f"imap://127.0.0.1:{person.ports['imap']}"

    def curl(*words: str) -> str:
        user = f"{person.name}:{person.password}"
        command = ["curl", "-s", "-S", "--max-time", "20", "-u", user, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    file = tmp_path / "letter"
    file.write_bytes(letter(1, "x" * 200_000))
    curl("-T", str(file), f"{base}/INBOX")
    assert '* LIST (\\HasNoChildren) "/" INBOX' in curl(base + "/")
    assert curl(f"{base}/INBOX;UID=1").encode() == file.read_bytes().replace(b"\r\n", b"\n")
    assert "* SEARCH 1" in curl(f"{base}/INBOX?SUBJECT%20letter")
    assert "Archive" in curl(base, "-X", 'LIST "" *')
    secure = f"imaps://127.0.0.1:{person.ports['imaps']}/INBOX;UID=1"
    assert curl("--cacert", str(person.ca), "-k", secure)


# --- mbsync ------------------------------------------------------------------------------------


class Mbsync:
    """mbsync with a Maildir of its own."""

    def __init__(self, person: Person, folder: Path) -> None:
        self.folder = folder
        self.maildir = folder / "mail"
        self.maildir.mkdir()
        (folder / "rc").write_text(
            f"""
            IMAPAccount kerwen
            Host 127.0.0.1
            Port {person.ports["imap"]}
            User {person.name}
            Pass {person.password}
            SSLType None
            AuthMechs LOGIN
            IMAPStore far
            Account kerwen
            MaildirStore near
            Path {self.maildir}/
            Inbox {self.maildir}/INBOX
            SubFolders Verbatim
            Channel all
            Far :far:
            Near :near:
            Patterns *
            Create Both
            Expunge Both
            SyncState *
            """.replace("            ", "").replace("IMAPStore", "\nIMAPStore")
            .replace("MaildirStore", "\nMaildirStore").replace("Channel", "\nChannel")
        )  # fmt: skip

    def run(self) -> None:
        command = ["mbsync", "-c", str(self.folder / "rc"), "-a", "-q"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr

    def files(self, mailbox: str = "INBOX") -> dict[str, Path]:
        """The messages of a mailbox by their subjects."""
        found = {}
        for path in (self.maildir / mailbox).glob("[cn][ue][rw]/*"):
            subject = re.search(rb"Subject: (.*)\r?\n", path.read_bytes())
            assert subject
            found[subject[1].decode().strip()] = path
        return found


def flags_of(path: Path) -> str:
    return path.name.partition(":2,")[2]


def with_flags(path: Path, flags: str) -> None:
    path.rename(path.parent.parent / "cur" / f"{path.name.partition(':2,')[0]}:2,{flags}")


@needs("mbsync")
def test_mbsync_both_ways(person: Person, tmp_path: Path) -> None:
    mail = person.imap()
    for n in range(1, 6):
        mail.append("INBOX", "\\Seen" if n == 2 else "", None, letter(n))
    mail.append("Archive", "", None, letter(9))
    mail.create("Work/&BBAEMQ-")
    sync = Mbsync(person, tmp_path)
    sync.run()
    near = sync.files()
    assert sorted(near) == [f"letter {n}" for n in range(1, 6)]
    assert near["letter 3"].read_bytes().replace(b"\r\n", b"\n").endswith(b"\n\ntext\n")
    assert "S" in flags_of(near["letter 2"])
    assert list(sync.files("Archive")) == ["letter 9"]

    # here: one read, one thrown away, one written; there: one answered, one gone, one new
    with_flags(near["letter 1"], "FS")
    near["letter 4"].unlink()
    (sync.maildir / "INBOX" / "new" / "1.2.here").write_bytes(letter(7).replace(b"\r\n", b"\n"))
    mail.select("INBOX")
    mail.uid("STORE", "3", "+FLAGS", "(\\Answered)")
    mail.uid("STORE", "5", "+FLAGS", "(\\Deleted)")
    mail.expunge()
    mail.append("INBOX", "", None, letter(8))
    sync.run()
    near = sync.files()
    assert sorted(near) == [f"letter {n}" for n in (1, 2, 3, 7, 8)]
    assert "R" in flags_of(near["letter 3"])
    mail.select("INBOX")
    there = {}
    for line in mail.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (Subject)])")[1]:
        if isinstance(line, tuple):
            flags = re.search(rb"FLAGS \(([^)]*)\)", line[0])
            assert flags
            there[line[1].decode().strip()] = flags[1].decode()
    assert sorted(there) == [f"Subject: letter {n}" for n in (1, 2, 3, 7, 8)]
    assert there["Subject: letter 1"] == "\\Seen \\Flagged"
    before = {name: path.name for name, path in sync.files().items()}
    sync.run()
    assert {name: path.name for name, path in sync.files().items()} == before, "nothing to do"


@needs("mbsync")
def test_mbsync_brings_many(person: Person, tmp_path: Path) -> None:
    mail = person.imap()
    sync = Mbsync(person, tmp_path)
    new = sync.maildir / "INBOX"
    for name in ("new", "cur", "tmp"):
        (new / name).mkdir(parents=True)
    for n in range(300):
        (new / "new" / f"{n}.1.here").write_bytes(letter(n))
    sync.run()
    assert mail.select("INBOX") == ("OK", [b"300"])
    shutil.rmtree(sync.maildir)
    for state in tmp_path.glob(".mbsync*"):
        state.unlink()
    sync.maildir.mkdir()
    sync.run()
    assert len(sync.files()) == 300


# --- mutt --------------------------------------------------------------------------------------


@needs("mutt")
@needs("script")
def test_mutt_reads_and_moves(person: Person, tmp_path: Path) -> None:
    mail = person.imap()
    for n in range(1, 4):
        mail.append("INBOX", "", None, letter(n))
    keys = (
        "<first-entry><pipe-message>cat >read<enter><display-message><exit>"  # reads the first
        "<next-entry><flag-message>"  # flags the second
        "<last-entry><save-message>=Archive<enter>"  # moves the third
        "<sync-mailbox><quit>"
    )
    keys = keys.replace("cat >read", f"cat >{tmp_path}/read")
    rc = tmp_path / "muttrc"
    rc.write_text(
        f"""
        set imap_user={person.name} imap_pass="{person.password}" ssl_starttls=no
        set ssl_force_tls=no folder=imap://127.0.0.1:{person.ports["imap"]}
        set spoolfile=+INBOX confirmappend=no confirmcreate=no delete=yes quit=yes mark_old=no
        set wait_key=no pipe_decode=no sleep_time=0 sort=date
        set header_cache="" message_cachedir=""
        push '{keys}'
        """.replace("        ", "")
    )
    command = f"mutt -n -F {rc}"
    subprocess.run(
        ["script", "-q", "-e", "-c", command, "/dev/null"],
        env={**os.environ, "TERM": "xterm", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        check=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert b"Subject: letter 1" in (tmp_path / "read").read_bytes()
    assert mail.select("INBOX") == ("OK", [b"2"])
    flags = mail.fetch("1:*", "(UID FLAGS)")[1]
    assert b"\\Seen" in flags[0]  # type: ignore[operator]
    assert b"\\Flagged" in flags[1]  # type: ignore[operator]
    assert mail.status("Archive", "(MESSAGES)")[1] == [b"Archive (MESSAGES 1)"]
