"""The web app's engine in Node against a running server (web/test/engine/live.ts)."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import build_web

from .conftest import Target

WEB = Path(__file__).parents[2] / "web"
LIVE_SECONDS = 240
ROUNDS = "3"  # of device loss and restore; KERWEN_ROUNDS=200 for the long form


@pytest.fixture(scope="module")
def npm() -> None:
    """The packages of web/, installed where they are missing."""
    found = shutil.which("npm")
    if found is None:
        pytest.skip("no npm")
    with (WEB / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist's workers must not install at once
        assert build_web.install(found), "npm could not install the packages of web/"


@pytest.mark.timeout(LIVE_SECONDS + 60)  # the first run installs packages too
def test_the_engine_tells_its_story(npm: None, story_server: Target, js_folder: Path) -> None:
    told = subprocess.run(
        ["node", "--import", "./test/ts.mjs", "test/engine/live.ts"],
        cwd=WEB,
        env={
            "KERWEN_ROUNDS": ROUNDS,
            **os.environ,
            "KERWEN_TEST_URL": story_server.url,
        },
        capture_output=True,
        text=True,
        timeout=LIVE_SECONDS,
    )
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert told.stdout.count("\nok ") >= 13
    assert "# SKIP" not in told.stdout
