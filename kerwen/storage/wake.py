"""Who is waiting for what: the rooms, devices and accounts of connected people.

Only the connected are known here; a message in a room of 10,000 costs what its waiting members
cost. A `Watch` also remembers what changed for its account since it began, so that a poll for
which nothing changed touches no database, and one that was woken reads only what changed.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kerwen.storage.database import Change, Kind

LINGER_MS = 60_000  # how long a watch stays after its last poll
_ROOMS_NOTED_MAX = 2_000  # changed rooms that a watch remembers


class Watch:
    """One connected account. `base`: nothing before it is known; `last`: newest change."""

    __slots__ = (
        "account_data",
        "account_no",
        "base",
        "changed",
        "device_lists",
        "devices",
        "expires_ms",
        "ignored",
        "last",
        "memberships",
        "parked",
        "pending",
        "places",
        "receipts",
        "rooms",
        "threads",
        "waiters",
    )

    def __init__(self, account_no: int) -> None:
        self.account_no = account_no
        self.base = 0
        self.last = 0
        self.account_data = 0
        self.device_lists = 0
        self.memberships = 0
        self.threads = 0  # which threads it follows
        self.rooms = array("q")  # in no order; eight bytes each, for there are many watches
        self.changed: dict[int, int] = {}  # room → position of its newest event, in order
        self.receipts: dict[int, int] = {}  # the same for receipts
        self.devices: dict[int, int] = {}  # device → position of its newest to-device message
        # device → position of the oldest message sent and not acknowledged; None: none is
        self.pending: dict[int, int | None] = {}
        self.ignored: frozenset[str] = frozenset()
        # room → what the reader keeps of the account's place in it; gone when that changes
        self.places: dict[int, Any] = {}
        self.waiters: list[asyncio.Future[None]] = []
        self.parked = 0
        self.expires_ms = 0

    def note(self, noted: dict[int, int], room_no: int, pos: int) -> None:
        """A room changed: `noted` is kept in the order of positions."""
        noted.pop(room_no, None)
        noted[room_no] = self.last = pos
        if len(noted) > _ROOMS_NOTED_MAX:
            oldest = next(iter(noted))
            self.base = max(self.base, noted.pop(oldest))

    def rooms_since(self, since: int) -> dict[int, int]:
        """Rooms with events or receipts after a position (not below `base`)."""
        found: dict[int, int] = {}
        for noted in (self.changed, self.receipts):
            for room_no, pos in reversed(noted.items()):
                if pos <= since:
                    break
                found[room_no] = pos
        return found

    def wake(self) -> None:
        if self.waiters:
            waiters, self.waiters = self.waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


class WakeIndex:
    """A follower of the feed that wakes those whom a change concerns."""

    def __init__(self, on_device_list: Callable[[int, int], None] | None = None) -> None:
        self._watches: dict[int, Watch] = {}
        # dicts, not sets: half the memory
        self._by_room: dict[int, dict[Watch, None]] = {}
        self._by_device: dict[int, Watch] = {}
        self._on_device_list = on_device_list

    def __len__(self) -> int:
        return len(self._watches)

    def get(self, account_no: int) -> Watch | None:
        """The watch of an account, if it is connected."""
        return self._watches.get(account_no)

    def open(self, account_no: int, rooms: Iterable[int], settled: int) -> Watch:
        """Starts to watch an account. Its rooms are set again once they were read after this."""
        watch = self._watches.get(account_no)
        if watch is None:
            watch = self._watches[account_no] = Watch(account_no)
            watch.base = watch.last = settled
        self.set_rooms(watch, rooms)
        return watch

    def set_rooms(self, watch: Watch, rooms: Iterable[int]) -> None:
        """The rooms an account is in, as read from the database."""
        now, before = set(rooms), set(watch.rooms)
        for room_no in before - now:
            self._leave(watch, room_no)
        for room_no in now - before:
            self._by_room.setdefault(room_no, {})[watch] = None
        watch.rooms = array("q", now)

    def add_device(self, watch: Watch, device_no: int) -> None:
        """A device of the account polls."""
        if device_no not in watch.devices:
            watch.devices[device_no] = watch.last
            self._by_device[device_no] = watch

    def _leave(self, watch: Watch, room_no: int) -> None:
        watchers = self._by_room.get(room_no)
        if watchers is not None:
            watchers.pop(watch, None)
            if not watchers:
                del self._by_room[room_no]

    def close(self, watch: Watch) -> None:
        """Forgets a watch."""
        for room_no in watch.rooms:
            self._leave(watch, room_no)
        for device_no in watch.devices:
            self._by_device.pop(device_no, None)
        self._watches.pop(watch.account_no, None)
        watch.wake()

    def sweep(self, now_ms: int) -> None:
        """Closes watches that nobody polled for a while; called by a timer."""
        for watch in [w for w in self._watches.values() if not w.parked]:
            if watch.expires_ms < now_ms:
                self.close(watch)

    def wake_all(self) -> None:
        """Everybody is woken: the server stops."""
        for watch in self._watches.values():
            watch.wake()

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Told by the feed, strictly in order."""
        for kind, subject, ref in changes:
            if kind == Kind.EVENT:
                for watch in self._by_room.get(subject, ()):
                    watch.note(watch.changed, subject, pos)
                    watch.wake()
            elif kind == Kind.RECEIPT:
                reader = self._watches.get(ref)
                if reader is not None:
                    reader.places.pop(subject, None)
                for watch in self._by_room.get(subject, ()):
                    watch.note(watch.receipts, subject, pos)
                    watch.wake()
            elif kind == Kind.MEMBERSHIP:
                self._membership(pos, subject, ref)
            elif kind == Kind.TO_DEVICE:
                device = self._by_device.get(subject)
                if device is not None:
                    device.devices[subject] = device.last = pos
                    device.wake()
            elif kind in (Kind.ACCOUNT_DATA, Kind.ACCOUNT):
                account = self._watches.get(subject)
                if account is not None:
                    account.account_data = account.last = pos
                    account.wake()
            elif kind == Kind.THREAD:
                account = self._watches.get(subject)
                if account is not None:
                    account.threads = account.last = pos
                    account.wake()
            elif kind == Kind.DEVICE_LIST:
                self._device_list(pos, subject)
            elif kind == Kind.PURGE:
                for watch in self._by_room.get(subject, ()):
                    watch.places.pop(subject, None)
            elif kind == Kind.JUMP:
                for watch in list(self._watches.values()):
                    self.close(watch)

    def _membership(self, pos: int, room_no: int, account_no: int) -> None:
        watch = self._watches.get(account_no)
        if watch is not None:
            # a join or a leave alike: the sync that wakes reads the rooms anew
            watch.memberships = watch.last = pos
            if room_no not in watch.rooms:
                watch.rooms.append(room_no)
            self._by_room.setdefault(room_no, {})[watch] = None
            watch.wake()
        for other in self._by_room.get(room_no, ()):
            other.device_lists = pos  # who shares a room may have changed
            other.places.pop(room_no, None)
            other.note(other.changed, room_no, pos)
            other.wake()

    def _device_list(self, pos: int, account_no: int) -> None:
        watch = self._watches.get(account_no)
        if watch is not None:
            self.wake_sharing(pos, [account_no], watch.rooms)
        elif self._on_device_list is not None:
            self._on_device_list(pos, account_no)

    def wake_sharing(self, pos: int, accounts: Iterable[int], rooms: Iterable[int]) -> None:
        """Somebody's devices changed: those who share a room with them are woken."""
        woken: set[Watch] = {w for a in accounts if (w := self._watches.get(a)) is not None}
        for room_no in rooms:
            woken.update(self._by_room.get(room_no, ()))
        for watch in woken:
            watch.device_lists = max(watch.device_lists, pos)
            watch.last = max(watch.last, pos)
            watch.wake()

    def soft(self, room_no: int) -> None:
        """Somebody began or ceased to type."""
        for watch in self._by_room.get(room_no, ()):
            watch.wake()
