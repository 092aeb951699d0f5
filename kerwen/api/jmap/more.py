"""Quota/get, Quota/changes, Quota/query; SearchSnippet/get. # RFC 9425; RFC 8621 §5"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any, Final

from kerwen.api.jmap import emails, ids
from kerwen.api.jmap.registry import Capability, Work
from kerwen.base import limits
from kerwen.mail import encoded_words, fields, message, texts
from kerwen.mail.actions.records import parts
from kerwen.mail.jmap import filters, snippets
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.store import page

QUOTA: Final = "urn:ietf:params:jmap:quota"
_ID: Final = "mail"
_PROPERTIES: Final = frozenset(
    (
        "id", "resourceType", "used", "hardLimit", "scope", "name", "types", "warnLimit",
        "softLimit", "description",
    )
)  # fmt: skip
_SNIPPETS_MAX: Final = 100
_OFF_LOOP: Final = 256 * limits.KIB


def quota_capability() -> Capability:
    """RFC 9425."""
    methods = {
        "Quota/get": quota_get,
        "Quota/changes": quota_changes,
        "Quota/query": quota_query,
        "Quota/queryChanges": quota_query_changes,
    }
    return Capability(QUOTA, methods, account={})


async def _quota(work: Work) -> tuple[dict[str, Any], str]:
    """The one quota, and its state."""
    used, allowed = await work.deeds.quota(work.account_no)
    found = {
        "id": _ID,
        "resourceType": "octets",
        "used": used,
        "hardLimit": allowed,
        "scope": "account",
        "name": work.entry.signed.address,
        "types": ["Mail"],
        "warnLimit": allowed * 9 // 10,
        "softLimit": None,
        "description": None,
    }
    return found, hashlib.blake2b(b"%d %d" % (used, allowed), digest_size=8).hexdigest()


async def quota_get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Quota/get"""
    names = arguments.properties(_PROPERTIES)
    wanted = arguments.ids()
    one, state = await _quota(work)
    told = {name: value for name, value in one.items() if name in names}
    return {
        "accountId": work.account_id,
        "state": state,
        "list": [told] if wanted is None or _ID in wanted else [],
        "notFound": [other for other in wanted or () if other != _ID],
    }


async def quota_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Quota/changes: there is one, which was always there."""
    since = arguments.text("sinceState")
    _, state = await _quota(work)
    return {
        "accountId": work.account_id,
        "oldState": since,
        "newState": state,
        "hasMoreChanges": False,
        "created": [],
        "updated": [] if since == state else [_ID],
        "destroyed": [],
        "updatedProperties": ["used"],
    }


_FILTERS: Final[dict[str, Callable[[dict[str, Any], str], bool]]] = {
    "name": lambda one, value: value in one["name"],
    "scope": lambda one, value: value == one["scope"],
    "resourceType": lambda one, value: value == one["resourceType"],
    "type": lambda one, value: value in one["types"],
}


async def quota_query(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Quota/query"""
    one, _ = await _quota(work)
    fits = True
    for name, value in (arguments.object("filter") or {}).items():
        if name not in _FILTERS or not isinstance(value, str):
            raise MethodError("unsupportedFilter", f"{name[:100]} is unknown")
        fits = fits and _FILTERS[name](one, value)
    told: dict[str, Any] = {
        "accountId": work.account_id,
        "queryState": "1",
        "canCalculateChanges": True,
        "position": 0,
        "ids": [_ID] if fits else [],
    }
    if arguments.boolean("calculateTotal"):
        told["total"] = int(fits)
    return told


async def quota_query_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Quota/queryChanges: nothing that can be asked for ever changes."""
    told: dict[str, Any] = {
        "accountId": work.account_id,
        "oldQueryState": arguments.text("sinceQueryState"),
        "newQueryState": "1",
        "removed": [],
        "added": [],
    }
    if arguments.boolean("calculateTotal"):
        told["total"] = 1
    return told


async def snippet_get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """SearchSnippet/get"""
    wanted = arguments.ids("emailIds", _SNIPPETS_MAX)
    if wanted is None:
        raise MethodError("invalidArguments", "emailIds is needed")
    asked = filters.parse_filter(arguments.raw.get("filter"))
    whole = await work.whole()
    numbers: dict[int, str] = {}
    missing: list[str] = []
    for one in map(work.batch.id_of, wanted):
        no = ids.email_no(work.deeds.tags, work.account_no, one)
        if no is None or whole.find(no) is None:
            missing.append(one)
        else:
            numbers[no] = one
    of_subject, of_body = snippets.terms(asked)
    subjects = await _subjects(work, list(numbers)) if of_subject else {}
    previews: dict[int, str | None] = {}
    there = whole.find_all(numbers)
    for some in parts((no, one.size) for no, one in there.items()) if of_body else ():
        for no, raw in (await emails.raws(work, some)).items():
            previews[no] = await _preview(raw, of_body)
    found = [
        {
            "emailId": email_id,
            "subject": snippets.marked(subjects.get(no, ""), of_subject),
            "preview": previews.get(no),
        }
        for no, email_id in numbers.items()
    ]
    return {"accountId": work.account_id, "list": found, "notFound": missing}


async def _preview(raw: bytes, of_body: list[str]) -> str | None:
    def read() -> str | None:
        told = texts.texts(raw, message.scan(raw))
        return snippets.preview("\n".join((*told.plain, *told.html)), of_body)

    return await asyncio.to_thread(read) if len(raw) > _OFF_LOOP else read()


async def _subjects(work: Work, nos: list[int]) -> dict[int, str]:
    pieces, _ = await work.deeds.records.pieces(work.unlocked, nos, (page.HEAD,))
    found = {}
    for no, head in pieces[page.HEAD].items():
        value = fields.first(fields.read(head.core), b"subject")
        found[no] = encoded_words.decode(value) if value else ""
    return found
