"""EmailSubmission: get, changes, query, queryChanges, set. # RFC 8621 §7"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from kerwen.api.jmap import emails, identities, ids
from kerwen.api.jmap.changing import Setting, query_changes, since_of
from kerwen.api.jmap.query_page import page
from kerwen.api.jmap.registry import Capability, Registry, Work, set_error
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail import addresses, fields, message, submission
from kerwen.mail.actions.submissions import Sending, Told
from kerwen.mail.jmap.arguments import Arguments, parse_date, utc_date
from kerwen.mail.jmap.errors import MethodError, SetError, bad_properties
from kerwen.mail.letter import Letter
from kerwen.mail.store import tags
from kerwen.mail.store.submissions import Status, Submission

SUBMISSION: Final = "urn:ietf:params:jmap:submission"
_ID: Final = re.compile(r"S([1-9][0-9]{0,17})")
_ADDRESS: Final = re.compile(r"[^\s<>\x00-\x1f\x7f]{1,320}")
_STATUS: Final = {
    Status.PENDING: "pending",
    Status.FINAL: "final",
    Status.CANCELED: "canceled",
}
_PROPERTIES: Final = frozenset(
    (
        "id", "identityId", "emailId", "threadId", "envelope", "sendAt", "undoStatus",
        "deliveryStatus", "dsnBlobIds", "mdnBlobIds",
    )
)  # fmt: skip
_SEARCHED: Final = ("identityIds", "emailIds", "threadIds")


class Api:
    """The methods. `registry` runs what follows a submission (onSuccessUpdateEmail)."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def capability(self) -> Capability:
        """The submission capability."""
        return Capability(
            SUBMISSION,
            {
                "Identity/get": identities.get,
                "Identity/changes": identities.changes,
                "Identity/set": identities.set_,
                "EmailSubmission/get": get,
                "EmailSubmission/changes": changes,
                "EmailSubmission/query": query,
                "EmailSubmission/queryChanges": submission_query_changes,
                "EmailSubmission/set": self.set_,
            },
            account={
                "maxDelayedSend": limits.JMAP_HOLD_MAX_S,
                "submissionExtensions": {"FUTURERELEASE": []},
            },
        )

    async def set_(self, work: Work, arguments: Arguments) -> dict[str, Any]:
        """EmailSubmission/set"""
        head, every = await work.deeds.submissions.all_of(work.unlocked)
        setting = Setting(work, arguments, str(head))
        updates = arguments.object("onSuccessUpdateEmail") or {}
        destroys = arguments.texts("onSuccessDestroyEmail") or []
        emails_of = {f"S{one.row.submission_no}": (one.facts or {}).get("emailId") for one in every}
        for key, asked in setting.create.items():
            emails_of["#" + key] = await _create(work, setting, key, asked)
        for key, asked in setting.update.items():
            await _settle(work, setting, "update", key, asked)
        for key in setting.destroy:
            await _settle(work, setting, "destroy", key, {})
        head, _ = await work.deeds.submissions.all_of(work.unlocked)
        response = setting.response(str(head))
        done = {"#" + key for key in setting.created} | setting.updated.keys()
        done |= set(setting.destroyed)
        update = {
            emails_of[key]: changes
            for key, changes in updates.items()
            if key in done and emails_of.get(key) and isinstance(changes, dict)
        }
        destroy = [emails_of[key] for key in destroys if key in done and emails_of.get(key)]
        if update or destroy:
            raw = {"accountId": work.account_id, "update": update, "destroy": destroy}
            await self._registry.implied(work, "Email/set", raw)
        return response


def _number(told: Any) -> int:
    match = _ID.fullmatch(told) if isinstance(told, str) else None
    return int(match[1]) if match is not None else 0


# --- get, changes, query ------------------------------------------------------------------------


def _told(one: Told, names: frozenset[str]) -> dict[str, Any]:
    row, facts = one.row, one.facts or {}
    envelope = facts.get("envelope") or {"mailFrom": {"email": ""}, "rcptTo": []}
    found = {
        "id": f"S{row.submission_no}",
        "identityId": facts.get("identityId"),
        "emailId": facts.get("emailId"),
        "threadId": facts.get("threadId"),
        "envelope": envelope,
        "sendAt": utc_date(row.send_ms),
        "undoStatus": _STATUS[Status(row.status)],
        "deliveryStatus": _delivery(row, envelope, facts.get("here") or []),
        "dsnBlobIds": [],
        "mdnBlobIds": [],
    }
    return {name: value for name, value in found.items() if name in names}


