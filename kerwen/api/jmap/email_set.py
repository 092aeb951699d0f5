"""Email/set, Email/import, Email/parse, Email/copy. # RFC 8621 §4.6-4.9"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Final

from kerwen.api.jmap import blobs, emails, ids
from kerwen.api.jmap.changing import Setting
from kerwen.api.jmap.registry import Work, set_error
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import flags as mail_flags
from kerwen.mail import message
from kerwen.mail.actions import sealing
from kerwen.mail.actions.account_views import AccountView, Lying
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.revise import Revision
from kerwen.mail.flags import Flags
from kerwen.mail.jmap import compose, patch
from kerwen.mail.jmap.arguments import Arguments, is_id, parse_date
from kerwen.mail.jmap.errors import MethodError, SetError, bad_properties
from kerwen.mail.store import tags

_OFF_LOOP: Final = 256 * limits.KIB
_CLEAR: Final = ("mailboxIds", "keywords", "receivedAt")
_GIVEN: Final = frozenset({"id", "blobId", "threadId", "size", "hasAttachment", "preview"})


async def set_(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/set"""
    whole = await work.whole()
    setting = Setting(work, arguments, str(whole.head))
    for key, asked in setting.create.items():
        await _create(work, setting, key, asked)
    if setting.create:
        whole = await work.whole()
    await _revise(work, setting, whole)
    return setting.response(str((await work.whole()).head))


# --- create -------------------------------------------------------------------------------------


async def _create(work: Work, setting: Setting, key: str, asked: dict[str, Any]) -> None:
    try:
        given = sorted(_GIVEN & asked.keys())
        if given:
            raise bad_properties(given)
        whole = await work.whole()
        numbers = _mailboxes(work, whole, asked.get("mailboxIds"))
        flags = _keywords(asked.get("keywords"))
        date_s = _received(asked.get("receivedAt"))
        draft = compose.draft({k: v for k, v in asked.items() if k not in _CLEAR})
        raw = await _written(work, draft)
        told = await _append(work, whole, raw, numbers, flags, date_s)
    except SetError as error:
        setting.fail("create", key, error)
    except Refused as refusal:
        setting.fail("create", key, set_error(refusal, ("mailboxIds",)))
    else:
        setting.made(key, told.pop("id"), told)


async def _written(work: Work, draft: compose.Draft) -> bytes:
    """The message of a draft, with its blobs in it."""
    found: dict[str, compose.Blob] = {}
    missing: list[str] = []
    size = 0
    for blob_id in draft.blob_ids():
        blob = await blobs.read(work, blob_id)
        if blob is None:
            missing.append(blob_id)
            continue
        found[blob_id] = blob
        size += len(blob.data)
        if size > limits.MESSAGE_BYTES_MAX * 3 // 4:
            raise SetError("tooLarge", "The attachments are too large")
    if missing:
        raise compose.missing(missing)
    now, host = work.deeds.clock(), work.deeds.host
    if size > _OFF_LOOP:
        return await asyncio.to_thread(compose.write, draft, found, now, secrets.token_bytes, host)
    return compose.write(draft, found, now, secrets.token_bytes, host)


def _mailboxes(work: Work, whole: AccountView, told: Any) -> list[int]:
    """The mailboxes that an Email shall lie in. Raises `SetError`."""
    if not isinstance(told, dict) or not told:
        raise bad_properties(["mailboxIds"], "An Email lies in a mailbox")
    found = []
    for key, value in told.items():
        number = ids.mailbox_no(work.batch.id_of(key))
        if value is not True or number not in whole.mailboxes:
            raise bad_properties(["mailboxIds"], "There is no such mailbox")
        found.append(number)
    return list(dict.fromkeys(found))


def _keywords(told: Any) -> Flags:
    if told is None:
        return mail_flags.NONE
    if not isinstance(told, dict) or not all(value is True for value in told.values()):
        raise bad_properties(["keywords"])
    try:
        return mail_flags.from_jmap(told)
    except Refused as refusal:
        raise bad_properties(["keywords"], refusal.public_text) from None


def _received(told: Any) -> int | None:
    """Seconds of a receivedAt."""
    if told is None:
        return None
    ms = parse_date(told, utc=True)
    if ms is None:
        raise bad_properties(["receivedAt"])
    return ms // 1000


