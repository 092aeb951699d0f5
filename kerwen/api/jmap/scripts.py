"""SieveScript/get, /query, /set, /validate. # RFC 9661 §2"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any, Final

from kerwen.api.jmap import blobs, ids
from kerwen.api.jmap.changing import Setting
from kerwen.api.jmap.query_page import page
from kerwen.api.jmap.registry import Capability, Work
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.scripts import Kept, checked
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import MethodError, SetError, bad_argument, bad_properties
from kerwen.mail.sieve.lexer import BadScript
from kerwen.mail.sieve.vocabulary import EXTENSIONS
from kerwen.mail.store.scripts import Stored

SIEVE: Final = "urn:ietf:params:jmap:sieve"
_ID: Final = re.compile(r"S([1-9][0-9]{0,8})")
_PROPERTIES: Final = frozenset(("id", "name", "blobId", "isActive"))
_ERRORS: Final = {
    Reason.NOT_FOUND: "notFound",
    Reason.CONFLICT: "alreadyExists",
    Reason.FORBIDDEN: "sieveIsActive",
    Reason.LIMIT_EXCEEDED: "overQuota",
    Reason.TOO_LARGE: "tooLarge",
}


def capability() -> Capability:
    """The capability. # RFC 9661 §1.3"""
    return Capability(
        SIEVE,
        {
            "SieveScript/get": get,
            "SieveScript/query": query,
            "SieveScript/set": set_,
            "SieveScript/validate": validate,
        },
        session={"implementation": "Kerwen"},
        account={
            "maxSizeScriptName": limits.SIEVE_NAME_MAX,
            "maxSizeScript": limits.SIEVE_SCRIPT_MAX,
            "maxNumberScripts": limits.SIEVE_SCRIPTS_MAX,
            "maxNumberRedirects": limits.SIEVE_REDIRECTS_MAX,
            "sieveExtensions": sorted(EXTENSIONS),
            "notificationMethods": None,
            "externalLists": None,
        },
    )


def script_id(script_no: int) -> str:
    """The id of a script."""
    return f"S{script_no}"


def script_no(told: object) -> int:
    """The number of a script's id; 0: it is none."""
    match = _ID.fullmatch(told) if isinstance(told, str) else None
    return int(match[1]) if match is not None else 0


def blob_id(work: Work, one: Stored) -> str:
    """The blob of a script: another one when its text changes."""
    version = zlib.crc32(one.source.encode())
    return ids.script_blob(work.deeds.tags, work.account_no, one.no, version)


def _told(work: Work, kept: Kept, one: Stored) -> dict[str, Any]:
    return {
        "id": script_id(one.no),
        "name": one.name,
        "blobId": blob_id(work, one),
        "isActive": one.no == kept.active,
    }


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """SieveScript/get"""
    names = arguments.properties(_PROPERTIES)
    wanted = arguments.ids()
    kept = await work.deeds.scripts.kept(work.account_no)
    by_id = {script_id(one.no): one for one in kept.scripts}
    some = list(by_id) if wanted is None else list(map(work.batch.id_of, wanted))
    found = [_told(work, kept, by_id[one]) for one in some if one in by_id]
    return {
        "accountId": work.account_id,
        "state": str(kept.changes),
        "list": [{name: one[name] for name in one if name in names} for one in found],
        "notFound": [one for one in some if one not in by_id],
    }


# --- query --------------------------------------------------------------------------------------

Fits = Callable[[Kept, Stored], bool]


def _fits(raw: Any, depth: int = 0) -> Fits:
    if raw is None:
        return lambda kept, one: True
    if not isinstance(raw, dict) or depth > limits.SEARCH_DEPTH_MAX:
        raise bad_argument("filter", "must be an object")
    if "operator" in raw:
        some = raw.get("conditions")
        if raw["operator"] not in ("AND", "OR", "NOT") or not isinstance(some, list):
            raise bad_argument("filter", "an operator is AND, OR or NOT")
        if len(some) > limits.SEARCH_KEYS_MAX:
            raise MethodError("unsupportedFilter", "The filter is too large")
        inner = [_fits(one, depth + 1) for one in some]
        if raw["operator"] == "AND":
            return lambda kept, one: all(test(kept, one) for test in inner)
        wanted = raw["operator"] == "OR"
        return lambda kept, one: any(test(kept, one) for test in inner) == wanted
    name, active = raw.get("name"), raw.get("isActive")
    if raw.keys() - {"name", "isActive"}:
        raise MethodError("unsupportedFilter", "Only name and isActive")
    if not (name is None or isinstance(name, str)) or not (
        active is None or isinstance(active, bool)
    ):
        raise bad_argument("filter", "a name is a text, isActive true or false")

    def fits(kept: Kept, one: Stored) -> bool:
        return (name is None or name.casefold() in one.name.casefold()) and (
            active is None or (one.no == kept.active) == active
        )

    return fits


def _sorted(found: list[Stored], kept: Kept, raw: Any) -> list[Stored]:
    if raw is None:
        return found
    if not isinstance(raw, list) or len(raw) > 16:
        raise bad_argument("sort", "must be a list")
    for one in reversed(raw):
        by = one.get("property") if isinstance(one, dict) else None
        down = one.get("isAscending") is False if isinstance(one, dict) else False
        if by == "name":
            found = sorted(found, key=lambda it: it.name.casefold(), reverse=down)
        elif by == "isActive":
            found = sorted(found, key=lambda it: it.no == kept.active, reverse=down)
        else:
            raise MethodError("unsupportedSort")
    return found


