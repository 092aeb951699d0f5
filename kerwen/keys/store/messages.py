"""Messages that wait for devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kerwen.storage.database import Kind, Snap, Tx
from kerwen.storage.sql import sql

_TAIL_ROWS = 200  # more statements, or more bytes, go by the staging table
_TAIL_BYTES = 256 * 1024
_ALIKE_MIN = 3  # devices that get the same text by one statement

_ADD = sql("insert into to_device (device_no, pos, n, body) values (:device_no, :pos, :n, :body)")
_ADD_ALIKE = sql(
    "insert into to_device (device_no, pos, n, body)"
    " select device_no, :pos, :n, :body from devices where device_no {in_ints:devices}"
)
_STAGE = sql(
    "insert into to_device_staged (batch, device_no, n, body)"
    " values (:batch, :device_no, :n, :body)"
)
_PUBLISH = sql(
    "insert into to_device (device_no, pos, n, body)"
    " select device_no, :pos, n, body from to_device_staged where batch = :batch"
)
_UNSTAGE = sql("delete from to_device_staged where batch = :batch")
_PENDING = sql(
    "select pos, n, body from to_device where device_no = :device_no and pos <= :upto"
    " order by pos, n limit :limit"
)
_AFTER = sql(
    "select pos, n, body from to_device where device_no = :device_no and pos > :after"
    " and pos <= :upto order by pos, n limit :limit"
)
_MORE = sql(
    "select 1 from to_device where device_no = :device_no and pos > :after and pos <= :upto limit 1"
)
_AT = sql(
    "select pos, n, body from to_device where device_no = :device_no and pos = :at order by n"
)
_DELETE = sql("delete from to_device where device_no = :device_no and pos <= :through_pos")
_COUNTS = sql(
    "select device_no, count(*) from to_device where device_no {in_ints:devices} group by device_no"
)
_TXN = sql(
    "insert into to_device_txns (device_no, txn, at_ms) values (:device_no, :txn, :at_ms)"
    " on conflict do nothing"
)
_SWEEP_TXNS = sql("delete from to_device_txns where at_ms < :before_ms")

Pending = tuple[int, int, bytes]
"""(position, order within it, event as JSON)."""


async def add_txn(tx: Tx, device_no: int, txn: str, at_ms: int) -> bool:
    """Notes a client's transaction; False if it was carried out before."""
    return await tx.run(_TXN, device_no=device_no, txn=txn, at_ms=at_ms) > 0


async def sweep_txns(tx: Tx, before_ms: int) -> int:
    """Forgets old transactions of all devices."""
    return await tx.run(_SWEEP_TXNS, before_ms=before_ms)


async def add_to_device(tx: Tx, by_text: Mapping[bytes, list[int]], batch: int) -> None:
    """Messages for devices by their text, told with the commit.

    `batch` is a fresh number of its series. A device gets those of one call in their order.
    """
    if sum(map(len, by_text.values())) <= _TAIL_ROWS and sum(map(len, by_text)) <= _TAIL_BYTES:
        for n, (body, devices) in enumerate(by_text.items()):
            if len(devices) >= _ALIKE_MIN:
                tx.at_end(_ADD_ALIKE, devices=devices, n=n, body=body)
            else:
                for device_no in devices:
                    tx.at_end(_ADD, device_no=device_no, n=n, body=body)
    else:
        await tx.many(
            _STAGE,
            [
                {"batch": batch, "device_no": device_no, "n": n, "body": body}
                for n, (body, devices) in enumerate(by_text.items())
                for device_no in devices
            ],
        )
        tx.at_end(_PUBLISH, batch=batch)
        tx.at_end(_UNSTAGE, batch=batch)
    for devices in by_text.values():
        tx.change_all(Kind.TO_DEVICE, devices)


def put_to_device(tx: Tx, device_no: int, n: int, body: bytes) -> None:
    """Adds one message at the transaction's end; `n` orders those of one position."""
    tx.at_end(_ADD, device_no=device_no, n=n, body=body)


async def more_to_device(snap: Snap, device_no: int, after: int, upto: int) -> bool:
    """Whether messages wait at after < pos <= upto."""
    return await snap.one(_MORE, device_no=device_no, after=after, upto=upto) is not None


async def to_device(
    snap: Snap, device_no: int, upto: int, limit: int, after: int | None = None
) -> list[Pending]:
    """The oldest waiting messages up to a position: about `limit`, never part of a position.

    `after`: of those that came after a position, where earlier ones are still kept.
    """
    if after is None:
        rows: list[Pending] = await snap.all(
            _PENDING, device_no=device_no, upto=upto, limit=limit + 1
        )
    else:
        rows = await snap.all(_AFTER, device_no=device_no, after=after, upto=upto, limit=limit + 1)
    if len(rows) <= limit:
        return rows
    cut = rows[limit][0]
    whole = [row for row in rows if row[0] < cut]
    return whole or await snap.all(_AT, device_no=device_no, at=cut)


async def delete_to_device(tx: Tx, device_no: int, through_pos: int) -> int:
    """Deletes what the device has got; how many messages that were."""
    return await tx.run(_DELETE, device_no=device_no, through_pos=through_pos)


async def pending_counts(snap: Snap, devices: Iterable[int]) -> dict[int, int]:
    """How many messages wait; devices without any are left out."""
    return {row[0]: row[1] for row in await snap.all(_COUNTS, devices=devices)}
