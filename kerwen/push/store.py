"""Pushers that are due, what waits for them, and the topics of UnifiedPush."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from kerwen.storage.database import Kind, Snap, Tx
from kerwen.storage.sql import sql

Key = tuple[int, str, str]
"""(account_no, app_id, pushkey) of a pusher."""


class Due(msgspec.Struct, gc=False):
    """A pusher whose turn it is; `body` is JSON as its owner sees it."""

    account_no: int
    app_id: str
    pushkey: str
    body: bytes
    set_ms: int
    failures: int
    badge: int
    badge_due: int

    @property
    def key(self) -> Key:
        return self.account_no, self.app_id, self.pushkey


class Push(msgspec.Struct, gc=False):
    """An event that a pusher is to tell of."""

    account_no: int
    app_id: str
    pushkey: str
    pos: int
    n: int
    room_no: int
    seq: int
    tweaks: str
    at_ms: int

    @property
    def key(self) -> Key:
        return self.account_no, self.app_id, self.pushkey


class Candidate(msgspec.Struct, gc=False):
    """A member who may have pushers."""

    user_no: int
    user_id: str
    name: str | None
    read_seq: int


class Topic(msgspec.Struct, gc=False):
    """An endpoint of somebody's."""

    topic_no: int
    topic: str
    account_no: int
    device_no: int
    app: str


class Message(msgspec.Struct, gc=False):
    """A wake-up that waits for a phone."""

    topic_no: int
    pos: int
    n: int
    at_ms: int
    body: bytes


# --- whom an event concerns -----------------------------------------------------------------

_ROOMS = sql(
    "select distinct room_no from members where room_no {in_ints:rooms} and pushed = 1"
    " and membership = 'join'"
)
_CANDIDATES = sql(
    "select p.user_no, u.user_id, m.name, m.read_seq from members p"  # p: the index alone
    " join members m on m.room_no = p.room_no and m.user_no = p.user_no"
    " join users u on u.user_no = p.user_no"
    " where p.room_no = :room_no and p.pushed = 1 and p.membership = 'join'"
)
_WITH_PUSHERS = sql(
    "select distinct account_no from pushers where account_no {in_ints:accounts} and kind = 'http'"
)
_IGNORED = sql(
    "select account_no, content from account_data"
    " where type = 'm.ignored_user_list' and account_no {in_ints:accounts}"
)
_LOCK = sql(
    "select account_no from pushers where account_no {in_ints:accounts} and kind = 'http'"
    " order by account_no, app_id, pushkey {for_update}"
)
_ADD = sql(
    "insert into pushes (account_no, app_id, pushkey, pos, n, room_no, seq, tweaks, at_ms)"
    " select account_no, app_id, pushkey, :at, :n, :room_no, :seq, :tweaks, :now from pushers"
    " where account_no {in_ints:accounts} and kind = 'http' on conflict do nothing"
)
_MAKE_DUE = sql(
    "update pushers set due_ms = :now where account_no {in_ints:accounts} and kind = 'http'"
    " and due_ms is null"
)
_BADGE_DUE = sql(
    "update pushers set badge_due = badge_due + 1"
    " where account_no {in_ints:accounts} and kind = 'http'"
)


async def rooms_with_pushers(snap: Snap, rooms: Iterable[int]) -> set[int]:
    """Those of some rooms in which anybody may have a pusher."""
    return {row[0] for row in await snap.all(_ROOMS, rooms=list(rooms))}


async def candidates(snap: Snap, room_no: int) -> list[Candidate]:
    """The joined members of a room who may have pushers."""
    return [Candidate(*row) for row in await snap.all(_CANDIDATES, room_no=room_no)]


async def with_pushers(snap: Snap, accounts: Iterable[int]) -> set[int]:
    """Those of some accounts that have pushers of HTTP."""
    return {row[0] for row in await snap.all(_WITH_PUSHERS, accounts=list(accounts))}


async def ignored_lists(snap: Snap, accounts: Iterable[int]) -> dict[int, bytes]:
    """Whom accounts ignore: content by account."""
    rows = await snap.all(_IGNORED, accounts=list(accounts))
    return {row[0]: bytes(row[1]) for row in rows}


