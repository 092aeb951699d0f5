"""The account itself: password, deactivation, and the contact addresses that we do not take."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.accounts.actions.change_password import ChangePassword
from kerwen.accounts.actions.deactivate import Deactivate
from kerwen.accounts.actions.prove import Challenge, Prove
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.http import Access, Cost, Request, Route
from kerwen.base.errors import Reason, Refused


class PasswordBody(msgspec.Struct):
    """The body of `POST /account/password`."""

    new_password: str
    logout_devices: bool = True
    auth: dict[str, Any] | None = None


class DeactivateBody(msgspec.Struct):
    """The body of `POST /account/deactivate`."""

    erase: bool = False
    id_server: str | None = None
    auth: dict[str, Any] | None = None


class ContactBody(msgspec.Struct):
    """The body of `POST /account/3pid/delete` and `unbind`."""

    medium: str
    address: str
    id_server: str | None = None


class AccountApi:
    """The routes of password_management.yaml, account_deactivation.yaml and
    administrative_contact.yaml.
    """

    def __init__(
        self, change_password: ChangePassword, deactivate: Deactivate, prove: Prove
    ) -> None:
        self._change_password = change_password
        self._deactivate = deactivate
        self._prove = prove

    def routes(self) -> list[Route]:
        """The table."""
        path = "/_matrix/client/v3/account"
        spec = "CS #adding-account-administrative-contact-information"
        user = Access.USER
        return [
            Route(
                "POST",
                path + "/password",
                self.password,
                Access.OPTIONAL,
                Cost.LOGIN,
                "CS #password-management",
                oauth=False,
            ),
            Route(
                "POST",
                path + "/deactivate",
                self.deactivate,
                Access.OPTIONAL,
                Cost.LOGIN,
                "CS #account-deactivation",
                oauth=False,
            ),
            Route("GET", path + "/3pid", self.contacts, user, Cost.READ, spec),
            Route("POST", path + "/3pid", self.no_contact, user, Cost.WRITE, spec),
            Route("POST", path + "/3pid/add", self.no_contact, user, Cost.WRITE, spec),
            Route("POST", path + "/3pid/bind", self.no_contact, user, Cost.WRITE, spec),
            Route("POST", path + "/3pid/delete", self.forget_contact, user, Cost.WRITE, spec),
            Route("POST", path + "/3pid/unbind", self.forget_contact, user, Cost.WRITE, spec),
            *(
                Route(
                    "POST",
                    f"{path}/{of}/requestToken",
                    self.no_contact,
                    Access.ANYONE,
                    Cost.REGISTER,
                    spec,
                )
                for of in ("3pid/email", "3pid/msisdn", "password/email", "password/msisdn")
            ),
        ]

    async def password(self, request: Request) -> Any:
        """POST /_matrix/client/v3/account/password"""
        body = request.json(PasswordBody)
        caller = request.caller_
        account_no, device_no = (caller.account_no, caller.device_no) if caller else (0, 0)
        await self._change_password.check(account_no, body.new_password)
        proof = await self._prove.owner("password", account_no, body.auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        assert proof.keys is not None, "the owner's proof is a password"
        await self._change_password.run(
            proof.account_no, proof.keys, body.new_password, device_no, body.logout_devices
        )
        self._prove.done(proof)
        return b"{}"

    async def deactivate(self, request: Request) -> Any:
        """POST /_matrix/client/v3/account/deactivate"""
        body = request.json(DeactivateBody)
        account_no = request.caller_.account_no if request.caller_ else 0
        proof = await self._prove.owner("deactivate", account_no, body.auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        await self._deactivate.run(proof.account_no, body.erase)
        self._prove.done(proof)
        return {"id_server_unbind_result": "success"}  # nothing is ever bound

    async def contacts(self, request: Request) -> Any:
        """GET /_matrix/client/v3/account/3pid"""
        return {"threepids": []}

    async def no_contact(self, request: Request) -> Any:
        """POST /_matrix/client/v3/account/3pid/add"""
        request.object()
        raise Refused(Reason.THREEPID_UNSUPPORTED, "This server takes no contact addresses")

    async def forget_contact(self, request: Request) -> Any:
        """POST /_matrix/client/v3/account/3pid/delete"""
        request.json(ContactBody)
        return {"id_server_unbind_result": "no-support"}
