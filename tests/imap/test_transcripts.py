"""The transcripts, on the door and on the parser."""

from __future__ import annotations

import pytest

from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.stages import Stage
from tests.imap.client import Client
from tests.imap.transcripts import NAMES, steps
from tests.imap.wire import one_by_one, parse
from tests.imap.world import World
from tests.mail_store.house import letter


@pytest.mark.parametrize("name", NAMES)
async def test_on_the_door(world: World, name: str) -> None:
    clients: dict[int, Client] = {}
    delivered = 0
    for step in steps(name):
        if step.who == "D":
            delivered += 1
            await world.house.deliver(letter(delivered, subject=step.data.decode()), 1)
            continue
        if step.which not in clients:
            clients[step.which] = await Client.connect(world.port, greeted=False)
        client = clients[step.which]
        if step.who == "C":
            client.send(step.data)
        else:
            said = await client.line()
            assert step.fits(said), (step.place, said)
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("name", NAMES)
def test_on_the_parser(name: str) -> None:
    """The same commands however the bytes come; those that the door calls BAD are malformed."""
    said: dict[int, bytes] = {}
    for step in steps(name):
        if step.who == "C":
            said[step.which] = said.get(step.which, b"") + step.data
    for data in said.values():
        whole = parse(data, Stage.GREETED)
        assert parse(one_by_one(data), Stage.GREETED) == whole
        assert any(isinstance(item, c.Command) for item in whole)
