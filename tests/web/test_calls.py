"""Calls of the web app in real browsers: `web/test/browser/calls.mjs` tells the story."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.calls import stage

STEPS = 7
LACKING = stage.lacking()


@pytest.mark.skipif(
    not os.environ.get("KERWEN_CALLS"), reason="only with KERWEN_CALLS=1, or by `make calls`"
)
@pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
@pytest.mark.timeout(170)
def test_two_people_call_each_other(browser: Path) -> None:
    """Picture and voice both ways, every track encrypted; declined, answered on one of two devices,
    a closed tab; no policy is broken, no request leaves the house, axe finds nothing."""
    told = stage.run("web_app", 150)
    print(told)
    assert f"calls told: {STEPS} steps, 0 wrong" in told
