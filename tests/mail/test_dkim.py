"""DKIM and ARC: the examples of the specifications, tables of what is wrong, what we sign."""

from __future__ import annotations

import base64
import hashlib
import re
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail import arc, canonical, dkim, dkim_keys, tags
from kerwen.mail.arc import Arc, Chain
from kerwen.mail.auth_results import Result as MethodResult
from kerwen.mail.dkim import Dkim, Result
from kerwen.mail.dkim_keys import SigningKey

from .zone import Zone

NOW = 1_795_500_000
RSA = SigningKey("kerwen.example", "r1", generate_private_key(65537, 2048))
ED = SigningKey("kerwen.example", "e1", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
KEYS = "\n".join(f"{key.record_name} TXT {key.record}" for key in (RSA, ED))

HEADER = (
    b"From: Ayna <ayna@kerwen.example>\r\nTo: batyr@x.example\r\n"
    b"Subject: a  folded \r\n\t subject\r\nDate: Tue, 24 Nov 2026 09:00:00 +0500\r\n"
    b"Message-ID: <1@kerwen.example>\r\nX-Unsigned: x\r\n\r\n"
)
BODY = b"Salam,  \r\n\tBatyr!\r\n\r\n\r\n"


def verify(header: bytes, body: bytes, zone: str = KEYS, now: int = NOW) -> list[Dkim]:
    return Zone(zone).ask(dkim.verify(header, body, now))


def results(header: bytes, body: bytes = BODY, zone: str = KEYS) -> list[str]:
    return [found.result.value for found in verify(header, body, zone)]


# --- RFC 8463 appendix A ------------------------------------------------------------------------

DINNER = """\
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

""".replace("\n", "\r\n").encode()
LOST = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
BOTH = """\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
""".replace("\n", "\r\n").encode()
BOTH_KEYS = (
    "brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519;"
    " p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
    "test._domainkey.football.example.com TXT v=DKIM1; k=rsa;"
    " p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY"
    "/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzB"
    "fO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)


def test_the_example_of_both_algorithms() -> None:
    found = verify(BOTH + DINNER, LOST, BOTH_KEYS)
    assert [(f.result, f.algorithm, f.domain, f.selector) for f in found] == [
        (Result.PASS, "ed25519-sha256", "football.example.com", "brisbane"),
        (Result.PASS, "rsa-sha256", "football.example.com", "test"),
    ]
    assert found[0].signature == "/gCrinpc"
    changed = verify(BOTH + DINNER.replace(b"dinner", b"supper"), LOST, BOTH_KEYS)
    assert [f.result for f in changed] == [Result.FAIL, Result.FAIL]


def signed_simply(header: bytes, body: bytes) -> bytes:
    """A signature of the form simple/simple over From and Subject, by hand (RFC 6376 §3.7)."""
    body_hash = base64.b64encode(hashlib.sha256(body).digest())
    own = (
        b"DKIM-Signature: v=1; a=ed25519-sha256;  c=simple;\r\n\td=kerwen.example; s=e1;\r\n"
        b" h=Subject : from; bh=" + body_hash + b";\r\n b="
    )
    lines = re.findall(rb"[^ \t\r\n][^\n]*\n(?:[ \t][^\n]*\n)*", header)
    taken = [next(x for x in lines if x.startswith(name)) for name in (b"Subject", b"From")]
    signature = ED.private.sign(hashlib.sha256(b"".join(taken) + own).digest())
    return own + base64.b64encode(signature) + b"\r\n"


def test_the_simple_form() -> None:
    body = b"two  spaces \r\n"
    made = signed_simply(HEADER, body)
    assert results(made + HEADER, body) == ["pass"]
    assert results(made + HEADER, body + b"\r\n\r\n") == ["pass"]
    assert results(made + HEADER, b"two spaces \r\n") == ["fail"]
    assert results(made + HEADER.replace(b"a  folded", b"a folded"), body) == ["fail"]
    assert results(made.replace(b";  c=", b"; c=") + HEADER, body) == ["fail"]


# --- canonical forms: RFC 6376 §3.4.5, §3.4.6 ---------------------------------------------------

EXAMPLE = b"A: X\r\nB : Y\t\r\n\tZ  \r\n"
EXAMPLE_BODY = b" C \r\nD \t E\r\n\r\n\r\n"


def test_canonical_headers() -> None:
    one, two = EXAMPLE[:6], EXAMPLE[6:]
    assert canonical.header_relaxed(one) + canonical.header_relaxed(two) == b"a:X\r\nb:Y Z\r\n"
    assert canonical.header_simple(two) == two
    assert canonical.header_simple(b"a: b") == b"a: b\r\n"


BODIES = [
    (EXAMPLE_BODY, b" C\r\nD E\r\n", b" C \r\nD \t E\r\n"),
    (b"", b"", b"\r\n"),
    (b"\r\n\r\n", b"", b"\r\n"),
    (b" \t\r\n\r\n", b"", b" \t\r\n"),
    (b"x", b"x\r\n", b"x\r\n"),
    (b"x\r\n", b"x\r\n", b"x\r\n"),
    (b"x \r\n \r\n", b"x\r\n", b"x \r\n \r\n"),
    (b"x\t\t y\t", b"x y\r\n", b"x\t\t y\t\r\n"),
]


@pytest.mark.parametrize(("body", "relaxed", "simple"), BODIES)
def test_canonical_bodies(body: bytes, relaxed: bytes, simple: bytes) -> None:
    assert canonical.body_relaxed(body) == relaxed
    assert canonical.body_simple(body) == simple


LINES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"a", b"bc"]), max_size=40).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_the_relaxed_form_said_line_by_line(body: bytes) -> None:
    lines = body.split(b"\r\n")
    plain = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while plain and not plain[-1]:
        plain.pop()
    assert canonical.body_relaxed(body) == b"".join(line + b"\r\n" for line in plain)
    once = canonical.body_relaxed(body)
    assert canonical.body_relaxed(once) == once


