"""Tells a sender what became of recipients here: nobody who was promised a delivery loses it
unheard, and whoever asked to be told of success is told.
"""

# RFC 3461 §6.2; RFC 5321 §6.1

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.deliver import Delivered
from kerwen.mail.actions.queue import Addressee, Envelope, Tell, Told
from kerwen.mail.actions.recipients import Found
from kerwen.mail.dsn import Action, Outcome
from kerwen.mail.letter import Letter, Wishes

_SAYING: Final = {
    Reason.MAILBOX_FULL: ("5.2.2", "The mailbox is full"),
    Reason.VAULT_CLOSED: ("5.2.1", "The account cannot take mail"),
    Reason.MAIL_POLICY: ("5.7.1", "The recipient refuses this message"),
}
_EVERY: Final = frozenset({"FAILURE", "DELAY"})


class Accepted(msgspec.Struct, frozen=True):
    """A recipient to whom we said yes."""

    address: str
    found: Found  # nobody, where it is an address elsewhere
    wishes: Wishes


class Outcomes:
    """Makes reports of what `Receive` gave back. `draw` gives random bytes."""

    def __init__(self, tell: Tell, draw: Callable[[int], bytes], clock: Clock = now_ms) -> None:
        self._tell = tell
        self._draw = draw
        self._clock = clock

    async def report(
        self,
        letter: Letter,
        accepted: Sequence[Accepted],
        told: Sequence[Delivered],
        pieces: Sequence[bytes | memoryview],
        *,
        trusted: bool,
    ) -> None:
        """Sends what is to be told. If nobody got it at all: `Refused` instead.

        A sender that proved nothing (`trusted` false) hears of no failure: it is probably
        somebody else's address.
        """
        if not any(one.refused for one in told) and not any(
            one.wishes.notify for one in accepted
        ):  # nearly always
            return
        refused = {one.account_no: one for one in told if one.refused is not None}
        if refused and len(refused) == len(told) and not any(a.found.elsewhere for a in accepted):
            first = next(iter(refused.values()))
            assert first.refused is not None
            raise Refused(first.refused, _said(first)[1])
        now = self._clock()
        outcomes = [
            outcome
            for one in accepted
            if (outcome := _outcome(one, refused, now, trusted=trusted)) is not None
        ]
        if not outcomes or not letter.sender:
            return
        envelope = Envelope(
            letter.sender,
            letter.envelope_id,
            letter.return_full,
            proved=True,  # what an unproved sender does not hear of is left out above
        )
        await self._tell(Told(self._draw(16), envelope, now, tuple(outcomes), b"".join(pieces)))


def _said(one: Delivered) -> tuple[str, str]:
    """Status and words of a refusal."""
    assert one.refused is not None
    status, words = _SAYING.get(one.refused, ("5.0.0", "It cannot be delivered"))
    return status, one.why or words


def _outcome(
    one: Accepted, refused: dict[int, Delivered], now: int, *, trusted: bool
) -> Outcome | None:
    notify = _EVERY if one.wishes.notify is None else one.wishes.notify
    nos = [account_no for account_no, _ in one.found.accounts]
    if not nos:
        return None  # the queue tells
    failed = [no for no in nos if no in refused]
    if len(failed) == len(nos) and not one.found.elsewhere:
        if "FAILURE" not in notify or not trusted:
            return None
        status, answer = _said(refused[failed[0]])
        action = Action.FAILED
    elif "SUCCESS" in notify:
        status, answer = "2.1.5", ""
        several = len(nos) > 1 or one.found.elsewhere
        action = Action.EXPANDED if several else Action.DELIVERED
    else:
        return None
    return Outcome(
        recipient=one.address,
        action=action,
        status=status,
        original=one.wishes.original,
        answer=answer or None,
        attempted_ms=now,
    )


def addressees(accepted: Iterable[Accepted]) -> list[Addressee]:
    """Those of the recipients who are elsewhere themselves, with what their sender wished."""
    return [
        Addressee(
            one.address,
            _EVERY if one.wishes.notify is None else one.wishes.notify or frozenset({"NEVER"}),
            one.wishes.original,
        )
        for one in accepted
        if not one.found.accounts and one.found.elsewhere == (one.address,)
    ]
