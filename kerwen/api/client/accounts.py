"""Builds everything about accounts, for `main.py` and the tests: read it to see what needs what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerwen.accounts.actions.app_passwords import AppPasswords
from kerwen.accounts.actions.authenticate import Authenticate
from kerwen.accounts.actions.change_password import ChangePassword
from kerwen.accounts.actions.check_factor import CheckFactor
from kerwen.accounts.actions.deactivate import AfterDeactivated, Deactivate, OnDeactivated
from kerwen.accounts.actions.factors import Factors
from kerwen.accounts.actions.invite import Invite
from kerwen.accounts.actions.log_in import LogIn
from kerwen.accounts.actions.log_out import LogOut
from kerwen.accounts.actions.manage_devices import ManageDevices
from kerwen.accounts.actions.moderate import Moderate
from kerwen.accounts.actions.open_session import DeviceIdTaken, Lives, OpenSession
from kerwen.accounts.actions.prove import Prove
from kerwen.accounts.actions.recovery_key import RecoveryKeys
from kerwen.accounts.actions.refresh import Refresh
from kerwen.accounts.actions.register import OnRegistered, Register
from kerwen.accounts.actions.remove_devices import OnDevice, RemoveDevices
from kerwen.accounts.actions.renew_password import RenewPassword
from kerwen.accounts.actions.reset_factors import ResetFactors
from kerwen.accounts.actions.reset_password import WAIT_MS, OnReset, ResetPassword
from kerwen.accounts.actions.stretch import Stretcher
from kerwen.accounts.actions.sweep import Sweep
from kerwen.accounts.actions.vaults import Vaults
from kerwen.accounts.passkey import party_of
from kerwen.accounts.password import Argon2
from kerwen.api.client.account import AccountApi
from kerwen.api.client.admin import AdminApi
from kerwen.api.client.devices import DevicesApi
from kerwen.api.client.household import HouseholdApi
from kerwen.api.client.login import LoginApi
from kerwen.api.client.register import RegisterApi
from kerwen.api.client.second_factor import SecondFactorApi
from kerwen.api.client.sessions import ServiceAccounts
from kerwen.api.client.versions import VersionsApi
from kerwen.api.client.wellknown import WellKnown, WellKnownApi
from kerwen.api.client.whoami import WhoamiApi
from kerwen.api.http import Caller, Route
from kerwen.api.routes import Area
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed


def _none_reserved(localpart: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """What the house decides. `registration` is open, token or closed."""

    domain: str
    registration: str = "closed"
    argon2: Argon2 = field(default_factory=Argon2)
    password_min: int = limits.PASSWORD_MIN
    lives: Lives = field(default_factory=Lives)
    reset_wait_ms: int = WAIT_MS
    room_versions: Mapping[str, str] = field(default_factory=dict)
    default_room_version: str = "12"
    unstable: Mapping[str, bool] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    well_known: WellKnown = field(default_factory=WellKnown)
    old_pepper: str = ""
    """Of the server from which accounts were imported."""


@dataclass(frozen=True, slots=True)
class AccountHooks:
    """What other subjects do when an account or device comes or goes."""

    reserved: Callable[[str], bool] = _none_reserved
    on_registered: Sequence[OnRegistered] = ()
    device_id_taken: DeviceIdTaken | None = None
    on_device_removed: Sequence[OnDevice] = ()
    on_device_renamed: Sequence[OnDevice] = ()
    on_deactivated: Sequence[OnDeactivated] = ()
    after_deactivated: Sequence[AfterDeactivated] = ()
    on_reset: Sequence[OnReset] = ()


class Accounts:
    """The subject whole: its actions by name, and its routes."""

    def __init__(
        self,
        db: Database,
        feed: Feed,
        vaults: Vaults,
        settings: AccountSettings,
        hooks: AccountHooks | None = None,
        clock: Clock = now_ms,
    ) -> None:
        hooks = hooks or AccountHooks()
        domain, shortest = settings.domain, settings.password_min
        self.settings = settings
        self._clock = clock
        self.service_accounts: ServiceAccounts | None = None
        """Who registers and logs in by an application service's token; set by `messenger`."""
        self.stretcher = Stretcher(settings.argon2, clock=clock)
        self.remove_devices = RemoveDevices(vaults, hooks.on_device_removed)
        self.sessions = OpenSession(
            db, self.remove_devices, settings.lives, hooks.device_id_taken, clock
        )
        party = party_of(settings.well_known.base_url, domain)
        self.factors = Factors(db, domain, vaults, party, clock)
        self.reset_factors = ResetFactors(db, vaults, settings.reset_wait_ms, hooks.on_reset, clock)
        second = CheckFactor(db, vaults, party, clock)
        renew = RenewPassword(
            db, self.stretcher, vaults, domain, settings.old_pepper, hooks.on_registered, clock
        )
        self.prove = Prove(db, domain, self.stretcher, second, clock=clock, renew=renew)
        self.authenticate = Authenticate(db, feed, domain, vaults, Caller, clock)
        self.register = Register(
            db,
            domain,
            self.stretcher,
            self.sessions,
            vaults,
            settings.registration,
            password_min=shortest,
            reserved=hooks.reserved,
            on_registered=hooks.on_registered,
            clock=clock,
        )
        self.app_passwords = AppPasswords(db, vaults, clock)
        self.recovery_keys = RecoveryKeys(db, vaults)
        self.log_in = LogIn(
            db, domain, self.prove, self.app_passwords, self.sessions, vaults, clock
        )
        self.log_out = LogOut(db, self.remove_devices)
        self.refresh = Refresh(db, domain, self.sessions, vaults, clock)
        self.invite = Invite(db, clock)
        self.change_password = ChangePassword(
            db, self.stretcher, self.remove_devices, vaults, shortest, clock
        )
        self.deactivate = Deactivate(
            db,
            domain,
            self.remove_devices,
            vaults,
            hooks.on_deactivated,
            hooks.after_deactivated,
            clock,
        )
        self.moderate = Moderate(db, domain)
        self.manage_devices = ManageDevices(db, self.remove_devices, hooks.on_device_renamed)
        self.reset_password = ResetPassword(
            db, self.stretcher, vaults, settings.reset_wait_ms, hooks.on_reset, clock
        )
        self.sweep = Sweep(db, vaults, clock)

    def routes(self) -> list[Route]:
        """Every route about accounts and about the server itself."""
        settings, prove = self.settings, self.prove
        versions = VersionsApi(
            settings.room_versions,
            settings.default_room_version,
            settings.unstable,
            settings.capabilities,
        )
        areas: list[Area] = [
            RegisterApi(settings.domain, self.register, prove, self.invite, self._by_service),
            LoginApi(
                settings.domain, self.log_in, self.refresh, self.log_out, prove, self._by_service
            ),
            WhoamiApi(),
            versions,
            WellKnownApi(settings.well_known),
            AccountApi(self.change_password, self.deactivate, prove),
            DevicesApi(self.manage_devices, prove, self._clock),
            AdminApi(self.moderate),
            HouseholdApi(self.app_passwords, self.reset_password, prove, self.recovery_keys),
        ]
        areas.append(SecondFactorApi(self.factors, self.reset_factors, prove))
        return [route for area in areas for route in area.routes()]

    def _by_service(self) -> ServiceAccounts | None:
        return self.service_accounts

    async def tidy(self) -> None:
        """What a timer does every few minutes: last-seen times, ended tokens, due resets."""
        await self.authenticate.store_seen()
        await self.reset_password.take_effect()
        await self.reset_factors.take_effect()
        while await self.sweep.run() >= 500:
            pass

    def close(self) -> None:
        """Ends the password threads."""
        self.stretcher.close()
