"""Kerwen's own account API for its owner: app passwords, the recovery key, resets to stop."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from kerwen.accounts.actions.app_passwords import AppPasswords
from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.accounts.actions.recovery_key import RecoveryKeys
from kerwen.accounts.actions.reset_password import ResetPassword
from kerwen.accounts.tokens import slot_key
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route, token_of
from kerwen.base.errors import Reason, Refused
from kerwen.vault.slots import KEY_BYTES, SlotKind


class AppPasswordBody(msgspec.Struct):
    """The body of `POST /_kerwen/account/app_passwords`."""

    name: str
    auth: dict[str, Any] | None = None


class RecoveryKeyBody(msgspec.Struct):
    """The body of `POST /_kerwen/account/recovery_key` and of `…/open`: unpadded base64."""

    slot_key: str
    auth: dict[str, Any] | None = None


class HouseholdApi:
    """What Matrix has no endpoints for."""

    def __init__(
        self,
        apps: AppPasswords,
        resets: ResetPassword,
        prove: Prove,
        recovery: RecoveryKeys,
    ) -> None:
        self._recovery = recovery
        self._apps = apps
        self._resets = resets
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        apps = "/_kerwen/account/app_passwords"
        reset = "/_kerwen/account/password_reset"
        recovery = "/_kerwen/account/recovery_key"
        spec, user = "docs/accounts.md", Access.USER
        return [
            Route("GET", apps, self.list_apps, user, Cost.READ, spec),
            Route("POST", apps, self.make_app, user, Cost.LOGIN, spec),
            Route("DELETE", apps + "/{appNo}", self.end_app, user, Cost.WRITE, spec),
            Route("POST", recovery, self.make_recovery, user, Cost.LOGIN, spec),
            Route("POST", recovery + "/open", self.open_vault, user, Cost.LOGIN, spec),
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

    async def make_recovery(self, request: Request) -> Any:
        """POST /_kerwen/account/recovery_key"""
        body, account_no = request.json(RecoveryKeyBody), request.caller.account_no
        key = _slot_key(body.slot_key)
        proof = await self._prove.owner("recovery_key", account_no, body.auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        assert proof.keys is not None, "the owner's proof is a password"
        await self._recovery.make(account_no, key, proof.keys.slot)
        self._prove.done(proof)
        return b"{}"

    async def open_vault(self, request: Request) -> Any:
        """POST /_kerwen/account/recovery_key/open"""
        body, caller = request.json(RecoveryKeyBody), request.caller
        token, password_key = token_of(request), None
        if not caller.token_no or token is None:
            raise Refused(Reason.FORBIDDEN, "This needs a session of one's own")
        key = _slot_key(body.slot_key)
        if body.auth is not None:
            proof = await self._prove.owner("open_vault", caller.account_no, body.auth)
            if isinstance(proof, Challenge):
                return challenge_reply(proof)
            assert proof.keys is not None, "the owner's proof is a password"
            password_key = proof.keys.slot
            self._prove.done(proof)
        session = (SlotKind.TOKEN, str(caller.token_no), slot_key(token))
        await self._recovery.open(caller.account_no, key, session, password_key)
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


def _slot_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise Refused(Reason.INVALID_PARAM, f"slot_key must be {KEY_BYTES} bytes of base64")
    return key
