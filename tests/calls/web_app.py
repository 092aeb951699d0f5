"""The web app's calls, in Chromium: `web/test/browser/calls.mjs` tells the story."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.calls.stage import stage

WEB = Path(__file__).resolve().parents[2] / "web"


async def web_app() -> None:
    """Two people of our app call each other: picture and voice, decline, two devices, a closed tab;
    no policy is broken and no request leaves the house."""
    async with stage() as scene:
        told = await asyncio.create_subprocess_exec(
            "node", "test/browser/calls.mjs", scene.server.url, cwd=WEB, env=dict(os.environ)
        )
        assert await told.wait() == 0


SCENES = {"web_app": web_app}
