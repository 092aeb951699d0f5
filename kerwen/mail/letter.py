"""A message on its way in, as the doors hand it over: by whom, for whom, and what was promised."""

# RFC 5321 §2.3.1; RFC 3461 (what a sender wants to be told)

from __future__ import annotations

from typing import Final

import msgspec


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Who brought it."""

    address: str  # network address, as text
    helo: str
    extended: bool = True  # EHLO
    tls: str | None = None  # version and cipher


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a recipient's RCPT asked for. `notify` None: nothing was said."""

    notify: frozenset[str] | None = None
    original: str | None = None  # ORCPT


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope without its recipients. An empty sender is never told anything."""

    sender: str
    envelope_id: str | None = None  # ENVID
    return_full: bool = False  # RET=FULL
    utf8: bool = False  # SMTPUTF8


NO_WISHES: Final = Wishes()
