"""`make run`: the development server with two people in it, Ayna and Batyr.

Their passwords are drawn at the first run and kept in `dev-data/people.json`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from kerwen.base import ids

ROOT = Path(__file__).resolve().parent.parent
KERWEN = str(Path(sys.executable).with_name("kerwen"))
DATA = ROOT / "dev-data"
PEOPLE = {"ayna": ["--admin"], "batyr": []}
START_S = 30


def main() -> int:
    extra = sys.argv[1:]
    server = subprocess.Popen([KERWEN, "serve", "--dev", "--data", str(DATA), *extra])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.terminate())
    if wait_for_socket(server):
        for name, password in passwords().items():
            add(name, password)
    return server.wait()


def wait_for_socket(server: subprocess.Popen[bytes]) -> bool:
    """Whether the server is ready for `kerwen account`."""
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        if (DATA / "admin.sock").exists():
            return True
        time.sleep(0.05)
    return False


def passwords() -> dict[str, str]:
    book = DATA / "people.json"
    found: dict[str, str] = json.loads(book.read_text()) if book.exists() else {}
    missing = [name for name in PEOPLE if name not in found]
    if missing:
        found.update({name: ids.readable() for name in missing})
        with os.fdopen(os.open(book, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(found, file)
    return found


def add(name: str, password: str) -> None:
    command = [KERWEN, "account", "add", name, "--data", str(DATA), "--dev"]
    command += [*PEOPLE.get(name, []), "--password-file", "-"]
    done = subprocess.run(command, input=password, text=True, capture_output=True, check=False)
    if done.returncode and "taken" not in done.stderr:
        print(f"  {name:<10} could not be made: {done.stderr.strip()}")
        return
    print(f"  {name:<10} password {password}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
