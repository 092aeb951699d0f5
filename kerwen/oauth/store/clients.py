"""Registered clients."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from kerwen.oauth.client_metadata import ClientMetadata, stored_metadata
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_ADD = sql(
    "insert into oauth_clients (client_no, client_id, metadata, registered_ms)"
    " values (:client_no, :client_id, :metadata, :now)"
    " on conflict (client_id) do update set registered_ms = excluded.registered_ms"
)
_COLUMNS = "client_no, client_id, metadata"
_BY_ID = sql(f"select {_COLUMNS} from oauth_clients where client_id = :client_id")
_BY_NO = sql(f"select {_COLUMNS} from oauth_clients where client_no = :client_no")
_OF_DEVICES = sql(
    "select s.device_no, c.client_no, c.client_id, c.metadata from oauth_sessions s"
    " join oauth_clients c on c.client_no = s.client_no where s.device_no {in_ints:device_nos}"
)
_USED = sql("update oauth_clients set used_ms = :now where client_no = :client_no")
_DROP_IDLE = sql(
    "delete from oauth_clients where client_no in (select c.client_no from oauth_clients c"
    " where c.used_ms < :used_before and c.registered_ms < :registered_before"
    " and not exists (select 1 from oauth_sessions s where s.client_no = c.client_no)"
    " order by c.used_ms, c.registered_ms limit 500)"
)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client."""

    client_no: int
    client_id: str
    metadata: ClientMetadata


def _client(row: Row) -> Client:
    return Client(row[0], row[1], stored_metadata(orjson.loads(row[2])))


async def add(tx: Tx, client_no: int, metadata: ClientMetadata, now_ms: int) -> None:
    """Registers a client; one with the same metadata is there already and is the same."""
    await tx.run(
        _ADD,
        client_no=client_no,
        client_id=metadata.client_id(),
        metadata=orjson.dumps(metadata.shown()).decode(),
        now=now_ms,
    )


async def by_id(snap: Snap, client_id: str) -> Client | None:
    """A client by the id that it was given."""
    row = await snap.one(_BY_ID, client_id=client_id)
    return _client(row) if row else None


async def by_no(snap: Snap, client_no: int) -> Client | None:
    """A client by its number."""
    row = await snap.one(_BY_NO, client_no=client_no)
    return _client(row) if row else None


async def of_devices(snap: Snap, device_nos: list[int]) -> dict[int, Client]:
    """Which clients hold the tokens of devices, where these are OAuth clients."""
    rows = await snap.all(_OF_DEVICES, device_nos=device_nos)
    return {row[0]: _client(row[1:]) for row in rows}


async def used(tx: Tx, client_no: int, now_ms: int) -> None:
    """Somebody allowed it something."""
    await tx.run(_USED, client_no=client_no, now=now_ms)


async def drop_idle(tx: Tx, used_before: int, registered_before: int) -> int:
    """Forgets clients without a session that nobody has used for long, 500 at a time."""
    return await tx.run(_DROP_IDLE, used_before=used_before, registered_before=registered_before)
