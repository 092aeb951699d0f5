"""Finds the public keys of users."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import orjson

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.keys.actions.federation import Federation, RemoteKeys, server_of
from kerwen.keys.device_keys import Signature
from kerwen.keys.key_cache import KeyCache, UserKeys, add_signature, render
from kerwen.keys.store import cross_signing, device_keys
from kerwen.keys.store.cross_signing import OwnSignatures
from kerwen.storage.database import Change, Database, Kind, Snap

_SIGNERS_MAX = 10_000
_FAILURE = b'{"errcode":"M_UNKNOWN","error":"The server cannot be reached"}'
_ANSWER = (
    b'{"device_keys":{%b},"master_keys":{%b},"self_signing_keys":{%b},'
    b'"user_signing_keys":{%b},"failures":{%b}}'
)


class _Answer:
    """The members of an answer's objects, each `"name":value`."""

    __slots__ = ("devices", "failures", "masters", "self_signing", "user_signing")

    def __init__(self) -> None:
        self.devices: list[bytes] = []
        self.masters: list[bytes] = []
        self.self_signing: list[bytes] = []
        self.user_signing: list[bytes] = []
        self.failures: list[bytes] = []

    def json(self) -> bytes:
        return _ANSWER % (
            b",".join(self.devices),
            b",".join(self.masters),
            b",".join(self.self_signing),
            b",".join(self.user_signing),
            b",".join(self.failures),
        )


class Query:
    """CS #post_matrixclientv3keysquery. `follow` must be told of changes by the feed.

    With several workers on one database (`shared`), an entry in memory is checked against the
    position of its newest change: a client may come from a worker that is ahead of us.
    """

    def __init__(
        self,
        db: Database,
        cache: KeyCache,
        server_name: str,
        federation: Federation,
        shared: bool = False,
    ) -> None:
        self._db = db
        self._cache = cache
        self._server_name = server_name
        self._federation = federation
        self._shared = shared
        self._signed: OrderedDict[int, OwnSignatures] = OrderedDict()

    def follow(self, pos: int, changes: Sequence[Change]) -> None:
        """Drops from memory what changed."""
        for kind, subject, _ in changes:
            if kind == Kind.DEVICE_LIST:
                self._cache.forget(subject)
                self._signed.pop(subject, None)

    async def __call__(
        self, account_no: int, asked: Mapping[str, list[str]], timeout_ms: int
    ) -> bytes:
        """The answer, as JSON."""
        if len(asked) > limits.KEY_QUERY_MAX:
            raise Refused(Reason.TOO_LARGE, f"At most {limits.KEY_QUERY_MAX} users")
        found, remote = await self._split(asked)
        signed = await self._signed_by(account_no) if found or remote else {}
        answer = _Answer()
        for keys in found:
            _add(answer, keys, asked[keys.user_id], account_no, signed)
        if remote:
            await self._ask_others(answer, remote, timeout_ms, signed)
        return answer.json()

    async def find(self, user_ids: Iterable[str]) -> list[UserKeys]:
        """The keys of our users, in any order; unknown ones are left out. Also for federation."""
        found, missing = [], []
        for user_id in user_ids:
            keys = self._cache.get(user_id)
            if keys is None:
                missing.append(user_id)
            else:
                found.append(keys)
        if self._shared and found:
            found, stale = await self._checked(found)
            missing += stale
        return found + await self._load(missing) if missing else found

    async def _split(
        self, asked: Mapping[str, list[str]]
    ) -> tuple[list[UserKeys], dict[str, dict[str, list[str]]]]:
        """Our users' keys, and what others are to be asked, by server."""
        ours: list[str] = []
        remote: dict[str, dict[str, list[str]]] = {}
        suffix = ":" + self._server_name
        for user_id, devices in asked.items():
            if user_id.endswith(suffix):
                ours.append(user_id)
            elif server := server_of(user_id):
                remote.setdefault(server, {})[user_id] = devices
        return await self.find(ours), remote

    async def _checked(self, found: list[UserKeys]) -> tuple[list[UserKeys], list[str]]:
        async with self._db.read() as snap:
            newest = await device_keys.device_list_positions(snap, [keys.user_no for keys in found])
        right = [keys for keys in found if newest.get(keys.user_no, 0) == keys.pos]
        stale = [keys.user_id for keys in found if newest.get(keys.user_no, 0) != keys.pos]
        return right, stale

    async def _load(self, user_ids: list[str]) -> list[UserKeys]:
        clean = [user_id for user_id in user_ids if server_of(user_id) == self._server_name]
        with self._cache.loading() as changed:
            async with self._db.read() as snap:
                found = await load_users(snap, clean)
            for keys in found:
                if keys.user_no not in changed:
                    self._cache.put(keys)
        return found

    async def _signed_by(self, account_no: int) -> OwnSignatures:
        """What only the asking user may see: their signatures of others' master keys."""
        found = self._signed.get(account_no)
        if found is not None and not self._shared:
            self._signed.move_to_end(account_no)
            return found
        with self._cache.loading() as changed:
            async with self._db.read() as snap:
                found = await cross_signing.signatures_by(snap, account_no)
            if account_no not in changed:
                self._signed[account_no] = found
        if len(self._signed) > _SIGNERS_MAX:
            self._signed.popitem(last=False)
        return found

    async def _ask_others(
        self,
        answer: _Answer,
        remote: Mapping[str, Mapping[str, list[str]]],
        timeout_ms: int,
        signed: OwnSignatures,
    ) -> None:
        """The keys of others' users; servers that do not answer are failures."""
        answers = await asyncio.gather(
            *(self._ask(server, users, timeout_ms) for server, users in remote.items())
        )
        for server, keys in zip(remote, answers, strict=True):
            if keys is None:
                answer.failures.append(b"%b:%b" % (orjson.dumps(server), _FAILURE))
            else:
                _add_remote(answer, keys, signed)

    async def _ask(
        self, server: str, users: Mapping[str, list[str]], timeout_ms: int
    ) -> RemoteKeys | None:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._federation.query_keys(server, users, timeout_ms)
        except (Unavailable, TimeoutError):
            return None