def test_large_bodies_are_cut_between_lines() -> None:
    body = b"two  spaces \r\n" + (b"A" * 76 + b"\r\n") * 3000 + b"end \t\r\n \r\n"
    plain = b"two spaces\r\n" + (b"A" * 76 + b"\r\n") * 3000 + b"end\r\n"
    assert canonical.body_relaxed(body) == plain


# --- what we sign -------------------------------------------------------------------------------


def test_we_sign_with_both_keys_and_it_is_right() -> None:
    made = dkim.sign(HEADER, BODY, [RSA, ED], NOW)
    assert results(made + HEADER) == ["pass", "pass"]
    assert all(len(line) <= 78 for line in made.split(b"\r\n"))
    assert made.count(b"DKIM-Signature: ") == 2
    # what mail servers do on the way
    touched = HEADER.replace(b"folded \r\n\t subject", b"folded subject")
    assert results(b"Received: x\r\n" + made + touched, BODY + b"\r\n") == ["pass", "pass"]
    assert results(made + HEADER.replace(b"X-Unsigned: x", b"X-Unsigned: y")) == ["pass", "pass"]


CHANGES = [
    (HEADER.replace(b"batyr@", b"other@"), BODY),
    (b"Subject: another one\r\n" + HEADER, BODY),  # oversigned: nothing can be added
    (b"Cc: somebody@x.example\r\n" + HEADER, BODY),
    (b"Content-Type: text/html\r\n" + HEADER, BODY),
    (HEADER, BODY + b"more\r\n"),
    (HEADER, BODY.replace(b"Salam", b"salam")),
]


@pytest.mark.parametrize(("header", "body"), CHANGES)
def test_what_breaks_our_signature(header: bytes, body: bytes) -> None:
    made = dkim.sign(HEADER, BODY, [RSA, ED], NOW)
    assert results(made + header, body) == ["fail", "fail"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([b"From: a@b", b"X: y", b"To: \tx ", b"Subject:", b"Subject: a\r\n b",
                              b"List-Id: <x>", b"no colon", b": x"]), max_size=8),
    LINES,
)  # fmt: skip
def test_whatever_is_signed_verifies(lines: list[bytes], body: bytes) -> None:
    header = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    made = dkim.sign(header, body, [ED], NOW)
    assert results(made + header, body) == ["pass"]


# --- what is wrong with signatures --------------------------------------------------------------

MADE = dkim.sign(HEADER, BODY, [ED], NOW).decode()


def changed(old: str, new: str) -> str:
    assert old in MADE
    return MADE.replace(old, new)


