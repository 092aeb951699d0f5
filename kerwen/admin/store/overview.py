"""What an administrator may see of accounts, rooms and the whole: numbers and standings only."""

from __future__ import annotations

import re

import msgspec

from kerwen.storage.database import Row, Snap
from kerwen.storage.sql import sql


class AccountRow(msgspec.Struct, frozen=True, gc=False):
    """An account with what it uses; times in ms, sizes in bytes. `seen_ms` 0: never."""

    account_no: int
    name: str
    kind: str
    created_ms: int
    admin: bool
    locked: bool
    suspended: bool
    deactivated_ms: int
    erased: bool
    devices: int
    seen_ms: int
    media_bytes: int
    media_files: int
    mail_bytes: int
    rooms: int


class RoomRow(msgspec.Struct, frozen=True, gc=False):
    """A room by its numbers. `events` counts its timeline, removed ones as well."""

    room_no: int
    room_id: str
    version: str
    joined: int
    invited: int
    events: int
    created_ms: int
    encrypted: bool
    published: bool
    blocked: bool


_ACCOUNT = (
    "select a.account_no, a.localpart, a.kind, a.created_ms, a.admin, a.locked, a.suspended,"
    " a.deactivated_ms, a.erased,"
    " (select count(*) from devices d where d.account_no = a.account_no),"
    " coalesce((select max(d.seen_ms) from devices d where d.account_no = a.account_no), 0),"
    " coalesce((select u.bytes from media_usage u where u.account_no = a.account_no), 0),"
    " coalesce((select u.files from media_usage u where u.account_no = a.account_no), 0),"
    " coalesce((select m.used from mail_accounts m where m.account_no = a.account_no), 0),"
    " (select count(*) from members m where m.user_no = a.account_no"
    " and m.membership = 'join') from accounts a"
)
_ACCOUNTS = sql(
    f"{_ACCOUNT} where a.localpart > :after and a.localpart like :pattern escape '!'"
    " and (:standing = 'any' or (:standing = 'closed' and a.deactivated_ms > 0)"
    " or (a.deactivated_ms = 0 and (:standing = 'open'"
    " or (:standing = 'locked' and a.locked = 1)"
    " or (:standing = 'suspended' and a.suspended = 1)"
    " or (:standing = 'administrator' and a.admin = 1)"
    " or (:standing = 'bot' and a.kind = 'bot'))))"
    " order by a.localpart limit :count"
)
_ONE_ACCOUNT = sql(f"{_ACCOUNT} where a.localpart = :name")
_ROOM = (
    "select r.room_no, r.room_id, r.version, r.joined, r.invited, r.head, r.created_ms,"
    " case when exists (select 1 from room_state s where s.room_no = r.room_no"
    " and s.type = 'm.room.encryption' and s.state_key = '' and s.to_seq is null)"
    " then 1 else 0 end,"
    " case when exists (select 1 from published_rooms p where p.room_no = r.room_no)"
    " then 1 else 0 end,"
    " case when exists (select 1 from room_blocks b where b.room_id = r.room_id)"
    " then 1 else 0 end from rooms r"
)
_ROOMS = sql(
    f"{_ROOM} where r.room_no > :after and r.purged_ms = 0"
    " and r.room_id like :pattern escape '!' order by r.room_no limit :count"
)
_ONE_ROOM = sql(f"{_ROOM} where r.room_id = :room_id and r.purged_ms = 0")
_STATE_TYPES = sql(
    "select s.type, count(*) from room_state s where s.room_no = :room_no"
    " and s.to_seq is null group by s.type order by s.type limit 10000"
)
_ACCOUNT_COUNTS = sql(
    "select coalesce(sum(case when deactivated_ms = 0 then 1 else 0 end), 0),"
    " coalesce(sum(case when deactivated_ms > 0 then 1 else 0 end), 0),"
    " coalesce(sum(case when deactivated_ms = 0 and locked = 1 then 1 else 0 end), 0),"
    " coalesce(sum(case when deactivated_ms = 0 and suspended = 1 then 1 else 0 end), 0),"
    " coalesce(sum(case when deactivated_ms = 0 and admin = 1 then 1 else 0 end), 0),"
    " coalesce(sum(case when deactivated_ms = 0 and kind = 'bot' then 1 else 0 end), 0),"
    " coalesce(sum(case when created_ms > :month then 1 else 0 end), 0) from accounts"
)
_DEVICE_COUNTS = sql(
    "select count(*), count(distinct case when seen_ms > :day then account_no end),"
    " count(distinct case when seen_ms > :week then account_no end),"
    " count(distinct case when seen_ms > :month then account_no end) from devices"
)
_ROOM_COUNTS = sql(
    "select count(*), cast(coalesce(sum(head), 0) as BIGINT),"
    " (select count(*) from room_state s where s.type = 'm.room.encryption'"
    " and s.state_key = '' and s.to_seq is null),"
    " (select count(*) from published_rooms) from rooms where purged_ms = 0"
)
_MEDIA_COUNTS = sql(
    "select coalesce(sum(case when account_no is not null then 1 else 0 end), 0),"
    " cast(coalesce(sum(case when account_no is not null then size else 0 end), 0) as BIGINT),"
    " coalesce(sum(case when account_no is null then 1 else 0 end), 0),"
    " cast(coalesce(sum(case when account_no is null then size else 0 end), 0) as BIGINT),"
    " coalesce(sum(quarantined), 0) from media"
)
_THUMBNAIL_BYTES = sql("select cast(coalesce(sum(size), 0) as BIGINT) from media_thumbnail")
_OPEN_REPORTS = sql("select count(*) from reports")
_OPEN_JOBS = sql("select count(*) from room_jobs where done_ms = 0")


