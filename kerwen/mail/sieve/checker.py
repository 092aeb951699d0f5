"""Judges a script before it is kept: every name, argument and extension. What passes can be run."""

# RFC 5228 §2.10.5, §3.2; RFC 5804 §2.12 (CHECKSCRIPT)

from __future__ import annotations

from typing import Any, Final

from kerwen.mail.sieve import fitness, strings
from kerwen.mail.sieve.lexer import BadScript, Sort, Token, decoded
from kerwen.mail.sieve.parser import parse
from kerwen.mail.sieve.script import Script, Step, Value
from kerwen.mail.sieve.strings import Text
from kerwen.mail.sieve.tree import Argument, Node
from kerwen.mail.sieve.vocabulary import COMMANDS, EXTENSIONS, TESTS, Form, Kind

_ASKING: Final = frozenset({"mailboxexists", "specialuse_exists"})


def check(source: bytes | str) -> Script:
    """The script, ready to be run; `BadScript` says what is wrong with it."""
    text = decoded(source) if isinstance(source, bytes) else source
    return _Checker().run(parse(text))


class _Checker:
    def __init__(self) -> None:
        self._requires: set[str] = set()
        self._includes: set[str] = set()
        self._asks = False

    def run(self, nodes: list[Node]) -> Script:
        steps = self._commands(nodes, top=True)
        return Script(steps, frozenset(self._requires), frozenset(self._includes), self._asks)

    def _commands(self, nodes: list[Node], *, top: bool = False) -> tuple[Step, ...]:
        steps: list[Step] = []
        may_require = top
        before = ""
        for node in nodes:
            if node.name == "require":
                if not may_require:
                    raise node.bad("require stands at the beginning of a script")
                self._require(node)
                continue
            may_require = False
            if node.name in ("elsif", "else") and before not in ("if", "elsif"):
                raise node.bad(f"{node.name} follows if or elsif")
            steps.append(self._command(node))
            before = node.name
        return tuple(steps)

    def _require(self, node: Node) -> None:
        step = self._bound(node, COMMANDS["require"], plain=True)
        names = node.arguments[0].strings or []
        for token, name in zip(names, step.places["names"], strict=True):
            if name not in EXTENSIONS:
                raise token.bad(f"there is no extension {name!r} here")
            self._requires.add(name)

    def _command(self, node: Node) -> Step:
        form = COMMANDS.get(node.name)
        if form is None:
            raise node.bad(f"there is no command {node.name!r}")
        step = self._bound(node, form)
        if node.name == "include":
            fitness.constant(node, step.places["script"], "the name of a script")
            if step.tag("location") != "global":
                self._includes.add(step.places["script"])
        return step

    def _test(self, node: Node) -> Step:
        form = TESTS.get(node.name)
        if form is None:
            raise node.bad(f"there is no test {node.name!r}")
        self._asks = self._asks or node.name in _ASKING
        return self._bound(node, form)

    def _bound(self, node: Node, form: Form, *, plain: bool = False) -> Step:
        if form.needs and not any(need in self._requires for need in form.needs):
            raise node.bad(f"{node.name} needs: require {form.needs[0]!r}")
        self._check_shape(node, form)
        tags, rest = self._tags(node, form)
        places = self._places(node, form, rest, plain=plain)
        step = Step(
            node.name,
            tags,
            places,
            tuple(self._test(test) for test in node.tests),
            self._commands(node.block) if node.block is not None else (),
            node.token.line,
        )
        fitness.check(node, step, self._requires)
        return step

    def _check_shape(self, node: Node, form: Form) -> None:
        if form.block != (node.block is not None) and not form.test:
            raise node.bad(
                f"{node.name} needs a block in {{}}" if form.block else f"{node.name} has no block"
            )
        if form.tests == 0 and node.tests:
            raise node.bad(f"{node.name} has no tests")
        if form.tests == 1 and (len(node.tests) != 1 or node.listed):
            raise node.bad(f"{node.name} has one test")
        if form.tests == -1 and not node.listed:
            raise node.bad(f"{node.name} has tests in parentheses")

    def _tags(self, node: Node, form: Form) -> tuple[dict[str, tuple[str, Any]], list[Argument]]:
        found: dict[str, tuple[str, Any]] = {}
        rest: list[Argument] = []
        arguments = iter(node.arguments)
        for argument in arguments:
            token = argument.token
            if token.sort is not Sort.TAG:
                rest.append(argument)
                continue
            tag = form.tags.get(token.text)
            if tag is None:
                raise token.bad(f"{node.name} has no :{token.text}")
            if rest:
                raise token.bad("tags stand before the other arguments")
            if tag.needs and tag.needs not in self._requires:
                raise token.bad(f":{token.text} needs: require {tag.needs!r}")
            if tag.group in found:
                raise token.bad(f":{token.text} and :{found[tag.group][0]} exclude each other")
            value: Value | None = None
            if tag.value is not None:
                following = next(arguments, None)
                if following is None:
                    raise token.bad(f":{token.text} is followed by {tag.value.value}")
                value = self._value(following, tag.value, f":{token.text}")
            found[tag.group] = (token.text, value)
        return found, rest

    def _places(
        self, node: Node, form: Form, rest: list[Argument], *, plain: bool
    ) -> dict[str, Any]:
        places = form.places
        missing = len(places) - len(rest)
        if missing < 0:
            raise rest[len(places)].token.bad(f"{node.name} has fewer arguments")
        if missing > abs(form.optional):
            name, kind = places[len(rest)] if form.optional <= 0 else places[-1]
            raise node.bad(f"{node.name} lacks {kind.value} ({name})")
        if missing:
            places = places[missing:] if form.optional > 0 else places[:-missing]
        return {
            name: self._value(argument, kind, node.name, plain=plain)
            for (name, kind), argument in zip(places, rest, strict=True)
        }

    def _value(self, argument: Argument, kind: Kind, of: str, *, plain: bool = False) -> Value:
        token = argument.token
        if kind is Kind.NUMBER:
            if token.sort is not Sort.NUMBER:
                raise token.bad(f"{of} wants a number here")
            return token.number
        if argument.strings is None or (argument.listed and kind is Kind.STRING):
            raise token.bad(f"{of} wants {kind.value} here")
        found = tuple(self._string(one, plain=plain) for one in argument.strings)
        return found[0] if kind is Kind.STRING else found

    def _string(self, token: Token, *, plain: bool) -> Text:
        if plain:
            return token.text
        try:
            return strings.compiled(
                token.text,
                encoded="encoded-character" in self._requires,
                variables="variables" in self._requires,
            )
        except ValueError as error:
            raise token.bad(str(error)) from None


__all__ = ["BadScript", "check"]
