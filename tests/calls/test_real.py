"""Real clients in real calls: see `tests/calls/scenes.py`."""

from __future__ import annotations

import os

import pytest

from tests.calls import stage
from tests.oauth.chromium import PROGRAM

LACKING = stage.lacking()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
heavy = pytest.mark.skipif(
    not os.environ.get("KERWEN_CALLS"), reason="only with KERWEN_CALLS=1, or by `make calls`"
)


chromium = pytest.mark.skipif(
    PROGRAM is None or not stage.LIVEKIT.exists(),
    reason="no Chromium, or no npm ci in tests/clients",
)


@pytest.mark.parametrize("scene", ["core", "open_call"])
def test_native_clients(scene: str) -> None:
    stage.run(scene)


@chromium
def test_pages_with_wrong_keys_decode_nothing_and_the_dead_are_gone() -> None:
    stage.run("encrypted")


@heavy
@chromium
@pytest.mark.timeout(200)
@pytest.mark.parametrize("scene", ["layers", "broken_line", "relays"])
def test_pages(scene: str) -> None:
    stage.run(scene, 180)


@heavy
@chromium
@pytest.mark.skipif(not stage.ELEMENT_CALL.exists(), reason="no npm ci in tests/calls/js")
def test_element_call() -> None:
    stage.run("element_call", 110)