def _account(row: Row) -> AccountRow:
    no, name, kind, created_ms, admin, locked, suspended, deactivated_ms, erased, *numbers = row
    devices, seen_ms, media_bytes, media_files, mail_bytes, rooms = numbers
    return AccountRow(
        no,
        name,
        kind,
        created_ms,
        bool(admin),
        bool(locked),
        bool(suspended),
        deactivated_ms,
        bool(erased),
        devices,
        seen_ms,
        media_bytes,
        media_files,
        mail_bytes,
        rooms,
    )


def _room(row: Row) -> RoomRow:
    room_no, room_id, version, joined, invited, head, created_ms, *standing = row
    encrypted, published, blocked = map(bool, standing)
    return RoomRow(
        room_no,
        room_id,
        version,
        joined,
        invited,
        head,
        created_ms,
        encrypted,
        published,
        blocked,
    )


def _contains(text: str) -> str:
    """A pattern for what contains a text."""
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return f"%{text}%"


async def accounts(
    snap: Snap, search: str, standing: str, after: str, count: int
) -> list[AccountRow]:
    """Accounts whose name contains a text, in the order of names. A scan: `long`."""
    rows = await snap.all(
        _ACCOUNTS, pattern=_contains(search), standing=standing, after=after, count=count
    )
    return [_account(row) for row in rows]


async def account(snap: Snap, name: str) -> AccountRow | None:
    """One account by its local part, a closed one too."""
    row = await snap.one(_ONE_ACCOUNT, name=name)
    return _account(row) if row else None


async def rooms(snap: Snap, search: str, after: int, count: int) -> list[RoomRow]:
    """Rooms whose id contains a text, the oldest first. A scan: `long`."""
    rows = await snap.all(_ROOMS, pattern=_contains(search), after=after, count=count)
    return [_room(row) for row in rows]


async def room(snap: Snap, room_id: str) -> RoomRow | None:
    """One room."""
    row = await snap.one(_ONE_ROOM, room_id=room_id)
    return _room(row) if row else None


async def state_types(snap: Snap, room_no: int) -> dict[str, int]:
    """How many entries of each type the room's state has now. A scan: `long`."""
    return dict(await snap.all(_STATE_TYPES, room_no=room_no))


async def counts(snap: Snap, now_ms: int) -> dict[str, int]:
    """The whole house in numbers. Scans: `long`."""
    day = 86_400_000
    ago = {"day": now_ms - day, "week": now_ms - 7 * day, "month": now_ms - 30 * day}
    found: dict[str, int] = {}
    for names, statement, params in (
        (
            "accounts accounts_closed accounts_locked accounts_suspended administrators bots"
            " accounts_new_30d",
            _ACCOUNT_COUNTS,
            {"month": ago["month"]},
        ),
        ("devices active_1d active_7d active_30d", _DEVICE_COUNTS, ago),
        ("rooms events rooms_encrypted rooms_published", _ROOM_COUNTS, {}),
        (
            "media_files media_bytes cached_files cached_bytes quarantined",
            _MEDIA_COUNTS,
            {},
        ),
        ("thumbnail_bytes", _THUMBNAIL_BYTES, {}),
        ("reports", _OPEN_REPORTS, {}),
        ("removals", _OPEN_JOBS, {}),
    ):
        row = await snap.one(statement, **params)
        assert row is not None, "it counts"
        found |= {name: int(value) for name, value in zip(names.split(), row, strict=True)}
    return found


_AVATARS = sql("select avatar_url from profiles where avatar_url is not null")
_PICTURE_STATE = sql(
    "select e.client from room_state s join events e on e.event_no = s.event_no"
    " where s.to_seq is null and s.type {in_texts:types}"
)
_PICTURE_DATA = sql("select content from account_data where type {in_texts:types}")
_MXC = re.compile(rb"mxc:(?:/|\\/){2}[A-Za-z0-9.:\[\]-]{1,255}\\?/[A-Za-z0-9_-]{1,255}")
_STATE_TYPES_WITH_PICTURES = ("m.room.avatar", "m.room.image_pack", "im.ponies.room_emotes")
_DATA_TYPES_WITH_PICTURES = ("m.image_pack", "im.ponies.user_emotes")


async def pictures(snap: Snap) -> frozenset[str]:
    """The mxc URIs of people's and rooms' pictures and of image packs. Scans: `long`."""
    texts: list[bytes] = [row[0].encode() for row in await snap.all(_AVATARS)]
    for statement, types in (
        (_PICTURE_STATE, _STATE_TYPES_WITH_PICTURES),
        (_PICTURE_DATA, _DATA_TYPES_WITH_PICTURES),
    ):
        texts += [row[0] for row in await snap.all(statement, types=list(types))]
    return frozenset(
        found.decode().replace("\\/", "/") for text in texts for found in _MXC.findall(text)
    )
