"""Rows of media, thumbnails and usage. `origin` is '' for what was uploaded here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

OURS: Final = ""


@dataclass(frozen=True, slots=True)
class Media:
    """A piece of media. `blob` is None while it is created but not yet uploaded."""

    origin: str
    media_id: str
    account_no: int | None
    blob: str | None
    content_type: str
    file_name: str | None
    size: int
    created_ms: int
    expires_ms: int | None
    quarantined: int = 0
    used_ms: int = 0  # when somebody got it last, to the day; 0: not since this is noted


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail that is kept."""

    variant: str
    blob: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account has here; `quota` in bytes, None for the server's own setting."""

    bytes: int
    files: int
    quota: int | None


_FIELDS = (
    "origin, media_id, account_no, blob, content_type, file_name, size, created_ms, expires_ms"
)
_ALL_FIELDS = f"{_FIELDS}, quarantined, used_ms"
_FIND = sql(
    f"select {_ALL_FIELDS} from media where origin = :origin and media_id = :media_id"
    " {for_update}"
)
_LOOK = sql(f"select {_ALL_FIELDS} from media where origin = :origin and media_id = :media_id")
_ADD = sql(
    f"insert into media ({_FIELDS}) values (:origin, :media_id, :account_no, :blob,"
    " :content_type, :file_name, :size, :created_ms, :expires_ms)"
)
_FILL = sql(
    "update media set blob = :blob, content_type = :content_type, file_name = :file_name,"
    " size = :size, expires_ms = null"
    " where origin = '' and media_id = :media_id and blob is null"
)
_REMOVE = sql("delete from media where origin = :origin and media_id = :media_id")
_OF_ACCOUNT = sql(
    f"select {_ALL_FIELDS} from media where account_no = :account_no and created_ms < :before_ms"
    " order by created_ms desc, media_id limit :count"
)
_PENDING = sql(
    "select count(*), min(expires_ms) from media"
    " where account_no = :account_no and blob is null and expires_ms > :now"
)
_EXPIRE = sql(
    "delete from media where origin = '' and blob is null and media_id in"
    " (select media_id from media where blob is null and expires_ms <= :now"
    " order by expires_ms limit :count)"
)
_USE = sql(
    "insert into media_usage (account_no, bytes, files) values (:account_no, :bytes, :files)"
    " on conflict (account_no) do update set bytes = media_usage.bytes + :bytes,"
    " files = media_usage.files + :files returning bytes, files, quota"
)
_USAGE = sql("select bytes, files, quota from media_usage where account_no = :account_no")
_SET_QUOTA = sql(
    "insert into media_usage (account_no, bytes, files, quota)"
    " values (:account_no, 0, 0, :quota)"
    " on conflict (account_no) do update set quota = :quota"
)
_THUMBNAIL = sql(
    "select variant, blob, content_type, size from media_thumbnail"
    " where origin = :origin and media_id = :media_id and variant = :variant"
)
_THUMBNAILS = sql(
    "select variant, blob, content_type, size from media_thumbnail"
    " where origin = :origin and media_id = :media_id"
)
_ADD_THUMBNAIL = sql(
    "insert into media_thumbnail (origin, media_id, variant, blob, content_type, size)"
    " values (:origin, :media_id, :variant, :blob, :content_type, :size)"
    " on conflict (origin, media_id, variant) do nothing"
)
_REMOVE_THUMBNAILS = sql(
    "delete from media_thumbnail where origin = :origin and media_id = :media_id"
)
_QUARANTINE = sql(
    "update media set quarantined = :quarantined where origin = :origin and media_id = :media_id"
)
_USED = sql(
    "update media set used_ms = :now where origin = :origin and media_id = :media_id"
    " and used_ms < :now"
)
_TOTAL = sql(
    "select cast(coalesce((select sum(size) from media), 0)"
    " + coalesce((select sum(size) from media_thumbnail), 0) as BIGINT)"
)
_CACHED = sql(
    f"select {_ALL_FIELDS} from media where account_no is null and used_ms < :before"
    " and created_ms < :before and blob is not null order by used_ms limit :count"
)
_OLD_THUMBNAILS = sql(
    "select m.origin, m.media_id, t.variant, t.blob, t.size from media m join media_thumbnail t"
    " on t.origin = m.origin and t.media_id = m.media_id where t.blob <> coalesce(m.blob, '')"
    " order by m.used_ms limit :count"
)
_REMOVE_THUMBNAIL = sql(
    "delete from media_thumbnail where origin = :origin and media_id = :media_id"
    " and variant = :variant"
)
_UNUSED = sql(
    f"select {_ALL_FIELDS} from media where account_no is not null and blob is not null"
    " and created_ms < :before and used_ms < :before and (created_ms, media_id)"
    " > (:after_ms, :after_id) order by created_ms, media_id limit :count"
)
_MARK = sql(
    "insert into media_unproved (media_id, blob, size, created_ms)"
    " values (:media_id, :blob, :size, :created_ms)"
)
_UNPROVED = sql(
    "select media_id, blob, size from media_unproved where created_ms < :before_ms"
    " order by media_id limit :count"
)
_PROVED = sql("delete from media_unproved where media_id {in_texts:ids}")
_NAMED = sql(
    "select blob from media where blob {in_texts:keys}"
    " union all select blob from media_thumbnail where blob {in_texts:keys}"
)


