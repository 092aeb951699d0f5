"""Where two devices of a person meet: a small text that both can read and replace (MSC4108).

Pure: time and chance come in as arguments. In memory only, bounded; the oldest make room.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused

LIFE_MS = 5 * 60_000
ANSWERS_KEPT = 8


@dataclass(slots=True)
class Meeting:
    """What lies there. `turn` changes with each text."""

    text: bytes
    turn: str
    changed_ms: int
    expires_ms: int
    turns: int = 0
    answers: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """The turns that came of the last transactions, for requests that are repeated."""


class Rendezvous:
    """The meetings of this process."""

    def __init__(self, most: int = limits.RENDEZVOUS_MAX) -> None:
        self._most = most
        self._open: OrderedDict[str, Meeting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, name: str, text: bytes, now_ms: int) -> Meeting:
        """A new meeting; the caller draws a name that nobody can guess. `Refused(TOO_LARGE)`."""
        _check(text)
        while self._open and (
            len(self._open) >= self._most or next(iter(self._open.values())).expires_ms <= now_ms
        ):
            self._open.popitem(last=False)
        meeting = Meeting(text, f"{name[:8]}.0", now_ms, now_ms + LIFE_MS)
        self._open[name] = meeting
        return meeting

    def find(self, name: str, now_ms: int) -> Meeting:
        """`Refused(NOT_FOUND)` where there is none, or none any more."""
        meeting = self._open.get(name)
        if meeting is None or meeting.expires_ms <= now_ms:
            raise Refused(Reason.NOT_FOUND, "There is no such rendezvous")
        return meeting

    def replace(self, name: str, turn: str, text: bytes, now_ms: int) -> tuple[Meeting, bool]:
        """Leaves another text; false where somebody was faster than who knows only `turn`.

        `Refused`: NOT_FOUND, TOO_LARGE.
        """
        _check(text)
        meeting = self.find(name, now_ms)
        if meeting.turn != turn:
            return meeting, False
        meeting.turns += 1
        meeting.turn = f"{name[:8]}.{meeting.turns}"
        meeting.text, meeting.changed_ms = text, now_ms
        return meeting, True

    def answer(self, name: str, txn_id: str, now_ms: int) -> str | None:
        """The turn that came of a transaction before; None for a new one. `Refused(NOT_FOUND)`."""
        return self.find(name, now_ms).answers.get(txn_id)

    def keep_answer(self, name: str, txn_id: str, now_ms: int) -> None:
        """The turn of now came of this transaction."""
        meeting = self.find(name, now_ms)
        meeting.answers[txn_id] = meeting.turn
        if len(meeting.answers) > ANSWERS_KEPT:
            meeting.answers.popitem(last=False)

    def end(self, name: str, now_ms: int) -> None:
        """The devices have met; `Refused(NOT_FOUND)`."""
        self.find(name, now_ms)
        del self._open[name]


def _check(text: bytes) -> None:
    if len(text) > limits.RENDEZVOUS_BYTES_MAX:
        raise Refused(Reason.TOO_LARGE, f"At most {limits.RENDEZVOUS_BYTES_MAX} bytes")
