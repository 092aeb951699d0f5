"""Who is in which room, and how far each has read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql


class Member(msgspec.Struct, gc=False):
    """One person's relation to one room."""

    room_no: int
    user_no: int
    membership: str
    seq: int
    pos: int
    event_no: int
    joined_pos: int
    forgotten: int
    read_seq: int
    read_loud: int
    name: str | None
    avatar: str | None
    stripped: bytes | None


_COLUMNS = (
    "room_no, user_no, membership, seq, pos, event_no, joined_pos, forgotten, read_seq,"
    " read_loud, name, avatar, stripped"
)
_GET = sql(f"select {_COLUMNS} from members where room_no = :room_no and user_no = :user_no")
_OF_USER = sql(f"select {_COLUMNS} from members where user_no = :user_no")
_OF_USER_IN = sql(
    f"select {_COLUMNS} from members where user_no = :user_no and membership = :membership"
)
_CHANGED = sql(
    f"select {_COLUMNS} from members where user_no = :user_no and pos > :since and pos <= :upto"
)
_JOINED_ROOMS = sql("select room_no from members where user_no = :user_no and membership = 'join'")
_JOINED_USERS = sql("select user_no from members where room_no = :room_no and membership = 'join'")
_JOINED_PROFILES = sql(
    "select u.user_id, m.name, m.avatar from members m join users u on u.user_no = m.user_no"
    " where m.room_no = :room_no and m.membership = 'join'"
)
_HEROES = sql(
    "select u.user_id, m.membership from members m join users u on u.user_no = m.user_no"
    " where m.room_no = :room_no and m.user_no <> :user_no"
    " and m.membership {in_texts:memberships} order by m.seq limit 5"
)
_SHARING = sql(
    "select distinct o.user_no from members m join members o on o.room_no = m.room_no"
    " where m.user_no = :user_no and m.membership = 'join' and o.membership = 'join'"
)
_MUTUAL = sql(
    "select r.room_no, r.room_id from members m join members o on o.room_no = m.room_no"
    " and o.user_no = :other and o.membership = 'join' join rooms r on r.room_no = m.room_no"
    " where m.user_no = :user_no and m.membership = 'join' order by r.room_no limit 10000"
)
_BANNED = sql(
    "select u.user_id from members m join users u on u.user_no = m.user_no"
    " where m.room_no = :room_no and m.membership = 'ban' order by m.user_no limit 1000"
)
_SHARE_ANY = sql(
    "select 1 from members m join members o on o.room_no = m.room_no and o.user_no = :other"
    " where m.user_no = :user_no and m.membership = 'join' and o.membership = 'join' limit 1"
)
_SHARING_AMONG = sql(
    "select distinct o.user_no from members o join members m on m.room_no = o.room_no"
    " and m.user_no = :user_no and m.membership = 'join'"
    " where o.user_no {in_ints:among} and o.membership = 'join'"
)
_CHANGED_IN = sql(
    "select distinct m.user_no, m.membership from room_state s"
    " join users u on u.user_id = s.state_key"
    " join members m on m.room_no = s.room_no and m.user_no = u.user_no"
    " where s.room_no = :room_no and s.pos > :since and s.pos <= :upto"
    " and s.type = 'm.room.member'"
)
_MOVED_IN = sql(
    "select distinct m.user_no, m.membership, m.joined_pos from room_state s"
    " join users u on u.user_id = s.state_key"
    " join members m on m.room_no = s.room_no and m.user_no = u.user_no"
    " where s.room_no = :room_no and s.pos > :since and s.pos <= :upto"
    " and s.type = 'm.room.member'"
)
_ANY_JOINED = sql(
    "select u.user_id from members m join users u on u.user_no = m.user_no"
    " where m.room_no = :room_no and m.membership = 'join'"
    " and substr(u.user_id, length(u.user_id) - length(:domain) + 1) = :domain limit 1"
)
_SET = sql(
    "insert into members (room_no, user_no, membership, seq, pos, event_no, joined_pos,"
    " forgotten, read_seq, read_loud, own_rules, pushed, name, avatar, stripped)"
    " values (:room_no,"
    " :user_no, :membership, :seq, :pos, :event_no, :pos, 0, :seq, :loud, (select count(*)"
    " from account_data where account_no = :user_no and type = 'm.push_rules'),"
    " case when exists (select 1 from pushers where account_no = :user_no) then 1 else 0 end,"
    " :name, :avatar, :stripped)"
    " on conflict (room_no, user_no) do update set membership = excluded.membership,"
    " seq = excluded.seq, pos = excluded.pos, event_no = excluded.event_no, forgotten = 0,"
    " joined_pos = case when members.membership = 'join' then members.joined_pos"
    " else excluded.joined_pos end,"
    " read_seq = case when members.membership = 'join' then members.read_seq"
    " else excluded.read_seq end,"
    " read_loud = case when members.membership = 'join' then members.read_loud"
    " else excluded.read_loud end,"
    " name = excluded.name, avatar = excluded.avatar, stripped = excluded.stripped"
)
_READ = sql(
    "update members set read_seq = :seq, read_loud = :loud"
    " where room_no = :room_no and user_no = :user_no and read_seq < :seq"
)
_OWN_RULES = sql(
    "select user_no from members where room_no = :room_no and own_rules = 1 and membership = 'join'"
)
_CLEAR_PROFILE = sql(
    "update members set name = null, avatar = null where room_no = :room_no"
    " and user_no = :user_no and event_no = :event_no"
)
_ASKED_IN = sql(
    "select user_no, stripped from members where room_no = :room_no"
    " and membership in ('invite', 'knock') and stripped is not null limit 1000"
)
_SET_STRIPPED = sql(
    "update members set stripped = :stripped where room_no = :room_no and user_no = :user_no"
)
_FORGET = sql(
    "update members set forgotten = 1 where room_no = :room_no and user_no = :user_no"
    " and membership {in_texts:memberships}"
)


