"""Second factors, recovery codes, wrong tries, and resets that wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kerwen.accounts.store.invitations import Untold
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_COLUMNS = (
    "factor_no, account_no, kind, name, created_ms, used_ms, generation, secret, credential_id,"
    " counter, opens_vault"
)
_ANY = sql("select 1 from second_factors where account_no = :account_no limit 1")
_OF = sql(
    f"select {_COLUMNS} from second_factors where account_no = :account_no order by factor_no"
)
_BY_CREDENTIAL = sql(f"select {_COLUMNS} from second_factors where credential_id = :credential_id")
_ADD = sql(
    f"insert into second_factors ({_COLUMNS}) values (:factor_no, :account_no, :kind, :name,"
    " :created_ms, :used_ms, :generation, :secret, :credential_id, :counter, :opens_vault)"
    " on conflict do nothing"
)
_STEP = sql(
    "update second_factors set counter = :step, used_ms = :now"
    " where factor_no = :factor_no and counter < :step"
)
_SIGNED = sql(
    "update second_factors set counter = :counter, used_ms = :now"
    " where factor_no = :factor_no and (counter < :counter or (counter = 0 and :counter = 0))"
)
_DROP = sql("delete from second_factors where account_no = :account_no and factor_no = :factor_no")
_DROP_ALL = tuple(
    sql(f"delete from {table} where account_no = :account_no")
    for table in ("second_factors", "recovery_codes", "code_failures", "second_factor_resets")
)
_ADD_CODE = sql("insert into recovery_codes (account_no, hash) values (:account_no, :hash)")
_USE_CODE = sql("delete from recovery_codes where account_no = :account_no and hash = :hash")
_DROP_CODES = sql("delete from recovery_codes where account_no = :account_no")
_CODES_LEFT = sql("select count(*) from recovery_codes where account_no = :account_no")
_FAILURES = sql("select failures, until_ms from code_failures where account_no = :account_no")
_FAILED = sql(
    "insert into code_failures (account_no, failures, until_ms)"
    " values (:account_no, :failures, :until_ms) on conflict (account_no)"
    " do update set failures = excluded.failures, until_ms = excluded.until_ms"
)
_FORGIVE = sql("delete from code_failures where account_no = :account_no")
_BEGIN_RESET = sql(
    "insert into second_factor_resets (account_no, begun_ms, begun_by, effect_ms)"
    " values (:account_no, :now, :begun_by, :effect_ms) on conflict (account_no)"
    " do update set begun_ms = excluded.begun_ms, begun_by = excluded.begun_by,"
    " effect_ms = excluded.effect_ms, told = 0"
)
_UNTOLD = sql(
    "select r.account_no, a.localpart, r.effect_ms from second_factor_resets r"
    " join accounts a on a.account_no = r.account_no where r.told = 0"
    " order by r.effect_ms limit 100"
)
_TOLD = sql(
    "update second_factor_resets set told = 1"
    " where account_no = :account_no and effect_ms = :effect_ms"
)
_RESET = sql(
    "select account_no, begun_ms, effect_ms from second_factor_resets"
    " where account_no = :account_no"
)
_DUE = sql(
    "select account_no, begun_ms, effect_ms from second_factor_resets where effect_ms <= :now"
    " order by effect_ms limit 100"
)
_END_RESET = sql("delete from second_factor_resets where account_no = :account_no")


@dataclass(frozen=True, slots=True)
class Factor:
    """A second factor. `secret`: a TOTP secret, sealed, or a passkey's public key."""

    factor_no: int
    account_no: int
    kind: str
    name: str
    created_ms: int
    used_ms: int
    generation: int
    secret: bytes
    credential_id: bytes | None
    counter: int
    opens_vault: bool


@dataclass(frozen=True, slots=True)
class FactorReset:
    """An account's second factors go at `effect_ms`, unless somebody stops it."""

    account_no: int
    begun_ms: int
    effect_ms: int


def _factor(row: Row) -> Factor:
    no, account_no, kind, name, created_ms, used_ms, generation, secret = row[:8]
    credential_id, counter, opens_vault = row[8:]
    return Factor(
        no,
        account_no,
        kind,
        name,
        created_ms,
        used_ms,
        generation,
        bytes(secret),
        None if credential_id is None else bytes(credential_id),
        counter,
        bool(opens_vault),
    )


async def stands(snap: Snap, account_no: int) -> bool:
    """Whether the account has a second factor."""
    return await snap.one(_ANY, account_no=account_no) is not None


async def of(snap: Snap, account_no: int) -> list[Factor]:
    """The factors of an account, oldest first; `SECOND_FACTORS_MAX` bounds them."""
    return [_factor(row) for row in await snap.all(_OF, account_no=account_no)]


