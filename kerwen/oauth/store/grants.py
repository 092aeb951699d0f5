"""What was allowed: authorisation codes, device codes, and the sessions that came of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_ADD_CODE = sql(
    "insert into oauth_codes (code_no, hash, account_no, client_no, device_id, scope,"
    " redirect_uri, challenge, expires_ms) values (:code_no, :hash, :account_no, :client_no,"
    " :device_id, :scope, :redirect_uri, :challenge, :expires_ms)"
)
_CODE = sql(
    "select code_no, account_no, client_no, device_id, scope, redirect_uri, challenge,"
    " expires_ms, device_no from oauth_codes where hash = :hash {for_update}"
)
_SPEND_CODE = sql("update oauth_codes set device_no = :device_no where code_no = :code_no")
_DROP_CODE = sql("delete from oauth_codes where code_no {in_ints:code_nos}")
_CODES_OF = sql(
    "select code_no from oauth_codes where account_no = :account_no order by code_no desc"
)
_STALE_CODES = sql(
    "select code_no, account_no from oauth_codes where expires_ms <= :before"
    " order by expires_ms limit 200"
)
_ADD_ASK = sql(
    "insert into oauth_device_codes (code_no, hash, user_code, public_key, client_no, device_id,"
    " scope, expires_ms, interval_ms) values (:code_no, :hash, :user_code, :public_key,"
    " :client_no, :device_id, :scope, :expires_ms, :interval_ms)"
    " on conflict (user_code) do nothing"
)
_ASK_COLUMNS = (
    "code_no, user_code, public_key, client_no, device_id, scope, expires_ms, interval_ms,"
    " polled_ms, state, account_no, box"
)
_ASK = sql(f"select {_ASK_COLUMNS} from oauth_device_codes where hash = :hash {{for_update}}")
_ASK_TYPED = sql(f"select {_ASK_COLUMNS} from oauth_device_codes where user_code = :user_code")
_ASK_HELD = sql(_ASK_TYPED.text + " {for_update}")
_POLLED = sql(
    "update oauth_device_codes set polled_ms = :now, interval_ms = :interval_ms"
    " where code_no = :code_no"
)
_DECIDE = sql(
    "update oauth_device_codes set state = :state, account_no = :account_no, box = :box"
    " where code_no = :code_no"
)
_DROP_ASK = sql("delete from oauth_device_codes where code_no {in_ints:code_nos}")
_ASKS_OF = sql("select code_no from oauth_device_codes where account_no = :account_no")
_STALE_ASKS = sql(
    "select code_no, account_no from oauth_device_codes where expires_ms <= :before"
    " order by expires_ms limit 200"
)
_ADD_SESSION = sql(
    "insert into oauth_sessions (device_no, client_no, scope) values (:device_no, :client_no,"
    " :scope) on conflict (device_no) do update set client_no = excluded.client_no,"
    " scope = excluded.scope"
)
_SESSION = sql("select client_no, scope from oauth_sessions where device_no = :device_no")
_SPENT = sql("select account_no, device_no from spent_refresh_tokens where hash = :hash")
_DROP_SPENT = sql("delete from spent_refresh_tokens where spent_ms < :before")
_ALLOW_RESET = sql(
    "insert into key_resets (account_no, until_ms) values (:account_no, :until_ms)"
    " on conflict (account_no) do update set until_ms = excluded.until_ms"
)
_RESET = sql("select until_ms from key_resets where account_no = :account_no")
_END_RESET = sql("delete from key_resets where account_no = :account_no")
_DROP_RESETS = sql("delete from key_resets where until_ms <= :now")

ASKED, ALLOWED, DENIED = "asked", "allowed", "denied"


@dataclass(frozen=True, slots=True)
class Code:
    """An authorisation code. `device_no` 0: not exchanged yet."""

    code_no: int
    account_no: int
    client_no: int
    device_id: str
    scope: str
    redirect_uri: str
    challenge: str
    expires_ms: int
    device_no: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A device that waits to be allowed in (RFC 8628)."""

    code_no: int
    user_code: str
    public_key: bytes
    client_no: int
    device_id: str
    scope: str
    expires_ms: int
    interval_ms: int
    polled_ms: int = 0
    state: str = ASKED
    account_no: int = 0
    box: bytes | None = None


def _ask(row: Row) -> Ask:
    ask = Ask(*row)
    box = bytes(ask.box) if ask.box is not None else None
    return replace(ask, public_key=bytes(ask.public_key), box=box)


async def add_code(tx: Tx, hashed: bytes, code: Code) -> None:
    """Adds an authorisation code."""
    await tx.run(
        _ADD_CODE,
        code_no=code.code_no,
        hash=hashed,
        account_no=code.account_no,
        client_no=code.client_no,
        device_id=code.device_id,
        scope=code.scope,
        redirect_uri=code.redirect_uri,
        challenge=code.challenge,
        expires_ms=code.expires_ms,
    )


async def hold_code(tx: Tx, hashed: bytes) -> Code | None:
    """A code, held until the transaction ends."""
    row = await tx.one(_CODE, hash=hashed)
    return Code(*row) if row else None


