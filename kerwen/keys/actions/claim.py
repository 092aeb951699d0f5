"""Gives one-time keys to those who want to begin a session."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping

import orjson

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.keys.actions.federation import Federation, server_of
from kerwen.keys.store import one_time_keys as store
from kerwen.keys.store.device_keys import all_devices
from kerwen.storage.database import Database, Kind, Tx

Wanted = Mapping[str, Mapping[str, str]]
"""Algorithm by user id and device id."""
Given = dict[str, dict[str, bytes]]
"""A JSON object `{"<algorithm>:<key id>": key}` by user id and device id."""

_FAILURE = b'{"errcode":"M_UNKNOWN","error":"The server cannot be reached"}'


class Claim:
    """CS #post_matrixclientv3keysclaim."""

    def __init__(self, db: Database, server_name: str, federation: Federation) -> None:
        self._db = db
        self._here = ":" + server_name
        self._federation = federation

    async def __call__(self, wanted: Wanted, timeout_ms: int) -> bytes:
        """The answer, as JSON. Devices without any key are left out of it."""
        if sum(map(len, wanted.values())) > limits.KEY_QUERY_MAX:
            raise Refused(Reason.TOO_LARGE, f"At most {limits.KEY_QUERY_MAX} devices")
        ours: dict[str, Mapping[str, str]] = {}
        remote: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
        for user_id, devices in wanted.items():
            if user_id.endswith(self._here) and "\0" not in user_id:
                ours[user_id] = devices  # ids that are none are of nobody
            elif server := server_of(user_id):
                remote[server][user_id] = devices
        given = await self.claim(ours) if ours else {}
        failures = await self._ask_others(given, remote, timeout_ms) if remote else []
        return _answer(given, failures)

    async def claim(self, wanted: Wanted) -> Given:
        """Keys of our users' devices. Also for federation."""
        given: Given = {}
        async with self._db.write() as tx:
            owners, by_algorithm = await _targets(tx, wanted)
            for algorithm, devices in by_algorithm.items():
                for key in await self._of_algorithm(tx, algorithm, devices):
                    user_id, device_id = owners[key.device_no]
                    name = orjson.dumps(key.key.name)
                    given.setdefault(user_id, {})[device_id] = b"{%b:%b}" % (name, key.key.body)
        return given

    async def _of_algorithm(self, tx: Tx, algorithm: str, devices: list[int]) -> list[store.Given]:
        """One key of each device: a one-time key, else the fallback key.

        A device is told when its fallback key is used for the first time, so that it can
        replace it.
        """
        found = await store.claim_one_time_keys(tx, algorithm, devices)
        tx.change_all(Kind.KEY_COUNT, [key.device_no for key in found])
        if len(found) < len(devices):
            missing = list(set(devices) - {key.device_no for key in found})
            fallback = await store.claim_fallback_keys(tx, algorithm, missing)
            for key in fallback:
                if key.first:
                    tx.change(Kind.KEY_COUNT, key.device_no)
                    tx.change(Kind.TO_DEVICE, key.device_no)
            found += fallback
        return found

    async def _ask_others(
        self, given: Given, remote: Mapping[str, Wanted], timeout_ms: int
    ) -> list[str]:
        """Keys of others' users; the servers that did not answer."""
        answers = await asyncio.gather(
            *(self._ask(server, wanted, timeout_ms) for server, wanted in remote.items())
        )
        failures = []
        for server, answer in zip(remote, answers, strict=True):
            if answer is None:
                failures.append(server)
            else:
                for user_id, devices in answer.items():
                    given.setdefault(user_id, {}).update(devices)
        return failures

    async def _ask(
        self, server: str, wanted: Wanted, timeout_ms: int
    ) -> Mapping[str, Mapping[str, bytes]] | None:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await self._federation.claim_keys(server, wanted, timeout_ms)
        except (Unavailable, TimeoutError):
            return None


async def _targets(
    tx: Tx, wanted: Wanted
) -> tuple[dict[int, tuple[str, str]], dict[str, list[int]]]:
    """The devices that exist: their names by number, and their numbers by algorithm."""
    owners: dict[int, tuple[str, str]] = {}
    by_algorithm: dict[str, list[int]] = {}
    for user_id, device_id, device_no in await all_devices(tx, list(wanted)):
        algorithm = wanted[user_id].get(device_id)
        if algorithm is not None and "\0" not in algorithm:
            owners[device_no] = user_id, device_id
            by_algorithm.setdefault(algorithm, []).append(device_no)
    return owners, by_algorithm


def _answer(given: Given, failures: list[str]) -> bytes:
    users = []
    for user_id, devices in given.items():
        keys = (b"%b:%b" % (orjson.dumps(no), key) for no, key in devices.items())
        users.append(b"%b:{%b}" % (orjson.dumps(user_id), b",".join(keys)))
    failed = (b"%b:%b" % (orjson.dumps(server), _FAILURE) for server in failures)
    return b'{"one_time_keys":{%b},"failures":{%b}}' % (b",".join(users), b",".join(failed))
