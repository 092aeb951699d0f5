"""What others see of a server, for `kerwen doctor`: records, ports, certificates, reverse DNS,
the files that programs and servers look for. Each finding says what to do in one line."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import dns.exception
import dns.flags
import dns.nameserver
import dns.resolver
import dns.reversename

from kerwen.base.config import Config, Listen
from kerwen.commands.records import Record, records
from kerwen.mail import mta_sts
from kerwen.net import tls
from kerwen.net.certificates import public_names
from kerwen.net.resolver import Resolver

Level = Literal["good", "care", "bad"]
Told = tuple[Level, str, str]

_PATIENCE_S: Final = 6.0
_DAYS_POOR: Final = 14
_LINES_MAX: Final = 100
_LINE_MAX: Final = 4096
_FILE_MAX: Final = 65_536
_STARTTLS: Final[dict[str, tuple[tuple[bytes, bytes], ...]]] = {
    # what is said, and with what the last line of the answer begins
    "smtp": ((b"", rb"220 "), (b"EHLO doctor.invalid", rb"250 "), (b"STARTTLS", rb"220 ")),
    "imap": ((b"", rb"\* OK"), (b"a STARTTLS", rb"a OK")),
    "pop3": ((b"", rb"\+OK"), (b"STLS", rb"\+OK")),
    "managesieve": ((b"", rb"OK"), (b"STARTTLS", rb"OK")),
}
_STARTTLS_OF: Final = {"submission": "smtp"}


def examine(config: Config, reach: str | None = None) -> Iterator[Told]:
    """All findings. Asks the resolver of the configuration, and connects to what it answers."""
    view = View(config)
    host = config.server_name.partition(":")[0]
    addresses = view.addresses(host)
    if not addresses:
        yield "bad", "domain", f"{host} has no address in DNS: publish what `kerwen dns` prints"
        return
    yield "good", "domain", f"{host} is at {', '.join(addresses)}"
    yield from _records(config, view, addresses)
    if config.has_mail:
        yield from _reverse(view, host, addresses)
    yield from _doors(config, host, addresses)
    yield from _files(config, host, addresses)
    if reach is not None:
        yield from _reach(view, reach)


class View:
    """The DNS as others see it: nothing is kept from one question to the next."""

    def __init__(self, config: Config) -> None:
        self._resolver = dns.resolver.Resolver(configure=False)
        self._resolver.nameservers = [
            dns.nameserver.Do53Nameserver(*place) for place in Resolver.of(config).servers().places
        ]
        self._resolver.lifetime = _PATIENCE_S
        self._resolver.flags = dns.flags.RD | dns.flags.AD
        self.secure = False  # whether the last answer was proved

    def ask(self, kind: str, name: str) -> list[str] | None:
        """What stands there, as a zone file writes it; None where nobody answers."""
        self.secure = False
        try:
            found = self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, ValueError):
            return None
        self.secure = bool(found.response.flags & dns.flags.AD)
        if found.rrset is None:
            return []
        if kind == "TXT":
            return [b"".join(one.strings).decode("utf-8", "replace") for one in found.rrset]
        return [one.to_text() for one in found.rrset]

    def addresses(self, name: str) -> list[str]:
        """Addresses of both kinds."""
        return [one for kind in ("A", "AAAA") for one in self.ask(kind, name) or ()]


# --- records ------------------------------------------------------------------------------------


def _records(config: Config, view: View, addresses: Sequence[str]) -> Iterator[Told]:
    good = 0
    for record in records(config):
        told = list(_record(view, record, addresses))
        good += not told
        yield from told
    if good:
        yield "good", "dns", f"{good} records stand as `kerwen dns` prints them"


def _record(view: View, record: Record, addresses: Sequence[str]) -> Iterator[Told]:
    """Nothing where all is well."""
    if record.kind == "CNAME":
        if not set(view.addresses(record.name)) & set(addresses):
            yield "care", "dns", f"{record.name} does not lead here: {record.about}"
        return
    found = view.ask(record.kind, record.name)
    if found is None:
        yield "care", "dns", f"{record.kind} of {record.name}: nobody answers"
    elif record.kind == "TXT":
        yield from _text(record, found)
    elif record.kind == "TLSA":
        yield from _tlsa(view, record, found)
    elif record.kind == "CAA":
        yield from _caa(record, found)
    elif record.kind == "SRV":
        yield from _srv(record, found)
    else:
        wanted = record.value.rstrip(".").rpartition(" ")[2]
        hosts = [one.rstrip(".").rpartition(" ")[2].lower() for one in found]
        if wanted not in hosts:
            level: Level = "bad" if record.level == "must" else "care"
            yield level, "dns", _missing(record)
        elif len(hosts) > 1:
            others = ", ".join(one for one in hosts if one != wanted)
            yield "care", "dns", f"{record.kind} of {record.name} names others too: {others}"


def _missing(record: Record) -> str:
    return f"publish: {record.line()}  ({record.about})"


def _text(record: Record, found: list[str]) -> Iterator[Told]:
    tag = record.value.partition(";")[0].partition(" ")[0].lower()
    same = [one for one in found if one.lower().startswith(tag)]
    level: Level = "bad" if record.level == "must" else "care"
    if not same:
        yield level, "dns", _missing(record)
    elif len(same) > 1:
        yield "bad", "dns", f"{record.name} has {len(same)} records of {tag}: none of them counts"
    elif "".join(same[0].split()) == "".join(record.value.split()):
        return
    elif tag == "v=dkim1":
        yield "bad", "dns", f"{record.name} holds another key: {_missing(record)}"
    elif tag == "v=dmarc1" and re.search(r"p\s*=\s*(reject|quarantine)", same[0]):
        yield "care", "dns", f"{record.name} says {same[0]!r}; `kerwen dns` prints rua= too"
    else:
        yield "care", "dns", f"{record.name} says {same[0]!r}; {_missing(record)}"


def _srv(record: Record, found: list[str]) -> Iterator[Told]:
    wanted = record.value.lower().split()[2:]
    if any(one.lower().split()[2:] == wanted for one in found):
        return
    if found or record.level != "may":
        yield "care", "dns", _missing(record)


def _caa(record: Record, found: list[str]) -> Iterator[Told]:
    issuers = [one for one in found if one.partition(" ")[2].startswith("issue ")]
    ours = record.value.partition('"')[2].rstrip('"')
    if not issuers:
        yield "care", "dns", _missing(record)
    elif not any(one.partition('"')[2].partition(";")[0].strip('" ') == ours for one in issuers):
        yield "bad", "dns", f"CAA forbids {ours} to make certificates: {_missing(record)}"


def _tlsa(view: View, record: Record, found: list[str]) -> Iterator[Told]:
    if found and record.value.lower() in [one.lower() for one in found]:
        if not view.secure:
            yield "care", "dns", "TLSA stands there, but no DNSSEC proves it: sign the zone"
    elif found:
        text = f"{record.name} holds another key: servers that do DANE bring no mail"
        yield "bad" if view.secure else "care", "dns", f"{text}; {_missing(record)}"
    elif view.secure:
        yield "care", "dns", _missing(record)


def _reverse(view: View, host: str, addresses: Sequence[str]) -> Iterator[Told]:
    for address in addresses:
        pointer = dns.reversename.from_address(address).to_text()
        found = [one.rstrip(".").lower() for one in view.ask("PTR", pointer) or ()]
        if host in found:
            yield "good", "reverse", f"{address} leads back to {host}"
        elif any(address in view.addresses(name) for name in found[:4]):
            yield "care", "reverse", f"{address} is called {found[0]}; {host} would be better"
        else:
            told = f"is called {found[0]}" if found else "has no name"
            text = f"{address} {told}: let whoever gives you the address set {host}"
            yield "bad", "reverse", f"{text}, else many servers refuse your mail"


# --- doors --------------------------------------------------------------------------------------


def _doors(config: Config, host: str, addresses: Sequence[str]) -> Iterator[Told]:
    context = _trust(config)
    for address in addresses:
        for listen in config.listeners():
            yield _door(listen, host, address, context)


def _trust(config: Config) -> ssl.SSLContext:
    return tls.client_context(Path(config.ca) if config.ca is not None else None)


def _door(listen: Listen, host: str, address: str, context: ssl.SSLContext) -> Told:
    where = f"{listen.kind}, port {listen.port} at {address}"
    try:
        with socket.create_connection((address, listen.port), _PATIENCE_S) as line:
            if listen.kind == "http":
                return "good", "port", f"{where}: open"
            if not listen.tls:
                _start_tls(line, listen.kind)
            with context.wrap_socket(line, server_hostname=host) as secure:
                cert = secure.getpeercert()
    except ssl.SSLCertVerificationError as error:
        return "bad", "port", f"{where}: its certificate is not good: {error.verify_message}"
    except ConnectionRefusedError:
        return "bad", "port", f"{where}: nobody answers; does the server run, and on this address?"
    except TimeoutError:
        text = "no answer; a firewall, or a router that does not lead back to itself"
        return "care", "port", f"{where}: {text}"
    except (OSError, ValueError) as error:
        return "bad", "port", f"{where}: {error}"
    ends_s = ssl.cert_time_to_seconds(str((cert or {}).get("notAfter")))
    days = int((ends_s - time.time()) // 86_400)
    level: Level = "care" if days < _DAYS_POOR else "good"
    return level, "port", f"{where}: TLS is good, for {days} days more"


def _start_tls(line: socket.socket, kind: str) -> None:
    """What is said before TLS begins. Raises `ValueError`, `OSError`."""
    for said, ends in _STARTTLS[_STARTTLS_OF.get(kind, kind)]:
        if said:
            line.sendall(said + b"\r\n")
        got = b""
        for _ in range(_LINES_MAX):
            got = _line(line)
            if re.match(ends, got):
                break
        else:
            raise ValueError("it does not offer STARTTLS")


def _line(line: socket.socket) -> bytes:
    """One line, byte by byte: what comes after it belongs to TLS."""
    got = bytearray()
    while not got.endswith(b"\n") and len(got) < _LINE_MAX:
        byte = line.recv(1)
        if not byte:
            raise ValueError(f"it hangs up after {bytes(got[:80])!r}" if got else "it hangs up")
        got += byte
    return bytes(got)


# --- files --------------------------------------------------------------------------------------


def _files(config: Config, host: str, addresses: Sequence[str]) -> Iterator[Told]:
    ports = config.ports
    if "https" not in ports:
        return
    place, context = (addresses[0], ports["https"]), _trust(config)
    if config.chat == "on":
        for name, key in (("client", "m.homeserver"), ("server", "m.server")):
            path = f"/.well-known/matrix/{name}"
            yield _file(place, context, host, path, lambda body, key=key: key in json.loads(body))
    if not config.has_mail:
        return
    sts, auto, *_ = public_names(config)[1:] or [host, host]
    yield _file(place, context, sts, "/.well-known/mta-sts.txt", lambda b: _promises(b, host))
    yield _file(place, context, auto, "/mail/config-v1.1.xml", lambda body: b"<hostname>" in body)


def _promises(body: bytes, host: str) -> bool:
    try:
        policy = mta_sts.parse(body)
    except mta_sts.BadPolicy:
        return False
    return policy.mode is mta_sts.Mode.NONE or mta_sts.allows(policy, host)


def _file(
    place: tuple[str, int], context: ssl.SSLContext, host: str, path: str, is_good: Any
) -> Told:
    url = f"https://{host}{path}"
    try:
        line = socket.create_connection(place, _PATIENCE_S)
        with line, context.wrap_socket(line, server_hostname=host) as secure:
            secure.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = http.client.HTTPResponse(secure, method="GET")
            answer.begin()
            body = answer.read(_FILE_MAX)
        good = answer.status == 200 and is_good(body)
    except ssl.SSLCertVerificationError as error:
        return "care", "files", f"{url}: the certificate: {error.verify_message}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return "care", "files", f"{url}: {error}"
    if not good:
        return "care", "files", f"{url} answers {answer.status}, and not what it should"
    return "good", "files", f"{url} is right"


def _reach(view: View, domain: str) -> Iterator[Told]:
    """Whether mail can leave: many providers shut port 25."""
    domain, _, port = domain.partition(":")
    servers = sorted(view.ask("MX", domain) or (), key=lambda one: int(one.split()[0]))
    host = servers[0].split()[-1].rstrip(".") if servers else domain
    for address in view.addresses(host)[:2]:
        try:
            with socket.create_connection((address, int(port or 25)), _PATIENCE_S) as line:
                greeting = _line(line)
                line.sendall(b"QUIT\r\n")
        except (OSError, ValueError) as error:
            text = f"{host} ({address}): {error}; does your provider shut port 25?"
            yield "bad", "reach", f"{text} Then set `relay`"
            continue
        level: Level = "good" if greeting.startswith(b"220") else "care"
        yield level, "reach", f"{host} says {greeting[:60].decode('ascii', 'replace').strip()}"
        return
    if not servers:
        yield "bad", "reach", f"{domain} has no mail server that DNS tells of"
