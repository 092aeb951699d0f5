"""Transcripts: `C:` and `S:` lines, with `…` for what may be anything.

`@ offer NAME` says which listener; `@ tls` shakes hands; `@ closed` that the server hangs up;
`C|` is a line of the client's with escapes and without a line end; `M:` lines are the message
that was received last. Lines of the client that follow each other are sent at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "transcripts" / "smtp"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(name: str) -> list[tuple[str, bytes]]:
    """(kind, text) with the client's and the server's lines gathered into groups."""
    steps: list[tuple[str, bytes]] = []
    for kind, text in _lines((FOLDER / f"{name}.txt").read_text("utf-8")):
        if steps and steps[-1][0] == kind and kind in "CSM":
            steps[-1] = (kind, steps[-1][1] + text)
        else:
            steps.append((kind, text))
    return steps


def _lines(content: str) -> Iterator[tuple[str, bytes]]:
    for line in content.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        mark, text = line[:2], line[2:].removeprefix(" ")
        if mark == "C|":
            yield "C", text.encode().decode("unicode_escape").encode("latin-1")
        elif mark in ("C:", "S:", "M:"):
            yield mark[0], text.encode() + b"\r\n"
        elif mark == "@ ":
            yield "@", text.encode()
        else:
            raise ValueError(line)


def fits(expected: bytes, got: bytes) -> bool:
    """Whether what came is what the transcript says."""
    pattern = re.escape(expected).replace(re.escape("…".encode()), rb"[^\r\n]*")
    return re.fullmatch(pattern, got) is not None
