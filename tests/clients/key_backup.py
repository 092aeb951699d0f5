"""Key backup for clients whose library has none (CS #server-side-key-backups), with vodozemac."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vodozemac import Curve25519PublicKey, Curve25519SecretKey, Message, PkDecryption, PkEncryption

from .cross_signing import from_unpadded, unpadded

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
Session = dict[str, Any]


class BackupKey:
    """The private key of a backup."""

    def __init__(self, private: str | None = None) -> None:
        self.secret = (
            Curve25519SecretKey() if private is None else Curve25519SecretKey.from_base64(private)
        )

    @property
    def private(self) -> str:
        """Unpadded base64, as secret storage keeps it."""
        return self.secret.to_base64()

    @property
    def public(self) -> str:
        """Unpadded base64, as the backup's `auth_data` says it."""
        return self.secret.public_key().to_base64()

    def open(self, data: dict[str, str]) -> dict[str, Any]:
        """The session data behind `session_data` of the backup."""
        parts = (from_unpadded(data[part]) for part in ("ciphertext", "mac", "ephemeral"))
        box = Message(*parts)
        opened: dict[str, Any] = json.loads(PkDecryption.from_key(self.secret).decrypt(box))
        return opened


def seal_session(public: str, session: Session) -> dict[str, Any]:
    """One exported session as KeyBackupData; `session` is as in a key export file."""
    inner = {
        "algorithm": MEGOLM,
        "forwarding_curve25519_key_chain": session["forwarding_curve25519_key_chain"],
        "sender_claimed_keys": session["sender_claimed_keys"],
        "sender_key": session["sender_key"],
        "session_key": session["session_key"],
    }
    encryption = PkEncryption.from_key(Curve25519PublicKey.from_base64(public))
    # Not Message.to_base64(): in vodozemac 0.10 for Python it gives the three parts in reverse.
    box = encryption.encrypt(json.dumps(inner).encode())
    return {
        "first_message_index": session["first_message_index"],
        "forwarded_count": len(session["forwarding_curve25519_key_chain"]),
        "is_verified": True,
        "session_data": {
            "ciphertext": unpadded(box.ciphertext),
            "mac": unpadded(box.mac),
            "ephemeral": unpadded(box.ephemeral_key),
        },
    }


def seal_sessions(public: str, sessions: list[Session]) -> dict[str, Any]:
    """The body of PUT /room_keys/keys."""
    rooms: dict[str, Any] = {}
    for session in sessions:
        room = rooms.setdefault(session["room_id"], {"sessions": {}})
        room["sessions"][session["session_id"]] = seal_session(public, session)
    return {"rooms": rooms}


def open_sessions(key: BackupKey, body: dict[str, Any]) -> Iterator[Session]:
    """The sessions of an answer of GET /room_keys/keys, as in a key export file."""
    for room_id, room in body["rooms"].items():
        for session_id, data in room["sessions"].items():
            yield key.open(data["session_data"]) | {"room_id": room_id, "session_id": session_id}
