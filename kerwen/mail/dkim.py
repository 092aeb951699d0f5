"""DKIM: signing what leaves, verifying what comes.

`sign` takes all keys at once, so a message is hashed once for RSA and Ed25519 together. `verify`
is a rule that asks the DNS for keys (see `base/ask.py`).
"""

# RFC 6376, RFC 8301, RFC 8463

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

import msgspec

from kerwen.mail import canonical, dkim_keys, dns, fields, tags
from kerwen.mail.canonical import Covered
from kerwen.mail.dkim_keys import BadKey, KeyRecord, SigningKey
from kerwen.mail.dns import Dns, Rule, Status
from kerwen.mail.tags import BadTags

FIELD: Final = b"dkim-signature"
SIGNATURES_MAX: Final = 8  # of one message that are looked at
_SIGNED_FIELDS_MAX: Final = 500
_SKEW_S: Final = 3600
_LINE: Final = 72

# §5.4.1; signed once more than they are there, so that none can be added (§8.15)
_OVERSIGNED: Final = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to",
                      b"sender", b"in-reply-to", b"references", b"mime-version", b"content-type",
                      b"content-transfer-encoding")  # fmt: skip
_SIGNED: Final = (b"autocrypt", b"chat-version", b"list-id", b"list-help", b"list-unsubscribe",
                  b"list-unsubscribe-post", b"list-subscribe", b"list-post", b"list-owner",
                  b"list-archive", b"content-id", b"content-description", b"resent-date",
                  b"resent-from", b"resent-to", b"resent-cc", b"resent-message-id")  # fmt: skip


class Result(Enum):
    """RFC 8601 §2.7.1."""

    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Dkim(msgspec.Struct, frozen=True):
    """What became of one signature."""

    result: Result
    domain: str
    selector: str
    algorithm: str
    identity: str  # i=
    signature: str  # the first letters of b=, which tell signatures apart (RFC 6008)
    why: str = ""
    testing: bool = False


# --- signing ------------------------------------------------------------------------------------


def sign(header: bytes, body: bytes, keys: Sequence[SigningKey], now_s: int) -> bytes:
    """A DKIM-Signature field for each key, to be put on top. Forms: relaxed/relaxed."""
    covered = Covered(header)
    names = signed_names(covered)
    body_hash = base64(hashlib.sha256(canonical.body_relaxed(body)).digest())
    taken = b"".join(map(canonical.header_relaxed, covered.take(names)))
    made = []
    for key in keys:
        lines = [
            f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed;",
            f" d={key.domain}; s={key.selector}; t={now_s};",
            *folded_list("h", names),
            f" bh={body_hash};",
        ]
        made.append(finish(lines, taken, key))
    return b"".join(made)


def signed_names(covered: Covered) -> list[bytes]:
    """The names for `h=`: what is there, and those that must not be added."""
    names: list[bytes] = []
    for name in _OVERSIGNED:
        names += [name] * (covered.count(name) + 1)
    for name in _SIGNED:
        names += [name] * min(covered.count(name), 10)
    return names


def folded_list(tag: str, names: Iterable[bytes]) -> list[str]:
    """`h=a:b:c;` in lines."""
    lines = [f" {tag}="]
    for name in names:
        told = name.decode("ascii") + ":"
        if len(lines[-1]) + len(told) > _LINE:
            lines.append("  ")
        lines[-1] += told
    lines[-1] = lines[-1][:-1] + ";"
    return lines


def finish(lines: list[str], taken: bytes, key: SigningKey) -> bytes:
    """The field of these lines with its signature over `taken` and itself."""
    unsigned = ("\r\n".join(lines) + "\r\n b=").encode()
    own = canonical.header_relaxed(unsigned)[:-2]
    signature = base64(key.sign(hashlib.sha256(taken + own).digest()))
    pieces = [signature[at : at + _LINE] for at in range(0, len(signature), _LINE)]
    return unsigned + "\r\n  ".join(pieces).encode() + b"\r\n"


def base64(data: bytes) -> str:
    """Base64 in one line."""
    return binascii.b2a_base64(data, newline=False).decode()


# --- signatures as they come --------------------------------------------------------------------


class BadSignature(Exception):
    """The signature cannot be right, whatever the key; the text says why."""


