"""Asks rspamd, where the operator runs one, what it thinks of a message. Without an answer the
message is taken as if nobody had been asked: mail does not wait for an adviser.
"""

# https://docs.rspamd.com/developers/protocol

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.mail.junk import JUNK_POINTS
from kerwen.mail.letter import Letter, Peer
from kerwen.net.outgoing import Outgoing, Unanswered

log = logging.getLogger(__name__)

TIMEOUT_MS: Final = 20_000
AT_ONCE: Final = 16
_RECIPIENTS_TOLD: Final = 50
_LATER_MS: Final = 5 * 60_000


class _Said(msgspec.Struct):
    """What of an answer is looked at."""

    action: str = "no action"
    score: float = 0.0


class Rspamd:
    """An `Opinion`. `url`: of the worker that scans, `http://127.0.0.1:11333`."""

    def __init__(self, outgoing: Outgoing, url: str) -> None:
        self._outgoing = outgoing
        self._url = url.rstrip("/") + "/checkv2"
        self._places = asyncio.Semaphore(AT_ONCE)

    async def points(
        self, peer: Peer, letter: Letter, recipients: Sequence[str], raw: bytes
    ) -> float:
        """Points towards junk. `Refused(MAIL_POLICY)`, `Unavailable(GREYLISTED)`."""
        headers = {
            "IP": peer.address,
            "Helo": _ascii(peer.helo),
            "From": _ascii(letter.sender),
            "Rcpt": ", ".join(map(_ascii, recipients[:_RECIPIENTS_TOLD])),
            "Content-Type": "application/octet-stream",
        }
        try:
            async with self._places:
                answer = await self._outgoing.ask(
                    "POST", self._url, headers=headers, body=raw,
                    timeout_ms=TIMEOUT_MS, answer_max=limits.MIB, by_operator=True,
                )  # fmt: skip
            if not answer.good:
                raise ValueError(f"status {answer.status}")
            said = msgspec.json.decode(answer.body, type=_Said)
        except (Unanswered, msgspec.MsgspecError, ValueError) as error:
            log.warning("rspamd gives no answer: %s", error)
            return 0.0
        if said.action == "reject":
            raise Refused(Reason.MAIL_POLICY, "This looks like junk", score=said.score)
        if said.action in ("soft reject", "greylist"):
            raise Unavailable(Unready.GREYLISTED, _LATER_MS)
        return JUNK_POINTS if said.action in ("add header", "rewrite subject") else 0.0


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\r", "").replace("\n", "")
