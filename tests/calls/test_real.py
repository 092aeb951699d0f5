"""Real clients in real calls: see `tests/calls/scenes.py`."""

from __future__ import annotations

import os

import pytest

from tests.calls import stage

LACKING = stage.lacking()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
heavy = pytest.mark.skipif(
    not os.environ.get("KERWEN_CALLS"), reason="only with KERWEN_CALLS=1, or by `make calls`"
)


@pytest.mark.parametrize("scene", ["core", "open_call"])
def test_native_clients(scene: str) -> None:
    stage.run(scene)
