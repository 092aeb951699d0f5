"""Sets of UIDs as ranges, and where they stand in a column."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

UidRanges = Sequence[tuple[int, int]]
"""(first, last), both in it; in rising order, apart from each other. `normal` makes it so."""

EVERY: Final[UidRanges] = ((1, 0xFFFFFFFF),)


def normal(ranges: Iterable[tuple[int, int]]) -> UidRanges:
    """Any ranges (also backwards, as IMAP allows) as a `UidRanges`."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((min(one), max(one)) for one in ranges):
        if found and first <= found[-1][1] + 1:
            if last > found[-1][1]:
                found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def of(uids: Iterable[int]) -> UidRanges:
    """The ranges of single UIDs."""
    found: list[tuple[int, int]] = []
    for uid in sorted(set(uids)):
        if found and uid == found[-1][1] + 1:
            found[-1] = (found[-1][0], uid)
        else:
            found.append((uid, uid))
    return found


def at(uids: Sequence[int], chosen: Sequence[int]) -> UidRanges:
    """The ranges of the UIDs at these places (rising) of a mailbox's column.

    Where the places stand together it is one range: no UID between two of a mailbox comes later.
    """
    if isinstance(chosen, range) and chosen and chosen.step == 1:
        return [(uids[chosen[0]], uids[chosen[-1]])]
    return of(uids[one] for one in chosen)


def places(uids: array[int], ranges: UidRanges) -> Sequence[int]:
    """Where the UIDs of a set stand in a column; a `range` where they stand together."""
    if not uids:
        return ()
    first, last = uids[0], uids[-1]
    at = bisect_left(ranges, (first, first))
    if at and ranges[at - 1][1] >= first:
        at -= 1
    found: list[range] = []
    while at < len(ranges) and ranges[at][0] <= last:
        start, stop = bisect_left(uids, ranges[at][0]), bisect_right(uids, ranges[at][1])
        if start < stop:
            found.append(range(start, stop))
        at += 1
    if len(found) == 1:
        return found[0]
    return [place for some in found for place in some]
