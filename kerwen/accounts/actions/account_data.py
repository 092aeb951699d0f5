"""A person's account data and room tags: what their clients keep here for each other."""

# CS #client-config, CS #room-tagging

from __future__ import annotations

from typing import Any, Final

import orjson

from kerwen.accounts import account_data_store as store
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.rooms.store.users import room_no as find_room
from kerwen.storage.database import Database, Snap

TAG: Final = "m.tag"
SERVERS_OWN: Final = frozenset({"m.fully_read", store.PUSH_RULES})
TYPE_MAX: Final = 255
TYPES_MAX: Final = 5_000  # of one account, and again in each room
TAG_MAX: Final = 255
TAGS_MAX: Final = 200  # of one room


class AccountData:
    """Reads and writes account data."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, account_no: int, type: str) -> bytes:
        """The content of a type, JSON as it was set. Says `NOT_FOUND`."""
        async with self._db.read() as snap:
            if type == store.PUSH_RULES:
                return await store.push_rules_content(snap, account_no)
            found = await store.get_global(snap, account_no, type)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "Account data not found")
        return found

    async def put(self, account_no: int, type: str, content: bytes) -> None:
        """Sets a type. `content` is a JSON object; says what is wrong with it."""
        _check(type, content)
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            old = await store.get_global(tx, account_no, type)
            if old == content:
                return  # nothing to tell
            if old is None and await store.count_global(tx, account_no) >= TYPES_MAX:
                raise Refused(Reason.OVER_QUOTA, "There is too much account data")
            store.set_global(tx, account_no, type, content)

    async def get_room(self, account_no: int, room_id: str, type: str) -> bytes:
        """The content of a type in a room. Says `NOT_FOUND`, `INVALID_PARAM`."""
        async with self._db.read() as snap:
            room_no = await _room(snap, room_id)
            found = (
                None if room_no is None else await store.get_room(snap, account_no, room_no, type)
            )
        if found is None:
            raise Refused(Reason.NOT_FOUND, "Room account data not found")
        return found

    async def put_room(self, account_no: int, room_id: str, type: str, content: bytes) -> None:
        """Sets a type in a room. Says `UNKNOWN_ROOM` for a room this server has never met."""
        _check(type, content)
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            room_no = await _known_room(tx, room_id)
            old = await store.get_room(tx, account_no, room_no, type)
            if old == content:
                return
            if old is None and await store.count_room(tx, account_no, room_no) >= TYPES_MAX:
                raise Refused(Reason.OVER_QUOTA, "There is too much account data")
            store.set_room(tx, account_no, room_no, type, content)

    async def tags(self, account_no: int, room_id: str) -> dict[str, Any]:
        """The tags of a room; none for a room that is not known."""
        async with self._db.read() as snap:
            room_no = await _room(snap, room_id)
            return {} if room_no is None else await _tags(snap, account_no, room_no)

    async def put_tag(self, account_no: int, room_id: str, tag: str, body: dict[str, Any]) -> None:
        """Adds a tag to a room or changes it."""
        if not tag or len(tag.encode(errors="replace")) > TAG_MAX:
            raise Refused(Reason.INVALID_PARAM, f"A tag has 1 to {TAG_MAX} bytes")
        order = body.get("order")
        if order is not None and (isinstance(order, bool) or not isinstance(order, int | float)):
            raise Refused(Reason.BAD_JSON, "order must be a number")
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            room_no = await _known_room(tx, room_id)
            tags = await _tags(tx, account_no, room_no)
            if tag not in tags and len(tags) >= TAGS_MAX:
                raise Refused(Reason.OVER_QUOTA, f"A room may have {TAGS_MAX} tags")
            if tags.get(tag) == body:
                return
            content = _json({"tags": {**tags, tag: body}})
            _check(TAG, content)
            store.set_room(tx, account_no, room_no, TAG, content)

    async def delete_tag(self, account_no: int, room_id: str, tag: str) -> None:
        """Takes a tag from a room; one that is not there is gone already."""
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            room_no = await _room(tx, room_id)
            tags = {} if room_no is None else await _tags(tx, account_no, room_no)
            if room_no is None or tag not in tags:
                return
            del tags[tag]
            store.set_room(tx, account_no, room_no, TAG, _json({"tags": tags}))


def _check(type: str, content: bytes) -> None:
    if type in SERVERS_OWN:
        raise Refused(Reason.MANAGED_BY_SERVER, f"{type} is set by the server")
    if not type or len(type.encode(errors="replace")) > TYPE_MAX:
        raise Refused(Reason.INVALID_PARAM, f"A type has 1 to {TYPE_MAX} bytes")
    if len(content) > limits.ACCOUNT_DATA_MAX:
        raise Refused(
            Reason.TOO_LARGE, f"Account data may have {limits.ACCOUNT_DATA_MAX} bytes a type"
        )


async def _room(snap: Snap, room_id: str) -> int | None:
    if not room_id.startswith("!"):
        raise Refused(Reason.INVALID_PARAM, "That is not a room id")
    return await find_room(snap, room_id)


async def _known_room(snap: Snap, room_id: str) -> int:
    found = await _room(snap, room_id)
    if found is None:
        raise Refused(Reason.UNKNOWN_ROOM, "There is no such room here")
    return found


async def _tags(snap: Snap, account_no: int, room_no: int) -> dict[str, Any]:
    """Tags as stored; content that a client wrote past the tag endpoints may be anything."""
    stored = await store.get_room(snap, account_no, room_no, TAG)
    found = orjson.loads(stored).get("tags") if stored is not None else None
    return found if isinstance(found, dict) else {}


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        raise Refused(Reason.BAD_JSON, "That is not JSON") from None
