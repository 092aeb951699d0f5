"""Blobs in an S3 bucket, for houses of more than one machine.

An object appears whole or not at all, which is what S3 promises. A large one goes up in parts;
if it breaks off, the store is told to drop them. Where a crash left parts behind, only a lifecycle
rule of the bucket (AbortIncompleteMultipartUpload) removes them: docs/media.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.config import BadConfig
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.storage.blobs import CHUNK, KEY, SWEEP_BATCH, Blob, Named, new_key

if TYPE_CHECKING:
    from obstore import BytesStream
    from obstore.store import S3Config, S3Store

PART: Final = 8 * limits.MIB  # S3 wants 5 MiB at least in all parts but the last
_PARTS_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where the bucket is. `endpoint` None is Amazon's own; `prefix` keeps subjects apart."""

    bucket: str
    prefix: str
    region: str
    access_key_id: str
    secret_access_key: str
    endpoint: str | None = None

    @classmethod
    def of(cls, url: str, environ: Mapping[str, str]) -> S3Place:
        """The place that `s3://BUCKET/PREFIX?region=…&endpoint=…` names; the credentials are
        `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` of the environment, never in a file.
        Raises ValueError with a line for the operator.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        unknown = set(options) - {"region", "endpoint"}
        if parts.scheme != "s3" or not parts.netloc or unknown:
            raise ValueError("blobs must be s3://BUCKET/PREFIX?region=…&endpoint=…")
        try:
            key, secret = environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        except KeyError as missing:
            raise ValueError(f"blobs in S3 need {missing.args[0]} in the environment") from None
        region = options.get("region") or environ.get("AWS_REGION") or "us-east-1"
        prefix = parts.path.strip("/")
        return cls(parts.netloc, prefix, region, key, secret, options.get("endpoint"))


def s3_place(url: str, environ: Mapping[str, str] = os.environ) -> S3Place:
    """The place that `s3://BUCKET/PREFIX?region=…&endpoint=https://…` names.

    The keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, so that no configuration file
    holds a secret. Raises `BadConfig`.
    """
    parts = urlsplit(url)
    more = dict(parse_qsl(parts.query))
    unknown = more.keys() - {"region", "endpoint"}
    if parts.scheme != "s3" or not parts.hostname or parts.username or unknown:
        raise BadConfig("blobs must read s3://BUCKET/PREFIX?region=NAME&endpoint=URL")
    try:
        key_id, secret = environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
    except KeyError as missing:
        raise BadConfig(f"blobs in S3 need the environment variable {missing}") from None
    return S3Place(
        bucket=parts.hostname,
        prefix=parts.path.strip("/"),
        region=more.get("region", "us-east-1"),
        access_key_id=key_id,
        secret_access_key=secret,
        endpoint=more.get("endpoint"),
    )


class _Abandoned(Exception):
    """The sender gave up: raised inside the upload so that its parts are dropped."""


class _S3Reader:
    """A range of an object, a chunk at a time."""

    def __init__(self, stream: BytesStream, length: int) -> None:
        self._stream: BytesStream | None = stream
        self._missing = length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._stream is None:
            raise StopAsyncIteration
        with _s3_errors():
            try:
                chunk = bytes(await self._stream.__anext__())
            except StopAsyncIteration:
                if self._missing:
                    raise Unavailable(Unready.DISK_FAULT, cause="a short object") from None
                raise
        self._missing -= len(chunk)
        return chunk

    async def aclose(self) -> None:
        self._stream = None  # dropping it ends the request


class _Arrived:
    """An object is in the bucket when it has come."""

    settled = True

    def __init__(self, store: S3Blobs, blob: Blob) -> None:
        self.blob = blob
        self._store = store

    async def settle(self) -> None:
        """Nothing is to be waited for."""

    async def discard(self) -> None:
        await self._store.delete([self.blob.key])


class S3Blobs:
    """The `Blobs` of one bucket and prefix."""

    def __init__(self, place: S3Place, *, clock: Clock = now_ms) -> None:
        from obstore.store import S3Store  # imported only where it is used

        self._clock = clock
        config: S3Config = {
            "region": place.region,
            "access_key_id": place.access_key_id,
            "secret_access_key": place.secret_access_key,
        }
        if place.endpoint is not None:
            config["endpoint"] = place.endpoint
        self._store: S3Store = S3Store(
            place.bucket,
            prefix=place.prefix or None,
            config=config,
            client_options={
                "allow_http": (place.endpoint or "").startswith("http://"),
                "timeout": "10 minutes",  # of a whole transfer, so it must suit slow readers
                "connect_timeout": "10 seconds",
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
        )

    async def put(self, chunks: AsyncIterator[bytes], most: int, size: int | None = None) -> Blob:
        import obstore

        key = new_key(self._clock())
        passed = _Size(most)
        held = bytearray()
        async for chunk in chunks:
            passed.add(chunk)
            held += chunk
            if len(held) >= PART:
                break
        else:
            with _s3_errors():
                await obstore.put_async(self._store, key, bytes(held), use_multipart=False)
            return Blob(key, passed.size)
        await self._put_parts(key, held, chunks, passed)
        return Blob(key, passed.size)

    async def _put_parts(
        self,
        key: str,
        first: bytearray,
        chunks: AsyncIterator[bytes],
        passed: _Size,
    ) -> None:
        """Sends a long stream. The upload is a task of its own that ends whatever happens here:
        told to abandon, it has the store drop its parts."""
        queue: asyncio.Queue[bytes | _Abandoned | None] = asyncio.Queue(2)
        upload = asyncio.create_task(self._upload(key, queue))
        try:
            await _hand(queue, upload, bytes(first))
            async for chunk in chunks:
                passed.add(chunk)
                await _hand(queue, upload, chunk)
            await _hand(queue, upload, None)
        except BaseException:
            await asyncio.shield(_abandon(queue, upload))
            raise
        with _s3_errors():
            await asyncio.shield(upload)

    async def _upload(self, key: str, queue: asyncio.Queue[bytes | _Abandoned | None]) -> None:
        import obstore

        async def parts() -> AsyncIterator[bytes]:
            while (part := await queue.get()) is not None:
                if isinstance(part, _Abandoned):
                    raise part
                yield part

        async with aclosing(parts()) as source:  # type: ignore[type-var]
            await obstore.put_async(
                self._store,
                key,
                source,
                use_multipart=True,
                chunk_size=PART,
                max_concurrency=_PARTS_AT_ONCE,
            )

    async def begin(
        self, chunks: AsyncIterator[bytes], most: int, size: int | None = None
    ) -> _Arrived:
        return _Arrived(self, await self.put(chunks, most))

    async def prepare(self) -> None:
        """Nothing: an object has no room before it is there."""

    async def put_bytes(self, data: bytes) -> Blob:
        import obstore

        key = new_key(self._clock())
        with _s3_errors():
            await obstore.put_async(self._store, key, data, use_multipart=False)
        return Blob(key, len(data))

    async def get(self, key: str, start: int, end: int) -> bytes:
        import obstore

        with _s3_errors():
            if end <= start:  # S3 knows no empty ranges
                await obstore.head_async(self._store, key)
                return b""
            data = bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
        if len(data) != end - start:
            raise Unavailable(Unready.DISK_FAULT, 30_000, cause="a short object")
        return data

    async def open(self, key: str, start: int, end: int) -> _S3Reader:
        import obstore

        with _s3_errors():
            found = await obstore.get_async(self._store, key, options={"range": (start, end)})
            return _S3Reader(found.stream(min_chunk_size=CHUNK), end - start)

    async def whole(self, sizes: Mapping[str, int]) -> set[str]:
        import obstore

        found = set()
        for key, size in sizes.items():
            with contextlib.suppress(Refused), _s3_errors():
                if (await obstore.head_async(self._store, key))["size"] == size:
                    found.add(key)
        return found

    async def delete(self, keys: Iterable[str]) -> None:
        import obstore

        wanted = list(keys)
        if wanted:
            with _s3_errors():
                await obstore.delete_async(self._store, wanted)

    async def sweep(self, named: Named, before_ms: int) -> int:
        import obstore

        removed = 0
        with _s3_errors():
            async for batch in obstore.list(self._store, chunk_size=SWEEP_BATCH):
                old = [
                    entry["path"]
                    for entry in batch
                    if KEY.fullmatch(entry["path"])
                    and entry["last_modified"].timestamp() * 1000 < before_ms
                ]
                known = await named(old) if old else set()
                orphans = [key for key in old if key not in known]
                await self.delete(orphans)
                removed += len(orphans)
        return removed

    async def close(self) -> None:
        """Nothing is held open."""


class _Size:
    """How long a stream is, as it passes."""

    def __init__(self, most: int) -> None:
        self.size = 0
        self._most = most

    def add(self, chunk: bytes) -> None:
        """`Refused(TOO_LARGE)` when the stream passes what it may have."""
        self.size += len(chunk)
        if self.size > self._most:
            raise Refused(Reason.TOO_LARGE, f"A file may have {self._most} bytes")


async def _hand(
    queue: asyncio.Queue[bytes | _Abandoned | None],
    upload: asyncio.Task[None],
    part: bytes | None,
) -> None:
    """Hands a part on; if the upload broke meanwhile, its error is raised here."""
    if not queue.full():
        queue.put_nowait(part)
        return
    handing = asyncio.ensure_future(queue.put(part))
    try:
        await asyncio.wait({handing, upload}, return_when=asyncio.FIRST_COMPLETED)
        if not handing.done():
            with _s3_errors():
                await upload
    finally:
        handing.cancel()


async def _abandon(
    queue: asyncio.Queue[bytes | _Abandoned | None], upload: asyncio.Task[None]
) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(_Abandoned())
    await asyncio.wait({upload})
    if not upload.cancelled():
        upload.exception()  # seen: the first error is the one that is told


@contextmanager
def _s3_errors() -> Iterator[None]:
    """The store's errors in our words."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise Refused(Reason.NOT_FOUND, "Not found") from None
    except (BaseError, OSError) as error:
        raise Unavailable(Unready.DISK_FAULT, 5_000, cause=type(error).__name__) from error
