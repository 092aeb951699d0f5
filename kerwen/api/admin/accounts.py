"""Accounts and invitations, for administrators."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from kerwen.accounts.actions.register import Wanted
from kerwen.accounts.store.invitations import RegistrationToken
from kerwen.admin.actions.limits import Limits
from kerwen.admin.actions.look import Look
from kerwen.admin.store.overview import AccountRow
from kerwen.api.admin.table import BASE, AdminRoute, Nothing, Query
from kerwen.api.client.accounts import Accounts
from kerwen.api.http import Cost, Request
from kerwen.base.errors import Reason, Refused
from kerwen.media.actions.quota import Quota

_NUMBERS = "names, standings and numbers of accounts"
_STANDING = "the standing of an account"
_LOGINS = "where an account is logged in: ids, times, network addresses"
_CLOSING = "an account with all that is kept for it, the words it said if they are erased"
STANDINGS = ("any", "open", "closed", "locked", "suspended", "administrator", "bot")


class Account(msgspec.Struct):
    """An account. Times in ms since 1970 (0: never), sizes in bytes."""

    user_id: str
    name: str
    kind: str
    created_ms: int
    admin: bool
    locked: bool
    suspended: bool
    deactivated_ms: int
    erased: bool
    devices: int
    seen_ms: int
    media_bytes: int
    media_files: int
    mail_bytes: int
    rooms: int


class AccountPage(msgspec.Struct):
    """`next` goes into `after` for the next page; null: this was the last."""

    accounts: list[Account]
    next: str | None


class NewAccount(msgspec.Struct):
    """The first password; its owner changes it. Invitations need none."""

    name: str
    password: str


class Made(msgspec.Struct):
    user_id: str


class Device(msgspec.Struct):
    """A log-in. `address` is where it came from last."""

    device_id: str
    created_ms: int
    seen_ms: int
    address: str


class Devices(msgspec.Struct):
    devices: list[Device]


class Lock(msgspec.Struct):
    locked: bool


class Suspension(msgspec.Struct):
    suspended: bool


class Closing(msgspec.Struct):
    """`erase`: what the account said is emptied as well, and its files are deleted."""

    erase: bool = False


class QuotaBody(msgspec.Struct):
    """Bytes of files; null: the server's setting."""

    quota_bytes: int | None = None


class Usage(msgspec.Struct):
    """`quota_bytes` is what holds for the account now."""

    used_bytes: int
    files: int
    quota_bytes: int


class LimitsBody(msgspec.Struct):
    """A percentage of everyone's rate limits; 0: none at all; null: as everyone."""

    percent: int | None = None


class NewPassword(msgspec.Struct):
    """A password that comes into force after the waiting time."""

    new_password: str


class Begun(msgspec.Struct):
    """When the new password comes into force, unless a session of the account stops it."""

    effect_ms: int


class ResetUnderWay(msgspec.Struct):
    begun_ms: int
    effect_ms: int


class NewToken(msgspec.Struct):
    """`uses_max` 0: any number of times; `lives_ms` 0: for ever."""

    token: str | None = None
    uses_max: int = 1
    lives_ms: int = 0


class Token(msgspec.Struct):
    """An invitation."""

    token: str
    uses: int
    uses_max: int
    expires_ms: int


class Tokens(msgspec.Struct):
    registration_tokens: list[Token]


