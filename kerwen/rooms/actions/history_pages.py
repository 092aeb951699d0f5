"""Pages of history that were read lately: those who open one room all read the same ones.

What a page holds never changes but by a redaction, a purge or an event that is filled in before
it; each drops all pages of its room. A page is kept only if nothing was dropped since before its
snapshot was opened.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from kerwen.rooms.store.events import Stored

_BYTES_MAX = 16 * 1024 * 1024  # of all pages together
_PAGE_BYTES_MAX = 512 * 1024
_EVENT_COST = 600  # of an event besides its text


class Asked(NamedTuple):
    """Events of a room with floor < seq < before, newest first, at most `most`."""

    before: int
    most: int
    floor: int


class HistoryPages:
    """A bounded cache; the page that was not asked for longest makes room."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[int, dict[Asked, tuple[list[Stored], int]]] = OrderedDict()
        self.bytes = 0  # about what all pages hold
        self.drops = 0  # how often something changed: taken before a snapshot is opened

    def get(self, room_no: int, asked: Asked) -> list[Stored] | None:
        """The page, if it is here. Not to be changed."""
        pages = self._rooms.get(room_no)
        found = pages.get(asked) if pages is not None else None
        if found is None:
            return None
        self._rooms.move_to_end(room_no)
        return found[0]

    def keep(self, room_no: int, asked: Asked, page: list[Stored], drops: int) -> None:
        """Keeps a page that was read since `drops` was taken."""
        cost = sum(_EVENT_COST + len(e.client) + len(e.unsigned_json or b"") for e in page)
        if drops != self.drops or cost > _PAGE_BYTES_MAX:
            return
        pages = self._rooms.setdefault(room_no, {})
        if asked not in pages:
            pages[asked] = page, cost
            self.bytes += cost
        self._rooms.move_to_end(room_no)
        while self.bytes > _BYTES_MAX:
            self._forget(next(iter(self._rooms)))

    def drop(self, room_no: int) -> None:
        """Something in the room's history changed, or may have."""
        self.drops += 1
        self._forget(room_no)

    def _forget(self, room_no: int) -> None:
        for _, cost in self._rooms.pop(room_no, {}).values():
            self.bytes -= cost
