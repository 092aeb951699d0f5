"""/_matrix/client/v3/room_keys/...: key backup"""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.api.http import Cost, Handler, Reply, Request, Route
from kerwen.base import limits
from kerwen.keys.actions.backup import Backup, Place, Stand
from kerwen.keys.backup import Version, all_sessions, room_sessions, session_key

_PREFIXES = ("/_matrix/client/v3", "/_matrix/client/unstable")
_SPEC = "CS #server-side-key-backups"


class RoomKeysApi:
    """Key backup (CS #server-side-key-backups)."""

    def __init__(self, backup: Backup) -> None:
        self._backup = backup

    def routes(self) -> list[Route]:
        """The lines of the table; the unstable prefix is what older clients call."""
        version, keys = "/room_keys/version", "/room_keys/keys"
        one, room = version + "/{version}", keys + "/{roomId}"
        session = room + "/{sessionId}"
        table: list[tuple[str, str, Handler]] = [
            ("POST", version, self.create),
            ("GET", version, self.version),
            ("GET", one, self.version),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
        ]
        for path, get in ((keys, self.keys), (room, self.keys), (session, self.key)):
            table += [("PUT", path, self.put), ("GET", path, get), ("DELETE", path, self.remove)]
        return [
            Route(
                method,
                prefix + path,
                handler,
                cost=Cost.READ if method == "GET" else Cost.WRITE,
                spec=_SPEC,
                body_max=limits.BACKUP_BODY_MAX,
            )
            for prefix in _PREFIXES
            for method, path, handler in table
        ]

    async def create(self, request: Request) -> Any:
        """POST /_matrix/client/v3/room_keys/version"""
        name = await self._backup.create(request.caller.account_no, request.object())
        return {"version": name}

    async def version(self, request: Request) -> Any:
        """GET /_matrix/client/v3/room_keys/version, /room_keys/version/{version}"""
        name = request.params.get("version")
        return _version(await self._backup.version(request.caller.account_no, name))

    async def update(self, request: Request) -> bytes:
        """PUT /_matrix/client/v3/room_keys/version/{version}"""
        name = request.params["version"]
        await self._backup.update(request.caller.account_no, name, request.object())
        return b"{}"

    async def delete(self, request: Request) -> bytes:
        """DELETE /_matrix/client/v3/room_keys/version/{version}"""
        await self._backup.delete(request.caller.account_no, request.params["version"])
        return b"{}"

    async def put(self, request: Request) -> Any:
        """PUT /_matrix/client/v3/room_keys/keys, also of a room, of a session"""
        version, place, body = request.need_query("version"), _place(request), request.object()
        if place.room_id is None:
            keys = all_sessions(body)
        elif place.session_id is None:
            keys = room_sessions(place.room_id, body)
        else:
            keys = [session_key(place.room_id, place.session_id, body)]
        return _stand(await self._backup.put(request.caller.account_no, version, keys))

    async def keys(self, request: Request) -> Reply | bytes:
        """GET /_matrix/client/v3/room_keys/keys, also of a room"""
        version, place = request.need_query("version"), _place(request)
        found = await self._backup.keys(request.caller.account_no, version, place.room_id)
        return found if isinstance(found, bytes) else Reply(found)

    async def key(self, request: Request) -> bytes:
        """GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}"""
        version, params = request.need_query("version"), request.params
        return await self._backup.key(
            request.caller.account_no, version, params["roomId"], params["sessionId"]
        )

    async def remove(self, request: Request) -> Any:
        """DELETE /_matrix/client/v3/room_keys/keys, also of a room, of a session"""
        version = request.need_query("version")
        return _stand(
            await self._backup.delete_keys(request.caller.account_no, version, _place(request))
        )


def _place(request: Request) -> Place:
    return Place(request.params.get("roomId"), request.params.get("sessionId"))


def _stand(stand: Stand) -> dict[str, Any]:
    return {"etag": str(stand.etag), "count": stand.count}


def _version(version: Version) -> dict[str, Any]:
    return {
        "algorithm": version.algorithm,
        "auth_data": msgspec.Raw(version.auth_data),
        "count": version.count,
        "etag": str(version.etag),
        "version": str(version.version),
    }
