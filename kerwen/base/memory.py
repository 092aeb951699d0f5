"""How the C library keeps memory that was freed."""

from __future__ import annotations

import ctypes
from typing import Final

from kerwen.base import limits

REUSED_MAX: Final = 4 * limits.MIB

_TRIM_THRESHOLD: Final = -1  # <malloc.h> of glibc
_MMAP_THRESHOLD: Final = -3


def reuse_buffers() -> bool:
    """Has freed buffers of up to `REUSED_MAX` bytes reused instead of given back to the system.

    Otherwise each chunk of an upload or download is memory that the kernel must first map and
    clear: measured, that is two thirds of the cost of receiving a file. At most `REUSED_MAX` bytes
    a heap stay with the process. False where the C library knows no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, REUSED_MAX) and mallopt(_MMAP_THRESHOLD, REUSED_MAX))
