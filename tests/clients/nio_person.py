"""A person who uses matrix-nio (its cryptography is vodozemac).

nio knows no cross-signing, no secret storage and no key backup: those three are done here by plain
HTTP with cross_signing.py, secret_storage.py and key_backup.py.
"""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nio
from nio.crypto import decrypt_attachment, key_export

from . import key_backup, secret_storage
from .cross_signing import USAGES, CrossSigning, Json, from_unpadded, is_signed_by, only_key
from .steps import until

CLIENT = "/_matrix/client/v3"
KEYS = "/_matrix/client/v3/keys"
SYNC_MS = 20_000
MEGOLM = "m.megolm.v1.aes-sha2"
PASSPHRASE = "a file that lives for a moment"
SECRET_NAMES = {usage: f"m.cross_signing.{usage}" for usage in USAGES}
BACKUP_SECRET = "m.megolm_backup.v1"


class HttpError(Exception):
    """An answer outside of 2xx: status and body."""

    def __init__(self, method: str, path: str, status: int, body: Json) -> None:
        super().__init__(f"{method} {path} answered {status} {body}")
        self.status, self.body = status, body


@dataclass
class Verification:
    """What one side saw of an interactive verification."""

    transaction: str = ""
    emoji: list[tuple[str, str]] = field(default_factory=list)
    confirmed: bool = False


