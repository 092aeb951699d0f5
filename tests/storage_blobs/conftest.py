"""One suite, two stores: files, and S3 as moto plays it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from kerwen.storage.blobs import Blobs
from kerwen.storage.blobs_files import FileBlobs
from kerwen.storage.blobs_s3 import S3Blobs, S3Place


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A moto server on a port that the system chose; it ends with the tests."""
    reading, writing = os.pipe()
    code = (
        "import os, sys\n"
        "from moto.moto_server.threaded_moto_server import ThreadedMotoServer\n"
        "server = ThreadedMotoServer('127.0.0.1', 0, verbose=False)\n"
        "server.start()\n"
        "host, port = server.get_host_and_port()\n"
        f"os.write({writing}, b'%d\\n' % port)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[writing],
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        port = int(pipe.readline())
    endpoint = f"http://127.0.0.1:{port}"
    request = urllib.request.Request(endpoint + "/kerwen-test", method="PUT")
    for attempt in range(50):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request).close()
            break
        time.sleep(0.02 * attempt)
    yield endpoint
    assert process.stdin is not None
    process.stdin.close()
    process.terminate()
    process.wait()


@pytest.fixture
def s3_place(s3_endpoint: str, request: pytest.FixtureRequest) -> S3Place:
    """A prefix of its own for every test."""
    prefix = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return S3Place("kerwen-test", prefix, "us-east-1", "key", "secret", s3_endpoint)


@pytest_asyncio.fixture(params=["files", "s3"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    store: Blobs
    if request.param == "files":
        store = FileBlobs(tmp_path / "blobs", ready=False)
    else:
        store = S3Blobs(request.getfixturevalue("s3_place"))
    yield store
    await store.close()
