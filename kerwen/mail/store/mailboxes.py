"""Mail accounts and their mailboxes. Whoever changes anything locks the account's row first: its
`modseq` orders all that happens to an account's mail.
"""

# feed.md §8: one MODSEQ counter an account, drawn in the body under the row's lock

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from kerwen.storage.database import Kind, Row, Snap, Tx
from kerwen.storage.sql import sql

_ACCOUNT: Final = (
    "account_no, modseq, listed, next_mailbox, uidvalidity, used, placed, loose, quota, forgot"
)
_ACCOUNT_COLUMNS: Final = 10
_MAILBOX: Final = (
    "account_no, mailbox_no, name, special, uidvalidity, uidnext, modseq, created, changed,"
    " messages, unseen, deleted, bytes"
)
_GET = sql(f"select {_ACCOUNT} from mail_accounts where account_no = :account_no")
_LOCK = sql(f"select {_ACCOUNT} from mail_accounts where account_no = :account_no {{for_update}}")
_LOCK_WITH_INBOX = sql(
    "select "
    + ", ".join(f"a.{name}" for name in _ACCOUNT.split(", "))
    + ", "
    + ", ".join(f"m.{name}" for name in _MAILBOX.split(", "))
    + " from mail_accounts a join mail_mailboxes m on m.account_no = a.account_no"
    " where a.account_no = :account_no and m.name = 'INBOX' {for_update}"
)
_LOCK_MANY = sql(
    f"select {_ACCOUNT} from mail_accounts where account_no {{in_ints:accounts}}"
    " order by account_no {for_update}"
)
_ADD = sql(
    "insert into mail_accounts (account_no, modseq, listed, next_mailbox, uidvalidity, used,"
    " placed, loose, quota, forgot)"
    " values (:account_no, 1, 1, 1, :uidvalidity, 0, 0, 0, null, 0) on conflict do nothing"
)
_SAVE = sql(
    "update mail_accounts set modseq = :modseq, listed = :listed, next_mailbox = :next_mailbox,"
    " uidvalidity = :uidvalidity, used = :used, placed = :placed, loose = :loose"
    " where account_no = :account_no"
)
_SET_QUOTA = sql("update mail_accounts set quota = :quota where account_no = :account_no")
_SET_FORGOT = sql("update mail_accounts set forgot = :forgot where account_no = :account_no")
_ALL = sql(f"select {_MAILBOX} from mail_mailboxes where account_no = :account_no order by name")
_ONE = sql(
    f"select {_MAILBOX} from mail_mailboxes"
    " where account_no = :account_no and mailbox_no = :mailbox_no"
)
_NAMED = sql(
    f"select {_MAILBOX} from mail_mailboxes where account_no = :account_no and name = :name"
)
_SPECIAL = sql(
    f"select {_MAILBOX} from mail_mailboxes where account_no = :account_no and special = :special"
    " order by mailbox_no limit 1"
)
_WITH_HEAD = sql(
    "select a.modseq, a.forgot, "
    + ", ".join(f"m.{name}" for name in _MAILBOX.split(", "))
    + " from mail_mailboxes m join mail_accounts a on a.account_no = m.account_no"
    " where m.account_no = :account_no and m.mailbox_no = :mailbox_no"
)
_INBOXES = sql(
    f"select {_MAILBOX} from mail_mailboxes where account_no {{in_ints:accounts}}"
    " and name = 'INBOX'"
)
_ADD_MAILBOX = sql(
    f"insert into mail_mailboxes ({_MAILBOX}) values (:account_no, :mailbox_no, :name, :special,"
    " :uidvalidity, :uidnext, :modseq, :created, :changed, :messages, :unseen, :deleted, :bytes)"
)
_SAVE_MAILBOX = sql(
    "update mail_mailboxes set uidnext = :uidnext, modseq = :modseq, messages = :messages,"
    " unseen = :unseen, deleted = :deleted, bytes = :bytes"
    " where account_no = :account_no and mailbox_no = :mailbox_no"
)
_NAME_MAILBOX = sql(
    "update mail_mailboxes set name = :name, special = :special, changed = :changed"
    " where account_no = :account_no and mailbox_no = :mailbox_no"
)
_DROP_MAILBOX = sql(
    "delete from mail_mailboxes where account_no = :account_no and mailbox_no = :mailbox_no"
)
_GONE = sql(
    "insert into mail_mailboxes_gone (account_no, mailbox_no, modseq)"
    " values (:account_no, :mailbox_no, :modseq)"
)
_GONE_SINCE = sql(
    "select mailbox_no from mail_mailboxes_gone where account_no = :account_no"
    " and modseq > :since order by modseq, mailbox_no"
)
_SUBSCRIBE = sql(
    "insert into mail_subscriptions (account_no, name) values (:account_no, :name)"
    " on conflict do nothing"
)
_UNSUBSCRIBE = sql("delete from mail_subscriptions where account_no = :account_no and name = :name")
_SUBSCRIPTIONS = sql(
    "select name from mail_subscriptions where account_no = :account_no order by name"
)
_ORDERS = sql("select mailbox_no, sort_order from mail_orders where account_no = :account_no")
_SET_ORDER = sql(
    "insert into mail_orders (account_no, mailbox_no, sort_order)"
    " values (:account_no, :mailbox_no, :sort_order)"
    " on conflict (account_no, mailbox_no) do update set sort_order = excluded.sort_order"
)
_DROP_ORDER = sql(
    "delete from mail_orders where account_no = :account_no and mailbox_no = :mailbox_no"
)
_KEYWORDS = sql("select names from mail_keywords where account_no = :account_no")
_SET_KEYWORDS = sql(
    "insert into mail_keywords (account_no, names) values (:account_no, :names)"
    " on conflict (account_no) do update set names = excluded.names"
)
_METADATA = sql(
    "select entry, value, sealed from mail_metadata where account_no = :account_no"
    " and mailbox_no = :mailbox_no order by entry"
)
_SET_METADATA = sql(
    "insert into mail_metadata (account_no, mailbox_no, entry, value, sealed)"
    " values (:account_no, :mailbox_no, :entry, :value, 1)"
    " on conflict (account_no, mailbox_no, entry)"
    " do update set value = excluded.value, sealed = excluded.sealed"
)
_DROP_METADATA = sql(
    "delete from mail_metadata where account_no = :account_no and mailbox_no = :mailbox_no"
    " and entry = :entry"
)
_DROP_METADATA_ALL = sql(
    "delete from mail_metadata where account_no = :account_no and mailbox_no = :mailbox_no"
)


