"""Mail from files: mbox, Maildir, archives; by the command and by a signed-in account."""

from __future__ import annotations

import io
import json
import mailbox
import os
import random
import subprocess
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.mail import mbox
from kerwen.mail.actions.import_mail import ImportMail, Taken
from kerwen.mail.client import files_source
from kerwen.mail.flags import System
from kerwen.mail.mbox import Found, MboxSplitter, NotMbox
from tests.conftest import KERWEN, Server
from tests.mail_store.house import House
from tests.programs.test_smtp_programs import Writer

SEEN = int(System.SEEN)


def letter(number: int, *fields: str, text: str = "text") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["Subject"] = f"a{number}@there.test", f"Number {number}"
    for field in fields:
        name, _, value = field.partition(": ")
        made[name] = value
    made.set_content(text)
    return made


def box_of(path: Path, letters: list[EmailMessage]) -> bytes:
    """An mbox as Python's own module writes it."""
    made = mailbox.mbox(path)
    for one in letters:
        made.add(one)
    made.close()
    return path.read_bytes()


def split(data: bytes, sizes: list[int] | None = None) -> list[Found]:
    splitter = MboxSplitter()
    found: list[Found] = []
    at = 0
    for size in [*(sizes or []), len(data)]:
        found += splitter.feed(data[at : at + size])
        at += size
    return found + splitter.end()


def test_an_mbox_of_another_program(tmp_path: Path) -> None:
    texts = ["plain", "From here on\n\nFrom there it was far\n", "x\n\n\n"]
    letters = [letter(n, text=text) for n, text in enumerate(texts)]
    found = split(box_of(tmp_path / "box", letters))
    assert len(found) == len(texts)
    for one, text in zip(found, texts, strict=True):
        body = one.raw.partition(b"\r\n\r\n")[2].decode()
        assert body.replace("\r\n", "\n").strip() == text.strip()
        assert b"\n" not in one.raw.replace(b"\r\n", b"")
        assert one.date_s is not None


@given(
    st.lists(st.integers(0, 400), max_size=30),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=60), max_size=5
    ),
)
def test_however_it_is_cut_it_is_the_same(sizes: list[int], texts: list[str]) -> None:
    data = b"".join(
        b"From a@b Thu Jan  1 00:00:00 2015\nSubject: %d\n\n%s\n\n"
        % (n, text.encode().replace(b"\nFrom ", b"\n>From "))
        for n, text in enumerate(texts)
    )
    assert split(data, sizes) == split(data)


@given(st.binary(max_size=2000), st.lists(st.integers(0, 300), max_size=10))
def test_any_bytes(data: bytes, sizes: list[int]) -> None:
    for one in (data, b"From x Thu Jan  1 00:00:00 2015\n" + data):
        try:
            split(one, sizes)
        except NotMbox:
            pass


def test_a_message_that_is_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox.limits, "MESSAGE_BYTES_MAX", 10_000)
    start = b"From a@b Thu Jan  1 00:00:00 2015\n"
    data = start + b"A: 1\n\nx\n\n" + start + b"A: 2\n\n" + b"y\n" * 9000 + b"\n" + start
    data += b"A: 3\n\nz\n\n"
    splitter = MboxSplitter()
    found = []
    for at in range(0, len(data), 777):
        found += splitter.feed(data[at : at + 777])
        assert len(splitter._buffer) < 20_000
    found += splitter.end()
    assert [one.raw[:4] for one in found] == [b"A: 1", b"A: 3"]
    assert splitter.too_long == 1


def test_a_message_of_nothing_but_fields_has_its_flags_too() -> None:
    splitter = MboxSplitter()
    found = splitter.feed(b"From a@b.test Mon Jan  1 10:00:00 2024\nSubject: x\nStatus: RO\n")
    (one,) = [*found, *splitter.end()]
    assert one.flags == SEEN


