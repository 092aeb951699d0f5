"""Registration: the account itself, and what a client asks before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from kerwen.accounts import uia
from kerwen.accounts.actions.invite import Invite
from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.accounts.actions.register import Register, Wanted
from kerwen.api.client.sessions import BY_SERVICE, ServiceAccounts, session_answer
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route, token_of
from kerwen.base.errors import Reason, Refused


class RegisterBody(msgspec.Struct):
    """The body of `POST /register`."""

    auth: dict[str, Any] | None = None
    type: str | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool = False
    refresh_token: bool = False


class RegisterApi:
    """The routes of registration.yaml and registration_tokens.yaml."""

    def __init__(
        self,
        domain: str,
        register: Register,
        prove: Prove,
        invite: Invite,
        by_service: Callable[[], ServiceAccounts | None] = lambda: None,
    ) -> None:
        self._by_service = by_service
        self._domain = domain
        self._register = register
        self._prove = prove
        self._invite = invite

    def routes(self) -> list[Route]:
        """The table."""
        spec = "CS #legacy-account-registration"
        tokens = "CS #token-authenticated-registration"
        v3 = "/_matrix/client/v3/register"
        v1 = "/_matrix/client/v1/register"
        validity = "/m.login.registration_token/validity"
        anyone, cost = Access.ANYONE, Cost.REGISTER
        return [
            Route("POST", v3, self.register, anyone, cost, spec),
            Route("GET", v3 + "/available", self.available, anyone, cost, spec),
            Route("GET", v1 + validity, self.validity, anyone, cost, tokens),
            Route("POST", v3 + "/email/requestToken", self.no_contact, anyone, cost, spec),
            Route("POST", v3 + "/msisdn/requestToken", self.no_contact, anyone, cost, spec),
        ]

    async def register(self, request: Request) -> Any:
        """POST /_matrix/client/v3/register"""
        body = request.json(RegisterBody)
        services = self._by_service()
        if body.type == BY_SERVICE and services is not None:
            return await self._register_by_service(services, request, body)
        self._check_kind(request)
        name = None
        if body.username is not None:
            name = await self._register.check_name(body.username)
        if body.password is not None:
            self._register.check_password(body.password, name or "")
        proof = await self._prove.run(self._deed(), 0, body.auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        if body.password is None:
            raise Refused(Reason.MISSING_PARAM, "The password is missing")
        wanted = Wanted(
            name,
            body.password,
            body.device_id,
            body.initial_device_display_name,
            body.refresh_token,
            not body.inhibit_login,
            proof.invitation,
            address=request.address,
        )
        user_id, session = await self._register.run(wanted)
        self._prove.done(proof)
        if session is None:
            return {"user_id": user_id, "home_server": self._domain}
        return session_answer(session, self._domain)

    async def _register_by_service(
        self, services: ServiceAccounts, request: Request, body: RegisterBody
    ) -> Any:
        """AS #server-admin-style-permissions: its token is all the proof that is asked for."""
        wanted = Wanted(
            body.username,
            None,
            body.device_id,
            body.initial_device_display_name,
            body.refresh_token,
            not body.inhibit_login,
            address=request.address,
        )
        user_id, session = await services.register(token_of(request), wanted)
        if session is None:
            return {"user_id": user_id, "home_server": self._domain}
        return session_answer(session, self._domain)

    def _check_kind(self, request: Request) -> None:
        kind = request.query("kind", "user")
        if kind == "guest":
            raise Refused(Reason.GUESTS_REFUSED, "This server has no guest accounts")
        if kind != "user":
            raise Refused(Reason.INVALID_PARAM, "kind must be user or guest")
        if self._register.mode == "closed":
            raise Refused(Reason.REGISTRATION_CLOSED, "Registration is closed on this server")

    def _deed(self) -> uia.Deed:
        if self._register.mode == "open":
            return uia.OPEN_REGISTRATION
        return uia.TOKEN_REGISTRATION

    async def available(self, request: Request) -> Any:
        """GET /_matrix/client/v3/register/available"""
        await self._register.check_name(request.need_query("username"))
        return {"available": True}

    async def validity(self, request: Request) -> Any:
        """GET /_matrix/client/v1/register/m.login.registration_token/validity"""
        token = request.need_query("token")
        if self._register.mode == "closed":
            raise Refused(Reason.REGISTRATION_CLOSED, "Registration is closed on this server")
        return {"valid": await self._invite.valid(token)}

    async def no_contact(self, request: Request) -> Any:
        """POST /_matrix/client/v3/register/email/requestToken"""
        raise Refused(Reason.THREEPID_UNSUPPORTED, "This server takes no contact addresses")