class Signature(msgspec.Struct, frozen=True):
    """A DKIM-Signature or an ARC-Message-Signature, read."""

    raw: bytes  # the field, with its line end
    algorithm: str
    domain: str
    selector: str
    names: tuple[bytes, ...]
    body_hash: bytes
    signature: bytes
    header_form: str
    body_form: str
    length: int | None
    identity: str
    signed_s: int | None
    expires_s: int | None
    shown: str

    @property
    def record_name(self) -> str:
        """Where its key stands."""
        return dns.plain(f"{self.selector}._domainkey.{self.domain}")


_DOMAIN: Final = re.compile(r"[A-Za-z0-9_.\-\u0080-\U0010ffff]{1,253}")
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_LENGTH: Final = re.compile(r"[0-9]{1,76}")
_FORMS: Final = ("simple", "relaxed")
_ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")


def read(raw: bytes, *, arc: bool = False) -> Signature:
    """The signature in a field; `BadSignature` if it can't be one. # §6.1.1"""
    try:
        found = tags.parse(raw.partition(b":")[2])
    except BadTags as error:
        raise BadSignature(str(error)) from None
    if not arc and tags.text(found.get("v", b"")) != "1":
        raise BadSignature("no version that we know")
    for needed in ("a", "b", "bh", "d", "h", "s"):
        if not found.get(needed):
            raise BadSignature(f"there is no {needed}=")
    domain, selector = tags.text(found["d"]), tags.text(found["s"])
    if not _DOMAIN.fullmatch(domain) or not _DOMAIN.fullmatch(selector):
        raise BadSignature("its domain is none")
    names = tuple(name.lower() for name in tags.compact(found["h"]).split(b":"))
    if len(names) > _SIGNED_FIELDS_MAX:
        raise BadSignature("it covers too many fields")
    identity = tags.text(found["i"]) if not arc and "i" in found else f"@{domain}"
    _check_identity(identity, domain)
    if b"from" not in names:
        raise BadSignature("it does not cover From")
    forms = tags.text(found.get("c", b"simple/simple")).lower().partition("/")
    header_form, body_form = forms[0], forms[2] or "simple"
    if header_form not in _FORMS or body_form not in _FORMS:
        raise BadSignature("a canonical form that nobody knows")
    if "q" in found and "dns/txt" not in tags.text(found["q"]).lower().split(":"):
        raise BadSignature("its key is not in the DNS")
    return Signature(
        raw,
        tags.text(found["a"]).lower(),
        domain,
        selector,
        names,
        decoded(found["bh"]),
        decoded(found["b"]),
        header_form,
        body_form,
        _number(found, "l", _LENGTH),
        identity,
        _number(found, "t", _NUMBER),
        _number(found, "x", _NUMBER),
        tags.text(found["b"])[:8],
    )


def _check_identity(identity: str, domain: str) -> None:
    """§3.5: i= is at or below d=."""
    at = identity.rpartition("@")[2].lower()
    if at != domain.lower() and not at.endswith("." + domain.lower()):
        raise BadSignature("i= is not of d=")


def decoded(value: bytes) -> bytes:
    """The bytes of a Base64 tag; `BadSignature` if it is broken."""
    try:
        return binascii.a2b_base64(tags.compact(value))
    except binascii.Error:
        raise BadSignature("its Base64 is broken") from None


def _number(found: dict[str, bytes], tag: str, pattern: re.Pattern[str]) -> int | None:
    if tag not in found:
        return None
    value = tags.text(found[tag])
    if not pattern.fullmatch(value):
        raise BadSignature(f"{tag}= is no number")
    return int(value)


# --- verifying ----------------------------------------------------------------------------------


class Bodies:
    """Hashes of a body, each made once however many signatures ask for it."""

    __slots__ = ("_body", "_forms", "_hashes")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._forms: dict[str, bytes] = {}
        self._hashes: dict[tuple[str, int | None], bytes] = {}

    def size(self, form: str) -> int:
        """The length of the body in that form."""
        return len(self._form(form))

    def hash(self, form: str, length: int | None) -> bytes:
        """The SHA-256 of the body in that form, or of its first `length` bytes."""
        found = self._hashes.get((form, length))
        if found is None:
            found = hashlib.sha256(self._form(form)[:length]).digest()
            self._hashes[form, length] = found
        return found

    def _form(self, form: str) -> bytes:
        found = self._forms.get(form)
        if found is None:
            make = canonical.body_relaxed if form == "relaxed" else canonical.body_simple
            found = self._forms[form] = make(self._body)
        return found


