"""The process as a whole: start, health, stop, and what it says about wrong use."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import KERWEN, FreshServer, Server


def test_health_on_every_http_listener(server: Server) -> None:
    trust = ssl.create_default_context(cafile=str(server.ca))
    for url in (server.url, server.https_url, f"https://localhost:{server.port_base + 8448}"):
        context = trust if url.startswith("https") else None
        with urllib.request.urlopen(f"{url}/_kerwen/health", context=context) as answer:
            assert json.load(answer) == {"ready": True}


def test_a_start_on_existing_data_is_quick_and_small(fresh_server: FreshServer) -> None:
    server = fresh_server()
    assert server.stop() == 0
    began = time.monotonic()
    server.start()
    took = time.monotonic() - began
    assert took < 3  # 0.4 s on a quiet machine; this one runs other tests
    assert pss_mib(server.pid) < 60
    mapped = Path(f"/proc/{server.pid}/maps").read_text()
    for package in ("asyncpg", "obstore", "PIL", "prometheus_client"):
        assert f"/{package}/" not in mapped, f"{package} is loaded without need"


def test_it_stops_while_requests_hang(fresh_server: FreshServer) -> None:
    server = fresh_server()
    half = socket.create_connection(("127.0.0.1", server.port_base + 80))
    half.sendall(b"PUT /_matrix/client/v3/x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
    idle = socket.create_connection(("127.0.0.1", server.port_base + 80))
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    for line in (half, idle):
        line.settimeout(1)
        line.recv(1000)
        line.close()


def test_the_data_folder_is_for_one_process_and_for_us_alone(fresh_server: FreshServer) -> None:
    server = fresh_server()
    second = serve("--dev", "--data", str(server.data), "--port-base", "1")
    assert second.returncode == 2
    assert second.stderr == f"kerwen: another Kerwen runs on the data folder {server.data}\n"
    assert (server.data / "keys").stat().st_mode & 0o777 == 0o700
    for key in (server.data / "keys").glob("*.key"):
        assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "domain is not set: give --domain NAME or write it into config.toml"),
        (("--domain", "A.test"), "domain 'A.test' is no server name"),
        (("--domain", "a.test"), "https needs tls_cert and tls_key, or acme"),
        (("--dev", "--listen", "ftp=x:1"), "there is no listener ftp"),
        (("--dev", "--listen", "http"), "write KIND=HOST:PORT or KIND=off"),
        (("--dev", "--tls-cert", "x"), "tls_cert and tls_key belong together"),
        (("--dev", "--registration", "maybe"), "invalid choice: 'maybe'"),
        (("--dev", "--speed", "9"), "unrecognized arguments: --speed 9"),
        (("--dev", "--database", "mysql://x"), "database must be postgres://"),
        (("--dev", "--hosts", "/none"), "hosts: there is no file /none"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    done = serve("--data", str(tmp_path), *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("kerwen: ")


def test_a_taken_port_is_told(server: Server, tmp_path: Path) -> None:
    where = f"http=127.0.0.1:{server.port_base + 80}"
    off = ("--listen", "https=off", "--listen", "federation=off")
    done = serve("--dev", "--data", str(tmp_path), "--listen", where, *off)
    assert done.returncode == 2
    assert f"cannot listen on {where}" in done.stderr


def test_behind_a_proxy_no_certificate_is_needed(tmp_path: Path, server: Server) -> None:
    taken = f"http=127.0.0.1:{server.port_base + 80}"  # so that it ends by itself
    flags = ["--listen", taken, "--listen", "https=off", "--listen", "federation=off"]
    done = serve("--domain", "a.test", "--data", str(tmp_path), *flags)
    assert f"cannot listen on {taken}" in done.stderr
    assert not (tmp_path / "dev-ca.pem").exists()


def test_metrics_are_for_this_machine(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/_kerwen/metrics") as answer:
        text = answer.read().decode()
    assert 'kerwen_http_replies_total{status="2xx"}' in text
    assert "process_resident_memory_bytes" in text
    asked = urllib.request.Request(
        f"{server.url}/_kerwen/metrics", headers={"X-Forwarded-For": "192.0.2.1"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)
    assert refused.value.code == 404


def test_a_second_signal_does_no_harm(fresh_server: FreshServer) -> None:
    server = fresh_server()
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    server._process = None


def serve(*flags: str) -> subprocess.CompletedProcess[str]:
    """A `kerwen serve` that should end by itself."""
    return subprocess.run(
        [KERWEN, "serve", *flags], capture_output=True, text=True, timeout=20, check=False
    )


def pss_mib(pid: int) -> float:
    """The memory that a process costs, shared pages by their share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel tells no PSS")
