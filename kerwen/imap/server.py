"""All IMAP connections of the process, and the room for messages that come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from kerwen.base import limits
from kerwen.imap.capabilities import capabilities
from kerwen.imap.connection import ImapConnection
from kerwen.imap.deeds import Deeds
from kerwen.imap.protocol import responses
from kerwen.net.connections import Connections


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
        super().__init__(plain=plain, slow_failures=slow_failures, connections_max=connections_max)
        self.deeds = deeds
        self._room = limits.IMAP_IN_MEMORY_MAX
        self._wanting: deque[tuple[int, Callable[[], None]]] = deque()
        self._doubting: asyncio.Task[None] | None = None
        deeds.sign_in.doubt = self._doubt

    # --- connections

    def imap(self) -> ImapConnection:
        """A protocol for a new connection without TLS."""
        return ImapConnection(self, secure=False)

    def imaps(self) -> ImapConnection:
        """A protocol for a new connection under TLS."""
        return ImapConnection(self, secure=True)

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
