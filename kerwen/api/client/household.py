"""Kerwen's own account API for its owner: app passwords, and resets that can be stopped."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.app_passwords import AppPasswords
from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.accounts.actions.reset_password import ResetPassword
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused


class AppPasswordBody(msgspec.Struct):
    """The body of `POST /_kerwen/account/app_passwords`."""

    name: str
    auth: dict[str, Any] | None = None


class HouseholdApi:
    """What Matrix has no endpoints for."""

    def __init__(
        self,
        apps: AppPasswords,
        resets: ResetPassword,
        prove: Prove,
    ) -> None:
        self._apps = apps
        self._resets = resets
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        apps = "/_kerwen/account/app_passwords"
        reset = "/_kerwen/account/password_reset"
        spec, user = "docs/accounts.md", Access.USER
        return [
            Route("GET", apps, self.list_apps, user, Cost.READ, spec),
            Route("POST", apps, self.make_app, user, Cost.LOGIN, spec),
            Route("DELETE", apps + "/{appNo}", self.end_app, user, Cost.WRITE, spec),
            Route("GET", reset, self.own_reset, user, Cost.READ, spec),
            Route("DELETE", reset, self.stop_own_reset, user, Cost.WRITE, spec),
        ]

    async def list_apps(self, request: Request) -> Any:
        """GET /_kerwen/account/app_passwords"""
        found = await self._apps.list(request.caller.account_no)
        return {"app_passwords": found}

    async def make_app(self, request: Request) -> Any:
        """POST /_kerwen/account/app_passwords"""
        body = request.json(AppPasswordBody)
        account_no = request.caller.account_no
        proof = await self._prove.owner("app_password", account_no, body.auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        assert proof.keys is not None, "the owner's proof is a password"
        app_no, text = await self._apps.make(account_no, body.name, proof.keys.slot)
        self._prove.done(proof)
        return {"app_no": app_no, "app_password": text}

    async def end_app(self, request: Request) -> Any:
        """DELETE /_kerwen/account/app_passwords/{appNo}"""
        await self._apps.end(request.caller.account_no, _number(request.params["appNo"]))
        return b"{}"

    async def own_reset(self, request: Request) -> Any:
        """GET /_kerwen/account/password_reset"""
        reset = await self._resets.under_way(request.caller.account_no)
        if reset is None:
            raise Refused(Reason.NOT_FOUND, "No reset is under way")
        return {"begun_ms": reset.begun_ms, "effect_ms": reset.effect_ms}

    async def stop_own_reset(self, request: Request) -> Any:
        """DELETE /_kerwen/account/password_reset"""
        await self._resets.stop(request.caller.account_no)
        return b"{}"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(Reason.NOT_FOUND, "There is no such app password")
    return int(text)
