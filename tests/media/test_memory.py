"""Large buffers are reused: the kernel need not map each of them anew."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from kerwen.base.memory import reuse_buffers

if sys.argv[1] == "reuse":
    assert reuse_buffers()
before = None
for round in range(300):
    if round == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [bytearray(250_000) for _ in range(4)]
    for buffer in kept:
        buffer[::4096] = b"x" * len(buffer[::4096])
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_buffers_are_reused() -> None:
    out = subprocess.run(
        [sys.executable, "-c", FAULTS, "reuse"], check=True, capture_output=True, text=True
    )
    assert int(out.stdout) < 2000  # tens of thousands where each is mapped anew
