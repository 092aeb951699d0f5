"""The end-to-end story on matrix-js-sdk over sliding sync (MSC4186)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .conftest import Target
from .test_story_js import STEPS, STORY_SECONDS


def test_a_lost_device_loses_no_message(story_server: Target, js_folder: Path) -> None:
    command = ["node", str(js_folder / "story.mjs"), story_server.url, "--sliding"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=STORY_SECONDS)
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert f"js told: {STEPS} steps" in told.stdout
