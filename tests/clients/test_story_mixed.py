"""matrix-nio and matrix-js-sdk read one another in one encrypted room."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .conftest import Target
from .story_mixed import tell

STORY_SECONDS = 60


@pytest.mark.usefixtures("js_folder")
async def test_two_libraries_read_one_another(story_server: Target, tmp_path: Path) -> None:
    async with asyncio.timeout(STORY_SECONDS):
        await tell(story_server.url, tmp_path)
