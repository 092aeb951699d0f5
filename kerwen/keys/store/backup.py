"""Key backups: versions and sealed session keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kerwen.keys.backup import Rank, SessionKey, Version
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import Sql, sql

_COLUMNS = "version, algorithm, auth_data, etag, keys_count"
_CURRENT = sql(
    f"select {_COLUMNS} from backup_versions where account_no = :account_no and deleted = 0"
    " order by version desc limit 1"
)
_ONE = sql(
    f"select {_COLUMNS} from backup_versions"
    " where account_no = :account_no and version = :version and deleted = 0"
)
_LOCK = sql(
    "select version from backup_versions"
    " where account_no = :account_no and version = :version {for_update}"
)
_DELETED = sql(
    "select deleted from backup_versions where account_no = :account_no and version = :version"
)
_LAST = sql(
    "select coalesce(max(version), 0), coalesce(sum(1 - deleted), 0) from backup_versions"
    " where account_no = :account_no"
)
_ADD = sql(
    "insert into backup_versions (account_no, version, algorithm, auth_data)"
    " values (:account_no, :version, :algorithm, :auth_data)"
)
_SET_AUTH_DATA = sql(
    "update backup_versions set auth_data = :auth_data"
    " where account_no = :account_no and version = :version"
)
_SET_COUNT = sql(
    "update backup_versions set etag = :etag, keys_count = :keys_count"
    " where account_no = :account_no and version = :version"
)
_DELETE_VERSION = sql(
    "update backup_versions set deleted = 1, keys_count = 0, auth_data = :nothing"
    " where account_no = :account_no and version = :version"
)
_WHOSE = "account_no = :account_no and version = :version"
_RANKS = sql(
    "select session_id, is_verified, first_message_index, forwarded_count from backup_keys"
    f" where {_WHOSE} and room_id = :room_id and session_id {{in_texts:sessions}}"
)
_PUT = sql(
    "insert into backup_keys (account_no, version, room_id, session_id, is_verified,"
    " first_message_index, forwarded_count, body) values (:account_no, :version, :room_id,"
    " :session_id, :is_verified, :first_message_index, :forwarded_count, :body)"
    " on conflict (account_no, version, room_id, session_id) do update set"
    " is_verified = excluded.is_verified, first_message_index = excluded.first_message_index,"
    " forwarded_count = excluded.forwarded_count, body = excluded.body"
)
_KEY = sql(
    f"select body from backup_keys where {_WHOSE} and room_id = :room_id"
    " and session_id = :session_id"
)
_ROOM_PAGE = sql(
    f"select room_id, session_id, body from backup_keys where {_WHOSE} and room_id = :room_id"
    " and session_id > :session_id order by session_id limit :limit"
)
_PAGE = sql(
    f"select room_id, session_id, body from backup_keys where {_WHOSE}"
    " and (room_id, session_id) > (:room_id, :session_id)"
    " order by room_id, session_id limit :limit"
)
_DELETE_ALL = sql(f"delete from backup_keys where {_WHOSE}")
_DELETE_ROOM = sql(f"delete from backup_keys where {_WHOSE} and room_id = :room_id")
_DELETE_KEY = sql(
    f"delete from backup_keys where {_WHOSE} and room_id = :room_id and session_id = :session_id"
)


async def current_version(snap: Snap, account_no: int) -> Version | None:
    """The newest backup."""
    row = await snap.one(_CURRENT, account_no=account_no)
    return Version(*row) if row else None


async def version_of(snap: Snap, account_no: int, version: int) -> Version | None:
    """One backup."""
    row = await snap.one(_ONE, account_no=account_no, version=version)
    return Version(*row) if row else None


async def lock_version(tx: Tx, account_no: int, version: int) -> Version | None:
    """One backup, for changes of its keys."""
    await tx.one(_LOCK, account_no=account_no, version=version)
    return await version_of(tx, account_no, version)


async def was_deleted(snap: Snap, account_no: int, version: int) -> bool:
    """Whether there was such a backup once."""
    row = await snap.one(_DELETED, account_no=account_no, version=version)
    return bool(row and row[0])


async def last_version(snap: Snap, account_no: int) -> tuple[int, int]:
    """The last number given, and how many backups there are."""
    row = await snap.one(_LAST, account_no=account_no)
    assert row is not None
    return int(row[0]), int(row[1])


async def add_version(
    tx: Tx, account_no: int, version: int, algorithm: str, auth_data: bytes
) -> None:
    """A new, empty backup."""
    await tx.run(
        _ADD, account_no=account_no, version=version, algorithm=algorithm, auth_data=auth_data
    )


async def set_auth_data(tx: Tx, account_no: int, version: int, auth_data: bytes) -> None:
    """Replaces what clients know the backup by."""
    await tx.run(_SET_AUTH_DATA, account_no=account_no, version=version, auth_data=auth_data)


async def delete_version(tx: Tx, account_no: int, version: int) -> None:
    """Deletes a backup with all its keys; its number stays used."""
    await tx.run(_DELETE_ALL, account_no=account_no, version=version)
    await tx.run(_DELETE_VERSION, account_no=account_no, version=version, nothing=b"{}")


async def set_count(tx: Tx, account_no: int, version: int, etag: int, count: int) -> None:
    """The backup's new etag and number of keys."""
    await tx.run(_SET_COUNT, account_no=account_no, version=version, etag=etag, keys_count=count)


