"""The pure rules of second factors: RFC 6238, recovery codes, codes behind passwords, waiting."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from kerwen.accounts import totp
from kerwen.accounts.passkey import party_of, vault_key
from kerwen.accounts.recovery_codes import code_hash, code_text, code_typed
from kerwen.accounts.second_factor import is_recovery, is_totp, split_password, wait_ms
from kerwen.base.errors import Reason, Refused

SEEDS = {
    "sha1": b"12345678901234567890",
    "sha256": b"12345678901234567890123456789012",
    "sha512": b"1234567890123456789012345678901234567890123456789012345678901234",
}
RFC_6238 = [  # appendix B
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]
RFC_4226 = [  # appendix D
    "755224", "287082", "359152", "969429", "338314",
    "254676", "287922", "162583", "399871", "520489",
]  # fmt: skip
SECRET = SEEDS["sha1"]
NOW = 1_111_111_111_000
STEP = NOW // 30_000


@pytest.mark.parametrize(("second", "sha1", "sha256", "sha512"), RFC_6238)
def test_the_vectors_of_rfc_6238(second: int, sha1: str, sha256: str, sha512: str) -> None:
    step = totp.step_at(second * 1000)
    for digest, code in (("sha1", sha1), ("sha256", sha256), ("sha512", sha512)):
        assert totp.hotp(SEEDS[digest], step, 8, digest) == code


@pytest.mark.parametrize(("counter", "code"), list(enumerate(RFC_4226)))
def test_the_vectors_of_rfc_4226(counter: int, code: str) -> None:
    assert totp.hotp(SECRET, counter) == code


@pytest.mark.parametrize(
    ("away", "used", "proves"),
    [
        (0, -1, True),
        (-1, -1, True),
        (1, -1, True),
        (-2, -1, False),
        (2, -1, False),
        (0, STEP - 1, True),
        (0, STEP, False),  # a replay
        (0, STEP + 1, False),  # older than one that was used
        (-1, STEP, False),
        (1, STEP, True),
    ],
)
def test_the_window_and_replays(away: int, used: int, proves: bool) -> None:
    code = totp.hotp(SECRET, STEP + away)
    assert totp.proved_step(SECRET, code, NOW, used) == (STEP + away if proves else None)


@pytest.mark.parametrize("code", ["", "050471 ", "050 471", " 050471"])
def test_how_a_code_may_be_typed(code: str) -> None:
    assert totp.proved_step(SECRET, code, NOW, -1) == (STEP if code else None)


@pytest.mark.parametrize(
    "code", ["05047", "0504711", "14050471", "05047a", "０５０４７１", "٠٥٠٤٧١", "-", "0" * 10_000]
)
def test_what_is_no_code(code: str) -> None:
    assert totp.proved_step(SECRET, code, NOW, -1) is None
    assert not is_totp(code)


def test_the_first_seconds_of_time_have_no_step_before_them() -> None:
    assert totp.proved_step(SECRET, totp.hotp(SECRET, 0), 1_000, -1) == 0


def test_the_link_for_apps() -> None:
    uri = urlsplit(totp.uri(SECRET, "house.test:8448", "ayna"))
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/house.test%3A8448:ayna")
    said = parse_qs(uri.query)
    assert said["issuer"] == ["house.test:8448"]
    assert base64.b32decode(said["secret"][0]) == SECRET


def test_a_recovery_code_in_its_forms() -> None:
    code = code_text(bytes(range(10)))
    assert code == "aaaq-eaye-auda-ocaj"
    for typed in (code, code.upper(), code.replace("-", ""), f"  {code.replace('-', ' ')} "):
        assert code_typed(typed) == code
    assert is_recovery(code)
    assert code_hash(1, code) != code_hash(2, code)
    assert code_hash(1, code) != code_hash(11, code)


@pytest.mark.parametrize(
    "text", ["", "123456", "aaaq-eaye-auda-oca", "aaaq-eaye-auda-oca1", "a" * 99]
)
def test_what_is_no_recovery_code(text: str) -> None:
    assert code_typed(text) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("correct horse", None),
        ("correct horse 123456", ("correct horse", "123456")),
        ("correct horse  123456", ("correct horse ", "123456")),
        ("a 111111 222222", ("a 111111", "222222")),
        ("two\nlines 123456", ("two\nlines", "123456")),
        ("correct horse aaaq-eayd-aqcq-mbyi", ("correct horse", "aaaq-eayd-aqcq-mbyi")),
        ("correct horse 12345", None),
        ("correct horse123456", None),
        ("123456", None),
        (" 123456", None),
        ("correct horse 123456 ", None),
        ("correct horse ٠٥٠٤٧١", None),
        ("correct horse aaaqeaydaqcqmbyi", None),
    ],
)
def test_a_code_behind_a_password(text: str, parts: tuple[str, str] | None) -> None:
    assert split_password(text) == parts


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 0), (4, 0), (5, 30), (6, 60), (7, 120), (11, 1920), (12, 3600), (1000, 3600)],
)
def test_who_guesses_waits(failures: int, seconds: int) -> None:
    assert wait_ms(failures) == seconds * 1000


@pytest.mark.parametrize(
    ("base_url", "rp_id", "good", "bad"),
    [
        (
            "https://house.test",
            "house.test",
            ["https://house.test"],
            ["http://house.test", "https://a.house.test", "https://house.test:8443", "", "null"],
        ),
        (
            "https://house.test:8448",
            "house.test",
            ["https://house.test:8448"],
            ["https://house.test"],
        ),
        (
            "http://127.0.0.1:10080",
            "localhost",
            ["http://localhost:10080", "https://localhost:10443", "http://localhost"],
            ["http://127.0.0.1:10080", "http://localhost.evil.test", "http://evil.test/localhost"],
        ),
    ],
)
def test_whose_passkeys_are_ours(
    base_url: str, rp_id: str, good: list[str], bad: list[str]
) -> None:
    party = party_of(base_url, "house.test")
    assert party.rp_id == rp_id
    assert all(party.has(origin) for origin in good)
    assert not any(party.has(origin) for origin in bad)


def test_the_key_of_a_passkeys_slot() -> None:
    assert vault_key(None) is None
    first, second = vault_key("A" * 43), vault_key("B" * 42 + "A")
    assert first is not None
    assert len(first) == 32
    assert first != second


@pytest.mark.parametrize("prf", ["A", "A" * 42, "A" * 44, "é" * 43, "A" * 42 + "!"])
def test_what_is_no_key_of_a_slot(prf: str) -> None:
    with pytest.raises(Refused) as refused:
        vault_key(prf)
    assert refused.value.reason is Reason.WRONG_CODE
