"""Log-in, refresh and log-out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kerwen.accounts.actions.log_in import DeviceWanted, LogIn
from kerwen.accounts.actions.log_out import LogOut
from kerwen.accounts.actions.prove import Challenge, Prove, named_by
from kerwen.accounts.actions.refresh import Refresh
from kerwen.api.client.sessions import (
    BY_SERVICE,
    ServiceAccounts,
    session_answer,
    tokens_answer,
)
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route, token_of
from kerwen.base.errors import Reason, Refused

FLOWS = {
    "flows": [
        {"type": "m.login.password"},
        {"type": "m.login.token", "get_login_token": True},
    ]
}


class LoginBody(msgspec.Struct):
    """The body of `POST /login`; `user` is how clients wrote it before r0.4."""

    type: str
    identifier: dict[str, Any] | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False


class RefreshBody(msgspec.Struct):
    """The body of `POST /refresh`."""

    refresh_token: str


class AuthBody(msgspec.Struct):
    """A body that holds nothing but authentication."""

    auth: dict[str, Any] | None = None


class LoginApi:
    """The routes of login.yaml, login_token.yaml, refresh.yaml and logout.yaml."""

    def __init__(
        self,
        domain: str,
        log_in: LogIn,
        refresh: Refresh,
        log_out: LogOut,
        prove: Prove,
        by_service: Callable[[], ServiceAccounts | None] = lambda: None,
    ) -> None:
        self._by_service = by_service
        self._domain = domain
        self._log_in = log_in
        self._refresh = refresh
        self._log_out = log_out
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        v3 = "/_matrix/client/v3"
        spec = "CS #legacy-login"
        token = "/_matrix/client/v1/login/get_token"
        return [
            Route("GET", v3 + "/login", self.flows, Access.ANYONE, Cost.READ, spec),
            Route("POST", v3 + "/login", self.login, Access.ANYONE, Cost.LOGIN, spec),
            Route("POST", token, self.get_token, Access.USER, Cost.LOGIN, spec, oauth=False),
            Route(
                "POST",
                v3 + "/refresh",
                self.refresh,
                Access.ANYONE,
                Cost.LOGIN,
                "CS #refreshing-access-tokens",
            ),
            Route("POST", v3 + "/logout", self.logout, Access.LOCKED, Cost.WRITE, spec),
            Route("POST", v3 + "/logout/all", self.logout_all, Access.LOCKED, Cost.WRITE, spec),
        ]

    async def flows(self, request: Request) -> Any:
        """GET /_matrix/client/v3/login"""
        if self._by_service() is None:
            return FLOWS
        return {"flows": [*FLOWS["flows"], {"type": BY_SERVICE}]}

    async def login(self, request: Request) -> Any:
        """POST /_matrix/client/v3/login"""
        body = request.json(LoginBody)
        device = DeviceWanted(
            body.device_id,
            body.initial_device_display_name,
            body.refresh_token,
            request.address,
        )
        if body.type == "m.login.password":
            named = named_by({"identifier": body.identifier, "user": body.user}, self._domain)
            if named == "" or body.password is None:
                raise Refused(Reason.MISSING_PARAM, "A log-in needs an identifier and a password")
            session = await self._log_in.by_password(named, body.password, device)
        elif body.type == "m.login.token":
            if body.token is None:
                raise Refused(Reason.MISSING_PARAM, "The token is missing")
            session = await self._log_in.by_token(body.token, device)
        elif body.type == BY_SERVICE and (services := self._by_service()) is not None:
            named = (body.identifier or {}).get("user", body.user)
            session = await services.log_in(token_of(request), named, device)
        else:
            raise Refused(Reason.UNSUPPORTED_LOGIN, "This server does not know this log-in type")
        return session_answer(session, self._domain)

    async def get_token(self, request: Request) -> Any:
        """POST /_matrix/client/v1/login/get_token"""
        account_no = request.caller.account_no
        auth = request.json(AuthBody).auth
        proof = await self._prove.owner("get_login_token", account_no, auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        assert proof.keys is not None, "the owner's proof is a password"
        token, expires_in_ms = await self._log_in.give_token(account_no, proof.keys.slot)
        self._prove.done(proof)
        return {"login_token": token, "expires_in_ms": expires_in_ms}

    async def refresh(self, request: Request) -> Any:
        """POST /_matrix/client/v3/refresh"""
        token = request.json(RefreshBody).refresh_token
        return tokens_answer(await self._refresh.run(token, request.address))

    async def logout(self, request: Request) -> Any:
        """POST /_matrix/client/v3/logout"""
        caller = request.caller
        await self._log_out.run(caller.account_no, caller.device_no)
        return b"{}"

    async def logout_all(self, request: Request) -> Any:
        """POST /_matrix/client/v3/logout/all"""
        await self._log_out.everywhere(request.caller.account_no)
        return b"{}"
