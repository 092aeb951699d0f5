"""Rules that need facts: a generator yields a question and is sent the answer.

So a rule stays pure. The store or the network answers it in life, a dict in tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Final, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")

QUESTIONS_MAX: Final = 100_000  # a rule that asks more never ends


async def ask(rule: Generator[Q, A, R], answer: Callable[[Q], Awaitable[A]]) -> R:
    """Run `rule`, awaiting `answer(question)` for each of its questions."""
    try:
        question = next(rule)
        for _ in range(QUESTIONS_MAX):
            question = rule.send(await answer(question))
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        rule.close()
    raise RuntimeError("a rule asks without end")


def ask_now(rule: Generator[Q, A, R], answer: Callable[[Q], A]) -> R:
    """Run `rule` with answers that need no waiting."""
    try:
        question = next(rule)
        for _ in range(QUESTIONS_MAX):
            question = rule.send(answer(question))
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        rule.close()
    raise RuntimeError("a rule asks without end")


def ask_dict(rule: Generator[Q, A, R], answers: Mapping[Q, A]) -> R:
    """Run `rule` with the answers of a dict; a question that is not in it is a `KeyError`."""
    return ask_now(rule, answers.__getitem__)
