"""Receipts and read markers: how far somebody has read (CS #receipts, #fully-read-markers)."""

from __future__ import annotations

import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store import events, heads, marks, members, receipts
from kerwen.rooms.store.names import Names
from kerwen.storage.database import Database, Kind, Tx

READ = "m.read"
PRIVATE = "m.read.private"
FULLY = "m.fully_read"


class MarkRead:
    """Writes receipts. A receipt never goes back in the timeline."""

    def __init__(self, db: Database, names: Names, clock: Clock) -> None:
        self._db = db
        self._names = names
        self._clock = clock

    async def __call__(
        self,
        user_no: int,
        room_id: str,
        asked: dict[str, str],
        thread: str | None = None,
    ) -> None:
        """`asked`: receipt type (`m.read`, `m.read.private`, `m.fully_read`) → event id."""
        for receipt_type in asked:
            if receipt_type not in (READ, PRIVATE, FULLY):
                raise Refused(Reason.INVALID_PARAM, "There is no such receipt type")
        if FULLY in asked and thread is not None:
            raise Refused(Reason.INVALID_PARAM, "A read marker is for the whole room")
        async with self._db.write() as tx:
            room_no = await self._names.room(tx, room_id)
            member = await members.member(tx, room_no, user_no) if room_no is not None else None
            if room_no is None or member is None or member.membership != "join":
                raise Refused(Reason.FORBIDDEN, "You are not in this room")
            told = False
            for receipt_type, event_id in asked.items():
                if receipt_type == FULLY:
                    await self._fully_read(tx, user_no, room_no, event_id)
                else:
                    told |= await self._receipt(
                        tx, user_no, room_no, receipt_type, event_id, thread
                    )
            if told:
                tx.change(Kind.RECEIPT, room_no, user_no)
                heads.touch_room(tx, room_no)

    async def _receipt(
        self,
        tx: Tx,
        user_no: int,
        room_no: int,
        receipt_type: str,
        event_id: str,
        thread: str | None,
    ) -> bool:
        where = await events.where(tx, event_id)
        if where is None or where[0] != room_no or where[1] is None:
            return False  # an event we do not have: nothing to mark, and no error
        _, seq, loud = where
        place = "" if thread is None else thread
        if thread is not None:
            await self._check_thread(tx, event_id, thread)
        before = await receipts.receipt_seq(tx, room_no, user_no, receipt_type, place)
        if before is not None and before >= seq:
            return False
        receipts.set_receipt(
            tx,
            room_no=room_no,
            user_no=user_no,
            receipt_type=receipt_type,
            thread=place,
            event_id=event_id,
            seq=seq,
            ts=self._clock(),
        )
        if place in ("", "main"):
            members.mark_read(tx, room_no, user_no, seq, loud)
        cleared = {"": "*", "main": ""}.get(place, place)
        marks.clear_marks(tx, room_no, user_no, seq, cleared)
        return True

    async def _check_thread(self, tx: Tx, event_id: str, thread: str) -> None:
        """Refuses (`INVALID_PARAM`) a receipt in a thread to which the event does not belong."""
        found = await events.parent(tx, event_id)
        assert found is not None
        if thread == "main":
            fits = found.thread is None or found.redacted_by is not None
        else:  # a thread's root, and what relates to it, may be read there too
            fits = thread in (found.thread, event_id, found.relates_to)
        if not fits:
            raise Refused(Reason.INVALID_PARAM, "The event is not in that thread")

    async def _fully_read(self, tx: Tx, user_no: int, room_no: int, event_id: str) -> None:
        await account_data.lock(tx, user_no)
        content = orjson.dumps({"event_id": event_id})
        account_data.set_room(tx, user_no, room_no, FULLY, content)
