"""One attempt to hand a message on to the servers of its destination.

Hosts and addresses are tried in their order until one is reached that answers for every
recipient. Where the connection ends after the message was sent and before its answer came,
nobody else is asked: the message may have arrived, and is tried again later.
"""

# RFC 5321 §5.1, §6.1; RFC 8460 (what is counted)

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.mail import dns
from kerwen.mail.actions.queue import Addressee, Leased, Result, Verdict
from kerwen.mail.actions.tls_results import SUCCESS, TlsResults
from kerwen.mail.actions.ways import Way, Ways
from kerwen.smtp import client_protocol as smtp
from kerwen.smtp.client import Connection, Failed, Target, Trust
from kerwen.smtp.client_protocol import Broken, Done
from kerwen.smtp.heard import failure_status

_DEFAULT: Final = frozenset({"FAILURE", "DELAY"})  # what is meant where NOTIFY was not given
_STRICT: Final = frozenset({Trust.NAMED, Trust.BOUND})
_VERDICTS: Final = {
    smtp.Verdict.LATER: Verdict.DEFERRED,
    smtp.Verdict.NEVER: Verdict.FAILED,
}

Dial = Callable[[Target], Awaitable[Connection | Failed]]


class Handed(msgspec.Struct, frozen=True):
    """What became of the recipients. `away`: the destination could not be reached at all, and
    this is what is to be said of others that want to go there."""

    results: list[Result]
    away: Result | None = None


class HandOn:
    """Makes attempts, and keeps connections for a moment for the next message."""

    def __init__(self, ways: Ways, dial: Dial, tls_results: TlsResults) -> None:
        self._ways = ways
        self._dial = dial
        self._tls_results = tls_results
        self._kept: dict[int, list[Connection]] = {}
        self._goodbyes: set[asyncio.Task[None]] = set()
        self.opened = 0
        self.reused = 0
        self.clear = 0  # connections without TLS

    async def run(self, leased: Leased, raw: bytes) -> Handed:
        """One attempt; every recipient of the lease gets a result."""
        work = _Work(leased, raw)
        kept = self._take(leased)
        if kept is not None:
            self.reused += 1
            await self._use(kept, work)
        ways = self._ways.find(leased.domain, require_tls=leased.envelope.require_tls)
        try:
            while work.left and (way := await anext(ways, None)) is not None:
                if isinstance(way, Failed):
                    self._passed_over(leased.domain, way)
                    work.failures.append((None, way))
                    continue
                found = await self._open(leased.domain, way)
                if isinstance(found, Failed):
                    work.failures.append((way.host, found))
                else:
                    await self._use(found, work)
        finally:
            await ways.aclose()  # type: ignore[attr-defined]
        return work.handed()

    def _passed_over(self, domain: str, failed: Failed) -> None:
        """A host that was not tried for what is asked of its TLS is counted too."""
        if failed.tls is not None:
            policy = "tlsa" if failed.tls == "dnssec-invalid" else "sts"
            self._tls_results.count(dns.plain(domain), policy, "", failed.tls)

    async def _open(self, domain: str, way: Way) -> Connection | Failed:
        """Connects, with less and less asked of TLS where that is allowed and TLS is what fails."""
        found: Connection | Failed = Failed(False, "4.4.1", "no way")
        name = dns.plain(domain)
        told = not way.policy
        if way.failed:
            self._tls_results.count(name, way.policy, way.host, way.failed)
            told = True
        for target in way.targets:
            found = await self._dial(target)
            if isinstance(found, Connection):
                self.opened += 1
                self.clear += not found.tls
                if not told:
                    result = SUCCESS if found.tls else "starttls-not-supported"
                    self._tls_results.count(name, way.policy, way.host, result)
                return found
            if found.tls is None:
                return found
            if not told:
                self._tls_results.count(name, way.policy, way.host, found.tls)
                told = True
        return found

    async def _use(self, connection: Connection, work: _Work) -> None:
        """Sends to all that are left; several times where the server takes few at once."""
        whole = False
        try:
            while work.left:
                ended = await connection.send(work.envelope(), work.raw)
                if isinstance(ended, Broken):
                    work.broken(ended, connection)
                    return
                work.done(ended, connection)
                if not ended.rest or connection.messages >= limits.SMTP_CLIENT_MESSAGES_MAX:
                    break
            whole = True
        finally:
            if whole:
                self._keep(work.leased.destination, connection)
            else:
                connection.close()

    # --- connections that wait for a next message

    def _take(self, leased: Leased) -> Connection | None:
        kept = self._kept.get(leased.destination, [])
        while kept:
            connection = kept.pop()
            if connection.alive and (
                not leased.envelope.require_tls or connection.target.trust in _STRICT
            ):
                return connection
            self._part(connection)
        self._kept.pop(leased.destination, None)
        return None

    def _keep(self, destination: int, connection: Connection) -> None:
        full = sum(map(len, self._kept.values())) >= limits.SMTP_CLIENT_KEPT_MAX
        tired = connection.messages >= limits.SMTP_CLIENT_MESSAGES_MAX
        if full or tired or not connection.alive:
            self._part(connection)
            return
        self._kept.setdefault(destination, []).append(connection)
        wait_s = limits.SMTP_CLIENT_KEPT_MS / 1000
        asyncio.get_running_loop().call_later(wait_s, self._let_go, destination, connection)

    def _let_go(self, destination: int, connection: Connection) -> None:
        kept = self._kept.get(destination, [])
        if connection in kept:
            kept.remove(connection)
            if not kept:
                self._kept.pop(destination, None)
            self._part(connection)

    def _part(self, connection: Connection) -> None:
        task = asyncio.create_task(connection.quit())
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    async def close(self) -> None:
        """Ends the connections that are kept."""
        for kept in self._kept.values():
            for connection in kept:
                self._part(connection)
        self._kept.clear()
        await asyncio.gather(*self._goodbyes, return_exceptions=True)


