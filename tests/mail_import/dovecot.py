"""A Dovecot (Debian's) with one account, whose mail the test writes as a Maildir."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

from kerwen.net import dev_ca

USER, PASSWORD = "old@there.test", "old-password-1"
DOVECOT = shutil.which("dovecot") or "/usr/sbin/dovecot"
_CONF = """
base_dir = {base}/run
state_dir = {base}/run
log_path = {base}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{base}/cert.pem
ssl_key = <{base}/key.pem
disable_plaintext_auth = yes
mail_location = maildir:{base}/mail/Maildir
mail_uid = nobody
mail_gid = {group}
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=nobody gid={group} home={base}/mail
}}
namespace inbox {{
  inbox = yes
  mailbox Gesendet {{
    special_use = \\Sent
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
"""


def can_run() -> bool:
    """Whether there is one here that may be started (it wants root)."""
    return Path(DOVECOT).exists() and os.getuid() == 0


class Dovecot:
    """`folder` is for all of it; `ca` is who signed its certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mail = folder / "mail" / "Maildir"
        self.imap, self.imaps = _free_port(), _free_port()
        self.ca = folder / "ca.pem"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.chmod(0o755)
        dev_ca.make_authority(self.ca, self.folder / "ca.key")
        dev_ca.make_server(
            self.ca, self.folder / "ca.key", ["127.0.0.1"],
            self.folder / "cert.pem", self.folder / "key.pem",
        )  # fmt: skip
        nobody = pwd.getpwnam("nobody")
        for path in [self.folder / "mail", *(self.folder / "mail").rglob("*")]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        conf = self.folder / "dovecot.conf"
        conf.write_text(
            _CONF.format(
                base=self.folder,
                password=PASSWORD,
                imap=self.imap,
                imaps=self.imaps,
                group=nobody.pw_gid,
            )
        )
        self._process = subprocess.Popen([DOVECOT, "-F", "-c", str(conf)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.imap), 1) as line:
                    if line.recv(4) == b"* OK":
                        return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.folder / "dovecot.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def put(self, box: str, name: str, raw: bytes, date_s: int) -> None:
        """A message in a Maildir++ folder (`""` is INBOX); `name` ends with its flags."""
        home = self.mail / box if box else self.mail
        for part in ("cur", "new", "tmp"):
            (home / part).mkdir(parents=True, exist_ok=True)
        path = home / "cur" / name
        path.write_bytes(raw)
        os.utime(path, (date_s, date_s))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
