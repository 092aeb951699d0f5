"""Somebody takes the whole data folder: no word of mail is in it, and its owner reads all.

Over the wire: mail that came, that was sent to people here and elsewhere, drafts, attachments,
searches, annotations, and what was learned of junk. The store's own proof, with the recovery key
too, is `tests/mail_store/test_seizure.py`.
"""

from __future__ import annotations

import imaplib
import secrets
import smtplib
from email.message import EmailMessage

import pytest

from tests.conftest import FreshServer
from tests.programs.test_smtp_programs import Writer, app_password
from tests.proofs.seizure import search


class Marks(dict[str, bytes]):
    """Words that no other bytes hold by chance, by name."""

    def new(self, name: str) -> str:
        word = "sir" + secrets.token_hex(12)
        self[name] = word.encode()
        return word


def message(marks: Marks, kind: str, to: str, *, size: int = 0) -> EmailMessage:
    """Marked in its subject, its names and addresses, its text and its attachment."""
    made = EmailMessage()
    made["From"] = f"{marks.new(kind + ': name')} <{marks.new(kind + ': from')}@remote.test>"
    made["To"] = to
    made["Cc"] = f"{marks.new(kind + ': cc')}@elsewhere.test"
    made["Subject"] = f"Re: {marks.new(kind + ': subject')}"
    made["Message-ID"] = f"<{marks.new(kind + ': id')}@remote.test>"
    made["X-Note"] = marks.new(kind + ": header field")
    made.set_content(f"Salam {marks.new(kind + ': body')}\n" + "x" * 60 * (size // 60))
    attached = marks.new(kind + ": attachment").encode() + secrets.token_bytes(200)
    made.add_attachment(attached, maintype="application", subtype="pdf",
                        filename=f"{marks.new(kind + ': file name')}.pdf")  # fmt: skip
    return made


def come(to: Writer, marks: Marks, kind: str, *, size: int = 0) -> None:
    """Another server brings a message."""
    with smtplib.SMTP("127.0.0.1", to.ports["smtp"]) as mail:
        sender = f"{marks.new(kind + ': sender')}@remote.test"
        made = message(marks, kind, to.address, size=size)
        assert mail.send_message(made, sender, [to.address]) == {}


def send(of: Writer, marks: Marks, kind: str, *to: str) -> None:
    """Somebody here sends one."""
    made = message(marks, kind, ", ".join(to))
    del made["From"]
    made["From"] = of.address
    del marks[kind + ": name"], marks[kind + ": from"], marks[kind + ": cc"]
    del made["Cc"]
    with smtplib.SMTP_SSL("127.0.0.1", of.ports["submissions"], context=of.context()) as mail:
        mail.login(of.name, of.password)
        assert mail.send_message(made, of.address, list(to)) == {}


def live(ayna: Writer, batyr: Writer, marks: Marks) -> None:
    """A day of two people's mail."""
    come(ayna, marks, "came")
    come(ayna, marks, "came, long", size=300_000)
    send(ayna, marks, "sent here", batyr.address)
    far = f"{marks.new('far address')}@far.test"
    send(ayna, marks, "sent elsewhere", far, batyr.address)
    mail = ayna.imap()
    draft = message(marks, "draft", "friend@far.test")
    assert mail.append("Drafts", "\\Draft", "", bytes(draft))[0] == "OK"
    many = [bytes(message(marks, f"paged {n}", "a@b.test")) for n in range(3)]
    for n in range(80):
        assert mail.append("Archive", "", "", many[n % 3])[0] == "OK"
    mail.select("Archive")
    mail.fetch("1:*", "(ENVELOPE)")  # so many loose ones become a page
    note = f'(/private/comment "{marks.new("annotation")}")'
    assert mail.xatom("SETMETADATA", "Drafts", note)[0] == "OK"
    asked = marks.new("searched").replace("sir", "srch", 1)
    marks["searched"] = asked.encode()
    mail.select("INBOX")
    assert mail.search(None, "BODY", asked)[0] == "OK"
    assert mail.search(None, "TEXT", marks["came: body"].decode()) == ("OK", [b"1"])
    assert mail.copy("1", "Junk")[0] == "OK"
    mail.logout()


def read(mail: imaplib.IMAP4, marks: Marks) -> None:
    """All that ayna has is there again."""
    whole = b""
    for name in ("INBOX", "Drafts", "Archive", "Junk"):
        mail.select(name, readonly=True)
        answer = mail.fetch("1:*", "(BODY.PEEK[])")[1]
        whole += b"".join(item[1] for item in answer if isinstance(item, tuple))
    for name, mark in marks.items():
        if name.endswith((": subject", ": body", ": id", ": header field")) and (
            not name.startswith("sent ")
        ):
            assert mark in whole, name
    mail.select("Drafts", readonly=True)
    assert mail.search(None, "BODY", marks["draft: body"].decode()) == ("OK", [b"1"])


@pytest.mark.timeout(120)
def test_no_word_of_mail_is_in_the_folder(fresh_server: FreshServer) -> None:
    server = fresh_server("--mail", "on", "--cheap-passwords")
    ayna, batyr = Writer(server, "one-password-1"), Writer(server, "one-password-2")
    marks = Marks()
    app = app_password(ayna)
    live(ayna, batyr, marks)
    assert server.stop() == 0
    assert not (found := search(server.data, dict(marks))), found
    assert search(server.data, {"localpart": ayna.name.encode()}), "what is looked at is the data"

    server.start()
    for secret in (ayna.password, app):
        mail = imaplib.IMAP4("127.0.0.1", ayna.ports["imap"])
        mail.login(ayna.name, secret)
        read(mail, marks)
        mail.logout()
    assert len(batyr.mail()) == 2
