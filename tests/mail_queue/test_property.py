"""Random servers, random crashes: each message arrives, once but for what nobody can know, or its
sender gets one report.

The servers are no sockets here, so that many courses are tried. KERWEN_FUZZ=1 looks for new ones.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from kerwen.mail import retry
from kerwen.mail.actions.queue import AT_ONCE_PER_DESTINATION, Addressee, Envelope
from kerwen.smtp.client import Failed, Target
from kerwen.smtp.client_protocol import Broken, Done, Result, Step, Verdict
from kerwen.smtp.client_protocol import Envelope as Said
from kerwen.smtp.heard import Heard
from tests.mail_store.house import letter

from .world import HOUR, US, World

SEEDS = [random.randrange(2**32) for _ in range(8)] if os.environ.get("KERWEN_FUZZ") else range(8)
DOMAINS = 4
_REPORTED = re.compile(rb"Final-Recipient: rfc822; (\S+)\r\nAction: (\w+)")


class Crash(Exception):
    """The process ends here."""


@dataclass
class Far:
    """All other servers, and what they have seen."""

    dice: random.Random
    kept: Counter[str] = field(default_factory=Counter)  # by recipient
    confirmed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    most: int = 0
    calm: bool = False  # everybody behaves from now on
    crashes: int = 0
    everybody: list[str] = field(default_factory=list)

    async def dial(self, target: Target) -> Any:
        await asyncio.sleep(0)
        if not self.calm and self.dice.random() < 0.3:
            return Failed(self.dice.random() < 0.02, "4.4.1", "no answer")
        return Line(self, target)


@dataclass
class Line:
    """A connection."""

    far: Far
    target: Target
    messages: int = 0
    tls: bool = False
    reports: bool = False
    alive: bool = True

    async def send(self, said: Said, raw: bytes) -> Done | Broken:
        far, dice = self.far, self.far.dice
        self.messages += 1
        far.busy[self.target.host] += 1
        far.most = max(far.most, far.busy[self.target.host])
        try:
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            return self._answer(said)
        finally:
            far.busy[self.target.host] -= 1

    def _answer(self, said: Said) -> Done | Broken:
        far, dice = self.far, self.far.dice
        if far.calm:
            return Done(tuple(self._sent(to) for to in said.recipients))
        if dice.random() < 0.2:
            return self._broken(said)
        results = []
        count = len(said.recipients) if dice.random() < 0.8 else 1
        for to in said.recipients[:count]:
            chance = dice.random()
            if chance < 0.55:
                results.append(self._sent(to))
            elif chance < 0.92:
                heard = Heard(451, "4.7.1", ("later",))
                results.append(Result(to, Verdict.LATER, Step.RCPT, heard, "4.7.1", "later"))
            else:
                far.refused[to.address] += 1
                heard = Heard(550, "5.1.1", ("no",))
                results.append(Result(to, Verdict.NEVER, Step.RCPT, heard, "5.1.1", "no"))
        return Done(tuple(results), said.recipients[count:])

    def _sent(self, to: Any) -> Result:
        self.far.kept[to.address] += 1
        self.far.confirmed[to.address] += 1
        heard = Heard(250, "2.0.0", ("ok",))
        return Result(to, Verdict.SENT, Step.END, heard, "2.0.0", "ok")

    def _broken(self, said: Said) -> Broken:
        self.alive = False
        unsure = self.far.dice.random() < 0.4
        if unsure and self.far.dice.random() < 0.5:
            for to in said.recipients:
                self.far.kept[to.address] += 1
        step = Step.END if unsure else Step.RCPT
        results = tuple(
            Result(to, Verdict.LATER, step, None, "4.4.2", "it hung up") for to in said.recipients
        )
        return Broken(step, Verdict.LATER, None, "it hung up", results, unsure)

    async def quit(self) -> None:
        self.alive = False

    def close(self) -> None:
        self.alive = False


async def course(world: World, seed: int) -> Far:
    """Messages are put in, sent, the process dies now and then; until nothing waits."""
    dice = random.Random(seed)
    far = Far(dice)
    waiting = [
        [f"s{seed}m{n}r{k}@d{dice.randrange(DOMAINS)}.test" for k in range(dice.choice((1, 2, 5)))]
        for n in range(40)
    ]
    far.everybody = [to for message in waiting for to in message]
    calm_at = world.clock.now + dice.choice((1, 30, 200)) * HOUR
    rebuild(world, far)
    while True:
        for to in waiting[:6]:
            await world.queue.enqueue(Envelope(US), [Addressee(one) for one in to], letter(1))
        del waiting[:6]
        far.calm = world.clock.now >= calm_at
        if seed % 2 and dice.random() < 0.15 and not far.calm:
            await crash(world, far)
        else:
            await world.sender.step()
        due = await world.queue.next_due_ms()
        if due is None and not waiting:
            return far
        world.clock.now = max(world.clock.now, due or 0)


def rebuild(world: World, far: Far) -> None:
    world.build()
    world.hand_on._dial = far.dial


async def crash(world: World, far: Far) -> None:
    """A step is broken off somewhere, or the disk is never reached; then a new process begins."""
    write, left = world.queue._write, far.dice.randrange(4)

    async def failing(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash
        return await write(*args)

    world.queue._write = failing  # type: ignore[method-assign]
    step = asyncio.create_task(world.sender.step())
    for _ in range(far.dice.randrange(60)):
        await asyncio.sleep(0)
    tasks = [step, *world.sender._running]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    world.queue._write = write  # type: ignore[method-assign]
    rebuild(world, far)
    await world.queue.begin()
    far.crashes += 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_course_ends_well(
    world: World, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    world.dns.add("\n".join(
        f"d{n}.test MX 10 a.d{n}.test.\nd{n}.test MX 20 b.d{n}.test.\n"
        f"a.d{n}.test A 127.0.0.1\nb.d{n}.test A 127.0.0.1" for n in range(DOMAINS)
    ))  # fmt: skip
    start = world.clock.now
    far = await course(world, seed)
    assert await world.queue.totals() == (0, 0, None)
    assert far.most <= AT_ONCE_PER_DESTINATION
    assert world.clock.now <= start + retry.LIFE_MS + 48 * HOUR
    reported: Counter[tuple[str, str]] = Counter()
    for report in await world.reports():
        for to, action in _REPORTED.findall(report):
            reported[to.decode(), action.decode()] += 1
    assert bool(seed % 2) == bool(far.crashes)
    for to in far.everybody:
        failed = reported[to, "failed"]
        assert failed <= 1, f"{to}: told twice that it failed"
        assert reported[to, "delayed"] <= 1
        assert far.kept[to] or failed, f"{to}: neither sent nor reported"
        assert far.confirmed[to] <= 1 + far.crashes, f"{to}: sent again though it was confirmed"
        assert far.refused[to] <= 1 + far.crashes
        if not far.crashes:
            assert failed + far.confirmed[to] == 1, f"{to}: one end, and only one"
            assert not far.refused[to] or failed
