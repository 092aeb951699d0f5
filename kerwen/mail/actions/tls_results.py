"""Counts how TLS went with other servers, for reports to them."""

# RFC 8460 §4.3

from __future__ import annotations

from typing import Final

import msgspec

from kerwen.base.clock import Clock
from kerwen.mail.actions.day_counts import DayCounts
from kerwen.mail.store import day_counts as tables
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.storage.database import Database

SUCCESS: Final = "success"
RESULTS: Final = (
    SUCCESS,
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-expired",
    "certificate-not-trusted",
    "validation-failure",
    "dnssec-invalid",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
)
"""Every result that is counted, in the words of RFC 8460 §4.3."""


class Happened(msgspec.Struct, frozen=True, array_like=True):
    """One thing that may happen. `policy`: `tlsa`, `sts` or `no-policy-found`; `result`: a type
    of failure of RFC 8460 §4.3, or `success`."""

    domain: str
    policy: str
    host: str
    result: str


class TlsResults(DayCounts[Happened]):
    """The counts, and totals for whoever watches."""

    def __init__(self, db: Database, key: QueueKey, tags: Tags, clock: Clock) -> None:
        super().__init__(tables.TLS, "tls result", Happened, db, key, tags, clock)
        self.totals: dict[str, int] = {}
        """How often each result came since the start."""

    def count(self, domain: str, policy: str, host: str, result: str) -> None:
        """It happened once more."""
        self.totals[result] = self.totals.get(result, 0) + 1
        self.add(Happened(domain, policy, host, result))
