"""Plain integers become Prometheus text when somebody asks."""

from __future__ import annotations

import pytest

from kerwen.base.metrics import Metrics, Number


def test_the_text_follows_the_numbers() -> None:
    counted = {"n": 3}
    metrics = Metrics()
    metrics.add(
        Number("sends", "counter", "Messages sent", lambda: counted["n"]),
        Number("waiting", "gauge", "Who waits", lambda: [({"kind": "a"}, 1), ({"kind": "b"}, 2)]),
    )
    first = metrics.text().decode()
    assert "# TYPE kerwen_sends_total counter\nkerwen_sends_total 3.0\n" in first
    assert 'kerwen_waiting{kind="a"} 1.0\nkerwen_waiting{kind="b"} 2.0\n' in first
    assert "process_cpu_seconds_total" in first
    counted["n"] = 4
    assert "kerwen_sends_total 4.0" in metrics.text().decode()


def test_a_name_is_used_once() -> None:
    metrics = Metrics()
    number = Number("sends", "counter", "", lambda: 0)
    metrics.add(number)
    with pytest.raises(AssertionError):
        metrics.add(number)
