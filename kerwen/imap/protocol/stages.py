"""Which command is allowed when, and what stage it leads to: one table."""

# RFC 9051 §3

from __future__ import annotations

import enum
from typing import Final

from kerwen.imap.protocol import commands as c


class Stage(enum.Enum):
    """How far a connection has come."""

    GREETED = "not authenticated"
    LOGGED_IN = "authenticated"
    SELECTED = "selected"
    ENDED = "logout"


_ANY: Final = (Stage.GREETED, Stage.LOGGED_IN, Stage.SELECTED)
_EARLY: Final = (Stage.GREETED,)
_IN: Final = (Stage.LOGGED_IN, Stage.SELECTED)
_MAILBOX: Final = (Stage.SELECTED,)

TABLE: Final[dict[type[c.Command], tuple[tuple[Stage, ...], Stage | None]]] = {
    # command: the stages in which it is allowed, the stage it leads to (None: the same)
    c.Capability: (_ANY, None),
    c.Noop: (_ANY, None),
    c.Id: (_ANY, None),
    c.Logout: (_ANY, Stage.ENDED),
    c.StartTls: (_EARLY, None),
    c.Login: (_EARLY, Stage.LOGGED_IN),
    c.Authenticate: (_EARLY, Stage.LOGGED_IN),
    c.Enable: (_IN, None),
    c.Select: (_IN, Stage.SELECTED),
    c.Create: (_IN, None),
    c.Delete: (_IN, None),
    c.Rename: (_IN, None),
    c.Subscribe: (_IN, None),
    c.Unsubscribe: (_IN, None),
    c.List: (_IN, None),
    c.Lsub: (_IN, None),
    c.Namespace: (_IN, None),
    c.Status: (_IN, None),
    c.Append: (_IN, None),
    c.Idle: (_IN, None),
    c.GetQuota: (_IN, None),
    c.GetQuotaRoot: (_IN, None),
    c.SetQuota: (_IN, None),
    c.GetMetadata: (_IN, None),
    c.SetMetadata: (_IN, None),
    c.Compress: (_IN, None),
    c.Notify: (_IN, None),
    c.Close: (_MAILBOX, Stage.LOGGED_IN),
    c.Unselect: (_MAILBOX, Stage.LOGGED_IN),
    c.Check: (_MAILBOX, None),
    c.Expunge: (_MAILBOX, None),
    c.Fetch: (_MAILBOX, None),
    c.Store: (_MAILBOX, None),
    c.Copy: (_MAILBOX, None),
    c.Move: (_MAILBOX, None),
    c.Replace: (_MAILBOX, None),
    c.Search: (_MAILBOX, None),
    c.Sort: (_MAILBOX, None),
    c.Thread: (_MAILBOX, None),
}
HOLDING: Final = frozenset(
    {c.StartTls, c.Login, c.Authenticate, c.Enable, c.Select, c.Close, c.Unselect}
    | {c.Idle, c.Compress, c.Logout}
)
"""What comes after these cannot be read before it is known how they ended."""


def allowed(kind: type[c.Command], stage: Stage) -> bool:
    """Whether a command may come now."""
    return stage in TABLE[kind][0]


def after(kind: type[c.Command], stage: Stage) -> Stage:
    """The stage once a command has succeeded."""
    return TABLE[kind][1] or stage