async def lock_pushers(tx: Tx, accounts: Iterable[int]) -> None:
    """Holds the pushers of accounts, in one order, so that nobody waits in a ring."""
    await tx.all(_LOCK, accounts=list(accounts))


async def add_pushes(
    tx: Tx,
    accounts: Sequence[int],
    *,
    at: int,
    n: int,
    room_no: int,
    seq: int,
    tweaks: str,
    now_ms: int,
) -> None:
    """An event for every pusher of some accounts; again is no harm."""
    await tx.run(
        _ADD,
        accounts=accounts,
        at=at,
        n=n,
        room_no=room_no,
        seq=seq,
        tweaks=tweaks,
        now=now_ms,
    )


async def make_due(tx: Tx, accounts: Sequence[int], now_ms: int) -> None:
    """Pushers with nothing to do are tried at once; those that wait go on waiting."""
    await tx.run(_MAKE_DUE, accounts=accounts, now=now_ms)


async def make_badge_due(tx: Tx, accounts: Sequence[int]) -> None:
    """How many events are unread may be another number now."""
    await tx.run(_BADGE_DUE, accounts=accounts)


# --- pushers that are due -------------------------------------------------------------------

_DUE_COLUMNS = "account_no, app_id, pushkey, body, set_ms, failures, badge, badge_due"
_NEXT_DUE = sql("select min(due_ms) from pushers where due_ms is not null")
_CLAIM = sql(
    "update pushers set due_ms = :until where (account_no, app_id, pushkey) in ("
    "select account_no, app_id, pushkey from pushers where due_ms <= :now"
    " order by due_ms, account_no limit :count {for_update} {skip_locked})"
    f" returning {_DUE_COLUMNS}"
)
_PUSHES = sql(
    "select account_no, app_id, pushkey, pos, n, room_no, seq, tweaks, at_ms from ("
    "select account_no, app_id, pushkey, pos, n, room_no, seq, tweaks, at_ms, row_number() over"
    " (partition by account_no, app_id, pushkey order by pos desc, n desc) as place"
    " from pushes where account_no {in_ints:accounts}) as newest"
    " where place <= :count order by account_no, app_id, pushkey, pos, n"
)
_EVENT = sql(
    "select event_id, redacted_by, thread, room_id from events e join rooms r"
    " on r.room_no = e.room_no where e.room_no = :room_no and e.seq = :seq"
)
_HOLD = sql(
    "select badge_due from pushers where account_no = :account_no and app_id = :app_id"
    " and pushkey = :pushkey {for_update}"
)
_SENT = sql(
    "delete from pushes where account_no = :account_no and app_id = :app_id"
    " and pushkey = :pushkey and pos = :at and n = :n"
)
_TOO_MANY = sql(
    "delete from pushes where account_no = :account_no and app_id = :app_id"
    " and pushkey = :pushkey and pos < :before"
)
_WAITS = sql(
    "select 1 from pushes where account_no = :account_no and app_id = :app_id"
    " and pushkey = :pushkey limit 1"
)
_FINISH = sql(
    "update pushers set due_ms = :due, failures = :failures, badge = :badge,"
    " badge_due = :badge_due where account_no = :account_no and app_id = :app_id"
    " and pushkey = :pushkey"
)
_DROP = sql(
    "delete from pushers where account_no = :account_no and app_id = :app_id and pushkey = :pushkey"
)
_SWEEP = sql("delete from pushes where at_ms < :before")
_ORPHANS = sql(
    "delete from pushes where not exists (select 1 from pushers p"
    " where p.account_no = pushes.account_no and p.app_id = pushes.app_id"
    " and p.pushkey = pushes.pushkey)"
)
_RELEASE = sql(
    "update pushers set due_ms = :now where account_no = :account_no and app_id = :app_id"
    " and pushkey = :pushkey and due_ms is not null"
)


async def next_due(snap: Snap) -> int | None:
    """When the next pusher is due."""
    row = await snap.one(_NEXT_DUE)
    return row[0] if row else None


async def claim(tx: Tx, now_ms: int, until_ms: int, count: int) -> list[Due]:
    """Takes pushers that are due; nobody else takes them before `until_ms`."""
    rows = await tx.all(_CLAIM, now=now_ms, until=until_ms, count=count)
    return [Due(r[0], r[1], r[2], bytes(r[3]), r[4], r[5], r[6], r[7]) for r in rows]


