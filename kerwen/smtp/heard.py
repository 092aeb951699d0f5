"""A reply of another server, and the status that stands in reports for it."""

# RFC 5321 §4.2, RFC 3463, RFC 3464 §2.3.4

from __future__ import annotations

import msgspec


class Heard(msgspec.Struct, frozen=True):
    """A whole reply of the server."""

    code: int
    enhanced: str  # empty where it gave none
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The reply as one line, with its codes."""
        return f"{self.code} {' '.join(self.lines)}".strip()

    @property
    def status(self) -> str:
        """The enhanced code, made up from the code where there is none (RFC 3464 §2.3.4)."""
        return self.enhanced or f"{self.code // 100}.0.0"


def failure_status(heard: Heard | None) -> str:
    """The status of what failed; a good answer in the wrong place is a failure too."""
    status = heard.status if heard is not None else "4.4.2"
    return status if status[0] in "45" else "4.5.0"
