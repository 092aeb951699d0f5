"""`kerwen dns`: every record that the domain needs, in the form of a zone file."""

from __future__ import annotations

from collections.abc import Iterator

from kerwen.api.mail_deeds import record_line
from kerwen.base.config import Config
from kerwen.mail.store.dkim_files import DkimFiles


def records(config: Config) -> Iterator[str]:
    """The lines of the zone; comments say when one may be left out."""
    host, _, port = config.server_name.partition(":")
    yield f"; {config.server_name}: put this machine's addresses in place of the examples"
    yield f"{host}.  3600  IN  A     192.0.2.1"
    yield f"{host}.  3600  IN  AAAA  2001:db8::1"
    if config.has_mail:
        yield from _mail(config, host)
    if port:
        yield f"; other Matrix servers come to port {port} because the domain names it"
        return
    federation = next((w for w in config.listeners() if w.kind == "federation"), None)
    if federation is None:
        yield "; no federation listener: other Matrix servers cannot come"
        return
    yield "; only needed where /.well-known/matrix/server cannot be served:"
    yield f"_matrix-fed._tcp.{host}.  3600  IN  SRV  10 0 {federation.port} {host}."


def _mail(config: Config, host: str) -> Iterator[str]:
    """RFC 5321 §5.1 (MX), RFC 7208, RFC 6376, RFC 9989, RFC 6186 and RFC 8314 (SRV)."""
    yield "; mail"
    yield f"{host}.  3600  IN  MX    10 {host}."
    yield f'{host}.  3600  IN  TXT   "v=spf1 mx -all"'
    pairs = DkimFiles(config.data_path / "keys" / "dkim", host).pairs
    if not pairs:
        yield "; DKIM: the keys are made at the first start; ask again then"
    for pair in pairs.values():
        yield from map(record_line, pair.keys)
    yield f'_dmarc.{host}.  3600  IN  TXT  "v=DMARC1; p=reject"'
    ports = {listen.kind: listen.port for listen in config.listeners()}
    for kind in ("submissions", "imaps"):
        if kind in ports:
            yield f"_{kind}._tcp.{host}.  3600  IN  SRV  0 1 {ports[kind]} {host}."
