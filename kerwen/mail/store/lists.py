"""Mailing lists and their members."""

from __future__ import annotations

from kerwen.mail.list_letter import MailList
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ONE = sql("select local, title, owner, posting from mail_lists where local = :local")
_ALL = sql("select local, title, owner, posting from mail_lists order by local")
_ADD = sql(
    "insert into mail_lists (local, title, owner, posting, made_ms)"
    " values (:local, :title, :owner, :posting, :made_ms) on conflict do nothing"
)
_DROP = sql("delete from mail_lists where local = :local")
_MEMBERS = sql("select address from mail_list_members where local = :local order by address")
_JOIN = sql(
    "insert into mail_list_members (local, address, joined_ms)"
    " values (:local, :address, :joined_ms) on conflict do nothing"
)
_LEAVE = sql("delete from mail_list_members where local = :local and address = :address")
_LEAVE_ALL = sql("delete from mail_list_members where local = :local")


async def one(snap: Snap, local: str) -> MailList | None:
    """A list by its local part."""
    row = await snap.one(_ONE, local=local)
    return MailList(*row) if row is not None else None


async def all_of(snap: Snap) -> list[MailList]:
    """Every list."""
    return [MailList(*row) for row in await snap.all(_ALL)]


async def add(tx: Tx, made: MailList, made_ms: int) -> bool:
    """False if there is one of that name."""
    done = await tx.run(
        _ADD, local=made.local, title=made.title, owner=made.owner, posting=made.posting,
        made_ms=made_ms,
    )  # fmt: skip
    return done == 1


async def drop(tx: Tx, local: str) -> bool:
    """A list with its members; false if there is none."""
    await tx.run(_LEAVE_ALL, local=local)
    return await tx.run(_DROP, local=local) == 1


async def members(snap: Snap, local: str) -> list[str]:
    """Addresses, in small letters."""
    return [row[0] for row in await snap.all(_MEMBERS, local=local)]


async def join(tx: Tx, local: str, address: str, joined_ms: int) -> bool:
    """False if it is a member."""
    return await tx.run(_JOIN, local=local, address=address, joined_ms=joined_ms) == 1


async def leave(tx: Tx, local: str, address: str) -> bool:
    """False if it is none."""
    return await tx.run(_LEAVE, local=local, address=address) == 1