async def spend_code(tx: Tx, code_no: int, device_no: int) -> None:
    """The code was exchanged; it is known for a while so that a second try is noticed."""
    await tx.run(_SPEND_CODE, code_no=code_no, device_no=device_no)


async def codes_of(tx: Tx, account_no: int) -> list[int]:
    """Codes of an account, the newest first."""
    return [row[0] for row in await tx.all(_CODES_OF, account_no=account_no)]


async def drop_codes(tx: Tx, code_nos: list[int]) -> None:
    """Forgets codes."""
    await tx.run(_DROP_CODE, code_nos=code_nos)


async def stale_codes(tx: Tx, before_ms: int) -> list[tuple[int, int]]:
    """Codes that ended before: `(code_no, account_no)`, 200 at a time."""
    return [(row[0], row[1]) for row in await tx.all(_STALE_CODES, before=before_ms)]


async def add_ask(tx: Tx, hashed: bytes, ask: Ask) -> bool:
    """A device asks; false if its user code is in use."""
    added = await tx.run(
        _ADD_ASK,
        code_no=ask.code_no,
        hash=hashed,
        user_code=ask.user_code,
        public_key=ask.public_key,
        client_no=ask.client_no,
        device_id=ask.device_id,
        scope=ask.scope,
        expires_ms=ask.expires_ms,
        interval_ms=ask.interval_ms,
    )
    return added == 1


async def hold_ask(tx: Tx, hashed: bytes) -> Ask | None:
    """What a device asked for, by its device code; held until the transaction ends."""
    row = await tx.one(_ASK, hash=hashed)
    return _ask(row) if row else None


async def ask_typed(snap: Snap, user_code: str) -> Ask | None:
    """What a device asked for, by the code that it shows."""
    row = await snap.one(_ASK_TYPED, user_code=user_code)
    return _ask(row) if row else None


async def hold_ask_typed(tx: Tx, user_code: str) -> Ask | None:
    """The same, held until the transaction ends."""
    row = await tx.one(_ASK_HELD, user_code=user_code)
    return _ask(row) if row else None


async def polled(tx: Tx, code_no: int, interval_ms: int, now_ms: int) -> None:
    """The device asked whether it may."""
    await tx.run(_POLLED, code_no=code_no, interval_ms=interval_ms, now=now_ms)


async def decide(tx: Tx, code_no: int, state: str, account_no: int, box: bytes | None) -> None:
    """Somebody allowed or denied it."""
    await tx.run(_DECIDE, code_no=code_no, state=state, account_no=account_no, box=box)


async def drop_asks(tx: Tx, code_nos: list[int]) -> None:
    """Forgets what devices asked for."""
    await tx.run(_DROP_ASK, code_nos=code_nos)


async def asks_of(tx: Tx, account_no: int) -> list[int]:
    """What an account allowed and no device has fetched yet."""
    return [row[0] for row in await tx.all(_ASKS_OF, account_no=account_no)]


async def stale_asks(tx: Tx, before_ms: int) -> list[tuple[int, int]]:
    """Device codes that ended before: `(code_no, account_no)`, 200 at a time."""
    return [(row[0], row[1]) for row in await tx.all(_STALE_ASKS, before=before_ms)]


async def add_session(tx: Tx, device_no: int, client_no: int, scope: str) -> None:
    """The tokens of a device are a client's; `accounts.store.tokens` ends it with them."""
    await tx.run(_ADD_SESSION, device_no=device_no, client_no=client_no, scope=scope)


async def session(snap: Snap, device_no: int) -> tuple[int, str] | None:
    """Client and scope of a device's tokens; None where no OAuth client holds them."""
    row = await snap.one(_SESSION, device_no=device_no)
    return (row[0], row[1]) if row else None


async def spent_by(snap: Snap, hashed: bytes) -> tuple[int, int] | None:
    """Account and device of a refresh token that was replaced."""
    row = await snap.one(_SPENT, hash=hashed)
    return (row[0], row[1]) if row else None


async def drop_spent(tx: Tx, before_ms: int) -> None:
    """Forgets tokens that were replaced long ago."""
    await tx.run(_DROP_SPENT, before=before_ms)


async def allow_reset(tx: Tx, account_no: int, until_ms: int) -> None:
    """New cross-signing keys may be uploaded until then."""
    await tx.run(_ALLOW_RESET, account_no=account_no, until_ms=until_ms)


async def reset_allowed(snap: Snap, account_no: int, now_ms: int) -> bool:
    """Whether new cross-signing keys may be uploaded now."""
    row = await snap.one(_RESET, account_no=account_no)
    return row is not None and row[0] > now_ms


async def end_reset(tx: Tx, account_no: int) -> bool:
    """New keys are there, or nobody wants them any more; false if none were allowed."""
    return await tx.run(_END_RESET, account_no=account_no) == 1


async def drop_resets(tx: Tx, now_ms: int) -> None:
    """Forgets what was allowed and not used."""
    await tx.run(_DROP_RESETS, now=now_ms)


def code_ref(code_no: int) -> str:
    """The vault's slot of an authorisation code."""
    return f"oauth-{code_no}"


def device_ref(code_no: int) -> str:
    """The vault's slot of a device code."""
    return f"device-{code_no}"
