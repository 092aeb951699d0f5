"""The key APIs as an application, without a network: `call` is one HTTP request."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from kerwen.api.client.cross_signing import CrossSigningApi
from kerwen.api.client.dehydrated import DehydratedApi
from kerwen.api.client.keys import KeysApi
from kerwen.api.client.room_keys import RoomKeysApi
from kerwen.api.client.to_device import ToDeviceApi
from kerwen.api.http import App, Caller, Cost, Reply, Request
from kerwen.api.router import Router
from kerwen.base import signing
from kerwen.base.errors import Reason, Refused
from kerwen.keys.actions.backup import Backup
from kerwen.keys.actions.changes import Changes
from kerwen.keys.actions.claim import Claim
from kerwen.keys.actions.cross_sign import CrossSign
from kerwen.keys.actions.dehydrate import Dehydrate
from kerwen.keys.actions.federation import Federation, NoFederation
from kerwen.keys.actions.query import Query
from kerwen.keys.actions.send_to_device import SendToDevice
from kerwen.keys.actions.upload import Upload
from kerwen.keys.key_cache import KeyCache
from kerwen.keys.store import on_device_removed
from kerwen.storage.database import Database, Snap, Tx
from kerwen.storage.feed import Feed
from kerwen.storage.sql import sql

DOMAIN = "kerwen.test"
ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
V3 = "/_matrix/client/v3"

_ADD_USER = sql("insert into users (user_no, user_id) values (:no, :user_id)")
_ADD_DEVICE = sql(
    "insert into devices (device_no, account_no, device_id, display_name, created_ms, seen_ms)"
    " values (:device_no, :account_no, :device_id, :display_name, 0, 0)"
)
_REMOVE_DEVICE = sql("delete from devices where device_no = :device_no")


class NoLimiter:
    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        pass


class Time:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


@dataclass
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str:
        return str(self.json["errcode"])


class House:
    """`rooms` says who shares a room with whom, by account number."""

    def __init__(self, db: Database, feed: Feed, federation: Federation | None = None) -> None:
        self.db = db
        self.feed = feed
        self.clock = Time()
        self.callers: dict[str, Caller] = {}
        self.rooms: list[set[int]] = []
        self.proofs = 0  # how often the user was asked to prove who they are
        self.cache = KeyCache()
        federation = federation or NoFederation()
        self.query = Query(db, self.cache, DOMAIN, federation)
        feed.follow(self.query.follow)
        self.claim = Claim(db, DOMAIN, federation)
        cross_sign = CrossSign(db, self.cache)
        upload = Upload(db, self.cache, self.clock)
        routes = [
            *KeysApi(
                upload,
                self.query,
                self.claim,
                Changes(db, self.shares_room),
                read_token=int,
            ).routes(),
            *CrossSigningApi(cross_sign, self.check_uia).routes(),
            *RoomKeysApi(Backup(db)).routes(),
            *DehydratedApi(Dehydrate(db, feed, upload, self.remove_devices, self.clock)).routes(),
            *ToDeviceApi(SendToDevice(db, DOMAIN, federation, self.clock)).routes(),
        ]
        self.app = App(Router(routes), self, NoLimiter())
        self._numbers = itertools.count(1)

    async def caller(self, token: str) -> Caller:
        """A token is `<name>/<device id>`."""
        found = self.callers.get(token)
        if found is None:
            raise Refused(Reason.UNKNOWN_TOKEN, "Unknown token")
        return found

    async def shares_room(self, snap: Snap, account_no: int) -> set[int]:
        shared = [room for room in self.rooms if account_no in room]
        return set().union(*shared)

    async def check_uia(self, request: Request, body: Mapping[str, Any]) -> Reply | None:
        if body.get("auth") == {"password": "right"}:
            return None
        self.proofs += 1
        return Reply(b'{"flows":[],"session":"s"}', 401)

    async def add_people(self, people: Mapping[str, Sequence[str]]) -> None:
        """People by name with their devices; device PHONE is shown as "Phone"."""
        async with self.db.write() as tx:
            for name, devices in people.items():
                no = next(self._numbers)
                await tx.run(_ADD_USER, no=no, user_id=f"@{name}:{DOMAIN}")
                for device_id in devices:
                    device_no = next(self._numbers)
                    await tx.run(
                        _ADD_DEVICE,
                        device_no=device_no,
                        account_no=no,
                        device_id=device_id,
                        display_name="Phone" if device_id == "PHONE" else None,
                    )
                    self.callers[f"{name}/{device_id}"] = Caller(
                        no, f"@{name}:{DOMAIN}", device_no, device_id
                    )

    async def remove_devices(self, tx: Tx, account_no: int, device_nos: Sequence[int]) -> None:
        """As accounts do it."""
        for device_no in device_nos:
            await tx.run(_REMOVE_DEVICE, device_no=device_no)
            await on_device_removed(tx, account_no, device_no)

    async def remove_device(self, token: str) -> None:
        """Only the device's row: what else goes with it is for the test to say."""
        async with self.db.write() as tx:
            await tx.run(_REMOVE_DEVICE, device_no=self.callers[token].device_no)

    async def call(self, token: str, method: str, path: str, body: Any = b"") -> Answer:
        """One request; `path` after /_matrix/client/v3, unless it is whole."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        target, _, query = path.partition("?")
        if not target.startswith("/_matrix"):
            target = V3 + target
        scope = {
            "type": "http",
            "method": method,
            "path": target,
            "raw_path": quote(target, safe="/%").encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", b"Bearer " + token.encode())],
            "client": ("127.0.0.1", 1),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": raw, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return Answer(sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]))

    async def post(self, token: str, path: str, body: Any = b"{}") -> Answer:
        return await self.call(token, "POST", path, body)


class Person:
    """A user with the private keys of one device and of cross-signing."""

    def __init__(self, name: str, device_id: str) -> None:
        self.user_id = f"@{name}:{DOMAIN}"
        self.device_id = device_id
        self.token = f"{name}/{device_id}"
        self.device = signing.SigningKey("d", _seed(f"{name}/{device_id}"))
        self.cross = {
            usage: signing.SigningKey("c", _seed(f"{name}/{usage}"))
            for usage in ("master", "self_signing", "user_signing")
        }

    def sign_with_device(self, value: dict[str, Any]) -> dict[str, Any]:
        return self._signed(value, self.device_id, self.device)

    def sign_with(self, usage: str, value: dict[str, Any]) -> dict[str, Any]:
        key = self.cross[usage]
        return self._signed(value, key.public_base64, key)

    def _signed(self, value: dict[str, Any], name: str, key: signing.SigningKey) -> dict[str, Any]:
        bare = {k: v for k, v in value.items() if k not in ("signatures", "unsigned")}
        signature = key.sign(signing.signable(bare))
        return bare | {"signatures": {self.user_id: {f"ed25519:{name}": signature}}}

    def device_keys(self) -> dict[str, Any]:
        return self.sign_with_device(
            {
                "user_id": self.user_id,
                "device_id": self.device_id,
                "algorithms": ALGORITHMS,
                "keys": {
                    f"curve25519:{self.device_id}": "c" * 43,
                    f"ed25519:{self.device_id}": self.device.public_base64,
                },
            }
        )

    def one_time_keys(self, count: int, first: int = 0) -> dict[str, Any]:
        return {
            f"signed_curve25519:AAAA{first + no:04}": self.one_time_key(first + no)
            for no in range(count)
        }

    def one_time_key(self, no: int, **more: Any) -> dict[str, Any]:
        return self.sign_with_device({"key": f"{self.device_id}{no}".ljust(43, "k"), **more})

    def cross_signing_key(self, usage: str) -> dict[str, Any]:
        public = self.cross[usage].public_base64
        bare = {
            "user_id": self.user_id,
            "usage": [usage],
            "keys": {f"ed25519:{public}": public},
        }
        return bare if usage == "master" else self.sign_with("master", bare)

    def cross_signing_keys(self) -> dict[str, Any]:
        return {f"{usage}_key": self.cross_signing_key(usage) for usage in self.cross}

    def renew(self, usage: str, seed: str) -> None:
        """Another private key of a usage."""
        self.cross[usage] = signing.SigningKey("c", _seed(seed))


def _seed(text: str) -> bytes:
    return text.encode().ljust(32, b".")[:32]
