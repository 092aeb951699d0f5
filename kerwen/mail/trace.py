"""Trace fields: Received, Return-Path, Delivered-To; and how a loop is seen by them."""

# RFC 5321 §4.4, §6.3; RFC 9228 (Delivered-To); RFC 3848 and RFC 8314 §7.4 (protocol words)

from __future__ import annotations

import re
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import dates
from kerwen.mail.fields import Fields

_UNFIT: Final = re.compile(r"[^!-'*-\[\]-~\x80-\U0010ffff]")
_LINE: Final = 76


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """How a message came to us."""

    helo: str
    address: str  # of the peer, as text; empty: nobody is to know
    name: str | None  # what its address resolves to and back (iprev); None if it does not
    by: str  # our host's name
    id: str  # ours for this message
    at_ms: int
    extended: bool = True  # EHLO
    tls: str | None = None  # version and cipher
    logged_in: bool = False
    utf8: bool = False  # SMTPUTF8
    recipient: str | None = None  # only where there is one: others stay private


def received(arrival: Arrival) -> bytes:
    """The Received field that we add on top, folded, with its line end."""
    pieces = [f"Received: by {arrival.by}"]
    if arrival.address:
        address = f"[IPv6:{arrival.address}]" if ":" in arrival.address else f"[{arrival.address}]"
        told = f"{arrival.name} {address}" if arrival.name else address
        pieces = [f"Received: from {_fit(arrival.helo)} ({told})", f"by {arrival.by}"]
    pieces.append(f"with {protocol(arrival)}")
    if arrival.tls:
        pieces.append(f"({arrival.tls})")
    pieces.append(f"id {arrival.id}")
    if arrival.recipient:
        pieces.append(f"for <{_UNFIT.sub('?', arrival.recipient)}>")
    pieces[-1] += ";"
    pieces.append(dates.write(arrival.at_ms))
    return fold(pieces).encode()


def protocol(arrival: Arrival) -> str:
    """The word after `with` (RFC 3848, RFC 6531 §4.3)."""
    if not arrival.extended:
        return "SMTP"
    ending = ("S" if arrival.tls else "") + ("A" if arrival.logged_in else "")
    return ("UTF8SMTP" if arrival.utf8 else "ESMTP") + ending


def _fit(helo: str) -> str:
    return _UNFIT.sub("?", helo)[:255] or "unknown"


def fold(pieces: list[str]) -> str:
    """Pieces of a field joined by spaces, with line breaks where a line gets long."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + 1 + len(piece) <= _LINE:
            lines[-1] += " " + piece
        else:
            lines.append("\t" + piece)
    return "\r\n".join(lines) + "\r\n"


def return_path(sender: str) -> bytes:
    """The Return-Path field of final delivery; `sender` is empty for reports."""
    return b"Return-Path: <%b>\r\n" % sender.encode()


def delivered_to(address: str) -> bytes:
    """The field by which a message that comes back is known."""
    return b"Delivered-To: %b\r\n" % address.encode()


def is_looping(header: Fields, address: str | None = None) -> bool:
    """Whether a message has been passed on without end, or was delivered to `address` before."""
    if len(header.get(b"received", ())) > limits.RECEIVED_MAX:
        return True
    if address is None:
        return False
    told = address.lower().encode()
    return any(value.lower().strip(b"<> ") == told for value in header.get(b"delivered-to", ()))
