from __future__ import annotations

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import signing
from kerwen.base.errors import Reason, Refused

SEED = signing.decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
KEY = signing.SigningKey("1", SEED)

# SPEC appendices #json-signing
VECTORS = [
    (
        {},
        "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
    ),
    (
        {"one": 1, "two": "Two"},
        "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
    ),
]


@pytest.mark.parametrize(("value", "signature"), VECTORS)
def test_vectors(value, signature):
    signed = signing.sign_json(value, "domain", KEY)
    assert signed == {**value, "signatures": {"domain": {"ed25519:1": signature}}}
    assert "signatures" not in value
    signing.verify_json(signed, "domain", "ed25519:1", KEY.public_key)
    # neither of the two is covered
    signing.verify_json({**signed, "unsigned": {"x": 1}}, "domain", "ed25519:1", KEY.public_key)


def test_signatures_are_added_to_those_there():
    other = signing.SigningKey("b2", b"2" * 32)
    twice = signing.sign_json(signing.sign_json({"a": 1}, "x", KEY), "x", other)
    thrice = signing.sign_json(twice, "y", other)
    assert signing.key_ids_of(thrice, "x") == ["ed25519:1", "ed25519:b2"]
    assert list(thrice["signatures"]) == ["x", "y"]
    for name, key in (("x", KEY), ("x", other), ("y", other)):
        signing.verify_json(thrice, name, key.key_id, key.public_key)
    assert len(twice["signatures"]) == 1


GOOD = signing.sign_json({"a": 1}, "x", KEY)
TEXT = GOOD["signatures"]["x"]["ed25519:1"]


@pytest.mark.parametrize(
    ("value", "name", "key_id", "public_key"),
    [
        ({**GOOD, "a": 2}, "x", "ed25519:1", KEY.public_key),
        (GOOD, "y", "ed25519:1", KEY.public_key),
        (GOOD, "x", "ed25519:2", KEY.public_key),
        (GOOD, "x", "ed25519:1", b"\1" * 32),
        (GOOD, "x", "ed25519:1", b"\1" * 31),
        (GOOD, "x", "ed25519:1", b""),
        ({"a": 1}, "x", "ed25519:1", KEY.public_key),
        ({"a": 1, "signatures": []}, "x", "ed25519:1", KEY.public_key),
        ({"a": 1, "signatures": {"x": TEXT}}, "x", "ed25519:1", KEY.public_key),
        ({"a": 1, "signatures": {"x": {"ed25519:1": 7}}}, "x", "ed25519:1", KEY.public_key),
        ({"a": 1, "signatures": {"x": {"ed25519:1": "*"}}}, "x", "ed25519:1", KEY.public_key),
        ({"a": 1, "signatures": {"x": {"ed25519:1": TEXT[:-2]}}}, "x", "ed25519:1", KEY.public_key),
    ],
)
def test_refused(value, name, key_id, public_key):
    with pytest.raises(Refused) as caught:
        signing.verify_json(value, name, key_id, public_key)
    assert caught.value.reason is Reason.INVALID_SIGNATURE


def test_key_ids():
    assert signing.key_ids_of({"signatures": {"x": {"rsa:1": "", "ed25519:1": ""}}}, "x") == [
        "ed25519:1"
    ]
    assert signing.key_ids_of({}, "x") == []
    assert KEY.public_base64 == "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
    assert SEED.hex() not in repr(KEY)


@pytest.mark.parametrize(("version", "seed"), [("a b", SEED), ("", SEED), ("1", SEED[1:])])
def test_broken_keys(version, seed):
    with pytest.raises(ValueError, match="has"):
        signing.SigningKey(version, seed)


# SPEC appendices #unpadded-base64
@pytest.mark.parametrize(
    ("plain", "text"),
    [
        (b"", ""),
        (b"f", "Zg"),
        (b"fo", "Zm8"),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg"),
        (b"fooba", "Zm9vYmE"),
        (b"foobar", "Zm9vYmFy"),
    ],
)
def test_base64(plain, text):
    assert signing.encode_base64(plain) == text
    assert signing.decode_base64(text) == plain
    assert signing.decode_base64(text + "=" * (-len(text) % 4)) == plain


@given(st.binary())
def test_base64_round_trip(plain):
    url = signing.encode_base64_url(plain)
    assert not set("+/=") & set(url)
    assert (
        signing.decode_base64(url) == plain == signing.decode_base64(signing.encode_base64(plain))
    )


@given(st.text())
def test_base64_of_any_text(text):
    try:
        signing.decode_base64(text)
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["*", "Z", "Zm9v\n", "Zm 9v", "Zm=9v"])
def test_not_base64(text):
    with pytest.raises(binascii.Error):
        signing.decode_base64(text)
