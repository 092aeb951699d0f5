"""`/_matrix/media/*` and `/_matrix/client/v1/media/*`: the content repository."""

# CS #content-repository

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from kerwen.api.http import CORS_HEADERS, Access, Cost, Reply, Request, Route
from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.media.actions.delete import Deletion
from kerwen.media.actions.download import Downloads, NoRemoteMedia, RemoteMedia
from kerwen.media.actions.quota import Quota
from kerwen.media.actions.thumbnail import Thumbnails
from kerwen.media.actions.upload import Creation, Incoming, Uploads
from kerwen.media.actions.upload_pieces import Pieces
from kerwen.media.arrivals import Arrivals
from kerwen.media.content_type import declared
from kerwen.media.disposition import disposition, file_name
from kerwen.media.mxc import mxc
from kerwen.media.pieces import piece_of
from kerwen.media.ranges import Unsatisfiable, matches, wanted_range
from kerwen.media.rules import MediaRules
from kerwen.media.store import Media
from kerwen.media.thumbnail_sizes import Variant, variant
from kerwen.media.thumbnailer import Thumbnailer
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed

if TYPE_CHECKING:  # off on most servers
    from kerwen.media.actions.picture import Pictures
from kerwen.media.actions.preview import Previews

Headers = list[tuple[bytes, bytes]]

# CS #content-repository: the recommended policy, and cross-origin use by web clients
SAFE_HEADERS: Final[Headers] = [
    *CORS_HEADERS,
    (b"access-control-expose-headers", b"Content-Disposition, Content-Range, ETag"),
    (
        b"content-security-policy",
        b"sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf;"
        b" style-src 'unsafe-inline'; object-src 'self';",
    ),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"accept-ranges", b"bytes"),
    # what a name stands for never changes, and only its reader's own cache may keep it
    (b"cache-control", b"private, max-age=31536000, immutable"),
]
_WAIT_MS: Final = 20_000