WRONG = [
    (changed("v=1; ", ""), "permerror"),
    (changed("v=1;", "v=2;"), "permerror"),
    (changed("a=ed25519-sha256", "a=rsa-sha1"), "permerror"),
    (changed("a=ed25519-sha256", "a=rsa-sha256"), "permerror"),  # the key is of another kind
    (changed("c=relaxed/relaxed", "c=relaxed/other"), "permerror"),
    (changed("d=kerwen.example", "d=other.example"), "permerror"),  # there is no such key
    (changed("d=kerwen.example", "d=ker wen;x=<>"), "permerror"),
    (changed("s=e1", "s=e2"), "permerror"),
    (changed("h=from:from:", "h="), "permerror"),
    (changed("v=1; ", "v=1; v=1; "), "permerror"),
    (changed("v=1; ", "v=1;; "), "permerror"),
    (changed("v=1; ", "v=1; i=ayna@other.example; "), "permerror"),
    (changed("v=1; ", "v=1; i=ayna@notkerwen.example; "), "permerror"),
    (changed("v=1; ", "v=1; q=http; "), "permerror"),
    (changed("v=1; ", "v=1; l=x; "), "permerror"),
    (changed("bh=", "bh=AAAA"), "fail"),
    (changed("bh=", "bh=A"), "fail"),
    (re.sub(r"bh=[^;]*", "bh=A", MADE), "permerror"),
    (changed("s=e1", "s=" + "x" * 64), "permerror"),
    (changed("h=from:", "h=from:" + "x:" * 500), "permerror"),
    (changed("d=kerwen.example", "d=ker<wen>"), "permerror"),
    (changed("v=1; ", f"v=1; x={NOW - 1}; "), "neutral"),
    (changed(f"t={NOW}", f"t={NOW + 99_999}"), "neutral"),
    (changed("\r\n b=", "\r\n b=AAAA"), "fail"),
    (changed("v=1; ", "v=1; l=0; "), "fail"),
    ("DKIM-Signature: \r\n", "permerror"),
    ("DKIM-Signature: nonsense\r\n", "permerror"),
    ("DKIM-Signature: d=kerwen.example; \xff=1\r\n", "permerror"),
]


@pytest.mark.parametrize(("signature", "result"), WRONG)
def test_wrong_signatures(signature: str, result: str) -> None:
    (found,) = verify(signature.encode("latin-1") + HEADER, BODY)
    assert found.result.value == result
    assert found.why


def key(record: str) -> str:
    return f"e1._domainkey.kerwen.example TXT {record}"


PUBLIC = ED.record.rpartition("p=")[2]
WEAK = base64.b64encode(
    generate_private_key(65537, 1024)
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()
# an RSA key of 512 bits, as nobody makes them any more
WEAK_512 = (
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu"
    "KUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ=="
)
RECORDS = [
    (key(ED.record), "pass"),
    (key(f"k=ed25519; p={PUBLIC}"), "pass"),
    (key(f"v=DKIM1; k=ed25519; t=y:s; s=email; h=sha256:sha512; n=note; p={PUBLIC};"), "pass"),
    (key("v=spf1 -all") + "\n" + key(ED.record), "pass"),
    (key(f"v=DKIM2; k=ed25519; p={PUBLIC}"), "permerror"),
    (key("v=DKIM1; k=ed25519; p="), "permerror"),
    (key("v=DKIM1; k=ed25519; p=AAAA"), "permerror"),
    (key(f"v=DKIM1; k=rsa; p={PUBLIC}"), "permerror"),
    (key(f"v=DKIM1; k=future; p={PUBLIC}"), "permerror"),
    (key(f"v=DKIM1; k=ed25519; s=other; p={PUBLIC}"), "permerror"),
    (key(f"v=DKIM1; k=ed25519; h=sha1; p={PUBLIC}"), "permerror"),
    (key("v=DKIM1; k=ed25519"), "permerror"),
    ("e1._domainkey.kerwen.example FAIL", "temperror"),
    ("other.example TXT x", "permerror"),
]


@pytest.mark.parametrize(("zone", "result"), RECORDS)
def test_key_records(zone: str, result: str) -> None:
    (found,) = verify(MADE.encode() + HEADER, BODY, zone)
    assert found.result.value == result
    assert found.testing == ("t=y" in zone)


def test_a_strict_key_is_for_its_own_domain() -> None:
    signature = changed("v=1; ", "v=1; i=a@sub.kerwen.example; ")
    (found,) = verify(signature.encode() + HEADER, BODY, key(f"k=ed25519; t=s; p={PUBLIC}"))
    assert found.why == "the key is for its domain only"


def test_rsa_keys_that_are_too_short() -> None:
    record = dkim_keys.parse(f"p={WEAK[:100]}".encode())
    assert record is not None
    with pytest.raises(dkim_keys.BadKey):
        dkim_keys.verify(record, b"d" * 32, b"s")
    assert dkim_keys.parse(f"p={WEAK}".encode()) is not None


@pytest.mark.parametrize(
    ("kind", "public"),
    [
        ("rsa", base64.b64decode(WEAK_512)),
        ("rsa", b"nonsense"),
        ("rsa", ED.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)),
        ("ed25519", b"short"),
        ("dsa", b"x"),
    ],
)  # fmt: skip
def test_keys_that_prove_nothing(kind: str, public: bytes) -> None:
    record = dkim_keys.KeyRecord(kind, public, None, True, False, False)
    with pytest.raises(dkim_keys.BadKey):
        dkim_keys.verify(record, b"d" * 32, b"s")


