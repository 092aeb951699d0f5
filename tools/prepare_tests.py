"""Installs what the tests need beyond Python packages, and says plainly what it could not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    prepare_postgres()
    for folder in (ROOT / "tests" / "clients" / "js", ROOT / "web"):
        if (folder / "package-lock.json").exists():
            prepare_node(folder)


def prepare_postgres() -> None:
    """Looks for PostgreSQL, and as root takes it from apt; without it half a suite is skipped."""
    from tests import postgres

    postgres.binaries()


def prepare_node(folder: Path) -> None:
    """`npm ci` where the packages are older than their lock."""
    lock, done = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    name = folder.relative_to(ROOT)
    npm = shutil.which("npm")
    if npm is None:
        print(f"tests: no npm, so the tests in {name} are skipped", file=sys.stderr)
        return
    print(f"tests: npm ci in {name}", file=sys.stderr, flush=True)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=folder, check=False, stdout=2).returncode:
        print(f"tests: npm ci failed in {name}; its tests will fail", file=sys.stderr)
    else:
        done.touch()


if __name__ == "__main__":
    main()