def _delivery(row: Submission, envelope: dict[str, Any], here: list[bool]) -> Any:
    if row.status == Status.CANCELED:
        return None
    found = {}
    for at, one in enumerate(envelope["rcptTo"]):
        is_here = at < len(here) and here[at]
        delivered = "queued" if row.status == Status.PENDING else "yes" if is_here else "unknown"
        reply = "250 2.1.5 Ok" if is_here else "250 2.0.0 Queued"
        found[one["email"]] = {
            "smtpReply": reply,
            "delivered": delivered,
            "displayed": "unknown",
        }
    return found


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """EmailSubmission/get"""
    names = arguments.properties(_PROPERTIES)
    wanted = arguments.ids()
    head, every = await work.deeds.submissions.all_of(work.unlocked)
    by_id = {f"S{one.row.submission_no}": one for one in every}
    if wanted is None and len(by_id) > limits.JMAP_OBJECTS_GET_MAX:
        raise MethodError("requestTooLarge", "Name the ids: there are too many")
    some = list(by_id) if wanted is None else list(map(work.batch.id_of, wanted))
    return {
        "accountId": work.account_id,
        "state": str(head),
        "list": [_told(by_id[one], names) for one in some if one in by_id],
        "notFound": [one for one in some if one not in by_id],
    }


async def changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """EmailSubmission/changes"""
    since = since_of(arguments)
    found = await work.deeds.submissions.changes(work.account_no, since.before)
    if found is None:
        raise MethodError("cannotCalculateChanges")
    head, rows = found
    pairs = [(row.submission_no, row) for row in rows]
    return identities.row_changes(work, arguments, "S", head, pairs)


def _fits(raw: Any, depth: int = 0) -> Callable[[Told], bool]:
    if raw is None:
        return lambda one: True
    if not isinstance(raw, dict) or depth > limits.SEARCH_DEPTH_MAX:
        raise MethodError("invalidArguments", "filter must be an object")
    if "operator" in raw:
        operator, conditions = raw["operator"], raw.get("conditions")
        if operator not in ("AND", "OR", "NOT") or not isinstance(conditions, list):
            raise MethodError("invalidArguments", "an operator is AND, OR or NOT")
        tests = [_fits(one, depth + 1) for one in conditions[: limits.SEARCH_KEYS_MAX]]
        if operator == "AND":
            return lambda one: all(test(one) for test in tests)
        return lambda one: any(test(one) for test in tests) == (operator == "OR")
    tests = [_condition(name, value) for name, value in raw.items()]
    return lambda one: all(test(one) for test in tests)


def _condition(name: str, value: Any) -> Callable[[Told], bool]:
    if name in _SEARCHED and isinstance(value, list):
        field = name[:-1]
        return lambda one: (one.facts or {}).get(field) in value
    if name == "undoStatus" and isinstance(value, str):
        return lambda one: _STATUS[Status(one.row.status)] == value
    if name in ("before", "after"):
        ms = parse_date(value, utc=True)
        if ms is None:
            raise MethodError("invalidArguments", f"{name} must be a UTCDate")
        before = name == "before"
        return lambda one: (one.row.send_ms < ms) == before
    if name in (*_SEARCHED, "undoStatus"):
        raise MethodError("invalidArguments", f"{name} has another type")
    raise MethodError("unsupportedFilter", f"{name[:100]} is unknown")


_KEYS: Final[dict[str, Callable[[Told], Any]]] = {
    "emailId": lambda one: (one.facts or {}).get("emailId") or "",
    "threadId": lambda one: (one.facts or {}).get("threadId") or "",
    "sentAt": lambda one: one.row.send_ms,
    "sendAt": lambda one: one.row.send_ms,
}


async def _results(work: Work, arguments: Arguments) -> tuple[int, list[int]]:
    fits = _fits(arguments.raw.get("filter"))
    sort = arguments.raw.get("sort") or [{"property": "sentAt", "isAscending": False}]
    if not isinstance(sort, list) or len(sort) > 8:
        raise MethodError("invalidArguments", "sort must be a list of comparators")
    head, every = await work.deeds.submissions.all_of(work.unlocked)
    found = [one for one in every if fits(one)]
    for one in reversed(sort):
        name = one.get("property") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in _KEYS:
            raise MethodError("unsupportedSort", "This cannot be sorted by")
        found.sort(key=_KEYS[name], reverse=one.get("isAscending") is False)
    return head, [one.row.submission_no for one in found]


