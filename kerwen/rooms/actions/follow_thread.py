"""Thread subscriptions (MSC4306): a person follows a thread, or ceases to.

A client may do so by itself, when the person is mentioned. It then names the event that made it
do so: what the person knew of when they ended a subscription must not begin it again. The server
orders events by their place in the room; a subscription that was ended keeps the room's newest
place of that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from kerwen.accounts import account_data_store
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import THREADS_FOLLOWED_MAX
from kerwen.rooms.actions.read import Who
from kerwen.rooms.actions.visible import visible_events
from kerwen.rooms.store import events, heads, subscriptions
from kerwen.rooms.store.names import Names
from kerwen.rooms.store.subscriptions import AUTOMATIC, MANUAL, NONE, Changed
from kerwen.storage.database import Database, Snap

_NOT_IN_THREAD = {"errcode": "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD"}
_CONFLICT = {"errcode": "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION"}


class FollowThread:
    """Begins, ends and tells subscriptions."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names

    async def begin(self, who: Who, room_id: str, root: str, cause: str | None) -> None:
        """The person follows a thread. `cause`: the event for which their client begins it by
        itself; None: they want it.

        Says `NOT_FOUND` for a thread that they may not see; INVALID_PARAM for a cause outside the
        thread, CONFLICT for one that the person knew when they ended the subscription, each with
        its errcode of MSC4306; `LIMIT_EXCEEDED` beyond `THREADS_FOLLOWED_MAX`.
        """
        async with self._db.write() as tx:
            await account_data_store.lock(tx, who.user_no)
            room_no = await self._thread(tx, who, room_id, root)
            known = await subscriptions.get(tx, who.user_no, room_no, root)
            state = MANUAL
            if cause is not None:
                seq = await self._in_thread(tx, room_no, root, cause)
                if known is not None and known.state != NONE:
                    return
                if known is not None and seq <= known.ended_seq:
                    text = "The thread was left after that event"
                    raise Refused(Reason.CONFLICT, text, extra=_CONFLICT)
                state = AUTOMATIC
            if known is not None and known.state == state:
                return
            if known is None and await subscriptions.count(tx, who.user_no) >= THREADS_FOLLOWED_MAX:
                raise Refused(Reason.LIMIT_EXCEEDED, "You follow too many threads")
            subscriptions.put(tx, who.user_no, room_no, root, state, 0)

    async def end(self, who: Who, room_id: str, root: str) -> None:
        """The person does not follow a thread any more. Says `NOT_FOUND` as `begin` does."""
        async with self._db.write() as tx:
            await account_data_store.lock(tx, who.user_no)
            room_no = await self._thread(tx, who, room_id, root)
            known = await subscriptions.get(tx, who.user_no, room_no, root)
            if known is None or known.state == NONE:
                return
            head = await heads.get_head(tx, room_no)
            assert head is not None, "a room with a thread has a head"
            subscriptions.put(tx, who.user_no, room_no, root, NONE, head.head)

    async def is_automatic(self, who: Who, room_id: str, root: str) -> bool:
        """Whether a client began it by itself. Says `NOT_FOUND` where nothing is followed."""
        async with self._db.read() as snap:
            room_no = await self._thread(snap, who, room_id, root)
            known = await subscriptions.get(snap, who.user_no, room_no, root)
        if known is None or known.state == NONE:
            raise Refused(Reason.NOT_FOUND, "You do not follow this thread")
        return known.state == AUTOMATIC

    async def page(
        self, user_no: int, since: int, upto: int, limit: int
    ) -> tuple[list[Changed], bool]:
        """(changes after `since` and up to `upto`, newest first; whether there are older ones)."""
        async with self._db.read() as snap:
            found = await subscriptions.changed(
                snap, user_no, since, upto, limit + 1, ended=since > 0
            )
        return found[:limit], len(found) > limit

    async def _thread(self, snap: Snap, who: Who, room_id: str, root: str) -> int:
        """The room of a thread that somebody may see."""
        room_no = await self._names.room(snap, room_id)
        event = await events.event_by_id(snap, root) if room_no is not None else None
        if room_no is not None and event is not None and event.room_no == room_no:
            sight = await visible_events(snap, room_no, who.user_id)
            if event.seq is not None and event.thread is None and sight.sees(event.seq):
                return room_no
        raise Refused(Reason.NOT_FOUND, "There is no such thread, or you may not see it")

    async def _in_thread(self, snap: Snap, room_no: int, root: str, cause: str) -> int:
        """The place of an event in a thread."""
        event = await events.event_by_id(snap, cause)
        if event is None or event.room_no != room_no or event.thread != root or event.seq is None:
            text = "The event is not in the thread"
            raise Refused(Reason.INVALID_PARAM, text, extra=_NOT_IN_THREAD)
        return event.seq


def told(changes: Sequence[Changed]) -> dict[str, Any]:
    """`subscribed` and `unsubscribed` of MSC4308, by room and thread."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for change in changes:
        said: dict[str, Any] = {"bump_stamp": change.pos}
        if change.state != NONE:
            said["automatic"] = change.state == AUTOMATIC
        section = "unsubscribed" if change.state == NONE else "subscribed"
        found.setdefault(section, {}).setdefault(change.room_id, {})[change.root] = said
    return found


def extension(changes: Sequence[Changed], limit: int) -> bytes:
    """The extension of sliding sync (MSC4308). `changes`: newest first, one more than `limit` if
    there are more; those are asked for from `prev_batch` backwards."""
    body = told(changes[:limit])
    if len(changes) > limit:
        body["prev_batch"] = batch(changes[limit - 1])
    return b'"io.element.msc4308.thread_subscriptions":' + orjson.dumps(body)


def batch(oldest: Changed) -> str:
    """The token from which on older changes are asked for."""
    return f"s{oldest.pos - 1}"