def verify(header: bytes, body: bytes, now_s: int) -> Rule[list[Dkim]]:
    """Every DKIM-Signature of a message, from the top, at most `SIGNATURES_MAX`."""
    found = list(fields.split(header))
    covered = Covered(header, found)
    bodies = Bodies(body)
    results: list[Dkim] = []
    for field in found:
        if field.name != FIELD:
            continue
        if len(results) >= SIGNATURES_MAX:
            break
        raw = header[field.start : field.end]
        try:
            signature = read(raw)
        except BadSignature as error:
            results.append(Dkim(Result.PERMERROR, _domain_in(raw), "", "", "", "", str(error)))
            continue
        results.append((yield from _judge(signature, covered, bodies, now_s)))
    return results


def _domain_in(raw: bytes) -> str:
    """The domain that a broken signature names, if it can be seen."""
    match = re.search(rb"[;\s:]d\s*=\s*([A-Za-z0-9_.-]{1,253})", raw)
    return match[1].decode("ascii") if match else ""


def _judge(signature: Signature, covered: Covered, bodies: Bodies, now_s: int) -> Rule[Dkim]:
    result, why, testing = yield from judge(signature, covered, bodies, now_s)
    return Dkim(
        result,
        dns.plain(signature.domain),
        signature.selector,
        signature.algorithm,
        signature.identity,
        signature.shown,
        why,
        testing,
    )


def judge(
    signature: Signature, covered: Covered, bodies: Bodies, now_s: int
) -> Rule[tuple[Result, str, bool]]:
    """(result, why, whether the domain is testing) of one signature. # §6.1"""
    if signature.algorithm not in _ALGORITHMS:
        # RFC 8301 §3.1: SHA-1 proves nothing any more
        return Result.PERMERROR, "an algorithm that nobody may use", False
    if signature.expires_s is not None and signature.expires_s < now_s:
        return Result.NEUTRAL, "the signature has expired", False
    if signature.signed_s is not None and signature.signed_s > now_s + _SKEW_S:
        return Result.NEUTRAL, "the signature is of tomorrow", False
    length = signature.length
    if bodies.hash(signature.body_form, length) != signature.body_hash:
        return Result.FAIL, "the body was changed", False
    key = yield from fetch_key(signature.record_name)
    if isinstance(key, tuple):
        return *key, False
    unfit = _unfit(key, signature)
    if unfit:
        return Result.PERMERROR, unfit, key.testing
    try:
        good = dkim_keys.verify(key, header_hash(signature, covered), signature.signature)
    except BadKey as error:
        return Result.PERMERROR, str(error), key.testing
    if not good:
        return Result.FAIL, "the signature is not by this key", key.testing
    if length is not None and length < bodies.size(signature.body_form):
        # §8.2: anything may stand behind what was signed
        return Result.POLICY, "only a part of the body is signed", key.testing
    return Result.PASS, "", key.testing


def header_hash(signature: Signature, covered: Covered) -> bytes:
    """The digest that was signed (§3.7)."""
    make = (
        canonical.header_relaxed if signature.header_form == "relaxed" else canonical.header_simple
    )
    own = make(canonical.without_signature(signature.raw))
    taken = b"".join(map(make, covered.take(signature.names)))
    return hashlib.sha256(taken + own.removesuffix(b"\n").removesuffix(b"\r")).digest()


def fetch_key(name: str) -> Rule[KeyRecord | tuple[Result, str]]:
    """The key of that name, or how the look-up fails. # §6.1.2"""
    if not dns.is_name(name):
        return Result.PERMERROR, "the key's name is none"
    found = yield Dns("TXT", name)
    if found.status is Status.FAILED:
        return Result.TEMPERROR, "no answer for the key"
    for text in found.texts:
        record = dkim_keys.parse(text)
        if record is not None:
            if not record.public:
                return Result.PERMERROR, "the key was revoked"
            return record
    return Result.PERMERROR, "there is no key"


def _unfit(key: KeyRecord, signature: Signature) -> str:
    """Why this key does not do for this signature; empty if it does."""
    if not key.for_mail:
        return "the key is not for mail"
    if key.kind != signature.algorithm.partition("-")[0]:
        return "the key is of another kind"
    if key.hashes is not None and "sha256" not in key.hashes:
        return "the key is for other hashes"
    if key.strict and signature.identity.rpartition("@")[2].lower() != signature.domain.lower():
        return "the key is for its domain only"
    return ""
