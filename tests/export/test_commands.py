"""The operator's commands, against a running server and against a folder at rest."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kerwen import cli
from tests.clients.test_second_factor import PASSWORD, Owner
from tests.conftest import FreshServer, Server

Kerwen = Callable[..., str]


@pytest.fixture
def kerwen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kerwen:
    """Runs a command in this process; what it printed. `code`: how it must end."""

    def run(server: Server, *command: str, text: str = "", code: int = 0) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with pytest.raises(SystemExit) as end:
            cli.main([*command, "--data", str(server.data), "--dev"])
        told = capsys.readouterr()
        assert end.value.code == code, (command, told)
        return told.err if code else told.out

    return run


def call(server: Server, method: str, path: str, body: Any, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), headers, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_an_operators_day(fresh_server: FreshServer, tmp_path: Path, kerwen: Kerwen) -> None:
    server = fresh_server("--cheap-passwords")
    for name in ("ayna", "boss"):
        kerwen(server, "account", "add", name, "--password-file", "-", text="a long password\n")
    kerwen(server, "account", "admin", "boss")
    assert "admin: True" in kerwen(server, "account", "show", "boss")
    kerwen(server, "account", "no-admin", "boss")
    kerwen(server, "account", "suspend", "ayna")
    assert "suspended: True" in kerwen(server, "account", "show", "ayna")
    kerwen(server, "account", "unsuspend", "ayna")
    assert kerwen(server, "account", "limits", "ayna", "50").strip() == "50 %"
    assert kerwen(server, "account", "limits", "ayna", "none").strip() == "as everyone"
    log_in = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "ayna"},
        "password": "a long password",
    }
    session = call(server, "POST", "/_matrix/client/v3/login", log_in)
    token = session["access_token"]
    assert session["device_id"] in kerwen(server, "account", "devices", "ayna")
    wish = {"preset": "public_chat", "room_alias_name": "club"}
    room = call(server, "POST", "/_matrix/client/v3/createRoom", wish, token)["room_id"]
    path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/t1"
    call(server, "PUT", path, {"msgtype": "m.text", "body": "marked words"}, token)
    assert room in kerwen(server, "room", "list")
    assert room in kerwen(server, "room", "list", "#club:kerwen.test")
    shown = kerwen(server, "room", "show", room)
    assert "join rule: public" in shown
    kerwen(server, "room", "block", room)
    kerwen(server, "room", "unblock", room)
    kerwen(server, "server", "notice", "ayna", "Maintenance at noon")
    assert "accounts: 3" in kerwen(server, "server", "statistics")
    kerwen(server, "server", "reports")
    kerwen(server, "media", "list", "ayna")
    kerwen(server, "account", "reset-password", "ayna", "--password-file", "-", text="new one!!\n")
    kerwen(server, "account", "stop-reset", "ayna")
    _export(kerwen, server, tmp_path / "ayna.tar")
    kerwen(server, "room", "purge-history", room, "--days", "0")
    kerwen(server, "room", "shut-down", room)
    assert "room" in kerwen(server, "server", "removals")
    kerwen(server, "account", "log-out", "ayna", session["device_id"])
    log = kerwen(server, "server", "audit", "--count", "100")
    assert "kerwen account export" in log
    assert "marked words" not in log
    assert "a long password" not in log
    assert "new one!!" not in log
    server.stop()
    # the same on a folder at rest
    assert "accounts: 3" in kerwen(server, "server", "statistics")
    refused = kerwen(server, "media", "delete", "no-uri", code=1)
    assert refused == "kerwen: Write mxc://SERVER/ID\n"


def test_the_second_factor_on_the_command_line(fresh_server: FreshServer, kerwen: Kerwen) -> None:
    server = fresh_server("--cheap-passwords")
    owner = Owner(server)
    make = ("account", "app-password", owner.name, "mutt", "--password-file", "-")
    refused = kerwen(server, *make, text=f"{PASSWORD}\n", code=1)
    assert "second factor" in refused
    shown = kerwen(server, *make, text=f"{PASSWORD} {owner.recovery_codes[0]}\n").strip()
    assert len(shown) == 64
    kerwen(server, "account", "reset-second-factor", owner.name)
    waits = owner.ask("GET", "/_kerwen/account/second_factor_reset")
    assert waits["effect_ms"] - waits["begun_ms"] == 72 * 3_600_000
    kerwen(server, "account", "stop-second-factor-reset", owner.name)
    kerwen(server, "account", "stop-second-factor-reset", owner.name, code=1)
    gone = owner.ask("GET", "/_kerwen/account/second_factor_reset")
    assert gone["errcode"] == "M_NOT_FOUND"


def _export(kerwen: Kerwen, server: Server, file: Path) -> None:
    """Whole at once, and the same from what is left of it."""
    command = ("account", "export", "ayna", str(file), "--password-file", "-")
    kerwen(server, *command, text="not it\n", code=1)
    assert not file.exists()
    kerwen(server, *command, text="a long password\n")
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert "7-reports.json" in names
    whole = file.read_bytes()
    assert b"marked words" in whole
    file.write_bytes(whole[: len(whole) // 2])
    kerwen(server, *command, text="a long password\n")
    with tarfile.open(file) as tar:
        assert tar.getnames() == names
