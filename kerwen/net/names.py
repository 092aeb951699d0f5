"""Where other servers are in development: a file instead of DNS.

    "b.test" = {matrix = "127.0.0.1:28448", smtp = "127.0.0.1:20025"}

The file is read again when it changes, so that servers may be started in any order.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

Service = Literal["matrix", "smtp"]


class Hosts:
    """The look-ups of a hosts file. Without a file, no other server exists."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._places: dict[str, dict[str, tuple[str, int]]] = {}

    def find(self, name: str, service: Service) -> tuple[str, int] | None:
        """Host and port of a server's service; None if the file does not tell.

        Raises `ValueError` with one line for the operator if the file is wrong.
        """
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            self._places = read(self._path)
            self._stamp = stamp
        return self._places.get(name, {}).get(service)


def read(path: Path) -> dict[str, dict[str, tuple[str, int]]]:
    """Every place that a hosts file tells. Raises `ValueError` with one line."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    places: dict[str, dict[str, tuple[str, int]]] = {}
    for name, services in found.items():
        if not isinstance(services, dict):
            raise ValueError(f"{path}: {name} must be a table of services")
        places[name] = {}
        for service, where in services.items():
            host, _, port = str(where).rpartition(":")
            if service not in ("matrix", "smtp") or not host or not port.isdigit():
                raise ValueError(f'{path}: {name}: write matrix = "HOST:PORT" or smtp = …')
            places[name][service] = (host.strip("[]"), int(port))
    return places
