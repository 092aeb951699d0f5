"""The archive as a file: whatever part of it somebody has, the rest can be put to it."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from kerwen.export.archive import END, header, last_whole, padding

MEMBERS = [("0-README.txt", b""), ("1-" + "long" * 40, b"x" * 512), ("2", b"y" * 1_300)]


def whole() -> tuple[bytes, list[int]]:
    """An archive, and where each member ends."""
    made, ends = b"", []
    for name, data in MEMBERS:
        made += header(name, len(data), 1_700_000_000_000) + data + padding(len(data))
        ends.append(len(made))
    return made + END, ends


def test_any_tar_program_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(whole()[0])) as tar:
        found = [(m.name, m.mode, m.mtime) for m in tar]
        assert found == [(name, 0o600, 1_700_000_000) for name, _ in MEMBERS]
        assert [tar.extractfile(name).read() for name, _ in MEMBERS] == [d for _, d in MEMBERS]  # type: ignore[union-attr]


@given(st.integers(0, len(whole()[0])))
def test_the_last_whole_member_of_any_part(cut: int) -> None:
    made, ends = whole()
    there = [at for at, end in enumerate(ends) if end <= cut]
    expected = (MEMBERS[there[-1]][0], ends[there[-1]]) if there else ("", 0)
    assert last_whole(io.BytesIO(made[:cut])) == expected


@given(st.binary(max_size=2_000))
def test_what_is_no_archive_has_no_member(data: bytes) -> None:
    name, end = last_whole(io.BytesIO(data))
    assert (name, end) == ("", 0) or end <= len(data)