class MediaApi:
    """The routes of media. `remote` fetches other servers' media; no `previews`: they are off."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        feed: Feed,
        domain: str,
        thumbnailer: Thumbnailer,
        *,
        rules: MediaRules | None = None,
        remote: RemoteMedia | None = None,
        previews: Previews | None = None,
        pictures: Pictures | None = None,
        clock: Clock = now_ms,
    ) -> None:
        rules = rules or MediaRules()
        self._previews = previews
        self._pictures = pictures
        self._blobs = blobs
        self._domain = domain
        self._rules = rules
        self._uploads = Uploads(db, blobs, rules, clock)
        self._pieces = Pieces(db, blobs, self._uploads)
        self._creation = Creation(db, rules, clock)
        self.downloads = Downloads(
            db, domain, Arrivals(feed), remote or NoRemoteMedia(), rules, clock
        )
        self._thumbnails = Thumbnails(db, blobs, thumbnailer)
        self.deletion = Deletion(db, blobs, domain)
        self._quota = Quota(db, rules)

    def routes(self) -> list[Route]:
        """The lines of the table."""
        client, media = "/_matrix/client/v1/media", "/_matrix/media"
        name = "{serverName}/{mediaId}"
        spec = "CS #content-repository"
        most = self._rules.upload_bytes_max
        lines: list[tuple[str, str, Any, dict[str, Any]]] = [
            ("GET", f"{client}/download/{name}", self.download, {}),
            ("GET", f"{client}/download/{name}/{{fileName}}", self.download, {}),
            ("GET", f"{client}/thumbnail/{name}", self.thumbnail, {}),
            ("GET", f"{client}/config", self.config, {}),
            ("GET", f"{client}/preview_url", self.preview, {"cost": Cost.HEAVY}),
            ("POST", f"{media}/v1/create", self.create, _WRITE),
            ("DELETE", f"/_kerwen/media/{name}", self.delete, {"cost": Cost.WRITE}),
            ("GET", "/_kerwen/media", self.own, {}),
            ("GET", "/_kerwen/mail/picture", self.picture, {"cost": Cost.HEAVY}),
        ]
        for version in ("v3", "r0"):  # r0: older clients
            old = f"{media}/{version}"
            lines += [
                ("POST", f"{old}/upload", self.upload, _WRITE | _STREAM),
                ("PUT", f"{old}/upload/{name}", self.fill, _WRITE | _STREAM),
                ("GET", f"{old}/download/{name}", self.download_legacy, _OPEN),
                ("GET", f"{old}/download/{name}/{{fileName}}", self.download_legacy, _OPEN),
                ("GET", f"{old}/thumbnail/{name}", self.thumbnail_legacy, _OPEN),
                ("GET", f"{old}/config", self.config, {}),
                ("GET", f"{old}/preview_url", self.preview, {"cost": Cost.HEAVY}),
            ]
        return [
            Route(method, path, handler, spec=spec, **({"body_max": most} | more))
            if more.get("stream")
            else Route(method, path, handler, spec=spec, **more)
            for method, path, handler, more in lines
        ]

    async def upload(self, request: Request) -> dict[str, str]:
        """POST /_matrix/media/v3/upload"""
        media_id = await self._uploads.upload(_incoming(request))
        return {"content_uri": mxc(self._domain, media_id)}

    async def create(self, request: Request) -> dict[str, Any]:
        """POST /_matrix/media/v1/create"""
        fresh = await self._creation.create(request.caller.account_no)
        return {
            "content_uri": mxc(self._domain, fresh.media_id),
            "unused_expires_at": fresh.expires_ms,
        }

    async def fill(self, request: Request) -> bytes | dict[str, int]:
        """PUT /_matrix/media/v3/upload/{serverName}/{mediaId}: whole, or piece by piece"""
        if request.params["serverName"] != self._domain:
            raise Refused(Reason.NOT_FOUND, "Unknown media ID")
        media_id, piece = request.params["mediaId"], piece_of(request.header(b"content-range"))
        if piece is None:
            await self._uploads.fill(_incoming(request), media_id)
            return b"{}"
        return {"received": await self._pieces.take(_incoming(request), media_id, piece)}

    async def download(self, request: Request) -> Reply:
        """GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}"""
        name = file_name(request.params.get("fileName"))
        media = await self.downloads.visible_to_users(
            request.params["serverName"],
            request.params["mediaId"],
            request.int_query("timeout_ms", _WAIT_MS, 0, limits.UPLOAD_WAIT_MAX_MS),
        )
        return await self._serve(request, media, name)

    async def download_legacy(self, request: Request) -> Reply:
        """GET /_matrix/media/v3/download/{serverName}/{mediaId}/{fileName}"""
        name = file_name(request.params.get("fileName"))
        media = await self.downloads.visible_to_anyone(
            request.params["serverName"], request.params["mediaId"]
        )
        return await self._serve(request, media, name)

    async def thumbnail(self, request: Request) -> Reply:
        """GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}"""
        wanted = _wanted(request)
        media = await self.downloads.visible_to_users(
            request.params["serverName"],
            request.params["mediaId"],
            request.int_query("timeout_ms", _WAIT_MS, 0, limits.UPLOAD_WAIT_MAX_MS),
        )
        return await self._serve_thumbnail(request, media, wanted)

    async def thumbnail_legacy(self, request: Request) -> Reply:
        """GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}"""
        wanted = _wanted(request)
        media = await self.downloads.visible_to_anyone(
            request.params["serverName"], request.params["mediaId"]
        )
        return await self._serve_thumbnail(request, media, wanted)

    async def config(self, request: Request) -> dict[str, int | bool]:
        """GET /_matrix/client/v1/media/config"""
        return {"m.upload.size": self._rules.upload_bytes_max, "org.kerwen.upload.pieces": True}

    async def preview(self, request: Request) -> dict[str, str | int]:
        """GET /_matrix/client/v1/media/preview_url"""
        if self._previews is None:
            raise Refused(Reason.UNRECOGNIZED, "URL previews are off on this server")
        return await self._previews.of(request.need_query("url"))

    async def picture(self, request: Request) -> Reply:
        """GET /_kerwen/mail/picture?url=…: a picture that a letter names, for its reader"""
        if self._pictures is None:
            raise Refused(Reason.UNRECOGNIZED, "This server fetches no pictures")
        kind, body = await self._pictures.of(request.need_query("url"))
        headers = [
            (b"content-type", kind.encode()),
            (b"cache-control", b"private, max-age=86400"),
            (b"content-security-policy", b"sandbox; default-src 'none'"),
            (b"x-content-type-options", b"nosniff"),
        ]
        return Reply(body, headers=headers)

    async def delete(self, request: Request) -> bytes:
        """DELETE /_kerwen/media/{serverName}/{mediaId}"""
        await self.deletion.delete_own(
            request.caller.account_no, request.params["serverName"], request.params["mediaId"]
        )
        return b"{}"

    async def own(self, request: Request) -> dict[str, Any]:
        """GET /_kerwen/media?before=MS&limit=N: what the caller has here, newest first"""
        account_no = request.caller.account_no
        usage = await self._quota.usage(account_no)
        page = await self._quota.own_media(
            account_no,
            request.int_query("before", 2**53, 0, 2**53),
            request.int_query("limit", 50, 1, 500),
        )
        return {
            "bytes": usage.bytes,
            "files": usage.files,
            "quota": usage.quota,
            "media": [_entry(self._domain, media) for media in page],
        }

    async def _serve(self, request: Request, media: Media, name: str | None) -> Reply:
        assert media.blob is not None
        etag = f'"{media.blob}"'
        return await self._serve_blob(
            request,
            media.blob,
            media.size,
            etag,
            [
                *SAFE_HEADERS,
                (b"etag", etag.encode()),
                (b"content-type", media.content_type.encode("latin-1")),
                (
                    b"content-disposition",
                    disposition(media.content_type, name or media.file_name),
                ),
            ],
        )

    async def _serve_thumbnail(self, request: Request, media: Media, wanted: Variant) -> Reply:
        made = await self._thumbnails.thumbnail(media, wanted)
        etag = f'"{made.blob}"'
        name = "thumbnail." + made.content_type.removeprefix("image/")
        return await self._serve_blob(
            request,
            made.blob,
            made.size,
            etag,
            [
                *SAFE_HEADERS,
                (b"etag", etag.encode()),
                (b"content-type", made.content_type.encode()),
                (b"content-disposition", disposition(made.content_type, name)),
            ],
        )

    async def _serve_blob(
        self, request: Request, key: str, size: int, etag: str, headers: Headers
    ) -> Reply:
        """A blob, a range of it, or the word that the peer has it already (RFC 9110 §13, §14)."""
        if matches(request.header(b"if-none-match"), etag):
            return Reply(_nothing(), 304, headers)
        status, start, end = 200, 0, size
        try:
            found = wanted_range(request.header(b"range"), request.header(b"if-range"), size, etag)
        except Unsatisfiable:
            return _unsatisfiable(size)
        if found is not None:
            status, (start, end) = 206, found
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
        if request.method == "HEAD":
            return Reply(_nothing(), status, [*headers, _length(end - start)])
        if end - start <= limits.DOWNLOAD_AT_ONCE:
            return Reply(await self._blobs.get(key, start, end), status, headers)
        reader = await self._blobs.open(key, start, end)
        return Reply(reader, status, [*headers, _length(end - start)])


_WRITE: Final[dict[str, Any]] = {"cost": Cost.WRITE, "suspended": False}
_STREAM: Final[dict[str, Any]] = {"stream": True}
_OPEN: Final[dict[str, Any]] = {"access": Access.ANYONE}


def _incoming(request: Request) -> Incoming:
    length = request.header(b"content-length")
    return Incoming(
        account_no=request.caller.account_no,
        content_type=declared(request.header(b"content-type")),
        file_name=file_name(request.query("filename")),
        size=int(length) if length is not None and length.isdigit() else None,
        chunks=request.chunks(),
    )


def _wanted(request: Request) -> Variant:
    request.need_query("width")
    request.need_query("height")
    method = request.query("method", "scale")
    if method not in ("crop", "scale"):
        raise Refused(Reason.INVALID_PARAM, "method must be crop or scale")
    return variant(
        request.int_query("width", 0, 1, limits.THUMBNAIL_SIDE_MAX),
        request.int_query("height", 0, 1, limits.THUMBNAIL_SIDE_MAX),
        crop=method == "crop",
        animated=request.bool_query("animated"),
    )


def _entry(domain: str, media: Media) -> dict[str, Any]:
    return {
        "content_uri": mxc(domain, media.media_id),
        "content_type": media.content_type,
        "filename": media.file_name,
        "size": media.size,
        "created_ts": media.created_ms,
        "uploaded": media.blob is not None,
    }


def _length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % size


def _unsatisfiable(size: int) -> Reply:
    headers = [
        *CORS_HEADERS,
        (b"content-type", b"application/json"),
        (b"content-range", b"bytes */%d" % size),
    ]
    body = b'{"errcode":"M_UNKNOWN","error":"The range lies behind the end of the file"}'
    return Reply(body, 416, headers)


async def _nothing() -> AsyncIterator[bytes]:
    """No body at all: the headers stand as they are."""
    return
    yield b""  # pragma: no cover
