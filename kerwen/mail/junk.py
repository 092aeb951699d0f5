"""What the checks of a message come to: let in, put into Junk, or refused.

Only what its domain's owner asks for (DMARC) is refused. All else adds up to points; from
`JUNK_POINTS` on a message goes to Junk, where its owner finds it. Nothing is lost by a guess.
"""

# RFC 7489 §6.6, RFC 9989; RFC 7208 §8

from __future__ import annotations

import enum
from typing import Final

import msgspec

from kerwen.mail import arc, dkim, dmarc, iprev, spf

JUNK_POINTS: Final = 4.0


class Verdict(enum.Enum):
    """What to do with a message."""

    TAKE = "take"
    JUNK = "junk"
    REFUSE = "refuse"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks found. None: not asked."""

    iprev: iprev.Iprev | None = None
    spf: spf.Spf | None = None
    dkim: tuple[dkim.Dkim, ...] = ()
    dmarc: dmarc.Dmarc | None = None
    arc: arc.Arc | None = None
    authors: int = 1  # From fields

    @property
    def trusted(self) -> bool:
        """Whether the envelope's sender or the author was proved: reports reach who wrote."""
        return (self.spf is not None and self.spf.result is spf.Result.PASS) or (
            self.dmarc is not None and self.dmarc.result is dmarc.Result.PASS
        )


_SPF_POINTS: Final = {
    spf.Result.FAIL: 4.0,
    spf.Result.SOFTFAIL: 1.5,
    spf.Result.PERMERROR: 0.5,
    spf.Result.NONE: 0.5,
}


def judged(seen: Seen, opinion: float = 0.0, sealers: frozenset[str] = frozenset()) -> Verdict:
    """The verdict. `opinion`: points that others gave; `sealers`: whose ARC seals are believed."""
    if seen.dmarc is not None and seen.dmarc.result is dmarc.Result.FAIL and not _sealed(
        seen, sealers
    ):  # fmt: skip
        if seen.dmarc.policy is dmarc.Policy.REJECT:
            return Verdict.REFUSE
        if seen.dmarc.policy is dmarc.Policy.QUARANTINE:
            return Verdict.JUNK
    return Verdict.JUNK if points(seen) + opinion >= JUNK_POINTS else Verdict.TAKE


def points(seen: Seen) -> float:
    """How suspicious a message is by its checks alone."""
    found = 0.0
    if seen.authors != 1:
        found += 2.0
    if seen.iprev is not None and seen.iprev.result in (
        iprev.Result.FAIL,
        iprev.Result.PERMERROR,
    ):
        found += 1.0
    if seen.dmarc is not None and seen.dmarc.result is dmarc.Result.PASS:
        return found  # the author is known, whichever way the message took
    if seen.spf is not None:
        found += _SPF_POINTS.get(seen.spf.result, 0.0)
    results = {one.result for one in seen.dkim}
    if dkim.Result.FAIL in results and dkim.Result.PASS not in results:
        found += 1.0
    return found


def _sealed(seen: Seen, sealers: frozenset[str]) -> bool:
    """Whether somebody we believe passed it on, and had seen it whole."""
    chain = seen.arc
    return (
        chain is not None
        and chain.chain is arc.Chain.PASS
        and bool(chain.sealers)
        and chain.sealers[-1] in sealers
    )
