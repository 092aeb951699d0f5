"""Keys in files of the data folder's `keys/`: made at the first start, mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32


def key_file(folder: Path, name: str) -> bytes:
    """The 32 bytes of `NAME.key`. SystemExit if the file holds something else."""
    path = folder / f"{name}.key"
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except FileNotFoundError:
        return _make(path)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SystemExit(f"kerwen: {path} holds no key of {KEY_BYTES} bytes in hex")
    return key


def _make(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # what is sealed with a key must not lose it with the folder's entry
    finally:
        os.close(folder)
    return key
