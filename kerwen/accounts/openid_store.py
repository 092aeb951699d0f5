"""OpenID tokens in the database: hashes only."""

from __future__ import annotations

from typing import Final

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

TOKENS_MAX: Final = 50  # of one account; the oldest go

_ADD = sql(
    "insert into openid_tokens (hash, account_no, expires_ms)"
    " values (:hash, :account_no, :expires_ms)"
)
_TRIM = sql(
    "delete from openid_tokens where account_no = :account_no and (expires_ms <= :now_ms"
    " or hash in (select hash from openid_tokens where account_no = :account_no"
    " order by expires_ms desc limit 1000 offset :keep))"
)
_OWNER = sql(
    "select u.user_id from openid_tokens t join users u on u.user_no = t.account_no"
    " join accounts a on a.account_no = t.account_no"
    " where t.hash = :hash and t.expires_ms > :now_ms and a.deactivated_ms = 0 and a.locked = 0"
)
_DROP = sql("delete from openid_tokens where account_no = :account_no")


async def add(tx: Tx, account_no: int, hash: bytes, expires_ms: int, now_ms: int) -> None:
    """Keeps a token, and takes away those that are over or too many."""
    await tx.run(_TRIM, account_no=account_no, now_ms=now_ms, keep=TOKENS_MAX - 1)
    await tx.run(_ADD, hash=hash, account_no=account_no, expires_ms=expires_ms)


async def owner(snap: Snap, hash: bytes, now_ms: int) -> str | None:
    """The user id that a token stands for."""
    row = await snap.one(_OWNER, hash=hash, now_ms=now_ms)
    return row[0] if row else None


async def drop_account(tx: Tx, account_no: int) -> None:
    """Ends all tokens of an account."""
    await tx.run(_DROP, account_no=account_no)
