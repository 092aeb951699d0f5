"""An authenticator in software: what a phone or a security key answers a browser, and the browser
around it. Written from WebAuthn level 3 and CTAP 2, with `cryptography` alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    """The other way."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(value: Any) -> bytes:
    """CBOR of what authenticators say (RFC 8949)."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    assert isinstance(value, dict)
    return _head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    if number < 256:
        return bytes([major << 5 | 24, number])
    return bytes([major << 5 | 25]) + number.to_bytes(2, "big")


@dataclass
class Authenticator:
    """One passkey. `origin` is the page that asks; `counts` false: a synced one, always 0."""

    origin: str = "https://house.test"
    alg: int = -7
    counts: bool = True
    flags: int = PRESENT | VERIFIED
    cross_origin: bool = False
    counter: int = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    prf_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def __post_init__(self) -> None:
        self.key: Any
        if self.alg == -8:
            self.key = ed25519.Ed25519PrivateKey.generate()
        elif self.alg == -257:
            self.key = rsa.generate_private_key(65537, 2048)
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: dict[str, Any], **said: Any) -> dict[str, Any]:
        """Answers `navigator.credentials.create`, as `toJSON()` writes it."""
        assert {"type": "public-key", "alg": self.alg} in options["pubKeyCredParams"]
        self._count()
        rp_id = said.pop("rp_id", options["rp"]["id"])
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id
        data = self._data(rp_id, self.flags | ATTESTED) + attested + cbor(self._cose())
        made = cbor({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options["challenge"], said)
        return self._credential({"attestationObject": b64(made), "clientDataJSON": b64(client)})

    def get(self, options: dict[str, Any], **said: Any) -> dict[str, Any]:
        """Answers `navigator.credentials.get`."""
        self._count()
        data = self._data(said.pop("rp_id", options["rpId"]), self.flags)
        client = self._client("webauthn.get", options["challenge"], said)
        return self._credential(
            {
                "authenticatorData": b64(data),
                "clientDataJSON": b64(client),
                "signature": b64(self._sign(data + hashlib.sha256(client).digest())),
            }
        )

    def prf(self, options: dict[str, Any]) -> str:
        """What the PRF extension gives the page."""
        salt = unb64(options["extensions"]["prf"]["eval"]["first"])
        return b64(hashlib.sha256(self.prf_secret + salt).digest())

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        return {
            "id": b64(self.credential_id),
            "rawId": b64(self.credential_id),
            "type": "public-key",
            "authenticatorAttachment": "cross-platform",
            "clientExtensionResults": {},
            "response": response,
        }

    def _count(self) -> None:
        if self.counts:
            self.counter += 1

    def _data(self, rp_id: str, flags: int) -> bytes:
        return (
            hashlib.sha256(rp_id.encode()).digest()
            + bytes([flags])
            + self.counter.to_bytes(4, "big")
        )

    def _client(self, kind: str, challenge: str, said: dict[str, Any]) -> bytes:
        data = {
            "type": kind,
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": self.cross_origin,
        }
        return json.dumps({**data, **said}).encode()

    def _cose(self) -> dict[int, Any]:
        public = self.key.public_key()
        if self.alg == -8:
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()}
        numbers = public.public_numbers()
        if self.alg == -257:
            e = numbers.e.to_bytes(3, "big")
            return {1: 3, 3: -257, -1: numbers.n.to_bytes(256, "big"), -2: e}
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        return {1: 2, 3: -7, -1: 1, -2: x, -3: y}

    def _sign(self, data: bytes) -> bytes:
        signed: bytes
        if self.alg == -8:
            signed = self.key.sign(data)
        elif self.alg == -257:
            signed = self.key.sign(data, padding.PKCS1v15(), SHA256())
        else:
            signed = self.key.sign(data, ec.ECDSA(SHA256()))
        return signed
