"""The /changes and /queryChanges of mailboxes, threads and Emails. # RFC 8621 §2.2, §3.2, §4.3"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kerwen.api.jmap import emails, ids, mailboxes
from kerwen.api.jmap.changing import changes_response, most_of, query_changes, since_of
from kerwen.api.jmap.registry import Work
from kerwen.mail.actions.email_changes import DESTROYED, Change, Changes, State
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.store import tags

T = TypeVar("T")


async def email_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/changes"""
    since, whole = since_of(arguments), await work.whole()
    found = _known(await work.deeds.email_changes.emails(whole, since))

    def ids_of(changes: list[Change]) -> list[str]:
        nos = [one.no for one in changes]
        return ids.email_ids(work.deeds.tags, work.account_no, nos)

    return _page(work, arguments, since, found, whole.head, ids_of)


async def thread_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Thread/changes"""
    since, whole = since_of(arguments), await work.whole()
    found = _known(await work.deeds.email_changes.threads(whole, since))

    def ids_of(changes: list[Change]) -> list[str]:
        return [tags.thread_id(one.thread or 0) for one in changes]

    return _page(work, arguments, since, found, whole.head, ids_of)


async def mailbox_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Mailbox/changes"""
    since, whole = since_of(arguments), await work.whole()
    found, only_counts = _known(await work.deeds.email_changes.mailboxes(whole, since))

    def ids_of(changes: list[Change]) -> list[str]:
        return [ids.mailbox_id(one.no) for one in changes]

    told = _page(work, arguments, since, found, whole.head, ids_of)
    told["updatedProperties"] = list(mailboxes.COUNTS) if only_counts else None
    return told


def _known(found: T | None) -> T:
    """What is known of changes. Says `cannotCalculateChanges`."""
    if found is None:
        raise MethodError("cannotCalculateChanges")
    return found


def _page(
    work: Work,
    arguments: Arguments,
    since: State,
    found: Changes,
    head: int,
    ids_of: Callable[[list[Change]], list[str]],
) -> dict[str, Any]:
    some, state, more = found.page(since, head, most_of(arguments))
    return changes_response(work, since, some, state, more, ids_of)


async def email_query_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/queryChanges"""
    since, whole = since_of(arguments, "sinceQueryState"), await work.whole()
    changes = _known(await work.deeds.email_changes.emails(whole, since))
    found = await emails.results(work, whole, arguments)
    # what one Email does may move others of its thread in or out
    threads = {one.thread for one in changes.every if one.thread is not None}
    touched: set[int] | None = {one.no for one in changes.every}
    if any(one.thread is None for one in changes.every):
        touched = None
    elif touched is not None:
        for own in whole.of_threads(threads).values():
            touched.update(no for _, no in own)
    gone = [one.no for one in changes.every if one.kind == DESTROYED]
    keys, account_no = work.deeds.tags, work.account_no
    told = query_changes(
        work,
        arguments,
        str(whole.head),
        found,
        gone,
        touched,
        lambda nos: ids.email_ids(keys, account_no, nos),
    )
    told["collapseThreads"] = arguments.boolean("collapseThreads")
    return told


async def mailbox_query_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Mailbox/queryChanges"""
    since, whole = since_of(arguments, "sinceQueryState"), await work.whole()
    changed, _ = _known(await work.deeds.email_changes.mailboxes(whole, since))
    tree = mailboxes.Tree(whole)
    found = mailboxes.results(tree, arguments)
    every = changed.every
    gone = [one.no for one in every if one.kind == DESTROYED]
    as_tree = arguments.boolean("sortAsTree") or arguments.boolean("filterAsTree")
    touched = None if as_tree and every else {one.no for one in every}
    return query_changes(
        work,
        arguments,
        str(whole.head),
        found,
        gone,
        touched,
        lambda nos: list(map(ids.mailbox_id, nos)),
    )
