"""Access, refresh and log-in tokens, app passwords: by the hash of the secret.

A refresh gives a new pair whose `retires` names the old refresh token; the first use of either
half of the new pair ends the old one, and soon the access tokens that were given with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD_ACCESS = sql(
    "insert into access_tokens (token_no, hash, account_no, device_no, refresh_no, retires,"
    " created_ms, expires_ms) values (:token_no, :hash, :account_no, :device_no, :refresh_no,"
    " :retires, :now, :expires_ms)"
)
_ADD_REFRESH = sql(
    "insert into refresh_tokens (token_no, hash, account_no, device_no, retires,"
    " created_ms, expires_ms) values (:token_no, :hash, :account_no, :device_no, :retires,"
    " :now, :expires_ms)"
)
_HOLDER = sql(
    "select t.token_no, t.account_no, t.device_no, t.expires_ms, t.refresh_no, t.retires,"
    " d.device_id, a.localpart, a.admin, a.locked, a.suspended, o.client_no"
    " from access_tokens t join accounts a on a.account_no = t.account_no"
    " join devices d on d.device_no = t.device_no"
    " left join oauth_sessions o on o.device_no = t.device_no"
    " where t.hash = :hash and a.deactivated_ms = 0"
)
_RESTORED = sql("select max(at_ms) from restores")
_NOTE_RESTORE = sql("insert into restores (at_ms) values (:now) on conflict (at_ms) do nothing")
_REFRESH = sql(
    "select token_no, account_no, device_no, retires, expires_ms from refresh_tokens"
    " where hash = :hash"
)
_REFRESHABLE = sql(
    "select 1 from refresh_tokens where device_no = :device_no"
    " and (expires_ms = 0 or expires_ms > :now) limit 1"
)
_SUCCESSORS = sql(
    "select token_no from refresh_tokens where retires = :token_no and retires > 0"
    " order by token_no limit 100"
)
_REMEMBER_SPENT = sql(
    "insert into spent_refresh_tokens (hash, account_no, device_no, spent_ms)"
    " select r.hash, r.account_no, r.device_no, :now from refresh_tokens r"
    " join oauth_sessions o on o.device_no = r.device_no"
    " where r.token_no = :token_no on conflict (hash) do nothing"
)
_SHORTEN = sql(
    "update access_tokens set refresh_no = 0, expires_ms ="
    " case when expires_ms = 0 or expires_ms > :until then :until else expires_ms end"
    " where refresh_no = :refresh_no and refresh_no > 0"
)
_ALONE = sql(
    "update access_tokens set refresh_no = 0"
    " where refresh_no {in_ints:token_nos} and refresh_no > 0"
)
_RETIRED_ACCESS = sql(
    "update access_tokens set retires = 0 where retires = :token_no and retires > 0"
)
_RETIRED_REFRESH = sql(
    "update refresh_tokens set retires = 0 where retires = :token_no and retires > 0"
)
_STALE_ACCESS = sql(
    "select token_no, account_no from access_tokens where refresh_no = 0"
    " and expires_ms > 0 and expires_ms <= :before order by expires_ms limit 500"
)
_STALE_REFRESH = sql(
    "select token_no, account_no from refresh_tokens"
    " where expires_ms > 0 and expires_ms <= :before order by expires_ms limit 500"
)
_DROP_ACCESS = sql("delete from access_tokens where token_no {in_ints:token_nos}")
_DROP_REFRESH = sql("delete from refresh_tokens where token_no {in_ints:token_nos}")
_ACCESS_OF = sql("select token_no from access_tokens where device_no {in_ints:device_nos}")
_REFRESH_OF = sql("select token_no from refresh_tokens where device_no {in_ints:device_nos}")
_DROP_ACCESS_OF = sql("delete from access_tokens where device_no {in_ints:device_nos}")
_DROP_REFRESH_OF = sql("delete from refresh_tokens where device_no {in_ints:device_nos}")
_DROP_CLIENTS_OF = sql("delete from oauth_sessions where device_no {in_ints:device_nos}")
_DROP_SPENT_OF = sql("delete from spent_refresh_tokens where device_no {in_ints:device_nos}")
_ADD_LOGIN = sql(
    "insert into login_tokens (token_no, hash, account_no, expires_ms)"
    " values (:token_no, :hash, :account_no, :expires_ms)"
)
_TAKE_LOGIN = sql(
    "delete from login_tokens where hash = :hash returning token_no, account_no, expires_ms"
)
_STALE_LOGINS = sql(
    "select token_no, account_no from login_tokens where expires_ms <= :now"
    " order by expires_ms limit 100"
)
_LOGINS_OF = sql("select token_no from login_tokens where account_no = :account_no")
_DROP_LOGINS = sql("delete from login_tokens where token_no {in_ints:token_nos}")
_ADD_APP = sql(
    "insert into app_passwords (app_no, hash, account_no, name, created_ms)"
    " values (:app_no, :hash, :account_no, :name, :now)"
)
_APP = sql("select app_no, account_no from app_passwords where hash = :hash")
_APPS = sql(
    "select app_no, name, created_ms, used_ms from app_passwords"
    " where account_no = :account_no order by app_no"
)
_USE_APP = sql("update app_passwords set used_ms = :now where app_no = :app_no")
_APPS_NOS = sql("select app_no from app_passwords where account_no = :account_no")
_DROP_APPS = sql("delete from app_passwords where account_no = :account_no")
_DROP_APP = sql("delete from app_passwords where account_no = :account_no and app_no = :app_no")


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose an access token is."""

    token_no: int
    account_no: int
    device_no: int
    expires_ms: int
    refresh_no: int
    retires: int
    device_id: str
    localpart: str
    admin: bool
    locked: bool
    suspended: bool
    oauth: bool  # an OAuth client holds it


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token. `retires` is the one before it, until it is used."""

    token_no: int
    account_no: int
    device_no: int
    retires: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class AppPassword:
    """An app password as its owner sees it."""

    app_no: int
    name: str
    created_ms: int
    used_ms: int


async def add_access(
    tx: Tx,
    token_no: int,
    hashed: bytes,
    account_no: int,
    device_no: int,
    now_ms: int,
    *,
    refresh_no: int = 0,
    retires: int = 0,
    expires_ms: int = 0,
) -> None:
    """Adds an access token."""
    await tx.run(
        _ADD_ACCESS,
        token_no=token_no,
        hash=hashed,
        account_no=account_no,
        device_no=device_no,
        refresh_no=refresh_no,
        retires=retires,
        now=now_ms,
        expires_ms=expires_ms,
    )


async def add_refresh(
    tx: Tx,
    token_no: int,
    hashed: bytes,
    account_no: int,
    device_no: int,
    now_ms: int,
    *,
    retires: int = 0,
    expires_ms: int = 0,
) -> None:
    """Adds a refresh token."""
    await tx.run(
        _ADD_REFRESH,
        token_no=token_no,
        hash=hashed,
        account_no=account_no,
        device_no=device_no,
        retires=retires,
        now=now_ms,
        expires_ms=expires_ms,
    )


async def holder(snap: Snap, hashed: bytes) -> Holder | None:
    """Whose an access token is, expired or not; nobody's if the account is closed."""
    row = await snap.one(_HOLDER, hash=hashed)
    if row is None:
        return None
    token_no, account_no, device_no, expires_ms, refresh_no, retires = row[:6]
    device_id, localpart, admin, locked, suspended, client_no = row[6:]
    return Holder(
        token_no,
        account_no,
        device_no,
        expires_ms,
        refresh_no,
        retires,
        device_id,
        localpart,
        bool(admin),
        bool(locked),
        bool(suspended),
        client_no is not None,
    )


