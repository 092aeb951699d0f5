"""Profiles of the people here, and the directory that finds them by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

from kerwen.accounts.folding import fold, like
from kerwen.storage.database import Row, Snap, Tx
from kerwen.storage.sql import sql

_OF_USER = sql(
    "select a.account_no, p.displayname, p.avatar_url, p.fields from users u"
    " join accounts a on a.account_no = u.user_no"
    " left join profiles p on p.account_no = a.account_no"
    " where u.user_id = :user_id and a.deactivated_ms = 0"
)
_GET = sql("select displayname, avatar_url, fields from profiles where account_no = :account_no")
_NAMES = sql(
    "select account_no, displayname, avatar_url from profiles where account_no {in_ints:nos}"
)
_SET = sql(
    "insert into profiles (account_no, displayname, folded, avatar_url, fields)"
    " values (:account_no, :displayname, :folded, :avatar_url, :fields)"
    " on conflict (account_no) do update set displayname = excluded.displayname,"
    " folded = excluded.folded, avatar_url = excluded.avatar_url, fields = excluded.fields"
)
_DROP = sql("delete from profiles where account_no = :account_no")
_SEARCH = sql(
    "select a.account_no, u.user_id, p.displayname, p.avatar_url from accounts a"
    " join users u on u.user_no = a.account_no"
    " left join profiles p on p.account_no = a.account_no"
    " where a.deactivated_ms = 0 and a.account_no <> :asker"
    " and (a.localpart like :inside escape '\\' or p.folded like :inside escape '\\'"
    " or u.user_id = :whole)"
    " order by case"
    " when a.localpart = :term or p.folded = :term or u.user_id = :whole then 0"
    " when a.localpart like :prefix escape '\\' or p.folded like :prefix escape '\\' then 1"
    " when p.folded like :word escape '\\' then 2 else 3 end,"
    " case when p.displayname is null then 1 else 0 end, a.localpart limit :most"
)


class Profile(msgspec.Struct, gc=False):
    """What a person shows of themselves; `fields` are all but name and picture."""

    displayname: str | None = None
    avatar_url: str | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As clients and other servers see it."""
        found = dict(self.fields)
        if self.displayname is not None:
            found["displayname"] = self.displayname
        if self.avatar_url is not None:
            found["avatar_url"] = self.avatar_url
        return found


class DirectoryEntry(msgspec.Struct, frozen=True, gc=False):
    """Somebody whom a search found."""

    user_no: int
    user_id: str
    displayname: str | None
    avatar_url: str | None


def _profile(row: Row) -> Profile:
    name, avatar, fields = row
    return Profile(name, avatar, orjson.loads(fields) if fields is not None else {})


async def of_user(snap: Snap, user_id: str) -> tuple[int, Profile] | None:
    """Account and profile of a person here; None for others and those who left for good."""
    row = await snap.one(_OF_USER, user_id=user_id)
    return (row[0], _profile(row[1:])) if row else None


async def get(snap: Snap, account_no: int) -> Profile:
    """The profile of an account; an empty one if it set nothing."""
    row = await snap.one(_GET, account_no=account_no)
    return _profile(row) if row else Profile()


async def names(snap: Snap, account_nos: Iterable[int]) -> dict[int, tuple[str | None, str | None]]:
    """Display name and picture of many; who set neither is left out."""
    rows = await snap.all(_NAMES, nos=list(account_nos))
    return {row[0]: (row[1], row[2]) for row in rows}


async def set_profile(tx: Tx, account_no: int, profile: Profile) -> None:
    """Keeps a profile whole."""
    await tx.run(
        _SET,
        account_no=account_no,
        displayname=profile.displayname,
        folded=fold(profile.displayname or ""),
        avatar_url=profile.avatar_url,
        fields=orjson.dumps(profile.fields),
    )


async def drop(tx: Tx, account_no: int) -> None:
    """Forgets a profile."""
    await tx.run(_DROP, account_no=account_no)


async def search(snap: Snap, asker: int, text: str, most: int) -> list[DirectoryEntry]:
    """People here whose name or local part holds a text, the closest first. A scan: `long`."""
    term = fold(text)
    if not term:
        return []
    bare = like(term.removeprefix("@"))
    rows = await snap.all(
        _SEARCH,
        asker=asker,
        term=term,
        whole=text.strip().lower(),
        inside=f"%{bare}%",
        prefix=f"{bare}%",
        word=f"% {bare}%",
        most=most,
    )
    return [DirectoryEntry(*row) for row in rows]
