"""Sequence sets: as clients write them, resolved against a mailbox, and as we write them."""

# RFC 9051 §9 (ABNF: sequence-set); RFC 5182 ($); RFC 9394 (partial-range)

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

NUMBER_MAX: Final = 2**32 - 1
STAR: Final = 2**32
"""`*`: the greatest number in use. It is greater than any, so ranges sort as they are meant."""


class SequenceSet(msgspec.Struct, frozen=True, gc=False):
    """Ranges of numbers in the order given, low end first; or the saved result of a SEARCH."""

    ranges: tuple[tuple[int, int], ...] = ()
    saved: bool = False  # `$`

    @property
    def is_static(self) -> bool:
        """Whether it means the same whatever is in the mailbox: no `*`, no `$`."""
        return not self.saved and all(high < STAR for _, high in self.ranges)


class PartialRange(msgspec.Struct, frozen=True, gc=False):
    """`1:100`, or `-1:-100` counted from the end; `text` is how the client wrote it."""

    first: int
    last: int
    text: bytes

    def of(self, numbers: Sequence[int]) -> Sequence[int]:
        """The part of these (lowest first) that is meant.  # RFC 9394 §3.1"""
        low, high = sorted((abs(self.first), abs(self.last)))
        if self.first > 0:
            return numbers[low - 1 : high]
        end = len(numbers) - low + 1
        return numbers[max(end - (high - low) - 1, 0) : max(end, 0)]


def resolved(ranges: Iterable[tuple[int, int]], greatest: int) -> tuple[tuple[int, int], ...]:
    """The ranges sorted, joined where they touch, with `*` read as `greatest`."""
    found = sorted(
        (min(low, greatest), greatest) if high == STAR and low == STAR
        else (min(low, greatest), max(low, greatest)) if high == STAR
        else (low, high)
        for low, high in ranges
    )  # fmt: skip
    joined: list[tuple[int, int]] = []
    for low, high in found:
        if joined and low <= joined[-1][1] + 1:
            if high > joined[-1][1]:
                joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return tuple(joined)


def places(ranges: Iterable[tuple[int, int]], uids: Sequence[int]) -> list[range]:
    """Where in `uids` (sorted) the UIDs of resolved ranges stand."""
    found = []
    at = 0
    for low, high in ranges:
        at = bisect_left(uids, low, at)
        stop = bisect_right(uids, high, at)
        if at < stop:
            found.append(range(at, stop))
            at = stop
    return found


def encode(numbers: Iterable[int]) -> bytes:
    """Numbers as a sequence set; those that follow one another as a range. Sorts them."""
    return b",".join(
        b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in runs(numbers)
    )


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as sorted ranges."""
    found: list[tuple[int, int]] = []
    low = high = -2
    for number in sorted(numbers):
        if number == high + 1:
            high = number
        elif number != high:
            if low >= 0:
                found.append((low, high))
            low = high = number
    if low >= 0:
        found.append((low, high))
    return found


def encode_in_order(numbers: Sequence[int]) -> bytes:
    """The same in the order given, as COPYUID needs it: only rising runs become ranges."""
    found: list[bytes] = []
    low = high = -2
    for number in numbers:
        if number == high + 1:
            high = number
            continue
        if low >= 0:
            found.append(b"%d" % low if low == high else b"%d:%d" % (low, high))
        low = high = number
    if low >= 0:
        found.append(b"%d" % low if low == high else b"%d:%d" % (low, high))
    return b",".join(found)
