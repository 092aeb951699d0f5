"""The listening sockets of the process: opened together, closed together."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import Final

from kerwen.base.config import BadConfig, Listen

BACKLOG: Final = 4096
HANDSHAKE_S: Final = 20

Factory = Callable[[], asyncio.Protocol]


class Listeners:
    """Every listener of a configuration."""

    def __init__(self) -> None:
        self._servers: dict[Listen, asyncio.Server] = {}

    @property
    def open(self) -> dict[str, list[tuple[str, int]]]:
        """Where each kind listens now."""
        found: dict[str, list[tuple[str, int]]] = {}
        for listen, server in self._servers.items():
            found.setdefault(listen.kind, []).extend(s.getsockname()[:2] for s in server.sockets)
        return found

    async def start(
        self,
        wanted: tuple[Listen, ...],
        factories: Mapping[str, Factory],
        tls: ssl.SSLContext | None,
    ) -> None:
        """Opens each wanted listener whose kind has a factory; all or none (`BadConfig`)."""
        try:
            for listen in wanted:
                factory = factories.get(listen.kind)
                if factory is not None:
                    self._servers[listen] = await _open(listen, factory, tls)
        except BadConfig:
            self.close()
            raise

    def close(self) -> None:
        """Takes no more connections; those that stand are not touched."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


async def _open(listen: Listen, factory: Factory, tls: ssl.SSLContext | None) -> asyncio.Server:
    context = tls if listen.tls else None
    assert context is not None or not listen.tls, "the configuration was checked"
    try:
        return await asyncio.get_running_loop().create_server(
            factory,
            listen.host or None,
            listen.port,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_S if context else None,
        )
    except OSError as error:
        why = error.strerror or str(error)
        raise BadConfig(f"cannot listen on {listen}: {why}") from None
