"""What the metrics say of calls; zeroes where there are none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from kerwen.base.metrics import Number


class _Call(Protocol):
    @property
    def peers(self) -> Collection[str]: ...


class _Hall(Protocol):
    joined: int
    resumed: int

    @property
    def calls(self) -> Mapping[str, _Call]: ...
    @property
    def janus_lost(self) -> int: ...


def numbers(hall: _Hall | None) -> list[Number]:
    """The figures of a hall."""

    def people() -> int:
        return sum(len(call.peers) for call in hall.calls.values()) if hall else 0

    return [
        Number("calls", "gauge", "Calls under way", lambda: len(hall.calls) if hall else 0),
        Number("call_people", "gauge", "Devices in calls", people),
        Number("call_joins", "counter", "Devices that came", lambda: hall.joined if hall else 0),
        Number("call_resumes", "counter", "Lines resumed", lambda: hall.resumed if hall else 0),
        Number("janus_lost", "counter", "Janus went away", lambda: hall.janus_lost if hall else 0),
    ]
