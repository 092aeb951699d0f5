"""A mail house on either engine, with accounts whose vaults open, and messages to send."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

from kerwen.base import limits
from kerwen.base.config import Config
from kerwen.mail.actions import sealing
from kerwen.mail.actions.deliver import Delivered, Recipient, Target
from kerwen.mail.actions.unlock import Lease
from kerwen.mail.actions.views import View
from kerwen.mailhouse import MailHouse, build_mail
from kerwen.storage.blobs_files import FileBlobs
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.vault.store import Vaults

SLOT = b"s" * 32


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: int = 1_700_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class House:
    """What the tests use."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        folder: Path,
        quota: int = limits.MAIL_QUOTA,
        **settings: Any,
    ) -> None:
        self.db = db
        self.feed = feed
        self.folder = folder
        self.clock = Clock()
        self.blobs = FileBlobs(folder / "blobs", ready=False)
        self.vaults = Vaults(secrets.token_bytes, self.clock)
        config = Config(dev=True, data=str(folder), domain="kerwen.test", **settings)
        self.mail: MailHouse = build_mail(
            config, db, feed, self.blobs, self.vaults, self.clock, quota
        )

    async def account(self, account_no: int) -> int:
        """An account with a vault and the mailboxes of the start."""
        async with self.db.write() as tx:
            await self.vaults.create(tx, account_no, [("password", "", SLOT)])
            await self.mail.mailboxes.registered(tx, account_no, f"@u{account_no}:kerwen.test")
        return account_no

    async def open(self, account_no: int) -> Lease:
        """The account's vault, open."""
        return await self.mail.vaults.open(account_no, "password", "", SLOT)

    async def deliver(
        self, raw: bytes, *accounts: int, mailbox: str = "INBOX", flags: int = 0
    ) -> list[Delivered]:
        """Delivers to accounts."""
        to = [Recipient(account, (Target(mailbox, flags),)) for account in accounts]
        return await self.mail.deliver.run(sealing.make(raw), to)

    async def view(self, account_no: int, name: str = "INBOX") -> View:
        """A mailbox as it is now."""
        found = await self.mail.mailboxes.find(account_no, name)
        return await self.mail.views.current(account_no, found.mailbox_no)

    async def read(self, account_no: int, no: int) -> bytes:
        """A message's bytes."""
        with await self.open(account_no) as lease:
            return await self.mail.records.message(lease.unlocked, no)

    async def close(self) -> None:
        for deed in self.mail.at_end:
            await deed()
        await self.blobs.close()


def letter(
    number: int,
    subject: str = "a subject",
    body: str = "some words of a body",
    *,
    sender: str = "Aýna <ayna@remote.test>",
    reply_to: int | None = None,
    pad: int = 0,
) -> bytes:
    """A message of its own Message-ID."""
    lines = [
        f"From: {sender}",
        "To: batyr@kerwen.test",
        f"Subject: {subject}",
        "Date: Tue, 14 Nov 2023 23:02:11 +0500",
        f"Message-ID: <m{number}@remote.test>",
    ]
    if reply_to is not None:
        lines.append(f"In-Reply-To: <m{reply_to}@remote.test>")
    lines += ["MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "", body]
    text = "\r\n".join(lines) + "\r\n"
    if pad > len(text):
        line = "kerwen " * 10 + "\r\n"
        text += (line * (pad // len(line) + 1))[: pad - len(text.encode())]
    return text.encode()


def run(work: object) -> None:
    """For scripts."""
    asyncio.run(work)  # type: ignore[arg-type]