@pytest.mark.parametrize(
    ("fields", "folder", "flags"),
    [
        (["Status: RO"], "", SEEN),
        (["Status: O", "X-Status: AF"], "", int(System.ANSWERED | System.FLAGGED)),
        (["X-Mozilla-Status: 0005"], "", int(System.SEEN | System.FLAGGED)),
        (["X-Gmail-Labels: Inbox,Unread"], "", 0),
        (["X-Gmail-Labels: Inbox,Opened,Starred,Category Updates"], "", SEEN | System.FLAGGED),
        (["X-Gmail-Labels: Sent,Opened"], "\\sent", SEEN),
        (["X-Gmail-Labels: Archived,Opened"], "\\archive", SEEN),
        (["X-Gmail-Labels: Spam,Unread"], "\\junk", 0),
        (["X-Gmail-Labels: Inbox,Trash,Opened"], "\\trash", SEEN),
        (["X-Gmail-Labels: Work/2024,Inbox,Opened"], "Work/2024", SEEN),
        (["X-Gmail-Labels: =?UTF-8?Q?=C3=9Durt?=,Opened"], "Ýurt", SEEN),
    ],
)
def test_what_fields_say_of_a_message(fields: list[str], folder: str, flags: int) -> None:
    raw = b"".join(f"{field}\n".encode() for field in fields) + b"Subject: x\n\nbody\n"
    found = mbox.of_mbox(b"From a@b Thu Jan  1 00:00:00 2015\n", raw, "")
    assert (found.folder, found.flags) == (folder, flags)
    assert found.date_s == 1_420_070_400


@pytest.mark.parametrize(
    ("name", "delimiter", "uses", "target"),
    [
        ("INBOX", "/", (), ""),
        ("inbox", ".", (), ""),
        ("INBOX.Sent", ".", (), "\\sent"),
        ("Gesendet", "/", ("\\Sent",), "\\sent"),
        ("[Gmail]/All Mail", "/", ("\\All",), "\\archive"),
        ("[Gmail]/Sent Mail", "/", (), "\\sent"),
        ("Sent Items", "/", ("\\HasNoChildren",), "\\sent"),
        ("Work.2024", ".", (), "Work/2024"),
        ("a/b", ".", (), "a_b"),
        ("50%*", "/", (), "50__"),
        ("..", ".", (), "_/_/_"),
    ],
)
def test_where_folders_come(name: str, delimiter: str, uses: tuple[str, ...], target: str) -> None:
    assert mbox.folder_of(name, delimiter, uses) == target


def test_a_maildir(tmp_path: Path) -> None:
    made = mailbox.Maildir(tmp_path / "Maildir")
    made.add(mailbox.MaildirMessage(letter(1)))
    seen = mailbox.MaildirMessage(letter(2))
    seen.set_subdir("cur")
    seen.set_flags("RS")
    made.add_folder("Work.2024").add(seen)
    made.add_folder("Sent").add(letter(3))
    counts = files_source.Counts()
    found = list(files_source.messages(tmp_path / "Maildir", "", counts))
    assert {(f.folder, f.flags) for f in found} == {
        ("", 0), ("Work/2024", int(System.SEEN | System.ANSWERED)), ("\\sent", 0),
    }  # fmt: skip
    with pytest.raises(Refused):
        list(files_source.messages(tmp_path, "", counts))


