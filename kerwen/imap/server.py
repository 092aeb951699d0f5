"""All IMAP connections of the process: how many, for how long, and how they end."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

from kerwen.base import limits
from kerwen.imap.capabilities import capabilities
from kerwen.imap.connection import ImapConnection
from kerwen.imap.deeds import Deeds
from kerwen.imap.protocol import responses
from kerwen.net.connections import Connections, is_loopback


class ImapServer(Connections[ImapConnection]):
    """`plain`: whether passwords are taken without TLS from this machine itself."""

    def __init__(
        self,
        deeds: Deeds,
        *,
        plain: bool = False,
        slow_failures: bool = True,
        connections_max: int = limits.IMAP_CONNECTIONS_MAX,
    ) -> None:
        super().__init__()
        self.deeds = deeds
        self.tls: ssl.SSLContext | None = None
        self.slow_failures = slow_failures
        self._plain = plain
        self._most = connections_max
        self._room = limits.IMAP_IN_MEMORY_MAX
        self._wanting: deque[tuple[int, Callable[[], None]]] = deque()
        self._doubting: asyncio.Task[None] | None = None
        deeds.sign_in.doubt = self._doubt

    def take_tls(self, context: ssl.SSLContext | None) -> None:
        """What STARTTLS is served with."""
        self.tls = context

    # --- connections

    def imap(self) -> ImapConnection:
        """A protocol for a new connection without TLS."""
        return ImapConnection(self, secure=False)

    def imaps(self) -> ImapConnection:
        """A protocol for a new connection under TLS."""
        return ImapConnection(self, secure=True)

    def admit(self, connection: ImapConnection) -> bool:
        """Takes a connection in; false if there are too many."""
        if self.stopping or len(self.connections) >= self._most:
            return False
        self.enter(connection)
        return True

    def dismiss(self, connection: ImapConnection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)

    def greeting(self, connection: ImapConnection) -> bytes:
        """The capabilities that the greeting tells."""
        return responses.capability(
            capabilities(
                logged_in=False,
                can_tls=connection.can_start_tls,
                can_log_in=connection.may_log_in,
                compressed=False,
            )
        )

    def plain_allowed(self, address: str) -> bool:
        """Whether a password may come without TLS from there."""
        return self._plain and is_loopback(address)

    # --- room for messages that come

    def take_room(self, size: int, again: Callable[[], None]) -> bool:
        """Room for so many bytes; if there is none, `again` is called when there is."""
        if size <= self._room:
            self._room -= size
            return True
        if all(known != again for _, known in self._wanting):
            self._wanting.append((size, again))
        return False

    def give_room(self, size: int) -> None:
        """Gives room back; those who wait are asked in turn."""
        if not size:
            return
        self._room += size
        while self._wanting and self._wanting[0][0] <= self._room:
            self._wanting.popleft()[1]()

    def _doubt(self) -> None:
        if self._doubting is None or self._doubting.done():
            loop = asyncio.get_running_loop()
            self._doubting = loop.create_task(self.deeds.sign_in.check_doubted())
