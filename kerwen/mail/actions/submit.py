"""Takes over a message that one of us sends: completes it, signs it, and sends it on its way.

Recipients here have it when `run` returns; for those elsewhere it is in the queue, on disk.
"""

# RFC 6409; RFC 6376; RFC 5321 §3.9

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail import auth_results, dkim, submission, trace
from kerwen.mail.actions.arrive import House, delivered_to, elsewhere
from kerwen.mail.actions.outcomes import Accepted, Outcomes, addressees
from kerwen.mail.actions.queue import Addressee, Envelope
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.auth_results import Result
from kerwen.mail.dkim_keys import SigningKey
from kerwen.mail.letter import Letter, Peer, Wishes
from kerwen.mail.trace import Arrival
from kerwen.storage.database import Tx

OFF_LOOP: Final = 256 * limits.KIB  # a longer message is signed on a thread


class Writer(Protocol):
    """Who sends."""

    @property
    def account_no(self) -> int:
        """Whose the message is."""

    @property
    def localpart(self) -> str:
        """The account's name."""


class Submit:
    """What the door for our own people calls. `keys` gives the keys that sign now."""

    def __init__(
        self,
        host: str,
        recipients: Recipients,
        receive: Receive,
        outcomes: Outcomes,
        keys: Callable[[], Awaitable[Sequence[SigningKey]]],
        draw: Callable[[int], bytes],
        clock: Clock = now_ms,
    ) -> None:
        self._host = host
        self._recipients = recipients
        self._receive = receive
        self._outcomes = outcomes
        self._keys = keys
        self._draw = draw
        self._clock = clock
        self.house: House | None = None
        """Takes what is for the house itself."""
        self.all_publish: Callable[[int, Sequence[Accepted]], Awaitable[bool]] | None = None
        """Whether a sender and all recipients publish OpenPGP keys here."""

    async def check_sender(self, sender: Writer, address: str) -> None:
        """`Refused(SENDER_NOT_YOURS)` where an address is not the account's own, nor an alias of
        it. Nobody's address (`<>`) is everybody's."""
        if address and not await self._recipients.owns(
            sender.account_no, sender.localpart, address
        ):
            raise Refused(Reason.SENDER_NOT_YOURS, f"{address} is not an address of yours")

    async def recipient(self, address: str, wishes: Wishes, size: int = 0) -> Accepted:
        """Somebody here or elsewhere. `Refused`: UNKNOWN_RECIPIENT, MAILBOX_FULL."""
        if not self._recipients.is_local(address):
            return Accepted(address, elsewhere(address), wishes)
        return Accepted(address, await self._receive.recipient(address, size, ours=True), wishes)

    async def run(
        self,
        sender: Writer,
        peer: Peer,
        letter: Letter,
        accepted: Sequence[Accepted],
        raw: bytes,
    ) -> str:
        """Delivers and queues, and gives our name for the message. `Refused`:
        MALFORMED_MESSAGE, SENDER_NOT_YOURS, and what `Deliver` refuses for everybody."""
        end = submission.header_end(raw)
        header, now, mark = raw[:end], self._clock(), self._draw(8).hex()
        submission.check_size(header)
        if not submission.has_one_author_field(header):
            raise Refused(Reason.MALFORMED_MESSAGE, "A message has one From field")
        authors = submission.authors(header)
        await self.check_authors(sender, authors)
        added, kept = submission.completed(header, f"{mark}@{self._host}", now)
        complete = added + kept
        if self.house is not None and any(one.found.house for one in accepted):
            own = all(map(self._recipients.is_local, authors))  # of others nobody proves a thing
            await self.house.take(accepted, complete + raw[end:], letter.sender, True, own)
        leaves = any(one.found.elsewhere for one in accepted)
        signed = await self._signed(complete, raw[end:], now) if leaves else b""
        marks = self._marks(peer, letter, accepted, mark, now)
        # without a Message-ID of its own the same text may be meant twice
        ours, kept = (marks + signed, kept) if not added else (marks + signed + added + kept, b"")
        pieces = (ours, kept, memoryview(raw)[end:])
        aliases = [
            one for one in accepted if one.found.elsewhere and one.found.elsewhere != (one.address,)
        ]
        told = await self._receive.run(
            Envelope(letter.sender, letter.envelope_id, letter.return_full, letter.utf8,
                     eight_bit=leaves and not raw.isascii(), account_no=sender.account_no),
            [one.found for one in accepted],
            pieces,
            here=auth_results.build(self._host, await self._results(sender, accepted)),
            onward=delivered_to(aliases),
            addressees=addressees(accepted),
            mark=mark.encode() if added else b"",
            addresses=[one.address for one in accepted],
            seal=None if leaves else lambda: self._signed(complete, raw[end:], now),
        )  # fmt: skip
        await self._outcomes.report(letter, accepted, told, pieces, trusted=True)
        return mark

    async def _results(self, sender: Writer, accepted: Sequence[Accepted]) -> list[Result]:
        """What we say of it to those here: nobody else can (RFC 8601 §5)."""
        found = [Result("auth", "pass")]
        if self.all_publish is not None and await self.all_publish(sender.account_no, accepted):
            found.append(Result("x-openpgp-keys", "pass"))
        return found

    async def later(
        self,
        sender: Writer,
        peer: Peer,
        letter: Letter,
        accepted: Sequence[Accepted],
        raw: bytes,
        due_ms: int,
        also: Callable[[Tx, int], Awaitable[None]],
    ) -> int:
        """Completes and signs a message that leaves at a time, also to people here; its number in
        the queue. `also` is done in the same transaction. `Refused` as `run`."""
        end = submission.header_end(raw)
        header, mark = raw[:end], self._draw(8).hex()
        submission.check_size(header)
        if not submission.has_one_author_field(header):
            raise Refused(Reason.MALFORMED_MESSAGE, "A message has one From field")
        await self.check_authors(sender, submission.authors(header))
        added, kept = submission.completed(header, f"{mark}@{self._host}", due_ms)
        signed = await self._signed(added + kept, raw[end:], due_ms)
        marks = self._marks(peer, letter, accepted, mark, due_ms)
        whole = b"".join((marks, signed, added, kept, raw[end:]))
        envelope = Envelope(letter.sender, letter.envelope_id, letter.return_full, letter.utf8,
                            eight_bit=not raw.isascii(), account_no=sender.account_no)  # fmt: skip
        to = [Addressee(one.address) for one in accepted]
        return await self._receive.later(envelope, to, whole, due_ms, also)

    async def check_authors(self, sender: Writer, authors: Sequence[str]) -> None:
        """Nobody writes as one of the others here. Whoever writes as somebody elsewhere (another
        account of theirs) is not believed there: that domain's DMARC is against it."""
        for author in authors:
            if self._recipients.is_local(author):
                await self.check_sender(sender, author)

    async def _signed(self, header: bytes, body: bytes, now: int) -> bytes:
        keys = await self._keys()
        if len(body) > OFF_LOOP:
            return await asyncio.to_thread(dkim.sign, header, body, keys, now // 1000)
        return dkim.sign(header, body, keys, now // 1000)

    def _marks(
        self, peer: Peer, letter: Letter, accepted: Sequence[Accepted], mark: str, now: int
    ) -> bytes:
        """Our field. Where somebody writes from is nobody's business: no address is told."""
        arrival = Arrival(
            helo="",
            address="",
            name=None,
            by=self._host,
            id=mark,
            at_ms=now,
            extended=peer.extended,
            tls=peer.tls,
            logged_in=True,
            utf8=letter.utf8,
            recipient=accepted[0].address if len(accepted) == 1 else None,
        )
        return trace.received(arrival)
