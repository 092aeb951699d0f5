"""A full disk: mail is refused clearly (452, NO), what was acknowledged stays, and it goes on."""

from __future__ import annotations

import imaplib
import smtplib
from pathlib import Path

import pytest

from tests.conftest import FreshServer
from tests.programs.test_imap_programs import letter
from tests.programs.test_smtp_programs import Writer
from tests.proofs.test_disk_full import FILLER, fill, free, small_disk

__all__ = ["small_disk"]
SIZES = (500, 30_000, 400_000)


class Mail:
    """Somebody's two ways to bring a message, and what was taken."""

    def __init__(self, person: Writer) -> None:
        self.person = person
        self.taken: set[int] = set()
        self.imap = person.imap()
        self.smtp = smtplib.SMTP("127.0.0.1", person.ports["smtp"])
        self.count = 0

    def _letter(self, size: int) -> bytes:
        self.count += 1
        return letter(self.count, "\r\n".join(["x" * 60] * (size // 60)))

    def append(self, size: int) -> bool:
        """By IMAP; whether it was taken."""
        raw = self._letter(size)
        status, said = self.imap.append("INBOX", "", "", raw)
        if status == "OK":
            self.taken.add(self.count)
            return True
        assert status == "NO"
        assert b"[UNAVAILABLE]" in said[0], said
        return False

    def send(self, size: int) -> bool:
        """By SMTP; whether it was taken."""
        raw = self._letter(size)
        told: tuple[int, bytes] | None = None
        try:
            self.smtp.sendmail("who@remote.test", [self.person.address], raw)
        except smtplib.SMTPDataError as error:
            told = error.smtp_code, error.smtp_error
        except smtplib.SMTPRecipientsRefused as error:
            [told] = error.recipients.values()
            self.smtp.rset()
        if told is not None:
            assert told[0] == 452, told
            assert told[1].startswith(b"4.3.1"), told
            return False
        self.taken.add(self.count)
        return True

    def check(self) -> None:
        """All that was taken is there, once."""
        mail = self.person.imap()
        mail.select("INBOX", readonly=True)
        answer = mail.fetch("1:*", "(BODY.PEEK[])")[1]
        subjects = [item[1].split(b"Subject: letter ")[1].split(b"\r\n")[0]
                    for item in answer if isinstance(item, tuple)]  # fmt: skip
        assert sorted(map(int, subjects)) == sorted(self.taken)
        mail.logout()


@pytest.mark.timeout(120)
def test_no_room_for_mail(small_disk: Path, fresh_server: FreshServer) -> None:
    server = fresh_server("--mail", "on", "--cheap-passwords", data=small_disk)
    mail = Mail(Writer(server, "one-password-1"))
    for size in SIZES:
        assert mail.append(size)
        assert mail.send(size)
    mail.check()
    fill(small_disk, 300_000)
    for deed in (mail.append, mail.send):
        assert not deed(SIZES[2]), "a long one needs a blob"
    for _ in range(60):  # short ones go on until the database has no room either
        if not (mail.append(SIZES[1]) and mail.send(SIZES[1])):
            break
    fill(small_disk, 0)
    assert free(small_disk) < 2**16
    for deed in (mail.append, mail.send):
        assert not deed(SIZES[1])
    mail.check()
    (small_disk / FILLER).unlink()
    for size in SIZES:
        assert mail.append(size)
        assert mail.send(size)
    mail.check()
    assert server.stop() == 0
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        mail.imap.noop()
    server.start()
    mail.check()
    assert "Traceback" not in server.log.read_text()
