"""Everything that the door may call: built in `mailhouse.py`, handed to every session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from kerwen.mail.actions.append import Append
from kerwen.mail.actions.changes import Changes
from kerwen.mail.actions.copy import Copy
from kerwen.mail.actions.expunge import Expunge
from kerwen.mail.actions.fetch import Fetch
from kerwen.mail.actions.mailboxes import Mailboxes
from kerwen.mail.actions.order import Order
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.sign_in import SignIn
from kerwen.mail.actions.store_flags import StoreFlags
from kerwen.mail.actions.tastes import Tastes
from kerwen.mail.actions.unlock import Unlocked
from kerwen.mail.actions.views import View, Views
from kerwen.mail.actions.watch import MailWatches
from kerwen.mail.match import Key


class Search(Protocol):
    """The search of a mailbox."""

    async def run(self, unlocked: Unlocked, view: View, key: Key) -> list[int]:
        """The places of the messages that a key finds, in rising order."""


class Metadata(Protocol):
    """The annotations of an account's mailboxes (RFC 5464)."""

    async def read(self, unlocked: Unlocked, mailbox: str) -> dict[str, bytes]:
        """Those of a mailbox; '' means the account."""

    async def write(self, account_no: int, mailbox: str, values: dict[str, bytes | None]) -> None:
        """Sets or removes (None) some."""


@dataclass(frozen=True, slots=True)
class Deeds:
    """The actions of mail, and what the house says of itself."""

    sign_in: SignIn
    mailboxes: Mailboxes
    views: Views
    records: Records
    fetch: Fetch
    store_flags: StoreFlags
    copy: Copy
    expunge: Expunge
    append: Append
    search: Search
    order: Order
    changes: Changes
    watches: MailWatches
    metadata: Metadata
    tastes: Tastes
    email_ids: Callable[[int, list[int]], list[str]]
    """The EMAILIDs of an account's messages, by their numbers."""
    keywords: Callable[[int], Awaitable[list[str]]]
    """The names of an account's keywords; a name's place is its bit."""
    quota: Callable[[int], Awaitable[tuple[int, int]]]
    """Bytes used and allowed."""
    server_metadata: Callable[[], dict[str, bytes]]
    """What the server says of itself (RFC 5464 §6.2.1)."""
    spend: Callable[[str], None]
    """Counts a log-in from a network address; `Refused(LIMIT_EXCEEDED)`."""