async def _append(
    work: Work, whole: AccountView, raw: bytes, numbers: list[int], flags: Flags, date_s: int | None
) -> dict[str, Any]:
    """Puts a message into its mailboxes; what is told of it."""
    made = await sealing.made(raw)
    item = Item(made, flags.system, flags.keywords, date_s)
    first = whole.mailboxes[numbers[0]]
    done = await work.deeds.append.run(work.account_no, first.name, [item])
    work.deeds.tastes.moved(work.unlocked, done.nos, "", first.special)
    if flags.keywords:
        work.deeds.tastes.flagged(work.unlocked, done.nos, flags.keywords)
    now = await work.whole()
    one = now.find(done.nos[0])
    if one is None:
        raise Refused(Reason.MESSAGE_GONE, "It was removed meanwhile")
    if len(numbers) > 1:
        revised = await work.deeds.revise.run(
            work.account_no, [Revision(one, into=tuple(numbers[1:]))]
        )
        if revised.refused:
            raise next(iter(revised.refused.values()))
    email_id = ids.email_ids(work.deeds.tags, work.account_no, [one.no])[0]
    return {
        "id": email_id,
        "blobId": ids.blob_of_email(email_id),
        "threadId": tags.thread_id(one.thread),
        "size": one.size,
    }


# --- update, destroy ----------------------------------------------------------------------------


async def _revise(work: Work, setting: Setting, whole: AccountView) -> None:
    revisions: list[Revision] = []
    keys: dict[int, tuple[str, str]] = {}
    for how, wanted in (("update", list(setting.update)), ("destroy", setting.destroy)):
        for key in wanted:
            no = ids.email_no(work.deeds.tags, work.account_no, key)
            one = whole.find(no) if no is not None else None
            try:
                if one is None:
                    raise SetError("notFound")
                if how == "destroy":
                    revision = Revision(one, out_of=one.mailboxes)
                else:
                    revision = _revision(work, whole, one, setting.update[key])
            except SetError as error:
                setting.fail(how, key, error)
                continue
            keys[one.no] = (how, key)
            if how == "update" and revision.is_empty:
                setting.updated[key] = None
            else:
                revisions.append(revision)
    if not revisions:
        return
    try:
        done = await work.deeds.revise.run(work.account_no, revisions)
    except Refused as refusal:
        for revision in revisions:
            how, key = keys[revision.email.no]
            setting.fail(how, key, set_error(refusal, ("keywords",)))
        return
    for revision in revisions:
        how, key = keys[revision.email.no]
        refused = done.refused.get(revision.email.no)
        if refused is not None:
            setting.fail(how, key, set_error(refused, ("mailboxIds",)))
        elif how == "destroy":
            setting.destroyed.append(key)
        else:
            setting.updated[key] = None
            _teach(work, whole, revision)


def _revision(work: Work, whole: AccountView, one: Lying, changes: Mapping[str, Any]) -> Revision:
    """What an update comes to. Raises `SetError`."""
    old = {
        "keywords": whole.names_of(one),
        "mailboxIds": {ids.mailbox_id(number): True for number in one.mailboxes},
    }
    told: dict[str, Any] = {}
    for path, value in changes.items():
        first, slash, rest = path.partition("/")
        if first not in old:
            raise bad_properties([path[:200]], "This never changes")
        if first == "mailboxIds" and slash:
            path = f"mailboxIds/{work.batch.id_of(rest)}"
        elif first == "keywords" and slash:
            path = f"keywords/{rest.lower()}"
        if slash and value not in (True, None):
            raise SetError("invalidPatch", "true or null")
        told[path] = value
    new = patch.apply(old, told)
    into, out_of = _moves(work, whole, one, new["mailboxIds"])
    flags = _keywords(new["keywords"])
    bits = one.flags & ~mail_flags.System.DELETED
    known = {name for name in old["keywords"] if name not in _SYSTEM}
    wanted = {name.lower(): name for name in flags.keywords}
    return Revision(
        one,
        add_flags=int(flags.system & ~bits),
        less_flags=int(bits & ~flags.system),
        add_keywords=tuple(name for small, name in wanted.items() if small not in known),
        less_keywords=tuple(name for name in known if name not in wanted),
        into=into,
        out_of=out_of,
    )