async def by_credential(snap: Snap, credential_id: bytes) -> Factor | None:
    """The passkey of a credential id, whoever's it is."""
    row = await snap.one(_BY_CREDENTIAL, credential_id=credential_id)
    return _factor(row) if row else None


async def add(tx: Tx, factor: Factor) -> bool:
    """Adds a factor; false if the passkey is somebody's already."""
    added = await tx.run(
        _ADD,
        factor_no=factor.factor_no,
        account_no=factor.account_no,
        kind=factor.kind,
        name=factor.name,
        created_ms=factor.created_ms,
        used_ms=factor.used_ms,
        generation=factor.generation,
        secret=factor.secret,
        credential_id=factor.credential_id,
        counter=factor.counter,
        opens_vault=int(factor.opens_vault),
    )
    return added == 1


async def use_step(tx: Tx, factor_no: int, step: int, now_ms: int) -> bool:
    """Uses up a TOTP step; false if it, or a later one, was used before."""
    return await tx.run(_STEP, factor_no=factor_no, step=step, now=now_ms) == 1


async def use_passkey(tx: Tx, factor_no: int, counter: int, now_ms: int) -> bool:
    """Notes a passkey's use; false where its counter went back: it was copied.

    Passkeys that do not count always say 0.
    """
    return await tx.run(_SIGNED, factor_no=factor_no, counter=counter, now=now_ms) == 1


async def drop(tx: Tx, account_no: int, factor_no: int) -> bool:
    """Removes a factor; false if the account has none of this number."""
    return await tx.run(_DROP, account_no=account_no, factor_no=factor_no) == 1


async def drop_all(tx: Tx, account_no: int) -> None:
    """All of an account's second factor: codes, tries and waiting resets too."""
    for statement in _DROP_ALL:
        await tx.run(statement, account_no=account_no)


async def set_codes(tx: Tx, account_no: int, hashes: Iterable[bytes]) -> None:
    """These are the recovery codes from now on; older ones end."""
    await tx.run(_DROP_CODES, account_no=account_no)
    for hashed in hashes:
        await tx.run(_ADD_CODE, account_no=account_no, hash=hashed)


async def use_code(tx: Tx, account_no: int, hashed: bytes) -> bool:
    """Uses up a recovery code; false if it is none."""
    return await tx.run(_USE_CODE, account_no=account_no, hash=hashed) == 1


async def codes_left(snap: Snap, account_no: int) -> int:
    """How many recovery codes are unused."""
    row = await snap.one(_CODES_LEFT, account_no=account_no)
    return int(row[0]) if row else 0


async def failures(snap: Snap, account_no: int) -> tuple[int, int]:
    """Wrong codes in a row, and until when nobody may try."""
    row = await snap.one(_FAILURES, account_no=account_no)
    return (row[0], row[1]) if row else (0, 0)


async def failed(tx: Tx, account_no: int, count: int, until_ms: int) -> None:
    """Notes a wrong code."""
    await tx.run(_FAILED, account_no=account_no, failures=count, until_ms=until_ms)


async def forgive(tx: Tx, account_no: int) -> None:
    """A right code came: wrong ones are forgotten."""
    await tx.run(_FORGIVE, account_no=account_no)


async def begin_reset(tx: Tx, account_no: int, by: int, now_ms: int, effect_ms: int) -> None:
    """Begins a reset; one that was begun before waits anew."""
    await tx.run(_BEGIN_RESET, account_no=account_no, begun_by=by, now=now_ms, effect_ms=effect_ms)


async def reset_of(snap: Snap, account_no: int) -> FactorReset | None:
    """The reset that an account waits for."""
    row = await snap.one(_RESET, account_no=account_no)
    return FactorReset(*row) if row else None


async def resets_due(snap: Snap, now_ms: int) -> list[FactorReset]:
    """Resets whose waiting time is over, a hundred at a time."""
    return [FactorReset(*row) for row in await snap.all(_DUE, now=now_ms)]


async def resets_untold(snap: Snap) -> list[Untold]:
    """Resets whose owners have not heard of them, a hundred at a time."""
    return [Untold(*row) for row in await snap.all(_UNTOLD)]


async def reset_told(tx: Tx, account_no: int, effect_ms: int) -> None:
    """The owner has heard of this reset."""
    await tx.run(_TOLD, account_no=account_no, effect_ms=effect_ms)


async def end_reset(tx: Tx, account_no: int) -> bool:
    """Forgets a reset; false if there was none."""
    return await tx.run(_END_RESET, account_no=account_no) == 1
