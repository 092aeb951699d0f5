"""`python -m bench [--quick] [--peers none] [--json FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from bench import servers
from bench.scenarios import SCENARIOS, Figures
from bench.servers import Server


def main() -> int:
    options = argparse.ArgumentParser("bench", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer rounds; noisy")
    options.add_argument("--peers", default="synapse", choices=("synapse", "none"))
    options.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = options.parse_args()
    found = [servers.kerwen()]
    peer = servers.synapse() if chosen.peers == "synapse" else None
    if peer is not None:
        found.append(peer)
    try:
        figures = asyncio.run(measure(found, chosen.quick))
    finally:
        for server in found:
            server.stop()
            server.remove()
    show(figures)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


async def measure(found: list[Server], quick: bool) -> dict[str, Figures]:
    """Every scenario on every server in turn, only one server running at a time."""
    figures: dict[str, Figures] = {server.label: {} for server in found}
    for scenario in SCENARIOS:
        for server in found:
            print(f"{scenario.__name__:<14} {server.label}", file=sys.stderr, flush=True)
            server.start()
            figures[server.label].update(await scenario(server, quick))
            server.stop()
    return figures


def show(figures: dict[str, Figures]) -> None:
    """A table; the last column is how many times better the first server is."""
    labels = list(figures)
    print(f"\n{'':<20}" + "".join(f"{label:>12}" for label in labels))
    for name in figures[labels[0]]:
        values = [figures[label][name] for label in labels]
        row = f"{name:<20}" + "".join(f"{value:>12.2f}" for value in values)
        if len(values) == 2 and min(values) > 0:
            mine, theirs = values
            ratio = mine / theirs if name.endswith("_per_s") else theirs / mine
            row += f"{ratio:>9.1f} x"
        print(row)


if __name__ == "__main__":
    sys.exit(main())
