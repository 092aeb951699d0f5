"""Numbers about the process, in the form that Prometheus reads.

Whoever counts keeps plain integers. They are gathered only when somebody asks, so that a
request pays nothing for being counted; the exposition library is imported at the first asking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

Value = tuple[Mapping[str, str], float]
"""A number and the labels that it stands under."""


@dataclass(frozen=True, slots=True)
class Number:
    """One metric: `name` without the prefix `kerwen_`, units last (`_seconds`, `_bytes`)."""

    name: str
    kind: Literal["counter", "gauge"]
    words: str
    read: Callable[[], float | Iterable[Value]]


class Metrics:
    """All metrics of the process."""

    def __init__(self) -> None:
        self.numbers: list[Number] = []
        self._registry: CollectorRegistry | None = None

    def add(self, *numbers: Number) -> None:
        """Takes in metrics; names are not used twice."""
        for number in numbers:
            assert number.name not in {n.name for n in self.numbers}, number.name
            self.numbers.append(number)

    def text(self) -> bytes:
        """The exposition of all metrics."""
        from prometheus_client import exposition, process_collector, registry

        if self._registry is None:
            self._registry = registry.CollectorRegistry()
            process_collector.ProcessCollector(registry=self._registry)
            self._registry.register(self)
        return exposition.generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """What the exposition library calls at each asking."""
        from prometheus_client.metrics_core import Metric

        for number in self.numbers:
            metric = Metric(f"kerwen_{number.name}", number.words, number.kind)
            found = number.read()
            values = [({}, found)] if isinstance(found, int | float) else found
            suffix = "_total" if number.kind == "counter" else ""
            for labels, value in values:
                metric.add_sample(metric.name + suffix, dict(labels), value)
            yield metric
