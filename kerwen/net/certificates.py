"""Where the server's certificate is: the operator's files, or in development our own.

Starting on files that are good must not import `cryptography`, so whether they are still good
is read from a note beside them (the names and the day on which to make a new one).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kerwen.base.config import Config

log = logging.getLogger("kerwen.tls")

MAIL_LABELS: Final = ("mta-sts", "autoconfig", "autodiscover", "openpgpkey")
_LOOK_S: Final = 60.0
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


async def follow(files: Certificate, changed: Callable[[Path, Path], None]) -> None:
    """Looks every minute whether the operator's files are others, for ever; one that cannot be
    used is told in the log, and what was served goes on."""
    seen = _stamp(files)
    while True:
        await asyncio.sleep(_LOOK_S)
        found = _stamp(files)
        if found == seen or found is None:
            continue
        try:
            changed(files.cert, files.key)
        except (OSError, ValueError) as error:  # half of a pair that is being replaced: next time
            log.warning("the new certificate cannot be used", extra={"why": str(error)})
        else:
            seen = found
            log.info("certificate read again")


def _stamp(files: Certificate) -> tuple[int, int] | None:
    try:
        return files.cert.stat().st_mtime_ns, files.key.stat().st_mtime_ns
    except OSError:
        return None


def names_of(domain: str) -> list[str]:
    """What a development certificate stands for: the domain, names under it, loopback."""
    host = domain.removeprefix("[").partition("]")[0] if domain.startswith("[") else domain
    host = host if ":" in domain and domain.startswith("[") else host.partition(":")[0]
    names = [host]
    if not host.replace(".", "").isdigit() and ":" not in host and host != "localhost":
        names.append(f"*.{host}")
    return names + [n for n in ("localhost", "127.0.0.1", "::1") if n != host]


def public_names(config: Config) -> list[str]:
    """The names by which others come to a server: its domain, and under it those that programs
    look for (MTA-STS, autoconfig, autodiscover, keys of OpenPGP)."""
    host = names_of(config.server_name)[0]
    if not config.has_mail or host.replace(".", "").isdigit() or ":" in host or "." not in host:
        return [host]
    return [host, *(f"{label}.{host}" for label in MAIL_LABELS)]


def _fits(note: Path, names: list[str]) -> bool:
    try:
        found = json.loads(note.read_text())
        return bool(found["names"] == names and time.time() < found["renew_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
