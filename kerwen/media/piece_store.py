"""Rows of pieces: what is here of announced uploads that are not whole yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD: Final = sql(
    "insert into media_piece (media_id, first, last, blob) values (:media_id, :first, :last, :blob)"
)
_OF: Final = sql(
    "select first, last, blob from media_piece where media_id = :media_id order by first"
)
_RECEIVED: Final = sql("select max(last) from media_piece where media_id = :media_id")
_HELD: Final = sql(
    "select cast(coalesce(sum(p.last - p.first), 0) as BIGINT) from media m join media_piece p"
    " on p.media_id = m.media_id where m.account_no = :account_no and m.blob is null"
)
_DROP: Final = sql("delete from media_piece where media_id = :media_id")
_LEFT: Final = sql(
    "select p.media_id, p.blob from media_piece p left join media m"
    " on m.origin = '' and m.media_id = p.media_id and m.blob is null"
    " where m.media_id is null order by p.media_id limit :count"
)
_NAMED: Final = sql("select blob from media_piece where blob {in_texts:keys}")


async def add(tx: Tx, media_id: str, first: int, last: int, blob: str) -> None:
    """A piece that is on disk."""
    await tx.run(_ADD, media_id=media_id, first=first, last=last, blob=blob)


async def of(snap: Snap, media_id: str) -> list[tuple[int, int, str]]:
    """The pieces of an upload in their order: first and last byte (not with it), blob."""
    return [(row[0], row[1], row[2]) for row in await snap.all(_OF, media_id=media_id)]


async def received(snap: Snap, media_id: str) -> int:
    """How many bytes of an upload are here: pieces come in their order, without holes."""
    row = await snap.one(_RECEIVED, media_id=media_id)
    return (row[0] or 0) if row else 0


async def held(snap: Snap, account_no: int) -> int:
    """Bytes of all unfinished uploads of an account."""
    row = await snap.one(_HELD, account_no=account_no)
    return int(row[0]) if row else 0


async def drop(tx: Tx, media_id: str) -> None:
    """Forgets the pieces of an upload."""
    await tx.run(_DROP, media_id=media_id)


async def left(snap: Snap, count: int) -> list[tuple[str, str]]:
    """Pieces of uploads that are whole or whose time is over: media id and blob."""
    return [(row[0], row[1]) for row in await snap.all(_LEFT, count=count)]


async def named(snap: Snap, keys: Sequence[str]) -> set[str]:
    """Which of these blobs are pieces."""
    return {row[0] for row in await snap.all(_NAMED, keys=keys)}
