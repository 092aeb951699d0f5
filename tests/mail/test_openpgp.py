"""Keys as they are published: only what is of the address, never anything secret."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.mail import openpgp
from kerwen.mail.openpgp import BadKey, published, wkd_hash

Gpg = Callable[..., bytes]


@pytest.mark.parametrize(
    ("name", "told"),
    [  # of the draft's own text
        ("Joe.Doe", "iy9q119eutrkn8s1mk4r39qejnbu3n5q"),
        ("joe.doe", "iy9q119eutrkn8s1mk4r39qejnbu3n5q"),
    ],
)
def test_how_a_key_is_asked_for(name: str, told: str) -> None:
    assert wkd_hash(name) == told
    assert len(wkd_hash("a")) == 32


@pytest.fixture
def gpg(tmp_path: Path) -> Gpg:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not here")
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)

    def run(*words: str, text: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", *words]
        return subprocess.run(command, input=text, capture_output=True, check=True).stdout

    return run


def ids(gpg: Gpg, data: bytes) -> list[str]:
    """The user ids that gpg sees in a key."""
    shown = gpg("--show-keys", "--with-colons", text=data).decode().splitlines()
    return [line.split(":")[9] for line in shown if line.startswith("uid")]


def test_only_the_user_ids_of_the_address(gpg: Gpg) -> None:
    gpg("--quick-generate-key", "Aýna <ayna@kerwen.test>", "ed25519", "sign", "never")
    gpg("--quick-add-uid", "ayna@kerwen.test", "Private <secret@elsewhere.test>")
    gpg("--quick-add-uid", "ayna@kerwen.test", "ayna@kerwen.test")
    for armor in ([], ["--armor"]):
        key = gpg(*armor, "--export", "ayna@kerwen.test")
        kept = published(key, "ayna@kerwen.test")
        assert sorted(ids(gpg, kept)) == ["Aýna <ayna@kerwen.test>", "ayna@kerwen.test"]
        assert b"elsewhere" not in kept
        assert published(kept, "AYNA@kerwen.test") == kept
    with pytest.raises(BadKey, match="needs a user id"):
        published(key, "batyr@kerwen.test")
    secret = gpg("--export-secret-keys", "ayna@kerwen.test")
    with pytest.raises(BadKey, match="secret key"):
        published(secret, "ayna@kerwen.test")


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, len(body)]) + body


GOOD = packet(6, b"key") + packet(13, b"A <a@b.test>") + packet(2, b"sig") + packet(14, b"sub")


def test_pictures_and_trust_go() -> None:
    more = packet(17, b"face") + packet(2, b"of face") + packet(12, b"trust") + packet(2, b"x")
    assert published(GOOD + more, "a@b.test") == GOOD
    old = bytes([0x98, 3]) + b"key" + packet(13, b"a@b.test")
    assert published(old, "a@b.test") == old


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n????\n-----END PGP PUBLIC KEY BLOCK-----",
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----",
        GOOD[:-1],
        packet(13, b"a@b.test"),
        packet(6, b"k") + packet(13, b"a@b.test x"),
        packet(6, b"k") + packet(13, b"a@b.test <other@b.test>"),
        GOOD + packet(7, b"secret"),
        packet(6, b"k") * 5 + packet(13, b"a@b.test") * 9,
        packet(6, b"k") + packet(6, b"k") + packet(13, b"a@b.test"),
        bytes([0x9B]) + b"x" * 20,
        bytes([0xC6, 230]) + b"x" * 20,
        GOOD * 800,
        b"\x99" * (openpgp.KEY_MAX + 1),
    ],
)
def test_what_is_not_published(data: bytes) -> None:
    with pytest.raises(BadKey):
        published(data, "a@b.test")


@given(st.binary(max_size=300), st.integers(0, len(GOOD)))
def test_any_bytes(data: bytes, at: int) -> None:
    armored = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + base64.b64encode(data)
    for one in (data, GOOD[:at] + data, armored, armored + b"\n-----END PGP PUBLIC KEY BLOCK-----"):
        try:
            published(one, "a@b.test")
        except BadKey:
            pass
