"""Secret storage for clients whose library has none.

Written from the specification (CS #storage, m.secret_storage.v1.aes-hmac-sha2).
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .cross_signing import from_unpadded, unpadded

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
PREFIX = b"\x8b\x01"


def write_recovery_key(key: bytes) -> str:
    """A 32 byte key as people write it down. CS #key-representation"""
    data = PREFIX + key
    data += bytes([_parity(data)])
    number, digits = int.from_bytes(data), ""
    while number:
        number, digit = divmod(number, 58)
        digits = ALPHABET[digit] + digits
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def read_recovery_key(text: str) -> bytes:
    """The 32 bytes behind a written recovery key; ValueError if it was mistyped."""
    number = 0
    for digit in text.replace(" ", ""):
        number = number * 58 + ALPHABET.index(digit)
    data = number.to_bytes(35)
    if data[:2] != PREFIX or _parity(data) != 0:
        raise ValueError("not a recovery key")
    return data[2:34]


def seal(key: bytes, name: str, secret: str) -> dict[str, str]:
    """The secret `name`, sealed with the storage key."""
    iv = bytearray(secrets.token_bytes(16))
    iv[8] &= 0x7F
    aes, mac = _derive(key, name)
    box = _aes_ctr(aes, bytes(iv), secret.encode())
    return {"iv": unpadded(bytes(iv)), "ciphertext": unpadded(box), "mac": _mac(mac, box)}


def unseal(key: bytes, name: str, box: dict[str, str]) -> str:
    """The secret `name`; ValueError if the key is wrong or the box was changed."""
    aes, mac = _derive(key, name)
    ciphertext = from_unpadded(box["ciphertext"])
    if not hmac.compare_digest(_mac(mac, ciphertext).rstrip("="), box["mac"].rstrip("=")):
        raise ValueError(f"wrong key for the secret {name}")
    return _aes_ctr(aes, from_unpadded(box["iv"]), ciphertext).decode()


def key_description(key: bytes) -> dict[str, Any]:
    """The content of m.secret_storage.key.ID, with which a key can be checked."""
    check = seal(key, "", "\0" * 32)
    return {"algorithm": ALGORITHM, "iv": check["iv"], "mac": check["mac"]}


def key_fits(key: bytes, description: dict[str, Any]) -> bool:
    """True if `key` is the one that was described."""
    aes, mac = _derive(key, "")
    zeros = _aes_ctr(aes, from_unpadded(description["iv"]), bytes(32))
    return _mac(mac, zeros).rstrip("=") == str(description["mac"]).rstrip("=")


def _parity(data: bytes) -> int:
    parity = 0
    for byte in data:
        parity ^= byte
    return parity


def _derive(key: bytes, name: str) -> tuple[bytes, bytes]:
    both = HKDF(SHA256(), 64, salt=bytes(32), info=name.encode()).derive(key)
    return both[:32], both[32:]


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _mac(key: bytes, ciphertext: bytes) -> str:
    return unpadded(hmac.digest(key, ciphertext, "sha256"))
