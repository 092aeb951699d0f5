"""What `kerwen queue …` asks the server to do, by the words of the command line.

Addresses are shown: whoever reaches these has the key of the queue beside the database.
"""

from __future__ import annotations

from typing import Any

from kerwen.api.admin_socket import Deed
from kerwen.base.clock import Clock, now_ms
from kerwen.mail.actions.queue import Listed, Queue

_PAGE = 200
_SHOWN_MAX = 100  # recipients of a message
_ANSWER_MAX = 160


class QueueDeeds:
    """The commands below `kerwen queue`."""

    def __init__(self, queue: Queue, clock: Clock = now_ms) -> None:
        self._queue = queue
        self._clock = clock

    def deeds(self) -> dict[str, Deed]:
        """Each deed by its words."""
        return {
            "queue list": self.list,
            "queue retry": self.retry,
            "queue drop": self.drop,
            "queue hold": self.hold,
            "queue totals": self.totals,
        }

    async def list(self, after: int = 0) -> dict[str, Any]:
        """`kerwen queue list`: a page of messages, and after which the next page begins."""
        page = await self._queue.listing(after, _PAGE)
        rows = [self._row(one) for one in page]
        return {"messages": rows, "next": page[-1].queue_no if len(page) == _PAGE else None}

    def _row(self, one: Listed) -> dict[str, Any]:
        now = self._clock()
        return {
            "number": one.queue_no,
            "age_s": max(now - one.created_ms, 0) // 1000,
            "size": one.size,
            "sender": one.sender,
            "recipients": [
                {
                    "address": address,
                    "tries": tries,
                    "due_s": None if due_ms == 0 else max(due_ms - now, 0) // 1000,
                    "answer": answer[:_ANSWER_MAX],
                }
                for address, tries, due_ms, answer in one.recipients[:_SHOWN_MAX]
            ],
            "more": max(len(one.recipients) - _SHOWN_MAX, 0),
        }

    async def retry(self, number: int | None = None) -> dict[str, int]:
        """`kerwen queue retry NUMBER|--all`: how many recipients are tried now."""
        return {"recipients": await self._queue.retry(number)}

    async def drop(self, number: int) -> None:
        """`kerwen queue drop NUMBER`: it is gone, and nobody is told."""
        await self._queue.drop(number)

    async def hold(self, number: int) -> dict[str, int]:
        """`kerwen queue hold NUMBER`: it waits until it is retried by its number."""
        return {"recipients": await self._queue.hold(number)}

    async def totals(self) -> dict[str, int | None]:
        """For `kerwen doctor`: how much waits, and since when."""
        count, size, oldest_ms = await self._queue.totals()
        age_s = None if oldest_ms is None else max(self._clock() - oldest_ms, 0) // 1000
        return {"messages": count, "bytes": size, "oldest_s": age_s}
