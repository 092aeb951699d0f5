"""Which thread a message belongs to, found by keyed tags of the message ids it names; and which
deliveries were made already.
"""

from __future__ import annotations

from collections.abc import Sequence

from kerwen.mail.render import Threading
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_FIND = sql(
    "select tag, thread from mail_tags where account_no = :account_no and tag {in_ints:tags}"
)
_OWN = sql("select thread from mail_tags where account_no = :account_no and tag = :tag")
_ADD = sql(
    "insert into mail_tags (account_no, tag, thread) values (:account_no, :tag, :thread)"
    " on conflict do nothing"
)
_DELIVERED = sql(
    "insert into mail_delivered (account_no, tag, at_ms) values (:account_no, :tag, :at_ms)"
    " on conflict do nothing"
)
_FORGET = sql("delete from mail_delivered where account_no = :account_no and tag = :tag")
_SWEEP = sql(
    "delete from mail_delivered where (account_no, tag) in (select account_no, tag"
    " from mail_delivered where at_ms < :before order by at_ms limit :most)"
)

NAMED_MAX = 8
"""How many of the messages that a message names are looked for: the newest, and the first."""


class Tagged:
    """A message's own tag and those of the messages it names, for one account."""

    __slots__ = ("named", "own")

    def __init__(self, tags: Tags, account_no: int, threading: Threading, no: int) -> None:
        own = threading.id or b"\0%d" % no  # without an id nobody can reply to it
        self.own = tags.tag(account_no, b"thread", own)
        names = list(threading.references)
        if len(names) > NAMED_MAX:
            names = [names[0], *names[1 - NAMED_MAX :]]
        self.named = [tags.tag(account_no, b"thread", name) for name in names if name != own]


async def thread_of(snap: Snap, account_no: int, tagged: Tagged) -> int:
    """The thread of a message: that of the newest message it names, or its own."""
    if not tagged.named:
        row = await snap.one(_OWN, account_no=account_no, tag=tagged.own)
        return int(row[0]) if row else tagged.own
    known = {}
    # own too: a reply that came first has given the thread its name
    wanted = [*tagged.named, tagged.own]
    for tag, thread in await snap.all(_FIND, account_no=account_no, tags=wanted):
        known[tag] = thread
    for tag in (tagged.own, *reversed(tagged.named)):
        if tag in known:
            return int(known[tag])
    return tagged.named[0]


async def remember(tx: Tx, rows: Sequence[tuple[int, Tagged, int]]) -> None:
    """Remembers (account, message, thread): the message's own tag, and the first and last that it
    names, so that brothers meet though their father never came.
    """
    found = [
        {"account_no": account_no, "tag": tag, "thread": thread}
        for account_no, tagged, thread in rows
        for tag in {tagged.own, *tagged.named[:1], *tagged.named[-1:]}
    ]
    if len(found) == 1:
        await tx.run(_ADD, **found[0])
    else:
        await tx.many(_ADD, found)


async def first_delivery(tx: Tx, account_no: int, tag: int, now_ms: int) -> bool:
    """False if this delivery was made before."""
    return await tx.run(_DELIVERED, account_no=account_no, tag=tag, at_ms=now_ms) == 1


async def forget_delivery(tx: Tx, account_no: int, tag: int) -> None:
    """A delivery was not made after all."""
    await tx.run(_FORGET, account_no=account_no, tag=tag)


async def sweep(tx: Tx, before_ms: int, most: int) -> int:
    """Forgets old deliveries."""
    return await tx.run(_SWEEP, before=before_ms, most=most)
