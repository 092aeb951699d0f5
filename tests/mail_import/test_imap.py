"""Mail of a real Dovecot comes over, whole and once, whoever is killed meanwhile.

KERWEN_IMPORT_MESSAGES=10000 takes the number of messages that the project promises; the suite
takes fewer.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KERWEN, FreshServer
from tests.mail_import.dovecot import PASSWORD, USER, Dovecot, can_run
from tests.programs.test_smtp_programs import Writer

COUNT = int(os.environ.get("KERWEN_IMPORT_MESSAGES", "360"))
FOLDERS = {  # there: here
    "": "INBOX", ".Gesendet": "Sent", ".Trash": "Trash", ".Work": "Work",
    ".Work.2024": "Work/2024", ".&AP0-urt": "ýurt",
}  # fmt: skip
FLAGS = ("", "S", "RS", "FS")
BASE_S = 1_600_000_000

pytestmark = [
    pytest.mark.skipif(not can_run(), reason="needs Dovecot, and root to start it"),
    pytest.mark.timeout(120 + COUNT // 20),
]


def letter(number: int) -> bytes:
    """A message that says which one it is; every tenth is long, two are the same."""
    text = f"Line of message {number}, with ä and 漢.\n" * (800 if number % 10 == 0 else 20)
    return (
        f"From: a{number}@there.test\nTo: old@there.test\nSubject: Number {number}\n"
        f"Message-ID: <{number}@there.test>\nX-Number: {number}\n"
        "Content-Type: text/plain; charset=utf-8\n\n" + text
    ).encode()


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    # not below pytest's own folder, which every new run shuts to others: Dovecot runs as nobody
    folder = Path(tempfile.mkdtemp(prefix="kerwen-dovecot-"))
    made = Dovecot(folder)
    boxes = list(FOLDERS)
    for number in range(COUNT):
        name = f"{BASE_S + number}.M{number:06d}.there:2,{FLAGS[number % len(FLAGS)]}"
        made.put(boxes[number % len(boxes)], name, letter(number), BASE_S + number)
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


def command(person: Writer, dovecot: Dovecot, *more: str) -> list[str]:
    data = person.server.data
    return [
        KERWEN, "mail", "import", "imap", person.name, "--data", str(data), "--dev",
        "--from", f"127.0.0.1:{dovecot.imaps}", "--user", USER,
        "--password-file", str(dovecot.folder / "password"), "--ca", str(dovecot.ca), *more,
    ]  # fmt: skip


def here(person: Writer) -> int:
    """How many messages the database holds, as an onlooker sees it."""
    conn = sqlite3.connect(f"file:{person.server.data / 'kerwen.db'}?mode=ro", uri=True)
    try:
        return int(
            conn.execute("select coalesce(sum(messages), 0) from mail_mailboxes").fetchone()[0]
        )
    finally:
        conn.close()


def everything(person: Writer) -> dict[str, list[tuple[int, str, int]]]:
    """(number, flags, date) of the messages of each mailbox."""
    import imaplib

    mail = person.imap()
    found: dict[str, list[tuple[int, str, int]]] = {}
    for line in mail.list()[1]:
        assert isinstance(line, bytes)
        wire = line.rsplit(b" ", 1)[1]
        name = wire.strip(b'"').decode().replace("&AP0-", "ý")
        if mail.select(wire.decode(), readonly=True)[1][0] == b"0":
            continue
        told = mail.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (X-NUMBER)])")[1]
        rows = []
        for item in told:
            if isinstance(item, tuple):
                number = int(email.message_from_bytes(item[1])["X-Number"])
                flags = sorted(set(re.findall(rb"\\(\w+)", item[0])) - {b"Recent"})
                when = time.mktime(imaplib.Internaldate2tuple(item[0]))  # type: ignore[arg-type]
                rows.append((number, b"".join(f[:1] for f in flags).decode(), int(when)))
        found[name] = rows
    return found


def check(person: Writer) -> None:
    """All are here, once, where they belong, with flags and dates."""
    found = everything(person)
    letters = {"": "", "S": "S", "RS": "AS", "FS": "FS"}
    wanted: dict[str, list[tuple[int, str, int]]] = {}
    names = list(FOLDERS.values())
    for number in range(COUNT):
        row = (number, letters[FLAGS[number % len(FLAGS)]], BASE_S + number)
        wanted.setdefault(names[number % len(names)], []).append(row)
    assert {n: Counter(rows) for n, rows in found.items()} == {
        n: Counter(rows) for n, rows in wanted.items()
    }


def test_killed_twice_it_ends_complete_and_without_doubles(
    fresh_server: FreshServer, dovecot: Dovecot
) -> None:
    server = fresh_server("--ca", str(dovecot.ca))
    person = Writer(server)
    (dovecot.folder / "password").write_text(PASSWORD + "\n")
    for share in (0.1, 0.5):
        run = subprocess.Popen(
            command(person, dovecot), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while here(person) < COUNT * share and run.poll() is None:
            time.sleep(0.001)
        assert run.poll() is None, run.communicate()
        server.kill9()
        out, err = run.communicate(timeout=30)
        assert run.returncode == 1, (out, err)
        assert b"Traceback" not in err
        assert 0 < here(person) < COUNT
        server.start()
    began = time.monotonic()
    done = subprocess.run(command(person, dovecot), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{COUNT} of {COUNT} messages" in done.stdout
    print(f"the rest took {time.monotonic() - began:.1f} s")
    check(person)
    raw = next(r for r in person.mail("Work/2024") if b"X-Number: 10\r\n" in r or COUNT < 11)
    assert raw.replace(b"\r\n", b"\n") == letter(int(re.search(rb"X-Number: (\d+)", raw)[1]))  # type: ignore[index]

    # what comes there later comes here with the next run, and nothing else
    dovecot.put("", f"{BASE_S}.Mlate.there:2,S", letter(COUNT), BASE_S)
    again = subprocess.run(command(person, dovecot), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{COUNT + 1} of {COUNT + 1} messages: 1 taken" in again.stdout
    assert len(everything(person)["INBOX"]) == -(-COUNT // len(FOLDERS)) + 1


def test_by_starttls_without_a_running_server(fresh_server: FreshServer, dovecot: Dovecot) -> None:
    server = fresh_server()
    person = Writer(server)
    (dovecot.folder / "password").write_text("wrong\n")
    server.stop()
    words = command(person, dovecot, "--security", "starttls")
    words[words.index("--from") + 1] = f"127.0.0.1:{dovecot.imap}"
    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "does not let us in" in refused.stderr
    (dovecot.folder / "password").write_text(PASSWORD + "\n")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    server.start()
    check(person)


def test_a_folder_that_cannot_be_read_is_told(fresh_server: FreshServer, dovecot: Dovecot) -> None:
    server = fresh_server("--ca", str(dovecot.ca))
    person = Writer(server)
    (dovecot.folder / "password").write_text(PASSWORD + "\n")
    shut = dovecot.mail / ".Work"
    shut.chmod(0)
    os.chown(shut, 0, 0)
    done = subprocess.run(command(person, dovecot), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "Work: left out" in done.stdout
    assert "1 folders were left out" in done.stderr
    assert here(person) == COUNT - COUNT // len(FOLDERS)


def test_a_certificate_that_is_not_good_is_not_taken(
    fresh_server: FreshServer, dovecot: Dovecot
) -> None:
    server = fresh_server()  # it does not know who signed the other's certificate
    person = Writer(server)
    (dovecot.folder / "password").write_text(PASSWORD + "\n")
    done = subprocess.run(command(person, dovecot), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "certificate" in done.stderr.lower()
    assert here(person) == 0