def _ids(nos: list[int]) -> list[str]:
    return [f"S{no}" for no in nos]


async def query(work: Work, arguments: Arguments) -> dict[str, Any]:
    """EmailSubmission/query"""
    head, found = await _results(work, arguments)
    return page(work, arguments, str(head), found, lambda told: _number(told) or None, _ids)


async def submission_query_changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """EmailSubmission/queryChanges"""
    since = since_of(arguments, "sinceQueryState")
    changed = await work.deeds.submissions.changes(work.account_no, since.before)
    if changed is None:
        raise MethodError("cannotCalculateChanges")
    _, rows = changed
    head, found = await _results(work, arguments)
    touched = {row.submission_no for row in rows}
    gone = [row.submission_no for row in rows if row.gone]
    return query_changes(work, arguments, str(head), found, gone, touched, _ids)


# --- set ----------------------------------------------------------------------------------------


async def _settle(work: Work, setting: Setting, how: str, key: str, asked: dict[str, Any]) -> None:
    """Takes a submission back, or forgets it."""
    try:
        no = _number(key)
        if how == "destroy":
            await work.deeds.submissions.destroy(work.account_no, no)
            setting.destroyed.append(key)
            return
        if asked.keys() - {"undoStatus"}:
            raise bad_properties(sorted(asked.keys() - {"undoStatus"})[:50])
        if asked.get("undoStatus") == "canceled":
            await work.deeds.submissions.cancel(work.account_no, no)
        elif asked:
            raise bad_properties(["undoStatus"])
        setting.updated[key] = None
    except SetError as error:
        setting.fail(how, key, error)
    except Refused as refusal:
        if refusal.reason is Reason.CONFLICT:
            setting.fail(how, key, SetError("cannotUnsend", refusal.public_text))
        else:
            setting.fail(how, key, set_error(refusal))


async def _create(work: Work, setting: Setting, key: str, asked: dict[str, Any]) -> str | None:
    """Sends an Email; its id if that was done."""
    try:
        unknown = asked.keys() - {"identityId", "emailId", "envelope", "undoStatus"}
        if unknown:
            raise bad_properties(sorted(unknown)[:50])
        if not await work.deeds.sign_in.may_write(work.entry.signed):
            raise SetError("forbiddenToSend", "This account may only read just now")
        identity = await _identity(work, asked.get("identityId"))
        email_id, thread_id, raw = await _email(work, asked.get("emailId"))
        envelope, due_ms = _envelope(work, asked.get("envelope"), raw, identity[1])
        made, thrown = await _send(work, identity[0], email_id, thread_id, raw, envelope, due_ms)
    except SetError as error:
        setting.fail("create", key, error)
        return None
    except Refused as refusal:
        setting.fail("create", key, _of(refusal))
        return None
    told = _told(Told(made, thrown), frozenset(("sendAt", "undoStatus", "deliveryStatus")))
    if asked.get("envelope") is None:
        told["envelope"] = envelope
    setting.made(key, f"S{made.submission_no}", {**told, "threadId": thread_id})
    return email_id


def _of(refusal: Refused) -> SetError:
    if refusal.reason is Reason.MALFORMED_MESSAGE:
        return SetError("invalidEmail", refusal.public_text, properties=["from"])
    return set_error(refusal)


async def _identity(work: Work, told: Any) -> tuple[str, dict[str, Any]]:
    every = await identities.listed(work)
    wanted = work.batch.id_of(told)
    found = every.things.get(identities.identity_no(wanted) or 0)
    if found is None:
        raise bad_properties(["identityId"], "There is no such identity")
    return wanted, found


async def _email(work: Work, told: Any) -> tuple[str, str, bytes]:
    email_id = work.batch.id_of(told)
    no = (
        ids.email_no(work.deeds.tags, work.account_no, email_id)
        if isinstance(email_id, str)
        else None
    )
    whole = await work.whole()
    one = whole.find(no) if no is not None else None
    raws = await emails.raws(work, [one.no]) if one is not None else {}
    if one is None or one.no not in raws:
        raise bad_properties(["emailId"], "There is no such Email")
    return email_id, tags.thread_id(one.thread), raws[one.no]


