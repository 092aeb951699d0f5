"""Room summaries, shared rooms, reports, blocked invitations, image packs, presence: as
matrix-js-sdk asks for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .conftest import Target
from .test_story_js import STORY_SECONDS

STEPS = 7


def test_what_a_client_asks_beside_talking(story_server: Target, js_folder: Path) -> None:
    command = ["node", str(js_folder / "rooms.mjs"), story_server.url]
    told = subprocess.run(command, capture_output=True, text=True, timeout=STORY_SECONDS)
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert f"rooms told: {STEPS} steps" in told.stdout
