"""Builds everything about application services: read it to see what needs what."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from kerwen.accounts.actions.log_in import LogIn
from kerwen.accounts.actions.register import Register
from kerwen.app_services import store
from kerwen.app_services.actions.enrol import Enrol
from kerwen.app_services.actions.gather import Gather, Render, WhoTypes
from kerwen.app_services.actions.interest import Interest
from kerwen.app_services.actions.lookup import Lookup
from kerwen.app_services.actions.masquerade import MakeServiceCaller, Masquerade
from kerwen.app_services.client import ServiceClient
from kerwen.app_services.registration import (
    Service,
    Services,
    check_together,
    service_of,
)
from kerwen.app_services.sender import ServiceSender
from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.config import BadConfig, Config
from kerwen.base.errors import Reason, Refused
from kerwen.net.outgoing import Outgoing
from kerwen.storage.database import Database, Kind, Snap
from kerwen.storage.feed import Feed

C = TypeVar("C")
FILE_MAX: Final = 1 * limits.MIB


def load_services(config: Config) -> Services:
    """The services of the configuration. `BadConfig` says in one line what is wrong."""
    if not config.app_service:
        return Services()
    found: list[tuple[str, Service]] = []
    for file in config.app_service:
        try:
            found.append((file, service_of(_read(Path(file)), config.server_name)))
        except ValueError as error:
            raise BadConfig(f"app_service {file}: {error}") from None
    try:
        check_together(found)
    except ValueError as error:
        raise BadConfig(f"app_service {error}") from None
    return Services(service for _, service in found)


def _read(path: Path) -> object:
    """A YAML file; `ValueError` in one line."""
    import yaml  # type: ignore[import-untyped]  # 15 ms that only houses with services pay

    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from None
    if len(text) > FILE_MAX:
        raise ValueError(f"a registration has at most {FILE_MAX} bytes")
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"it is not YAML: {error.problem or error.context}{where}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("it is not YAML: " + " ".join(str(error).split())) from None


class ServiceBridges:
    """What rooms ask of services (`rooms/actions/bridges.py`)."""

    def __init__(self, services: Services, lookup: Lookup) -> None:
        self._services = services
        self._lookup = lookup

    async def make_user(self, user_id: str) -> bool:
        """Asks the services that cover a user."""
        return await self._lookup.make_user(user_id)

    async def make_alias(self, alias: str) -> bool:
        """Asks the services that cover an alias."""
        return await self._lookup.make_alias(alias)

    def check_alias(self, user_id: str, alias: str, service: str) -> None:
        """AS #server-admin-style-permissions: a service names rooms within its namespaces, and
        nobody else within exclusive ones."""
        asking = self._services.by_id(service)
        if asking is not None and not asking.aliases.covers(alias):
            raise Refused(Reason.EXCLUSIVE, "The alias is outside of the service's namespaces")
        if self._services.alias_is_claimed(alias, besides=asking):
            raise Refused(Reason.EXCLUSIVE, "The alias is an application service's")

    async def listed(self, snap: Snap, instance_id: str | None) -> list[int]:
        """The rooms of a network's directory, by `service|network`; None: of all networks."""
        if instance_id is None:
            return await store.all_listed_rooms(snap)
        service_id, _, network_id = instance_id.rpartition("|")
        return await store.listed_rooms(snap, service_id, network_id)


@dataclass(frozen=True, slots=True)
class AppServices:
    """The subject's objects."""

    services: Services
    lookup: Lookup
    client: ServiceClient
    enrol: Enrol
    bridges: ServiceBridges
    interest: Interest
    senders: dict[str, ServiceSender]

    def masks(self, db: Database, make: MakeServiceCaller[C]) -> Masquerade[C]:
        """Who says as whom a service acts; `make` is the door's caller type."""
        return Masquerade(db, self.services, make, self._alive)

    def _alive(self, service: Service) -> None:
        self.senders[service.id].alive()

    def soft(self, room_no: int) -> None:
        """Somebody began or ceased to type in a room."""
        for sender in self.senders.values():
            sender.soft(room_no)

    def workers(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """One worker a service."""
        return [sender.run for sender in self.senders.values()]

    async def at_start(self) -> None:
        """Before anybody may ask anything: the senders' accounts."""
        try:
            await self.enrol.senders()
        except ValueError as error:
            raise BadConfig(f"app_service {error}") from None


def build_app_services(
    config: Config,
    db: Database,
    feed: Feed,
    outgoing: Outgoing,
    register: Register,
    log_in: LogIn,
    services: Services,
    render: Render,
    who_types: WhoTypes,
    clock: Clock,
) -> AppServices:
    """`render` shows events as clients read them, `who_types` who types in a room."""
    domain = config.server_name
    client = ServiceClient(outgoing)
    lookup = Lookup(services, client, domain, clock)
    interest = Interest(db, services, domain)
    gather = Gather(db, interest, render, who_types)
    owner = secrets.token_hex(8)
    senders = {
        service.id: ServiceSender(db, feed, service, gather, client, owner, clock)
        for service in services.all
    }
    if services:
        feed.follow(interest.follow, Kind.MEMBERSHIP)
    for sender in senders.values():
        feed.follow(sender.follow)
    return AppServices(
        services,
        lookup,
        client,
        Enrol(db, services, register, log_in, domain),
        ServiceBridges(services, lookup),
        interest,
        senders,
    )
