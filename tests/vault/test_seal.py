"""Boxes: RFC 9180 as another reader of it has it, binding, damage."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.vault.seal import OVERHEAD_BYTES, Belonging, public_of, seal, unseal

PRIVATE = bytes(range(32))
PUBLIC = public_of(PRIVATE)
WHERE = Belonging(7, 55, "message")


# --- RFC 9180, written again from the text for this test ---------------------------------------


def _extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), key, hashlib.sha256)


def _expand(root: bytes, info: bytes, length: int) -> bytes:
    assert length <= 32
    return hmac.digest(root, info + b"\x01", hashlib.sha256)[:length]


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + key)  # §4


def _labeled_expand(suite: bytes, root: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(root, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def open_by_the_rfc(private: bytes, info: bytes, enc: bytes, box: bytes) -> bytes:
    """Single-shot Open in base mode (§6.1) for DHKEM X25519, HKDF-SHA256, ChaCha20-Poly1305."""
    secret_key = X25519PrivateKey.from_private_bytes(private)
    shared = secret_key.exchange(X25519PublicKey.from_public_bytes(enc))
    kem = b"KEM" + (0x20).to_bytes(2, "big")
    root = _labeled_extract(kem, b"", b"eae_prk", shared)
    context = enc + secret_key.public_key().public_bytes_raw()
    shared = _labeled_expand(kem, root, b"shared_secret", context, 32)
    suite = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (0x20, 0x01, 0x03))
    schedule = (
        b"\x00"
        + _labeled_extract(suite, b"", b"psk_id_hash", b"")
        + _labeled_extract(suite, b"", b"info_hash", info)
    )
    secret = _labeled_extract(suite, shared, b"secret", b"")
    key = _labeled_expand(suite, secret, b"key", schedule, 32)
    nonce = _labeled_expand(suite, secret, b"base_nonce", schedule, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, box, b"")


def test_boxes_are_those_of_rfc_9180() -> None:
    box = seal(PUBLIC, WHERE, b"a letter")
    assert box[:1] == b"\x01"
    assert open_by_the_rfc(PRIVATE, WHERE.data(), box[1:33], box[33:]) == b"a letter"


def test_the_public_key_is_that_of_rfc_7748() -> None:
    # §6.1, Alice's keys
    private = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
    public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert public_of(bytes.fromhex(private)).hex() == public


@given(st.binary(max_size=200))
def test_what_is_sealed_opens(plain: bytes) -> None:
    box = seal(PUBLIC, WHERE, plain)
    assert unseal(PRIVATE, WHERE, box) == plain
    assert unseal(bytearray(PRIVATE), WHERE, box) == plain
    assert len(box) == len(plain) + OVERHEAD_BYTES


def test_two_boxes_of_the_same_differ() -> None:
    assert seal(PUBLIC, WHERE, b"x") != seal(PUBLIC, WHERE, b"x")


@pytest.mark.parametrize(
    "elsewhere",
    [Belonging(8, 55, "message"), Belonging(7, 56, "message"), Belonging(7, 55, "envelope")],
)
def test_a_box_in_anothers_place_does_not_open(elsewhere: Belonging) -> None:
    with pytest.raises(Refused) as refused:
        unseal(PRIVATE, elsewhere, seal(PUBLIC, WHERE, b"x"))
    assert refused.value.reason is Reason.BOX_DAMAGED
    assert "55" not in refused.value.public_text


def test_anothers_key_does_not_open() -> None:
    with pytest.raises(Refused):
        unseal(b"o" * 32, WHERE, seal(PUBLIC, WHERE, b"x"))


@given(st.integers(0, OVERHEAD_BYTES), st.integers(0, 7))
def test_one_changed_bit_is_noticed(at: int, bit: int) -> None:
    damaged = bytearray(seal(PUBLIC, WHERE, b"x"))
    damaged[at] ^= 1 << bit
    if at == 32 and bit == 7:
        return  # the top bit of a point means nothing (RFC 7748 §5)
    with pytest.raises(Refused):
        unseal(PRIVATE, WHERE, bytes(damaged))


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(box: bytes) -> None:
    for raw in (box, b"\x01" + box):
        with pytest.raises(Refused):
            unseal(PRIVATE, WHERE, raw)


def test_the_cryptography_library_is_imported_when_it_is_needed() -> None:
    code = (
        "import sys, kerwen.vault.store, kerwen.vault.actions.delivery_keys,"
        " kerwen.vault.recovery_key; assert not any(m.startswith('cryptography')"
        " for m in sys.modules), 'imported at start'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