def test_only_keys_of_the_two_kinds_sign() -> None:
    pem = generate_ec(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(ValueError, match="RSA or Ed25519"):
        dkim_keys.load("d", "s", pem)


def test_a_part_that_is_signed_does_not_speak_for_the_rest() -> None:
    body = canonical.body_relaxed(BODY)
    lines = [f"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; l={len(body)};",
             f" d=kerwen.example; s=e1; t={NOW};", " h=from;",
             f" bh={dkim.base64(hashlib.sha256(body).digest())};"]  # fmt: skip
    taken = canonical.header_relaxed(b"From: Ayna <ayna@kerwen.example>\r\n")
    made = dkim.finish(lines, taken, ED)
    assert results(made + HEADER, body) == ["pass"]
    assert results(made + HEADER, body + b"and more\r\n") == ["policy"]


def test_no_more_signatures_are_looked_at_than_the_limit() -> None:
    zone = Zone(KEYS)
    header = MADE.encode() * 50 + HEADER
    found = zone.ask(dkim.verify(header, BODY, NOW))
    assert len(found) == dkim.SIGNATURES_MAX


def test_keys_are_loaded_and_not_shown() -> None:
    for one in (RSA, ED):
        pem = one.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        loaded = dkim_keys.load(one.domain, one.selector, pem)
        assert loaded.record == one.record
        assert repr(loaded) == f"SigningKey({one.selector!r} of 'kerwen.example')"
    with pytest.raises(ValueError, match="PEM"):
        dkim_keys.load("d", "s", b"nonsense")


BITS = st.sampled_from(["v=1", "a=rsa-sha256", "d=kerwen.example", "s=e1", "h=from", "bh=AAAA",
                        "b=AAAA", ";", " ", "=", "l=1", "x=1", "i=@kerwen.example", "c=simple",
                        "\r\n ", "\xff", "\0", "q=dns/txt"])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(BITS, max_size=20).map("; ".join) | st.text(max_size=60))
def test_any_signature_is_judged(text: str) -> None:
    header = b"DKIM-Signature: " + text.replace("\n", "\n ").encode() + b"\r\n" + HEADER
    found = verify(header, BODY)
    assert len(found) <= 2
    assert all(f.result is not Result.PASS for f in found)
    Zone(KEYS).ask(arc.verify(header.replace(b"DKIM-Signature", b"ARC-Seal", 1), BODY, NOW))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"a=1; b = x y ;", {"a": b"1", "b": b"x y"}),
        (b"a=1;\r\n b==", {"a": b"1", "b": b"="}),
        (b"a=", {"a": b""}),
        (b"a=1; a=2", None),
        (b"=1", None),
        (b"a", None),
        (b"a=1;;b=2", None),
        (b"a-b=1", None),
        (b"a=1;" * 101, None),
    ],
)
def test_tag_lists(text: bytes, found: dict[str, bytes] | None) -> None:
    if found is None:
        with pytest.raises(tags.BadTags):
            tags.parse(text)
    else:
        assert tags.parse(text) == found


# --- ARC ----------------------------------------------------------------------------------------

SPF_PASS = [MethodResult("spf", "pass", (("smtp.mailfrom", "a@x.example"),))]