class NioPerson:
    """One device of one person, with a sync loop in the background."""

    def __init__(self, url: str, name: str, store: Path, device_name: str = "") -> None:
        self.url, self.name, self.store, self.device_name = url, name, store, device_name
        store.mkdir(parents=True)
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        self.client = nio.AsyncClient(url, name, store_path=str(store), config=config)
        self.events: list[tuple[str, nio.Event]] = []
        self.unreadable: list[nio.MegolmEvent] = []
        self.verification = Verification()
        self.may_confirm = asyncio.Event()
        self.client.add_event_callback(self._on_event, nio.Event)
        self.client.add_to_device_callback(self._on_verification, nio.KeyVerificationEvent)
        self._loop: asyncio.Task[None] | None = None

    # Accounts and devices

    async def register(self, password: str) -> None:
        """Register with m.login.dummy and begin to sync."""
        answer = await self.client.register(self.name, password, self.device_name)
        assert isinstance(answer, nio.RegisterResponse), answer
        await self._begin()

    async def log_in(self, password: str) -> None:
        """Log in as a new device and begin to sync."""
        answer = await self.client.login(password, device_name=self.device_name)
        assert isinstance(answer, nio.LoginResponse), answer
        await self._begin()

    async def _begin(self) -> None:
        self._loop = asyncio.create_task(self.client.sync_forever(SYNC_MS, full_state=True))
        await until(lambda: self._alive() and self.client.olm_account_shared, "the key upload")

    def _alive(self) -> bool:
        if self._loop is not None and self._loop.done():
            raise RuntimeError(f"{self.name}'s sync ended") from self._loop.exception()
        return True

    async def stop(self) -> None:
        """End the sync loop and close the connections."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
        await self.client.close()

    @property
    def user_id(self) -> str:
        return str(self.client.user_id)

    @property
    def device_id(self) -> str:
        return str(self.client.device_id)

    async def http(
        self, method: str, path: str, body: Json | None = None, token: str | None = None
    ) -> Json:
        """One request beside nio, with this device's token or another; raises HttpError."""
        session = self.client.client_session
        assert session is not None
        headers = {"Authorization": f"Bearer {token or self.client.access_token}"}
        async with session.request(method, self.url + path, json=body, headers=headers) as answer:
            parsed: Json = await answer.json()
            if not 200 <= answer.status < 300:
                raise HttpError(method, path, answer.status, parsed)
            return parsed

    async def http_with_password(self, path: str, body: Json, password: str) -> Json:
        """POST that may ask for the password. CS #user-interactive-authentication-api"""
        try:
            return await self.http("POST", path, body)
        except HttpError as error:
            if error.status != 401 or "flows" not in error.body:
                raise
            auth = {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": self.user_id},
                "password": password,
                "session": error.body["session"],
            }
            return await self.http("POST", path, body | {"auth": auth})

    # Rooms and messages

    async def _on_event(self, room: nio.MatrixRoom, event: nio.Event) -> None:
        if isinstance(event, nio.MegolmEvent):
            self.unreadable.append(event)
        else:
            self.events.append((room.room_id, event))

    async def create_group(self, name: str, invite: list[str], **more: Any) -> str:
        """Create a private encrypted room and invite people; give its id."""
        content = {"algorithm": MEGOLM}
        encryption = {"type": "m.room.encryption", "state_key": "", "content": content}
        answer = await self.client.room_create(
            name=name,
            preset=nio.RoomPreset.private_chat,
            invite=invite,
            initial_state=[encryption],
            **more,
        )
        assert isinstance(answer, nio.RoomCreateResponse), answer
        return str(answer.room_id)

    async def join_invited(self, room_id: str) -> None:
        """Wait for the invitation, and join."""

        def invited() -> bool:
            return self._alive() and room_id in self.client.invited_rooms

        await until(invited, "the invitation")
        answer = await self.client.join(room_id)
        assert isinstance(answer, nio.JoinResponse), answer

    async def ready_in(self, room_id: str, people: list[NioPerson]) -> None:
        """Wait until nio knows the room as encrypted, its members, and all their devices."""

        def ready() -> bool:
            room = self.client.rooms.get(room_id)
            return (
                self._alive()
                and room is not None
                and room.encrypted
                and all(other.user_id in room.users for other in people)
                and all(self.knows_device(other) for other in people)
            )

        await until(ready, f"{self.name} to know the room, its members and their devices")

    def knows_device(self, other: NioPerson) -> bool:
        """True if nio has the keys of the other's device (or it is our own)."""
        if other.device_id == self.device_id:
            return True
        device = self.client.device_store[other.user_id].get(other.device_id)
        return device is not None and not device.deleted

    def knows_devices_of(self, user_id: str) -> bool:
        """True if nio has the keys of any device of this person."""
        return any(True for _ in self.client.device_store.active_user_devices(user_id))

    async def say(self, room_id: str, content: str | Json) -> str:
        """Send a message, encrypted; give its event id."""
        text = {"msgtype": "m.text", "body": content}
        answer = await self.client.room_send(
            room_id,
            "m.room.message",
            text if isinstance(content, str) else content,
            ignore_unverified_devices=True,
        )
        assert isinstance(answer, nio.RoomSendResponse), answer
        return str(answer.event_id)

    async def read(self, event_id: str) -> Json:
        """Wait for an event, and give the content of what nio decrypted."""

        def found() -> nio.Event | None:
            assert self._alive()
            bad = [event for event in self.unreadable if event.event_id == event_id]
            assert not bad, f"{self.name} is unable to decrypt {event_id}"
            return next((e for _, e in self.events if e.event_id == event_id), None)

        event = await until(found, f"{self.name} to read {event_id}")
        assert event.decrypted, f"{event_id} came in clear"
        content: Json = event.source["content"]
        return content

    def reply_to(self, event_id: str) -> nio.RoomMessageText | None:
        """The answer to an event, if it has come."""
        assert self._alive()
        for _, event in self.events:
            relation = event.source["content"].get("m.relates_to", {})
            if relation.get("m.in_reply_to", {}).get("event_id") == event_id:
                return event
        return None

    async def history(self, room_id: str) -> list[nio.Event]:
        """All events of a room by /messages, oldest first, as nio decrypts them."""
        events: list[nio.Event] = []
        start: str | None = None
        while True:
            answer = await self.client.room_messages(room_id, start=start, limit=5)
            assert isinstance(answer, nio.RoomMessagesResponse), answer
            events += answer.chunk
            if answer.end is None or not answer.chunk:
                return events[::-1]
            start = answer.end

    # Files

    async def send_file(self, room_id: str, name: str, data: bytes) -> str:
        """Encrypt and upload a file, and send it; give the event id."""
        answer, keys = await self.client.upload(
            lambda *_: io.BytesIO(data), filename=name, encrypt=True, filesize=len(data)
        )
        assert isinstance(answer, nio.UploadResponse), answer
        assert keys is not None
        file = keys | {"url": answer.content_uri}
        info = {"size": len(data), "mimetype": "application/octet-stream"}
        content = {"msgtype": "m.file", "body": name, "info": info, "file": file}
        return await self.say(room_id, content)

    async def fetch_file(self, content: Json) -> bytes:
        """Download the file of a message and decrypt it (its hash is checked)."""
        file = content["file"]
        answer = await self.client.download(file["url"])
        assert isinstance(answer, nio.MemoryDownloadResponse), answer
        data = decrypt_attachment(
            answer.body, file["key"]["k"], file["hashes"]["sha256"], file["iv"]
        )
        assert isinstance(data, bytes)
        return data

    # Interactive verification (SAS by to-device messages)

    async def _on_verification(self, event: nio.KeyVerificationEvent) -> None:
        transaction = event.transaction_id
        if isinstance(event, nio.KeyVerificationCancel):
            raise AssertionError(f"verification cancelled: {event.code} {event.reason}")
        if isinstance(event, nio.KeyVerificationStart):
            answer = await self.client.accept_key_verification(transaction)
            assert isinstance(answer, nio.ToDeviceResponse), answer
        elif isinstance(event, nio.KeyVerificationKey):
            sas = self.client.key_verifications[transaction]
            self.verification = Verification(transaction, sas.get_emoji())

    async def start_verification(self, other: NioPerson) -> None:
        """Ask the other's device to verify."""
        device = self.client.device_store[other.user_id][other.device_id]
        answer = await self.client.start_key_verification(device)
        assert isinstance(answer, nio.ToDeviceResponse), answer

    async def seen_emoji(self) -> list[tuple[str, str]]:
        """Wait for the seven emoji of the running verification."""
        await until(lambda: self._alive() and self.verification.emoji, f"{self.name}'s emoji")
        return self.verification.emoji

    async def confirm_emoji(self) -> None:
        """Say that the emoji match."""
        answer = await self.client.confirm_short_auth_string(self.verification.transaction)
        assert isinstance(answer, nio.ToDeviceResponse), answer

    def has_verified(self, other: NioPerson) -> bool:
        """True if nio holds the other's device for verified."""
        return bool(self.client.device_store[other.user_id][other.device_id].verified)

    # Cross-signing, by plain HTTP

    async def query(self, *user_ids: str) -> Json:
        """Devices and cross-signing keys of people, as the server gives them to us."""
        return await self.http("POST", f"{KEYS}/query", {"device_keys": {u: [] for u in user_ids}})

    async def bootstrap_cross_signing(self, password: str) -> CrossSigning:
        """Make and publish cross-signing keys, and sign our own device."""
        keys = CrossSigning(self.user_id)
        body = keys.upload_body()
        await self.http_with_password(f"{KEYS}/device_signing/upload", body, password)
        await self.sign_own_device(keys)
        return keys

    async def sign_own_device(self, keys: CrossSigning) -> None:
        """Sign our device by the self-signing key, as it stands on the server."""
        device = (await self.query(self.user_id))["device_keys"][self.user_id][self.device_id]
        signed = keys.sign("self_signing", device)
        await self._upload_signatures(self.user_id, self.device_id, signed)

    async def sign_person(self, keys: CrossSigning, other: NioPerson) -> None:
        """Sign the other's master key. Call it after the interactive verification.

        The device that was verified vouches for the master key: it must hang on it.
        """
        answer = await self.query(other.user_id)
        master = answer["master_keys"][other.user_id]
        signed = keys.sign("user_signing", master)
        await self._upload_signatures(other.user_id, only_key(master), signed)

    async def _upload_signatures(self, user_id: str, key_id: str, signed: Json) -> None:
        body = {user_id: {key_id: signed}}
        answer = await self.http("POST", f"{KEYS}/signatures/upload", body)
        assert not answer.get("failures"), answer

    async def person_is_signed(self, keys: CrossSigning, other: NioPerson) -> bool:
        """True if the server gives us back our own signature on the other's master key."""
        master = (await self.query(other.user_id))["master_keys"][other.user_id]
        return is_signed_by(master, self.user_id, keys.public("user_signing"))

    # Secret storage, by plain HTTP

    async def _put_account_data(self, kind: str, content: Json) -> None:
        await self.http("PUT", f"{CLIENT}/user/{quote(self.user_id)}/account_data/{kind}", content)

    async def _get_account_data(self, kind: str) -> Json:
        return await self.http("GET", f"{CLIENT}/user/{quote(self.user_id)}/account_data/{kind}")

    async def store_secrets(self, keys: CrossSigning, backup: key_backup.BackupKey) -> str:
        """Put the private keys into secret storage; give the recovery key as it is written down."""
        key, key_id = secrets.token_bytes(32), secrets.token_hex(16)
        description = secret_storage.key_description(key)
        await self._put_account_data(f"m.secret_storage.key.{key_id}", description)
        await self._put_account_data("m.secret_storage.default_key", {"key": key_id})
        values = {name: keys.seed(usage) for usage, name in SECRET_NAMES.items()}
        for name, value in (values | {BACKUP_SECRET: backup.private}).items():
            box = secret_storage.seal(key, name, value)
            await self._put_account_data(name, {"encrypted": {key_id: box}})
        return secret_storage.write_recovery_key(key)

    async def load_secrets(self, recovery_key: str) -> tuple[CrossSigning, key_backup.BackupKey]:
        """The private keys out of secret storage."""
        key = secret_storage.read_recovery_key(recovery_key)
        key_id = (await self._get_account_data("m.secret_storage.default_key"))["key"]
        description = await self._get_account_data(f"m.secret_storage.key.{key_id}")
        assert secret_storage.key_fits(key, description), "the recovery key does not fit"

        async def secret(name: str) -> str:
            box = (await self._get_account_data(name))["encrypted"][key_id]
            return secret_storage.unseal(key, name, box)

        seeds = {u: from_unpadded(await secret(name)) for u, name in SECRET_NAMES.items()}
        return CrossSigning(self.user_id, seeds), key_backup.BackupKey(await secret(BACKUP_SECRET))

    # Key backup, by plain HTTP

    async def create_backup(self, keys: CrossSigning, backup: key_backup.BackupKey) -> str:
        """Begin a backup that the master key vouches for; give its version."""
        auth_data = keys.sign("master", {"public_key": backup.public})
        body = {"algorithm": key_backup.ALGORITHM, "auth_data": auth_data}
        answer = await self.http("POST", f"{CLIENT}/room_keys/version", body)
        return str(answer["version"])

    async def backup_sessions(self, version: str, backup: key_backup.BackupKey) -> int:
        """Put all our group sessions into the backup; give how many the server then counts."""
        file = self.store / "export.txt"
        await self.client.export_keys(str(file), PASSPHRASE, count=10)
        sessions = json.loads(key_export.decrypt_and_read(str(file), PASSPHRASE))
        file.unlink()
        for session in sessions:
            session["first_message_index"] = 0
        body = key_backup.seal_sessions(backup.public, sessions)
        answer = await self.http("PUT", f"{CLIENT}/room_keys/keys?version={version}", body)
        assert answer["count"] == len(sessions), answer
        return len(sessions)

    async def restore_backup(self, keys: CrossSigning, backup: key_backup.BackupKey) -> int:
        """Fetch all sessions of the backup and give them to nio; how many they were."""
        info = await self.http("GET", f"{CLIENT}/room_keys/version")
        assert info["algorithm"] == key_backup.ALGORITHM
        assert info["auth_data"]["public_key"] == backup.public
        assert is_signed_by(info["auth_data"], self.user_id, keys.public("master"))
        path = f"{CLIENT}/room_keys/keys?version={info['version']}"
        sessions = list(key_backup.open_sessions(backup, await self.http("GET", path)))
        assert len(sessions) == info["count"], info
        file = self.store / "import.txt"
        data = json.dumps(sessions).encode()
        key_export.encrypt_and_save(data, str(file), PASSPHRASE, count=10)
        await self.client.import_keys(str(file), PASSPHRASE)
        file.unlink()
        self.unreadable.clear()
        return len(sessions)
