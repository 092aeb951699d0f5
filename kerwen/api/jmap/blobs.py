"""What a blob id leads to; Blob/upload, Blob/get, Blob/lookup. # RFC 8620 §6; RFC 9404"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from typing import Any, Final

from kerwen.api.jmap import ids
from kerwen.api.jmap.changing import Setting
from kerwen.api.jmap.registry import Capability, Work, set_error
from kerwen.base import limits
from kerwen.base.errors import Refused
from kerwen.mail import message
from kerwen.mail.jmap import bodies
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.compose import Blob
from kerwen.mail.jmap.errors import MethodError, SetError, bad_properties
from kerwen.mail.store import tags

BLOB: Final = "urn:ietf:params:jmap:blob"
TYPE: Final = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,100}/[a-zA-Z0-9!#$&^_.+-]{1,100}")
_OCTETS: Final = "application/octet-stream"
_SOURCES_MAX: Final = 64
_DIGESTS: Final = {"sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_OFF_LOOP: Final = 256 * limits.KIB


async def read(work: Work, told: Any) -> Blob | None:
    """What a blob id names; None: nothing that this account has."""
    ref = ids.blob(work.deeds.tags, work.account_no, work.batch.id_of(told))
    return None if ref is None else await read_ref(work, ref)


async def read_ref(work: Work, ref: ids.BlobRef) -> Blob | None:
    """A message, a part of it, an uploaded file, or a Sieve script."""
    if ref.script is not None:
        source = await work.deeds.scripts.version(work.account_no, ref.no, ref.script)
        if source is None:
            return None
        blob = Blob(source, "application/sieve")
    elif ref.upload:
        found = await work.deeds.uploads.read(work.unlocked, ref.no)
        if found is None:
            return None
        blob = Blob(found[1], found[0])
    else:
        try:
            raw = await work.deeds.records.message(work.unlocked, ref.no)
        except Refused:
            return None
        blob = Blob(raw, "message/rfc822")
    work.spend(len(blob.data))
    if ref.parts and len(blob.data) > _OFF_LOOP:
        return await asyncio.to_thread(_part, blob, ref.parts)
    return _part(blob, ref.parts)


def _part(blob: Blob, parts: tuple[str, ...]) -> Blob | None:
    """A part of a message, and of the message in it."""
    for part_id in parts:
        part = bodies.find(message.scan(blob.data), part_id)
        if part is None:
            return None
        blob = Blob(bodies.content(blob.data, part), str(part.type))
    return blob


def capability() -> Capability:
    """RFC 9404."""
    return Capability(
        BLOB,
        {"Blob/upload": upload, "Blob/get": get, "Blob/lookup": lookup},
        account={
            "maxSizeBlobSet": limits.JMAP_REQUEST_MAX * 3 // 4,
            "maxDataSources": _SOURCES_MAX,
            "supportedTypeNames": ["Email", "Mailbox", "Thread"],
            "supportedDigestAlgorithms": list(_DIGESTS),
        },
    )


# --- Blob/upload --------------------------------------------------------------------------------


async def upload(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Blob/upload. # RFC 9404 §4.1"""
    setting = Setting(work, Arguments({"create": arguments.raw.get("create")}), "")
    for key, asked in setting.create.items():
        try:
            kind, data = await _put_together(work, asked)
            upload_no = await work.deeds.uploads.add(work.account_no, kind, data)
        except SetError as error:
            setting.fail("create", key, error)
        except Refused as refusal:
            setting.fail("create", key, set_error(refusal))
        else:
            blob_id = ids.upload_id(work.deeds.tags, work.account_no, upload_no)
            setting.made(key, blob_id, {"type": kind, "size": len(data)})
    return {
        "accountId": work.account_id,
        "created": setting.created or None,
        "notCreated": setting.failed["create"] or None,
    }


async def _put_together(work: Work, asked: dict[str, Any]) -> tuple[str, bytes]:
    kind, sources = asked.get("type") or _OCTETS, asked.get("data")
    if not isinstance(kind, str) or TYPE.fullmatch(kind) is None:
        raise bad_properties(["type"])
    if not isinstance(sources, list) or len(sources) > _SOURCES_MAX:
        raise bad_properties(["data"])
    pieces: list[bytes] = []
    size = 0
    for one in sources:
        piece = await _source(work, one)
        size += len(piece)
        if size > limits.MESSAGE_BYTES_MAX:
            raise SetError("tooLarge")
        pieces.append(piece)
    return kind, b"".join(pieces)


