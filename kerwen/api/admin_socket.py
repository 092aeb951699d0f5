"""The door for `kerwen account` and its like: a Unix socket in the data folder.

Who may open the data folder may do everything there, so the socket asks for no password. One
JSON object a line, `{"do": "account list", …}`; one back, `{"done": …}` or `{"refused": "why"}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kerwen.base.errors import Refused, Unavailable
from kerwen.base.limits import KIB

if TYPE_CHECKING:  # the command line is quicker without it
    from kerwen.api.audit import Auditor

log = logging.getLogger("kerwen.admin")

NAME: Final = "admin.sock"
LINE_MAX: Final = 64 * KIB

Deed = Callable[..., Awaitable[Any]]
"""Takes what the command line gave, by name, and returns what JSON can say."""


class AdminSocket:
    """Listens in a data folder and does the deeds that it was given."""

    def __init__(self, data: Path, deeds: Mapping[str, Deed]) -> None:
        self._data = data
        self._deeds = deeds
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begins to listen; a socket that a crash left behind is replaced."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _reachable(self._data) as path:
            path.unlink(missing_ok=True)
            line.bind(str(path))
            path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._talk, sock=line, limit=LINE_MAX)

    def close(self) -> None:
        """Takes no more commands."""
        if self._server is not None:
            self._server.close()
            (self._data / NAME).unlink(missing_ok=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readuntil(b"\n"))
            if not isinstance(asked, dict):
                raise ValueError("a command is an object")
            writer.write(json.dumps(await answer(self._deeds, asked)).encode() + b"\n")
            await writer.drain()
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            log.info("an admin command was broken off")
        finally:
            writer.close()


async def answer(deeds: Mapping[str, Deed], asked: dict[str, Any]) -> dict[str, Any]:
    """Does one deed; whatever it raises becomes words."""
    deed = deeds.get(str(asked.pop("do", "")))
    if deed is None:
        return {"refused": "this server does not know that command"}
    try:
        return {"done": await deed(**asked)}
    except Refused as error:
        return {"refused": error.public_text}
    except Unavailable as error:
        return {"refused": f"the server cannot do this now: {error.reason.value}"}
    except Exception:
        log.exception("bug")
        return {"refused": "an error in the server; its log says more"}


def audited(deeds: Mapping[str, Deed], auditor: Auditor) -> dict[str, Deed]:
    """The same deeds, each written down before it begins, and how it ended."""
    return {words: _audited(words, deed, auditor) for words, deed in deeds.items()}


def _audited(words: str, deed: Deed, auditor: Auditor) -> Deed:
    async def run(**asked: Any) -> Any:
        told = {k: v for k, v in asked.items() if isinstance(v, (bool, int))}
        entry_no = await auditor.begin("", f"kerwen {words}", str(asked.get("name", "")), told)
        outcome = "failed"
        try:
            done = await deed(**asked)
            outcome = "done"
        except Refused as error:
            outcome = f"refused: {error.reason.value}"
            raise
        finally:
            await auditor.end(entry_no, outcome)
        return done

    return run


def ask(data: Path, asked: Mapping[str, Any], patience_s: float = 60) -> dict[str, Any] | None:
    """Asks the server that runs on a data folder; None if none does. For the command line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(patience_s)
        try:
            with _reachable(data) as path:
                line.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        line.sendall(json.dumps(asked).encode() + b"\n")
        with line.makefile("rb") as file:
            told: dict[str, Any] = json.loads(file.readline() or b'{"refused": "it hung up"}')
    return told


@contextlib.contextmanager
def _reachable(data: Path) -> Iterator[Path]:
    """The socket's path, by a short way: a socket's name may have 107 bytes only."""
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{folder}") / NAME
    finally:
        os.close(folder)
