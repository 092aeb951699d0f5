"""What goes up comes down, through the real application."""

from __future__ import annotations

import os

import pytest

from tests.media.house import House


@pytest.mark.parametrize("size", [0, 1, 1000, 256 * 1024, 1 << 20, (1 << 20) + 1, 3_000_001])
async def test_bytes_come_back(house: House, size: int) -> None:
    data = os.urandom(size)
    name = await house.upload(data, "application/pdf", "War and Peace.pdf")
    answer = await house.download(name)
    assert answer.status == 200
    assert answer.body == data
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["content-disposition"] == 'attachment; filename="War and Peace.pdf"'
