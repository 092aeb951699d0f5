"""What clients may say of themselves, and where they may lead a browser: tables of pure rules."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.api import pages
from kerwen.api.pages.html import el, text
from kerwen.api.pages.visit import next_of
from kerwen.api.pages.words import DEFAULT, LANGUAGES, chosen
from kerwen.base.errors import Reason, Refused
from kerwen.oauth.authorisation import Return, verifies
from kerwen.oauth.client_metadata import metadata_of, redirect_fits, stored_metadata
from kerwen.oauth.errors import OAuthRefused
from kerwen.oauth.rendezvous import LIFE_MS, Rendezvous
from kerwen.oauth.scope import scope_of
from kerwen.oauth.user_code import LETTERS, shown_code, typed_code
from tests.oauth.world import APP, DEVICE_GRANT

PAGES = Path(pages.__file__).parent
WORDS = PAGES / "words"
WEB = {"application_type": "web"}
META, REDIRECT = "invalid_client_metadata", "invalid_redirect_uri"

BAD: list[tuple[dict[str, Any], str]] = [
    ({"client_uri": None}, META),
    ({"client_uri": "http://app.test/"}, META),
    ({"client_uri": "https://user@app.test/"}, META),
    ({"client_uri": "https://"}, META),
    ({"client_uri": "javascript:alert(1)"}, META),
    ({"client_uri": 7}, META),
    ({"client_uri": "https://app.test/" + "a" * 3000}, META),
    ({"client_name": ["a"]}, META),
    ({"client_name": "a\0"}, META),
    ({"application_type": "toaster"}, META),
    ({"token_endpoint_auth_method": "client_secret_basic"}, META),
    ({"grant_types": ["implicit", "password"]}, META),
    ({"grant_types": ["refresh_token"]}, META),
    ({"grant_types": "authorization_code"}, META),
    ({"response_types": ["token"]}, META),
    ({"redirect_uris": ["test.app:/"] * 21}, META),
    ({"redirect_uris": [{}]}, META),
    ({"redirect_uris": []}, REDIRECT),
    ({"redirect_uris": [""]}, REDIRECT),
    ({"redirect_uris": ["/callback"]}, REDIRECT),
    ({"redirect_uris": ["//app.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test/#here"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test/#"]}, REDIRECT),
    ({"redirect_uris": ["https://evil.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test.evil.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://evilapp.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test@evil.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://a:b@app.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://evil.test\\@app.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://evil.test\\.app.test/"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test:x/"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test/ö"]}, REDIRECT),
    ({"redirect_uris": ["https://app.test/\nlocation:x"]}, REDIRECT),
    ({"redirect_uris": [" https://app.test/"]}, REDIRECT),
    ({"redirect_uris": ["HTTPS://app.test/"]}, REDIRECT),
    ({"redirect_uris": ["javascript:alert(1)"]}, REDIRECT),
    ({"redirect_uris": ["data:text/html,x"]}, REDIRECT),
    ({"redirect_uris": ["app:/callback"]}, REDIRECT),
    ({"redirect_uris": ["test.apple:/callback"]}, REDIRECT),
    ({"redirect_uris": ["test.app://callback"]}, REDIRECT),
    ({"redirect_uris": ["com.other:/callback"]}, REDIRECT),
    ({"redirect_uris": ["https://localhost/callback"]}, REDIRECT),
    ({"redirect_uris": ["http://localhost:1234/callback"]}, REDIRECT),
    ({"redirect_uris": ["http://localhost.evil.test/"]}, REDIRECT),
    ({"redirect_uris": ["http://me@localhost/"]}, REDIRECT),
    ({"redirect_uris": ["http://127.0.0.2/"]}, REDIRECT),
    ({**WEB, "redirect_uris": ["http://localhost/callback"]}, REDIRECT),
    ({**WEB, "redirect_uris": ["test.app:/callback"]}, REDIRECT),
    ({**WEB, "redirect_uris": ["http://app.test/callback"]}, REDIRECT),
]
GOOD: list[dict[str, Any]] = [
    {},
    {"redirect_uris": ["test.app:/"]},
    {"redirect_uris": ["test.app:callback"]},
    {"redirect_uris": ["test.app.android:/callback"]},
    {"redirect_uris": ["http://localhost/", "http://127.0.0.1/cb", "http://[::1]/cb"]},
    {"redirect_uris": ["https://app.test/claimed"]},
    {**WEB, "redirect_uris": ["https://web.app.test:5173/?query=value"]},
    {"grant_types": [DEVICE_GRANT, "refresh_token"], "redirect_uris": []},
    {"grant_types": ["authorization_code", "implicit"], "response_types": ["code", "token"]},
    {"token_endpoint_auth_method": None, "response_types": None, "grant_types": None},
    {"unknown": {"deep": [1]}, "client_name#fr": "Une application"},
]


@pytest.mark.parametrize(("changed", "code"), BAD)
def test_bad_metadata(changed: dict[str, Any], code: str) -> None:
    with pytest.raises(OAuthRefused) as refused:
        metadata_of({**APP, **changed})
    assert refused.value.code == code


@pytest.mark.parametrize("changed", GOOD)
def test_good_metadata(changed: dict[str, Any]) -> None:
    taken = metadata_of({**APP, **changed})
    assert stored_metadata(taken.shown()) == taken
    assert metadata_of({**APP, **changed}).client_id() == taken.client_id()
    assert metadata_of({**APP, "client_name": "Other"}).client_id() != taken.client_id()


def test_links_elsewhere_are_left_out() -> None:
    links = {"tos_uri": "https://evil.test/", "policy_uri": "https://web.app.test/privacy"}
    assert dict(metadata_of({**APP, **links, "logo_uri": "http://app.test/"}).links) == {
        "policy_uri": "https://web.app.test/privacy"
    }


LOOPBACK = metadata_of({**APP, "redirect_uris": ["http://127.0.0.1/cb", "http://[::1]/cb"]})


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ("http://127.0.0.1/cb", True),
        ("http://127.0.0.1:50123/cb", True),
        ("http://[::1]:50123/cb", True),
        ("http://localhost:50123/cb", False),
        ("http://127.0.0.1:50123/cb/", False),
        ("http://127.0.0.1:50123/cb?x", False),
        ("http://127.0.0.1:50123/cb#x", False),
        ("http://127.0.0.1:50123@evil.test/cb", False),
        ("http://evil@127.0.0.1:1/cb", False),
        ("http://127.0.0.1:x/cb", False),
        ("http://127.0.0.1.evil.test/cb", False),
        ("https://127.0.0.1/cb", False),
        ("test.app:/callback", False),
        ("", False),
    ],
)
def test_redirections_fit_letter_by_letter(asked: str, fits: bool) -> None:
    assert redirect_fits(LOOPBACK, asked) is fits


FULL, UNSTABLE = "urn:matrix:client:", "urn:matrix:org.matrix.msc2967.client:"


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (f"{FULL}api:* {FULL}device:ABC", f"{FULL}api:* {FULL}device:ABC"),
        (f"{UNSTABLE}device:A.b~c-d_e {FULL}api:*", f"{UNSTABLE}device:A.b~c-d_e {FULL}api:*"),
        (f"openid {FULL}api:* {FULL}device:ABC email", f"{FULL}api:* {FULL}device:ABC"),
        (None, None),
        ("", None),
        (f"{FULL}api:*", None),
        (f"{FULL}device:ABC", None),
        (f"{FULL}api:* {FULL}device:", None),
        (f"{FULL}api:* {FULL}device:A {FULL}device:B", None),
        (f"{FULL}api:* {FULL}device:A {UNSTABLE}device:A", None),
        (f"{FULL}api:* {FULL}device:A/B", None),
        (f"{FULL}api:* {FULL}device:Ä", None),
        (f"{FULL}api:* {FULL}device:{'A' * 256}", None),
        (f"{FULL}api:read:* {FULL}device:ABC", None),
        (f"{FULL}API:* {FULL}device:ABC", None),
        ("x" * 3000, None),
    ],
)
def test_scopes(asked: str | None, given: str | None) -> None:
    if given is not None:
        assert scope_of(asked).text == given
        return
    with pytest.raises(OAuthRefused) as refused:
        scope_of(asked)
    assert refused.value.code == "invalid_scope"


def test_pkce_by_the_example_of_the_rfc() -> None:
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert verifies("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge)
    for wrong in (
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl",
        challenge,
        "",
        "a" * 129,
        "ä" * 43,
    ):
        assert not verifies(wrong, challenge)


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://web.app.test:5173/cb?x=1", "https://web.app.test:5173"),
        ("io.element.android:/", "io.element.android:"),
        ("http://[::1]:4711/cb", "http://[::1]:4711"),
    ],
)
def test_a_form_may_lead_to_the_client_only(uri: str, source: str) -> None:
    assert Return(uri, "query", None).source() == source


@pytest.mark.parametrize(
    "evil",
    [
        None,
        "",
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "\\\\evil.test",
        "/_kerwen/my/../../evil",
        "/_kerwen/my/account/../x",
        "/_kerwen/my//evil.test",
        "/_kerwen/myevil",
        "/_kerwen/my/account\r\nset-cookie: a=b",
        "/_kerwen/my/account?a=ö",
        " /_kerwen/my/account",
        "/_kerwen/my/account\n",
        "/_kerwen/account/app_passwords",
        "javascript:alert(1)",
        "/_kerwen/my/account?" + "a" * 9000,
    ],
)
def test_nobody_is_led_out_of_the_house_after_signing_in(evil: str | None) -> None:
    assert next_of(evil) == "/_kerwen/my/account"


def test_where_one_may_be_led() -> None:
    for good in ("/_kerwen/my/link?user_code=ABCD", "/_kerwen/oauth/authorize?a=b&c=%2F"):
        assert next_of(good) == good


@given(st.text())
def test_text_is_no_html(raw: str) -> None:
    made = el("p", raw, title=raw)
    inside = made.removeprefix("<p title=").removesuffix("</p>")
    assert "<" not in inside
    assert inside.count(">") == 1
    assert inside.count('"') == 2
    assert text(made) is made


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_word(language: str) -> None:
    english = json.loads((WORDS / "en.json").read_text("utf-8"))
    found = json.loads((WORDS / f"{language}.json").read_text("utf-8"))
    assert list(found) == list(english)
    for key, word in found.items():
        assert word.strip() == word != ""
        parts = re.findall(r"\{\w+\}", word)
        assert sorted(parts) == sorted(re.findall(r"\{\w+\}", english[key])), key


def test_every_word_of_the_pages_is_there_and_none_too_many() -> None:
    known = set(json.loads((WORDS / "en.json").read_text("utf-8")))
    code = "".join(path.read_text("utf-8") for path in PAGES.glob("*.py"))
    used = set(re.findall(r"\"([a-z_]+(?:\.[a-z_]+)?)\"", code))
    asked = set(re.findall(r"words\(\s*\"([a-z_.]+)\"", code))
    assert asked - known == set()
    kept = {f"refused.{reason.value}" for reason in Reason} | {
        f"{page}.{part}" for page in ("new_keys", "close") for part in ("title", "text")
    }
    kept |= {
        f"factors.{part}{kind}" for part in ("", "about_", "add_") for kind in ("totp", "passkey")
    }
    assert known - used - kept == set()


@pytest.mark.parametrize(
    ("wishes", "accept", "language"),
    [
        ((), None, DEFAULT),
        ((), "de, *;q=0.5", DEFAULT),
        ((), "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ((), "en;q=0.3, tk;q=0.7, fr;q=x", "tk"),
        ((None, "fr"), "ru", "fr"),
        (("xx", "de-DE tk-TM"), "ru", "tk"),
        (("FR_ca",), "", "fr"),
        (("../../etc/passwd",), "ru" * 10_000, DEFAULT),
    ],
)
def test_languages(wishes: tuple[str | None, ...], accept: str | None, language: str) -> None:
    assert chosen(wishes, accept) == language


def test_codes_that_people_type() -> None:
    assert typed_code(" wdjb-mjht ") == typed_code("WDJBMJHT") == "WDJBMJHT"
    assert shown_code("WDJBMJHT") == "WDJB-MJHT"
    for wrong in ("", "WDJB", "WDJB-MJHTT", "WDJB-MJHA", "wdjb-mjh1", "W" * 1000, "ẄDJBMJHT"):
        assert typed_code(wrong) is None
    assert not set(LETTERS) & set("AEIOUY0123456789")


def test_rendezvous_are_few_and_short() -> None:
    meetings = Rendezvous(3)
    for number in range(5):
        meetings.begin(f"name-{number}", b"x", number)
    assert len(meetings) == 3
    for gone in ("name-0", "name-1"):
        with pytest.raises(Refused):
            meetings.find(gone, 5)
    first = meetings.find("name-4", 5)
    turn = first.turn
    assert meetings.replace("name-4", turn, b"y", 6)[1]
    assert not meetings.replace("name-4", turn, b"z", 7)[1]
    assert meetings.find("name-4", 7).text == b"y"
    with pytest.raises(Refused) as refused:
        meetings.replace("name-4", first.turn, b"z" * 4097, 7)
    assert refused.value.reason is Reason.TOO_LARGE
    with pytest.raises(Refused):
        meetings.find("name-4", 4 + LIFE_MS)
    meetings.begin("late", b"", 10 + LIFE_MS)
    assert len(meetings) == 1, "what ended makes room first"
