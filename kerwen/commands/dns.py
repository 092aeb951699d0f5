"""`kerwen dns`: every record that the domain needs, in the form of a zone file."""

from __future__ import annotations

from collections.abc import Iterator

from kerwen.base.config import Config


def records(config: Config) -> Iterator[str]:
    """The lines of the zone; comments say when one may be left out."""
    host, _, port = config.server_name.partition(":")
    yield f"; {config.server_name}: put this machine's addresses in place of the examples"
    yield f"{host}.  3600  IN  A     192.0.2.1"
    yield f"{host}.  3600  IN  AAAA  2001:db8::1"
    if port:
        yield f"; other Matrix servers come to port {port} because the domain names it"
        return
    federation = next((w for w in config.listeners() if w.kind == "federation"), None)
    if federation is None:
        yield "; no federation listener: other Matrix servers cannot come"
        return
    yield "; only needed where /.well-known/matrix/server cannot be served:"
    yield f"_matrix-fed._tcp.{host}.  3600  IN  SRV  10 0 {federation.port} {host}."
