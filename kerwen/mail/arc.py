"""ARC: what earlier hosts saw, sealed by each; verified, and continued by us where we pass on."""

# RFC 8617

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec

from kerwen.mail import auth_results, canonical, dkim, dkim_keys, fields, tags
from kerwen.mail.auth_results import Result as MethodResult
from kerwen.mail.canonical import Covered
from kerwen.mail.dkim import BadSignature, Bodies
from kerwen.mail.dkim_keys import BadKey, KeyRecord, SigningKey
from kerwen.mail.dns import Rule
from kerwen.mail.tags import BadTags

SETS_MAX: Final = 50  # §4.2.1
_VERIFIED_MAX: Final = 20  # more hands than that are no path a message takes
_SEAL: Final = b"arc-seal"
_SIGNATURE: Final = b"arc-message-signature"
_RESULTS: Final = b"arc-authentication-results"
_INSTANCE: Final = re.compile(rb"\s*i\s*=\s*([0-9]{1,2})\s*;")


class Chain(Enum):
    """§4.4."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


class Arc(msgspec.Struct, frozen=True):
    """What the chain is worth. `sealers` are the domains, from the first to the last."""

    chain: Chain
    instances: int = 0
    sealers: tuple[str, ...] = ()
    why: str = ""
    temporary: bool = False  # a key could not be had just now


class Set(msgspec.Struct, frozen=True):
    """One hop: its three fields, raw."""

    results: bytes
    signature: bytes
    seal: bytes


class _Broken(Exception):
    """The chain cannot be right."""


def verify(header: bytes, body: bytes, now_s: int) -> Rule[Arc]:
    """The chain of a message. # §5.2"""
    found = list(fields.split(header))
    try:
        sets = _sets(header, found)
    except _Broken as error:
        return Arc(Chain.FAIL, why=str(error))
    if not sets:
        return Arc(Chain.NONE)
    count = len(sets)
    try:
        seals = [_read_seal(one.seal, number) for number, one in enumerate(sets, 1)]
        newest = dkim.read(sets[-1].signature, arc=True)
    except (_Broken, BadSignature) as error:
        return Arc(Chain.FAIL, count, why=str(error))
    sealers = tuple(tags.text(seal["d"]).lower() for seal in seals)
    if _SEAL in newest.names:
        return Arc(Chain.FAIL, count, sealers, "the newest signature covers a seal")
    covered = Covered(header, found)
    result, why, _ = yield from dkim.judge(newest, covered, Bodies(body), now_s)
    if result is not dkim.Result.PASS:
        temporary = result is dkim.Result.TEMPERROR
        return Arc(Chain.FAIL, count, sealers, f"newest signature: {why}", temporary)
    for number in range(count, 0, -1):
        outcome, why = yield from _verify_seal(sets, seals[number - 1], number)
        if outcome is not dkim.Result.PASS:
            temporary = outcome is dkim.Result.TEMPERROR
            return Arc(Chain.FAIL, count, sealers, f"seal {number}: {why}", temporary)
    return Arc(Chain.PASS, count, sealers)


def _sets(header: bytes, found: list[fields.Field]) -> list[Set]:
    """The sets in order, whole and without holes. # §5.2 step 1 to 3"""
    by_kind: dict[bytes, dict[int, bytes]] = {_SEAL: {}, _SIGNATURE: {}, _RESULTS: {}}
    for field in found:
        known = by_kind.get(field.name)
        if known is None:
            continue
        raw = header[field.start : field.end]
        number = _instance(field.name, raw)
        if number in known:
            raise _Broken(f"instance {number} stands twice")
        known[number] = raw
    count = max(len(known) for known in by_kind.values())
    if count > _VERIFIED_MAX:
        raise _Broken("too many sets")
    whole = set(range(1, count + 1))
    if any(set(known) != whole for known in by_kind.values()):
        raise _Broken("a set is not whole")
    return [
        Set(by_kind[_RESULTS][number], by_kind[_SIGNATURE][number], by_kind[_SEAL][number])
        for number in range(1, count + 1)
    ]


def _instance(name: bytes, raw: bytes) -> int:
    value = raw.partition(b":")[2]
    if name == _RESULTS:
        match = _INSTANCE.match(value)
        text = match[1] if match else b""
    else:
        try:
            text = tags.compact(tags.parse(value).get("i", b""))
        except BadTags as error:
            raise _Broken(str(error)) from None
    if not text.isdigit() or not 1 <= int(text) <= SETS_MAX or len(text) > 2:
        raise _Broken("an instance that is none")
    return int(text)


