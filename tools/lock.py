"""Writes the hash-locked requirement files anew from `pyproject.toml`, with uv.

uv is taken into an environment of its own for the moment, and asks the public index only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INDEX = "https://pypi.org/simple"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups: dict[str, list[str]] = project["dependency-groups"]
    needs: list[str] = project["project"]["dependencies"]
    build: list[str] = [*project["build-system"]["requires"], "editables"]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", home / "uv"], check=True)
        subprocess.run([home / "uv/bin/pip", "install", "--quiet", "uv"], check=True)
        uv = home / "uv" / "bin" / "uv"
        everything = [*needs, *build, *groups["test"], *groups["check"]]
        write(uv, home, "all", everything)
        write(uv, home, "run", [*needs, *build], ROOT / "requirements" / "all.txt")
        write(uv, home, "node", groups["node"])


def write(uv: Path, home: Path, name: str, needs: list[str], within: Path | None = None) -> None:
    """One locked file; with `within`, the same versions as that one has."""
    source = home / f"{name}.in"
    source.write_text("\n".join(needs) + "\n")
    target = ROOT / "requirements" / f"{name}.txt"
    command = [uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-build"]
    command += ["--default-index", INDEX, "--no-config", "-o", target, source]
    if within is not None:
        command += ["--constraint", within]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))}
    target.unlink(missing_ok=True)
    subprocess.run(command, check=True, env=env)
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
