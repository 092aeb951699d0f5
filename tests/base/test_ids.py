"""Names that nobody has had before."""

from __future__ import annotations

import re

import pytest

from kerwen.base import ids


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (ids.secret, r"[A-Za-z0-9_-]{43}"),
        (lambda: ids.letters(18), r"[A-Za-z]{18}"),
        (ids.device_id, r"[A-Z]{10}"),
        (ids.readable, r"[a-z]{5}(-[a-z]{5}){3}"),
    ],
)
def test_shape_and_chance(made: object, shape: str) -> None:
    assert callable(made)
    found = {made() for _ in range(50)}
    assert len(found) == 50
    assert all(re.fullmatch(shape, text) for text in found)
