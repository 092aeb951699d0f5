"""OpenPGP keys as accounts publish them: read as packets, cut to what the address is about.

Nothing is verified: a program that gets a key checks its signatures itself.
"""

# RFC 9580 §4.2 (packets), §6 (armor), §10.1 (keys); draft-koch-openpgp-webkey-service

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Final

KEY_MAX: Final = 256 * 1024
_KEYS_MAX: Final = 4
_PACKETS_MAX: Final = 2_000
_PUBLIC, _SIGNATURE, _USER_ID, _SUBKEY = 6, 2, 13, 14
_SECRET: Final = frozenset({5, 7})
_ARMOR: Final = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----[^\n]*\n(?:[^\n]*:[^\n]*\n)*\s*(.*?)"
    rb"(?:\r?\n=[A-Za-z0-9+/]{4})?\s*-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_ADDRESS: Final = re.compile(r"(?:[^<>]*<)?([^<>\s]+@[^<>\s]+)>?\s*")
_ZBASE32: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"


class BadKey(ValueError):
    """This cannot be published; the text says why."""


def wkd_hash(localpart: str) -> str:
    """How a key is asked for: the local part in small letters, 32 letters of z-base-32."""
    digest = hashlib.sha1(localpart.lower().encode(), usedforsecurity=False).digest()
    bits = int.from_bytes(digest, "big")
    return "".join(_ZBASE32[bits >> shift & 31] for shift in range(155, -1, -5))


def published(data: bytes, address: str) -> bytes:
    """The keys without other user ids and without pictures, as bytes. Raises `BadKey`.

    Other addresses of somebody are not this domain's to tell (draft, §5.1).
    """
    if len(data) > KEY_MAX:
        raise BadKey("it is too long")
    kept: list[bytes] = []
    keys = ids = 0
    keep = False
    for tag, packet, body in _packets(_plain(data)):
        if tag in _SECRET:
            raise BadKey("it holds a secret key: keep that to yourself")
        if tag == _PUBLIC:
            keys += 1
            if keys > _KEYS_MAX:
                raise BadKey(f"at most {_KEYS_MAX} keys")
            keep = True
        elif keys == 0:
            raise BadKey("it does not begin with a public key")
        elif tag == _USER_ID:
            keep = _is_of(body, address)
            ids += keep
        elif tag != _SIGNATURE:
            keep = tag == _SUBKEY
        if keep:
            kept.append(packet)
    if ids < keys or not keys:
        raise BadKey(f"each key needs a user id with the address {address}")
    return b"".join(kept)


def _is_of(user_id: bytes, address: str) -> bool:
    match = _ADDRESS.fullmatch(user_id.decode("utf-8", "replace"))
    return match is not None and match[1].lower() == address.lower()


def _plain(data: bytes) -> bytes:
    """Without its armor."""
    if not data.lstrip().startswith(b"-----"):
        return data
    match = _ARMOR.search(data)
    if match is None:
        raise BadKey("it is no public key")
    try:
        return base64.b64decode(re.sub(rb"\s+", b"", match[1]), validate=True)
    except binascii.Error:
        raise BadKey("its armor is broken") from None


def _packets(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, whole packet, body). Raises `BadKey`."""
    at = 0
    for _ in range(_PACKETS_MAX):
        if at == len(data):
            return
        start, first = at, data[at]
        if not first & 0x80:
            raise BadKey("it is no OpenPGP key")
        tag, size, at = _new(data, at) if first & 0x40 else _old(data, at)
        end = at + size
        if end > len(data):
            raise BadKey("it is cut off")
        yield tag, data[start:end], data[at:end]
        at = end
    raise BadKey("too many packets")


def _old(data: bytes, at: int) -> tuple[int, int, int]:
    first = data[at]
    if first & 3 == 3:
        raise BadKey("a packet without a length")
    width = 1 << (first & 3)
    return first >> 2 & 15, _int(data, at + 1, width), at + 1 + width


def _new(data: bytes, at: int) -> tuple[int, int, int]:
    tag, length = data[at] & 63, _int(data, at + 1, 1)
    if length < 192:
        return tag, length, at + 2
    if length < 224:
        return tag, (length - 192 << 8) + _int(data, at + 2, 1) + 192, at + 3
    if length == 255:
        return tag, _int(data, at + 2, 4), at + 6
    raise BadKey("a packet in pieces")


def _int(data: bytes, at: int, width: int) -> int:
    found = data[at : at + width]
    if len(found) < width:
        raise BadKey("it is cut off")
    return int.from_bytes(found, "big")