async def query(work: Work, arguments: Arguments) -> dict[str, Any]:
    """SieveScript/query"""
    kept = await work.deeds.scripts.kept(work.account_no)
    fits = _fits(arguments.raw.get("filter"))
    found = [one for one in kept.scripts if fits(kept, one)]
    found = _sorted(found, kept, arguments.raw.get("sort"))
    told = page(
        work,
        arguments,
        str(kept.changes),
        [one.no for one in found],
        lambda one: script_no(one) or None,
        lambda nos: [script_id(no) for no in nos],
    )
    return {**told, "canCalculateChanges": False}


# --- set ----------------------------------------------------------------------------------------


async def set_(work: Work, arguments: Arguments) -> dict[str, Any]:
    """SieveScript/set"""
    kept = await work.deeds.scripts.kept(work.account_no)
    setting = Setting(work, arguments, str(kept.changes))
    activate = arguments.optional_text("onSuccessActivateScript")
    deactivate = arguments.boolean("onSuccessDeactivateScript")
    for key, asked in setting.create.items():
        await _try(setting, "create", key, _create(work, setting, key, asked))
    for key, asked in setting.update.items():
        await _try(setting, "update", key, _update(work, setting, key, asked))
    for key in setting.destroy:
        await _try(setting, "destroy", key, _destroy(work, setting, key))
    if not any(setting.failed.values()) and (activate is not None or deactivate):
        await _activate(work, setting, kept.active, activate)
    state = (await work.deeds.scripts.kept(work.account_no)).changes
    return setting.response(str(state))


async def _try(setting: Setting, how: str, key: str, deed: Any) -> None:
    try:
        await deed
    except SetError as error:
        setting.fail(how, key, error)
    except BadScript as bad:
        setting.fail(how, key, SetError("invalidSieve", str(bad)))
    except Refused as refusal:
        kind = _ERRORS.get(refusal.reason)
        if kind is None:
            setting.fail(how, key, bad_properties(["name"], refusal.public_text))
        else:
            setting.fail(how, key, SetError(kind, refusal.public_text))


async def _source(work: Work, told: Any) -> bytes:
    blob = await blobs.read(work, told)
    if blob is None:
        raise SetError("blobNotFound", notFound=[told])
    return blob.data


def _check_known(asked: dict[str, Any]) -> None:
    bad = sorted(asked.keys() - {"name", "blobId"})
    if asked.get("name") is not None and not isinstance(asked["name"], str):
        bad.append("name")
    if "blobId" in asked and not isinstance(asked["blobId"], str):
        bad.append("blobId")
    if bad:
        raise bad_properties(bad[:50])


async def _create(work: Work, setting: Setting, key: str, asked: dict[str, Any]) -> None:
    _check_known(asked)
    if "blobId" not in asked:
        raise bad_properties(["blobId"])
    source = await _source(work, asked["blobId"])
    scripts, name = work.deeds.scripts, asked.get("name")
    if name is None:
        kept = await scripts.kept(work.account_no)
        taken = {one.name for one in kept.scripts}
        name = next(text for n in range(1, 10_000) if (text := f"script {n}") not in taken)
    made = await scripts.add(work.account_no, name, source)
    told: dict[str, Any] = {"blobId": blob_id(work, made), "isActive": False}
    if asked.get("name") is None:
        told["name"] = name
    setting.made(key, script_id(made.no), told)


async def _update(work: Work, setting: Setting, key: str, asked: dict[str, Any]) -> None:
    _check_known(asked)
    if "name" in asked and asked["name"] is None:
        raise bad_properties(["name"])
    source = await _source(work, asked["blobId"]) if "blobId" in asked else None
    scripts, number = work.deeds.scripts, script_no(key)
    await scripts.replace(work.account_no, number, name=asked.get("name"), source=source)
    told = None
    if source is not None:
        kept = await scripts.kept(work.account_no)
        new = next((one for one in kept.scripts if one.no == number), None)
        told = {"blobId": blob_id(work, new)} if new is not None else None
    setting.updated[key] = told


async def _destroy(work: Work, setting: Setting, key: str) -> None:
    await work.deeds.scripts.delete(work.account_no, script_no(key))
    setting.destroyed.append(key)


async def _activate(work: Work, setting: Setting, before: int, wanted: str | None) -> None:
    """# RFC 9661 §2.3: an id that is none changes nothing"""
    number = script_no(work.batch.id_of(wanted)) if wanted is not None else 0
    if (wanted is not None and not number) or number == before:
        return
    try:
        await work.deeds.scripts.activate(work.account_no, number)
    except Refused:
        return
    created = {told["id"]: told for told in setting.created.values()}
    for no, active in ((before, False), (number, True)):
        if not no:
            continue
        if script_id(no) in created:
            created[script_id(no)]["isActive"] = active
        else:
            told = setting.updated.get(script_id(no)) or {}
            setting.updated[script_id(no)] = {**told, "isActive": active}


async def validate(work: Work, arguments: Arguments) -> dict[str, Any]:
    """SieveScript/validate"""
    blob = await blobs.read(work, arguments.text("blobId"))
    if blob is None:
        raise MethodError("blobNotFound")
    error = None
    try:
        await checked(blob.data)
    except BadScript as bad:
        error = SetError("invalidSieve", str(bad)).told()
    return {"accountId": work.account_id, "error": error}
