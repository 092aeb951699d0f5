"""Upload and download. # RFC 8620 §6.1, §6.2"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import orjson

from kerwen.api.http import CORS_HEADERS, Access, Cost, Reply, Request, Route
from kerwen.api.jmap import blobs, ids
from kerwen.api.jmap.api import PATH, JmapApi, problem, shown
from kerwen.api.jmap.registry import Work
from kerwen.api.jmap.sessions import Sessions
from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.mail.jmap.errors import MethodError, RequestError
from kerwen.mail.jmap.requests import Batch

_ROOM_IN_MS: Final = 10_000
_OCTETS: Final = "application/octet-stream"
# a file may be anything, a page too: nothing in it runs in our name
_SAFE: Final = [
    *CORS_HEADERS,
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"cache-control", b"private, immutable, max-age=31536000"),
]
_PARAMETERS: Final = re.compile(r"(?:; ?[a-zA-Z0-9-]{1,40}=[\"a-zA-Z0-9_.+-]{1,80}){0,4}")


class FilesApi:
    """The routes of files."""

    def __init__(self, api: JmapApi, sessions: Sessions) -> None:
        self._api = api
        self._sessions = sessions
        self._room = _Room(limits.JMAP_UPLOADS_IN_MEMORY_MAX)

    def routes(self) -> list[Route]:
        """The table."""
        open_ = (Access.ANYONE, Cost.FREE)
        spec = "RFC 8620"
        return [
            Route(
                "POST", PATH + "upload/{accountId}", self.upload, *open_, spec,
                body_max=limits.MESSAGE_BYTES_MAX, stream=True, shown=shown,
            ),
            Route(
                "GET", PATH + "download/{accountId}/{blobId}/{name}", self.download, *open_,
                spec, shown=shown,
            ),
        ]  # fmt: skip

    async def upload(self, request: Request) -> Reply:
        """POST /jmap/upload/{accountId}"""
        entry = await self._sessions.enter(request)
        if request.params["accountId"] != entry.account_id:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        kind = request.header(b"content-type") or _OCTETS
        if blobs.TYPE.fullmatch(kind.partition(";")[0].strip()) is None or len(kind) > 255:
            kind = _OCTETS
        if not kind.isprintable() or not kind.isascii():
            kind = _OCTETS
        uploads = self._api.deeds.uploads
        try:
            with self._sessions.uploading(entry), self._room.place() as place:
                data = await _received(request, place)
                upload_no = await uploads.add(entry.account_no, kind, data)
        except RequestError as error:
            return problem(error)
        told = {
            "accountId": entry.account_id,
            "blobId": ids.upload_id(self._api.deeds.tags, entry.account_no, upload_no),
            "type": kind,
            "size": len(data),
        }
        headers = [*CORS_HEADERS, (b"content-type", b"application/json")]
        return Reply(orjson.dumps(told), 201, headers)

    async def download(self, request: Request) -> Reply:
        """GET /jmap/download/{accountId}/{blobId}/{name}?type="""
        entry = await self._sessions.enter(request)
        if request.params["accountId"] != entry.account_id:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        with self._sessions.held(entry):
            work = Work(self._api.deeds, entry, Batch({"using": [], "methodCalls": []}, ()))
            try:
                found = await blobs.read(work, request.params["blobId"])
            except MethodError as error:
                raise Refused(Reason.TOO_LARGE, error.description) from None
        if found is None:
            raise Refused(Reason.NOT_FOUND, "There is no such blob")
        kind = request.query("type") or found.type
        plain, _, more = kind.partition(";")
        if blobs.TYPE.fullmatch(plain) is None or (
            more and _PARAMETERS.fullmatch(";" + more) is None
        ):
            kind = _OCTETS
        name = quote(request.params["name"][: limits.FILE_NAME_MAX], safe="")
        disposition = f"attachment; filename*=utf-8''{name}"
        headers: list[Any] = [
            *_SAFE,
            (b"content-type", kind.encode("latin-1", "replace")),
            (b"content-disposition", disposition.encode()),
        ]
        return Reply(found.data, 200, headers)


class _Room:
    """Bytes of all uploads that are in memory at the same time."""

    def __init__(self, left: int) -> None:
        self.left = left

    @contextmanager
    def place(self) -> Iterator[Callable[[int], None]]:
        """What takes so many bytes more. It says `Unavailable`: BUSY."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self.left:
                raise Unavailable(Unready.BUSY, _ROOM_IN_MS)
            self.left -= size
            taken += size

        try:
            yield take
        finally:
            self.left += taken


async def _received(request: Request, take: Callable[[int], None]) -> bytes:
    """The whole body. Says `TOO_LARGE`; what `take` says."""
    most = limits.MESSAGE_BYTES_MAX
    declared = request.header(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > most:
        raise Refused(Reason.TOO_LARGE, f"A file may have {most} bytes")
    parts: list[bytes] = []
    size = 0
    async for part in request.chunks():
        size += len(part)
        if size > most:
            raise Refused(Reason.TOO_LARGE, f"A file may have {most} bytes")
        take(len(part))
        parts.append(part)
    return b"".join(parts)
