"""Cross-signing keys and the signatures that were given later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import orjson

from kerwen.keys.cross_signing import CrossSigningKey
from kerwen.keys.device_keys import Signature
from kerwen.storage.database import Kind, Snap, Tx
from kerwen.storage.sql import sql

_LOCK_USER = sql("select user_no from users where user_no = :user_no {for_update}")
_OF_USERS = sql(
    "select user_no, usage, public_key, body from cross_signing_keys where user_no {in_ints:users}"
)
_SET = sql(
    "insert into cross_signing_keys (user_no, usage, public_key, body)"
    " values (:user_no, :usage, :public_key, :body)"
    " on conflict (user_no, usage)"
    " do update set public_key = excluded.public_key, body = excluded.body"
)
_REMOVE = sql("delete from cross_signing_keys where user_no = :user_no and usage = :usage")
_IS_KEY = sql(
    "select usage from cross_signing_keys"
    " where user_no = :user_no and public_key = :public_key limit 1"
)
_OWN = sql(
    "select user_no, target, key_id, signature from key_signatures"
    " where user_no {in_ints:users} and signer_no = user_no"
)
_BY_SIGNER = sql(
    "select u.user_id, s.target, me.user_id, s.key_id, s.signature from key_signatures s"
    " join users u on u.user_no = s.user_no join users me on me.user_no = s.signer_no"
    " where s.signer_no = :signer_no and s.user_no <> :signer_no"
)
_SIGN = sql(
    "insert into key_signatures (user_no, target, signer_no, key_id, signature)"
    " values (:user_no, :target, :signer_no, :key_id, :signature)"
    " on conflict (user_no, target, signer_no, key_id)"
    " do update set signature = excluded.signature"
    " where key_signatures.signature <> excluded.signature"
)
_FORGET_TARGET = sql("delete from key_signatures where user_no = :user_no and target = :target")
_FORGET_SIGNER = sql("delete from key_signatures where signer_no = :signer_no and key_id = :key_id")
_MARK = sql(
    "insert into signature_lists (signer_no, user_no, pos) values (:signer_no, :user_no, :pos)"
    " on conflict (signer_no, user_no) do update set pos = excluded.pos"
    " where signature_lists.pos < excluded.pos"
)
_CHANGES = sql(
    "select user_no from signature_lists"
    " where signer_no = :signer_no and pos > :since and pos <= :upto order by pos"
)


OwnSignatures = dict[tuple[str, str], bytes]
"""What only the signer may see, by user id and public master key of the other: a member of
`signatures` as JSON, `"<signer>":{"<key id>":"<signature>"}`."""


async def lock_user(tx: Tx, user_no: int) -> None:
    """Orders all changes of a user's cross-signing keys."""
    await tx.one(_LOCK_USER, user_no=user_no)


async def cross_signing_keys(
    snap: Snap, users: Iterable[int]
) -> dict[int, dict[str, CrossSigningKey]]:
    """Users' keys by number and usage."""
    found: dict[int, dict[str, CrossSigningKey]] = defaultdict(dict)
    for user_no, usage, public_key, body in await snap.all(_OF_USERS, users=users):
        found[user_no][usage] = CrossSigningKey(usage, public_key, body)
    return found


async def user_keys(snap: Snap, user_no: int) -> dict[str, CrossSigningKey]:
    """One user's keys by usage."""
    return (await cross_signing_keys(snap, [user_no])).get(user_no, {})


async def is_cross_signing_key(snap: Snap, user_no: int, public_key: str) -> bool:
    """Whether a name is a cross-signing key of the user: no device id may be one."""
    return await snap.one(_IS_KEY, user_no=user_no, public_key=public_key) is not None


async def set_key(tx: Tx, user_no: int, key: CrossSigningKey) -> None:
    """Publishes or replaces a key."""
    await tx.run(_SET, user_no=user_no, usage=key.usage, public_key=key.public_key, body=key.body)


async def remove_key(tx: Tx, user_no: int, key: CrossSigningKey) -> None:
    """A key is no more: neither are the signatures that it made or bears."""
    await tx.run(_REMOVE, user_no=user_no, usage=key.usage)
    await tx.run(_FORGET_TARGET, user_no=user_no, target=key.public_key)
    await tx.run(_FORGET_SIGNER, signer_no=user_no, key_id=key.key_id)


async def visible_signatures(
    snap: Snap, users: Iterable[int]
) -> dict[int, dict[str, list[tuple[str, str]]]]:
    """What everybody may see: users' own signatures of their keys, by user and target.

    # CS #key-and-signature-security
    """
    found: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for user_no, target, key_id, signature in await snap.all(_OWN, users=users):
        by_target = found.setdefault(user_no, {})
        by_target.setdefault(target, []).append((key_id, signature))
    return found


async def signatures_by(snap: Snap, signer_no: int) -> OwnSignatures:
    """A user's signatures of others' master keys."""
    rows = await snap.all(_BY_SIGNER, signer_no=signer_no)
    return {
        (user_id, target): orjson.dumps({signer: {key_id: signature}})[1:-1]
        for user_id, target, signer, key_id, signature in rows
    }


async def add_signature(
    tx: Tx, user_no: int, target: str, signer_no: int, signature: Signature
) -> bool:
    """Keeps a signature; False if it was here already."""
    changed = await tx.run(
        _SIGN,
        user_no=user_no,
        target=target,
        signer_no=signer_no,
        key_id=signature[1],
        signature=signature[2],
    )
    return changed > 0


async def forget_signatures_of(tx: Tx, user_no: int, target: str) -> None:
    """Drops all signatures of a key that is another one now."""
    await tx.run(_FORGET_TARGET, user_no=user_no, target=target)


async def forget_signatures_by(tx: Tx, signer_no: int, key_id: str) -> None:
    """Drops all signatures that a key made which is no more."""
    await tx.run(_FORGET_SIGNER, signer_no=signer_no, key_id=key_id)


def mark_own_signature(tx: Tx, signer_no: int, user_no: int) -> None:
    """The signer's devices must look again at the other user's keys; nobody else."""
    tx.at_end(_MARK, signer_no=signer_no, user_no=user_no)
    tx.change(Kind.DEVICE_LIST, signer_no, user_no)


async def signature_changes(snap: Snap, signer_no: int, since: int, upto: int) -> list[int]:
    """Users whom `signer_no` signed after `since`: `device_lists.changed` for the signer only."""
    rows = await snap.all(_CHANGES, signer_no=signer_no, since=since, upto=upto)
    return [row[0] for row in rows]
