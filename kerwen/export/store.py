"""What the archive of an account reads that no other door asks for."""

from __future__ import annotations

from kerwen.storage.database import Row, Snap
from kerwen.storage.sql import sql

_ACCOUNT_DATA = sql(
    "select type, content from account_data where account_no = :account_no order by type"
)
_ROOM_DATA = sql(
    "select type, content from room_account_data where account_no = :account_no"
    " and room_no = :room_no order by type"
)
_FILTERS = sql("select source from filters where account_no = :account_no order by filter_no")
_PUSHERS = sql(
    "select app_id, kind, set_ms from pushers where account_no = :account_no"
    " order by app_id, pushkey"
)
_BACKUPS = sql(
    "select version, algorithm, auth_data, keys_count from backup_versions"
    " where account_no = :account_no and deleted = 0 order by version"
)
_BACKUP_KEYS = sql(
    "select room_id, session_id, body from backup_keys where account_no = :account_no"
    " and version = :version order by room_id, session_id limit :count offset :start"
)
_RECEIPTS = sql(
    "select type, thread, event_id, ts from receipts where room_no = :room_no"
    " and user_no = :user_no order by type, thread"
)
_THREADS = sql(
    "select root, state from thread_subscriptions where account_no = :account_no"
    " and room_no = :room_no and state > 0 order by root"
)
_FILES = sql(
    "select media_id, blob, content_type, file_name, size, created_ms from media"
    " where account_no = :account_no and blob is not null and quarantined = 0"
    " and (created_ms, media_id) > (:after_ms, :after_id)"
    " order by created_ms, media_id limit :count"
)
_REPORTS = sql(
    "select kind, room_id, event_id, user_id, reason, reported_ms from reports"
    " where reporter = :user_id order by reported_ms limit 100000"
)


async def account_data(snap: Snap, account_no: int) -> list[tuple[str, bytes]]:
    """(type, content) of what an account keeps here."""
    return [(r[0], r[1]) for r in await snap.all(_ACCOUNT_DATA, account_no=account_no)]


async def room_data(snap: Snap, account_no: int, room_no: int) -> list[tuple[str, bytes]]:
    """The same, about one room."""
    rows = await snap.all(_ROOM_DATA, account_no=account_no, room_no=room_no)
    return [(row[0], row[1]) for row in rows]


async def filters(snap: Snap, account_no: int) -> list[bytes]:
    """Filters of sync."""
    return [row[0] for row in await snap.all(_FILTERS, account_no=account_no)]


async def pushers(snap: Snap, account_no: int) -> list[Row]:
    """(app, kind, when it was set) of pushers."""
    return await snap.all(_PUSHERS, account_no=account_no)


async def backups(snap: Snap, account_no: int) -> list[Row]:
    """(version, algorithm, auth_data, count) of key backups."""
    return await snap.all(_BACKUPS, account_no=account_no)


async def backup_keys(
    snap: Snap, account_no: int, version: int, start: int, count: int
) -> list[Row]:
    """(room, session, sealed key) of a key backup, from one on."""
    return await snap.all(
        _BACKUP_KEYS, account_no=account_no, version=version, start=start, count=count
    )


async def threads(snap: Snap, account_no: int, room_no: int) -> list[Row]:
    """(id of the first event, how: 1 by a client, 2 by will) of the threads that are followed."""
    return await snap.all(_THREADS, account_no=account_no, room_no=room_no)


async def receipts(snap: Snap, room_no: int, user_no: int) -> list[Row]:
    """(type, thread, event, time) of one's own receipts."""
    return await snap.all(_RECEIPTS, room_no=room_no, user_no=user_no)


async def files(snap: Snap, account_no: int, after: tuple[int, str], count: int) -> list[Row]:
    """(media id, blob, type, name, size, time) of files, the oldest first."""
    return await snap.all(
        _FILES, account_no=account_no, after_ms=after[0], after_id=after[1], count=count
    )


async def reports(snap: Snap, user_id: str) -> list[Row]:
    """(kind, room, event, user, reason, time) of what somebody reported."""
    return await snap.all(_REPORTS, user_id=user_id)