async def refresh_token(snap: Snap, hashed: bytes) -> RefreshToken | None:
    """A refresh token, ended or not."""
    row = await snap.one(_REFRESH, hash=hashed)
    return RefreshToken(*row) if row else None


async def refreshable(snap: Snap, device_no: int, now_ms: int) -> bool:
    """Whether a device can still refresh."""
    return await snap.one(_REFRESHABLE, device_no=device_no, now=now_ms) is not None


async def successors(snap: Snap, token_no: int) -> list[int]:
    """Refresh tokens that were given for this one and not used yet, oldest first."""
    return [row[0] for row in await snap.all(_SUCCESSORS, token_no=token_no)]


async def retire(tx: Tx, refresh_no: int, until_ms: int) -> None:
    """Ends a refresh token; the access tokens given with it live until `until_ms` at most."""
    await tx.run(_REMEMBER_SPENT, token_no=refresh_no, now=until_ms)
    await tx.run(_DROP_REFRESH, token_nos=[refresh_no])
    await tx.run(_SHORTEN, refresh_no=refresh_no, until=until_ms)
    await tx.run(_RETIRED_ACCESS, token_no=refresh_no)
    await tx.run(_RETIRED_REFRESH, token_no=refresh_no)


async def stale_access(tx: Tx, before_ms: int) -> list[tuple[int, int]]:
    """Access tokens that ended before and that nobody can refresh: `(token_no, account_no)`, 500
    at a time. Others stay, so that their clients are told of a soft logout.
    """
    return [(row[0], row[1]) for row in await tx.all(_STALE_ACCESS, before=before_ms)]


