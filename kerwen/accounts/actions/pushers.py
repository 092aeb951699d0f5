"""Pushers: where the notifications of an account go out. Sending is the push worker's."""

# CS #push-notifications

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from kerwen.accounts import account_data_store as store
from kerwen.accounts.account_data_store import PUSHERS_MAX, Pusher
from kerwen.base.errors import Reason, Refused
from kerwen.storage.database import Database, Kind

APP_ID_MAX: Final = 64
PUSHKEY_MAX: Final = 512
BODY_MAX: Final = 8_192
_NEEDED: Final = ("app_display_name", "device_display_name", "lang", "data")


class Pushers:
    """Lists and sets pushers. `plain_http` lets gateways be reached in clear, for `--dev`."""

    __slots__ = ("_clock", "_db", "_plain_http")

    def __init__(self, db: Database, clock: Callable[[], int], *, plain_http: bool = False) -> None:
        self._db = db
        self._clock = clock
        self._plain_http = plain_http

    async def all(self, account_no: int) -> list[dict[str, Any]]:
        """The pushers of an account as a client is shown them."""
        async with self._db.read() as snap:
            found = await store.pushers(snap, account_no)
        return [orjson.loads(pusher.body) for pusher in found]

    async def set(self, account_no: int, device_no: int, body: dict[str, Any]) -> None:
        """Adds, changes or (kind null) removes a pusher."""
        app_id = _text(body, "app_id", APP_ID_MAX)
        pushkey = _text(body, "pushkey", PUSHKEY_MAX)
        if "kind" not in body:
            raise Refused(Reason.MISSING_PARAM, "Missing parameters: kind")
        if body["kind"] is None:
            await self._drop(account_no, app_id, pushkey)
            return
        pusher = self._parse(app_id, pushkey, device_no, body)
        async with self._db.write() as tx:
            await store.lock(tx, account_no)
            if not body.get("append"):
                await store.drop_foreign_pushers(tx, account_no, app_id, pushkey)
            await store.set_pusher(tx, account_no, pusher, self._clock())
            if await store.count_pushers(tx, account_no) > PUSHERS_MAX:
                raise Refused(Reason.OVER_QUOTA, f"There may be {PUSHERS_MAX} pushers")
            tx.change(Kind.ACCOUNT, account_no)

    async def _drop(self, account_no: int, app_id: str, pushkey: str) -> None:
        async with self._db.write() as tx:
            if await store.drop_pusher(tx, account_no, app_id, pushkey):
                tx.change(Kind.ACCOUNT, account_no)

    def _parse(self, app_id: str, pushkey: str, device_no: int, body: dict[str, Any]) -> Pusher:
        kind = body["kind"]
        if kind not in ("http", "email"):
            raise Refused(Reason.INVALID_PARAM, "kind must be http, email or null")
        missing = [name for name in _NEEDED if body.get(name) is None]
        if missing:
            raise Refused(Reason.MISSING_PARAM, "Missing parameters: " + ", ".join(missing))
        shown: dict[str, Any] = {"app_id": app_id, "pushkey": pushkey, "kind": kind}
        for name in (*_NEEDED[:3], "profile_tag"):
            if body.get(name) is not None:
                shown[name] = _text(body, name, BODY_MAX)
        data = body["data"]
        if not isinstance(data, dict):
            raise Refused(Reason.BAD_JSON, "data must be an object")
        if kind == "http":
            self._check_url(data.get("url"))
        shown["data"] = data
        encoded = orjson.dumps(shown)
        if len(encoded) > BODY_MAX:
            raise Refused(Reason.TOO_LARGE, f"A pusher may have {BODY_MAX} bytes")
        return Pusher(app_id, pushkey, kind, device_no, encoded)

    def _check_url(self, url: object) -> None:
        """CS #push-notifications: HTTPS, and one path."""
        if not isinstance(url, str):
            raise Refused(Reason.MISSING_PARAM, "Missing parameters: data.url")
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise Refused(Reason.INVALID_PARAM, "data.url is not a URL") from None
        schemes = ("https", "http") if self._plain_http else ("https",)
        if parts.scheme not in schemes or not host:
            raise Refused(Reason.INVALID_PARAM, "data.url must be an HTTPS URL")
        if parts.path != "/_matrix/push/v1/notify":
            raise Refused(Reason.INVALID_PARAM, "data.url must end with /_matrix/push/v1/notify")


def _text(body: dict[str, Any], name: str, most: int) -> str:
    value = body.get(name)
    if value is None:
        raise Refused(Reason.MISSING_PARAM, f"Missing parameters: {name}")
    if not isinstance(value, str):
        raise Refused(Reason.BAD_JSON, f"{name} must be a string")
    if not value or len(value.encode(errors="replace")) > most:
        raise Refused(Reason.INVALID_PARAM, f"{name} has 1 to {most} bytes")
    return value
