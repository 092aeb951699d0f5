"""OAuth 2.0 and log-in by QR code on matrix-js-sdk, in Node."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .conftest import Target

STORY_SECONDS = 70
STEPS = 7


def test_sign_up_and_a_second_device_by_qr_code(story_server: Target, js_folder: Path) -> None:
    command = ["node", str(js_folder / "oauth.mjs"), story_server.url]
    told = subprocess.run(command, capture_output=True, text=True, timeout=STORY_SECONDS)
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert f"oauth told: {STEPS} steps" in told.stdout