def _media(row: Row) -> Media:
    return Media(*row)


async def look(snap: Snap, origin: str, media_id: str) -> Media | None:
    """A piece of media to read."""
    row = await snap.one(_LOOK, origin=origin, media_id=media_id)
    return _media(row) if row else None


async def find(tx: Tx, origin: str, media_id: str) -> Media | None:
    """A piece of media to change: its row is locked until the transaction ends."""
    row = await tx.one(_FIND, origin=origin, media_id=media_id)
    return _media(row) if row else None


async def add(tx: Tx, media: Media) -> None:
    """Adds a row; the id must be fresh."""
    await tx.run(
        _ADD,
        origin=media.origin,
        media_id=media.media_id,
        account_no=media.account_no,
        blob=media.blob,
        content_type=media.content_type,
        file_name=media.file_name,
        size=media.size,
        created_ms=media.created_ms,
        expires_ms=media.expires_ms,
    )


async def mark_unproved(tx: Tx, media: Media) -> None:
    """Notes that the disk is still at the file of a row."""
    await tx.run(
        _MARK,
        media_id=media.media_id,
        blob=media.blob,
        size=media.size,
        created_ms=media.created_ms,
    )


async def unproved(snap: Snap, before_ms: int, count: int) -> list[tuple[str, str, int]]:
    """(media id, blob, size) of rows from before a time that are still marked."""
    return await snap.all(_UNPROVED, before_ms=before_ms, count=count)


async def proved(tx: Tx, media_ids: Iterable[str]) -> None:
    """Their files are on disk, or their rows are gone."""
    await tx.run(_PROVED, ids=media_ids)


async def fill(tx: Tx, media: Media) -> bool:
    """Gives a created piece of ours its bytes; False if it has some already or is gone."""
    return bool(
        await tx.run(
            _FILL,
            media_id=media.media_id,
            blob=media.blob,
            content_type=media.content_type,
            file_name=media.file_name,
            size=media.size,
        )
    )


async def remove(tx: Tx, origin: str, media_id: str) -> bool:
    """Removes a row and its thumbnails' rows; False if it was gone."""
    await tx.run(_REMOVE_THUMBNAILS, origin=origin, media_id=media_id)
    return bool(await tx.run(_REMOVE, origin=origin, media_id=media_id))


async def forget(tx: Tx, media: Media) -> None:
    """Removes a row whose file never came to be, what its owner paid for it, and its mark."""
    if await remove(tx, media.origin, media.media_id) and media.account_no is not None:
        await use(tx, media.account_no, -media.size, -1)
    await proved(tx, [media.media_id])


async def of_account(snap: Snap, account_no: int, before_ms: int, count: int) -> list[Media]:
    """What an account uploaded or created before a time, newest first."""
    rows = await snap.all(_OF_ACCOUNT, account_no=account_no, before_ms=before_ms, count=count)
    return [_media(row) for row in rows]


async def pending(snap: Snap, account_no: int, now: int) -> tuple[int, int]:
    """How many uploads an account still owes, and when the first of them expires."""
    row = await snap.one(_PENDING, account_no=account_no, now=now)
    assert row is not None
    return row[0], row[1] or now


