"""Accounts and their passwords."""

from __future__ import annotations

from dataclasses import dataclass

from kerwen.accounts.password import Argon2, StoredPassword
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_COLUMNS = (
    "account_no, localpart, kind, created_ms, admin, locked, suspended, deactivated_ms, erased"
)
_ADD = sql(
    "insert into accounts (account_no, localpart, kind, created_ms, admin)"
    " values (:account_no, :localpart, :kind, :now, :admin) on conflict do nothing"
)
_BY_NO = sql(f"select {_COLUMNS} from accounts where account_no = :account_no")
_BY_LOCALPART = sql(f"select {_COLUMNS} from accounts where localpart = :localpart")
_NUMBER = sql("select account_no from accounts where localpart = :localpart and deactivated_ms = 0")
_LOCKED = sql(f"select {_COLUMNS} from accounts where account_no = :account_no {{for_update}}")
_TAKEN = sql("select 1 from accounts where localpart = :localpart")
_LIST = sql(
    f"select {_COLUMNS} from accounts where localpart > :after order by localpart limit :most"
)
_COUNT = sql("select count(*) from accounts where deactivated_ms = 0")
_LOCK = sql("update accounts set locked = :locked where account_no = :account_no")
_SUSPEND = sql("update accounts set suspended = :suspended where account_no = :account_no")
_ADMIN = sql("update accounts set admin = :admin where account_no = :account_no")
_CLOSE = sql(
    "update accounts set deactivated_ms = :now, erased = :erased, admin = 0"
    " where account_no = :account_no"
)
_PASSWORD = sql(
    "select salt, memory_kib, passes, lanes, proof_hash from passwords"
    " where account_no = :account_no"
)
_SET_PASSWORD = sql(
    "insert into passwords (account_no, salt, memory_kib, passes, lanes, proof_hash, set_ms)"
    " values (:account_no, :salt, :memory_kib, :passes, :lanes, :proof_hash, :now)"
    " on conflict (account_no) do update set salt = excluded.salt,"
    " memory_kib = excluded.memory_kib, passes = excluded.passes, lanes = excluded.lanes,"
    " proof_hash = excluded.proof_hash, set_ms = excluded.set_ms"
)
_DROP_PASSWORD = sql("delete from passwords where account_no = :account_no")


@dataclass(frozen=True, slots=True)
class Account:
    """A person or bot here. `account_no` is the number of its user."""

    account_no: int
    localpart: str
    kind: str
    created_ms: int
    admin: bool
    locked: bool
    suspended: bool
    deactivated_ms: int
    erased: bool

    @property
    def active(self) -> bool:
        """Whether it has not been closed."""
        return not self.deactivated_ms


def _account(row: Row) -> Account:
    no, localpart, kind, created_ms, admin, locked, suspended, deactivated_ms, erased = row
    return Account(
        no,
        localpart,
        kind,
        created_ms,
        bool(admin),
        bool(locked),
        bool(suspended),
        deactivated_ms,
        bool(erased),
    )


async def add(
    tx: Tx, account_no: int, localpart: str, now_ms: int, *, kind: str = "person", admin: bool
) -> bool:
    """Gives a name to an account; false if it was given before, ever."""
    added = await tx.run(
        _ADD,
        account_no=account_no,
        localpart=localpart,
        kind=kind,
        now=now_ms,
        admin=int(admin),
    )
    return added == 1


async def by_no(snap: Snap, account_no: int) -> Account | None:
    """An account by number, also a closed one."""
    row = await snap.one(_BY_NO, account_no=account_no)
    return _account(row) if row else None


async def lock(tx: Tx, account_no: int) -> Account | None:
    """An open account, held until the transaction ends: it cannot be closed meanwhile."""
    row = await tx.one(_LOCKED, account_no=account_no)
    account = _account(row) if row else None
    return account if account is not None and account.active else None


async def number_of(snap: Snap, localpart: str) -> int | None:
    """The number of an open account; None where there is none of this name."""
    row = await snap.one(_NUMBER, localpart=localpart)
    return row[0] if row else None


async def by_localpart(snap: Snap, localpart: str) -> Account | None:
    """An account by name, also a closed one."""
    row = await snap.one(_BY_LOCALPART, localpart=localpart)
    return _account(row) if row else None


async def taken(snap: Snap, localpart: str) -> bool:
    """Whether a name was ever given."""
    return await snap.one(_TAKEN, localpart=localpart) is not None


async def page(snap: Snap, after: str, most: int) -> list[Account]:
    """Accounts in the order of their names, after a name."""
    return [_account(row) for row in await snap.all(_LIST, after=after, most=most)]


async def count(snap: Snap) -> int:
    """How many accounts are open."""
    row = await snap.one(_COUNT)
    return int(row[0]) if row else 0


async def set_locked(tx: Tx, account_no: int, locked: bool) -> None:
    """CS #account-locking."""
    await tx.run(_LOCK, account_no=account_no, locked=int(locked))


async def set_suspended(tx: Tx, account_no: int, suspended: bool) -> None:
    """CS #account-suspension."""
    await tx.run(_SUSPEND, account_no=account_no, suspended=int(suspended))


async def set_admin(tx: Tx, account_no: int, admin: bool) -> None:
    """Makes an administrator, or no longer."""
    await tx.run(_ADMIN, account_no=account_no, admin=int(admin))


async def close(tx: Tx, account_no: int, now_ms: int, erased: bool) -> None:
    """Closes an account for good; its row keeps the name from others."""
    await tx.run(_CLOSE, account_no=account_no, now=now_ms, erased=int(erased))


async def password(snap: Snap, account_no: int) -> StoredPassword | None:
    """What is kept of the password."""
    row = await snap.one(_PASSWORD, account_no=account_no)
    return stored_password(row) if row else None


def stored_password(row: Row) -> StoredPassword:
    """Salt, memory, passes, lanes, proof's hash."""
    salt, memory_kib, passes, lanes, proof_hash = row
    return StoredPassword(bytes(salt), Argon2(memory_kib, passes, lanes), bytes(proof_hash))


async def set_password(tx: Tx, account_no: int, kept: StoredPassword, now_ms: int) -> None:
    """Sets or replaces the password."""
    await tx.run(
        _SET_PASSWORD,
        account_no=account_no,
        salt=kept.salt,
        memory_kib=kept.cost.memory_kib,
        passes=kept.cost.passes,
        lanes=kept.cost.lanes,
        proof_hash=kept.proof_hash,
        now=now_ms,
    )


async def drop_password(tx: Tx, account_no: int) -> None:
    """Forgets the password: nobody can log in with one."""
    await tx.run(_DROP_PASSWORD, account_no=account_no)