async def waiting(snap: Snap, accounts: Iterable[int], count: int) -> dict[Key, list[Push]]:
    """The newest `count` events that wait for each pusher of some accounts, the oldest first."""
    found: dict[Key, list[Push]] = {}
    for row in await snap.all(_PUSHES, accounts=list(accounts), count=count):
        push = Push(*row)
        found.setdefault(push.key, []).append(push)
    return found


async def event_at(
    snap: Snap, room_no: int, seq: int
) -> tuple[str, str | None, str | None, str] | None:
    """(event id, what redacted it, its thread, room id) of an event in a timeline."""
    row = await snap.one(_EVENT, room_no=room_no, seq=seq)
    return (row[0], row[1], row[2], row[3]) if row else None


async def finish(
    tx: Tx,
    due: Due,
    *,
    done: Sequence[tuple[int, int]],
    before: int,
    again_ms: int,
    failures: int,
    badge: int,
    badge_told: bool,
) -> None:
    """What became of a turn: the events at the places `done`, and all before `before`, go.

    Where anything still waits, the pusher is due at `again_ms`.
    """
    key = _named(due)
    held = await tx.one(_HOLD, **key)  # the lock first: what was added meanwhile is seen after it
    if held is None:
        return
    if done:
        await tx.many(_SENT, [{**key, "at": at, "n": n} for at, n in done])
    if before:
        await tx.run(_TOO_MANY, **key, before=before)
    badge_due = max(held[0] - due.badge_due, 0) if badge_told else held[0]
    waits = badge_due or await tx.one(_WAITS, **key) is not None
    await tx.run(
        _FINISH,
        **key,
        due=again_ms if waits else None,
        failures=failures,
        badge=badge,
        badge_due=badge_due,
    )


async def drop_pusher(tx: Tx, due: Due) -> None:
    """The gateway says that nobody is there any more."""
    key = _named(due)
    await tx.run(_TOO_MANY, **key, before=2**62)
    if await tx.run(_DROP, **key):
        tx.change(Kind.ACCOUNT, due.account_no)


async def release(tx: Tx, due: Due, now_ms: int) -> None:
    """Gives a claimed pusher back untried."""
    await tx.run(_RELEASE, **_named(due), now=now_ms)


async def sweep_pushes(tx: Tx, before_ms: int) -> int:
    """Forgets events that waited too long, or whose pusher is gone."""
    return await tx.run(_SWEEP, before=before_ms) + await tx.run(_ORPHANS)


def _named(due: Due) -> dict[str, Any]:
    return {"account_no": due.account_no, "app_id": due.app_id, "pushkey": due.pushkey}


# --- topics (UnifiedPush) -------------------------------------------------------------------

_TOPIC_COLUMNS = "topic_no, topic, account_no, device_no, app"
_TOPICS = sql(f"select {_TOPIC_COLUMNS} from push_topics where topic {{in_texts:topics}}")
_OWN_TOPICS = sql(
    f"select {_TOPIC_COLUMNS} from push_topics where account_no = :account_no order by topic_no"
)
_ADD_TOPIC = sql(
    "insert into push_topics (topic_no, topic, account_no, device_no, app, created_ms, used_ms)"
    " values (:topic_no, :topic, :account_no, :device_no, :app, :now, :now)"
    " on conflict do nothing"
)
_DROP_TOPIC = sql(
    "delete from push_topics where topic = :topic and account_no = :account_no returning topic_no"
)
_USE_TOPICS = sql("update push_topics set used_ms = :now where topic_no {in_ints:topics}")
_DROP_MESSAGES = sql("delete from push_messages where topic_no {in_ints:topics}")
_OF_DEVICE = sql("delete from push_topics where device_no = :device_no returning topic_no")
_OF_ACCOUNT = sql("delete from push_topics where account_no = :account_no returning topic_no")
_UNUSED = sql("delete from push_topics where used_ms < :before returning topic_no")
_ADD_MESSAGE = sql(
    "insert into push_messages (topic_no, pos, n, at_ms, body)"
    " values (:topic_no, :pos, :n, :now, :body)"
)
_COUNT = sql("select count(*) from push_messages where topic_no = :topic_no")
_DROP_OLD = sql(
    "delete from push_messages where topic_no = :topic_no and (pos, n) in (select pos, n"
    " from push_messages where topic_no = :topic_no order by pos, n limit :count)"
)
_MESSAGES = sql(
    "select topic_no, pos, n, at_ms, body from push_messages where topic_no {in_ints:topics}"
    " and (pos > :after or (pos = :after and n > :n)) and pos <= :upto and at_ms > :after_ms"
    " order by pos, n limit :count"
)
_SWEEP_MESSAGES = sql("delete from push_messages where at_ms < :before")
_DROP_PUSHES = sql("delete from pushes where account_no = :account_no")


