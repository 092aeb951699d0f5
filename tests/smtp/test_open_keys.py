"""Mail between people who publish keys is marked, and nobody else can mark it."""

from __future__ import annotations

from kerwen.mail.openpgp import wkd_hash
from tests.mail.test_openpgp import packet
from tests.smtp.world import World, field

LETTER = b"From: ayna@kerwen.test\r\nTo: batyr@kerwen.test\r\nSubject: x\r\n%s\r\ntext\r\n"
AUTOCRYPT = b"Autocrypt: addr=ayna@kerwen.test; prefer-encrypt=mutual; keydata=AAAA\r\n"


def key(name: bytes) -> bytes:
    return packet(6, b"key") + packet(13, name + b"@kerwen.test")


async def test_mail_between_people_who_publish_is_marked(world: World) -> None:
    keys = world.mail.open_keys
    client = await world.ayna()

    async def send(*to: str) -> str:
        raw = LETTER % (AUTOCRYPT + b"Authentication-Results: kerwen.test; x-openpgp-keys=pass\r\n")
        assert (await client.send("ayna@kerwen.test", list(to), raw)).startswith("250")
        got = (await world.inbox(2))[-1]
        assert AUTOCRYPT in got, "what programs tell each other of keys is not touched"
        return field(got, "Authentication-Results")

    assert "x-openpgp-keys" not in await send("batyr@kerwen.test")
    await keys.publish(1, key(b"ayna"))
    assert "x-openpgp-keys" not in await send("batyr@kerwen.test")
    await keys.publish(2, key(b"batyr"))
    assert "x-openpgp-keys=pass" in await send("batyr@kerwen.test")
    told = await send("batyr@kerwen.test", "somebody@elsewhere.test")
    assert "x-openpgp-keys" not in told, "not all of them publish"
    await keys.remove(1)
    assert "x-openpgp-keys" not in await send("batyr@kerwen.test")


async def test_keys_are_found_by_their_hash_and_by_nobody_after(world: World) -> None:
    keys = world.mail.open_keys
    kept = await keys.publish(1, key(b"ayna") + packet(13, b"other@elsewhere.test"))
    assert kept == key(b"ayna")
    assert await keys.find(wkd_hash("ayna")) == await keys.own(1) == kept
