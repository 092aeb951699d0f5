"""VacationResponse/get and /set: what is answered while somebody is away. # RFC 8621 §8"""

from __future__ import annotations

from typing import Any, Final

from kerwen.api.jmap.changing import Setting
from kerwen.api.jmap.registry import Capability, Work, set_error
from kerwen.base.errors import Refused
from kerwen.mail.jmap import patch
from kerwen.mail.jmap.arguments import Arguments, parse_date, utc_date
from kerwen.mail.jmap.errors import SetError, bad_properties
from kerwen.mail.sieve.vacation import Vacation

VACATION: Final = "urn:ietf:params:jmap:vacationresponse"
_ID: Final = "singleton"
_TEXTS: Final = {"subject": "subject", "textBody": "text", "htmlBody": "html"}
_DATES: Final = {"fromDate": "from_ms", "toDate": "to_ms"}
_PROPERTIES: Final = frozenset(("id", "isEnabled", *_TEXTS, *_DATES))


def capability() -> Capability:
    """The capability."""
    methods = {"VacationResponse/get": get, "VacationResponse/set": set_}
    return Capability(VACATION, methods, account={})


def _told(vacation: Vacation) -> dict[str, Any]:
    found: dict[str, Any] = {"id": _ID, "isEnabled": vacation.enabled}
    for name, field in _TEXTS.items():
        found[name] = getattr(vacation, field)
    for name, field in _DATES.items():
        ms = getattr(vacation, field)
        found[name] = utc_date(ms) if ms is not None else None
    return found


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """VacationResponse/get"""
    names = arguments.properties(_PROPERTIES)
    wanted = arguments.ids()
    kept = await work.deeds.scripts.kept(work.account_no)
    told = _told(kept.vacation)
    shown = {name: value for name, value in told.items() if name in names}
    return {
        "accountId": work.account_id,
        "state": str(kept.changes),
        "list": [shown] if wanted is None or _ID in wanted else [],
        "notFound": [one for one in wanted or [] if one != _ID],
    }


async def set_(work: Work, arguments: Arguments) -> dict[str, Any]:
    """VacationResponse/set"""
    kept = await work.deeds.scripts.kept(work.account_no)
    setting = Setting(work, arguments, str(kept.changes))
    for key in setting.create:
        setting.fail("create", key, SetError("singleton"))
    for key in setting.destroy:
        setting.fail("destroy", key, SetError("singleton" if key == _ID else "notFound"))
    for key, asked in setting.update.items():
        try:
            if key != _ID:
                raise SetError("notFound")
            made = _checked(patch.apply(_told(kept.vacation), asked))
            await work.deeds.scripts.set_vacation(work.account_no, made)
        except SetError as error:
            setting.fail("update", key, error)
        except Refused as refusal:
            setting.fail("update", key, set_error(refusal))
        else:
            setting.updated[key] = None
    state = (await work.deeds.scripts.kept(work.account_no)).changes
    return setting.response(str(state))


def _checked(value: dict[str, Any]) -> Vacation:
    """The vacation that a client asks for. Raises `SetError`."""
    bad = sorted(value.keys() - _PROPERTIES)
    if value["id"] != _ID:
        bad.append("id")
    if not isinstance(value["isEnabled"], bool):
        bad.append("isEnabled")
    made: dict[str, Any] = {"enabled": value["isEnabled"]}
    for name, field in _TEXTS.items():
        if value[name] is not None and not isinstance(value[name], str):
            bad.append(name)
        made[field] = value[name]
    for name, field in _DATES.items():
        made[field] = parse_date(value[name], utc=True)
        if value[name] is not None and made[field] is None:
            bad.append(name)
    if bad:
        raise bad_properties(bad[:50])
    return Vacation(**made)