class Account(msgspec.Struct, gc=False):
    """A row of `mail_accounts`, held under its lock while it changes, then `save`d."""

    account_no: int
    modseq: int
    listed: int
    next_mailbox: int
    uidvalidity: int
    used: int
    placed: int
    loose: int
    quota: int | None
    forgot: int

    def next_modseq(self) -> int:
        """The next MODSEQ; one for all that one deed changes."""
        self.modseq += 1
        return self.modseq


class Mailbox(msgspec.Struct, gc=False):
    """A row of `mail_mailboxes`; its counts are those of the messages in it."""

    account_no: int
    mailbox_no: int
    name: str
    special: str
    uidvalidity: int
    uidnext: int
    modseq: int
    created: int
    changed: int
    messages: int
    unseen: int
    deleted: int
    bytes: int


async def account(snap: Snap, account_no: int) -> Account | None:
    """A mail account as it is."""
    row = await snap.one(_GET, account_no=account_no)
    return Account(*row) if row else None


async def lock(tx: Tx, account_no: int) -> Account | None:
    """A mail account, locked until the end; None if nothing of its mail is made yet."""
    row = await tx.one(_LOCK, account_no=account_no)
    if row is None:
        return None
    tx.lock(Kind.MAIL, account_no)
    return Account(*row)


async def lock_with_inbox(tx: Tx, account_no: int) -> tuple[Account, Mailbox] | None:
    """`lock`, with the account's INBOX."""
    row = await tx.one(_LOCK_WITH_INBOX, account_no=account_no)
    if row is None:
        return None
    tx.lock(Kind.MAIL, account_no)
    return Account(*row[:_ACCOUNT_COLUMNS]), Mailbox(*row[_ACCOUNT_COLUMNS:])


