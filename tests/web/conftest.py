"""What the tests of the web app need: a build, Node, a browser; what is missing is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kerwen.api.web import BUILT

WEB = Path(__file__).resolve().parents[2] / "web"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built app."""
    if not (BUILT / "files.json").exists():
        pytest.skip("the web app is not built: make web")
    return BUILT


@pytest.fixture(scope="session")
def browser(built: Path) -> Path:
    """The folder of `web/`, from which Node drives a browser."""
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium here: apt install chromium")
    if shutil.which("node") is None or not (WEB / "node_modules" / "playwright-core").exists():
        pytest.skip("no Node or no packages of web/: npm ci in web/")
    return WEB
