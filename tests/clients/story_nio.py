"""The story on matrix-nio: `python -m tests.clients.story_nio URL`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import nio
import pytest

from .cross_signing import Json, device_is_trusted, is_signed_by
from .key_backup import BackupKey
from .nio_person import CLIENT, HttpError, NioPerson
from .steps import Story, until

PASSWORD = "correct horse battery staple"
LINES = ("Salam! Nähili sen?", "Gowy, sag bol. 🐎", "Ertir üçde duşuşaly.", "Bolýar 👍")


async def tell(url: str, folder: Path, room_version: str | None = None) -> None:
    """Three people, an encrypted group, a file, a lost device, and everything back. # CS #e2ee"""
    people: list[NioPerson] = []
    try:
        await _tell(url, folder, room_version, people)
    finally:
        await asyncio.gather(*(person.stop() for person in people))


async def _tell(url: str, folder: Path, version: str | None, people: list[NioPerson]) -> None:
    story, tag = Story("nio"), secrets.token_hex(4)
    ayna, batyr, kerim = (
        NioPerson(url, f"{name}.{tag}", folder / name, f"{name}'s phone")
        for name in ("ayna", "batyr", "kerim")
    )
    people += [ayna, batyr, kerim]

    async with story.step("three people register and upload their device keys"):
        await asyncio.gather(*(person.register(PASSWORD) for person in people))

    async with story.step("Ayna and Batyr publish cross-signing keys and sign their devices"):
        ayna_keys = await ayna.bootstrap_cross_signing(PASSWORD)
        batyr_keys = await batyr.bootstrap_cross_signing(PASSWORD)
        for person, keys in ((ayna, ayna_keys), (batyr, batyr_keys)):
            answer = await kerim.query(person.user_id)
            master = keys.public("master")
            assert device_is_trusted(answer, person.user_id, person.device_id, master)

    async with story.step("Ayna makes a key backup and puts her keys into secret storage"):
        backup = BackupKey()
        version_of_backup = await ayna.create_backup(ayna_keys, backup)
        recovery_key = await ayna.store_secrets(ayna_keys, backup)

    async with story.step("Ayna creates an encrypted group, the others join"):
        more: Json = {} if version is None else {"room_version": version}
        room = await ayna.create_group("Maşgala", [batyr.user_id, kerim.user_id], **more)
        await asyncio.gather(batyr.join_invited(room), kerim.join_invited(room))
        await asyncio.gather(*(person.ready_in(room, people) for person in people))

    async with story.step("Ayna and Batyr compare emoji and verify each other's device"):
        assert not ayna.has_verified(batyr)
        assert not batyr.has_verified(ayna)
        await ayna.start_verification(batyr)
        emoji = await ayna.seen_emoji()
        assert len(emoji) == 7
        assert emoji == await batyr.seen_emoji()
        await asyncio.gather(ayna.confirm_emoji(), batyr.confirm_emoji())
        await until(lambda: ayna.has_verified(batyr) and batyr.has_verified(ayna), "both sides")

    async with story.step("each signs the other's master key, and sees the signature"):
        await ayna.sign_person(ayna_keys, batyr)
        await batyr.sign_person(batyr_keys, ayna)
        assert await ayna.person_is_signed(ayna_keys, batyr)
        assert await batyr.person_is_signed(batyr_keys, ayna)
        seen_by_kerim = (await kerim.query(ayna.user_id))["master_keys"][ayna.user_id]
        # CS #key-and-signature-security: user-signing signatures are for the signer alone.
        assert not is_signed_by(seen_by_kerim, batyr.user_id, batyr_keys.public("user_signing"))

    said: dict[str, Json] = {}

    async with story.step("all three talk, and each reads every line"):
        for index, line in enumerate(LINES * 2):
            sender = people[index % 3]
            event_id = await sender.say(room, f"{line} ({index})")
            said[event_id] = {"msgtype": "m.text", "body": f"{line} ({index})"}
            for person in people:
                assert await person.read(event_id) == said[event_id]

    data = secrets.token_bytes(300_001)

    async with story.step("Batyr sends an encrypted file, Ayna and Kerim open it"):
        file_event = await batyr.send_file(room, "suratlar.zip", data)
        for person in (ayna, kerim):
            content = await person.read(file_event)
            assert await person.fetch_file(content) == data
        said[file_event] = await ayna.read(file_event)

    async with story.step("Ayna backs up her group sessions"):
        count = await ayna.backup_sessions(version_of_backup, backup)
        assert count == 3, "one session for each sender"

    async with story.step("Ayna's phone is lost: logged out, store deleted"):
        old_device, lost_token = ayna.device_id, ayna.client.access_token
        answer = await ayna.client.logout()
        assert isinstance(answer, nio.LogoutResponse), answer
        await ayna.stop()
        shutil.rmtree(ayna.store)
        people.remove(ayna)
        devices = (await batyr.query(ayna.user_id))["device_keys"].get(ayna.user_id, {})
        assert old_device not in devices

    phone = NioPerson(url, ayna.name, folder / "new", "ayna's new phone")
    people.append(phone)

    async with story.step("a new phone logs in, and can read nothing old"):
        await phone.log_in(PASSWORD)
        assert phone.device_id != old_device
        events = await phone.history(room)
        old = [event.event_id for event in events if isinstance(event, nio.MegolmEvent)]
        assert old == list(said), "all old messages are there, none is readable"

    async with story.step("the recovery key gives it Ayna's keys, and it signs itself"):
        keys, backup_key = await phone.load_secrets(recovery_key)
        assert keys.public("master") == ayna_keys.public("master")
        await phone.sign_own_device(keys)

    async with story.step("key backup gives back every message and the file"):
        assert await phone.restore_backup(keys, backup_key) == count
        events = await phone.history(room)
        assert not [event for event in events if isinstance(event, nio.MegolmEvent)]
        assert {e.event_id: e.source["content"] for e in events if e.decrypted} == said
        assert await phone.fetch_file(said[file_event]) == data

    async with story.step("Batyr trusts the new phone without another look"):
        answer = await batyr.query(phone.user_id)
        master = answer["master_keys"][phone.user_id]
        assert is_signed_by(master, batyr.user_id, batyr_keys.public("user_signing"))
        trusted = ayna_keys.public("master")
        assert device_is_trusted(answer, phone.user_id, phone.device_id, trusted)

    async with story.step("they talk on, both ways"):
        await asyncio.gather(*(person.ready_in(room, people) for person in people))
        for index, sender in enumerate((phone, batyr, kerim)):
            event_id = await sender.say(room, f"Ýene bile! ({index})")
            for person in people:
                assert (await person.read(event_id))["body"] == f"Ýene bile! ({index})"

    async with story.step("the lost phone's token opens nothing"):
        with pytest.raises(HttpError) as refused:
            await phone.http("GET", f"{CLIENT}/account/whoami", token=lost_token)
        assert refused.value.status == 401
        assert refused.value.body["errcode"] == "M_UNKNOWN_TOKEN"


def main() -> None:
    """Run the story against the server at the URL in the arguments (and with a room version)."""
    logging.getLogger("nio").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        version = sys.argv[2] if len(sys.argv) > 2 else None
        asyncio.run(tell(sys.argv[1], Path(folder), version))


if __name__ == "__main__":
    main()
