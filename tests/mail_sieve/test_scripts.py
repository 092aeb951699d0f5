"""Scripts of the kind that people use, each with messages and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.mail_sieve.show import does

FOLDER = Path(__file__).parent / "scripts"


class Case(msgspec.Struct, frozen=True):
    """One script. `runs`: messages, and what is to become of each."""

    title: str
    script: str
    runs: list[tuple[str, str]]


def _cases() -> list[Case]:
    found = []
    for page in sorted(FOLDER.glob("*.txt")):
        for text in page.read_text("utf-8").split("=== ")[1:]:
            title, _, rest = text.partition("\n")
            script, *pieces = rest.split("\n---\n")
            runs = list(zip(pieces[::2], pieces[1::2], strict=True))
            found.append(Case(f"{page.stem}: {title}", script, runs))
    return found


CASES = _cases()


def test_there_are_two_hundred() -> None:
    assert len(CASES) >= 200
    assert len({case.script for case in CASES}) == len(CASES)
    assert all(case.runs for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_scripts(case: Case) -> None:
    for mail, wanted in case.runs:
        sender, recipient = "someone@else.example", "ayna@kerwen.test"
        while mail.startswith("> "):
            line, _, mail = mail.partition("\n")
            if line.startswith("> to"):
                recipient = line[4:].strip()
            else:
                sender = line[6:].strip()
        found = does(case.script, mail, sender=sender, recipient=recipient)
        assert found.rstrip() == wanted.rstrip("\n"), mail
