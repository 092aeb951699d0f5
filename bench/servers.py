"""The servers that are measured: Kerwen, and Synapse where it is found or can be installed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_S = 60


class Server:
    """A server process on a data folder of its own."""

    def __init__(self, label: str, command: Sequence[str], url: str, folder: Path) -> None:
        self.label = label
        self.url = url
        self._command = list(command)
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it; seconds until it answers `/versions`."""
        began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self.folder, stdout=log, stderr=log)
        while time.monotonic() - began < START_S:
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=5).close()
                return time.monotonic() - began
            except OSError:
                time.sleep(0.005)
        raise RuntimeError(f"{self.label} did not start: {self.folder / 'log'}")

    def stop(self) -> None:
        """Ends it and waits."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def pss_kib(self) -> int:
        """Its memory, shared pages by their share."""
        for line in self._proc("smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
        raise RuntimeError("the kernel tells no PSS")

    def cpu_s(self) -> float:
        """The processor time that it has used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> str:
        assert self._process is not None, "it runs"
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    def remove(self) -> None:
        """Deletes its data."""
        shutil.rmtree(self.folder, ignore_errors=True)


def kerwen() -> Server:
    """This program, as a development server."""
    folder = Path(tempfile.mkdtemp(prefix="kerwen-bench-"))
    command = [str(Path(sys.executable).with_name("kerwen")), "serve", "--dev"]
    command += ["--data", str(folder / "data"), "--port-base", "26000", "--cheap-passwords"]
    return Server("kerwen", command, "http://127.0.0.1:26080", folder)


def synapse(more: str = "") -> Server | None:
    """Synapse on SQLite, single process; None if it is not here and cannot be installed. `more`
    is added to its configuration.
    """
    python = os.environ.get("KERWEN_BENCH_SYNAPSE") or _installed()
    if python is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="synapse-bench-"))
    (folder / "log.yaml").write_text(
        "version: 1\nroot: {level: WARNING}\ndisable_existing_loggers: false\n"
    )
    rate = "{per_second: 100000, burst_count: 100000}"
    limits = ("message", "registration", "admin_redaction", "room_creation", "profile")
    (folder / "homeserver.yaml").write_text(
        "server_name: bench.test\nreport_stats: false\nenable_registration: true\n"
        "enable_registration_without_verification: true\nbcrypt_rounds: 4\n"
        f"macaroon_secret_key: {secrets.token_hex(16)}\nform_secret: {secrets.token_hex(16)}\n"
        f"signing_key_path: {folder}/signing.key\nlog_config: {folder}/log.yaml\n"
        f"media_store_path: {folder}/media\ntrusted_key_servers: []\npresence: {{enabled: false}}\n"
        "listeners: [{port: 26008, type: http, bind_addresses: [127.0.0.1],"
        " resources: [{names: [client]}]}]\n"
        f"database: {{name: sqlite3, args: {{database: {folder}/homeserver.db}}}}\n"
        + "".join(f"rc_{name}: {rate}\n" for name in limits)
        + f"rc_joins: {{local: {rate}, remote: {rate}}}\n"
        + f"rc_login: {{address: {rate}, account: {rate}, failed_attempts: {rate}}}\n"
        + f"rc_invites: {{per_room: {rate}, per_user: {rate}, per_issuer: {rate}}}\n"
        + more
    )
    command = [python, "-m", "synapse.app.homeserver", "-c", f"{folder}/homeserver.yaml"]
    keys = [*command, "--generate-keys"]
    subprocess.run(keys, cwd=folder, check=True, capture_output=True)
    return Server("synapse", command, "http://127.0.0.1:26008", folder)


def _installed() -> str | None:
    """The Python of an environment with Synapse in it, made where it is missing."""
    home = ROOT / "build" / "bench" / "synapse"
    python = home / "bin" / "python"
    test = [str(python), "-c", "import synapse.app.homeserver"]
    if python.exists() and subprocess.run(test, capture_output=True, check=False).returncode == 0:
        return str(python)
    print("bench: installing Synapse into build/bench (PEERS=none does without)", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", str(home)], check=False)
    done = (
        made.returncode
        or subprocess.run(
            [str(python), "-m", "pip", "install", "-qq", "matrix-synapse"], check=False
        ).returncode
    )
    if done:
        print("bench: Synapse could not be installed; Kerwen is measured alone")
        return None
    return str(python)
