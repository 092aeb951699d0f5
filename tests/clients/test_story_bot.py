"""A bot on mautrix-python joins when invited and answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .conftest import Target
from .story_bot import tell

STORY_SECONDS = 60


@pytest.mark.filterwarnings("ignore:The sender_key field:DeprecationWarning")
async def test_the_bot_answers(story_server: Target, tmp_path: Path) -> None:
    async with asyncio.timeout(STORY_SECONDS):
        await tell(story_server.url, tmp_path)
