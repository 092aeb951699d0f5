"""The server that the stories run against, and the JavaScript that they need."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Target:
    """Where the stories take place."""

    url: str
    domain: str


@pytest.fixture(scope="session")
def story_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """KERWEN_TEST_URL if set, else the suite's own `server` fixture, else one started here."""
    url = os.environ.get("KERWEN_TEST_URL")
    if url:
        yield Target(url.rstrip("/"), os.environ.get("KERWEN_TEST_DOMAIN", "localhost"))
        return
    try:
        server = request.getfixturevalue("server")
    except pytest.FixtureLookupError:
        yield from _started(tmp_path_factory.mktemp("kerwen"))
        return
    yield Target(server.url, server.domain)


def _started(data: Path) -> Iterator[Target]:
    base = _free_base()
    command = [_kerwen(), "serve", "--dev", "--data", str(data), "--port-base", str(base)]
    url = f"http://127.0.0.1:{base + 80}"
    with (data / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_until_healthy(url, process, data / "server.log")
            yield Target(url, "localhost")
        finally:
            process.terminate()
            process.wait(10)


def _kerwen() -> str:
    beside = Path(sys.executable).with_name("kerwen")
    return str(beside) if beside.exists() else "kerwen"


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/_kerwen/health", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"no health within {START_SECONDS} s\n{log.read_text()}")


def _free_base() -> int:
    """A port base whose http port is free just now."""
    for base in range(21_000, 40_000, 1_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", base + 80)) != 0:
                return base
    raise AssertionError("no free port")


@pytest.fixture(scope="session")
def js_folder() -> Path:
    """`js/` with its packages as package-lock.json says; `npm ci` runs where they are missing."""
    folder = HERE / "js"
    if shutil.which("node") is None:
        pytest.skip("no node")
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist's workers must not install at once
        if not (folder / "node_modules" / ".package-lock.json").exists():
            subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=folder, check=True, timeout=300)
    return folder
