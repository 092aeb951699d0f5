"""Files out of a media store: bytes first, then the row that names them. Thumbnails are made anew
when somebody asks for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from kerwen.base.errors import Refused
from kerwen.commands.synapse.ledger import Ledger
from kerwen.commands.synapse.source import read
from kerwen.media import store
from kerwen.media.store import OURS, Media
from kerwen.storage.blobs import CHUNK, Blobs

_NEVER_TOO_LARGE = 2**50


async def import_media(ledger: Ledger, folder: Path, blobs: Blobs) -> None:
    """What people here uploaded, and what was fetched from other servers."""
    rows = read(
        ledger.source, "local_media_repository", "media_id", "media_type", "upload_name",
        "user_id", "created_ts", "quarantined_by", "url_cache",
    )  # fmt: skip
    for row in ledger.counted("files", rows):
        media_id, kind, name, user_id, created, quarantined, url_cache = row
        if url_cache is not None:
            continue
        shut = quarantined is not None
        account_no = ledger.accounts.get(user_id) if user_id else None
        path = _below(folder / "local_content", media_id)
        await _take(ledger, blobs, path, OURS, media_id, kind, name, account_no, created, shut)
    rows = read(
        ledger.source, "remote_media_cache", "media_origin", "media_id", "media_type",
        "upload_name", "filesystem_id", "created_ts", "quarantined_by",
    )  # fmt: skip
    for row in ledger.counted("files of other servers", rows):
        origin, media_id, kind, name, file_id, created, quarantined = row
        if file_id:
            shut = quarantined is not None
            path = _below(folder / "remote_content" / origin, file_id)
            await _take(ledger, blobs, path, origin, media_id, kind, name, None, created, shut)


def _below(folder: Path, name: str) -> Path:
    return folder / name[0:2] / name[2:4] / name[4:]


async def _take(
    ledger: Ledger,
    blobs: Blobs,
    path: Path,
    origin: str,
    media_id: str,
    kind: str | None,
    name: str | None,
    account_no: int | None,
    created_ms: int | None,
    quarantined: bool,
) -> None:
    if ".." in path.parts or "/" in origin or not await asyncio.to_thread(path.is_file):
        ledger.left_out["files that are not in the media store"] += 1
        return
    try:
        blob = await blobs.put(_chunks(path), _NEVER_TOO_LARGE)
    except Refused:
        ledger.left_out["files that were refused"] += 1
        return
    await store.add(
        ledger.tx,
        Media(
            origin,
            media_id,
            account_no,
            blob.key,
            kind or "application/octet-stream",
            name,
            blob.size,
            created_ms or ledger.now_ms,
            None,
        ),
    )
    if quarantined:
        await store.quarantine(ledger.tx, origin, media_id, True)
    if account_no is not None:
        await store.use(ledger.tx, account_no, blob.size, 1)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
