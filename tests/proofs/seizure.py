"""Looks for secrets in every byte of a data folder, in each dress that they might wear."""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

_UNPACKED_MAX = 4 * 2**20
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_GZIP = re.compile(rb"\x1f\x8b\x08")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd")


def dresses(secret: bytes) -> dict[str, bytes]:
    """How a secret may stand in a file."""
    found = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for shift in range(3):
        # in the middle of something longer: the characters that its neighbours share are left out
        padded = b"\0" * shift + secret
        whole = len(padded) * 8 // 6
        first = -(-shift * 8 // 6)
        found[f"base64 {shift}"] = base64.b64encode(padded)[first:whole]
        found[f"base64url {shift}"] = base64.urlsafe_b64encode(padded)[first:whole]
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return found
    found["utf-16 le"] = text.encode("utf-16-le")
    found["utf-16 be"] = text.encode("utf-16-be")
    found["upper"] = text.upper().encode()
    found["reversed"] = secret[::-1]
    return found


def search(folder: Path, secrets: dict[str, bytes]) -> list[str]:
    """Every place where a secret stands: file, secret, dress. Unpacks what looks packed."""
    needles = [
        (name, dress, needle)
        for name, secret in secrets.items()
        for dress, needle in dresses(secret).items()
    ]
    assert all(len(needle) >= 10 for _, _, needle in needles), "too short to be told from chance"
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        for where, part in [("", data), *unpacked(data)]:
            for name, dress, needle in needles:
                if needle in part:
                    found.append(f"{path.relative_to(folder)}{where}: {name} as {dress}")
    return found


def unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What can be unpacked anywhere in some bytes."""
    for match in _ZLIB.finditer(data):
        try:
            part = zlib.decompressobj().decompress(data[match.start() :], _UNPACKED_MAX)
        except zlib.error:
            continue
        yield f" zlib at {match.start()}", part
    for match in _GZIP.finditer(data):
        try:
            part = zlib.decompressobj(wbits=31).decompress(data[match.start() :], _UNPACKED_MAX)
        except (zlib.error, gzip.BadGzipFile):
            continue
        yield f" gzip at {match.start()}", part
    zstd = _zstd()
    if zstd is None:
        return
    for match in _ZSTD.finditer(data):
        try:
            part = zstd(data[match.start() :])
        except Exception:  # whatever that library raises for bytes that are no stream
            continue
        yield f" zstd at {match.start()}", part


def _zstd() -> Callable[[bytes], bytes] | None:
    """A function that unpacks Zstandard, where this Python has one."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        return lambda data: zstd.ZstdDecompressor().decompress(data, _UNPACKED_MAX)
    except ImportError:
        pass
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]

        return lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except ImportError:
        return None
