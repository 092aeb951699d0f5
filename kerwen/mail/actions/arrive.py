"""Takes in a message that another server brings: checks it, marks it, delivers it.

When `run` returns, the message is on disk for everybody it was promised to.
"""

# RFC 5321 §3.9, §4.4; RFC 8601 §5

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail import arc, auth_results, dkim, dmarc, fields, spf, submission, trace
from kerwen.mail.actions import check
from kerwen.mail.actions.check import Check
from kerwen.mail.actions.deliver import Target
from kerwen.mail.actions.outcomes import Accepted, Outcomes, addressees
from kerwen.mail.actions.queue import Envelope
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import Found
from kerwen.mail.dkim_keys import SigningKey
from kerwen.mail.fields import Field, Fields
from kerwen.mail.junk import Seen, Verdict, judged
from kerwen.mail.letter import Letter, Peer, Wishes
from kerwen.mail.trace import Arrival

log = logging.getLogger(__name__)

JUNK: Final = (Target("\\junk"),)
_LOOKED_AT: Final = frozenset({b"received", b"delivered-to"})

Taste = Callable[[Sequence[int], bytes], Awaitable[Mapping[int, bool]]]
"""`(accounts, message)`: for accounts that have an opinion of their own, whether it is junk."""


class Opinion(Protocol):
    """Somebody else's judgement of a message (rspamd)."""

    async def points(
        self, peer: Peer, letter: Letter, recipients: Sequence[str], raw: bytes
    ) -> float:
        """Points towards junk. `Refused(MAIL_POLICY)`, `Unavailable(GREYLISTED)`."""


class Greylist(Protocol):
    """Asks strangers to come back."""

    async def check(self, address: str, sender: str, recipient: str) -> None:
        """`Unavailable(GREYLISTED)` at the first time."""


class House(Protocol):
    """What is for no mailbox: reports, lists."""

    async def take(
        self, accepted: Sequence[Accepted], raw: bytes, sender: str, trusted: bool, author: bool
    ) -> None:
        """`Refused(MAIL_POLICY)` where nobody else gets it."""


