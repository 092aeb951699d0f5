"""Builds the web app into `kerwen/web_dist`, from which the server serves it and wheels ship it.

Ends at once where nothing has changed. Node comes from the machine or from `tools/setup.py`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
BUILT = ROOT / "kerwen" / "web_dist"
STAMP = BUILT / "built.txt"
MADE = {"node_modules", ".cache", "shots"}  # folders that hold no source


def main() -> int:
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return 0
    if (npm := shutil.which("npm")) is None:
        say("no npm here, so the web app is not built; the server runs without it")
        return 0
    if not install(npm):
        return 1
    say("building")
    done = subprocess.run([npm, "run", "--silent", "build"], cwd=WEB, check=False, stdout=2)
    if done.returncode:
        say("the build failed; npm says why above")
        return done.returncode
    STAMP.write_text(wanted)
    return 0


def install(npm: str) -> bool:
    """`npm ci` where the packages are older than their lock; whether they are there."""
    lock, done = WEB / "package-lock.json", WEB / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return True
    say("npm ci")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=WEB, check=False, stdout=2).returncode:
        say("npm ci failed; npm says why above")
        return False
    done.touch()
    return True


def fingerprint() -> str:
    """One hash of all sources."""
    found = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        parts = path.relative_to(WEB).parts
        if MADE.isdisjoint(parts) and parts[:2] != ("src", "words") and path.is_file():
            found.update("/".join(parts).encode() + b"\0")
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def say(text: str) -> None:
    print(f"web: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
