"""A script as it is written: commands, tests and their arguments, not yet judged."""

from __future__ import annotations

from dataclasses import dataclass, field

from kerwen.mail.sieve.lexer import BadScript, Token


@dataclass(slots=True)
class Argument:
    """One argument: a tag, a number, or strings. `listed`: they stand in brackets."""

    token: Token
    strings: list[Token] | None = None
    listed: bool = False


@dataclass(slots=True)
class Node:
    """A command or a test, with what stands behind its name."""

    token: Token
    arguments: list[Argument] = field(default_factory=list)
    tests: list[Node] = field(default_factory=list)
    listed: bool = False  # the tests stand in parentheses
    block: list[Node] | None = None  # None: it ends with a semicolon

    @property
    def name(self) -> str:
        """Its name in small letters."""
        return self.token.text

    def bad(self, text: str) -> BadScript:
        """Something is wrong with it."""
        return self.token.bad(text)