def _add(
    answer: _Answer,
    keys: UserKeys,
    devices: list[str],
    account_no: int,
    signed: OwnSignatures,
) -> None:
    """One of our users. Only they see their user-signing key and what it signed."""
    name = keys.name
    if devices:
        chosen = [
            b"%b:%b" % (orjson.dumps(device_id), keys.devices[device_id])
            for device_id in dict.fromkeys(devices)
            if device_id in keys.devices
        ]
        answer.devices.append(b"%b:{%b}" % (name, b",".join(chosen)))
    else:
        answer.devices.append(b"%b:%b" % (name, keys.device_map))
    if keys.master is not None:
        master = keys.master
        own = signed.get((keys.user_id, keys.master_key))
        if own is not None:
            master = add_signature(master, own)
        answer.masters.append(b"%b:%b" % (name, master))
    if keys.self_signing is not None:
        answer.self_signing.append(b"%b:%b" % (name, keys.self_signing))
    if keys.user_no == account_no and keys.user_signing is not None:
        answer.user_signing.append(b"%b:%b" % (name, keys.user_signing))


def _add_remote(answer: _Answer, keys: RemoteKeys, signed: OwnSignatures) -> None:
    for user_id, devices in keys.devices.items():
        entries = (b"%b:%b" % (orjson.dumps(no), body) for no, body in devices.items())
        answer.devices.append(b"%b:{%b}" % (orjson.dumps(user_id), b",".join(entries)))
    for user_id, master in keys.master.items():
        own = signed.get((user_id, next(iter(orjson.loads(master)["keys"].values()))))
        if own is not None:
            master = add_signature(master, own)
        answer.masters.append(b"%b:%b" % (orjson.dumps(user_id), master))
    for user_id, key in keys.self_signing.items():
        answer.self_signing.append(b"%b:%b" % (orjson.dumps(user_id), key))


async def load_users(snap: Snap, user_ids: Iterable[str]) -> list[UserKeys]:
    """The keys of users, read and rendered."""
    numbers = await device_keys.user_numbers(snap, list(user_ids))
    if not numbers:
        return []
    nos = list(numbers.values())
    devices = await device_keys.stored_devices(snap, nos)
    keys = await cross_signing.cross_signing_keys(snap, nos)
    signatures = await cross_signing.visible_signatures(snap, nos)
    positions = await device_keys.device_list_positions(snap, nos)
    found = []
    for user_id, no in numbers.items():
        by_target: dict[str, list[Signature]] = {
            target: [(user_id, key_id, signature) for key_id, signature in made]
            for target, made in signatures.get(no, {}).items()
        }
        found.append(
            render(
                user_id, no, positions.get(no, 0), devices.get(no, ()), keys.get(no, {}), by_target
            )
        )
    return found
