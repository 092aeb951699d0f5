"""Registration tokens, and password resets that an administrator has begun."""

from __future__ import annotations

from dataclasses import dataclass

from kerwen.accounts.password import StoredPassword
from kerwen.accounts.store.accounts import stored_password
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_VALID = sql(
    "select 1 from registration_tokens where token = :token"
    " and (expires_ms = 0 or expires_ms > :now) and (uses_max = 0 or uses < uses_max)"
)
_USE = sql(
    "update registration_tokens set uses = uses + 1 where token = :token"
    " and (expires_ms = 0 or expires_ms > :now) and (uses_max = 0 or uses < uses_max)"
)
_ADD = sql(
    "insert into registration_tokens (token, uses_max, expires_ms, created_ms, created_by)"
    " values (:token, :uses_max, :expires_ms, :now, :created_by) on conflict do nothing"
)
_LIST = sql(
    "select token, uses, uses_max, expires_ms from registration_tokens"
    " order by created_ms desc, token limit 1000"
)
_DROP = sql("delete from registration_tokens where token = :token")
_RESET_COLUMNS = (
    "salt, memory_kib, passes, lanes, proof_hash, account_no, begun_ms, begun_by, effect_ms"
)
_BEGIN_RESET = sql(
    "insert into password_resets (account_no, salt, memory_kib, passes, lanes, proof_hash,"
    " begun_ms, begun_by, effect_ms) values (:account_no, :salt, :memory_kib, :passes, :lanes,"
    " :proof_hash, :now, :begun_by, :effect_ms) on conflict (account_no) do update set"
    " salt = excluded.salt, memory_kib = excluded.memory_kib, passes = excluded.passes,"
    " lanes = excluded.lanes, proof_hash = excluded.proof_hash, begun_ms = excluded.begun_ms,"
    " begun_by = excluded.begun_by, effect_ms = excluded.effect_ms, told = 0"
)
_UNTOLD = sql(
    "select r.account_no, a.localpart, r.effect_ms from password_resets r"
    " join accounts a on a.account_no = r.account_no where r.told = 0"
    " order by r.effect_ms limit 100"
)
_TOLD = sql(
    "update password_resets set told = 1 where account_no = :account_no and effect_ms = :effect_ms"
)
_RESET = sql(f"select {_RESET_COLUMNS} from password_resets where account_no = :account_no")
_DUE = sql(
    f"select {_RESET_COLUMNS} from password_resets where effect_ms <= :now"
    " order by effect_ms limit 100"
)
_END_RESET = sql("delete from password_resets where account_no = :account_no")


@dataclass(frozen=True, slots=True)
class RegistrationToken:
    """An invitation. `uses_max` 0: any number; `expires_ms` 0: never."""

    token: str
    uses: int
    uses_max: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A new password that is not in force yet."""

    kept: StoredPassword
    account_no: int
    begun_ms: int
    begun_by: int
    effect_ms: int


@dataclass(frozen=True, slots=True)
class Untold:
    """A reset that its owner has not heard of."""

    account_no: int
    localpart: str
    effect_ms: int


async def token_valid(snap: Snap, token: str, now_ms: int) -> bool:
    """Whether a registration token would let somebody in now."""
    return await snap.one(_VALID, token=token, now=now_ms) is not None


async def use_token(tx: Tx, token: str, now_ms: int) -> bool:
    """Counts one use; false if there is none left."""
    return await tx.run(_USE, token=token, now=now_ms) == 1


async def add_token(
    tx: Tx, token: str, uses_max: int, expires_ms: int, created_by: int, now_ms: int
) -> bool:
    """Adds a registration token; false if it is there already."""
    added = await tx.run(
        _ADD,
        token=token,
        uses_max=uses_max,
        expires_ms=expires_ms,
        created_by=created_by,
        now=now_ms,
    )
    return added == 1


async def tokens(snap: Snap) -> list[RegistrationToken]:
    """The newest thousand registration tokens."""
    return [RegistrationToken(*row) for row in await snap.all(_LIST)]


async def drop_token(tx: Tx, token: str) -> bool:
    """Takes an invitation back; false if there is none."""
    return await tx.run(_DROP, token=token) == 1


async def begin_reset(tx: Tx, reset: PasswordReset) -> None:
    """Begins a reset; one that was begun before is replaced, and waits anew."""
    await tx.run(
        _BEGIN_RESET,
        account_no=reset.account_no,
        salt=reset.kept.salt,
        memory_kib=reset.kept.cost.memory_kib,
        passes=reset.kept.cost.passes,
        lanes=reset.kept.cost.lanes,
        proof_hash=reset.kept.proof_hash,
        now=reset.begun_ms,
        begun_by=reset.begun_by,
        effect_ms=reset.effect_ms,
    )


def _reset(row: Row) -> PasswordReset:
    return PasswordReset(stored_password(row[:5]), *row[5:])


async def reset_of(snap: Snap, account_no: int) -> PasswordReset | None:
    """The reset begun for an account."""
    row = await snap.one(_RESET, account_no=account_no)
    return _reset(row) if row else None


async def resets_due(snap: Snap, now_ms: int) -> list[PasswordReset]:
    """Resets whose waiting time is over, a hundred at a time."""
    return [_reset(row) for row in await snap.all(_DUE, now=now_ms)]


async def resets_untold(snap: Snap) -> list[Untold]:
    """Resets whose owners have not heard of them, a hundred at a time."""
    return [Untold(*row) for row in await snap.all(_UNTOLD)]


async def reset_told(tx: Tx, account_no: int, effect_ms: int) -> None:
    """The owner has heard of this reset."""
    await tx.run(_TOLD, account_no=account_no, effect_ms=effect_ms)


async def end_reset(tx: Tx, account_no: int) -> bool:
    """Forgets a reset, stopped or done; false if there was none."""
    return await tx.run(_END_RESET, account_no=account_no) == 1
