"""Aggregations: what relates to an event, told with it (CS #aggregations-of-child-events).

A page of events costs one question, and that only in rooms where anything relates to anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import orjson

from kerwen.accounts import account_data_store as account_data
from kerwen.rooms.actions.render import render, render_all
from kerwen.rooms.store import relations
from kerwen.rooms.store.events import Stored, events_by_no
from kerwen.rooms.store.relations import Child
from kerwen.rooms.visibility import Sight
from kerwen.storage.database import Snap

_BUNDLED = ("m.replace", "m.thread", "m.reference")
_REFERENCES_MAX = 1_000
_EDITS_TRIED = 10  # newest edits that are looked at for a valid one


class Viewer(msgspec.Struct, frozen=True, gc=False):
    """Who is shown events, and how. `room_id`: stands in each event if it is given."""

    user_id: str
    device_no: int
    ignored: frozenset[str]
    sight: Sight
    now_ms: int
    room_id: str | None = None


_NOBODY: frozenset[str] = frozenset()


class _Ignored(msgspec.Struct):
    ignored_users: dict[str, msgspec.Raw] = {}


async def ignored_users(snap: Snap, user_no: int) -> frozenset[str]:
    """Whom an account does not want to hear (CS #ignoring-users)."""
    stored = await account_data.get_global(snap, user_no, "m.ignored_user_list")
    if stored is None:
        return _NOBODY
    try:
        return frozenset(msgspec.json.decode(stored, type=_Ignored).ignored_users) or _NOBODY
    except msgspec.ValidationError:
        return _NOBODY


async def render_bundled(
    snap: Snap, room_no: int, found: Sequence[Stored], viewer: Viewer
) -> list[bytes]:
    """Events with their aggregations."""
    bundles = await bundled(snap, room_no, found, viewer)
    return await render_all(snap, found, viewer.now_ms, viewer.device_no, viewer.room_id, bundles)


async def bundled(
    snap: Snap, room_no: int, found: Sequence[Stored], viewer: Viewer, *, nested: bool = False
) -> Mapping[str, bytes]:
    """Event id → `m.relations`, for those events to which anything relates."""
    ids = [e.event_id for e in found if e.state_key is None]
    if not ids or not await relations.any_relations(snap, room_no):
        return {}
    wanted = ("m.replace", "m.reference") if nested else _BUNDLED
    by_parent: dict[str, dict[str, list[Child]]] = {}
    for child in await relations.children(snap, room_no, ids, wanted):
        if child.sender not in viewer.ignored and viewer.sight.sees(child.seq):
            kinds = by_parent.setdefault(child.relates_to, {})
            kinds.setdefault(child.rel_type, []).append(child)
    if not by_parent:
        return {}
    edits = await _edits(snap, found, by_parent, viewer)
    latest = await _latest(snap, room_no, by_parent, viewer)
    bundles = {}
    for event in found:
        parts = _parts(event, by_parent.get(event.event_id, {}), edits, latest, viewer)
        if parts:
            bundles[event.event_id] = b"{" + b",".join(parts) + b"}"
    return bundles


def _parts(
    event: Stored,
    kinds: Mapping[str, Sequence[Child]],
    edits: Mapping[str, bytes],
    latest: Mapping[int, bytes],
    viewer: Viewer,
) -> list[bytes]:
    parts = []
    if event.event_id in edits:
        parts.append(b'"m.replace":' + edits[event.event_id])
    replies = kinds.get("m.thread")
    if replies:
        took_part = event.sender == viewer.user_id or any(
            reply.sender == viewer.user_id for reply in replies
        )
        parts.append(
            b'"m.thread":{"latest_event":%b,"count":%d,"current_user_participated":%b}'
            % (latest[replies[0].event_no], len(replies), b"true" if took_part else b"false")
        )
    references = kinds.get("m.reference")
    if references:
        chunk = [{"event_id": c.event_id} for c in reversed(references[:_REFERENCES_MAX])]
        parts.append(b'"m.reference":' + orjson.dumps({"chunk": chunk}))
    return parts


async def _edits(
    snap: Snap,
    found: Iterable[Stored],
    by_parent: Mapping[str, Mapping[str, Sequence[Child]]],
    viewer: Viewer,
) -> dict[str, bytes]:
    """Event id → its newest valid edit, rendered (CS #validity-of-replacement-events)."""
    tried: dict[str, list[Child]] = {}
    for event in found:
        if event.redacted_by is not None or b'"m.replace"' in event.client:
            continue
        fitting = [
            child
            for child in by_parent.get(event.event_id, {}).get("m.replace", ())
            if child.sender == event.sender and child.type == event.type
        ]
        fitting.sort(key=lambda child: (child.ts, child.event_id), reverse=True)
        if fitting:
            tried[event.event_id] = fitting[:_EDITS_TRIED]
    if not tried:
        return {}
    stored = await events_by_no(snap, [c.event_no for edits in tried.values() for c in edits])
    rendered = {}
    for event_id, edits in tried.items():
        for child in edits:
            edit = stored[child.event_no]
            if edit.type == "m.room.encrypted" or _has_new_content(edit):
                rendered[event_id] = render(edit, viewer.now_ms, viewer.device_no, viewer.room_id)
                break
    return rendered


def _has_new_content(edit: Stored) -> bool:
    content = orjson.loads(edit.client + b"}")["content"]
    return isinstance(content.get("m.new_content"), dict)


async def _latest(
    snap: Snap,
    room_no: int,
    by_parent: Mapping[str, Mapping[str, Sequence[Child]]],
    viewer: Viewer,
) -> dict[int, bytes]:
    """Event number → the newest reply of a thread, rendered with its own aggregations."""
    nos = [kinds["m.thread"][0].event_no for kinds in by_parent.values() if "m.thread" in kinds]
    if not nos:
        return {}
    replies = list((await events_by_no(snap, nos)).values())
    bundles = await bundled(snap, room_no, replies, viewer, nested=True)
    shown = await render_all(
        snap, replies, viewer.now_ms, viewer.device_no, viewer.room_id, bundles
    )
    return {reply.event_no: text for reply, text in zip(replies, shown, strict=True)}