async def member(snap: Snap, room_no: int, user_no: int) -> Member | None:
    """One person's relation to one room."""
    row = await snap.one(_GET, room_no=room_no, user_no=user_no)
    return Member(*row) if row else None


async def members_of(snap: Snap, user_no: int, membership: str | None = None) -> list[Member]:
    """All rooms of a person, or those with one membership."""
    if membership is None:
        rows = await snap.all(_OF_USER, user_no=user_no)
    else:
        rows = await snap.all(_OF_USER_IN, user_no=user_no, membership=membership)
    return [Member(*row) for row in rows]


async def changed_memberships(snap: Snap, user_no: int, since: int, upto: int) -> list[Member]:
    """A person's memberships that changed in since < pos <= upto."""
    rows = await snap.all(_CHANGED, user_no=user_no, since=since, upto=upto)
    return [Member(*row) for row in rows]


async def joined_rooms(snap: Snap, user_no: int) -> list[int]:
    """Rooms in which a person is."""
    return [row[0] for row in await snap.all(_JOINED_ROOMS, user_no=user_no)]


async def joined_users(snap: Snap, room_no: int) -> list[int]:
    """Who is in a room."""
    return [row[0] for row in await snap.all(_JOINED_USERS, room_no=room_no)]


async def joined_profiles(snap: Snap, room_no: int) -> list[tuple[str, str | None, str | None]]:
    """(user id, name, avatar) of who is in a room."""
    rows = await snap.all(_JOINED_PROFILES, room_no=room_no)
    return [(row[0], row[1], row[2]) for row in rows]


async def heroes(snap: Snap, room_no: int, user_no: int, memberships: Iterable[str]) -> list[str]:
    """Up to five others by whom a nameless room is called (CS #room-summary)."""
    rows = await snap.all(_HEROES, room_no=room_no, user_no=user_no, memberships=list(memberships))
    return [row[0] for row in rows]


async def sharing_users(snap: Snap, user_no: int) -> set[int]:
    """Everybody with whom a person shares a room."""
    return {row[0] for row in await snap.all(_SHARING, user_no=user_no)}


