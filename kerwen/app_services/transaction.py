"""The body of a transaction: what a service is told at once, as bytes that are kept and sent.

Messages to devices, device lists and key counts are not specified yet; the names that are in use
stand beside the stable ones that their proposals ask for.
"""

# AS #pushing-events, MSC2409 / MSC4203 (to-device), MSC3202 (device lists, key counts)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

EVENTS_MAX: Final = 100
BYTES_MAX: Final = 512 * 1024  # about; many services take a body of 1 MiB at most
EPHEMERAL_MAX: Final = 100
TO_DEVICE_MAX: Final = 100
_OF_OLD: Final = "de.sorunome.msc2409."
_CRYPTO: Final = "org.matrix.msc3202."


class Contents(msgspec.Struct):
    """What goes into a transaction. Events are rendered JSON."""

    events: list[bytes] = []
    ephemeral: list[bytes] = []
    to_device: list[bytes] = []
    changed: set[str] = set()  # users whose devices are to be looked at again
    left: set[str] = set()
    counts: dict[str, dict[str, dict[str, int]]] = {}  # user → device → algorithm → keys
    fallbacks: dict[str, dict[str, list[str]]] = {}
    size: int = 0

    @property
    def empty(self) -> bool:
        return not (
            self.events or self.ephemeral or self.to_device or self.changed or self.left
            or self.counts
        )  # fmt: skip

    @property
    def full(self) -> bool:
        """Whether more is to go into the next one."""
        return (
            len(self.events) >= EVENTS_MAX
            or len(self.ephemeral) >= EPHEMERAL_MAX
            or len(self.to_device) >= TO_DEVICE_MAX
            or self.size >= BYTES_MAX
        )

    def add_event(self, event: bytes) -> None:
        """An event of a room."""
        self.events.append(event)
        self.size += len(event)

    def add_to_device(self, event: bytes, user_id: str, device_id: str) -> None:
        """A message to a device of the service; it says to whose."""
        whose = b'"to_user_id":%b,"to_device_id":%b,' % (
            orjson.dumps(user_id),
            orjson.dumps(device_id),
        )
        self.to_device.append(b"{" + whose + event[1:])
        self.size += len(event)


def body_of(contents: Contents, *, ephemeral: bool, encryption: bool) -> bytes:
    """The request's body; what a service did not ask for is left out."""
    parts = [b'"events":[' + b",".join(contents.events) + b"]"]
    if ephemeral and contents.ephemeral:
        parts.append(_member("ephemeral", b"[" + b",".join(contents.ephemeral) + b"]"))
    if encryption:
        if contents.to_device:
            listed = b"[" + b",".join(contents.to_device) + b"]"
            parts += [_member("to_device", listed), _member(_OF_OLD + "to_device", listed)]
        lists = {"changed": sorted(contents.changed), "left": sorted(contents.left)}
        parts.append(_member(_CRYPTO + "device_lists", orjson.dumps(lists)))
        if contents.counts:
            counts = orjson.dumps(contents.counts)
            parts.append(_member(_CRYPTO + "device_one_time_keys_count", counts))
            parts.append(_member(_CRYPTO + "device_one_time_key_counts", counts))
            unused = orjson.dumps(contents.fallbacks)
            parts.append(_member(_CRYPTO + "device_unused_fallback_key_types", unused))
    return b"{" + b",".join(parts) + b"}"


def typing(room_id: str, users: Iterable[str]) -> bytes:
    """An `m.typing` of a room (AS #pushing-ephemeral-data)."""
    return orjson.dumps(
        {"type": "m.typing", "room_id": room_id, "content": {"user_ids": list(users)}}
    )


def receipt(room_id: str, rows: Sequence[tuple[str, str, str, str, int]]) -> bytes:
    """An `m.receipt` of a room; rows are (user, type, thread or '', event, time)."""
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for user_id, kind, thread, event_id, ts in rows:
        told: dict[str, Any] = {"ts": ts}
        if thread:
            told["thread_id"] = thread
        content.setdefault(event_id, {}).setdefault(kind, {})[user_id] = told
    return orjson.dumps({"type": "m.receipt", "room_id": room_id, "content": content})


def _member(name: str, value: bytes) -> bytes:
    return orjson.dumps(name) + b":" + value


def merged(counts: Mapping[str, int]) -> dict[str, int]:
    """Key counts as they are told: the one algorithm that all clients use is always there."""
    return {"signed_curve25519": 0, **counts}
