"""`kerwen dns`: every record that the domain needs: as a zone file, as JSON, or written to the
name server by signed updates."""

from __future__ import annotations

import ipaddress
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kerwen.base.config import BadConfig, Config

if TYPE_CHECKING:
    from kerwen.commands.records import Record


def add_flags(command: ArgumentParser) -> None:
    """The flags that only this command has."""
    command.add_argument("--json", action="store_true", help="print them as JSON")
    command.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="IP",
        help="an address of the server; may be repeated. Default: this machine's public ones",
    )
    command.add_argument(
        "--update", metavar="SERVER", help="write them to this name server (RFC 2136)"
    )
    command.add_argument("--key", metavar="FILE", help="the TSIG key, as `tsig-keygen` prints it")
    command.add_argument("--zone", metavar="NAME", help="the zone; default: the server is asked")


def run(options: Namespace, config_of: Callable[[Any], Config]) -> int:
    """Prints or writes them; the exit code. Raises `BadConfig`."""
    from kerwen.commands.records import own_addresses, records  # they cost 50 ms

    config = config_of(options)
    for address in options.address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise BadConfig(f"--address {address}: no network address") from None
    addresses = options.address or own_addresses()
    found = list(records(config, addresses))
    if options.update is not None:
        if options.key is None:
            raise BadConfig("--update needs --key FILE: an update must be signed")
        from kerwen.commands import dns_update

        key = read_key(Path(options.key))
        done = dns_update.write(options.update, key, found, options.zone)
        print(f"{done.zone}: {done.written} records written")
        if config.acme is not None and config.data_path.is_dir():
            from kerwen.api import admin_socket

            # the names of the certificate have just become real
            admin_socket.ask(config.data_path, {"do": "certificate renew"})
        return 0
    if options.json:
        told = [{**msgspec.to_builtins(record), "ttl": 3600} for record in found]
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return 0
    for line in zone(config, found, known=bool(addresses)):
        print(line)
    return 0


def zone(config: Config, found: list[Record], *, known: bool) -> Iterator[str]:
    """The lines of a zone file; comments say what a record is for and what to do."""
    host, _, port = config.server_name.partition(":")
    if not known:
        yield f"; {host}: put this machine's addresses in place of the examples (--address)"
        yield f"{host}.  3600  IN  A    192.0.2.1"
        yield f"{host}.  3600  IN  AAAA  2001:db8::1"
    about = ""
    for record in found:
        if record.about != about:
            about = record.about
            yield f"; {about}"
        yield record.line()
    if config.has_mail and not any("_domainkey" in record.name for record in found):
        yield "; DKIM: the keys are made at the first start; ask again then"
    if config.relay is not None:
        yield "; mail leaves by a relay: add what it asks for to the SPF record"
    if port:
        yield f"; other Matrix servers come to port {port} because the domain names it"
    yield "; the server answers at /.well-known/matrix/, /.well-known/mta-sts.txt, /autodiscover/"
    yield "; and reverse DNS: whoever gives you the addresses must let them lead to " + host


class Key(msgspec.Struct, frozen=True):
    """A TSIG key (RFC 8945)."""

    name: str
    algorithm: str
    secret: str


def read_key(path: Path) -> Key:
    """Reads what `tsig-keygen` prints, or one line `NAME:SECRET`. Raises `BadConfig`."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: {error}") from None
    name = re.search(r'key\s+"?([^"\s{]+)"?\s*\{', text)
    algorithm = re.search(r'algorithm\s+"?([\w.-]+)"?\s*;', text)
    secret = re.search(r'secret\s+"?([A-Za-z0-9+/=]+)"?\s*;', text)
    if name and secret:
        return Key(name[1], algorithm[1] if algorithm else "hmac-sha256", secret[1])
    plain = re.fullmatch(r"([\w.-]+):([A-Za-z0-9+/=]+)\s*", text)
    if plain is None:
        raise BadConfig(f"{path}: this is no TSIG key")
    return Key(plain[1], "hmac-sha256", plain[2])