def test_archives(tmp_path: Path) -> None:
    data = box_of(tmp_path / "b", [letter(n, "X-Gmail-Labels: Archived,Opened") for n in range(3)])
    takeout = tmp_path / "takeout.zip"
    with zipfile.ZipFile(takeout, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Takeout/Mail/All mail Including Spam and Trash.mbox", data)
        archive.writestr("Takeout/Mail/Reisen.mbox", box_of(tmp_path / "r", [letter(7)]))
        archive.writestr("Takeout/archive_browser.html", "<html>")
    counts = files_source.Counts()
    found = list(files_source.messages(takeout, "", counts))
    assert Counter(f.folder for f in found) == {"\\archive": 3, "Reisen": 1}
    assert counts.unknown == 1
    packed = tmp_path / "m.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        for name, raw in (("x/letter.eml", b"A: 1\n\n1\n"), ("M/.Sent/cur/1:2,S", b"A: 2\n\n2\n")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(raw), 1_500_000_000
            tar.addfile(info, io.BytesIO(raw))
    found = list(files_source.messages(packed, "Old", counts))
    assert [(f.folder, f.flags, f.date_s) for f in found] == [
        ("Old", 0, 1_500_000_000), ("\\sent", SEEN, 1_500_000_000),
    ]  # fmt: skip


async def test_twice_is_once_and_twins_are_two(house: House) -> None:
    """On both engines: marks and messages stand or fall together."""
    account = 1
    importing = ImportMail(house.db, house.mail.tags, house.mail.append, house.mail.mailboxes)
    twin = Found("Work", b"Subject: twin\r\n\r\nx\r\n", SEEN, ("$Forwarded", "bad flag\x01"), 5)
    some = [Found("", b"Subject: %d\r\n\r\nx\r\n" % n, 0, (), 7) for n in range(40)] + [twin, twin]

    async def come(found: list[Found]) -> Any:
        for at in range(0, len(found), 9):
            yield found[at : at + 9]

    first, second = Taken(), Taken()
    await importing.files(account, come(some[:20]), first)
    await importing.files(account, come(some), second)
    assert (first.taken, first.known) == (20, 0)
    assert (second.taken, second.known) == (22, 20)
    assert len(await house.view(account)) == 40
    work = await house.view(account, "Work")
    assert len(work) == 2
    assert work.flags == bytes([SEEN, SEEN])
    assert list(work.dates) == [5, 5]
    third = Taken()
    await importing.files(account, come(some), third)
    assert (third.taken, third.known) == (0, 42)


async def test_a_full_mailbox_stops_it_and_it_goes_on_later(house: House) -> None:
    account = 1
    importing = ImportMail(house.db, house.mail.tags, house.mail.append, house.mail.mailboxes)
    some = [Found("", b"Subject: %d\r\n\r\n" % n + b"x" * 1000, 0, ()) for n in range(30)]

    async def come() -> Any:
        for one in some:
            yield [one]

    async def quota(size: int | None) -> None:
        from kerwen.mail.store import mailboxes

        async with house.db.write() as tx:
            row = await mailboxes.lock(tx, account)
            assert row is not None
            row.quota = size
            await mailboxes.save(tx, row)
            from kerwen.storage.sql import sql

            await tx.run(
                sql("update mail_accounts set quota = :q where account_no = :n"), q=size, n=account
            )

    await quota(10_000)
    with pytest.raises(Refused) as error:
        await importing.files(account, come(), Taken())
    assert error.value.reason is Reason.OVER_QUOTA
    await quota(None)
    await importing.files(account, come(), Taken())
    assert len(await house.view(account)) == 30


# --- the command, and the route -----------------------------------------------------------------


def test_the_command_takes_an_mbox(server: Server, tmp_path: Path) -> None:
    person = Writer(server)
    box_of(tmp_path / "old.mbox", [letter(n, "Status: RO") for n in range(30)])
    words = [
        KERWEN, "mail", "import", "mbox", person.name, str(tmp_path / "old.mbox"),
        "--into", "Old/Mail", "--data", str(server.data), "--dev",
    ]  # fmt: skip
    for taken in (30, 0):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"30 messages: {taken} taken" in done.stdout
    assert len(person.mail("Old/Mail")) == 30
    words[5] = str(Path(__file__))
    wrong = subprocess.run(words, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "This is no mbox" in wrong.stderr


def upload(server: Server, token: str, data: bytes, query: str = "") -> Any:
    asked = urllib.request.Request(
        f"{server.url}/_kerwen/mail/import{query}", data=data, method="POST",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/mbox"},
    )  # fmt: skip
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


def token_of(person: Writer) -> str:
    body = {
        "type": "m.login.password", "password": person.password,
        "identifier": {"type": "m.id.user", "user": person.name},
    }  # fmt: skip
    asked = urllib.request.Request(
        f"{person.server.url}/_matrix/client/v3/login", data=json.dumps(body).encode()
    )
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["access_token"])


def test_an_account_uploads_an_mbox(server: Server, tmp_path: Path) -> None:
    person = Writer(server)
    token = token_of(person)
    pieces = random.Random(1)
    letters = [letter(n, text="x\n" * pieces.randrange(2000)) for n in range(40)]
    data = box_of(tmp_path / "box", letters)
    told = upload(server, token, data, "?mailbox=Brought")
    assert (told["taken"], told["known"], told["left_out"]) == (40, 0, 0)
    told = upload(server, token, data, "?mailbox=Brought")
    assert (told["taken"], told["known"]) == (0, 40)
    assert len(person.mail("Brought")) == 40
    for bad, code in ((b"no mbox", 400), (os.urandom(20_000), 400)):
        with pytest.raises(urllib.error.HTTPError) as error:
            upload(server, token, bad)
        assert error.value.code == code
    with pytest.raises(urllib.error.HTTPError) as error:
        upload(server, "nobody", data)
    assert error.value.code == 401
