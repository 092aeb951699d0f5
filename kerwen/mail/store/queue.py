"""The queue of outgoing mail in the database: sealed messages, and recipients that wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_MESSAGE = "queue_no, account_no, created_ms, expires_ms, size, left_over, blob, head, body"
_RECIPIENT = "recipient_no, queue_no, destination, due_ms, lease, tries, delayed, address, last_ms"
_ADD = sql(
    f"insert into mail_queue ({_MESSAGE}) values (:queue_no, :account_no, :created_ms,"
    " :expires_ms, :size, :left_over, :blob, :head, :body)"
)
_ADD_RECIPIENT = sql(
    f"insert into mail_queue_recipients ({_RECIPIENT}) values (:recipient_no, :queue_no,"
    " :destination, :due_ms, 0, 0, 0, :address, 0)"
)
_HEAD_ROWS = 64
_HEAD = sql(
    "select queue_no, destination from mail_queue_recipients where due_ms <= :now"
    " and lease < :now order by due_ms limit :most"
)
# goes from destination to destination by the index: a long queue for one costs the others nothing
_DUE = sql(
    "with recursive places(destination) as (select min(destination) from mail_queue_recipients"
    " union all select (select min(r.destination) from mail_queue_recipients r"
    " where r.destination > places.destination) from places where places.destination is not null)"
    " select destination, due_ms from (select p.destination, (select min(r.due_ms) from"
    " mail_queue_recipients r where r.destination = p.destination and r.lease < :now) as due_ms"
    " from places p where p.destination is not null and not (p.destination {in_ints:busy})) heads"
    " where due_ms <= :now order by due_ms, destination limit 1"
)
_FIRST = sql(
    "select queue_no from mail_queue_recipients where destination = :destination and lease < :now"
    " and due_ms <= :now order by due_ms, recipient_no limit 1"
)
_LEASED = sql(
    "select destination, count(distinct queue_no) from mail_queue_recipients"
    " where lease >= :now group by destination order by destination"
)
_TAKE = sql(
    f"select {_RECIPIENT} from mail_queue_recipients where queue_no = :queue_no"
    " and destination = :destination and due_ms <= :now and lease < :now"
    " order by recipient_no limit :most {for_update} {skip_locked}"
)
_LEASE = sql("update mail_queue_recipients set lease = :until where recipient_no {in_ints:nos}")
_UNLEASE = sql("update mail_queue_recipients set lease = 0 where lease > 0")
_GET = sql(f"select {_MESSAGE} from mail_queue where queue_no = :queue_no")
_LOCK = sql(f"select {_MESSAGE} from mail_queue where queue_no = :queue_no {{for_update}}")
_OF = sql(
    f"select {_RECIPIENT} from mail_queue_recipients where queue_no = :queue_no"
    " order by recipient_no"
)
_DEFER = sql(
    "update mail_queue_recipients set due_ms = case when due_ms >= :held then due_ms"
    " else :due_ms end, lease = 0, tries = tries + 1,"
    " delayed = :delayed, address = :address, last_ms = :last_ms"
    " where recipient_no = :recipient_no"
)
_DROP_RECIPIENTS = sql("delete from mail_queue_recipients where recipient_no {in_ints:nos}")
_LEFT = sql("update mail_queue set left_over = :left_over where queue_no = :queue_no")
_DROP = sql("delete from mail_queue where queue_no = :queue_no")
_DROP_ALL = sql("delete from mail_queue_recipients where queue_no = :queue_no")
_LIST = sql(
    f"select {_MESSAGE} from mail_queue where queue_no > :after order by queue_no limit :most"
)
_SOON = sql("update mail_queue_recipients set due_ms = :now where queue_no = :queue_no")
_SOON_ALL = sql(
    "update mail_queue_recipients set due_ms = :now where due_ms < :held"
    " and (tries > 0 or due_ms <= :now)"  # what is scheduled is not hurried
)
_HOLD = sql("update mail_queue_recipients set due_ms = :held where queue_no = :queue_no")
_NEXT = sql("select min(due_ms) from mail_queue_recipients where lease < :now and due_ms < :held")
_COUNT = sql("select count(*), coalesce(sum(size), 0), min(created_ms) from mail_queue")

HELD = 2**62
"""When a message is due that somebody holds back."""


class Queued(msgspec.Struct, gc=False):
    """A message in the queue."""

    queue_no: int
    account_no: int
    created_ms: int
    expires_ms: int
    size: int
    left_over: int
    blob: str | None
    head: bytes
    body: bytes | None


class Waiting(msgspec.Struct, gc=False):
    """A recipient that waits."""

    recipient_no: int
    queue_no: int
    destination: int
    due_ms: int
    lease: int
    tries: int
    delayed: int
    address: bytes
    last_ms: int


async def add(tx: Tx, queued: Queued, recipients: Sequence[Waiting]) -> None:
    """Adds a message with its recipients."""
    await tx.run(_ADD, **msgspec.structs.asdict(queued))
    await tx.many(
        _ADD_RECIPIENT,
        [
            {
                "recipient_no": one.recipient_no,
                "queue_no": one.queue_no,
                "destination": one.destination,
                "due_ms": one.due_ms,
                "address": one.address,
            }
            for one in recipients
        ],
    )


async def due(snap: Snap, now_ms: int, busy: Iterable[int]) -> tuple[int, int] | None:
    """The message and destination that have waited longest, of those that are not busy."""
    taken = set(busy)
    head = await snap.all(_HEAD, now=now_ms, most=_HEAD_ROWS)
    for queue_no, destination in head:
        if destination not in taken:
            return queue_no, destination
    if len(head) < _HEAD_ROWS:
        return None
    row = await snap.one(_DUE, now=now_ms, busy=list(taken))
    first = await snap.one(_FIRST, now=now_ms, destination=row[0]) if row else None
    return (first[0], row[0]) if row and first else None


async def leased(snap: Snap, now_ms: int) -> dict[int, int]:
    """How many messages are on their way to each destination."""
    return {row[0]: row[1] for row in await snap.all(_LEASED, now=now_ms)}


async def take(
    tx: Tx, queue_no: int, destination: int, now_ms: int, until_ms: int, most: int
) -> list[Waiting]:
    """Leases the recipients of a message at a destination; none if somebody was quicker."""
    rows = await tx.all(_TAKE, queue_no=queue_no, destination=destination, now=now_ms, most=most)
    if rows:
        await tx.run(_LEASE, until=until_ms, nos=[row[0] for row in rows])
    return [Waiting(*row) for row in rows]


async def renew(tx: Tx, nos: Iterable[int], until_ms: int) -> None:
    """Keeps a lease."""
    await tx.run(_LEASE, until=until_ms, nos=list(nos))


async def end_leases(tx: Tx) -> int:
    """Ends every lease: nobody sends yet."""
    return await tx.run(_UNLEASE)


async def get(snap: Snap, queue_no: int) -> Queued | None:
    """A message."""
    return _queued(await snap.one(_GET, queue_no=queue_no))


async def lock(tx: Tx, queue_no: int) -> Queued | None:
    """A message, to be changed."""
    return _queued(await tx.one(_LOCK, queue_no=queue_no))


def _queued(row: Row | None) -> Queued | None:
    return Queued(*row) if row else None


async def recipients(snap: Snap, queue_no: int) -> list[Waiting]:
    """All that wait of a message."""
    return [Waiting(*row) for row in await snap.all(_OF, queue_no=queue_no)]


async def defer(tx: Tx, rows: Sequence[Waiting]) -> None:
    """Writes back recipients that must wait on; their leases end, their tries count."""
    await tx.many(
        _DEFER,
        [
            {
                "recipient_no": one.recipient_no,
                "due_ms": one.due_ms,
                "delayed": one.delayed,
                "address": one.address,
                "last_ms": one.last_ms,
                "held": HELD,
            }
            for one in rows
        ],
    )


async def settle(tx: Tx, queued: Queued, done: Sequence[int]) -> bool:
    """Removes recipients; true if none is left, and the message is removed too."""
    await tx.run(_DROP_RECIPIENTS, nos=done)
    queued.left_over -= len(done)
    if queued.left_over > 0:
        await tx.run(_LEFT, queue_no=queued.queue_no, left_over=queued.left_over)
        return False
    await tx.run(_DROP, queue_no=queued.queue_no)
    return True


async def drop(tx: Tx, queue_no: int) -> None:
    """Removes a message and all that wait."""
    await tx.run(_DROP_ALL, queue_no=queue_no)
    await tx.run(_DROP, queue_no=queue_no)


async def page(snap: Snap, after: int, most: int) -> list[Queued]:
    """Messages by their numbers."""
    return [Queued(*row) for row in await snap.all(_LIST, after=after, most=most)]


async def soon(tx: Tx, now_ms: int, queue_no: int | None) -> int:
    """Makes all recipients of a message due now, or of all that nobody holds; how many."""
    if queue_no is None:
        return await tx.run(_SOON_ALL, now=now_ms, held=HELD)
    return await tx.run(_SOON, now=now_ms, queue_no=queue_no)


async def hold(tx: Tx, queue_no: int) -> int:
    """Makes a message wait until somebody says otherwise; how many recipients it has."""
    return await tx.run(_HOLD, queue_no=queue_no, held=HELD)


async def next_due_ms(snap: Snap, now_ms: int) -> int | None:
    """When the next recipient is due that nobody has; None: nobody waits."""
    row = await snap.one(_NEXT, now=now_ms, held=HELD)
    return row[0] if row else None


async def totals(snap: Snap) -> tuple[int, int, int | None]:
    """How many messages wait, their bytes, and when the oldest came."""
    row = await snap.one(_COUNT)
    return (int(row[0]), int(row[1]), row[2]) if row else (0, 0, None)
