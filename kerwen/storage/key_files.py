"""The server's signing key in the data folder's `keys/`, made at the first start, mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from kerwen.base.signing import SigningKey, decode_base64, encode_base64


def signing_key(folder: Path) -> SigningKey:
    """The Ed25519 key that signs events (SS #retrieving-server-keys). One line of text:
    `ed25519 VERSION SEED`, the form that other servers keep too.
    """
    path = folder / "signing.key"
    try:
        kind, version, seed = path.read_text("ascii").split()
    except FileNotFoundError:
        return _make(path)
    if kind != "ed25519":
        raise SystemExit(f"kerwen: {path} holds a key of kind {kind}, not ed25519")
    return SigningKey(version, decode_base64(seed))


def read_secret(path: Path) -> str:
    """A text that `write_secret` wrote; empty if there is none."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""


def write_secret(path: Path, text: str) -> None:
    """A file for us alone, whole and on disk when this returns."""
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # a key that signed something must not be lost with the folder's entry
    os.close(folder)


def _make(path: Path) -> SigningKey:
    seed = secrets.token_bytes(32)
    version = "a_" + secrets.token_hex(2)
    write_secret(path, f"ed25519 {version} {encode_base64(seed)}\n")
    return SigningKey(version, seed)
