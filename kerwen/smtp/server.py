"""All SMTP connections of the process: how many, for how long, and how they end."""

from __future__ import annotations

import ssl
from collections import Counter

from kerwen.base import limits
from kerwen.net.connections import Connections, End
from kerwen.smtp.connection import SmtpConnection
from kerwen.smtp.deeds import Deeds
from kerwen.smtp.protocol import Offer
from kerwen.smtp.rates import network


class SmtpServer(Connections[SmtpConnection]):
    """The doors 25 (`smtp`), 587 (`submission`) and 465 (`submissions`).

    `plain`: whether passwords are taken without TLS from this machine itself. `limited`: whether
    one address may hold only so many connections, and waits after a failed log-in.
    """

    def __init__(
        self,
        deeds: Deeds,
        host: str,
        *,
        plain: bool = False,
        limited: bool = True,
        connections_max: int = limits.SMTP_CONNECTIONS_MAX,
        memory_max: int = limits.SMTP_IN_MEMORY_MAX,
    ) -> None:
        super().__init__(plain=plain, slow_failures=limited, connections_max=connections_max)
        self.deeds = deeds
        self.messages = 0
        self.bytes = 0
        self.turned_away = 0
        self._host = host
        self._limited = limited
        self._room = memory_max
        self._share = memory_max // 4
        self._held: Counter[str] = Counter()
        self._neighbours: Counter[str] = Counter()
        self._offers: dict[tuple[bool, bool], Offer] = {}

    def take_tls(self, context: ssl.SSLContext | None) -> None:
        """What STARTTLS is served with."""
        super().take_tls(context)
        self._offers.clear()

    # --- connections

    def smtp(self) -> SmtpConnection:
        """A protocol for a stranger's connection."""
        return SmtpConnection(self, own=False, secure=False)

    def submission(self) -> SmtpConnection:
        """A protocol for one of ours, who starts TLS."""
        return SmtpConnection(self, own=True, secure=False)

    def submissions(self) -> SmtpConnection:
        """A protocol for one of ours under TLS."""
        return SmtpConnection(self, own=True, secure=True)

    def offer(self, *, own: bool, address: str) -> Offer:
        """What a connection from there may do."""
        trusting = own and self.plain_allowed(address)
        found = self._offers.get((own, trusting))
        if found is None:
            found = Offer(
                host=self._host,
                tls=self.tls is not None,
                tls_required=own and not trusting,
                login=own,
                login_required=own,
            )
            self._offers[own, trusting] = found
        return found

    def admit(self, connection: SmtpConnection) -> End | None:
        """Takes a connection in, or says why not."""
        who = network(connection.address)
        crowd = self._limited and self._neighbours[who] >= limits.SMTP_CONNECTIONS_PER_ADDRESS
        refusal = End.FULL if crowd else super().admit(connection)
        if refusal is None:
            self._neighbours[who] += 1
        elif refusal is End.FULL:
            self.turned_away += 1
        return refusal

    def dismiss(self, connection: SmtpConnection) -> None:
        """A connection is gone."""
        if connection not in self.connections:
            return
        super().dismiss(connection)
        who = network(connection.address)
        self._neighbours[who] -= 1
        if self._neighbours[who] <= 0:
            del self._neighbours[who]

    def count(self, size: int) -> None:
        """A message was taken in."""
        self.messages += 1
        self.bytes += size

    # --- room for messages that come: they are held in memory only, so that none lies readable

    def take_room(self, address: str, size: int) -> bool:
        """Room for so many bytes from there; false if there is none. One neighbour gets a quarter
        at most, so that nobody can keep others out by sending slowly."""
        if size > self._room:
            return False
        if self._limited:
            who = network(address)
            if self._held[who] + size > self._share:
                return False
            self._held[who] += size
        self._room -= size
        return True

    def give_room(self, address: str, size: int) -> None:
        """Gives room back."""
        self._room += size
        if self._limited:
            who = network(address)
            self._held[who] -= size
            if self._held[who] <= 0:
                del self._held[who]
