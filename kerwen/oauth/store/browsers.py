"""Browsers that are signed in to the pages of an account."""

from __future__ import annotations

from dataclasses import dataclass

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD = sql(
    "insert into browser_sessions (session_no, hash, account_no, expires_ms, second_due)"
    " values (:session_no, :hash, :account_no, :expires_ms, :second_due)"
)
_GET = sql(
    "select b.session_no, b.account_no, b.second_due, a.localpart, a.locked"
    " from browser_sessions b join accounts a on a.account_no = b.account_no"
    " where b.hash = :hash and b.expires_ms > :now and a.deactivated_ms = 0"
)
_PROVED = sql(
    "update browser_sessions set second_due = 0, expires_ms = :expires_ms"
    " where session_no = :session_no"
)
_OF = sql(
    "select session_no from browser_sessions where account_no = :account_no"
    " order by session_no desc"
)
_STALE = sql(
    "select session_no, account_no from browser_sessions where expires_ms <= :now"
    " order by expires_ms limit 200"
)
_DROP = sql("delete from browser_sessions where session_no {in_ints:session_nos}")


@dataclass(frozen=True, slots=True)
class Browser:
    """Who is signed in. With `second_due` the second factor is still awaited: that is nobody."""

    session_no: int
    account_no: int
    second_due: bool
    localpart: str
    locked: bool


async def add(
    tx: Tx, session_no: int, hashed: bytes, account_no: int, expires_ms: int, second_due: bool
) -> None:
    """Signs a browser in, or half in."""
    await tx.run(
        _ADD,
        session_no=session_no,
        hash=hashed,
        account_no=account_no,
        expires_ms=expires_ms,
        second_due=int(second_due),
    )


async def find(snap: Snap, hashed: bytes, now_ms: int) -> Browser | None:
    """Who is signed in with a cookie."""
    row = await snap.one(_GET, hash=hashed, now=now_ms)
    return Browser(row[0], row[1], bool(row[2]), row[3], bool(row[4])) if row else None


async def proved(tx: Tx, session_no: int, expires_ms: int) -> None:
    """The second factor was right."""
    await tx.run(_PROVED, session_no=session_no, expires_ms=expires_ms)


async def of(tx: Tx, account_no: int) -> list[int]:
    """The browsers of an account, the newest first."""
    return [row[0] for row in await tx.all(_OF, account_no=account_no)]


async def stale(tx: Tx, now_ms: int) -> list[tuple[int, int]]:
    """Sessions that ended: `(session_no, account_no)`, 200 at a time."""
    return [(row[0], row[1]) for row in await tx.all(_STALE, now=now_ms)]


async def drop(tx: Tx, session_nos: list[int]) -> None:
    """Signs browsers out."""
    await tx.run(_DROP, session_nos=session_nos)


def slot_ref(session_no: int) -> str:
    """The vault's slot of a browser's cookie."""
    return f"browser-{session_no}"
