"""Email/get, Email/query, Thread/get. # RFC 8621 §3, §4"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from kerwen.api.jmap import ids
from kerwen.api.jmap.query_page import page as query_page
from kerwen.api.jmap.registry import Work
from kerwen.base import limits
from kerwen.base.errors import Refused
from kerwen.mail import fields
from kerwen.mail.actions.account_views import AccountView, Lying
from kerwen.mail.actions.records import parts
from kerwen.mail.jmap import emails, filters
from kerwen.mail.jmap.arguments import Arguments, utc_date
from kerwen.mail.jmap.emails import SEALED, Plan
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.store import page, tags
from kerwen.mail.store.record import CORE, FieldNames

_OFF_LOOP: Final = 256 * limits.KIB
_CLEAR: Final = ("blobId", "threadId", "mailboxIds", "keywords", "size", "receivedAt")
_TOLD_BYTES: Final = 2 * limits.KIB  # what is told of one card, in memory, reckoned high


def plan_of(arguments: Arguments, *, parsed: bool = False) -> Plan:
    """What is asked of each Email. # RFC 8621 §4.2"""
    most = arguments.unsigned("maxBodyValueBytes") or 0
    return emails.plan(
        arguments.texts("properties"),
        arguments.texts("bodyProperties"),
        text=arguments.boolean("fetchTextBodyValues"),
        html=arguments.boolean("fetchHTMLBodyValues"),
        every=arguments.boolean("fetchAllBodyValues"),
        most=most,
        parsed=parsed,
    )


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/get"""
    wanted = plan_of(arguments)
    asked = arguments.ids()
    whole = await work.whole()
    if asked is None:
        missing: list[str] = []
        nos = _all(whole)
        told_ids = ids.email_ids(work.deeds.tags, work.account_no, nos)
        by_no = dict(zip(nos, told_ids, strict=True))
    else:
        told_ids = list(dict.fromkeys(map(work.batch.id_of, asked)))
        numbers = ids.email_nos(work.deeds.tags, work.account_no, told_ids)
        by_no = {no: one for no, one in zip(numbers, told_ids, strict=True) if no is not None}
        missing = [one for no, one in zip(numbers, told_ids, strict=True) if no is None]
    found, gone = await told(work, whole, by_no, wanted)
    return {
        "accountId": work.account_id,
        "state": str(whole.head),
        "list": found,
        "notFound": missing + gone,
    }


def _all(whole: AccountView) -> list[int]:
    if whole.account.placed > limits.JMAP_OBJECTS_GET_MAX:
        raise MethodError("requestTooLarge", "Name the ids: there are too many")
    found: dict[int, None] = {}
    for view in whole.views.values():
        nos = view.nos
        found.update(dict.fromkeys([nos[at] for at in whole.shown(view)]))
    return list(found)


async def told(
    work: Work, whole: AccountView, by_no: dict[int, str], wanted: Plan
) -> tuple[list[dict[str, Any]], list[str]]:
    """Emails by number and id, in order; and the ids of those that are not there."""
    there = whole.find_all(by_no)
    rows: dict[int, dict[str, Any]] = {no: {} for no in there}
    if wanted.reads_messages:
        await _read(work, rows, there, by_no, wanted)
        if wanted.reads_more:
            pieces, _ = await work.deeds.records.pieces(work.unlocked, list(rows), (page.MORE,))
            _more(rows, wanted, pieces[page.MORE])
    elif wanted.headers or wanted.reads_more:
        await _cards(work, rows, there, wanted)
    _clear(whole, there, by_no, wanted.names, rows)
    return list(rows.values()), [one for no, one in by_no.items() if no not in rows]


def _clear(
    whole: AccountView,
    there: dict[int, Lying],
    by_no: dict[int, str],
    names: frozenset[str],
    rows: dict[int, dict[str, Any]],
) -> None:
    """What stands in clear. Rows that say the same share what says it."""
    boxes: dict[tuple[int, ...], dict[str, bool]] = {}
    marks: dict[tuple[int, int], dict[str, bool]] = {}
    blob_id, thread_id, mailbox_ids, keywords, size, received_at = map(names.__contains__, _CLEAR)
    for no, row in rows.items():
        one, row["id"] = there[no], by_no[no]
        if blob_id:
            row["blobId"] = ids.blob_of_email(by_no[no])
        if thread_id:
            row["threadId"] = tags.thread_id(one.thread)
        if mailbox_ids:
            if one.mailboxes not in boxes:
                boxes[one.mailboxes] = dict.fromkeys(map(ids.mailbox_id, one.mailboxes), True)
            row["mailboxIds"] = boxes[one.mailboxes]
        if keywords:
            mark = one.flags, one.bits
            if mark not in marks:
                marks[mark] = whole.names_of(one)
            row["keywords"] = marks[mark]
        if size:
            row["size"] = one.size
        if received_at:
            row["receivedAt"] = utc_date(one.date * 1000)


async def _cards(
    work: Work, rows: dict[int, dict[str, Any]], there: dict[int, Lying], wanted: Plan
) -> None:
    """What stands in the cards. It never changes, so it is kept while the vault is open."""
    kept = work.unlocked
    kind = f"jmap {' '.join([one.key for one in wanted.headers])} {wanted.names & SEALED}"
    fresh: dict[int, dict[str, Any]] = {}
    for no, row in rows.items():
        known = kept.page(no, kind)
        if known is None:
            fresh[no] = {}
        else:
            row.update(known)
    if not fresh:
        return
    missing = list(fresh)
    kinds = (page.HEAD,) * bool(wanted.headers) + (page.MORE,) * wanted.reads_more
    pieces, _ = await work.deeds.records.pieces(work.unlocked, missing, kinds)
    if wanted.headers:
        await _heads(work, fresh, there, wanted, pieces[page.HEAD])
    if wanted.reads_more:
        _more(fresh, wanted, pieces[page.MORE])
    for no in missing:
        told = fresh.get(no)
        if told is None:
            del rows[no]
        else:
            kept.keep(no, kind, told, _TOLD_BYTES)
            rows[no].update(told)


async def _heads(
    work: Work,
    rows: dict[int, dict[str, Any]],
    there: dict[int, Lying],
    wanted: Plan,
    heads: dict[int, Any],
) -> None:
    """The header fields, of the cards; of messages where a card has not all of them."""
    names = FieldNames({one.name for one in wanted.headers})
    nos = list(rows)
    rare: list[int] = []
    usual = all(one.name in CORE and one.form != "asRaw" for one in wanted.headers)
    asked = frozenset([one.name for one in wanted.headers])
    memory: dict[Any, Any] = {}
    for no in nos:
        head = heads.get(no)
        if head is None:
            del rows[no]
            continue
        if usual:  # nearly always; unfolded values will do
            rows[no].update(emails.of_fields(wanted.headers, fields.some(head.core, asked), memory))
            continue
        block = names.of(head)
        if block is None:
            rare.append(no)
        else:
            rows[no].update(emails.of_header(wanted.headers, block))
    for some in parts((no, there[no].size) for no in rare):
        for no, raw in (await raws(work, some)).items():
            end = raw.find(b"\n\r\n") + 1 or len(raw)
            rows[no].update(emails.of_header(wanted.headers, raw[:end]))
    for no in rare:
        if not rows[no]:
            del rows[no]


def _more(rows: dict[int, dict[str, Any]], wanted: Plan, mores: dict[int, Any]) -> None:
    """Preview, and whether there are files."""
    for no in list(rows):
        more = mores.get(no)
        if more is None:
            del rows[no]
            continue
        if "preview" in wanted.names:
            rows[no]["preview"] = more.preview
        if "hasAttachment" in wanted.names:
            rows[no]["hasAttachment"] = more.files > 0


async def raws(work: Work, nos: Sequence[int]) -> dict[int, bytes]:
    """Messages, as far as they open."""
    found = {}
    for no, raw in (await work.deeds.records.messages(work.unlocked, nos)).items():
        if not isinstance(raw, Refused):
            work.spend(len(raw))
            found[no] = raw
    return found


async def _read(
    work: Work,
    rows: dict[int, dict[str, Any]],
    there: dict[int, Lying],
    by_no: dict[int, str],
    wanted: Plan,
) -> None:
    """What the messages themselves say."""
    for some in parts([(no, there[no].size) for no in rows]):
        read = await raws(work, some)
        for no in some:
            raw = read.get(no)
            if raw is None:
                del rows[no]
                continue
            blob_id = ids.blob_of_email(by_no[no])
            rows[no].update(await of_raw(work, raw, blob_id, wanted))
        await asyncio.sleep(0)


async def of_raw(work: Work, raw: bytes, blob_id: str, wanted: Plan) -> dict[str, Any]:
    """The properties that a message itself has; a long one is read on a thread."""

    def blob_of(part_id: str) -> str:
        return ids.blob_of_part(blob_id, part_id)

    if len(raw) > _OFF_LOOP:
        return await asyncio.to_thread(emails.of_message, wanted, raw, blob_of, work.budget)
    return emails.of_message(wanted, raw, blob_of, work.budget)


# --- Email/query, Thread/get --------------------------------------------------------------------


async def query(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/query"""
    whole = await work.whole()
    found = await results(work, whole, arguments)
    account_no, keys = work.account_no, work.deeds.tags
    response = query_page(
        work,
        arguments,
        str(whole.head),
        found,
        lambda told: ids.email_no(keys, account_no, told),
        lambda nos: ids.email_ids(keys, account_no, nos),
    )
    response["collapseThreads"] = arguments.boolean("collapseThreads")
    return response


