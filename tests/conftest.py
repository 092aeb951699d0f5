"""What every test may ask for: a real server, and the loop that the server runs on."""

from __future__ import annotations

import compileall
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import uvloop

import kerwen
from kerwen.base.config import PORTS

pytest_plugins = ["tests.storage.engines"]  # `database` on both engines, `feed`

# the same examples each time, so that a failure is the change's and not the day's; and no time
# limit for one example, since this machine may be busy. KERWEN_FUZZ=1 looks for new examples.
hypothesis.settings.register_profile(
    "kerwen", derandomize=not os.environ.get("KERWEN_FUZZ"), deadline=None
)
hypothesis.settings.load_profile("kerwen")

START_S = 30
STOP_S = 10
KERWEN = str(Path(sys.executable).with_name("kerwen"))


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Any]:
    """Tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_sessionstart(session: pytest.Session) -> None:
    """The servers start from compiled code, whatever PYTHONDONTWRITEBYTECODE says."""
    compileall.compile_dir(Path(kerwen.__file__).parent, quiet=2)


class Server:
    """A `kerwen serve --dev` of our own; started when made."""

    def __init__(self, data: Path, port_base: int, domain: str, flags: tuple[str, ...]) -> None:
        self.data = data
        self.port_base = port_base
        self.domain = domain
        self.flags = flags
        self.url = f"http://127.0.0.1:{port_base + PORTS['http']}"
        self.https_url = f"https://127.0.0.1:{port_base + PORTS['https']}"
        self.ca = data / "dev-ca.pem"
        self.log = data / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Starts it on its data folder and waits until it is healthy."""
        assert self._process is None, "the server runs already"
        command = [KERWEN, "serve", "--dev", "--data", str(self.data), "--domain", self.domain]
        command += ["--port-base", str(self.port_base), *self.flags]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                raise AssertionError(f"the server ended at once\n{self.log.read_text()}")
            if self._is_healthy():
                return
            time.sleep(0.01)
        self.kill9()
        raise AssertionError(f"no health within {START_S} s\n{self.log.read_text()}")

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_kerwen/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> int:
        """Asks it to end; its exit code."""
        return self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Ends it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(STOP_S + 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it did not stop within {STOP_S} s") from None


FreshServer = Callable[..., Server]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the whole run: each test makes its own people and rooms in it."""
    with PortBase() as base:
        made = Server(tmp_path_factory.mktemp("kerwen"), base.port, "kerwen.test", ())
        made.start()
        yield made
        assert made.stop() == 0, made.log.read_text()


@pytest.fixture
def fresh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshServer]:
    """Makes servers for one test: `fresh_server(*flags, domain=…, data=…)`, started, all stopped
    after; `data` is a folder to be used instead of a new one."""
    made: list[tuple[Server, PortBase]] = []

    def make(*flags: str, domain: str = "kerwen.test", data: Path | None = None) -> Server:
        base = PortBase().__enter__()
        folder = data or tmp_path_factory.mktemp("fresh")
        found = Server(folder, base.port, domain, flags)
        made.append((found, base))
        found.start()
        return found

    yield make
    for found, base in made:
        found.stop()
        base.__exit__()


class PortBase:
    """A port base that is free and stays ours: other workers and other runs lock theirs too.

    The bases are chosen so that no two ports of different bases are ever the same.
    """

    port: int

    def __enter__(self) -> PortBase:
        folder = Path(tempfile.gettempdir()) / f"kerwen-test-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        for base in (t * 1000 + n for n in range(5) for t in range(11, 24)):
            self._file = (folder / str(base)).open("w")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                continue
            if all(_is_free(base + port) for port in PORTS.values()):
                self.port = base
                return self
            self._file.close()
        raise AssertionError("no free ports on this machine")

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
