"""The archive of an account: a tar file that can be gone on with where it broke off.

Its members come in the order of their names, and a name says all that is needed to go on behind
it. So whoever has a part cuts it behind the last whole member, asks for what comes after that
one, and puts the two together.
"""

from __future__ import annotations

from typing import BinaryIO, Final

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)


def header(name: str, size: int, at_ms: int, more: dict[str, str] | None = None) -> bytes:
    """What stands before a member's bytes; `more` is told beside it (pax headers)."""
    import tarfile  # only exports need it

    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, at_ms // 1000, 0o600
    if more:
        info.pax_headers = dict(more)
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size: int) -> bytes:
    """What stands behind a member's bytes."""
    return bytes(-size % BLOCK)


def last_whole(file: BinaryIO) -> tuple[str, int]:
    """(name, end) of the last member that is whole in a file; ("", 0) if none is."""
    import tarfile

    file.seek(0, 2)
    length = file.tell()
    file.seek(0)
    found, end = "", 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                after = member.offset_data + member.size + len(padding(member.size))
                if after > length:
                    break
                found, end = member.name, after
    except tarfile.TarError:
        pass  # what is left of a header
    return found, end