async def lock_many(tx: Tx, accounts: Iterable[int]) -> dict[int, Account]:
    """Several mail accounts, locked in the order of their numbers."""
    rows = await tx.all(_LOCK_MANY, accounts=sorted(accounts))
    for row in rows:
        tx.lock(Kind.MAIL, row[0])
    return {row[0]: Account(*row) for row in rows}


async def add(tx: Tx, account_no: int, now_s: int) -> bool:
    """Makes a mail account without mailboxes; false if it is there already."""
    return await tx.run(_ADD, account_no=account_no, uidvalidity=now_s) == 1


async def save(tx: Tx, changed: Account) -> None:
    """Writes a locked account's row back."""
    await tx.run(_SAVE, **_saved(changed))


async def save_many(tx: Tx, changed: Iterable[Account]) -> None:
    """The same for several."""
    await tx.many(_SAVE, [_saved(one) for one in changed])


def _saved(changed: Account) -> dict[str, Any]:
    return {
        "account_no": changed.account_no,
        "modseq": changed.modseq,
        "listed": changed.listed,
        "next_mailbox": changed.next_mailbox,
        "uidvalidity": changed.uidvalidity,
        "used": changed.used,
        "placed": changed.placed,
        "loose": changed.loose,
    }


async def set_quota(tx: Tx, account_no: int, quota: int | None) -> bool:
    """Sets a quota in bytes; None: the server's. False if there is no such account."""
    return await tx.run(_SET_QUOTA, account_no=account_no, quota=quota) == 1


async def set_forgot(tx: Tx, account_no: int, modseq: int) -> None:
    """What vanished at or below this MODSEQ was forgotten."""
    await tx.run(_SET_FORGOT, account_no=account_no, forgot=modseq)


async def all_of(snap: Snap, account_no: int) -> list[Mailbox]:
    """All mailboxes of an account, by name."""
    return [Mailbox(*row) for row in await snap.all(_ALL, account_no=account_no)]


async def one(snap: Snap, account_no: int, mailbox_no: int) -> Mailbox | None:
    """A mailbox by its number."""
    return _mailbox(await snap.one(_ONE, account_no=account_no, mailbox_no=mailbox_no))


async def with_head(
    snap: Snap, account_no: int, mailbox_no: int
) -> tuple[Mailbox, int, int] | None:
    """A mailbox, its account's MODSEQ, and up to which one vanished messages were forgotten."""
    row = await snap.one(_WITH_HEAD, account_no=account_no, mailbox_no=mailbox_no)
    return (Mailbox(*row[2:]), row[0], row[1]) if row else None


async def named(snap: Snap, account_no: int, name: str) -> Mailbox | None:
    """A mailbox by its name."""
    return _mailbox(await snap.one(_NAMED, account_no=account_no, name=name))


async def special(snap: Snap, account_no: int, use: str) -> Mailbox | None:
    """The mailbox of a special use, whatever its name is."""
    return _mailbox(await snap.one(_SPECIAL, account_no=account_no, special=use))


async def inboxes(snap: Snap, accounts: Iterable[int]) -> dict[int, Mailbox]:
    """The INBOX of each account."""
    rows = await snap.all(_INBOXES, accounts=list(accounts))
    return {row[0]: Mailbox(*row) for row in rows}


def _mailbox(row: Row | None) -> Mailbox | None:
    return Mailbox(*row) if row else None


async def add_mailbox(tx: Tx, made: Mailbox) -> None:
    """Writes a new mailbox."""
    await tx.run(_ADD_MAILBOX, **msgspec.structs.asdict(made))


async def save_mailbox(tx: Tx, changed: Mailbox) -> None:
    """Writes back what deeds on messages change."""
    await save_mailboxes(tx, [changed])


