from __future__ import annotations

import asyncio

import pytest

from kerwen.base import ask


def add(*names):
    total = 0
    for name in names:
        total += yield name
    return total


def endless():
    while True:
        yield 1


def test_from_a_dict():
    assert ask.ask_dict(add("a", "b", "a"), {"a": 1, "b": 2}) == 4
    assert ask.ask_dict(add(), {}) == 0
    with pytest.raises(KeyError):
        ask.ask_dict(add("c"), {})


async def test_awaiting():
    async def answer(name):
        await asyncio.sleep(0)
        return len(name)

    assert await ask.ask(add("a", "bb"), answer) == 3
    assert await ask.ask(add(), answer) == 0

    async def fails(name):
        raise OSError(name)

    rule = add("a")
    with pytest.raises(OSError, match="a"):
        await ask.ask(rule, fails)
    assert rule.gi_frame is None  # closed


async def test_no_rule_asks_for_ever(monkeypatch):
    monkeypatch.setattr(ask, "QUESTIONS_MAX", 10)
    with pytest.raises(RuntimeError):
        ask.ask_now(endless(), lambda q: q)

    async def answer(q):
        return q

    with pytest.raises(RuntimeError):
        await ask.ask(endless(), answer)