async def ranks(
    snap: Snap, account_no: int, version: int, room_id: str, sessions: Iterable[str]
) -> dict[str, Rank]:
    """What decides about the copies that are here already, by session."""
    rows = await snap.all(
        _RANKS, account_no=account_no, version=version, room_id=room_id, sessions=sessions
    )
    return {row[0]: Rank(bool(row[1]), row[2], row[3]) for row in rows}


async def put_keys(tx: Tx, account_no: int, version: int, keys: Sequence[SessionKey]) -> None:
    """Stores keys, in the place of those of the same session."""
    await tx.many(
        _PUT,
        [
            {
                "account_no": account_no,
                "version": version,
                "room_id": key.room_id,
                "session_id": key.session_id,
                "is_verified": int(key.rank.is_verified),
                "first_message_index": key.rank.first_message_index,
                "forwarded_count": key.rank.forwarded_count,
                "body": key.body,
            }
            for key in keys
        ],
    )


async def key_of(
    snap: Snap, account_no: int, version: int, room_id: str, session_id: str
) -> bytes | None:
    """One session's key."""
    row = await snap.one(
        _KEY, account_no=account_no, version=version, room_id=room_id, session_id=session_id
    )
    return row[0] if row else None


async def page(
    snap: Snap,
    account_no: int,
    version: int,
    room_id: str | None,
    after: tuple[str, str],
    limit: int,
) -> list[Row]:
    """Keys (room, session, body) after a place, in order; of one room or of all."""
    if room_id is not None:
        return await snap.all(
            _ROOM_PAGE,
            account_no=account_no,
            version=version,
            room_id=room_id,
            session_id=after[1],
            limit=limit,
        )
    return await snap.all(
        _PAGE,
        account_no=account_no,
        version=version,
        room_id=after[0],
        session_id=after[1],
        limit=limit,
    )


async def delete_keys(
    tx: Tx, account_no: int, version: int, room_id: str | None, session_id: str | None
) -> int:
    """Deletes all keys, a room's or one; how many those were."""
    statement: Sql = _DELETE_ALL
    params: dict[str, object] = {"account_no": account_no, "version": version}
    if room_id is not None:
        statement = _DELETE_ROOM
        params["room_id"] = room_id
        if session_id is not None:
            statement = _DELETE_KEY
            params["session_id"] = session_id
    return await tx.run(statement, **params)
