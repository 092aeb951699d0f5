"""A script that was checked and can be run."""

from __future__ import annotations

from typing import Any

import msgspec

from kerwen.mail.sieve.strings import Text

Value = int | Text | tuple[Text, ...]


class Step(msgspec.Struct, frozen=True):
    """A command or a test. `tags`: which tag of each group stands there, and its value;
    `places`: the other arguments by their names."""

    name: str
    tags: dict[str, tuple[str, Any]]
    places: dict[str, Any]
    tests: tuple[Step, ...]
    block: tuple[Step, ...]
    line: int

    def tag(self, group: str) -> str:
        """The tag of a group; empty if none is there."""
        found = self.tags.get(group)
        return found[0] if found is not None else ""

    def value(self, group: str) -> Any:
        """The value of a group's tag; None if there is no such tag."""
        found = self.tags.get(group)
        return found[1] if found is not None else None


class Script(msgspec.Struct, frozen=True):
    """A whole script. `includes`: names of the scripts of its owner that it asks for;
    `asks_mailboxes`: whether it wants to know which mailboxes there are."""

    steps: tuple[Step, ...]
    requires: frozenset[str]
    includes: frozenset[str]
    asks_mailboxes: bool