def chain_of(header: bytes, body: bytes = BODY, zone: str = KEYS) -> Arc:
    return Zone(zone).ask(arc.verify(header, body, NOW))


def sealed(times: int, signing: SigningKey = RSA, body: bytes = BODY) -> bytes:
    header = HEADER
    for _ in range(times):
        found = chain_of(header, body)
        header = arc.seal(header, body, found, SPF_PASS, signing, "mx.kerwen.example", NOW) + header
    return header


@pytest.mark.parametrize("signing", [RSA, ED])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_chain_of_ours(times: int, signing: SigningKey) -> None:
    header = sealed(times, signing)
    found = chain_of(header)
    assert (found.chain, found.instances) == (Chain.PASS, times)
    assert found.sealers == ("kerwen.example",) * times
    assert f"cv={'pass' if times > 1 else 'none'}".encode() in header.partition(b"\r\n")[0]
    assert all(len(line) <= 100 for line in header.split(b"\r\n"))


def test_no_chain() -> None:
    assert chain_of(HEADER) == Arc(Chain.NONE)


TWICE = sealed(2, ED)
BROKEN = [
    TWICE.replace(b"To: batyr", b"To: other"),
    TWICE.replace(b"spf=pass", b"spf=fail", 1),
    TWICE.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=3"),
    TWICE.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=x"),
    TWICE.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=0"),
    TWICE.replace(b"ARC-Seal: i=1", b"X-Seal: i=1"),
    TWICE.replace(b"cv=none", b"cv=pass"),
    TWICE.replace(b"cv=pass", b"cv=fail"),
    TWICE.replace(b"i=2;", b"i=1;"),
    TWICE.replace(b"ARC-Authentication-Results: i=2;", b"ARC-Authentication-Results: 2;"),
    TWICE.replace(b"s=e1", b"s=gone"),
    TWICE.replace(b"ARC-Seal: i=1; a=ed25519-sha256", b"ARC-Seal: i=1; a=rsa-sha1"),
    TWICE.replace(b"ARC-Seal: i=1; a=ed25519-sha256", b"ARC-Seal: i=1; a=rsa-sha256"),
    TWICE.replace(b"ARC-Seal: i=1;", b"ARC-Seal: i=1; h=from;"),
    TWICE.replace(b"ARC-Message-Signature: i=2;", b"ARC-Message-Signature: i=2; h=x;"),
    TWICE.replace(b"\r\n h=from:", b"\r\n h=arc-seal:from:"),
    TWICE.replace(b"ARC-Seal: i=2; a=", b"ARC-Seal: i=2; a=x; a="),
    TWICE.replace(b"ARC-Seal: i=1; a=ed25519-sha256; cv=none;", b"ARC-Seal: i=1; cv=none;"),
    TWICE.replace(b"ARC-Message-Signature: i=1;", b"ARC-Message-Signature: i=1; t=1;"),
    b"ARC-Seal: i=1; a=b\r\n" + HEADER,
]


@pytest.mark.parametrize("header", BROKEN)
def test_broken_chains(header: bytes) -> None:
    assert header != TWICE
    found = chain_of(header)
    assert found.chain is Chain.FAIL
    assert found.why
    assert arc.seal(header, BODY, found, SPF_PASS, RSA, "mx.kerwen.example", NOW) == b""


def test_a_changed_body_breaks_the_newest_only() -> None:
    """Somebody before us may have changed it, as lists do: then theirs is the newest."""
    assert chain_of(TWICE, b"changed\r\n").chain is Chain.FAIL
    header = sealed(1, ED)
    passed_on = arc.seal(header, b"changed\r\n", chain_of(header), [], RSA, "list.example", NOW)
    assert chain_of(passed_on + header, b"changed\r\n").chain is Chain.PASS


def test_a_key_that_does_not_answer_is_no_forgery() -> None:
    found = chain_of(TWICE, zone="e1._domainkey.kerwen.example FAIL")
    assert found.chain is Chain.FAIL
    assert found.temporary


def test_chains_end_somewhere() -> None:
    header = HEADER
    for number in range(1, 60):
        header = (
            b"ARC-Seal: i=%d; cv=pass\r\nARC-Message-Signature: i=%d\r\n"
            b"ARC-Authentication-Results: i=%d; x\r\n" % (number, number, number)
        ) + header
    before = time.process_time()
    assert chain_of(header).chain is Chain.FAIL
    assert time.process_time() - before < 0.1
