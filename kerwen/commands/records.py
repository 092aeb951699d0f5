"""Every record that a domain needs for its server, as nouns: printed, written and checked."""

# RFC 5321 §5.1 (MX), RFC 7208, RFC 6376, RFC 9989 (DMARC), RFC 8461, RFC 8460, RFC 6186 and
# RFC 8314 (SRV of mail), RFC 8620 §2.2 (_jmap), RFC 5804 §1.8 (_sieve), RFC 8659 (CAA),
# RFC 7672 (TLSA), SS #resolving-server-names

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from kerwen.base.config import ACME_DIRECTORIES, Config
from kerwen.mail import mta_sts
from kerwen.mail.report_letter import DMARC_NAME, TLS_NAME
from kerwen.mail.store.dkim_files import DkimFiles
from kerwen.net.certificates import MAIL_LABELS
from kerwen.net.outgoing import is_public

TTL: Final = 3600
_TEXT_PIECE: Final = 250  # of the 255 that a string may have (RFC 1035 §3.3)
_AUTHORITIES: Final = {"api.letsencrypt.org": "letsencrypt.org"}
_SERVICES: Final = (
    ("imaps", "_imaps"),
    ("imap", "_imap"),
    ("pop3s", "_pop3s"),
    ("submissions", "_submissions"),
    ("submission", "_submission"),
    ("managesieve", "_sieve"),
)
# where nothing else than the records tell programs the way there is `must`
Level = Literal["must", "should", "may"]


class Record(msgspec.Struct, frozen=True):
    """`value` as a zone file writes it, a TXT's without quotes; `about` is for the operator."""

    name: str
    kind: str
    value: str
    about: str
    level: Level = "should"

    def line(self) -> str:
        """The record as a line of a zone file."""
        return f"{self.name}.  {TTL}  IN  {self.kind:<3}  {self.written}"

    @property
    def written(self) -> str:
        """The value with the quotes of a zone file."""
        if self.kind != "TXT":
            return self.value
        pieces = [
            self.value[at : at + _TEXT_PIECE] for at in range(0, len(self.value), _TEXT_PIECE)
        ]
        return " ".join(f'"{piece}"' for piece in pieces)


def records(config: Config, addresses: Sequence[str] = ()) -> Iterator[Record]:
    """All of them; those of addresses only where addresses are given."""
    host, _, port = config.server_name.partition(":")
    for address in addresses:
        kind = "AAAA" if ":" in address else "A"
        yield Record(host, kind, address, "where the server is", "must")
    if config.has_mail:
        yield from _mail(config, host)
        yield from _mail_names(config, host)
    authority = authority_of(config)
    if authority:
        about = "who may make certificates for these names"
        yield Record(host, "CAA", f'0 issue "{authority}"', about, "may")
    digest = key_digest(config)
    if digest and config.has_mail:
        about = "the server's key, for mail servers that do DANE (needs DNSSEC)"
        yield Record(f"_25._tcp.{host}", "TLSA", f"3 1 1 {digest}", about, "may")
    ports = config.ports
    if "federation" in ports and not port:
        about = "other Matrix servers, where /.well-known/matrix/server cannot be served"
        for service in ("_matrix-fed", "_matrix"):
            value = f"10 0 {ports['federation']} {host}."
            yield Record(f"{service}._tcp.{host}", "SRV", value, about, "may")


def _mail(config: Config, host: str) -> Iterator[Record]:
    yield Record(host, "MX", f"10 {host}.", "where mail goes", "must")
    yield Record(host, "TXT", "v=spf1 mx -all", "SPF: who may send as the domain", "must")
    pairs = DkimFiles(config.data_path / "keys" / "dkim", host).pairs
    for pair in pairs.values():
        for key in pair.keys:
            yield Record(key.record_name, "TXT", key.record, "DKIM: what signatures fit", "must")
    reports = f"rua=mailto:{DMARC_NAME}@{host}"
    value = f"v=DMARC1; p=reject; {reports}"
    yield Record(f"_dmarc.{host}", "TXT", value, "DMARC: what becomes of forgeries", "must")
    policy = mta_sts.of_house(host, config.mta_sts)
    value = f"v=STSv1; id={mta_sts.own_id(policy)}"
    yield Record(mta_sts.record_name(host), "TXT", value, "MTA-STS: there is a policy")
    value = f"v=TLSRPTv1; rua=mailto:{TLS_NAME}@{host}"
    yield Record(f"_smtp._tls.{host}", "TXT", value, "who is told how TLS went")


def _mail_names(config: Config, host: str) -> Iterator[Record]:
    ports = config.ports
    for kind, service in _SERVICES:
        if kind in ports:
            value = f"0 1 {ports[kind]} {host}."
            yield Record(f"{service}._tcp.{host}", "SRV", value, "mail programs find the door")
    if "https" in ports:
        value = f"0 1 {ports['https']} {host}."
        for service in ("_jmap", "_autodiscover"):
            yield Record(f"{service}._tcp.{host}", "SRV", value, "mail programs find the door")
    for label in MAIL_LABELS:
        yield Record(f"{label}.{host}", "CNAME", f"{host}.", "programs and servers look here")


def own_addresses() -> list[str]:
    """This machine's public addresses, as far as it knows them itself; no packet is sent."""
    found = []
    for family, far in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))
                address = str(probe.getsockname()[0])
        except OSError:
            continue
        if is_public(address):
            found.append(address)
    return found


def authority_of(config: Config) -> str:
    """What a CAA record calls the authority in use; empty where we do not know."""
    if config.acme is None:
        return ""
    from kerwen.net.acme.keeper import State

    told = State.read(config.data_path / "keys" / "acme").authorities
    if told:
        return told[0]
    host = urlsplit(ACME_DIRECTORIES.get(config.acme, config.acme)).hostname or ""
    ends = (known for end, known in _AUTHORITIES.items() if host.endswith(end))
    return next(ends, "letsencrypt.org" if host.endswith(".letsencrypt.org") else "")


def key_digest(config: Config) -> str:
    """The SHA-256 of the public key that the server shows, in hex; empty where there is none."""
    from kerwen.net.acme import certs

    path = config.data_path / "keys" / "acme" / "chain.pem"
    if config.acme is None:
        if config.tls_cert is None:
            return ""
        path = Path(config.tls_cert)
    try:
        return certs.key_digest(path.read_bytes()).hex()
    except (OSError, certs.BadChain):
        return ""
