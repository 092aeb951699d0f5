"""Which part of a query's results is told, and in which words. # RFC 8620 §5.5"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kerwen.api.jmap.registry import Work
from kerwen.base import limits
from kerwen.mail.jmap.arguments import Arguments
from kerwen.mail.jmap.errors import MethodError


def page(
    work: Work,
    arguments: Arguments,
    state: str,
    found: Sequence[int],
    no_of: Callable[[str], int | None],
    ids_of: Callable[[list[int]], list[str]],
) -> dict[str, Any]:
    """The response of a /query. `found` are the numbers of all results."""
    position = arguments.integer("position")
    anchor = arguments.optional_text("anchor")
    limit = arguments.unsigned("limit")
    most = limits.JMAP_QUERY_MAX
    wanted = most if limit is None else min(limit, most)
    if anchor is not None:
        no = no_of(work.batch.id_of(anchor))
        try:
            at = found.index(no) if no is not None else -1
        except ValueError:
            at = -1
        if at < 0:
            raise MethodError("anchorNotFound")
        start = max(at + arguments.integer("anchorOffset"), 0)
    elif position < 0:
        start = max(len(found) + position, 0)
    else:
        start = position
    some = list(found[start : start + wanted])
    if start and not some:
        start = min(start, len(found))
    told: dict[str, Any] = {
        "accountId": work.account_id,
        "queryState": state,
        "canCalculateChanges": True,
        "position": start,
        "ids": ids_of(some),
    }
    if arguments.boolean("calculateTotal"):
        told["total"] = len(found)
    if limit is None or limit > most:
        told["limit"] = most
    return told
