"""Two libraries in one encrypted room: `python -m tests.clients.story_mixed URL`.

One person is on matrix-nio; the other on matrix-js-sdk, as `js/echo.mjs`, who answers what it
could read.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import nio

from .nio_person import NioPerson
from .steps import Story, until

PASSWORD = "correct horse battery staple"
JS = Path(__file__).parent / "js"
TEXTS = ("Salam, JavaScript!", "Iki dil, bir otag. 🐎", "—\u202fsoň")


async def tell(url: str, folder: Path) -> None:
    """nio and matrix-js-sdk read one another's messages and files."""
    tag = secrets.token_hex(4)
    ayna = NioPerson(url, f"ayna.{tag}", folder / "ayna")
    command = ("node", str(JS / "echo.mjs"), url, f"batyr.{tag}", PASSWORD)
    batyr = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        await _tell(Story("mixed"), ayna, batyr)
    finally:
        if batyr.returncode is None:
            batyr.kill()
            await batyr.wait()
        await ayna.stop()


async def _tell(story: Story, ayna: NioPerson, batyr: Process) -> None:
    assert batyr.stdout is not None

    async with story.step("both register, each with a library of its own", 15):
        await ayna.register(PASSWORD)
        word, batyr_id = (await batyr.stdout.readline()).decode().split()
        assert word == "ready"

    async with story.step("nio makes an encrypted room, js joins"):
        room_id = await ayna.create_group("Iki dil", [batyr_id])

        def joined() -> bool:
            room = ayna.client.rooms.get(room_id)
            return room is not None and room.joined_count == 2 and ayna.knows_devices_of(batyr_id)

        await until(joined, "js to join")

    async with story.step("js reads what nio says, and nio reads the answers"):
        for text in TEXTS:
            await ayna.say(room_id, text)
            await _heard(ayna, batyr_id, nio.RoomMessageText, f"js read: {text}")

    async with story.step("js opens nio's file, and nio opens the same from js"):
        data = secrets.token_bytes(200_003)
        await ayna.send_file(room_id, "surat.bin", data)
        event = await _heard(ayna, batyr_id, nio.RoomEncryptedFile, "surat.bin")
        assert await ayna.fetch_file(event.source["content"]) == data

    async with story.step("neither was unable to decrypt"):
        await ayna.say(room_id, "end")
        output = (await batyr.stdout.read()).decode()
        assert await batyr.wait() == 0, output
        assert not ayna.unreadable


async def _heard(
    ayna: NioPerson, sender: str, kind: type[nio.RoomMessage], body: str
) -> nio.RoomMessage:
    def found() -> nio.RoomMessage | None:
        for _, event in ayna.events:
            if isinstance(event, kind) and event.sender == sender and event.body == body:
                return event
        assert not ayna.unreadable, "nio is unable to decrypt what js said"
        return None

    event = await until(found, body)
    assert event.decrypted
    return event


def main() -> None:
    """Run the story against the server at the URL in the arguments."""
    logging.getLogger("nio").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(tell(sys.argv[1], Path(folder)))


if __name__ == "__main__":
    main()
