"""`kerwen doctor`: looks for what will hurt: rights, room, schema, ports, certificates, clock."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from kerwen.api import admin_socket
from kerwen.base.config import Config

_ROOM_BAD: Final = 256 << 20
_ROOM_POOR: Final = 2 << 30
_DAYS_POOR: Final = 14
_QUEUE_POOR_H: Final = 4
_UNSYNCHRONISED: Final = 5  # TIME_ERROR of adjtimex(2)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `good`, worth `care`, or `bad` (the server will not do its work)."""

    level: Literal["good", "care", "bad"]
    about: str
    text: str


def examine(config: Config, reach: str | None = None) -> Iterator[Finding]:
    """All findings, in the order in which an operator would look: first what is on this machine,
    then what others see. `reach`: a domain whose mail server is spoken to."""
    checks: tuple[Callable[[Config], Iterator[Finding]], ...] = (
        _folder, _room, _schema, _ports, _certificate, _clock, _names, _queue,
    )  # fmt: skip
    for check in checks:
        yield from check(config)
    if not config.dev or config.dns:
        from kerwen.commands import outside

        yield from (Finding(*found) for found in outside.examine(config, reach))


def _folder(config: Config) -> Iterator[Finding]:
    data = config.data_path
    if not data.is_dir():
        yield Finding("care", "data", f"{data} does not exist yet; the first start makes it")
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("bad", "data", f"{data} cannot be written by this user")
        return
    if data.stat().st_mode & 0o077:
        yield Finding("care", "data", f"{data} is open to other users: chmod 700 {data}")
    loose = [p for p in data.glob("keys/*") if p.suffix != ".pem" and p.stat().st_mode & 0o077]
    for path in loose:
        yield Finding("bad", "keys", f"{path} can be read by other users: chmod 600 {path}")
    if not loose:
        yield Finding("good", "data", str(data))


def _room(config: Config) -> Iterator[Finding]:
    folder = config.data_path if config.data_path.is_dir() else config.data_path.parent
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    level: Literal["good", "care", "bad"] = "good"
    if free < _ROOM_POOR:
        level = "bad" if free < _ROOM_BAD else "care"
    yield Finding(level, "disk", f"{free / (1 << 30):.1f} GiB free")


def _schema(config: Config) -> Iterator[Finding]:
    file = config.data_path / "kerwen.db"
    if config.database is not None or not file.exists():
        return
    from kerwen.storage import migrate

    newest = max(migrate.versions())
    try:
        conn = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            found = conn.execute("select max(version) from schema_version").fetchone()[0]
            sound = conn.execute("pragma quick_check(1)").fetchone()[0]
        finally:
            conn.close()
    except sqlite3.Error as error:
        yield Finding("bad", "database", f"{file}: {error}")
        return
    if sound != "ok":
        yield Finding("bad", "database", f"{file} is damaged: {sound}")
    elif found > newest:
        yield Finding("bad", "database", f"schema {found} is newer than this program ({newest})")
    elif found < newest:
        yield Finding("care", "database", f"the next start upgrades schema {found} to {newest}")
    else:
        yield Finding("good", "database", f"sound, schema {found}")


def _ports(config: Config) -> Iterator[Finding]:
    data = config.data_path
    if data.is_dir() and admin_socket.ask(data, {"do": "ping"}) is not None:
        yield Finding("good", "ports", "the server runs")
        return
    for listen in config.listeners():
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listen.host, listen.port))
            except OSError as error:
                yield Finding("bad", "ports", f"{listen}: {error.strerror}")
            else:
                yield Finding("good", "ports", f"{listen} is free")


def _certificate(config: Config) -> Iterator[Finding]:
    if config.acme is not None:
        yield from _acme(config)
        return
    if config.tls_cert is None or config.tls_key is None:
        if not config.dev and any(listen.tls for listen in config.listeners()):
            yield Finding("bad", "certificate", "there is none: give acme, or tls_cert and tls_key")
        return
    yield from _of_files(config, Path(config.tls_cert), Path(config.tls_key))


