"""What a running script knows: variables, flags, and how much it has used up."""

# RFC 5229 §3 (variables); RFC 5232 §2 (flags); RFC 6609 §3.4 (variables for all scripts)

from __future__ import annotations

from collections.abc import Sequence

from kerwen.base import limits
from kerwen.mail.sieve.mail import Mail
from kerwen.mail.sieve.outcome import Facts, Fault, Remember
from kerwen.mail.sieve.script import Step
from kerwen.mail.sieve.strings import Text

_GLOBAL = "global."


class Asked(Exception):
    """Something must be known before the script can go on."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.key = key


class State:
    """Of one run."""

    def __init__(self, mail: Mail, facts: Facts) -> None:
        self.mail = mail
        self.facts = facts
        self.own_flags: tuple[str, ...] = ()
        self.remember: dict[bytes, Remember] = {}
        self.duplicates = 0
        self.steps = 0
        self._work = 0
        self._line = 0
        self._shared: dict[str, str] = {}
        self._scopes: list[tuple[dict[str, str], set[str]]] = [({}, set())]
        self._matches: list[str] = []
        self._stack: list[list[str]] = []

    # --- limits

    def spend(self, step: Step) -> None:
        """One command or test."""
        self._line = step.line
        self.spend_more(1)

    def spend_more(self, steps: int) -> None:
        """So many comparisons."""
        self.steps += steps
        if self.steps > limits.SIEVE_STEPS_MAX:
            raise Fault("this script takes too many steps", self._line)

    def charge(self, work: int) -> None:
        """Work that a comparison is going to do."""
        self._work += work
        if self._work > limits.SIEVE_WORK_MAX:
            raise Fault("this script looks at too much text", self._line)

    # --- strings

    def text(self, text: Text) -> str:
        """A string with its variables put in."""
        if isinstance(text, str):
            return text
        found = "".join(
            piece if isinstance(piece, str) else self.variable(piece.name) for piece in text.pieces
        )
        self.charge(len(found) // 16)
        return found[: limits.SIEVE_EXPANDED_MAX]

    def texts(self, texts: Sequence[Text]) -> tuple[str, ...]:
        """The same of several."""
        return tuple(one if isinstance(one, str) else self.text(one) for one in texts)

    # --- variables

    def enter(self) -> None:
        """An included script begins: it has variables of its own."""
        self._scopes.append(({}, set()))
        self._stack.append(self._matches)
        self._matches = []

    def leave(self) -> None:
        """It ended."""
        self._scopes.pop()
        self._matches = self._stack.pop()

    def _place(self, name: str) -> tuple[dict[str, str], str]:
        small = name.lower()
        if small.startswith(_GLOBAL):
            return self._shared, small[len(_GLOBAL) :]
        own, shared = self._scopes[-1]
        return (self._shared if small in shared else own), small

    def variable(self, name: str) -> str:
        """A variable's value, or what a `:matches` found; empty where there is none."""
        if name.isdecimal():
            number = int(name)
            return self._matches[number] if number < len(self._matches) else ""
        values, small = self._place(name)
        return values.get(small, "")

    def assign(self, name: str, value: str, step: Step) -> None:
        """Sets a variable; a longer value is cut (RFC 5229 §3)."""
        values, small = self._place(name)
        values[small] = value[: limits.SIEVE_VARIABLE_MAX]
        if len(values) > limits.SIEVE_VARIABLES_MAX:
            raise Fault("too many variables", step.line)

    def share(self, name: str, step: Step) -> None:
        """A name means a variable of all scripts from now on."""
        shared = self._scopes[-1][1]
        shared.add(name.lower())
        if len(shared) > limits.SIEVE_VARIABLES_MAX:
            raise Fault("too many variables", step.line)

    def matched(self, found: list[str]) -> None:
        """A `:matches` was right: what its wildcards stand for (RFC 5229 §3.2)."""
        most = limits.SIEVE_VARIABLE_MAX
        self._matches = [one[:most] for one in found[:10]]

    # --- flags

    def flags(self, variable: str | None = None) -> tuple[str, ...]:
        """The flags of the message, or those in a variable."""
        if variable is None:
            return self.own_flags
        return self.flag_list((self.variable(variable),))

    def flag_list(self, told: Sequence[str]) -> tuple[str, ...]:
        """Flags by themselves: a string may hold several; each once, in any capitals."""
        found: dict[str, str] = {}
        for text in told:
            for flag in text.split():
                found.setdefault(flag.lower(), flag)
                if len(found) > limits.SIEVE_FLAGS_MAX:
                    raise Fault("too many flags", self._line)
        return tuple(found.values())
