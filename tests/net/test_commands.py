"""The commands that an operator gives."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tarfile
from pathlib import Path

import pytest

from kerwen.base.config import BadConfig, load
from kerwen.commands import backup
from kerwen.commands.account import read_password, show, size_of
from kerwen.storage.migrate import migrate_sqlite
from tests.conftest import KERWEN, FreshServer


def kerwen(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [KERWEN, *command], input=text, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_backup_under_way_and_back(fresh_server: FreshServer, tmp_path: Path) -> None:
    server = fresh_server()
    blob = server.data / "blobs" / "ab" / "abcd"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(os.urandom(200_000))
    (blob.parent / "half.part").write_bytes(b"x")
    for name in ("house.tar", "house.tar.gz"):
        file = tmp_path / name
        done = kerwen("backup", str(file), "--data", str(server.data))
        assert done.returncode == 0, done.stderr
        assert file.stat().st_mode & 0o777 == 0o600
        target = tmp_path / f"back-{name}"
        done = kerwen("restore", str(file), "--data", str(target))
        assert done.returncode == 0, done.stderr
        assert (target / "blobs" / "ab" / "abcd").read_bytes() == blob.read_bytes()
        assert not (target / "blobs" / "ab" / "half.part").exists()
        assert (target / "domain").read_text() == "kerwen.test\n"
        for key in (target / "keys").glob("*.key"):
            assert key.stat().st_mode & 0o777 == 0o600
        assert {p.name for p in target.iterdir()} >= {"kerwen.db", "keys", "dev-ca.pem"}
        assert not (target / "admin.sock").exists()
    server.stop()
    shutil.rmtree(server.data)
    assert kerwen("restore", str(file), "--data", str(server.data)).returncode == 0
    server.start()


def test_a_restore_writes_over_nothing(tmp_path: Path) -> None:
    file = make_backup(tmp_path)
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("x")
    done = kerwen("restore", str(file), "--data", str(target))
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [p.name for p in target.iterdir()] == ["mine"]


@pytest.mark.parametrize("cut", [-9_000, -3_000, -1, 0, 300, 520])
def test_a_cut_backup_leaves_no_folder(tmp_path: Path, cut: int) -> None:
    file = make_backup(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.index(b"MANIFEST\0") + cut])
    with pytest.raises(BadConfig):
        backup.restore(file, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert not list(tmp_path.glob("target.restore-*"))


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    file = make_backup(tmp_path)
    whole = bytearray(file.read_bytes())
    at = whole.index(b"a secret key")
    whole[at] ^= 1
    file.write_bytes(whole)
    with pytest.raises(BadConfig, match="sums do not fit"):
        backup.restore(file, tmp_path / "target")


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out"])
def test_a_member_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(BadConfig, match="would leave"):
        backup.restore(file, tmp_path / "target")


def test_the_copy_is_of_one_moment(tmp_path: Path) -> None:
    """A transaction that is open while we copy is in the backup not at all."""
    data = make_data(tmp_path)
    writer = sqlite3.connect(data / "kerwen.db", isolation_level=None)
    writer.execute("begin immediate")
    writer.execute("insert into t values (2)")
    backup.backup(load({"data": str(data)}), tmp_path / "b.tar")
    writer.execute("commit")
    backup.restore(tmp_path / "b.tar", tmp_path / "target")
    restored = sqlite3.connect(tmp_path / "target" / "kerwen.db")
    assert restored.execute("select n from t").fetchall() == [(1,)]
    jumped = restored.execute("select pos, items from feed order by pos limit 1").fetchone()
    assert jumped == (1, f"[[0,0,{2**32}]]")  # no token that a client holds is ahead of us


def make_data(folder: Path) -> Path:
    """A data folder with little in it."""
    data = folder / "source"
    (data / "keys").mkdir(parents=True)
    (data / "keys" / "signing.key").write_text("a secret key")
    (data / "domain").write_text("a.test\n")
    (data / "config.toml").write_text("dev = true\n")
    migrate_sqlite(data / "kerwen.db")
    with sqlite3.connect(data / "kerwen.db") as conn:
        conn.execute("create table t (n)")
        conn.execute("insert into t values (1)")
    return data


def make_backup(folder: Path) -> Path:
    """A good backup."""
    data = make_data(folder)
    backup.backup(load({"data": str(data)}), folder / "b.tar")
    return folder / "b.tar"


def test_the_doctor_finds_what_is_wrong(fresh_server: FreshServer) -> None:
    server = fresh_server()
    flags = ("--dev", "--data", str(server.data), "--port-base", str(server.port_base))
    well = kerwen("doctor", *flags)
    assert well.returncode == 0, well.stdout
    assert "the server runs" in well.stdout
    assert "sound, schema" in well.stdout
    server.stop()
    key = next((server.data / "keys").glob("*.key"))
    key.chmod(0o644)
    (server.data / "kerwen.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    ill = kerwen("doctor", *flags)
    assert ill.returncode == 1
    assert f"chmod 600 {key}" in ill.stdout
    assert "bad   database" in ill.stdout


def test_dns_prints_a_zone() -> None:
    done = kerwen("dns", "--domain", "a.test", "--tls-cert", __file__, "--tls-key", __file__)
    assert done.returncode == 0
    assert "_matrix-fed._tcp.a.test.  3600  IN  SRV  10 0 8448 a.test." in done.stdout


def test_the_admin_socket_and_a_stopped_server_answer_alike(fresh_server: FreshServer) -> None:
    server = fresh_server()
    data = ("--data", str(server.data))
    running = kerwen("account", "quota", "nobody", *data)
    assert running.returncode == 1
    assert running.stderr.startswith("kerwen: ")
    assert (server.data / "admin.sock").stat().st_mode & 0o777 == 0o600
    server.stop()
    assert not (server.data / "admin.sock").exists()
    stopped = kerwen("account", "quota", "nobody", *data, "--dev")
    assert (stopped.returncode, stopped.stderr) == (running.returncode, running.stderr)


def test_a_domain_is_for_ever(fresh_server: FreshServer) -> None:
    server = fresh_server()
    server.stop()
    done = kerwen("serve", "--dev", "--data", str(server.data), "--domain", "other.test")
    assert done.returncode == 2
    assert "belongs to kerwen.test" in done.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [("none", -1), ("0", 0), ("12", 12), ("1K", 1024), ("500M", 500 << 20), ("2g", 2 << 30)],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "x", "5X", "5MM", "-1", "1.5G", "M"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(BadConfig):
        size_of(text)


def test_a_password_file(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_text("geheim mit ä\r\nsecond line\n")
    assert read_password(str(file)) == "geheim mit ä"
    file.write_text("\n")
    with pytest.raises(BadConfig):
        read_password(str(file))
    with pytest.raises(BadConfig):
        read_password(str(tmp_path / "none"))


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"name": "ayna", "level": "admin"}, {"name": "batyr", "level": ""}])
    show({"used_bytes": 5})
    assert capsys.readouterr().out.split("\n") == [
        "ayna" + " " * 22 + "admin", "batyr", "used bytes: 5", ""
    ]  # fmt: skip


@pytest.mark.parametrize("running", [True, False])
def test_accounts(fresh_server: FreshServer, running: bool) -> None:
    """Every command of `kerwen account`, with the server up and with the server down."""
    server = fresh_server("--cheap-passwords")
    if not running:
        server.stop()

    def account(*words: str, text: str = "") -> tuple[int, str, str]:
        done = kerwen(
            "account", *words, "--data", str(server.data), "--dev", "--cheap-passwords", text=text
        )
        return done.returncode, done.stdout, done.stderr

    password = ("--password-file", "-")
    long = "a long password\n"
    made = account("add", "ayna", "--admin", *password, text=long)
    assert made == (0, "@ayna:kerwen.test\n", "")
    assert account("add", "ayna", *password, text=long)[::2] == (
        1, "kerwen: This name is taken\n"
    )  # fmt: skip
    assert account("add", "batyr", *password, text="short\n")[0] == 1
    assert account("add", "batyr", *password, text=long)[0] == 0
    assert account("lock", "batyr") == (0, "", "")
    assert account("list")[1].split() == ["ayna", "administrator", "batyr", "locked"]
    assert account("unlock", "batyr") == (0, "", "")
    assert "quota bytes: 1048576\n" in account("quota", "batyr", "1M")[1]
    assert account("quota", "nobody")[0] == 1
    _, app, _ = account("app-password", "batyr", "phone", *password, text=long)
    assert len(app.strip()) >= 16
    assert account("app-password", "batyr", "phone", *password, text="wrong word\n")[0] == 1
    assert len(account("invite", "--uses", "2", "--days", "1")[1].strip()) >= 12
    assert account("delete", "batyr", "--erase") == (0, "", "")
    assert account("list")[1].split() == ["ayna", "administrator", "batyr", "closed"]
