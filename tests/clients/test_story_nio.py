"""The end-to-end story on matrix-nio with vodozemac."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .conftest import Target
from .story_nio import tell

STORY_SECONDS = 60


@pytest.mark.parametrize("room_version", [None, "11"], ids=["default", "v11"])
async def test_a_lost_phone_loses_no_message(
    story_server: Target, tmp_path: Path, room_version: str | None
) -> None:
    async with asyncio.timeout(STORY_SECONDS):
        await tell(story_server.url, tmp_path, room_version)
