"""The story in real browsers: `web/test/browser/story.mjs` tells it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Server

STORY_SECONDS = 220
STEPS = 13
OTHER_CLIENT = Path(__file__).resolve().parents[1] / "clients" / "js" / "node_modules"


@pytest.mark.timeout(STORY_SECONDS + 20)
def test_two_people_in_two_browsers(server: Server, browser: Path, tmp_path: Path) -> None:
    """They register, chat in an encrypted group with picture and voice, open it off line, restore
    it on a second device; no request leaves the house, no policy is broken, axe finds nothing."""
    third = OTHER_CLIENT.exists()  # without it two people are left
    told = subprocess.run(
        ["node", "test/browser/story.mjs", server.url],
        env={**os.environ, "KERWEN_THIRD": "on" if third else "off"},
        cwd=browser, capture_output=True, text=True, timeout=STORY_SECONDS, check=False,
    )  # fmt: skip
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert f"browser told: {STEPS if third else STEPS - 1} steps, 0 wrong" in told.stdout