async def _source(work: Work, one: Any) -> bytes:
    if not isinstance(one, dict):
        raise bad_properties(["data"])
    if isinstance(one.get("data:asText"), str):
        return str(one["data:asText"]).encode("utf-8", "replace")
    if isinstance(one.get("data:asBase64"), str):
        try:
            return base64.b64decode(one["data:asBase64"], validate=True)
        except (binascii.Error, ValueError):
            raise bad_properties(["data"], "This is no Base64") from None
    if "blobId" not in one:
        raise bad_properties(["data"])
    found = await read(work, one["blobId"])
    if found is None:
        raise SetError("blobNotFound", notFound=[str(one["blobId"])[:255]])
    start, length = _range(Arguments(one))
    data = found.data[start : None if length is None else start + length]
    if start > len(found.data) or (length is not None and len(data) < length):
        raise bad_properties(["data"], "The range is not in the blob")
    return data


def _range(arguments: Arguments) -> tuple[int, int | None]:
    try:
        return arguments.unsigned("offset") or 0, arguments.unsigned("length")
    except MethodError:
        raise bad_properties(["data"], "The range makes no sense") from None


# --- Blob/get, Blob/lookup ----------------------------------------------------------------------

_PLAIN: Final = ("data", "data:asText", "data:asBase64", "size")


async def get(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Blob/get. # RFC 9404 §4.2"""
    names = arguments.texts("properties") or ["data", "size"]
    for name in names:
        digest = name.startswith("digest:") and name[7:] in _DIGESTS
        if name not in _PLAIN and not digest and name != "id":
            raise MethodError("invalidArguments", f"{name[:100]} is unknown")
    asked = arguments.ids()
    if asked is None:
        raise MethodError("requestTooLarge", "Name the ids")
    start, length = arguments.unsigned("offset") or 0, arguments.unsigned("length")
    found, missing = [], []
    for blob_id in asked:
        blob = await read(work, blob_id)
        if blob is None:
            missing.append(blob_id)
        else:
            end = len(blob.data) if length is None else start + length
            found.append({"id": blob_id, **_told(work, blob.data, start, end, names)})
    return {"accountId": work.account_id, "list": found, "notFound": missing}


def _told(work: Work, whole: bytes, start: int, end: int, names: list[str]) -> dict[str, Any]:
    data = whole[start:end]
    told: dict[str, Any] = {}
    if end > len(whole) or start > len(whole):
        told["isTruncated"] = True
    work.budget.left -= len(data)
    if work.budget.left < 0:
        raise MethodError("requestTooLarge", "Too much for one answer")
    for name in names:
        if name == "size":
            told["size"] = len(whole)
        elif name.startswith("digest:"):
            digest = hashlib.new(_DIGESTS[name[7:]], data).digest()
            told[name] = base64.b64encode(digest).decode()
        elif name == "data:asBase64":
            told[name] = base64.b64encode(data).decode()
        elif name in ("data", "data:asText"):
            _text(told, data, name)
    return told


def _text(told: dict[str, Any], data: bytes, name: str) -> None:
    try:
        told["data:asText"] = data.decode()
    except UnicodeDecodeError:
        told["isEncodingProblem"] = True
        if name == "data":
            told["data:asBase64"] = base64.b64encode(data).decode()
        else:
            told["data:asText"] = None


async def lookup(work: Work, arguments: Arguments) -> dict[str, Any]:
    """Blob/lookup. # RFC 9404 §4.3"""
    types, asked = arguments.texts("typeNames"), arguments.ids()
    if types is None or asked is None:
        raise MethodError("invalidArguments", "typeNames and ids are needed")
    unknown = [name for name in types if name not in ("Email", "Mailbox", "Thread")]
    if unknown:
        raise MethodError("unknownDataType", unknown[0][:100])
    whole = await work.whole()
    found, missing = [], []
    for blob_id in asked:
        ref = ids.blob(work.deeds.tags, work.account_no, blob_id)
        one = whole.find(ref.no) if ref is not None and not ref.upload else None
        if ref is None or (ref.upload and await read_ref(work, ref) is None):
            missing.append(blob_id)
            continue
        matched: dict[str, list[str]] = {name: [] for name in types}
        if one is not None:
            every = {
                "Email": ids.email_ids(work.deeds.tags, work.account_no, [one.no]),
                "Mailbox": list(map(ids.mailbox_id, one.mailboxes)),
                "Thread": [tags.thread_id(one.thread)],
            }
            matched = {name: every[name] for name in types}
        found.append({"id": blob_id, "matchedIds": matched})
    return {"accountId": work.account_id, "list": found, "notFound": missing}
