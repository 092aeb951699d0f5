"""Asks services on demand: whether a user or a room of theirs exists, and about other networks."""

# AS #querying, AS #third-party-networks

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from kerwen.app_services.client import ServiceClient
from kerwen.app_services.registration import Services
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused

_PROTOCOLS_MS: Final = 60_000  # how long an answer about networks is used
_TOGETHER_MAX: Final = 1_000  # questions under way


class Lookup:
    """`domain` is ours; only its users and aliases are asked for."""

    def __init__(
        self, services: Services, client: ServiceClient, domain: str, clock: Clock
    ) -> None:
        self._services = services
        self._client = client
        self._ours = ":" + domain
        self._clock = clock
        self._asking: dict[str, asyncio.Future[bool]] = {}
        self._protocols: tuple[int, dict[str, dict[str, Any]]] | None = None

    # --- users and rooms --------------------------------------------------------------------

    async def make_user(self, user_id: str) -> bool:
        """Asks for a user who does not exist here; whether a service has made them now."""
        asked = [
            service
            for service in self._services.all
            if service.url and user_id != service.sender and service.has_user(user_id)
        ]
        return bool(asked) and await self._once(
            user_id, lambda: self._first(self._client.has_user(s, user_id) for s in asked)
        )

    async def make_alias(self, alias: str) -> bool:
        """Asks for a room alias that does not exist here."""
        if not alias.endswith(self._ours):
            return False
        asked = [s for s in self._services.all if s.url and s.aliases.covers(alias)]
        return bool(asked) and await self._once(
            alias, lambda: self._first(self._client.has_alias(s, alias) for s in asked)
        )

    async def _first(self, questions: Iterable[Awaitable[bool]]) -> bool:
        """Asks one after the other: the first who says yes has made it."""
        for question in questions:
            if await question:
                return True
        return False

    async def _once(self, name: str, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Whoever asks the same while an answer is under way waits for it."""
        running = self._asking.get(name)
        if running is None:
            if len(self._asking) >= _TOGETHER_MAX:
                return False
            running = self._asking[name] = asyncio.ensure_future(ask())
            running.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(running)

    # --- other networks ---------------------------------------------------------------------

    async def protocols(self) -> dict[str, dict[str, Any]]:
        """What services say of their networks (CS #third-party-networks)."""
        now = self._clock()
        if self._protocols is None or now - self._protocols[0] >= _PROTOCOLS_MS:
            asked = [(s, p) for s in self._services.all if s.url for p in s.protocols]
            answers = await asyncio.gather(*(self._client.protocol(s, p) for s, p in asked))
            found: dict[str, dict[str, Any]] = {}
            for (service, protocol), answer in zip(asked, answers, strict=True):
                if answer is not None:
                    _merge(found, protocol, service.id, answer)
            self._protocols = (now, found)
        return self._protocols[1]

    async def protocol(self, name: str) -> dict[str, Any]:
        """One of them. Says `NOT_FOUND`."""
        found = (await self.protocols()).get(name)
        if found is None:
            raise Refused(Reason.NOT_FOUND, "There is no such network here")
        return found

    async def of_network(
        self, what: str, protocol: str, fields: Mapping[str, Sequence[str]]
    ) -> list[dict[str, Any]]:
        """`user` or `location` of a network by fields of its own. Says `NOT_FOUND`."""
        asked = [s for s in self._services.all if protocol in s.protocols]
        path = f"{what}/{quote(protocol, safe='')}"
        answers = await asyncio.gather(*(self._client.third(s, path, fields) for s in asked))
        return _some([entry for answer in answers for entry in answer])

    async def of_matrix(self, what: str, name: str, value: str) -> list[dict[str, Any]]:
        """What stands behind a user (`userid`) or a room (`alias`). Says `NOT_FOUND`."""
        if what == "user":
            asked = [s for s in self._services.all if s.has_user(value)]
        else:
            asked = [s for s in self._services.all if s.aliases.covers(value)]
        answers = await asyncio.gather(
            *(self._client.third(s, what, {name: [value]}) for s in asked)
        )
        return _some([entry for answer in answers for entry in answer])


def _some(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not found:
        raise Refused(Reason.NOT_FOUND, "Nothing here leads to another network")
    return found


def _merge(
    found: dict[str, dict[str, Any]], protocol: str, service_id: str, answer: dict[str, Any]
) -> None:
    """Several services may serve one network: their instances stand together."""
    instances = answer.get("instances")
    named = []
    for instance in instances if isinstance(instances, list) else []:
        if isinstance(instance, dict) and isinstance(instance.get("network_id"), str):
            named.append({**instance, "instance_id": f"{service_id}|{instance['network_id']}"})
    known = found.setdefault(protocol, {**answer, "instances": []})
    known["instances"] += named