def _envelope(
    work: Work, told: Any, raw: bytes, identity: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """The envelope, and when it leaves (0: now). Raises `SetError`."""
    header = message.scan(raw).fields
    if told is None:
        found: dict[str, None] = {}
        for name in (b"to", b"cc", b"bcc"):
            for one in addresses.mailboxes(fields.joined(header, name)):
                found[one.address.decode("utf-8", "replace")] = None
        told = {
            "mailFrom": {"email": identity["email"], "parameters": None},
            "rcptTo": [{"email": address, "parameters": None} for address in found],
        }
    if not isinstance(told, dict) or not isinstance(told.get("rcptTo"), list):
        raise bad_properties(["envelope"])
    sender, recipients = told.get("mailFrom"), told["rcptTo"]
    if not isinstance(sender, dict) or not _is_address(sender, empty=True):
        raise bad_properties(["envelope"], "mailFrom is no address")
    if not recipients:
        raise SetError("noRecipients")
    if len(recipients) > limits.SMTP_RECIPIENTS_MAX:
        raise SetError("tooManyRecipients", maxRecipients=limits.SMTP_RECIPIENTS_MAX)
    bad = [one for one in recipients if not _is_address(one)]
    if bad:
        names = [str(one.get("email"))[:320] for one in bad if isinstance(one, dict)]
        raise SetError("invalidRecipients", invalidRecipients=names)
    return told, _due_ms(work, sender.get("parameters"))


def _is_address(one: Any, *, empty: bool = False) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("email"), str):
        return False
    parameters = one.get("parameters")
    if not (parameters is None or isinstance(parameters, dict)):
        return False
    address = one["email"]
    if not address:
        return empty
    return "@" in address[1:-1] and _ADDRESS.fullmatch(address) is not None


def _due_ms(work: Work, parameters: Any) -> int:
    """FUTURERELEASE. # RFC 4865 §4"""
    if not parameters:
        return 0
    asked = {name.upper(): value for name, value in parameters.items()}
    now = work.deeds.clock()
    hold, until = asked.get("HOLDFOR"), asked.get("HOLDUNTIL")
    due = 0
    if hold is not None:
        if until is not None or not str(hold).isascii() or not str(hold).isdigit():
            raise bad_properties(["envelope"], "HOLDFOR is a number of seconds")
        if len(str(hold)) > 12:
            raise bad_properties(["envelope"], "That is too far ahead")
        due = now + int(hold) * 1000
    elif until is not None:
        ms = parse_date(until)
        if ms is None:
            raise bad_properties(["envelope"], "HOLDUNTIL is a date")
        due = ms
    if due > now + limits.JMAP_HOLD_MAX_S * 1000:
        raise bad_properties(["envelope"], "That is too far ahead")
    return due if due > now else 0


async def _send(
    work: Work,
    identity_id: str,
    email_id: str,
    thread_id: str,
    raw: bytes,
    envelope: dict[str, Any],
    due_ms: int,
) -> tuple[Submission, dict[str, Any]]:
    submit, signed = work.deeds.submit, work.entry.signed
    sender = envelope["mailFrom"]["email"]
    try:
        await submit.check_sender(signed, sender)
    except Refused as refusal:
        raise SetError("forbiddenMailFrom", refusal.public_text) from None
    await submit.check_authors(signed, submission.authors(raw[: submission.header_end(raw)]))
    wanted = list(dict.fromkeys(one["email"] for one in envelope["rcptTo"]))
    accepted, bad = await work.deeds.submissions.accepted(wanted, len(raw))
    if bad:
        raise SetError("invalidRecipients", invalidRecipients=bad)
    utf8 = not all(address.isascii() for address in (sender, *wanted))
    facts = {
        "identityId": identity_id,
        "emailId": email_id,
        "threadId": thread_id,
        "envelope": envelope,
    }
    letter = Letter(sender=sender, utf8=utf8)
    raw = _lines(raw)
    made = await work.deeds.submissions.send(
        signed, Sending(letter, wanted, raw, due_ms, facts), accepted
    )
    here = [bool(one.found.accounts) and not one.found.elsewhere for one in accepted]
    return made, {**facts, "here": here}


def _lines(raw: bytes) -> bytes:
    """With CRLF at the end of every line, as it must travel."""
    if raw.count(b"\n") == raw.count(b"\r\n"):
        return raw
    return re.sub(rb"\r?\n", b"\r\n", raw)
