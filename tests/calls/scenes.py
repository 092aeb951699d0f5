"""Scenes of real calls: real clients, real Janus. See `tests/calls/stage.py`."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from tests.calls import pages, rust, web_app

SCENES: dict[str, Any] = {**rust.SCENES, **pages.SCENES, **web_app.SCENES}


def main() -> None:
    began = time.monotonic()
    asyncio.run(SCENES[sys.argv[1]]())
    print(f"{sys.argv[1]}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