class _Work:
    """One attempt: who is left, and what became of the others."""

    def __init__(self, leased: Leased, raw: bytes) -> None:
        self.leased = leased
        self.raw = raw
        self.left: dict[int, Addressee] = dict(leased.recipients)
        self.failures: list[tuple[str | None, Failed]] = []
        self._results: list[Result] = []
        self._asked: list[int] = []
        self._reached = False

    def envelope(self) -> smtp.Envelope:
        """What is said to a server about those that are left."""
        mine = self.leased.envelope
        self._asked = list(self.left)
        sender = _plain(mine.sender)
        recipients = tuple(_recipient(to) for to in self.left.values())
        utf8 = not (sender.isascii() and all(to.address.isascii() for to in recipients))
        if mine.utf8 and not utf8:
            utf8 = not self.raw[: self.raw.find(b"\r\n\r\n")].isascii()
        return smtp.Envelope(
            sender=sender,
            recipients=recipients,
            size=len(self.raw),
            eight_bit=mine.eight_bit,
            utf8=utf8,
            ret_full=True if mine.return_full else None,
            envelope_id=mine.envelope_id,
            require_tls=mine.require_tls,
        )

    def done(self, ended: Done, connection: Connection) -> None:
        """The server has answered for all that it was asked about."""
        self._reached = True
        for number, result in self._numbered(ended.results):
            self._settle(number, result, connection)

    def broken(self, ended: Broken, connection: Connection) -> None:
        """The connection ended. What the server refused before stands; where the message may
        have arrived, or will not be had, that is the end of this attempt; else the next host
        is asked."""
        host = connection.target.host
        self._reached = True
        for number, result in self._numbered(ended.results):
            own = result.heard is not None and result.heard is not ended.heard
            if own or ended.unsure or ended.verdict is smtp.Verdict.NEVER:
                self._settle(number, result, connection)
        self.failures.append((host, Failed(False, failure_status(ended.heard), ended.why)))

    def _numbered(self, results: Sequence[smtp.Result]) -> list[tuple[int, smtp.Result]]:
        """Results come in the order of the recipients that were asked about."""
        return list(zip(self._asked, results, strict=False))

    def _settle(self, number: int, result: smtp.Result, connection: Connection) -> None:
        del self.left[number]
        if result.verdict is smtp.Verdict.SENT:
            verdict = Verdict.DELIVERED if connection.reports else Verdict.RELAYED
        else:
            verdict = _VERDICTS[result.verdict]
        host = connection.target.host
        self._results.append(Result(number, verdict, result.status, result.why, host))

    def handed(self) -> Handed:
        """The results; those that are left get the last failure."""
        if not self.left:
            return Handed(self._results)
        final = bool(self.failures) and all(failed.final for _, failed in self.failures)
        lasting = [one for one in self.failures if not one[1].final]
        host, failed = (lasting or self.failures or [(None, Failed(False, "4.4.1", "no way"))])[-1]
        verdict = Verdict.FAILED if final else Verdict.DEFERRED
        status = failed.status if final else f"4{failed.status[1:]}"
        told = [Result(number, verdict, status, failed.why, host) for number in self.left]
        away = Result(0, verdict, status, failed.why, host)
        return Handed(self._results + told, None if self._reached or final else away)


def _recipient(to: Addressee) -> smtp.Recipient:
    """What RFC 3461 lets pass on; nothing where it was not asked for."""
    notify: tuple[str, ...] | None = tuple(sorted(to.notify))
    if to.notify == _DEFAULT:
        notify = None
    elif "NEVER" in to.notify:
        notify = ()
    return smtp.Recipient(_plain(to.address), notify, to.original)


def _plain(address: str) -> str:
    """An address whose domain alone is beyond ASCII needs no SMTPUTF8 (RFC 6531 §3.2)."""
    local, at, domain = address.rpartition("@")
    if address.isascii() or not at or not local.isascii():
        return address
    return f"{local}@{dns.plain(domain)}"
