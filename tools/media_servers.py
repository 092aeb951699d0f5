"""Janus and coturn beside a development server: configuration, start, stop.

For `make run` and for tests. Each is a child process with its files in a folder of its own;
whichever is not installed is named, and the server runs without it.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

JANUS_PORT: Final = 8188
TURN_PORT: Final = 3478
RTP_PORTS: Final = 1_000  # from here on, added to the base: see `rtp_range`
_PLUGINS: Final = "audiobridge duktape echotest lua nosip recordplay sip streaming textroom"
_TRANSPORTS: Final = "http mqtt nanomsg pfunix rabbitmq"
STOP_S: Final = 5


def missing() -> list[str]:
    """The packages of Debian that are not installed."""
    programs = {"janus": "janus", "turnserver": "coturn"}
    return [package for program, package in programs.items() if shutil.which(program) is None]


@dataclass(slots=True)
class MediaServers:
    """The two servers on a folder. `port_base` as for `kerwen serve`; `address` is where TURN
    listens and relays, `tls` a certificate and key for TURN over TLS."""

    folder: Path
    port_base: int
    address: str = "127.0.0.1"
    tls: tuple[Path, Path] | None = None
    loopback_peers: bool = True
    turn: bool = True
    media_host: str = ""  # an address that Janus tells clients instead of its own
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _secret: str = ""

    @property
    def janus_url(self) -> str:
        """Where Janus listens for us."""
        return f"ws://127.0.0.1:{self.port_base + JANUS_PORT}"

    @property
    def turn_port(self) -> int:
        """Where TURN listens, by UDP and TCP; TLS one above."""
        return self.port_base + TURN_PORT

    def start(self) -> list[str]:
        """Starts what is installed; the flags that `kerwen serve` needs for it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._secret = self._kept_secret()
        flags = []
        if shutil.which("janus"):
            self.start_janus()
            flags += ["--janus", self.janus_url, "--janus-secret", self._secret]
        if self.turn and shutil.which("turnserver"):
            self.start_turn()
            place = f"{self.address}:{self.turn_port}"
            uris = [f"turn:{place}?transport=udp", f"turn:{place}?transport=tcp"]
            if self.tls is not None:
                uris.append(f"turns:{self.address}:{self.turn_port + 1}?transport=tcp")
            for uri in uris:
                flags += ["--turn-uris", uri]
            flags += ["--turn-secret", self._secret]
        return flags

    def pid(self, name: str) -> int:
        """The process id of `janus` or `turnserver`."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """Ends one as a fault would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def revive(self) -> None:
        """Starts again what has ended by itself."""
        for name, start in (("janus", self.start_janus), ("turnserver", self.start_turn)):
            if name in self._running and self._running[name].poll() is not None:
                start()

    def stop(self) -> None:
        """Ends both."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def start_janus(self) -> None:
        """Writes Janus' configuration and starts it."""
        folder = self.folder / "janus"
        folder.mkdir(exist_ok=True)
        for name, text in janus_files(self._secret, self.port_base, self.media_host).items():
            (folder / name).write_text(text)
        config = str(folder / "janus.jcfg")
        self._run("janus", ["janus", "-C", config, "-F", str(folder)])

    def start_turn(self) -> None:
        """Writes coturn's configuration and starts it."""
        lines = [
            f"listening-ip={self.address}",
            f"relay-ip={self.address}",
            f"listening-port={self.turn_port}",
            f"tls-listening-port={self.turn_port + 1}",
            f"min-port={self.turn_port + 10}",
            f"max-port={self.turn_port + 200}",
            "use-auth-secret",
            f"static-auth-secret={self._secret}",
            "realm=kerwen.test",
            "fingerprint",
            "no-cli",
            "no-multicast-peers",
            f"userdb={self.folder / 'turn.db'}",
            f"pidfile={self.folder / 'turn.pid'}",
            "log-file=stdout",
            "no-stdout-log",
        ]
        if self.loopback_peers:
            lines.append("allow-loopback-peers")
        if self.tls is not None:
            lines += [f"cert={self.tls[0]}", f"pkey={self.tls[1]}"]
        else:
            lines += ["no-tls", "no-dtls"]
        path = self.folder / "turnserver.conf"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        self._run("turnserver", ["turnserver", "-c", str(path)])

    def _run(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )

    def _kept_secret(self) -> str:
        path = self.folder / "secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16))
        return path.read_text()


def rtp_range(port_base: int) -> tuple[int, int]:
    """The UDP ports of Janus' media."""
    first = port_base + 3_700
    return first, first + RTP_PORTS - 1


def janus_files(secret: str, port_base: int, media_host: str = "") -> dict[str, str]:
    """Janus' configuration: VideoRoom only, spoken to by WebSocket on loopback only."""
    first, last = rtp_range(port_base)
    plugins = ",".join(f"libjanus_{p}.so" for p in [*_PLUGINS.split(), "videocall", "voicemail"])
    transports = ",".join(f"libjanus_{name}.so" for name in _TRANSPORTS.split())
    mapping = f'    nat_1_1_mapping = "{media_host}"\n' if media_host else ""
    return {
        "janus.jcfg": (
            "general: {\n"
            f'    api_secret = "{secret}"\n'
            f'    admin_secret = "{secret}"\n'
            "    debug_level = 3\n"
            '    server_name = "Kerwen"\n'
            "    hide_dependencies = true\n"
            "}\n"
            f'media: {{\n    rtp_port_range = "{first}-{last}"\n    slowlink_threshold = 4\n}}\n'
            f"nat: {{\n    ice_lite = true\n{mapping}}}\n"
            f'plugins: {{\n    disable = "{plugins}"\n}}\n'
            f'transports: {{\n    disable = "{transports}"\n}}\n'
        ),
        "janus.transport.websockets.jcfg": (
            'general: {\n    json = "compact"\n    ws = true\n'
            f'    ws_port = {port_base + JANUS_PORT}\n    ws_ip = "127.0.0.1"\n'
            "    wss = false\n}\n"
            "admin: {\n    admin_ws = false\n}\n"
        ),
        "janus.plugin.videoroom.jcfg": "general: {\n    string_ids = true\n}\n",
    }
