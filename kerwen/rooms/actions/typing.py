"""Who is typing: in memory only, with a count of its own, never on the feed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from time import monotonic

from kerwen.storage.wake import WakeIndex

_TIMEOUT_MAX_MS = 120_000
_ROOMS_MAX = 20_000


class Typing:
    """`origin` names this boot: a count of another boot says nothing here."""

    def __init__(self, wake: WakeIndex) -> None:
        self._wake = wake
        self._rooms: dict[int, dict[str, asyncio.TimerHandle]] = {}
        self._changed: dict[int, int] = {}  # room → count of its newest change
        self.count = 1
        self.listeners: list[Callable[[int], None]] = []  # told a room where that changed
        self.origin = secrets.randbelow(0xFFFF) + 1
        # so long may somebody cease who began in the process before
        self._young_until = monotonic() + _TIMEOUT_MAX_MS / 1000

    def set(self, room_no: int, user_id: str, typing: bool, timeout_ms: int = 30_000) -> None:
        """Somebody types, or does not any more (CS #typing-notifications)."""
        people = self._rooms.get(room_no)
        known = people.pop(user_id, None) if people else None
        if known is not None:
            known.cancel()
        if typing and len(self._rooms) < _ROOMS_MAX:
            loop = asyncio.get_running_loop()
            delay = min(max(timeout_ms, 0), _TIMEOUT_MAX_MS) / 1000
            handle = loop.call_later(delay, self.set, room_no, user_id, False)
            self._rooms.setdefault(room_no, {})[user_id] = handle
        elif people is not None and not people:
            del self._rooms[room_no]
        if (known is None) == typing:  # began or ceased; a renewal tells nobody
            self._tell(room_no)
        elif not typing and room_no not in self._changed and monotonic() < self._young_until:
            self._tell(room_no)  # perhaps they began in the process before

    def _tell(self, room_no: int) -> None:
        self.count += 1
        self._changed.pop(room_no, None)
        self._changed[room_no] = self.count
        if len(self._changed) > _ROOMS_MAX:
            self._changed.pop(next(iter(self._changed)))
        self._wake.soft(room_no)
        for listener in self.listeners:
            listener(room_no)

    def stop(self) -> None:
        """The server stops: nobody types any more, and those who wait are told so now, for the
        next process will not know."""
        rooms, self._rooms = self._rooms, {}
        for room_no, people in rooms.items():
            for timer in people.values():
                timer.cancel()
            self._tell(room_no)

    def users(self, room_no: int) -> list[str]:
        """Who types in a room."""
        return list(self._rooms.get(room_no, ()))

    def changed_since(self, origin: int, count: int, rooms: Collection[int]) -> list[int]:
        """Rooms among `rooms` whose typing changed; for another boot, all that ever did here."""
        if origin != self.origin:
            return [room_no for room_no in rooms if room_no in self._changed]
        found = []
        for room_no, at in reversed(self._changed.items()):
            if at <= count:
                break
            if room_no in rooms:
                found.append(room_no)
        return found
