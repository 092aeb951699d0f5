"""Second factors over our own account API (docs/second_factor.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.factors import Enrolled, Factors
from kerwen.accounts.actions.prove import Challenge, Proof, Prove
from kerwen.accounts.actions.reset_factors import ResetFactors
from kerwen.accounts.password import PasswordKeys
from kerwen.accounts.store.factors import Factor
from kerwen.api.client.login import AuthBody
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Reply, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.base.limits import KIB


class EnrolBody(msgspec.Struct):
    """The body that begins an enrolment."""

    name: str
    auth: dict[str, Any] | None = None


class ConfirmBody(msgspec.Struct):
    """The body of `POST /_kerwen/account/second_factor/confirm`: a code, or a passkey's answer."""

    enrolment: str
    code: str | None = None
    credential: dict[str, Any] | None = None
    prf: str | None = None


class SecondFactorApi:
    """The owner's second factors, and how the owner stops a reset of them."""

    def __init__(self, factors: Factors, resets: ResetFactors, prove: Prove) -> None:
        self._factors = factors
        self._resets = resets
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        own = "/_kerwen/account/second_factor"
        reset = "/_kerwen/account/second_factor_reset"
        spec, user = "docs/second_factor.md", Access.USER
        login, most = Cost.LOGIN, 64 * KIB
        return [
            Route("GET", own, self.list_all, user, Cost.READ, spec),
            Route("POST", own + "/totp", self.begin_totp, user, login, spec, most),
            Route("POST", own + "/passkey", self.begin_passkey, user, login, spec, most),
            Route("POST", own + "/confirm", self.confirm, user, login, spec, most),
            Route("POST", own + "/recovery_codes", self.renew_codes, user, login, spec, most),
            Route("DELETE", own + "/{factorNo}", self.remove, user, login, spec, most),
            Route("GET", reset, self.own_reset, user, Cost.READ, spec),
            Route("DELETE", reset, self.stop_own_reset, user, Cost.WRITE, spec),
        ]

    async def list_all(self, request: Request) -> Any:
        """GET /_kerwen/account/second_factor"""
        found, codes_left = await self._factors.all_of(request.caller.account_no)
        shown = [factor_answer(factor) for factor in found]
        return {"factors": shown, "recovery_codes_left": codes_left}

    async def begin_totp(self, request: Request) -> Any:
        """POST /_kerwen/account/second_factor/totp"""
        body = request.json(EnrolBody)
        proof = await self._owner(request, "enrol_factor", body.auth)
        if isinstance(proof, Reply):
            return proof
        account_no = request.caller.account_no
        enrolment, secret, uri = await self._factors.begin_totp(account_no, body.name, _keys(proof))
        self._prove.done(proof)
        return {"enrolment": enrolment, "secret": secret, "uri": uri}

    async def begin_passkey(self, request: Request) -> Any:
        """POST /_kerwen/account/second_factor/passkey"""
        body = request.json(EnrolBody)
        proof = await self._owner(request, "enrol_factor", body.auth)
        if isinstance(proof, Reply):
            return proof
        account_no = request.caller.account_no
        enrolment, options = await self._factors.begin_passkey(account_no, body.name, _keys(proof))
        self._prove.done(proof)
        return {"enrolment": enrolment, "public_key": options}

    async def confirm(self, request: Request) -> Any:
        """POST /_kerwen/account/second_factor/confirm"""
        body = request.json(ConfirmBody)
        account_no = request.caller.account_no
        if body.credential is not None:
            return enrolled_answer(
                await self._factors.confirm_passkey(
                    account_no, body.enrolment, body.credential, body.prf
                )
            )
        if body.code is None:
            raise Refused(Reason.MISSING_PARAM, "A code or a passkey's answer is missing")
        return enrolled_answer(
            await self._factors.confirm_totp(account_no, body.enrolment, body.code)
        )

    async def renew_codes(self, request: Request) -> Any:
        """POST /_kerwen/account/second_factor/recovery_codes"""
        proof = await self._owner(request, "recovery_codes", request.json(AuthBody).auth)
        if isinstance(proof, Reply):
            return proof
        codes = await self._factors.renew_codes(request.caller.account_no)
        self._prove.done(proof)
        return {"recovery_codes": codes}

    async def remove(self, request: Request) -> Any:
        """DELETE /_kerwen/account/second_factor/{factorNo}"""
        factor_no = _number(request.params["factorNo"])
        proof = await self._owner(request, "remove_factor", request.json(AuthBody).auth)
        if isinstance(proof, Reply):
            return proof
        await self._factors.remove(request.caller.account_no, factor_no)
        self._prove.done(proof)
        return b"{}"

    async def _owner(
        self, request: Request, deed: str, auth: dict[str, Any] | None
    ) -> Proof | Reply:
        proof = await self._prove.owner(deed, request.caller.account_no, auth)
        return challenge_reply(proof) if isinstance(proof, Challenge) else proof

    async def own_reset(self, request: Request) -> Any:
        """GET /_kerwen/account/second_factor_reset"""
        reset = await self._resets.under_way(request.caller.account_no)
        if reset is None:
            raise Refused(Reason.NOT_FOUND, "No reset is under way")
        return {"begun_ms": reset.begun_ms, "effect_ms": reset.effect_ms}

    async def stop_own_reset(self, request: Request) -> Any:
        """DELETE /_kerwen/account/second_factor_reset"""
        await self._resets.stop(request.caller.account_no)
        return b"{}"


def factor_answer(factor: Factor) -> dict[str, Any]:
    """A second factor as its owner sees it."""
    return {
        "factor_no": factor.factor_no,
        "kind": factor.kind,
        "name": factor.name,
        "created_ms": factor.created_ms,
        "used_ms": factor.used_ms,
        "opens_vault": factor.opens_vault,
    }


def enrolled_answer(enrolled: Enrolled) -> dict[str, Any]:
    """A new factor; recovery codes with the first one."""
    answer: dict[str, Any] = {
        "factor_no": enrolled.factor_no,
        "opens_vault": enrolled.opens_vault,
    }
    if enrolled.codes is not None:
        answer["recovery_codes"] = enrolled.codes
    return answer


def _keys(proof: Proof) -> PasswordKeys:
    assert proof.keys is not None, "the owner's proof begins with a password"
    return proof.keys


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(Reason.NOT_FOUND, "There is no such second factor")
    return int(text)