class Arrive:
    """What the door for strangers calls. `draw` gives random bytes."""

    def __init__(
        self,
        host: str,
        receive: Receive,
        checks: Check,
        outcomes: Outcomes,
        draw: Callable[[int], bytes],
        clock: Clock = now_ms,
        sealers: frozenset[str] = frozenset(),
    ) -> None:
        self._host = host
        self._receive = receive
        self._check = checks
        self._outcomes = outcomes
        self._draw = draw
        self._clock = clock
        self._sealers = sealers
        self.opinion: Opinion | None = None
        self.taste: Taste | None = None
        self.greylist: Greylist | None = None
        self.sealing_keys: Callable[[], Awaitable[Sequence[SigningKey]]] | None = None
        """The keys of which the first seals (ARC) what goes on elsewhere."""
        self.house: House | None = None
        """Takes what comes for the house itself."""
        self.notice: Callable[[Seen, Verdict, str, str], None] | None = None
        """Told of every message that was checked: its verdict, who brought it, its sender."""

    async def recipient(
        self, peer: Peer, letter: Letter, address: str, wishes: Wishes, size: int = 0
    ) -> Accepted:
        """Who gets the mail of an address; `Refused`: RELAY_REFUSED, UNKNOWN_RECIPIENT,
        MAILBOX_FULL. `Unavailable`: GREYLISTED."""
        if not self._receive.is_local(address):
            raise Refused(Reason.RELAY_REFUSED, "We do not relay; log in on port 465 or 587")
        found = await self._receive.recipient(address, size)
        if self.greylist is not None:
            await self.greylist.check(peer.address, letter.sender, address)
        return Accepted(address, found, wishes)

    async def run(
        self, peer: Peer, letter: Letter, accepted: Sequence[Accepted], raw: bytes
    ) -> str:
        """Delivers, and gives our name for the message. `Refused`: MALFORMED_MESSAGE, MAIL_LOOP,
        UNAUTHENTIC_MAIL, MAIL_POLICY, and what `Deliver` refuses for everybody."""
        end = submission.header_end(raw)
        header = raw[:end] or b"\r\n"  # what has no header at all must not become one
        submission.check_size(header)
        found = list(fields.split(header))
        _check_loop(header, found, accepted)
        seen = await self._check.run(peer, letter, header, found, raw, end)
        verdict = judged(seen, await self._opinion(peer, letter, accepted, raw), self._sealers)
        if self.notice is not None:
            self.notice(seen, verdict, peer.address, letter.sender)
        if verdict is not Verdict.TAKE:
            log.info("a message is not welcome", extra=_shown(verdict, seen))
        if verdict is Verdict.REFUSE:
            domain = seen.dmarc.domain if seen.dmarc is not None else "its author"
            raise Refused(Reason.UNAUTHENTIC_MAIL, f"{domain} asks to refuse what it did not sign")
        if self.house is not None and any(one.found.house for one in accepted):
            author = _is_author_proved(seen)
            await self.house.take(accepted, raw, letter.sender, seen.trusted, author)
        mark = self._draw(8).hex()
        now = self._clock()
        results = check.told(seen, peer, letter)
        kept = auth_results.without_forged(_without(header, found, b"return-path"), self._host)
        marks = check.field(self._host, results) + trace.received(
            self._arrival(peer, letter, accepted, seen, mark, now)
        )
        elsewhere = [one for one in accepted if one.found.elsewhere]
        onward = b""
        if elsewhere:
            onward = await self._seal(marks + kept, raw[end:], seen, results, now)
            onward += delivered_to(elsewhere)
        pieces = (marks, kept, memoryview(raw)[end:])
        done = await self._receive.run(
            Envelope(letter.sender, letter.envelope_id, letter.return_full, letter.utf8,
                     eight_bit=bool(elsewhere) and not raw.isascii(), proved=seen.trusted),
            [one.found for one in accepted],
            pieces,
            onward=onward,
            addressees=addressees(elsewhere),
            targets=await self._targets(accepted, verdict, raw),
            addresses=[one.address for one in accepted],
            seal=lambda: self._seal(marks + kept, raw[end:], seen, results, now),
        )  # fmt: skip
        await self._outcomes.report(letter, accepted, done, pieces, trusted=seen.trusted)
        return mark

    async def _opinion(
        self, peer: Peer, letter: Letter, accepted: Sequence[Accepted], raw: bytes
    ) -> float:
        if self.opinion is None:
            return 0.0
        return await self.opinion.points(peer, letter, [one.address for one in accepted], raw)

    async def _targets(
        self, accepted: Sequence[Accepted], verdict: Verdict, raw: bytes
    ) -> dict[int, tuple[Target, ...]]:
        """Whose Junk it goes to. What an owner has taught counts for more than the checks."""
        accounts = [no for one in accepted for no, _ in one.found.accounts]
        tastes: Mapping[int, bool] = {}
        if self.taste is not None:
            tastes = await self.taste(accounts, raw)
        elif verdict is Verdict.TAKE:
            return {}
        junk = verdict is Verdict.JUNK
        return {no: JUNK for no in accounts if tastes.get(no, junk)}

    def _arrival(
        self,
        peer: Peer,
        letter: Letter,
        accepted: Sequence[Accepted],
        seen: Seen,
        mark: str,
        now: int,
    ) -> Arrival:
        return Arrival(
            helo=peer.helo,
            address=peer.address,
            name=seen.iprev.name if seen.iprev is not None else None,
            by=self._host,
            id=mark,
            at_ms=now,
            extended=peer.extended,
            tls=peer.tls,
            utf8=letter.utf8,
            recipient=accepted[0].address if len(accepted) == 1 else None,
        )

    async def _seal(
        self,
        header: bytes,
        body: bytes,
        seen: Seen,
        results: list[auth_results.Result],
        now: int,
    ) -> bytes:
        if self.sealing_keys is None:
            return b""
        key = (await self.sealing_keys())[0]
        chain = seen.arc or arc.Arc(arc.Chain.NONE)
        return arc.seal(header, body, chain, results, key, self._host, now // 1000)


def _is_author_proved(seen: Seen) -> bool:
    """Whether the From field is true: by DMARC, or where its domain has no policy, by a signature
    or an envelope of just that domain."""
    told = seen.dmarc
    if told is None or seen.authors != 1:
        return False
    if told.result is dmarc.Result.PASS:
        return True
    by_key = any(k.result is dkim.Result.PASS and k.domain == told.domain for k in seen.dkim)
    by_spf = seen.spf is not None and seen.spf.result is spf.Result.PASS
    return by_key or (by_spf and seen.spf is not None and seen.spf.domain == told.domain)


def _shown(verdict: Verdict, seen: Seen) -> dict[str, str]:
    """For the operator: what was found, and nobody's name."""
    return {
        "verdict": verdict.value,
        "spf": seen.spf.result.value if seen.spf is not None else "",
        "dkim": " ".join(one.result.value for one in seen.dkim),
        "dmarc": seen.dmarc.result.value if seen.dmarc is not None else "",
        "iprev": seen.iprev.result.value if seen.iprev is not None else "",
    }


def _check_loop(header: bytes, found: Sequence[Field], accepted: Sequence[Accepted]) -> None:
    told: Fields = {}
    for field in found:
        if field.name in _LOOKED_AT:
            told.setdefault(field.name, []).append(header[field.colon + 1 : field.end].strip())
    if not told:
        return
    if trace.is_looping(told) or any(
        trace.is_looping(told, one.address) for one in accepted if one.found.elsewhere
    ):
        raise Refused(Reason.MAIL_LOOP, "This message goes in circles")


def delivered_to(elsewhere: Sequence[Accepted]) -> bytes:
    """The aliases that pass it on, by which it is known should it come back."""
    return b"".join(trace.delivered_to(one.address) for one in elsewhere)


def _without(header: bytes, found: Sequence[Field], name: bytes) -> bytes:
    if not any(field.name == name for field in found):
        return header
    return fields.pick(header, frozenset({name}), without=True)


def elsewhere(address: str) -> Found:
    """Somebody who has no mailbox here."""
    return Found((), (address,))