_SYSTEM: Final = frozenset({"$seen", "$answered", "$flagged", "$draft"})


def _moves(
    work: Work, whole: AccountView, one: Lying, told: Any
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    numbers = _mailboxes(work, whole, told)
    into = tuple(number for number in numbers if number not in one.mailboxes)
    return into, tuple(number for number in one.mailboxes if number not in numbers)


def _teach(work: Work, whole: AccountView, revision: Revision) -> None:
    """What was moved or marked tells what is junk."""
    nos = (revision.email.no,)
    if revision.into and revision.out_of:
        source = whole.mailboxes[revision.out_of[0]].special
        target = whole.mailboxes[revision.into[0]].special
        work.deeds.tastes.moved(work.unlocked, nos, source, target)
    if revision.add_keywords:
        work.deeds.tastes.flagged(work.unlocked, nos, revision.add_keywords)


# --- import, parse, copy ------------------------------------------------------------------------


async def import_(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/import"""
    whole = await work.whole()
    raw = {"ifInState": arguments.raw.get("ifInState"), "create": arguments.object("emails")}
    setting = Setting(work, Arguments(raw), str(whole.head))
    for key, asked in setting.create.items():
        try:
            told = await _import_one(work, asked)
        except SetError as error:
            setting.fail("create", key, error)
        except Refused as refusal:
            setting.fail("create", key, set_error(refusal, ("mailboxIds",)))
        else:
            setting.made(key, told.pop("id"), told)
    return {
        "accountId": work.account_id,
        "oldState": setting.old_state,
        "newState": str((await work.whole()).head),
        "created": setting.created or None,
        "notCreated": setting.failed["create"] or None,
    }


async def _import_one(work: Work, asked: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(asked.keys() - {"blobId", *_CLEAR})
    if unknown:
        raise bad_properties(unknown[:50])
    whole = await work.whole()
    numbers = _mailboxes(work, whole, asked.get("mailboxIds"))
    flags, date_s = _keywords(asked.get("keywords")), _received(asked.get("receivedAt"))
    blob = await blobs.read(work, asked.get("blobId"))
    if blob is None:
        raise compose.missing([str(asked.get("blobId"))[:255]])
    if not message.scan(blob.data[: limits.HEADER_SHOWN_MAX]).fields:
        raise SetError("invalidEmail", "This is no message")
    return await _append(work, whole, blob.data, numbers, flags, date_s)


async def parse(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/parse"""
    asked = arguments.texts("blobIds")
    if asked is None:
        raise MethodError("invalidArguments", "blobIds is needed")
    if len(asked) > 100:
        raise MethodError("requestTooLarge", "At most 100 blobs")
    wanted = emails.plan_of(arguments, parsed=True)
    found: dict[str, Any] = {}
    missing: list[str] = []
    bad: list[str] = []
    for blob_id in dict.fromkeys(asked):
        blob = await blobs.read(work, blob_id) if is_id(blob_id) else None
        if blob is None:
            missing.append(blob_id)
            continue
        made = await sealing.made(blob.data)
        if not message.scan(blob.data[: limits.HEADER_SHOWN_MAX]).fields:
            bad.append(blob_id)
            continue
        row = await emails.of_raw(work, blob.data, blob_id, wanted)
        _of_parsed(wanted.names, blob_id, made, row)
        found[blob_id] = row
    return {
        "accountId": work.account_id,
        "parsed": found or None,
        "notParsable": bad or None,
        "notFound": missing or None,
    }


def _of_parsed(
    names: frozenset[str], blob_id: str, made: sealing.Made, row: dict[str, Any]
) -> None:
    """What a message tells that lies in no mailbox."""
    for name in ("id", "mailboxIds", "keywords", "receivedAt", "threadId"):
        if name in names:
            row[name] = None
    if "blobId" in names:
        row["blobId"] = blob_id
    if "size" in names:
        row["size"] = made.size
    if "preview" in names:
        row["preview"] = made.rendered.preview
    if "hasAttachment" in names:
        row["hasAttachment"] = made.rendered.files > 0


async def copy(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Email/copy: there is no other account to copy from."""
    if arguments.text("fromAccountId") == work.account_id:
        raise MethodError("invalidArguments", "fromAccountId and accountId are the same")
    raise MethodError("fromAccountNotFound")
