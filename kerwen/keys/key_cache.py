"""Users' public keys as they stand in answers, ready to be spliced; bounded, kept in memory.

A change told on the feed drops the user's entry, so an entry is never older than the settled
position. A load that a change overtakes is not kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from kerwen.base import limits
from kerwen.keys import cross_signing
from kerwen.keys.cross_signing import CrossSigningKey
from kerwen.keys.device_keys import Signature, device_information, with_signatures

_ENTRY_OVERHEAD = 600  # bytes of an entry's objects


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """A device's keys as kept."""

    device_id: str
    body: bytes
    display_name: str | None


@dataclass(frozen=True, slots=True)
class UserKeys:
    """What anybody may see of a user's keys, as JSON, and the user-signing key for the user.

    `pos` is the newest change of the list when it was read.
    """

    user_id: str
    user_no: int
    pos: int
    name: bytes  # the user id as JSON
    devices: Mapping[str, bytes]
    device_map: bytes  # all devices: {"<device id>": {...}, ...}
    master: bytes | None  # its last field is `signatures`
    master_key: str
    self_signing: bytes | None
    user_signing: bytes | None

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        keys = (self.master, self.self_signing, self.user_signing)
        return _ENTRY_OVERHEAD + 2 * len(self.device_map) + sum(len(key) for key in keys if key)


def render(
    user_id: str,
    user_no: int,
    pos: int,
    devices: Iterable[StoredDevice],
    keys: Mapping[str, CrossSigningKey],
    signatures: Mapping[str, list[Signature]],
) -> UserKeys:
    """A user's answer; `signatures` are those that everybody may see, by device or master key."""
    rendered = {
        device.device_id: device_information(
            device.body, signatures.get(device.device_id, ()), device.display_name
        )
        for device in devices
    }
    master = keys.get(cross_signing.MASTER)
    return UserKeys(
        user_id,
        user_no,
        pos,
        orjson.dumps(user_id),
        MappingProxyType(rendered),
        b"{%b}"
        % b",".join(b"%b:%b" % (orjson.dumps(name), body) for name, body in rendered.items()),
        _master(master, signatures) if master else None,
        master.public_key if master else "",
        _body(keys, cross_signing.SELF_SIGNING),
        _body(keys, cross_signing.USER_SIGNING),
    )


def _master(master: CrossSigningKey, signatures: Mapping[str, list[Signature]]) -> bytes:
    added = signatures.get(master.public_key, [])
    return orjson.dumps(with_signatures(orjson.loads(master.body), added))


def _body(keys: Mapping[str, CrossSigningKey], usage: str) -> bytes | None:
    key = keys.get(usage)
    return key.body if key else None


def add_signature(master: bytes, entry: bytes) -> bytes:
    """A rendered master key with one more signer, `"@user:server":{...}`."""
    comma = b"" if master.endswith(b'"signatures":{}}') else b","
    return b"%b%b%b}}" % (master[:-2], comma, entry)


class KeyCache:
    """The most recently asked users, by bytes. Only users whom we know are kept."""

    def __init__(self, bytes_max: int = limits.KEY_CACHE_BYTES) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[str, UserKeys] = OrderedDict()
        self._names: dict[int, str] = {}
        self._loads: list[set[int]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, user_id: str) -> UserKeys | None:
        """A user's keys, if they are here."""
        found = self._entries.get(user_id)
        if found is not None:
            self._entries.move_to_end(user_id)
        return found

    @contextmanager
    def loading(self) -> Iterator[set[int]]:
        """Stands around a snapshot; yields the numbers of users that changed meanwhile."""
        changed: set[int] = set()
        self._loads.append(changed)
        try:
            yield changed
        finally:
            self._loads = [load for load in self._loads if load is not changed]

    def put(self, keys: UserKeys) -> None:
        """Keeps a user's keys; the longest unasked make room."""
        self.forget(keys.user_no, told=False)
        self._entries[keys.user_id] = keys
        self._names[keys.user_no] = keys.user_id
        self._bytes += keys.size
        while self._bytes > self._bytes_max and self._entries:
            _, old = self._entries.popitem(last=False)
            del self._names[old.user_no]
            self._bytes -= old.size

    def forget(self, user_no: int, told: bool = True) -> None:
        """A user's keys changed."""
        name = self._names.pop(user_no, None)
        if name is not None:
            self._bytes -= self._entries.pop(name).size
        if told:
            for load in self._loads:
                load.add(user_no)
