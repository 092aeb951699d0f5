"""Identity/get, Identity/changes, Identity/set. # RFC 8621 §6"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from kerwen.api.jmap.changing import Setting, changes_response, most_of, since_of
from kerwen.api.jmap.registry import Work, set_error
from kerwen.base import limits
from kerwen.base.errors import Refused
from kerwen.mail.actions.email_changes import CREATED, DESTROYED, UPDATED, Changes
from kerwen.mail.actions.email_changes import Change as Told
from kerwen.mail.actions.objects import Change, Listed
from kerwen.mail.jmap import compose, patch
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import MethodError, SetError, bad_properties

KIND: Final = "identity"
_ID: Final = re.compile(r"I([1-9][0-9]{0,17})")
_DEFAULTS: Final[dict[str, Any]] = {
    "name": "",
    "email": "",
    "replyTo": None,
    "bcc": None,
    "textSignature": "",
    "htmlSignature": "",
}
_PROPERTIES: Final = frozenset(("id", "mayDelete", *_DEFAULTS))
_SIGNATURE_MAX: Final = 64 * limits.KIB


def identity_no(told: Any) -> int | None:
    """The number of an identity's id; None: it is none."""
    match = _ID.fullmatch(told) if isinstance(told, str) else None
    return int(match[1]) if match is not None else None


async def listed(work: Work) -> Listed:
    """All identities; the first is made of the account's own address."""
    found = await work.deeds.objects.all_of(work.unlocked, KIND)
    if found.head:
        return found
    own = {**_DEFAULTS, "email": work.entry.signed.address}
    await work.deeds.objects.write(
        work.account_no, KIND, [Change(0, own)], limits.JMAP_IDENTITIES_MAX
    )
    return await work.deeds.objects.all_of(work.unlocked, KIND)


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Identity/get"""
    names = arguments.properties(_PROPERTIES)
    wanted = arguments.ids()
    every = await listed(work)
    by_id = {f"I{no}": value for no, value in every.things.items()}
    some = list(by_id) if wanted is None else list(map(work.batch.id_of, wanted))
    found = [
        {
            name: value
            for name, value in {"id": one, **by_id[one], "mayDelete": True}.items()
            if name in names
        }
        for one in some
        if one in by_id
    ]
    return {
        "accountId": work.account_id,
        "state": str(every.head),
        "list": found,
        "notFound": [one for one in some if one not in by_id],
    }


class _Row(Protocol):
    @property
    def created(self) -> int: ...
    @property
    def changed(self) -> int: ...
    @property
    def gone(self) -> int: ...


def row_changes(
    work: Work, arguments: Arguments, letter: str, head: int, rows: Sequence[tuple[int, _Row]]
) -> dict[str, Any]:
    """The /changes of things that stand in rows with their MODSEQs."""
    since, most = since_of(arguments), most_of(arguments)
    found: list[Told] = []
    for no, row in rows:
        if since.knows(row.changed, no):
            continue
        new = not since.knew(row.created)
        if row.gone and new:
            continue
        kind = DESTROYED if row.gone else CREATED if new else UPDATED
        found.append(Told(row.changed, no, kind))
    found.sort(key=lambda one: (one.modseq, one.no))
    some, state, more = Changes(found).page(since, head, most)
    return changes_response(
        work, since, some, state, more, lambda changes: [f"{letter}{one.no}" for one in changes]
    )


async def changes(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Identity/changes"""
    since = since_of(arguments)
    found = await work.deeds.objects.changes(work.account_no, KIND, since.before)
    if found is None:
        raise MethodError("cannotCalculateChanges")
    head, rows = found
    return row_changes(work, arguments, "I", head, [(row.object_no, row) for row in rows])


async def set_(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Identity/set"""
    every = await listed(work)
    setting = Setting(work, arguments, str(every.head))
    for key, asked in setting.create.items():
        try:
            value = await _checked(work, {**_DEFAULTS, **asked}, None)
            no = await _write(work, Change(0, value))
        except SetError as error:
            setting.fail("create", key, error)
        except Refused as refusal:
            setting.fail("create", key, set_error(refusal))
        else:
            told = {name: value[name] for name in _DEFAULTS if name not in asked}
            setting.made(key, f"I{no}", {**told, "mayDelete": True})
    for how, wanted in (("update", list(setting.update)), ("destroy", setting.destroy)):
        for key in wanted:
            try:
                no = identity_no(key) or 0
                old = every.things.get(no)
                if old is None:
                    raise SetError("notFound")
                value_or_none = None
                if how == "update":
                    new = patch.apply(old, setting.update[key])
                    value_or_none = await _checked(work, {**_DEFAULTS, **new}, old)
                await _write(work, Change(no, value_or_none))
            except SetError as error:
                setting.fail(how, key, error)
            except Refused as refusal:
                setting.fail(how, key, set_error(refusal))
            else:
                if how == "update":
                    setting.updated[key] = None
                else:
                    setting.destroyed.append(key)
    return setting.response(str((await work.deeds.objects.all_of(work.unlocked, KIND)).head))


async def _write(work: Work, change: Change) -> int:
    most = limits.JMAP_IDENTITIES_MAX
    return (await work.deeds.objects.write(work.account_no, KIND, [change], most))[0]


async def _checked(work: Work, value: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """An identity as it may be kept. Raises `SetError`, `Refused(SENDER_NOT_YOURS)`."""
    bad = sorted(value.keys() - _DEFAULTS.keys())
    for name in ("name", "email", "textSignature", "htmlSignature"):
        if value[name] is None:
            value[name] = _DEFAULTS[name]
        if not isinstance(value[name], str) or len(value[name]) > _SIGNATURE_MAX:
            bad.append(name)
    for name in ("replyTo", "bcc"):
        if value[name] is not None and not compose.are_addresses(value[name]):
            bad.append(name)
    if old is not None and value["email"] != old["email"]:
        bad.append("email")
    if bad:
        raise bad_properties(bad[:50])
    if old is None:
        await work.deeds.submit.check_sender(work.entry.signed, value["email"] or "@")
    return value
