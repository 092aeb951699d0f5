"""What our listeners show of TLS: one context for the life of the process, its certificate not.

Listeners, and doors that speak STARTTLS, hold `context`. It passes every handshake on to the
context of the newest certificate, so a new one serves from the next handshake on and connections
that stand are not touched. While an authority looks (RFC 8737), handshakes that ask for
`acme-tls/1` are passed on to the answer to its challenge.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from kerwen.net import tls

ALPN: Final = "acme-tls/1"
_CLIENT_HELLO: Final = 1
_ALPN_EXTENSION: Final = 16
_NAMES_MAX: Final = 200


class ServedTls:
    """Raises `OSError`, `SSLError` where the files hold no certificate and its key."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.context = tls.server_context(cert, key)
        self.context.sni_callback = self._choose
        self._newest = self.context
        self._answers: dict[str, ssl.SSLContext] = {}
        self._asking: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self.changes = 0

    def replace(self, cert: Path, key: Path) -> None:
        """Serves another certificate from the next handshake on; on an error the old one stays."""
        self._newest = tls.server_context(cert, key)
        self.changes += 1

    def show(self, name: str, chain_pem: bytes, key_pem: bytes) -> None:
        """Answers TLS-ALPN-01 for a name until `hide`."""
        if len(self._answers) >= _NAMES_MAX:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([ALPN])
        with tempfile.NamedTemporaryFile() as file:  # the module reads files only; mode 0600
            file.write(key_pem + chain_pem)
            file.flush()
            os.fsync(file.fileno())
            context.load_cert_chain(file.name)
        self._answers[name] = context
        self._watch(self._look)

    def hide(self, name: str) -> None:
        """The challenge is over."""
        self._answers.pop(name, None)
        if not self._answers:
            self._watch(None)

    def _watch(self, look: Any) -> None:
        # the only way that the module offers to see what a client asks for before it is answered;
        # it is set only while an authority looks
        self.context._msg_callback = look  # type: ignore[attr-defined]

    def _look(
        self, conn: Any, direction: str, version: Any, content: Any, kind: Any, data: bytes
    ) -> None:
        if direction == "read" and kind == _CLIENT_HELLO:
            self._asking[conn] = ALPN.encode() in asked_protocols(data)

    def _choose(self, conn: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        answer = self._answers.get((name or "").lower())
        if answer is not None and self._asking.pop(conn, False):
            conn.context = answer
        elif self._newest is not self.context:
            conn.context = self._newest
        return None


def asked_protocols(hello: bytes) -> list[bytes]:
    """What a ClientHello asks for by ALPN (RFC 7301 §3.1); nothing where it is not whole."""
    try:
        at = 4 + 2 + 32  # type and length, version, random
        at += 1 + hello[at]  # the session
        at += 2 + int.from_bytes(hello[at : at + 2], "big")  # ciphers
        at += 1 + hello[at]  # compressions
        end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
        at += 2
        while at + 4 <= min(end, len(hello)):
            kind = int.from_bytes(hello[at : at + 2], "big")
            size = int.from_bytes(hello[at + 2 : at + 4], "big")
            if kind == _ALPN_EXTENSION:
                return _protocols(hello[at + 6 : at + 4 + size])
            at += 4 + size
    except IndexError:
        pass
    return []


def _protocols(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size = data[at]
        found.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return found