async def results(work: Work, whole: AccountView, arguments: Arguments) -> Sequence[int]:
    """The numbers of all Emails that a question finds."""
    asked, sort = arguments.raw.get("filter"), arguments.raw.get("sort")
    collapse = arguments.boolean("collapseThreads")

    def mailbox_no(told: str) -> int | None:
        number = ids.mailbox_no(work.batch.id_of(told))
        return number if number in whole.mailboxes else None

    return await work.deeds.email_query.run(
        work.unlocked,
        whole,
        filters.parse_filter(asked),
        filters.parse_sort(sort),
        collapse,
        filters.mark(asked, sort, collapse),
        mailbox_no,
    )


async def thread_get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Thread/get"""
    names = arguments.properties(frozenset(("id", "emailIds")))
    asked = arguments.ids()
    if asked is None:
        raise MethodError("requestTooLarge", "Name the ids")
    whole = await work.whole()
    numbers = {one: tags.thread_no(one) for one in asked}
    threads = whole.of_threads({number for number in numbers.values() if number is not None})
    flat = [no for own in threads.values() for _, no in own]
    told_ids = dict(zip(flat, ids.email_ids(work.deeds.tags, work.account_no, flat), strict=True))
    found, missing = [], []
    for one, number in numbers.items():
        if number is None or number not in threads:
            missing.append(one)
            continue
        row: dict[str, Any] = {"id": one}
        if "emailIds" in names:
            row["emailIds"] = [told_ids[no] for _, no in threads[number]]
        found.append(row)
    return {
        "accountId": work.account_id,
        "state": str(whole.head),
        "list": found,
        "notFound": missing,
    }