async def stale_refresh(tx: Tx, before_ms: int) -> list[tuple[int, int]]:
    """Refresh tokens that ended before: `(token_no, account_no)`, 500 at a time."""
    return [(row[0], row[1]) for row in await tx.all(_STALE_REFRESH, before=before_ms)]


async def drop_access(tx: Tx, token_nos: list[int]) -> None:
    """Ends access tokens."""
    await tx.run(_DROP_ACCESS, token_nos=token_nos)


async def drop_refresh(tx: Tx, token_nos: list[int]) -> None:
    """Ends refresh tokens; the access tokens given with them stand alone from now on."""
    await tx.run(_ALONE, token_nos=token_nos)
    await tx.run(_DROP_REFRESH, token_nos=token_nos)


async def drop_of_devices(tx: Tx, device_nos: Iterable[int]) -> tuple[list[int], list[int]]:
    """Ends every token of some devices; the numbers of the access and the refresh tokens."""
    nos = list(device_nos)
    access = [row[0] for row in await tx.all(_ACCESS_OF, device_nos=nos)]
    refresh = [row[0] for row in await tx.all(_REFRESH_OF, device_nos=nos)]
    if access:
        await tx.run(_DROP_ACCESS_OF, device_nos=nos)
    if refresh:
        await tx.run(_DROP_REFRESH_OF, device_nos=nos)
        await tx.run(_DROP_SPENT_OF, device_nos=nos)
    await tx.run(_DROP_CLIENTS_OF, device_nos=nos)
    return access, refresh


async def add_login(tx: Tx, token_no: int, hashed: bytes, account_no: int, expires_ms: int) -> None:
    """Adds a log-in token."""
    await tx.run(
        _ADD_LOGIN, token_no=token_no, hash=hashed, account_no=account_no, expires_ms=expires_ms
    )


async def take_login(tx: Tx, hashed: bytes) -> tuple[int, int, int] | None:
    """Uses up a log-in token: its number, account and end."""
    row = await tx.one(_TAKE_LOGIN, hash=hashed)
    return (row[0], row[1], row[2]) if row else None


async def stale_logins(tx: Tx, now_ms: int) -> list[tuple[int, int]]:
    """Log-in tokens that nobody used: `(token_no, account_no)`."""
    return [(row[0], row[1]) for row in await tx.all(_STALE_LOGINS, now=now_ms)]


async def logins_of(tx: Tx, account_no: int) -> list[int]:
    """Log-in tokens of an account."""
    return [row[0] for row in await tx.all(_LOGINS_OF, account_no=account_no)]


async def drop_logins(tx: Tx, token_nos: list[int]) -> None:
    """Ends log-in tokens."""
    await tx.run(_DROP_LOGINS, token_nos=token_nos)


async def add_app_password(
    tx: Tx, app_no: int, hashed: bytes, account_no: int, name: str, now_ms: int
) -> None:
    """Adds an app password."""
    await tx.run(_ADD_APP, app_no=app_no, hash=hashed, account_no=account_no, name=name, now=now_ms)


async def app_password(snap: Snap, hashed: bytes) -> tuple[int, int] | None:
    """Number and account of an app password."""
    row = await snap.one(_APP, hash=hashed)
    return (row[0], row[1]) if row else None


async def app_passwords(snap: Snap, account_no: int) -> list[AppPassword]:
    """The app passwords of an account; `APP_PASSWORDS_MAX` bounds them."""
    return [AppPassword(*row) for row in await snap.all(_APPS, account_no=account_no)]


async def use_app_password(tx: Tx, app_no: int, now_ms: int) -> None:
    """Notes a log-in with an app password."""
    await tx.run(_USE_APP, app_no=app_no, now=now_ms)


async def drop_app_passwords(tx: Tx, account_no: int) -> list[int]:
    """Ends every app password of an account; their numbers."""
    nos = [row[0] for row in await tx.all(_APPS_NOS, account_no=account_no)]
    if nos:
        await tx.run(_DROP_APPS, account_no=account_no)
    return nos


async def drop_app_password(tx: Tx, account_no: int, app_no: int) -> bool:
    """Ends an app password; false if the account has none of this number."""
    return await tx.run(_DROP_APP, account_no=account_no, app_no=app_no) == 1


async def restored_since(snap: Snap, since_ms: int) -> bool:
    """Whether a backup was put back after a time: tokens newer than it are unknown here."""
    row = await snap.one(_RESTORED)
    return row is not None and row[0] is not None and row[0] > since_ms


async def note_restore(tx: Tx, now_ms: int) -> None:
    """A backup was put back."""
    await tx.run(_NOTE_RESTORE, now=now_ms)