def _read_seal(raw: bytes, number: int) -> dict[str, bytes]:
    """The tags of a seal, with the `cv=` that its place asks for. # §5.2 step 3"""
    try:
        found = tags.parse(raw.partition(b":")[2])
    except BadTags as error:
        raise _Broken(str(error)) from None
    if any(not found.get(needed) for needed in ("a", "b", "cv", "d", "s")) or "h" in found:
        raise _Broken(f"seal {number} lacks something")
    expected = "none" if number == 1 else "pass"
    if tags.text(found["cv"]).lower() != expected:
        raise _Broken(f"seal {number} does not say cv={expected}")
    return found


def _verify_seal(
    sets: list[Set], seal: dict[str, bytes], number: int
) -> Rule[tuple[dkim.Result, str]]:
    """# §5.2 step 6"""
    if tags.text(seal["a"]).lower() not in ("rsa-sha256", "ed25519-sha256"):
        return dkim.Result.PERMERROR, "an algorithm that nobody may use"
    name = f"{tags.text(seal['s'])}._domainkey.{tags.text(seal['d'])}".lower()
    key = yield from dkim.fetch_key(name)
    if not isinstance(key, KeyRecord):
        return key
    if key.kind != tags.text(seal["a"]).lower().partition("-")[0]:
        return dkim.Result.PERMERROR, "the key is of another kind"
    digest = hashlib.sha256(_sealed(sets[:number])).digest()
    try:
        signature = dkim.decoded(seal["b"])
        good = dkim_keys.verify(key, digest, signature)
    except (BadKey, BadSignature) as error:
        return dkim.Result.PERMERROR, str(error)
    return (dkim.Result.PASS, "") if good else (dkim.Result.FAIL, "not by this key")


def _sealed(sets: list[Set]) -> bytes:
    """What the seal of the last of these sets covers; its own `b=` is empty. # §5.1.1"""
    pieces: list[bytes] = []
    for one in sets:
        pieces += [one.results, one.signature, one.seal]
    pieces[-1] = canonical.without_signature(pieces[-1])
    return b"".join(map(canonical.header_relaxed, pieces))[:-2]


# --- sealing ------------------------------------------------------------------------------------


def seal(
    header: bytes,
    body: bytes,
    chain: Arc,
    results: list[MethodResult],
    key: SigningKey,
    server: str,
    now_s: int,
) -> bytes:
    """The three fields of our own hop, to be put on top; nothing where the chain has failed.

    `chain` is what `verify` found on the message as it came; `results` is what we found.
    # §5.1. A chain that failed is not continued: a seal on it tells nobody anything.
    """
    if chain.chain is Chain.FAIL or chain.instances >= _VERIFIED_MAX:
        return b""
    number = chain.instances + 1
    told = auth_results.value(server, results) if results else f"{server}; none"
    own_results = f"ARC-Authentication-Results: i={number}; {told}\r\n".encode()
    signature = _message_signature(header, body, number, key, now_s)
    before = _sets(header, list(fields.split(header)))
    lines = [
        f"ARC-Seal: i={number}; a={key.algorithm}; cv={chain.chain.value};",
        f" d={key.domain}; s={key.selector}; t={now_s};",
    ]
    taken = b"".join(
        map(
            canonical.header_relaxed,
            [piece for one in before for piece in (one.results, one.signature, one.seal)]
            + [own_results, signature],
        )
    )
    return dkim.finish(lines, taken, key) + signature + own_results


def _message_signature(
    header: bytes, body: bytes, number: int, key: SigningKey, now_s: int
) -> bytes:
    """# §4.1.2: like a DKIM signature, over those as well, but over no ARC field."""
    covered = Covered(header)
    names: Sequence[bytes] = [
        *dkim.signed_names(covered),
        *[dkim.FIELD] * min(covered.count(dkim.FIELD), dkim.SIGNATURES_MAX),
    ]
    body_hash = dkim.base64(hashlib.sha256(canonical.body_relaxed(body)).digest())
    lines = [
        f"ARC-Message-Signature: i={number}; a={key.algorithm}; c=relaxed/relaxed;",
        f" d={key.domain}; s={key.selector}; t={now_s};",
        *dkim.folded_list("h", names),
        f" bh={body_hash};",
    ]
    return dkim.finish(lines, b"".join(map(canonical.header_relaxed, covered.take(names))), key)
