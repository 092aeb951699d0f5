"""A device that sleeps at the server, put there and waked by matrix-js-sdk with its Rust crypto."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .conftest import Target

STORY_SECONDS = 60
STEPS = 5


def test_what_was_said_in_absence_is_read(story_server: Target, js_folder: Path) -> None:
    command = ["node", str(js_folder / "dehydrated.mjs"), story_server.url]
    told = subprocess.run(command, capture_output=True, text=True, timeout=STORY_SECONDS)
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert f"js told: {STEPS} steps" in told.stdout
