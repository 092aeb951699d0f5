"""Mail in the web app: engine and rules in Node, attacks on letters and a story in Chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PORTS, Server

from .conftest import WEB

STORY_SECONDS = 150


def told(folder: Path, *command: str, seconds: int = 60) -> str:
    """What a Node script says; it has to end well."""
    done = subprocess.run(
        ["node", *command], cwd=folder, capture_output=True, text=True, timeout=seconds, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return done.stdout


def test_engine_and_rules() -> None:
    if shutil.which("node") is None or not (WEB / "node_modules" / "fake-indexeddb").exists():
        pytest.skip("no Node or no packages of web/: npm ci in web/")
    files = [str(path.relative_to(WEB)) for path in sorted((WEB / "test/mail").glob("*.test.ts"))]
    assert "fail 0" in told(WEB, "tools/test.js", *files)


def test_letters_that_attack(browser: Path) -> None:
    assert "0 got through" in told(browser, "test/browser/letters.mjs")


@pytest.mark.timeout(STORY_SECONDS + 20)
def test_two_people_write_to_each_other(server: Server, browser: Path) -> None:
    """With a file, taken back, answered, searched, off line; from SMTP, and read over IMAP."""
    ports = [str(server.port_base + PORTS[door]) for door in ("smtp", "imap")]
    command = ("test/browser/mail_story.mjs", server.url, *ports, server.domain)
    said = told(browser, *command, seconds=STORY_SECONDS)
    assert "arrived with one" in said
