"""How the tests hand bytes to the parser: whole, byte by byte, in pieces of any size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.parser import Parser
from kerwen.imap.protocol.stages import Stage, after


class Peer:
    """A parser and the part of a connection that answers it: every command succeeds."""

    def __init__(self, stage: Stage = Stage.SELECTED, *, utf8: bool = False) -> None:
        self.parser = Parser()
        self.parser.utf8 = utf8
        self.parser.go_on(stage)
        self.stage = stage
        self.items: list[c.Item] = []
        self.ended = False

    def feed(self, data: bytes) -> None:
        found = self.parser.feed(data)
        while not self.ended:
            self.items += found
            for item in found:
                self._answer(item)
            found = [] if self.ended else self.parser.go_on(self.stage)
            if not found:
                return

    def _answer(self, item: c.Item) -> None:
        if isinstance(item, c.Malformed) and item.fatal:
            self.ended = True
        elif isinstance(item, c.Idle):
            self.parser.expect_done()
        elif isinstance(item, c.Authenticate) and item.initial is None:
            self.parser.expect_answer()
        elif isinstance(item, c.Command):
            self.stage = after(type(item), self.stage)
            self.ended = self.stage is Stage.ENDED


def parse(
    data: bytes | Iterable[bytes], stage: Stage = Stage.SELECTED, *, utf8: bool = False
) -> list[c.Item]:
    """Everything that these bytes say."""
    peer = Peer(stage, utf8=utf8)
    for piece in [data] if isinstance(data, bytes) else data:
        peer.feed(piece)
    return peer.items


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The bytes in pieces that end at these places."""
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


def one_by_one(data: bytes) -> list[bytes]:
    """The bytes in pieces of one."""
    return [data[at : at + 1] for at in range(len(data))]
