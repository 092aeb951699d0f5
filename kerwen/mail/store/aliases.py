"""Names that are no accounts: aliases, groups, and `*`, who gets what is for nobody."""

from __future__ import annotations

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

CATCH_ALL = "*"

_TARGETS = sql("select target from mail_aliases where local = :local order by target")
_ADD = sql(
    "insert into mail_aliases (local, target) values (:local, :target) on conflict do nothing"
)
_DROP = sql("delete from mail_aliases where local = :local and target = :target")
_DROP_TARGET = sql("delete from mail_aliases where target = :target")
_LIST = sql("select local, target from mail_aliases order by local, target")


async def targets(snap: Snap, local: str) -> list[str]:
    """Who gets the mail of a name: local parts of ours, and addresses elsewhere."""
    return [row[0] for row in await snap.all(_TARGETS, local=local)]


async def add(tx: Tx, local: str, target: str) -> bool:
    """Adds a target to a name; false if it was there."""
    return await tx.run(_ADD, local=local, target=target) == 1


async def drop(tx: Tx, local: str, target: str) -> bool:
    """False if it was not there."""
    return await tx.run(_DROP, local=local, target=target) == 1


async def drop_target(tx: Tx, target: str) -> None:
    """An account is gone: no name leads to it any more."""
    await tx.run(_DROP_TARGET, target=target)


async def all_of(snap: Snap) -> list[tuple[str, str]]:
    """Every name with each of its targets."""
    return [(row[0], row[1]) for row in await snap.all(_LIST)]