async def save_mailboxes(tx: Tx, changed: Sequence[Mailbox]) -> None:
    """The same for several, of any accounts."""
    await tx.many(
        _SAVE_MAILBOX,
        [
            {
                "account_no": one.account_no,
                "mailbox_no": one.mailbox_no,
                "uidnext": one.uidnext,
                "modseq": one.modseq,
                "messages": one.messages,
                "unseen": one.unseen,
                "deleted": one.deleted,
                "bytes": one.bytes,
            }
            for one in changed
        ],
    )


async def name_mailbox(tx: Tx, changed: Mailbox) -> None:
    """Writes back its name and special use."""
    await tx.run(
        _NAME_MAILBOX,
        account_no=changed.account_no,
        mailbox_no=changed.mailbox_no,
        name=changed.name,
        special=changed.special,
        changed=changed.changed,
    )


async def drop_mailbox(tx: Tx, account_no: int, mailbox_no: int, modseq: int) -> None:
    """Removes a mailbox that is empty, and remembers that it was there."""
    await tx.run(_DROP_MAILBOX, account_no=account_no, mailbox_no=mailbox_no)
    await tx.run(_DROP_METADATA_ALL, account_no=account_no, mailbox_no=mailbox_no)
    await tx.run(_DROP_ORDER, account_no=account_no, mailbox_no=mailbox_no)
    await tx.run(_GONE, account_no=account_no, mailbox_no=mailbox_no, modseq=modseq)


async def gone_since(snap: Snap, account_no: int, since: int) -> list[int]:
    """Mailboxes that were removed after a MODSEQ."""
    rows = await snap.all(_GONE_SINCE, account_no=account_no, since=since)
    return [row[0] for row in rows]


async def subscribe(tx: Tx, account_no: int, name: str) -> None:
    """Subscribes to a name, whether or not a mailbox has it."""
    await tx.run(_SUBSCRIBE, account_no=account_no, name=name)


async def unsubscribe(tx: Tx, account_no: int, name: str) -> bool:
    """False if it was not subscribed to."""
    return await tx.run(_UNSUBSCRIBE, account_no=account_no, name=name) == 1


async def subscriptions(snap: Snap, account_no: int) -> list[str]:
    """The names subscribed to."""
    return [row[0] for row in await snap.all(_SUBSCRIPTIONS, account_no=account_no)]


async def orders(snap: Snap, account_no: int) -> dict[int, int]:
    """In which order clients show mailboxes, as far as they said."""
    return {row[0]: row[1] for row in await snap.all(_ORDERS, account_no=account_no)}


async def set_order(tx: Tx, account_no: int, mailbox_no: int, order: int) -> None:
    """Sets it for a mailbox."""
    await tx.run(_SET_ORDER, account_no=account_no, mailbox_no=mailbox_no, sort_order=order)


async def keywords(snap: Snap, account_no: int) -> list[str]:
    """The account's keywords; a keyword's place is its bit in `Placed.keywords`."""
    row = await snap.one(_KEYWORDS, account_no=account_no)
    return msgspec.json.decode(row[0], type=list[str]) if row else []


async def set_keywords(tx: Tx, account_no: int, names: list[str]) -> None:
    """Writes the keywords; they may only be added to."""
    await tx.run(_SET_KEYWORDS, account_no=account_no, names=msgspec.json.encode(names).decode())


class Annotation(msgspec.Struct, frozen=True, gc=False):
    """A row of `mail_metadata`."""

    entry: str
    value: bytes
    sealed: bool  # those of before version 24 are not


async def metadata(snap: Snap, account_no: int, mailbox_no: int) -> list[Annotation]:
    """The annotations of a mailbox, or of the account (0). # RFC 5464"""
    rows = await snap.all(_METADATA, account_no=account_no, mailbox_no=mailbox_no)
    return [Annotation(row[0], bytes(row[1]), bool(row[2])) for row in rows]


async def set_metadata(
    tx: Tx, account_no: int, mailbox_no: int, entry: str, value: bytes | None
) -> None:
    """Sets an annotation, sealed, or removes it (None)."""
    if value is None:
        await tx.run(_DROP_METADATA, account_no=account_no, mailbox_no=mailbox_no, entry=entry)
        return
    await tx.run(
        _SET_METADATA, account_no=account_no, mailbox_no=mailbox_no, entry=entry, value=value
    )
