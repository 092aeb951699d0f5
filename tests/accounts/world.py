"""A server with nothing but accounts, asked through the real `App` without a socket."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson

from kerwen.accounts.password import CHEAP
from kerwen.admin.actions.limits import Limits
from kerwen.admin.actions.look import Look
from kerwen.api.admin.accounts import AccountsApi
from kerwen.api.admin.api import AdminTable
from kerwen.api.admin.table import Confirmations
from kerwen.api.client.accounts import AccountHooks, Accounts, AccountSettings
from kerwen.api.client.wellknown import WellKnown
from kerwen.api.http import App, Cost
from kerwen.api.router import Router
from kerwen.media.actions.quota import Quota
from kerwen.media.rules import MediaRules
from kerwen.storage.database import Database, Tx
from kerwen.storage.feed import Feed
from kerwen.vault.store import Vaults

DOMAIN = "house.test"
V3 = "/_matrix/client/v3"
V1 = "/_matrix/client/v1"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return orjson.loads(self.raw)

    def refused(self, status: int, errcode: str) -> None:
        """Asserts a refusal."""
        assert (self.status, self.json.get("errcode")) == (status, errcode), self.raw


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class FreeLimiter:
    """Counts nothing."""

    def spend(self, cost: Cost, account_no: int, address: str) -> None:
        """Free."""


@dataclass
class World:
    """The parts of the server, by name."""

    db: Database
    feed: Feed
    mode: str = "open"
    clock: Clock = field(default_factory=Clock)
    well_known: WellKnown = field(default_factory=WellKnown)
    told: list[tuple[Any, ...]] = field(default_factory=list)
    limiter: Any = field(default_factory=FreeLimiter)

    def __post_init__(self) -> None:
        self.vaults = Vaults(secrets.token_bytes, self.clock)
        settings = AccountSettings(
            DOMAIN,
            self.mode,
            CHEAP,
            room_versions={"11": "stable", "12": "stable"},
            well_known=self.well_known,
        )
        hooks = AccountHooks(
            reserved=lambda localpart: localpart == "bridge",
            on_registered=[self._on_registered],
            device_id_taken=self._device_id_taken,
            on_device_removed=[self._on_device_removed],
            on_device_renamed=[self._on_device_renamed],
            on_deactivated=[self._on_deactivated],
            after_deactivated=[self._after_deactivated],
            on_reset=[self._on_reset],
        )
        self.accounts = Accounts(self.db, self.feed, self.vaults, settings, hooks, self.clock)
        look, limits = Look(self.db, DOMAIN, self.clock), Limits(self.db, self.feed)
        admin = AccountsApi(DOMAIN, self.accounts, look, Quota(self.db, MediaRules()), limits)
        table = AdminTable([admin], Confirmations(self.accounts.prove, self.clock))
        routes = [*self.accounts.routes(), *table.routes()]
        self.app = App(Router(routes), self.accounts.authenticate, self.limiter)

    async def _on_registered(self, tx: Tx, account_no: int, user_id: str) -> None:
        self.told.append(("registered", user_id))

    async def _on_device_renamed(self, tx: Tx, account_no: int, device_no: int) -> None:
        self.told.append(("renamed", device_no))

    async def _device_id_taken(self, tx: Tx, account_no: int, device_id: str) -> bool:
        return device_id == "CROSSSIGNINGKEY"

    async def _on_deactivated(self, tx: Tx, account_no: int, erase: bool) -> None:
        self.told.append(("deactivated", erase))

    async def _after_deactivated(self, account_no: int, user_id: str, erase: bool) -> None:
        self.told.append(("after", user_id, erase))

    async def _on_reset(self, tx: Tx, account_no: int, effect_ms: int) -> None:
        self.told.append(("reset", effect_ms))

    async def _on_device_removed(self, tx: Tx, account_no: int, device_no: int) -> None:
        self.told.append(("device", device_no))

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        raw: bytes | None = None,
        address: str = "192.0.2.1",
    ) -> Answer:
        """One request."""
        path, _, query = path.partition("?")
        headers = [(b"authorization", b"Bearer " + token.encode())] if token else []
        sent = raw if raw is not None else (orjson.dumps(body) if body is not None else b"")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
            "client": (address, 4711),
        }
        got: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                got.update(message)
            else:
                got["body" if "body" in message else "-"] = got["body"] + message["body"]

        await self.app(scope, receive, send)
        found = {key.decode(): value.decode() for key, value in got["headers"]}
        return Answer(got["status"], found, got["body"])

    async def sign_up(self, name: str, password: str = "correct horse", **more: Any) -> Any:
        """Registers an account and returns the answer's body."""
        body = {"username": name, "password": password, "auth": {"type": "m.login.dummy"}}
        answer = await self.ask("POST", V3 + "/register", {**body, **more})
        assert answer.status == 200, answer.raw
        return answer.json

    async def sign_in(self, name: str, password: str = "correct horse", **more: Any) -> Answer:
        """Logs in by password."""
        return await self.ask("POST", V3 + "/login", {**password_auth(name, password), **more})

    async def whoami(self, token: str) -> Answer:
        """Asks who holds a token."""
        return await self.ask("GET", V3 + "/account/whoami", token=token)

    def close(self) -> None:
        """Ends the threads."""
        self.accounts.close()


def password_auth(name: str, password: str = "correct horse") -> dict[str, Any]:
    """A log-in, or the `auth` of a request."""
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": password,
    }