class AccountsApi:
    """The routes under `accounts` and `registration_tokens`."""

    def __init__(
        self, domain: str, accounts: Accounts, look: Look, quota: Quota, limits: Limits
    ) -> None:
        self._domain = domain
        self._register = accounts.register
        self._moderate = accounts.moderate
        self._deactivate = accounts.deactivate
        self._devices = accounts.manage_devices
        self._resets = accounts.reset_password
        self._factor_resets = accounts.reset_factors
        self._invite = accounts.invite
        self._look = look
        self._quota = quota
        self._limits = limits

    def lines(self) -> list[AdminRoute]:
        """The table."""
        return [*self._of_all(), *self._of_one(), *self._of_tokens()]

    def _of_all(self) -> list[AdminRoute]:
        every = f"{BASE}/accounts"
        pages = (
            Query("search", "string", "a part of the name"),
            Query("standing", "string", "one of " + ", ".join(STANDINGS)),
            Query("after", "string", "the last name of the page before"),
            Query("limit", "integer", "how many at most, 1,000 at most"),
        )
        new = "a new account and its first password"
        make = AdminRoute("POST", every, self.make, "Makes an account", new, Made, NewAccount)
        return [
            AdminRoute(
                "GET", every, self.page, "Accounts by name", _NUMBERS, AccountPage, query=pages
            ),
            replace(make, tells=("name",), cost=Cost.HEAVY),
        ]

    def _of_one(self) -> list[AdminRoute]:
        one = f"{BASE}/accounts/{{userId}}"
        device, reset = f"{one}/devices/{{deviceId}}", f"{one}/password_reset"
        factors = f"{one}/second_factor_reset"
        waits = "a new password that waits; no key"
        lost = "the end of second factors, which waits; no key"
        line = AdminRoute
        close = line(
            "POST", f"{one}/deactivate", self.close, "Closes it for ever", _CLOSING, body=Closing
        )
        return [
            line("GET", one, self.one, "One account", _NUMBERS, Account),
            line("GET", f"{one}/lock", self.lock_now, "Whether it is locked", _STANDING, Lock),
            replace(
                line("PUT", f"{one}/lock", self.lock, "Shuts it out", _STANDING, Lock, Lock),
                tells=("locked",),
            ),
            line(
                "GET",
                f"{one}/suspend",
                self.suspend_now,
                "Whether it may read only",
                _STANDING,
                Suspension,
            ),
            line(
                "PUT",
                f"{one}/suspend",
                self.suspend,
                "Lets it read only",
                _STANDING,
                Suspension,
                Suspension,
                tells=("suspended",),
            ),
            replace(close, tells=("erase",), confirmed=True),
            line("GET", f"{one}/devices", self.devices, "Its log-ins", _LOGINS, Devices),
            line("DELETE", device, self.log_out, "Ends a log-in", "a device, its tokens and keys"),
            line("GET", f"{one}/quota", self.quota, "What it stores", _NUMBERS, Usage),
            line(
                "PUT",
                f"{one}/quota",
                self.set_quota,
                "What it may store",
                "a number of the account",
                Usage,
                QuotaBody,
                tells=("quota_bytes",),
            ),
            line("GET", f"{one}/limits", self.limits, "Its rate limits", _NUMBERS, LimitsBody),
            line(
                "PUT",
                f"{one}/limits",
                self.set_limits,
                "Its rate limits",
                "a number of the account",
                LimitsBody,
                LimitsBody,
                tells=("percent",),
            ),
            line("GET", reset, self.reset, "The reset under way", "two times", ResetUnderWay),
            line("POST", reset, self.begin_reset, "Begins a reset", waits, Begun, NewPassword),
            line("DELETE", reset, self.stop_reset, "Stops a reset", waits),
            line("POST", factors, self.begin_factors, "Begins to take second factors", lost, Begun),
            line("DELETE", factors, self.stop_factors, "Stops that", lost),
        ]

    def _of_tokens(self) -> list[AdminRoute]:
        tokens = f"{BASE}/registration_tokens"
        line, what = AdminRoute, "invitations"
        tells = ("uses_max", "lives_ms")
        return [
            line("GET", tokens, self.tokens, "The newest invitations", what, Tokens),
            line("POST", tokens, self.make_token, "Invites", what, Token, NewToken, tells=tells),
            line("DELETE", f"{tokens}/{{token}}", self.end_token, "Takes one back", what),
        ]

    # --- all -------------------------------------------------------------------------------

    async def page(self, request: Request) -> AccountPage:
        """GET /_kerwen/admin/accounts"""
        standing = request.query("standing") or "any"
        if standing not in STANDINGS:
            raise Refused(Reason.INVALID_PARAM, "There is no such standing")
        count = request.int_query("limit", 100, 1, 1000)
        search, after = (request.query("search") or "").lower(), request.query("after") or ""
        if "\0" in search + after:
            raise Refused(Reason.INVALID_PARAM, "A name holds no NUL")
        found = await self._look.accounts(search, standing, after, count)
        return AccountPage(
            [self._shown(row) for row in found], found[-1].name if len(found) == count else None
        )

    async def make(self, request: Request) -> Made:
        """POST /_kerwen/admin/accounts"""
        body = request.json(NewAccount)
        user_id, _ = await self._register.run(Wanted(body.name, body.password, log_in=False))
        return Made(user_id)

    # --- one -------------------------------------------------------------------------------

    async def one(self, request: Request) -> Account:
        """GET /_kerwen/admin/accounts/{userId}"""
        return self._shown(await self._look.account(request.params["userId"]))

    async def lock_now(self, request: Request) -> Lock:
        """GET /_kerwen/admin/accounts/{userId}/lock"""
        return Lock((await self._moderate.look(request.params["userId"])).locked)

    async def lock(self, request: Request) -> Lock:
        """PUT /_kerwen/admin/accounts/{userId}/lock"""
        body = request.json(Lock)
        by = request.caller.account_no
        await self._moderate.lock(by, request.params["userId"], body.locked)
        return body

    async def suspend_now(self, request: Request) -> Suspension:
        """GET /_kerwen/admin/accounts/{userId}/suspend"""
        return Suspension((await self._moderate.look(request.params["userId"])).suspended)

    async def suspend(self, request: Request) -> Suspension:
        """PUT /_kerwen/admin/accounts/{userId}/suspend"""
        body = request.json(Suspension)
        by = request.caller.account_no
        await self._moderate.suspend(by, request.params["userId"], body.suspended)
        return body

    async def close(self, request: Request) -> Nothing:
        """POST /_kerwen/admin/accounts/{userId}/deactivate"""
        body = request.json(Closing)
        account = await self._moderate.look(request.params["userId"])
        await self._deactivate.run(account.account_no, body.erase)
        return Nothing()

    async def devices(self, request: Request) -> Devices:
        """GET /_kerwen/admin/accounts/{userId}/devices"""
        found = await self._moderate.devices_of(request.params["userId"])
        return Devices(
            [Device(d.device_id, d.created_ms, d.seen_ms, d.seen_address) for d in found]
        )

    async def log_out(self, request: Request) -> Nothing:
        """DELETE /_kerwen/admin/accounts/{userId}/devices/{deviceId}"""
        account = await self._moderate.look(request.params["userId"])
        device = await self._devices.one(account.account_no, request.params["deviceId"])
        await self._devices.delete(account.account_no, [device.device_id])
        return Nothing()

    async def quota(self, request: Request) -> Usage:
        """GET /_kerwen/admin/accounts/{userId}/quota"""
        return await self._usage(await self._account_no(request))

    async def set_quota(self, request: Request) -> Usage:
        """PUT /_kerwen/admin/accounts/{userId}/quota"""
        quota = request.json(QuotaBody).quota_bytes
        if quota is not None and not 0 <= quota < 2**62:
            raise Refused(Reason.INVALID_PARAM, "This number is out of range")
        account_no = await self._account_no(request)
        await self._quota.set_quota(account_no, quota)
        return await self._usage(account_no)

    async def limits(self, request: Request) -> LimitsBody:
        """GET /_kerwen/admin/accounts/{userId}/limits"""
        return LimitsBody(await self._limits.of(await self._account_no(request)))

    async def set_limits(self, request: Request) -> LimitsBody:
        """PUT /_kerwen/admin/accounts/{userId}/limits"""
        body = request.json(LimitsBody)
        await self._limits.set(await self._account_no(request), body.percent)
        return body

    async def reset(self, request: Request) -> ResetUnderWay:
        """GET /_kerwen/admin/accounts/{userId}/password_reset"""
        found = await self._resets.under_way(await self._account_no(request))
        if found is None:
            raise Refused(Reason.NOT_FOUND, "No reset is under way")
        return ResetUnderWay(found.begun_ms, found.effect_ms)

    async def begin_reset(self, request: Request) -> Begun:
        """POST /_kerwen/admin/accounts/{userId}/password_reset"""
        password = request.json(NewPassword).new_password
        account_no = await self._account_no(request)
        return Begun(await self._resets.begin(request.caller.account_no, account_no, password))

    async def stop_reset(self, request: Request) -> Nothing:
        """DELETE /_kerwen/admin/accounts/{userId}/password_reset"""
        await self._resets.stop(await self._account_no(request))
        return Nothing()

    async def begin_factors(self, request: Request) -> Begun:
        """POST /_kerwen/admin/accounts/{userId}/second_factor_reset"""
        account_no = await self._account_no(request)
        return Begun(await self._factor_resets.begin(request.caller.account_no, account_no))

    async def stop_factors(self, request: Request) -> Nothing:
        """DELETE /_kerwen/admin/accounts/{userId}/second_factor_reset"""
        await self._factor_resets.stop(await self._account_no(request))
        return Nothing()

    # --- invitations -----------------------------------------------------------------------

    async def tokens(self, request: Request) -> Tokens:
        """GET /_kerwen/admin/registration_tokens"""
        return Tokens([_token(found) for found in await self._invite.list()])

    async def make_token(self, request: Request) -> Token:
        """POST /_kerwen/admin/registration_tokens"""
        body = request.json(NewToken)
        by = request.caller.account_no
        return _token(await self._invite.make(by, body.token, body.uses_max, body.lives_ms))

    async def end_token(self, request: Request) -> Nothing:
        """DELETE /_kerwen/admin/registration_tokens/{token}"""
        await self._invite.take_back(request.params["token"])
        return Nothing()

    # --- parts -----------------------------------------------------------------------------

    async def _account_no(self, request: Request) -> int:
        return (await self._moderate.account(request.params["userId"])).account_no

    async def _usage(self, account_no: int) -> Usage:
        usage = await self._quota.usage(account_no)
        assert usage.quota is not None, "the server's own holds"
        return Usage(usage.bytes, usage.files, usage.quota)

    def _shown(self, row: AccountRow) -> Account:
        fields = msgspec.structs.asdict(row)
        fields.pop("account_no")
        return Account(f"@{row.name}:{self._domain}", **fields)


def _token(found: RegistrationToken) -> Token:
    return Token(found.token, found.uses, found.uses_max, found.expires_ms)
