"""A person (matrix-nio) and a bot (mautrix-python): `python -m tests.clients.story_bot URL`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from functools import partial
from pathlib import Path

import nio

from .bot import HAS_OLM, PingBot
from .nio_person import NioPerson
from .steps import Story, until

PASSWORD = "correct horse battery staple"


async def tell(url: str, folder: Path) -> None:
    """The bot joins when invited and answers, in a clear room and in an encrypted one."""
    tag = secrets.token_hex(4)
    ayna, bot = NioPerson(url, f"ayna.{tag}", folder / "ayna"), PingBot(url, f"bot.{tag}")
    try:
        await _tell(Story("bot"), ayna, bot)
    finally:
        await asyncio.gather(ayna.stop(), bot.stop())


async def _tell(story: Story, ayna: NioPerson, bot: PingBot) -> None:
    async with story.step("a person and a bot register; the bot logs in and syncs"):
        await ayna.register(PASSWORD)
        await bot.register(PASSWORD)
        await bot.start()

    async with story.step("invited into a clear room, the bot joins"):
        # Of the public kind: a server may encrypt private rooms unasked.
        answer = await ayna.client.room_create(
            name="Bazar", preset=nio.RoomPreset.public_chat, invite=[bot.user_id]
        )
        assert isinstance(answer, nio.RoomCreateResponse), answer
        await _joined(ayna, bot, answer.room_id)

    async with story.step("it answers !ping in clear, and nothing else"):
        await _ping(ayna, bot, answer.room_id, encrypted=False)

    if HAS_OLM:
        async with story.step("invited into an encrypted room, the bot joins"):
            room = await ayna.create_group("Syr", [bot.user_id])
            await _joined(ayna, bot, room)
            await until(lambda: ayna.knows_devices_of(bot.user_id), "the bot's keys")

        async with story.step("it answers !ping encrypted"):
            await _ping(ayna, bot, room, encrypted=True)


async def _joined(ayna: NioPerson, bot: PingBot, room_id: str) -> None:
    def member() -> bool:
        room = ayna.client.rooms.get(room_id)
        return room is not None and bot.user_id in room.users and room.joined_count == 2

    await until(member, "the bot to join")


async def _ping(ayna: NioPerson, bot: PingBot, room_id: str, *, encrypted: bool) -> None:
    await ayna.say(room_id, "salam")
    for number in range(3):
        event_id = await ayna.say(room_id, f"!ping {number}")
        answer = await until(partial(ayna.reply_to, event_id), "the answer")
        assert (answer.sender, answer.body) == (bot.user_id, f"pong {number}")
        assert bool(answer.decrypted) is encrypted
    notices = [
        event
        for where, event in ayna.events
        if where == room_id and isinstance(event, nio.RoomMessageNotice)
    ]
    assert len(notices) == 3
    assert not ayna.unreadable


def main() -> None:
    """Run the story against the server at the URL in the arguments."""
    logging.getLogger("nio").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(tell(sys.argv[1], Path(folder)))


if __name__ == "__main__":
    main()
