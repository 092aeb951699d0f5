"""The mail of an account's archive: each message as it came, read with its owner's open vault."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final, Protocol

import orjson

from kerwen.accounts.actions.vaults import password_slot
from kerwen.base.errors import Reason, Refused
from kerwen.export.archive import header, padding
from kerwen.mail.actions import keywords
from kerwen.mail.actions.mailboxes import Mailboxes
from kerwen.mail.actions.records import Records, parts
from kerwen.mail.actions.unlock import Lease, OpenVaults
from kerwen.mail.actions.views import View, Views
from kerwen.mail.flags import System
from kerwen.mail.store.mailboxes import Mailbox

SECTION: Final = "8-mail/"
KEYWORDS: Final = "KERWEN.keywords"
_LETTERS: Final = (
    (System.ANSWERED, "A"), (System.DRAFT, "D"), (System.FLAGGED, "F"), (System.SEEN, "S"),
    (System.DELETED, "T"),
)  # fmt: skip
_AFTER: Final = re.compile(r"8-mail/(\d{8})/(?:0-about\.json|(\d{10})-[A-Z]*\.eml)")


class KeywordNames(Protocol):
    """Names of an account's keywords by their bits."""

    async def keywords(self, account_no: int) -> list[str]:
        """A name's place is its bit."""


class MailExport:
    """Reads a whole account, a few messages at a time."""

    def __init__(
        self,
        vaults: OpenVaults,
        mailboxes: Mailboxes,
        views: Views,
        records: Records,
        usage: KeywordNames,
    ) -> None:
        self._vaults = vaults
        self._mailboxes = mailboxes
        self._views = views
        self._records = records
        self._usage = usage

    async def open(self, account_no: int, slot: bytes) -> Lease:
        """Opens the owner's vault by its password. `Refused(VAULT_CLOSED)`."""
        return await self._vaults.open(account_no, *password_slot(slot))

    async def members(self, lease: Lease, after: str, now_ms: int) -> AsyncIterator[bytes]:
        """The section's members behind `after`, in the order of their names."""
        account_no = lease.unlocked.account_no
        match = _AFTER.fullmatch(after)
        done_no, done_uid = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
        listed = await self._mailboxes.listing(account_no)
        names = await self._usage.keywords(account_no)
        for mailbox in sorted(listed.mailboxes, key=lambda one: one.mailbox_no):
            if mailbox.mailbox_no < done_no:
                continue
            folder = f"{SECTION}{mailbox.mailbox_no:08d}/"
            if mailbox.mailbox_no > done_no:
                about = _about(mailbox, mailbox.name in listed.subscribed)
                yield header(folder + "0-about.json", len(about), now_ms) + about
                yield padding(len(about))
            first = done_uid if mailbox.mailbox_no == done_no else 0
            async for part in self._messages(lease, mailbox, folder, first, names):
                yield part

    async def _messages(
        self, lease: Lease, mailbox: Mailbox, folder: str, after_uid: int, names: list[str]
    ) -> AsyncIterator[bytes]:
        try:
            view = await self._views.current(mailbox.account_no, mailbox.mailbox_no)
        except Refused:
            return  # removed meanwhile
        places = [place for place, uid in enumerate(view.uids) if uid > after_uid]
        sizes = view.sizes
        for some in parts((place, sizes[place]) for place in places):
            raws = await self._records.messages(lease.unlocked, [view.nos[p] for p in some])
            for place in some:
                raw = raws.get(view.nos[place])
                if isinstance(raw, Refused) and raw.reason is Reason.VAULT_CLOSED:
                    continue  # of a vault that only an older secret opens
                if isinstance(raw, bytes):
                    yield _header(view, place, folder, len(raw), names)
                    yield raw
                    yield padding(len(raw))


def _about(mailbox: Mailbox, subscribed: bool) -> bytes:
    told = {"name": mailbox.name, "special": mailbox.special, "subscribed": subscribed}
    return orjson.dumps({**told, "messages": mailbox.messages}, option=orjson.OPT_INDENT_2)


def _header(view: View, place: int, folder: str, size: int, names: list[str]) -> bytes:
    letters = "".join(letter for flag, letter in _LETTERS if view.flags[place] & flag)
    bits = view.keywords[place] if view.keywords is not None else 0
    named = " ".join(keywords.names(names, bits)) if bits else ""
    name = f"{folder}{view.uids[place]:010d}-{letters}.eml"
    more = {KEYWORDS: named} if named else None
    return header(name, size, max(view.dates[place], 0) * 1000, more)
