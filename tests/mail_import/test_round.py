"""All mail of an account out as its archive, and in again at another: the same."""

from __future__ import annotations

import imaplib
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from kerwen.export.archive import last_whole
from tests.conftest import KERWEN, Server
from tests.programs.test_smtp_programs import Writer


def run(server: Server, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KERWEN, *words, "--data", str(server.data), "--dev"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


def all_of(person: Writer) -> Any:
    mail = person.imap()
    found: dict[bytes, list[Any]] = {}
    for line in mail.list()[1]:
        assert isinstance(line, bytes)
        name = line.rsplit(b" ", 1)[1]
        if mail.select(name.decode(), readonly=True)[1][0] != b"0":
            told = mail.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]
            rows = [(i[0].split(b" ", 1)[1].replace(b" \\Recent", b""), i[1]) for i in told
                    if isinstance(i, tuple)]  # fmt: skip
            found[name] = sorted(rows)
    return found


def names_in(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_out_and_in_again(server: Server, tmp_path: Path) -> None:
    person, other = Writer(server), Writer(server, "one-password-2")
    mail = person.imap()
    mail.create('"Trips/2024"')
    for number in range(40):
        raw = f"From: a@b.test\r\nSubject: {number}\r\n\r\nbody ä {number}\r\n".encode()
        box = ("INBOX", "Sent", '"Trips/2024"')[number % 3]
        flags = ("", "(\\Seen)", "(\\Answered \\Flagged $Forwarded)")[number % 3]
        when = imaplib.Time2Internaldate(1_500_000_000 + number)
        assert mail.append(box, flags, when, raw)[0] == "OK"
    file = tmp_path / "ayna.tar"
    words = ("account", "export", person.name, str(file), "--password-file", "-")
    done = run(server, *words, text=person.password + "\n")
    assert done.returncode == 0, done.stderr
    whole = file.read_bytes()
    names = names_in(whole)
    assert names == sorted(names)
    assert sum(name.endswith(".eml") for name in names) == 40

    # broken off in the middle of the mail, it goes on
    part = whole[: len(whole) - 40_000]
    file.write_bytes(part)
    assert last_whole(io.BytesIO(part))[0].startswith("8-mail/")
    done = run(server, *words, text=person.password + "\n")
    assert done.returncode == 0, done.stderr
    assert names_in(file.read_bytes()) == names

    for taken in (40, 0):
        done = run(server, "mail", "import", "archive", other.name, str(file))
        assert done.returncode == 0, done.stderr
        assert f"40 messages: {taken} taken" in done.stdout
    assert all_of(other) == all_of(person)

    wrong = run(server, *words, text="a wrong password\n")
    assert wrong.returncode == 1
