"""What writers know of a room: its head and the state entries that they looked at lately.

A view is the writer's own and may run ahead of the disk by the transactions that share the
coming commit. It decides nothing alone: a writer compares it with the locked row, and whoever
fails drops it. Readers take nothing from here but what never changes.
"""

from __future__ import annotations

from collections import OrderedDict

from kerwen.rooms.event import Event, StateKey
from kerwen.rooms.store import heads, state
from kerwen.rooms.store.events import pdu
from kerwen.rooms.store.heads import Head
from kerwen.rooms.versions import RoomVersion, room_version
from kerwen.storage.database import Snap, Tx

_ENTRIES_MAX = 256  # state entries kept for one room
_ROOMS_MAX = 4_000
_ROOM_BYTES_MAX = 4 * 1024 * 1024
_BYTES_MAX = 64 * 1024 * 1024  # of all rooms together
_ENTRY_COST = 1_000  # of an entry besides its event's text


class Entry:
    """A state entry with its event, or the knowledge that there is none."""

    __slots__ = ("bytes", "event", "event_no")

    def __init__(self, event_no: int, event: Event | None) -> None:
        self.event_no = event_no
        self.event = event
        # the content stands in it as text, parsed, and in the whole event
        self.bytes = _ENTRY_COST + (len(event.raw) + 2 * len(event.content_json) if event else 0)


_NONE = Entry(0, None)


class _Tally:
    """About how many bytes all views hold together."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class RoomView:
    """One room as its writer sees it."""

    __slots__ = ("_entries", "bytes", "head", "own_rules", "tally", "version")

    def __init__(self, head: Head) -> None:
        self.bytes = 0  # about what the entries hold
        self.tally = _Tally()
        self.head = head
        self.version: RoomVersion = room_version(head.version)
        self.own_rules: tuple[int, list[int]] | None = None  # (epoch, members with own rules)
        self._entries: OrderedDict[StateKey, Entry] = OrderedDict()

    async def entry(self, snap: Snap, key: StateKey) -> Entry:
        """The current state entry of a key."""
        found = self._entries.get(key)
        if found is not None:
            return found
        row = await state.current_entry(snap, self.head.room_no, key[0], key[1])
        found = Entry(row[0], await pdu(snap, row[0], self.version)) if row else _NONE
        self._keep(key, found)
        return found

    async def state_event(self, snap: Snap, event_type: str, state_key: str = "") -> Event | None:
        """An event of the current state."""
        return (await self.entry(snap, (event_type, state_key))).event

    def put(self, key: StateKey, event_no: int, event: Event) -> None:
        """The writer made an event the current one."""
        self._keep(key, Entry(event_no, event))

    def _keep(self, key: StateKey, entry: Entry) -> None:
        old = self._entries.get(key)
        self._entries[key] = entry
        self._entries.move_to_end(key)
        self._count(entry.bytes - (old.bytes if old is not None else 0))

    def trim(self) -> None:
        """Forgets what is too much. Never within a transaction: rows of the events that it
        makes are written at its end, so until then they are found here only.
        """
        while len(self._entries) > _ENTRIES_MAX or self.bytes > _ROOM_BYTES_MAX:
            self._count(-self._entries.popitem(last=False)[1].bytes)

    def _count(self, more: int) -> None:
        self.bytes += more
        self.tally.bytes += more


class RoomViews:
    """The views of the rooms that were written to lately."""

    def __init__(self) -> None:
        self._views: OrderedDict[int, RoomView] = OrderedDict()
        self.tally = _Tally()

    async def lock(self, tx: Tx, room_no: int) -> RoomView | None:
        """Locks a room and gives its view, read anew if somebody else wrote meanwhile."""
        head = await heads.lock_head(tx, room_no)
        if head is None:
            return None
        view = self._views.get(room_no)
        if view is not None and view.head == head:
            self._views.move_to_end(room_no)
            view.trim()
            self._make_space()
        else:
            view = RoomView(head)
            self.put(view)
        return view

    def put(self, view: RoomView) -> None:
        """A new room's view."""
        self.drop(view.head.room_no)
        self._views[view.head.room_no] = view
        view.tally = self.tally
        self.tally.bytes += view.bytes
        self._make_space()

    def _make_space(self) -> None:
        """Forgets the rooms that nobody wrote to for longest."""
        while len(self._views) > _ROOMS_MAX or (
            self.tally.bytes > _BYTES_MAX and len(self._views) > 1
        ):
            self.drop(next(iter(self._views)))

    def drop(self, room_no: int) -> None:
        """A transaction failed: what it left in the view is not so."""
        view = self._views.pop(room_no, None)
        if view is not None:
            self.tally.bytes -= view.bytes
            view.tally = _Tally()
