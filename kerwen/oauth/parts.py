"""Builds everything about the OAuth 2.0 API and the account's pages: read it to see what needs
what.
"""

from __future__ import annotations

from dataclasses import dataclass

from kerwen.accounts.actions.profile import Profiles
from kerwen.accounts.actions.vaults import Vaults
from kerwen.api.client.accounts import Accounts
from kerwen.api.oauth.endpoints import OAuthApi
from kerwen.api.oauth.rendezvous import RendezvousApi
from kerwen.api.pages.account import AccountPages
from kerwen.api.pages.app_passwords import AppPasswordsPages
from kerwen.api.pages.consent import ConsentPages
from kerwen.api.pages.desk import Desk
from kerwen.api.pages.devices import DevicesPages
from kerwen.api.pages.factors import FactorsPages
from kerwen.api.pages.fallback import FallbackPages
from kerwen.api.pages.passkeys import PasskeyScript
from kerwen.api.pages.sign_in import SignInPages
from kerwen.api.routes import Area
from kerwen.base import ids
from kerwen.base.clock import Clock
from kerwen.oauth.actions.ask_for_device import AskForDevice
from kerwen.oauth.actions.authorise import Authorise
from kerwen.oauth.actions.browse import Browse
from kerwen.oauth.actions.exchange import Exchange
from kerwen.oauth.actions.register_client import RegisterClient
from kerwen.oauth.actions.renew_keys import RenewKeys
from kerwen.oauth.actions.tidy import Tidy
from kerwen.oauth.rendezvous import Rendezvous
from kerwen.storage.database import Database


@dataclass(slots=True)
class OAuth:
    """The subject whole."""

    areas: list[Area]
    browse: Browse
    renew_keys: RenewKeys
    _tidy: Tidy

    async def tidy(self) -> None:
        """What a timer does every minute or so."""
        while await self._tidy.run() >= 200:
            pass


def build_oauth(
    db: Database,
    domain: str,
    base_url: str,
    accounts: Accounts,
    profiles: Profiles,
    vaults: Vaults,
    clock: Clock,
) -> OAuth:
    """`base_url` is the server's address as browsers know it."""
    browse = Browse(db, accounts.prove, vaults, clock)
    clients = RegisterClient(db, clock)
    ask_for_device = AskForDevice(db, vaults, clock)
    renew_keys = RenewKeys(db, clock)
    exchange = Exchange(
        db,
        domain,
        accounts.sessions,
        accounts.refresh,
        accounts.remove_devices,
        vaults,
        clock,
    )
    desk = Desk(domain, base_url, browse)
    mode, party = accounts.settings.registration, accounts.prove.second.party
    areas: list[Area] = [
        OAuthApi(base_url, clients, exchange, ask_for_device, mode),
        RendezvousApi(base_url, Rendezvous(), ids.secret, clock),
        SignInPages(desk, accounts.register, accounts.invite, party),
        ConsentPages(desk, clients, Authorise(db, vaults, clock), ask_for_device),
        AccountPages(
            desk,
            profiles,
            accounts.change_password,
            accounts.reset_password,
            accounts.deactivate,
            renew_keys,
        ),
        DevicesPages(desk, accounts.manage_devices, clients),
        FactorsPages(desk, accounts.factors, accounts.reset_factors, party),
        AppPasswordsPages(desk, accounts.app_passwords),
        FallbackPages(desk, accounts.prove),
        PasskeyScript(),
    ]
    return OAuth(areas, browse, renew_keys, Tidy(db, vaults, clock))
