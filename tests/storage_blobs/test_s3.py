"""What only the S3 store has to do."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator

import pytest

from kerwen.base.config import BadConfig
from kerwen.base.errors import Unavailable, Unready
from kerwen.storage.blobs_s3 import S3Blobs, S3Place, s3_place


def pending_uploads(place: S3Place) -> bytes:
    with urllib.request.urlopen(f"{place.endpoint}/{place.bucket}?uploads") as answer:
        found: bytes = answer.read()
        return found


async def test_a_broken_upload_leaves_no_parts(s3_place: S3Place) -> None:
    seen: list[bytes] = []

    async def cut() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield bytes(1 << 20)
        seen.append(pending_uploads(s3_place))
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await S3Blobs(s3_place).put(cut(), 1 << 30)
    own = f"<Key>{s3_place.prefix}/".encode()
    assert own in seen[0]  # there was something to drop
    assert own not in pending_uploads(s3_place)


async def test_a_store_that_is_away(unused_tcp_port: int) -> None:
    place = S3Place(
        "kerwen-test", "x", "us-east-1", "k", "s", f"http://127.0.0.1:{unused_tcp_port}"
    )
    with pytest.raises(Unavailable) as caught:
        await S3Blobs(place).put_bytes(b"data")
    assert caught.value.reason is Unready.DISK_FAULT

    async def long() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield bytes(1 << 20)

    with pytest.raises(Unavailable):
        await S3Blobs(place).put(long(), 1 << 30)


def test_it_is_imported_only_when_used() -> None:
    code = "import sys, kerwen.storage.blobs_s3, kerwen.storage.blobs_files;"
    code += "sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


def test_a_place_is_read_from_its_url() -> None:
    url = "s3://kerwen/some/folder?region=eu-1&endpoint=http://127.0.0.1:9000"
    place = S3Place("kerwen", "some/folder", "eu-1", "id", "secret", "http://127.0.0.1:9000")
    assert s3_place(url, KEYS) == place
    assert s3_place("s3://kerwen", KEYS) == S3Place("kerwen", "", "us-east-1", "id", "secret", None)


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        ("s3://", KEYS),
        ("s3:///folder", KEYS),
        ("http://kerwen", KEYS),
        ("s3://id:secret@kerwen", KEYS),
        ("s3://kerwen?colour=red", KEYS),
        ("s3://kerwen", {}),
        ("s3://kerwen", {"AWS_ACCESS_KEY_ID": "id"}),
    ],
)
def test_bad_places(url: str, environ: dict[str, str]) -> None:
    with pytest.raises(BadConfig):
        s3_place(url, environ)
