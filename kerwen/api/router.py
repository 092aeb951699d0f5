"""Which route a path leads to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kerwen.base.errors import Reason, Refused

if TYPE_CHECKING:
    from kerwen.api.http import Route


@dataclass(frozen=True, slots=True)
class Later:
    """Routes that are built when somebody first asks for a path that begins so.

    What most servers are hardly ever asked costs neither time at the start nor memory.
    """

    prefixes: tuple[bytes, ...]
    build: Callable[[], Iterable[Route]]


class _Node:
    __slots__ = ("child", "fixed", "names", "routes")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.child: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}


class Router:
    """A trie over path parts: the cost is the path's depth, not the number of routes."""

    def __init__(self, routes: Iterable[Route], later: Iterable[Later] = ()) -> None:
        self._routes: list[Route] = []
        self._later = list(later)
        self._root = _Node()
        self._plain: dict[bytes, _Node] = {}  # paths without a part that has a name
        self._take(routes)

    @property
    def routes(self) -> tuple[Route, ...]:
        """The whole table, with what is built later."""
        while self._later:
            self._build(self._later[-1])
        return tuple(self._routes)

    def _take(self, routes: Iterable[Route]) -> None:
        for route in routes:
            self._routes.append(route)
            self._add(route, route.path)
            if route.path.startswith("/_matrix/client/v3/"):
                self._add(route, route.path.replace("/v3/", "/r0/", 1))  # older clients

    def _build_for(self, raw_path: bytes) -> bool:
        """Builds what belongs to a path; whether there was something to build."""
        for later in self._later:
            if raw_path.startswith(later.prefixes):
                self._build(later)
                return True
        return False

    def _build(self, later: Later) -> None:
        self._later.remove(later)
        routes = list(later.build())
        for route in routes:
            assert route.path.encode().startswith(later.prefixes), f"nobody finds {route.path}"
        self._take(routes)

    def _add(self, route: Route, path: str) -> None:
        node = self._root
        names = []
        for part in path.split("/")[1:]:
            if part.startswith("{"):
                names.append(part[1:-1])
                node.child = node.child or _Node()
                node = node.child
            else:
                node = node.fixed.setdefault(part, _Node())
        assert route.method not in node.routes, f"two routes for {route.method} {path}"
        node.routes[route.method] = (route, tuple(names))
        if not names:
            self._plain[path.encode()] = node

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route and its path parts; `Refused(UNRECOGNIZED, WRONG_METHOD)`."""
        node = self._plain.get(raw_path)
        values: list[str] = []
        if node is None:
            node, values = self._walk(raw_path.decode("latin-1").split("/"))
        if node is None or not node.routes:
            if self._build_for(raw_path):
                return self.find(method, raw_path)
            raise Refused(Reason.UNRECOGNIZED, "There is no such endpoint")
        found = node.routes.get(method)
        if found is None:
            if method == "HEAD" and "GET" in node.routes:
                found = node.routes["GET"]
            else:
                raise Refused(Reason.WRONG_METHOD, "The endpoint does not know this method")
        route, names = found
        return route, dict(zip(names, values, strict=True)) if names else {}

    def _walk(self, parts: list[str]) -> tuple[_Node | None, list[str]]:
        """Fixed parts win over named ones; one step back is tried where both could match."""
        node: _Node | None = self._root
        values: list[str] = []
        retry: tuple[int, _Node, int] | None = None
        index = 1
        while index < len(parts):
            assert node is not None
            part = parts[index]
            step = node.fixed.get(part)
            if step is not None:
                if node.child is not None:
                    retry = (index, node.child, len(values))
                node = step
            elif node.child is not None:
                values.append(_plain(part))
                node = node.child
            elif retry is not None:
                index, node, kept = retry
                del values[kept:]
                values.append(_plain(parts[index]))
                retry = None
            else:
                return None, values
            index += 1
        return node, values


def _plain(part: str) -> str:
    """A path part as text; parts that are not UTF-8 or hold NUL are refused."""
    if "%" in part or not part.isascii():
        part = _decoded(part)
    if "\0" in part:
        raise Refused(Reason.INVALID_PARAM, "The path holds a NUL")
    return part


@lru_cache(2_000)  # the ids of rooms and people come again and again
def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise Refused(Reason.INVALID_PARAM, "The path is not UTF-8") from None