async def topics(snap: Snap, names: Iterable[str]) -> dict[str, Topic]:
    """Topics by name; those that nobody made are left out."""
    rows = await snap.all(_TOPICS, topics=list(names))
    return {row[1]: Topic(*row) for row in rows}


async def topics_of(snap: Snap, account_no: int) -> list[Topic]:
    """The topics of an account, the oldest first."""
    return [Topic(*row) for row in await snap.all(_OWN_TOPICS, account_no=account_no)]


async def add_topic(tx: Tx, topic: Topic, now_ms: int) -> bool:
    """A new topic; false where the name is taken."""
    return await tx.run(_ADD_TOPIC, **msgspec.structs.asdict(topic), now=now_ms) == 1


async def drop_topic(tx: Tx, account_no: int, topic: str) -> bool:
    """Ends a topic of one's own, with what waits for it."""
    gone = await tx.all(_DROP_TOPIC, topic=topic, account_no=account_no)
    return await _forget(tx, gone)


async def drop_device_topics(tx: Tx, device_no: int) -> None:
    """Ends the topics of a device that logs out."""
    await _forget(tx, await tx.all(_OF_DEVICE, device_no=device_no))


async def drop_account(tx: Tx, account_no: int) -> None:
    """Ends everything of an account that ends."""
    await tx.run(_DROP_PUSHES, account_no=account_no)
    await _forget(tx, await tx.all(_OF_ACCOUNT, account_no=account_no))


async def drop_unused_topics(tx: Tx, before_ms: int) -> None:
    """Ends topics to which nobody listened since."""
    await _forget(tx, await tx.all(_UNUSED, before=before_ms))


async def _forget(tx: Tx, gone: Sequence[tuple[Any, ...]]) -> bool:
    if gone:
        await tx.run(_DROP_MESSAGES, topics=[row[0] for row in gone])
    for row in gone:
        tx.change(Kind.WAKE_UP, row[0])  # whoever listens hears that it is over
    return bool(gone)


async def use_topics(tx: Tx, topic_nos: Sequence[int], now_ms: int) -> None:
    """Somebody listens."""
    await tx.run(_USE_TOPICS, topics=topic_nos, now=now_ms)


async def add_message(tx: Tx, topic_no: int, n: int, body: bytes, now_ms: int, most: int) -> None:
    """A wake-up for whoever listens, or will; the oldest ones make room."""
    row = await tx.one(_COUNT, topic_no=topic_no)
    if row is not None and row[0] >= most:
        await tx.run(_DROP_OLD, topic_no=topic_no, count=row[0] - most + 1)
    tx.at_end(_ADD_MESSAGE, topic_no=topic_no, n=n, body=body, now=now_ms)
    tx.change(Kind.WAKE_UP, topic_no, n)


async def messages(
    snap: Snap, topic_nos: Sequence[int], after: tuple[int, int], after_ms: int, upto: int
) -> list[Message]:
    """Wake-ups after a place and a time, up to a position; 100 at most."""
    rows = await snap.all(
        _MESSAGES,
        topics=topic_nos,
        after=after[0],
        n=after[1],
        after_ms=after_ms,
        upto=upto,
        count=100,
    )
    return [Message(r[0], r[1], r[2], r[3], bytes(r[4])) for r in rows]


async def sweep_messages(tx: Tx, before_ms: int) -> int:
    """Forgets wake-ups that nobody fetched."""
    return await tx.run(_SWEEP_MESSAGES, before=before_ms)
