"""What has changed in an account, in the words of JMAP's push: a state string for each type. No
vault is needed for it.
"""

# RFC 8620 §7.1

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from kerwen.mail.actions.mailboxes import INBOX
from kerwen.mail.store import mailboxes as boxes
from kerwen.mail.store import objects, scripts, submissions
from kerwen.storage.database import Database

TYPES: Final = ("Email", "Mailbox", "Thread", "EmailDelivery", "Identity", "EmailSubmission",
                "VacationResponse", "SieveScript")  # fmt: skip
_KEPT: Final = 10_000

States = dict[str, str]


class PushStates:
    """Reads states; one reading serves all who ask about the same moment."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._kept: OrderedDict[int, tuple[int, States]] = OrderedDict()

    async def of(self, account_no: int, known: int = 0) -> tuple[int, States]:
        """The account's MODSEQ and the states. `known`: somebody heard of this MODSEQ, so what was
        read before it is too old."""
        kept = self._kept.get(account_no)
        if kept is not None and known and kept[0] >= known:
            return kept
        async with self._db.read() as snap:
            account = await boxes.account(snap, account_no)
            inbox = await boxes.named(snap, account_no, INBOX)
            identity = await objects.head(snap, account_no, "identity")
            sent = await submissions.head(snap, account_no)
            filters = await scripts.filters(snap, account_no)
        head = account.modseq if account is not None else 0
        states: States = dict.fromkeys(("Email", "Mailbox", "Thread"), str(head))
        states["EmailDelivery"] = str(inbox.uidnext if inbox is not None else 0)
        states["Identity"] = str(identity)
        states["EmailSubmission"] = str(sent)
        changes = str(filters.changes if filters is not None else 0)
        states["VacationResponse"] = states["SieveScript"] = changes
        found = self._kept[account_no] = (head, states)
        self._kept.move_to_end(account_no)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found


def changed(before: States, now: States, types: frozenset[str] | None) -> States:
    """The states that are others than before, of the types that somebody wants (None: all)."""
    return {
        name: state
        for name, state in now.items()
        if before.get(name) != state and (types is None or name in types)
    }
