"""What the table of commands says of each: who does it, and what may be told before it ends."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kerwen.imap.protocol.commands import Command
from kerwen.imap.replies import Ending

if TYPE_CHECKING:
    from kerwen.imap.session import Session

# each handler takes its own kind of command; the table pairs them
Handler = Callable[["Session", Any], Awaitable[Ending | None]]


class Sync(enum.Enum):
    """What may be told of the mailbox before a command ends (RFC 9051 §7.5.1)."""

    NONE = 0
    SAFE = 1  # nothing that would change sequence numbers
    FULL = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table."""

    handler: Handler
    sync: Sync = Sync.FULL

    def sync_of(self, command: Command) -> Sync:
        """With UIDs, sequence numbers may change."""
        if self.sync is Sync.SAFE and getattr(command, "uid", False):
            return Sync.FULL
        return self.sync
