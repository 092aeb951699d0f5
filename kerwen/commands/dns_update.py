"""Writes records to a name server: one signed update (RFC 2136, RFC 8945).

A set of records is replaced whole, with one exception: of the texts at the domain itself only the
one of SPF is ours, whatever else stands there stays.
"""

from __future__ import annotations

import socket
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
import msgspec

from kerwen.base.config import BadConfig, dns_server
from kerwen.commands.dns import Key
from kerwen.commands.records import TTL, Record

_TIMEOUT_S: Final = 10.0


class Done(msgspec.Struct, frozen=True):
    """What was written, and where."""

    zone: str
    written: int


def write(server: str, key: Key, found: list[Record], zone: str | None) -> Done:
    """Writes all records in one update. Raises `BadConfig` where the server does not take it."""
    place = _place(server)
    try:
        origin = dns.name.from_text(zone) if zone else _zone_of(found[0].name, place)
        update = _update(origin, key)
        _fill(update, origin, found, place)
        answer = dns.query.tcp(update, place[0], _TIMEOUT_S, place[1])
    except dns.tsig.PeerError as error:
        raise BadConfig(f"{server} does not take the key: {type(error).__name__}") from None
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise BadConfig(f"{server}: {error or type(error).__name__}") from None
    if answer.rcode() != dns.rcode.NOERROR:
        raise BadConfig(f"{server} refuses the update: {dns.rcode.to_text(answer.rcode())}")
    if not answer.had_tsig:
        raise BadConfig(f"{server}: its answer is not signed")
    return Done(origin.to_text(omit_final_dot=True), len(found))


def _place(server: str) -> tuple[str, int]:
    try:
        return dns_server(server)
    except BadConfig:
        host, _, port = server.partition(":")
        try:
            return str(socket.getaddrinfo(host, None)[0][4][0]), int(port or 53)
        except (OSError, ValueError) as error:
            raise BadConfig(f"--update {server}: {error}") from None


def _update(origin: dns.name.Name, key: Key) -> dns.update.UpdateMessage:
    ring = dns.tsigkeyring.from_text({key.name: (key.algorithm, key.secret)})
    return dns.update.UpdateMessage(origin, keyring=ring, keyalgorithm=key.algorithm)


def _zone_of(name: str, place: tuple[str, int]) -> dns.name.Name:
    """The zone of the server in which a name lies: the longest that has a SOA record."""
    found = dns.name.from_text(name)
    while len(found.labels) > 2:
        if _ask(found, "SOA", place):
            return found
        found = found.parent()
    raise BadConfig(f"the server has no zone for {name}: give --zone")


def _ask(name: dns.name.Name, kind: str, place: tuple[str, int]) -> dns.rdataset.Rdataset | None:
    asked = dns.message.make_query(name, kind)
    answer = dns.query.tcp(asked, place[0], _TIMEOUT_S, place[1])
    kind_no = dns.rdatatype.from_text(kind)
    return answer.get_rrset(answer.answer, name, dns.rdataclass.IN, kind_no)


def _fill(
    update: dns.update.UpdateMessage,
    origin: dns.name.Name,
    found: list[Record],
    place: tuple[str, int],
) -> None:
    begun: set[tuple[str, str]] = set()
    for record in found:
        name = dns.name.from_text(record.name)
        if not name.is_subdomain(origin):
            raise BadConfig(f"{record.name} does not lie in the zone {origin}")
        if record.kind == "TXT" and record.value.startswith("v=spf1"):
            for old in _ask(name, "TXT", place) or ():
                if b"".join(old.strings).startswith(b"v=spf1"):
                    update.delete(name, "TXT", old.to_text())
        elif (record.name, record.kind) not in begun:
            for kind in ("A", "AAAA", "CNAME") if record.kind == "CNAME" else (record.kind,):
                update.delete(name, kind)
        begun.add((record.name, record.kind))
        update.add(name, TTL, record.kind, record.written)
