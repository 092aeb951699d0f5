"""Everything that the door may call: built in `maildoors.py`, handed to every session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kerwen.mail.actions.arrive import Arrive
from kerwen.mail.actions.prove_sender import ProveSender
from kerwen.mail.actions.submit import Submit
from kerwen.smtp.rates import Rates


@dataclass(frozen=True, slots=True)
class Deeds:
    """The actions of mail that comes."""

    arrive: Arrive
    submit: Submit
    prove: ProveSender
    rates: Rates
    spend: Callable[[str], None]
    """Counts a log-in from a network address; `Refused(LIMIT_EXCEEDED)`."""
    proved: Callable[[str], None]
    """Takes that back: the log-in was right. Programs log in for each message that they send."""
