"""The words of a script to a tree."""

# RFC 5228 §8.2

from __future__ import annotations

from typing import Final

from kerwen.base import limits
from kerwen.mail.sieve.lexer import BadScript, Sort, Token, tokens
from kerwen.mail.sieve.tree import Argument, Node

_SHOWN: Final = 40


def parse(source: str) -> list[Node]:
    """The commands of a script; `BadScript` where it has no form."""
    return _Parser(tokens(source)).run()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._nodes = 0

    def run(self) -> list[Node]:
        commands = self._commands(0)
        token = self._next
        if token.sort is not Sort.END:
            raise token.bad("this } closes nothing")
        return commands

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _is(self, sign: str) -> bool:
        token = self._tokens[self._at]
        return token.sort is Sort.SIGN and token.text == sign

    def _take(self, sign: str) -> bool:
        if not self._is(sign):
            return False
        self._at += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._missing(sign)

    def _missing(self, what: str) -> BadScript:
        token = self._next
        found = token.text[:_SHOWN] if token.sort is not Sort.END else "the end of the script"
        return token.bad(f"{what} is missing before {found!r}")

    def _commands(self, depth: int) -> list[Node]:
        found = []
        while self._next.sort is Sort.WORD:
            found.append(self._command(depth))
        token = self._next
        if token.sort is not Sort.END and not self._is("}"):
            raise token.bad(f"a command begins with a name, not with {token.sort.value}")
        return found

    def _named(self) -> Node:
        token = self._next
        if token.sort is not Sort.WORD:
            raise self._missing("a name")
        self._at += 1
        self._nodes += 1
        if self._nodes > limits.SIEVE_COMMANDS_MAX:
            raise token.bad(f"a script has at most {limits.SIEVE_COMMANDS_MAX} commands")
        return Node(token)

    def _command(self, depth: int) -> Node:
        node = self._named()
        if depth > limits.SIEVE_NESTING_MAX:
            raise node.bad("too many blocks within one another")
        self._arguments(node, 0)
        if self._take("{"):
            node.block = self._commands(depth + 1)
            self._expect("}")
        elif not self._take(";"):
            raise self._missing(";")
        return node

    def _arguments(self, node: Node, depth: int) -> None:
        while True:
            token = self._next
            if token.sort in (Sort.TAG, Sort.NUMBER):
                self._at += 1
                node.arguments.append(Argument(token))
            elif token.sort is Sort.STRING:
                self._at += 1
                node.arguments.append(Argument(token, [token]))
            elif self._is("["):
                node.arguments.append(self._strings())
            else:
                break
        if self._next.sort is Sort.WORD:
            node.tests.append(self._test(depth + 1))
        elif self._take("("):
            node.listed = True
            node.tests.append(self._test(depth + 1))
            while self._take(","):
                node.tests.append(self._test(depth + 1))
            self._expect(")")

    def _test(self, depth: int) -> Node:
        node = self._named()
        if depth > limits.SIEVE_NESTING_MAX:
            raise node.bad("too many tests within one another")
        self._arguments(node, depth)
        return node

    def _strings(self) -> Argument:
        first = self._next
        self._at += 1
        found: list[Token] = []
        while True:
            token = self._next
            if token.sort is not Sort.STRING:
                raise self._missing("a string")
            found.append(token)
            self._at += 1
            if self._take("]"):
                return Argument(first, found, True)
            if not self._take(","):
                raise self._missing(", or ]")
