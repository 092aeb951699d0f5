"""A server with nothing but accounts, asked through the real `App` without a socket."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kerwen.accounts.actions.authenticate import Authenticate
from kerwen.accounts.actions.invite import Invite
from kerwen.accounts.actions.log_in import LogIn
from kerwen.accounts.actions.log_out import LogOut
from kerwen.accounts.actions.open_session import OpenSession
from kerwen.accounts.actions.prove import Prove
from kerwen.accounts.actions.refresh import Refresh
from kerwen.accounts.actions.register import Register
from kerwen.accounts.actions.remove_devices import RemoveDevices
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.password import CHEAP
from kerwen.api.client.login import LoginApi
from kerwen.api.client.register import RegisterApi
from kerwen.api.client.versions import VersionsApi
from kerwen.api.client.whoami import WhoamiApi
from kerwen.api.http import App, Caller, Cost, Route, Router
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
    removed: list[tuple[int, int]] = field(default_factory=list)
    limiter: Any = field(default_factory=FreeLimiter)
    more_routes: Sequence[Route] = ()

    def __post_init__(self) -> None:
        db, clock = self.db, self.clock
        self.stretcher = Stretcher(CHEAP)
        self.vaults = Vaults(secrets.token_bytes, clock)
        self.remove = RemoveDevices(self.vaults, [self._on_device_removed])
        self.sessions = OpenSession(db, self.remove, clock=clock)
        self.prove = Prove(db, DOMAIN, self.stretcher, clock=clock)
        self.register = Register(
            db,
            DOMAIN,
            self.stretcher,
            self.sessions,
            self.vaults,
            self.mode,
            reserved=lambda localpart: localpart.startswith("_bridge") or localpart == "bridge",
            clock=clock,
        )
        self.log_in = LogIn(db, DOMAIN, self.prove, self.sessions, self.vaults, clock)
        self.log_out = LogOut(db, self.remove)
        self.refresh = Refresh(db, DOMAIN, self.sessions, self.vaults, clock)
        self.invite = Invite(db, clock)
        self.authenticate = Authenticate(db, self.feed, DOMAIN, self.vaults, Caller, clock)
        routes = [
            *RegisterApi(DOMAIN, self.register, self.prove, self.invite).routes(),
            *LoginApi(DOMAIN, self.log_in, self.refresh, self.log_out, self.prove).routes(),
            *WhoamiApi().routes(),
            *VersionsApi({"11": "stable", "12": "stable"}, "12").routes(),
            *self.more_routes,
        ]
        self.app = App(Router(routes), self.authenticate, self.limiter)

    async def _on_device_removed(self, tx: Tx, account_no: int, device_no: int) -> None:
        self.removed.append((account_no, device_no))

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
        self.stretcher.close()


def password_auth(name: str, password: str = "correct horse") -> dict[str, Any]:
    """A log-in, or the `auth` of a request."""
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": password,
    }
