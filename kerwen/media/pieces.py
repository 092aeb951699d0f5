"""Which piece of a file a request brings: `Content-Range` of a PUT (RFC 9110 §14.4, §14.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from kerwen.base.errors import Reason, Refused

_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})", re.ASCII | re.I)


@dataclass(frozen=True, slots=True)
class Piece:
    """[first, last) of `total` bytes. An empty one only asks how far the upload is."""

    first: int
    last: int
    total: int

    @property
    def asks(self) -> bool:
        """`bytes */TOTAL`: nothing is brought."""
        return self.first == self.last


def piece_of(header: str | None) -> Piece | None:
    """The piece that a header names; None: the whole file comes. Says `INVALID_PARAM`."""
    if header is None:
        return None
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        raise Refused(Reason.INVALID_PARAM, "Content-Range must be bytes FIRST-LAST/TOTAL")
    first, last, total = match.groups()
    if first is None:
        return Piece(0, 0, int(total))
    piece = Piece(int(first), int(last) + 1, int(total))
    if not piece.first < piece.last <= piece.total:
        raise Refused(Reason.INVALID_PARAM, "Content-Range does not lie in the file")
    return piece