async def expire(tx: Tx, now: int, count: int) -> int:
    """Removes created pieces whose time is over; how many there were."""
    return await tx.run(_EXPIRE, now=now, count=count)


async def use(tx: Tx, account_no: int, size: int, files: int) -> Usage:
    """Adds to an account's usage (or takes from it, below zero); what it has then."""
    row = await tx.one(_USE, account_no=account_no, bytes=size, files=files)
    assert row is not None
    return Usage(*row)


async def usage(snap: Snap, account_no: int) -> Usage:
    """What an account has here."""
    row = await snap.one(_USAGE, account_no=account_no)
    return Usage(*row) if row else Usage(0, 0, None)


async def set_quota(tx: Tx, account_no: int, quota: int | None) -> None:
    """Sets an account's own quota in bytes; None for the server's setting."""
    await tx.run(_SET_QUOTA, account_no=account_no, quota=quota)


async def thumbnail(snap: Snap, media: Media, variant: str) -> Thumbnail | None:
    """A thumbnail that is kept."""
    row = await snap.one(_THUMBNAIL, origin=media.origin, media_id=media.media_id, variant=variant)
    return Thumbnail(*row) if row else None


async def thumbnails(snap: Snap, origin: str, media_id: str) -> list[Thumbnail]:
    """All thumbnails that are kept of a piece; their number is limited where they are made."""
    rows = await snap.all(_THUMBNAILS, origin=origin, media_id=media_id)
    return [Thumbnail(*row) for row in rows]


async def add_thumbnail(tx: Tx, media: Media, made: Thumbnail) -> bool:
    """Keeps a thumbnail; False if another was quicker."""
    return bool(
        await tx.run(
            _ADD_THUMBNAIL,
            origin=media.origin,
            media_id=media.media_id,
            variant=made.variant,
            blob=made.blob,
            content_type=made.content_type,
            size=made.size,
        )
    )


async def remove_thumbnails(tx: Tx, origin: str, media_id: str) -> None:
    """Removes the rows of all thumbnails of a piece."""
    await tx.run(_REMOVE_THUMBNAILS, origin=origin, media_id=media_id)


async def quarantine(tx: Tx, origin: str, media_id: str, quarantined: bool) -> bool:
    """Keeps a piece from everybody, or no longer; False if it is not here."""
    given = {"origin": origin, "media_id": media_id, "quarantined": int(quarantined)}
    return bool(await tx.run(_QUARANTINE, **given))


async def used(tx: Tx, pieces: Sequence[tuple[str, str]], now: int) -> None:
    """Notes that somebody got these: (origin, media id)."""
    rows = [{"origin": origin, "media_id": media_id, "now": now} for origin, media_id in pieces]
    await tx.many(_USED, rows)


async def total(snap: Snap) -> int:
    """Bytes of all media and thumbnails. A scan: `long`."""
    row = await snap.one(_TOTAL)
    assert row is not None
    return int(row[0])


async def cached(snap: Snap, before: int, count: int) -> list[Media]:
    """Other servers' media that nobody got since a time, the longest unused first."""
    return [_media(row) for row in await snap.all(_CACHED, before=before, count=count)]


async def old_thumbnails(snap: Snap, count: int) -> list[tuple[str, str, str, str, int]]:
    """(origin, media id, variant, blob, size) of thumbnails that are no picture's own blob, of
    the longest unused first. A scan: `long`."""
    rows = await snap.all(_OLD_THUMBNAILS, count=count)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


async def remove_thumbnail(tx: Tx, origin: str, media_id: str, variant: str) -> None:
    """Removes a thumbnail's row; it is made anew when somebody wants it."""
    await tx.run(_REMOVE_THUMBNAIL, origin=origin, media_id=media_id, variant=variant)


async def unused(snap: Snap, before: int, after: tuple[int, str], count: int) -> list[Media]:
    """Files of accounts from before a time that nobody got since, after (created_ms, id)."""
    rows = await snap.all(_UNUSED, before=before, after_ms=after[0], after_id=after[1], count=count)
    return [_media(row) for row in rows]


async def named(snap: Snap, keys: Sequence[str]) -> set[str]:
    """Which of these blobs a row names."""
    return {row[0] for row in await snap.all(_NAMED, keys=keys)}
