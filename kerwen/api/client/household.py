"""Kerwen's own account API: app passwords, password resets, invitations.

Under `/_kerwen/account/` for the owner, under `/_kerwen/admin/` for administrators.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.app_passwords import AppPasswords
from kerwen.accounts.actions.invite import Invite
from kerwen.accounts.actions.moderate import Moderate
from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.accounts.actions.reset_password import ResetPassword
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused


class AppPasswordBody(msgspec.Struct):
    """The body of `POST /_kerwen/account/app_passwords`."""

    name: str
    auth: dict[str, Any] | None = None


class InvitationBody(msgspec.Struct):
    """The body of `POST /_kerwen/admin/registration_tokens`; 0 uses: any number, 0 ms: ever."""

    token: str | None = None
    uses_max: int = 1
    lives_ms: int = 0


class ResetBody(msgspec.Struct):
    """The body of `POST /_kerwen/admin/accounts/{userId}/password_reset`."""

    new_password: str


class HouseholdApi:
    """What Matrix has no endpoints for."""

    def __init__(
        self,
        apps: AppPasswords,
        resets: ResetPassword,
        invite: Invite,
        moderate: Moderate,
        prove: Prove,
    ) -> None:
        self._apps = apps
        self._resets = resets
        self._invite = invite
        self._moderate = moderate
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        apps = "/_kerwen/account/app_passwords"
        reset = "/_kerwen/account/password_reset"
        tokens = "/_kerwen/admin/registration_tokens"
        accounts = "/_kerwen/admin/accounts"
        spec, user, admin = "docs/accounts.md", Access.USER, Access.ADMIN
        of = accounts + "/{userId}/password_reset"
        return [
            Route("GET", apps, self.list_apps, user, Cost.READ, spec),
            Route("POST", apps, self.make_app, user, Cost.LOGIN, spec),
            Route("DELETE", apps + "/{appNo}", self.end_app, user, Cost.WRITE, spec),
            Route("GET", reset, self.own_reset, user, Cost.READ, spec),
            Route("DELETE", reset, self.stop_own_reset, user, Cost.WRITE, spec),
            Route("GET", tokens, self.list_tokens, admin, Cost.READ, spec),
            Route("POST", tokens, self.make_token, admin, Cost.WRITE, spec),
            Route("DELETE", tokens + "/{token}", self.end_token, admin, Cost.WRITE, spec),
            Route("GET", accounts, self.list_accounts, admin, Cost.READ, spec),
            Route("POST", of, self.begin_reset, admin, Cost.WRITE, spec),
            Route("DELETE", of, self.stop_reset, admin, Cost.WRITE, spec),
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

    async def list_tokens(self, request: Request) -> Any:
        """GET /_kerwen/admin/registration_tokens"""
        return {"registration_tokens": await self._invite.list()}

    async def make_token(self, request: Request) -> Any:
        """POST /_kerwen/admin/registration_tokens"""
        body = request.json(InvitationBody)
        by = request.caller.account_no
        return await self._invite.make(by, body.token, body.uses_max, body.lives_ms)

    async def end_token(self, request: Request) -> Any:
        """DELETE /_kerwen/admin/registration_tokens/{token}"""
        await self._invite.take_back(request.params["token"])
        return b"{}"

    async def list_accounts(self, request: Request) -> Any:
        """GET /_kerwen/admin/accounts"""
        after = request.query("after", "") or ""
        found = await self._moderate.page(after, request.int_query("limit", 100, 1, 1000))
        return {"accounts": found}

    async def begin_reset(self, request: Request) -> Any:
        """POST /_kerwen/admin/accounts/{userId}/password_reset"""
        password = request.json(ResetBody).new_password
        account = await self._moderate.account(request.params["userId"])
        by = request.caller.account_no
        return {"effect_ms": await self._resets.begin(by, account.account_no, password)}

    async def stop_reset(self, request: Request) -> Any:
        """DELETE /_kerwen/admin/accounts/{userId}/password_reset"""
        account = await self._moderate.account(request.params["userId"])
        await self._resets.stop(account.account_no)
        return b"{}"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(Reason.NOT_FOUND, "There is no such app password")
    return int(text)
