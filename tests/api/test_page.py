"""The page of all endpoints says what is so."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


async def test_the_page_of_endpoints_is_current() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "api_table.py"))
    page = made["table"](await made["routes"]())
    kept = (ROOT / "docs" / "api.md").read_text("utf-8")
    new = set(page.splitlines()) ^ set(kept.splitlines())
    assert page == kept, f"run python tools/api_table.py: {sorted(new)}"