def _acme(config: Config) -> Iterator[Finding]:
    """What the keeper of the certificate wrote down."""
    from kerwen.net.acme.keeper import State

    folder = config.data_path / "keys" / "acme"
    state = State.read(folder)
    if not state.names:
        why = f": {state.error}" if state.error else "; the running server gets one"
        yield Finding("bad" if state.error else "care", "certificate", f"there is none yet{why}")
        return
    yield from _of_files(config, folder / "chain.pem", folder / "server.key")
    if state.failures:
        when = time.strftime("%d.%m. %H:%M", time.localtime(state.next_try_s))
        text = f"renewal failed {state.failures} times: {state.error}; again at {when}"
        yield Finding("care", "certificate", text)
    for name in state.refused:
        text = f"{name} could not be proved and is left out: {state.error}"
        yield Finding("care", "certificate", text)


def _of_files(config: Config, chain: Path, key: Path) -> Iterator[Finding]:
    from cryptography import x509

    from kerwen.net import tls

    try:
        tls.server_context(chain, key)
        cert = x509.load_pem_x509_certificates(chain.read_bytes())[0]
    except (OSError, ValueError, ssl.SSLError) as error:
        yield Finding("bad", "certificate", f"{chain}: {error}")
        return
    days = int((cert.not_valid_after_utc.timestamp() - time.time()) // 86_400)
    host = config.server_name.partition(":")[0]
    if not _covers(cert, host):
        yield Finding("care", "certificate", f"it does not name {host}")
    if days < 0:
        yield Finding("bad", "certificate", f"it ran out {-days} days ago")
    else:
        level: Literal["good", "care"] = "care" if days < _DAYS_POOR else "good"
        yield Finding(level, "certificate", f"good for {days} days")


def _covers(cert: object, host: str) -> bool:
    from cryptography import x509

    assert isinstance(cert, x509.Certificate), "the caller has loaded it"
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    told = [str(n) for n in names.get_values_for_type(x509.DNSName)]
    told += [str(n) for n in names.get_values_for_type(x509.IPAddress)]
    return host in told or "*." + host.partition(".")[2] in told


def _clock(config: Config) -> Iterator[Finding]:
    try:
        told = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return  # not Linux
    if told == _UNSYNCHRONISED:
        yield Finding("care", "clock", "nothing keeps it right; other servers refuse a wrong one")
    else:
        yield Finding("good", "clock", "kept right by the system")


def _names(config: Config) -> Iterator[Finding]:
    """Whether names are found, and whether the resolver proves them (DANE needs that)."""
    if not config.has_mail or (config.dev and not config.dns):
        return
    import asyncio

    from kerwen.mail.dns import Dns, Status
    from kerwen.net.resolver import Resolver

    resolver = Resolver.of(config)
    host = config.server_name.partition(":")[0]

    async def ask() -> tuple[Status, bool]:
        mx = await resolver.answer(Dns("MX", host))
        # the registries sign their zones: a validating resolver proves what stands there
        proved = await resolver.answer(Dns("TXT", "org"))
        return mx.status, proved.secure

    status, secure = asyncio.run(ask())
    servers = ", ".join(address for address, _ in resolver.servers().places)
    if status is Status.FAILED:
        yield Finding("bad", "dns", f"{servers} does not answer: no mail can be sent")
        return
    if status is not Status.FOUND:
        yield Finding("care", "dns", f"{host} has no MX record; see `kerwen dns`")
    if secure:
        yield Finding("good", "dns", f"{servers} answers and validates: DANE is on")
    else:
        text = f"{servers} does not prove its answers: no DANE; a validating resolver on this"
        yield Finding("care", "dns", f"{text} machine (unbound) would")


def _queue(config: Config) -> Iterator[Finding]:
    """What waits to be sent, where the server runs."""
    data = config.data_path
    if not config.has_mail or not data.is_dir():
        return
    told = admin_socket.ask(data, {"do": "queue totals"})
    if told is None or "done" not in told:
        return
    totals = told["done"]
    hours = (totals["oldest_s"] or 0) // 3600
    level: Literal["good", "care"] = "care" if hours >= _QUEUE_POOR_H else "good"
    text = f"{totals['messages']} messages wait to be sent"
    if totals["messages"]:
        text += f", the oldest for {hours} h: see `kerwen queue list`"
    yield Finding(level, "queue", text)
