"""Where the server's certificate is: the operator's files, or in development our own.

Starting on files that are good must not import `cryptography`, so whether they are still good
is read from a note beside them (the names and the day on which to make a new one).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_RENEW_S: Final = 300 * 86_400


@dataclass(frozen=True, slots=True)
class Certificate:
    """The paths of a chain and its key."""

    cert: Path
    key: Path


def for_development(folder: Path, domain: str) -> Certificate:
    """The development certificate of a data folder, made or made again where needed.

    The authority is `folder/dev-ca.pem`; the keys are in `folder/keys`.
    """
    keys = folder / "keys"
    authority, authority_key = folder / "dev-ca.pem", keys / "dev-ca.key"
    found = Certificate(keys / "dev-server.pem", keys / "dev-server.key")
    note = keys / "dev-server.json"
    names = names_of(domain)
    whole = all(p.exists() for p in (authority, authority_key, found.cert, found.key))
    if whole and _fits(note, names):
        return found
    from kerwen.net import dev_ca

    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (authority.exists() and authority_key.exists()):
        dev_ca.make_authority(authority, authority_key)
    dev_ca.make_server(authority, authority_key, names, found.cert, found.key)
    renew_s = int(time.time()) + _RENEW_S
    note.touch(mode=0o600)
    note.write_text(json.dumps({"names": names, "renew_s": renew_s}))
    return found


def names_of(domain: str) -> list[str]:
    """What a development certificate stands for: the domain, names under it, loopback."""
    host = domain.removeprefix("[").partition("]")[0] if domain.startswith("[") else domain
    host = host if ":" in domain and domain.startswith("[") else host.partition(":")[0]
    names = [host]
    if not host.replace(".", "").isdigit() and ":" not in host and host != "localhost":
        names.append(f"*.{host}")
    return names + [n for n in ("localhost", "127.0.0.1", "::1") if n != host]


def _fits(note: Path, names: list[str]) -> bool:
    try:
        found = json.loads(note.read_text())
        return bool(found["names"] == names and time.time() < found["renew_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