async def sharing_among(snap: Snap, user_no: int, among: Iterable[int]) -> set[int]:
    """Those of `among` with whom a person shares a room."""
    rows = await snap.all(_SHARING_AMONG, user_no=user_no, among=list(among))
    return {row[0] for row in rows}


async def mutual_rooms(snap: Snap, user_no: int, other: int) -> list[tuple[int, str]]:
    """(room_no, room id) of rooms in which two people are; 10,000 at most."""
    rows = await snap.all(_MUTUAL, user_no=user_no, other=other)
    return [(row[0], row[1]) for row in rows]


async def banned(snap: Snap, room_no: int) -> list[str]:
    """Who is banned from a room; 1,000 at most."""
    return [row[0] for row in await snap.all(_BANNED, room_no=room_no)]


async def share_a_room(snap: Snap, user_no: int, other: int) -> bool:
    """Whether two people share a room."""
    return await snap.one(_SHARE_ANY, user_no=user_no, other=other) is not None


async def moved_members(
    snap: Snap, room_no: int, since: int, upto: int
) -> list[tuple[int, str, int]]:
    """(user, membership, joined_pos) of members of a room that changed in since < pos <= upto."""
    rows = await snap.all(_MOVED_IN, room_no=room_no, since=since, upto=upto)
    return [(row[0], row[1], row[2]) for row in rows]


async def changed_members(snap: Snap, room_no: int, since: int, upto: int) -> list[tuple[int, str]]:
    """(user, membership) of members of a room that changed in since < pos <= upto."""
    rows = await snap.all(_CHANGED_IN, room_no=room_no, since=since, upto=upto)
    return [(row[0], row[1]) for row in rows]


def set_member(
    tx: Tx,
    *,
    room_no: int,
    user_no: int,
    membership: str,
    seq: int,
    event_no: int,
    loud: int,
    name: str | None,
    avatar: str | None,
    stripped: bytes | None = None,
) -> None:
    """Writes a membership at the transaction's end."""
    tx.at_end(
        _SET,
        room_no=room_no,
        user_no=user_no,
        membership=membership,
        seq=seq,
        event_no=event_no,
        loud=loud,
        name=name,
        avatar=avatar,
        stripped=stripped,
    )


def mark_read(tx: Tx, room_no: int, user_no: int, seq: int, loud: int) -> None:
    """Everything up to a place is read; never goes back."""
    tx.at_end(_READ, room_no=room_no, user_no=user_no, seq=seq, loud=loud)


async def clear_profile(tx: Tx, room_no: int, user_no: int, event_no: int) -> None:
    """A member event was redacted: if it is the current one, its name and picture go."""
    await tx.run(_CLEAR_PROFILE, room_no=room_no, user_no=user_no, event_no=event_no)


async def asked_in(snap: Snap, room_no: int) -> list[tuple[int, bytes]]:
    """(user, stripped state) of the invited and of those who knock; 1,000 at most."""
    return [(row[0], row[1]) for row in await snap.all(_ASKED_IN, room_no=room_no)]


async def set_stripped(tx: Tx, room_no: int, user_no: int, stripped: bytes) -> None:
    """Changes what somebody who is asked in is shown."""
    await tx.run(_SET_STRIPPED, room_no=room_no, user_no=user_no, stripped=stripped)


async def forget(tx: Tx, room_no: int, user_no: int) -> bool:
    """The room no longer shows for this person; only one who left can forget."""
    changed = await tx.run(_FORGET, room_no=room_no, user_no=user_no, memberships=["leave", "ban"])
    return changed > 0


async def any_joined(snap: Snap, room_no: int, domain: str) -> str | None:
    """Somebody of a server (`domain` with its colon) who is in a room."""
    row = await snap.one(_ANY_JOINED, room_no=room_no, domain=domain)
    return row[0] if row else None


async def with_own_rules(snap: Snap, room_no: int) -> list[int]:
    """Members whose push rules are not the default ones."""
    return [row[0] for row in await snap.all(_OWN_RULES, room_no=room_no)]
