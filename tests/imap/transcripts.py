"""Reads the transcripts in `tests/transcripts/imap`.

`C:` a line of the client, `S:` a line of the server with its literals (`\\r\\n` written out) in
which `…` stands for anything; `C|` bytes without a line end. `C2:` and `S2:` are another
connection. `D:` a message with this subject is delivered to ayna. `#` says something to the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "transcripts" / "imap"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
_LINE = re.compile(r"([CSD])(\d?)([:|]) ?(.*)")
_ESCAPE = re.compile(r"\\(r|n|0|\\)")
_MEANT = {"r": "\r", "n": "\n", "0": "\0", "\\": "\\"}


@dataclass(frozen=True)
class Step:
    """One line of a transcript."""

    who: str  # C, S or D
    which: int
    data: bytes
    place: str

    def fits(self, said: bytes) -> bool:
        """Whether the server said this."""
        parts = [re.escape(part) for part in self.data.split("…".encode())]
        return re.fullmatch(b".*".join(parts), said, re.DOTALL) is not None


def steps(name: str) -> Iterator[Step]:
    """What happens in a transcript."""
    lines = (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match, f"{name}.txt:{number}: {line}"
        text = match[4]
        if match[1] == "S" or match[3] == "|":
            text = _ESCAPE.sub(lambda found: _MEANT[found[1]], text)
        data = text.encode()
        if match[1] == "C" and match[3] == ":":
            data += b"\r\n"
        yield Step(match[1], int(match[2] or 1), data, f"{name}.txt:{number}")
