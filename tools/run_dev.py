"""`make run`: the development server with two people in it, Ayna and Batyr.

Their passwords are drawn at the first run and kept in `dev-data/people.json`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from kerwen.base import ids
from kerwen.base.config import DEV_PORT_BASE

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tools.media_servers import MediaServers, missing  # noqa: E402

KERWEN = str(Path(sys.executable).with_name("kerwen"))
DATA = ROOT / "dev-data"
PEOPLE = {"ayna": ["--admin"], "batyr": []}
START_S = 30


def main() -> int:
    extra = sys.argv[1:]
    media = media_servers(extra)
    flags = media.start() if media is not None else []
    server = subprocess.Popen([KERWEN, "serve", "--dev", "--data", str(DATA), *flags, *extra])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.terminate())
    try:
        if wait_for_socket(server):
            for name, password in passwords().items():
                add(name, password)
        return watch(server, media)
    finally:
        if media is not None:
            media.stop()


def watch(server: subprocess.Popen[bytes], media: MediaServers | None) -> int:
    """Waits for the server's end, and starts again what falls beside it."""
    while True:
        try:
            return server.wait(2)
        except subprocess.TimeoutExpired:
            if media is not None:
                media.revive()


def media_servers(extra: list[str]) -> MediaServers | None:
    """Janus and coturn for calls; none if the flags name some, or the messenger is off."""
    if any(flag.partition("=")[0] in ("--janus", "--turn-uris") for flag in extra):
        return None
    if "--chat=off" in extra or ("--chat", "off") in itertools.pairwise(extra):
        return None
    if packages := missing():
        print(f"  calls      not installed: {', '.join(packages)} (see docs/operate/calls.md)")
    return MediaServers(DATA / "media-servers", port_base(extra))


def port_base(extra: list[str]) -> int:
    """`--port-base` of the flags."""
    base = str(DEV_PORT_BASE)
    for flag, value in itertools.pairwise([*extra, ""]):
        name, equals, given = flag.partition("=")
        if name == "--port-base":
            base = given if equals else value
    return int(base) if base.isdigit() else DEV_PORT_BASE


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
