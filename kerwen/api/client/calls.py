"""What clients need for calls: TURN passes, and the transports of group calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kerwen.api.http import Cost, Request, Route
from kerwen.base.clock import Clock, now_ms
from kerwen.calls.turn import Turn


class CallsApi:
    """The route of voip.yaml, and MSC4143's. `transports` are those of group calls."""

    def __init__(
        self,
        turn: Turn,
        transports: Sequence[Mapping[str, Any]] = (),
        clock: Clock = now_ms,
    ) -> None:
        self._turn = turn
        self._transports = transports
        self._clock = clock

    def routes(self) -> list[Route]:
        """The table."""
        stable = "/_matrix/client/v1/rtc/transports"
        unstable = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
        return [
            Route(
                "GET",
                "/_matrix/client/v3/voip/turnServer",
                self.turn_server,
                cost=Cost.READ,
                spec="CS #voice-over-ip",
            ),
            Route("GET", stable, self.transports, spec="MSC4143"),
            Route("GET", unstable, self.transports, spec="MSC4143"),
        ]

    async def turn_server(self, request: Request) -> Any:
        """GET /_matrix/client/v3/voip/turnServer"""
        # QUIRK: without TURN servers the answer is empty, as clients expect; the specification
        # has no word for that
        return self._turn.pass_for(request.caller.user_id, self._clock())

    async def transports(self, request: Request) -> Any:
        """GET /_matrix/client/v1/rtc/transports"""
        return {"rtc_transports": list(self._transports)}
