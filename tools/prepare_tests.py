"""Installs what the tests need beyond Python packages, and says plainly what it could not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


MAIL_PROGRAMS = {
    "mbsync": "isync",
    "dovecot": "dovecot-imapd",
    "mutt": "mutt",
    "curl": "curl",
    "script": "bsdutils",
    "swaks": "swaks",
    "msmtp": "msmtp",
    "mpop": "mpop",
}
"""Each with the package of Debian that has it; tests/programs runs them."""

WEB_PROGRAMS = {"chromium": "chromium"}
"""The browser that tests/web and tests/oauth drive."""

CALL_PROGRAMS = {
    "janus": "janus",
    "turnserver": "coturn",
    "ip": "iproute2",
    "certutil": "libnss3-tools",
}
"""The same for tests/calls."""


def main() -> None:
    prepare_postgres()
    prepare_packages(MAIL_PROGRAMS, "mail")
    prepare_packages(WEB_PROGRAMS, "the web app")
    prepare_packages(CALL_PROGRAMS, "calls")
    prepare_jmapc()
    folders = [ROOT / "tests" / "clients" / "js", ROOT / "web"]
    if os.environ.get("KERWEN_CALLS"):
        folders.append(ROOT / "tests" / "calls" / "js")
    for folder in folders:
        if (folder / "package-lock.json").exists():
            prepare_node(folder)


def prepare_jmapc() -> None:
    """jmapc needs sseclient, of which there is only the source: the lock has but wheels."""
    wanted = ROOT / "requirements" / "jmapc.txt"
    try:
        if f"jmapc=={version('jmapc')} " in wanted.read_text("utf-8"):
            return
    except PackageNotFoundError:
        pass
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(wanted)], check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        print("tests: without jmapc its test is skipped", file=sys.stderr)


def prepare_postgres() -> None:
    """Looks for PostgreSQL, and as root takes it from apt; without it half a suite is skipped."""
    from tests import postgres

    postgres.binaries()


def prepare_packages(programs: dict[str, str], subject: str) -> None:
    """Looks for other people's programs, and as root takes them from apt."""
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if "swaks" in missing:
        missing.append("libnet-ssleay-perl")  # it speaks TLS by that, and only suggests it
    if not missing:
        return
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        print(
            f"tests: without {', '.join(missing)} tests of {subject} are skipped", file=sys.stderr
        )
        return
    print(f"tests: installing {', '.join(missing)} with apt-get", file=sys.stderr, flush=True)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    commands = [["update", "-q"]]
    commands += [["install", "-y", "-q", "--no-install-recommends", one] for one in missing]
    for command in commands:
        try:
            subprocess.run(
                ["apt-get", *command], env=env, check=False, timeout=300,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"tests: apt-get {command[-1]} took too long", file=sys.stderr)


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
