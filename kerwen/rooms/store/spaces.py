"""What a space holds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import orjson

from kerwen.rooms.store.events import orjson_content
from kerwen.storage.database import Snap
from kerwen.storage.sql import sql

CHILDREN_MAX = 1_000  # of one space

_CHILDREN = sql(
    "select s.state_key, e.sender, e.ts, e.client from room_state s"
    " join events e on e.event_no = s.event_no where s.room_no = :room_no"
    " and s.type = 'm.space.child' and s.to_seq is null limit :most"
)
_NOS = sql("select room_id, room_no from rooms where room_id {in_texts:ids}")


class Child(msgspec.Struct, gc=False):
    """An `m.space.child` event; `room_id` is its state key."""

    room_id: str
    sender: str
    ts: int
    content: dict[str, object]

    @property
    def order(self) -> tuple[bool, str, int, str]:
        """CS #ordering-of-children-within-a-space"""
        order = self.content.get("order")
        valid = isinstance(order, str) and len(order) <= 50 and order.isascii()
        if not isinstance(order, str) or not valid or not order.isprintable():
            return (True, "", self.ts, self.room_id)
        return (False, order, self.ts, self.room_id)

    def shown(self) -> dict[str, object]:
        """As stripped state with its time."""
        return {
            "type": "m.space.child",
            "state_key": self.room_id,
            "content": self.content,
            "sender": self.sender,
            "origin_server_ts": self.ts,
        }


async def children(snap: Snap, room_no: int, suggested_only: bool) -> list[Child]:
    """The children of a space in their order; those without `via` are none."""
    found = []
    for room_id, sender, ts, client in await snap.all(
        _CHILDREN, room_no=room_no, most=CHILDREN_MAX
    ):
        content = orjson.loads(orjson_content(client))
        via = content.get("via")
        if not isinstance(via, list) or not via or not all(isinstance(v, str) for v in via):
            continue
        if suggested_only and content.get("suggested") is not True:
            continue
        found.append(Child(room_id, sender, ts, content))
    found.sort(key=lambda child: child.order)
    return found


async def room_nos(snap: Snap, room_ids: Iterable[str]) -> dict[str, int]:
    """Numbers by room id; rooms that this server does not know are left out."""
    return dict(await snap.all(_NOS, ids=list(room_ids)))
