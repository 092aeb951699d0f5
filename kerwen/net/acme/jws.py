"""The account's key and what it signs: JWS in the flattened JSON form, ES256 only."""

# RFC 7515, RFC 7518 §3.4, RFC 7638 (thumbprint), RFC 8555 §6.2 and §7.3.4 (external accounts)

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

_SIZE: Final = 32  # bytes of a number of P-256


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding. Raises `ValueError`."""
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


class AccountKey:
    """A key of P-256 that stands for an account at an authority."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        numbers = key.public_key().public_numbers()
        self.jwk: dict[str, str] = {
            "crv": "P-256",
            "kty": "EC",
            "x": encoded(numbers.x.to_bytes(_SIZE, "big")),
            "y": encoded(numbers.y.to_bytes(_SIZE, "big")),
        }

    @classmethod
    def generate(cls) -> AccountKey:
        """A new one."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, pem: bytes) -> AccountKey:
        """Reads what `pem` wrote. Raises `ValueError`."""
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError("not a key of P-256")
        return cls(key)

    def pem(self) -> bytes:
        """For the disk."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def thumbprint(self) -> str:
        """RFC 7638, base64url."""
        plain = orjson.dumps(self.jwk, option=orjson.OPT_SORT_KEYS)
        return encoded(hashlib.sha256(plain).digest())

    def key_authorisation(self, token: str) -> str:
        """What proves that this account put a challenge's answer up (RFC 8555 §8.1)."""
        return f"{token}.{self.thumbprint}"

    def signed(self, url: str, nonce: str, payload: Any, kid: str | None) -> bytes:
        """The body of a request. `payload` None is POST-as-GET; without `kid` the key is told."""
        head: dict[str, Any] = {"alg": "ES256", "nonce": nonce, "url": url}
        if kid is None:
            head["jwk"] = self.jwk
        else:
            head["kid"] = kid
        protected = encoded(orjson.dumps(head))
        content = "" if payload is None else encoded(orjson.dumps(payload))
        der = self._key.sign(f"{protected}.{content}".encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        signature = encoded(r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big"))
        return orjson.dumps({"protected": protected, "payload": content, "signature": signature})

    def bound(self, url: str, kid: str, mac_key: str) -> dict[str, str]:
        """The field that ties the account to one that the authority knows already (§7.3.4)."""
        protected = encoded(orjson.dumps({"alg": "HS256", "kid": kid, "url": url}))
        payload = encoded(orjson.dumps(self.jwk))
        mac = hmac.digest(decoded(mac_key), f"{protected}.{payload}".encode(), "sha256")
        return {"protected": protected, "payload": payload, "signature": encoded(mac)}


def is_signed_by(jwk: dict[str, str], protected: str, payload: str, signature: str) -> bool:
    """Whether a JWS of ES256 is a key's."""
    try:
        x, y = (int.from_bytes(decoded(jwk[name]), "big") for name in ("x", "y"))
        raw = decoded(signature)
        if len(raw) != 2 * _SIZE:
            return False
        der = utils.encode_dss_signature(
            int.from_bytes(raw[:_SIZE], "big"), int.from_bytes(raw[_SIZE:], "big")
        )
        public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        public.verify(der, f"{protected}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, KeyError):
        return False
    return True
