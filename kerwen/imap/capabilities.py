"""What we say that we can, before and after log-in."""

# RFC 9051 §7.2.2

from __future__ import annotations

from typing import Final

from kerwen.base import limits
from kerwen.net.sasl import MECHANISMS

_ALWAYS: Final = ("IMAP4rev1", "IMAP4rev2", "LITERAL+", "ID", "SASL-IR", "ENABLE")
_AUTH: Final = tuple(f"AUTH={name}" for name in MECHANISMS)
_IN: Final = (
    *("IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "CONDSTORE", "QRESYNC", "UNSELECT", "CHILDREN"),
    *("ESEARCH", "SEARCHRES", "ESORT", "SORT", "SORT=DISPLAY", "WITHIN", "PARTIAL"),
    *("THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES"),
    *("LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE", "STATUS=SIZE"),
    *("BINARY", "MULTIAPPEND", f"APPENDLIMIT={limits.MESSAGE_BYTES_MAX}", "REPLACE"),
    *("QUOTA", "QUOTA=RES-STORAGE", "OBJECTID", "PREVIEW", "SAVEDATE", "METADATA", "NOTIFY"),
    *("UTF8=ACCEPT",),
)
ENABLED_BY_NAME: Final = {
    "IMAP4REV2": "IMAP4rev2",
    "CONDSTORE": "CONDSTORE",
    "QRESYNC": "QRESYNC",
    "UTF8=ACCEPT": "UTF8=ACCEPT",
}
"""What ENABLE knows, and how the answer writes it."""


def capabilities(
    *, logged_in: bool, can_tls: bool, can_log_in: bool, compressed: bool
) -> list[str]:
    """The capabilities of a connection."""
    found = list(_ALWAYS)
    if logged_in:
        found += _IN
        if not compressed:
            found.append("COMPRESS=DEFLATE")
        return found
    if can_tls:
        found.append("STARTTLS")
    found += _AUTH if can_log_in else ["LOGINDISABLED"]
    return found
