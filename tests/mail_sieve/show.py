"""Runs a script on a message and shows what it wants as one short line."""

from __future__ import annotations

from kerwen.mail.sieve.checker import check
from kerwen.mail.sieve.mail import Mail
from kerwen.mail.sieve.outcome import Facts, Outcome
from kerwen.mail.sieve.run import run
from kerwen.mail.sieve.script import Script

NOW_MS = 1_795_000_000_000  # Wed, 18 Nov 2026 11:06:40 +0000
MAILBOXES = {
    "INBOX": "inbox", "Junk": "junk", "Trash": "trash", "Archive": "archive", "Sent": "sent",
    "Work": "", "Work/Reports": "", "Lists": "",
}  # fmt: skip
MAIL = """\
From: Batyr Atayev <batyr@shop.example>
To: Ayna <ayna@kerwen.test>, merdan@other.example
Cc: office@kerwen.test
Subject: Order 4711 is on its way
Date: Tue, 17 Nov 2026 09:30:00 +0500
Message-ID: <a1@shop.example>

Hello Ayna,
your parcel left today.
"""


def raw(text: str) -> bytes:
    """A message with the line ends of the wire."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def outcome(
    script: str | Script,
    mail: str = MAIL,
    *,
    sender: str = "batyr@shop.example",
    recipient: str = "ayna@kerwen.test",
    seen: frozenset[bytes] = frozenset(),
    scripts: dict[str, str] | None = None,
) -> Outcome:
    """What a script wants; questions of `duplicate` are answered by `seen`."""
    checked = check(script) if isinstance(script, str) else script
    others = {name: check(one) for name, one in (scripts or {}).items()}
    known: dict[bytes, bool] = {}
    while True:
        found = run(
            checked,
            Mail(raw(mail), sender, recipient),
            Facts(NOW_MS, MAILBOXES, dict(known)),
            others,
        )
        if found.ask is None:
            return found
        assert found.ask not in known, "asked twice"
        known[found.ask] = found.ask in seen


def shown(found: Outcome) -> str:
    """An outcome on one line."""
    said = []
    for one in found.filed:
        word = f"into {one.mailbox}" if one.mailbox else "keep"
        word += "".join(f" {flag}" for flag in one.flags)
        word += " create" if one.create else ""
        word += f" use={one.special}" if one.special else ""
        said.append(word)
    said += [f"redirect {one.address}" for one in found.redirects]
    if found.reject is not None:
        said.append(f"{'ereject' if found.reject.extended else 'reject'} {found.reject.reason}")
    if found.reply is not None:
        said.append(f"reply {found.reply.seconds} {found.reply.reason}".rstrip())
    if found.fault is not None:
        said.append(f"fault {found.fault.text}")
    return "; ".join(said) or "discard"


def does(script: str, mail: str = MAIL, **more: object) -> str:
    """`shown` of `outcome`."""
    return shown(outcome(script, mail, **more))  # type: ignore[arg-type]
