"""Users and rooms by number."""

from __future__ import annotations

from collections.abc import Iterable

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_NO = sql("select user_no from users where user_id = :user_id")
_NOS = sql("select user_id, user_no from users where user_id {in_texts:ids}")
_ID = sql("select user_id from users where user_no = :user_no")
_IDS = sql("select user_no, user_id from users where user_no {in_ints:nos}")
_ADD = sql(
    "insert into users (user_no, user_id) values (:user_no, :user_id) on conflict do nothing"
)
_ROOM_NO = sql("select room_no from rooms where room_id = :room_id")
_ROOM_IDS = sql("select room_no, room_id from rooms where room_no {in_ints:nos}")


async def user_no(snap: Snap, user_id: str) -> int | None:
    """The number of a user, if this server has met them."""
    row = await snap.one(_NO, user_id=user_id)
    return row[0] if row else None


async def user_nos(snap: Snap, user_ids: Iterable[str]) -> dict[str, int]:
    """Numbers by user id; those never met are left out."""
    return dict(await snap.all(_NOS, ids=list(user_ids)))


async def user_ids(snap: Snap, nos: Iterable[int]) -> dict[int, str]:
    """User ids by number."""
    return dict(await snap.all(_IDS, nos=list(nos)))


async def add_user(tx: Tx, user_id: str, fresh_no: int) -> int:
    """The number of a user, `fresh_no` if they are new."""
    if await tx.run(_ADD, user_no=fresh_no, user_id=user_id):
        return fresh_no
    found = await user_no(tx, user_id)
    assert found is not None
    return found


async def room_no(snap: Snap, room_id: str) -> int | None:
    """The number of a room."""
    row = await snap.one(_ROOM_NO, room_id=room_id)
    return row[0] if row else None


async def room_ids(snap: Snap, nos: Iterable[int]) -> dict[int, str]:
    """Room ids by number."""
    return dict(await snap.all(_ROOM_IDS, nos=list(nos)))
