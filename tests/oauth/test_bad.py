"""What the endpoints refuse, and that nothing of it leads out of the house."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kerwen.api.limiter import PUBLIC_RATES, TokenBuckets
from kerwen.storage.sql import sql
from tests.oauth.browser import well_made
from tests.oauth.world import BASE, DEVICE_GRANT, MY, OAUTH, OAuthWorld

EVERYTHING = [
    sql(f"select * from {table}")
    for table in (
        "oauth_clients",
        "oauth_codes",
        "oauth_device_codes",
        "oauth_sessions",
        "browser_sessions",
        "access_tokens",
        "refresh_tokens",
        "vault_slots",
    )
]

STRAY = [
    {"client_id": None},
    {"client_id": "nobody"},
    {"client_id": ""},
    {"client_id": "a" * 5000},
    {"redirect_uri": "https://evil.test/"},
    {"redirect_uri": "test.app:/callback2"},
    {"redirect_uri": "test.app:/callback?x"},
    {"redirect_uri": "test.app:/callback#x"},
    {"redirect_uri": "//evil.test/"},
    {"redirect_uri": "javascript:alert(1)"},
]
TOLD = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": None}, "unsupported_response_type"),
    ({"scope": None}, "invalid_scope"),
    ({"scope": "openid"}, "invalid_scope"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": "=" * 43}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"response_mode": "form_post"}, "invalid_request"),
    ({"prompt": "none"}, "interaction_required"),
    ({"request": "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"),
    ({"request_uri": "https://evil.test/"}, "request_uri_not_supported"),
]


async def test_a_request_that_is_not_to_be_trusted_leads_nowhere(world: OAuthWorld) -> None:
    client, browser = await world.client(), world.browser()
    for changed in STRAY:
        page = await browser.go(client.url(**changed))
        assert (page.status, page.location) == (400, ""), changed
        well_made(page)
    twice = await browser.go(client.url() + "&client_id=" + client.client_id)
    assert (twice.status, twice.location) == (400, "")


async def test_other_faults_are_told_to_the_client(world: OAuthWorld) -> None:
    client, browser = await world.client(), world.browser()
    for changed, code in TOLD:
        page = await browser.go(client.url(**changed))
        assert page.status == 303, changed
        assert page.location.startswith("test.app:/callback?error=")
        assert (page.answer()["error"], page.answer()["state"]) == (code, "my state"), changed
    page = await browser.go(client.url(scope=None, response_mode="fragment"))
    assert page.location.startswith("test.app:/callback#error=")
    page = await browser.go(client.url() + "&scope=again")
    assert page.answer()["error"] == "invalid_request"
    line = await browser.go(client.url(scope=None, state="a\r\nset-cookie: b=c&code=x"))
    assert "\n" not in line.location
    assert line.answer().get("code") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "a" * 43},
        {"code_verifier": "b" * 200},
        {"redirect_uri": "test.app:/other"},
        {"client_id": "somebody else"},
    ],
)
async def test_a_code_is_good_for_one_try(world: OAuthWorld, changed: dict[str, str]) -> None:
    client, browser = await world.client(), await world.signed_in()
    code = (await world.allow(browser, client)).answer()["code"]
    (await client.exchange(code, **changed)).refused(400, "invalid_grant")
    (await client.exchange(code)).refused(400, "invalid_grant")


async def test_a_code_that_comes_twice_ends_what_it_gave(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    code = (await world.allow(browser, client)).answer()["code"]
    tokens = (await client.exchange(code)).json
    refreshed = (await client.refresh(tokens["refresh_token"])).json
    (await client.exchange(code)).refused(400, "invalid_grant")
    for given in (tokens, refreshed):
        (await world.whoami(given["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
        (await client.refresh(given["refresh_token"])).refused(400, "invalid_grant")


async def test_a_code_ends_after_two_minutes(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    code = (await world.allow(browser, client)).answer()["code"]
    world.clock.ms += 120_000
    (await client.exchange(code)).refused(400, "invalid_grant")


async def test_a_code_of_somebody_who_is_locked_or_gone(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    code = (await world.allow(browser, client)).answer()["code"]
    tokens = await world.session(browser, client)
    await world.accounts.moderate.lock(0, "@ayna:house.test", True)
    (await client.exchange(code)).refused(400, "invalid_grant")
    answer = await client.refresh(tokens["refresh_token"])
    assert (answer.status, answer.json["errcode"]) == (401, "M_USER_LOCKED")
    assert (await browser.go(client.url())).form("password"), "signed in no more"
    await world.accounts.moderate.lock(0, "@ayna:house.test", False)
    assert (await client.refresh(tokens["refresh_token"])).status == 200


TOKEN_BAD: list[tuple[dict[str, str | None], int, str]] = [
    ({}, 400, "invalid_request"),
    ({"grant_type": "password", "client_id": "x"}, 400, "unsupported_grant_type"),
    ({"grant_type": "client_credentials", "client_id": "x"}, 400, "unsupported_grant_type"),
    ({"grant_type": "authorization_code"}, 401, "invalid_client"),
    ({"grant_type": "authorization_code", "client_id": "x"}, 400, "invalid_request"),
    ({"grant_type": "refresh_token", "client_id": "x"}, 400, "invalid_request"),
    ({"grant_type": "refresh_token", "client_id": "x", "refresh_token": "x"}, 400, "invalid_grant"),
    ({"grant_type": DEVICE_GRANT, "client_id": "x"}, 400, "invalid_request"),
    ({"grant_type": DEVICE_GRANT, "client_id": "x", "device_code": "x"}, 400, "invalid_grant"),
    ({"grant_type": "refresh_token" * 500, "client_id": "x"}, 400, "invalid_request"),
    ({"grant_type": "refresh\0token", "client_id": "x"}, 400, "invalid_request"),
]


async def test_bad_token_requests(world: OAuthWorld) -> None:
    for fields, status, error in TOKEN_BAD:
        (await world.post("token", fields)).refused(status, error)
    (await world.post("revoke", {})).refused(400, "invalid_request")
    heads = [("content-type", "application/json")]
    status, _, _ = await world.call("POST", f"{OAUTH}/token", heads, b"{}")
    assert status == 400
    heads = [("content-type", "application/x-www-form-urlencoded")]
    body = b"grant_type=refresh_token&grant_type=refresh_token&client_id=x&refresh_token=x"
    status, _, text = await world.call("POST", f"{OAUTH}/token", heads, body)
    assert (status, '"invalid_request"' in text) == (400, True)
    status, _, _ = await world.call("POST", f"{OAUTH}/token", heads, b"a=" + b"b" * 40_000)
    assert status == 413


async def test_bad_registrations(world: OAuthWorld) -> None:
    deep, raw = b"[" * 10_000, b'{"client_uri": "\xff"}'
    for body in (b"", b"[]", b"nonsense", b"{", b'"x"', deep, raw, b"null"):
        (await world.register(body)).refused(400, "invalid_client_metadata")


async def test_huge_registrations(world: OAuthWorld) -> None:
    status, _, _ = await world.call("POST", f"{OAUTH}/register", [], b'{"a":"' + b"x" * 40_000)
    assert status == 413


async def test_tokens_of_another_client_or_of_a_password(world: OAuthWorld) -> None:
    client, other = await world.client(), await world.client(client_name="Other")
    browser = await world.signed_in()
    tokens = await world.session(browser, client)
    stolen = {"client_id": other.client_id}
    (await client.refresh(tokens["refresh_token"], **stolen)).refused(400, "invalid_grant")
    assert (await client.refresh(tokens["refresh_token"])).status == 200, "nothing was spoilt"
    mine = (await world.sign_in("ayna", refresh_token=True)).json
    (await client.refresh(mine["refresh_token"])).refused(400, "invalid_grant")
    (await client.refresh(tokens["access_token"])).refused(400, "invalid_grant")
    code = (await client.ask_in()).json["device_code"]
    (await other.poll(code)).refused(400, "invalid_grant")
    (await client.poll(code)).refused(400, "authorization_pending")


async def test_the_device_id_of_a_cross_signing_key(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    client.device_id = "CROSSSIGNINGKEY"
    code = (await world.allow(browser, client)).answer()["code"]
    (await client.exchange(code)).refused(400, "invalid_grant")


async def test_too_many_parameters(world: OAuthWorld) -> None:
    page = await world.browser().go(f"{MY}/log-in?" + "a=1&" * 300)
    assert page.status == 400
    well_made(page)


async def test_forms_of_other_pages_do_nothing(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    thief = await world.signed_in()
    form = (await browser.go(client.url())).form("answer")
    bad: list[dict[str, Any]] = [
        {"_origin": "https://evil.test"},
        {"_origin": "null"},
        {"_site": "cross-site"},
        {"_site": "same-site"},
        {"mark": None},
        {"mark": ""},
        {"mark": (await thief.go(client.url())).form("answer").fields["mark"]},
    ]
    for changed in bad:
        page = await browser.send(form, answer="allow", **changed)
        assert (page.status, page.location) == (403, ""), changed
        well_made(page)
    assert (await browser.send(form, answer="allow", _site="same-origin")).status == 303
    assert (await browser.send(form, answer="deny")).answer()["error"] == "access_denied"
    assert (await browser.send(form)).answer()["error"] == "access_denied"


async def test_a_proxy_that_hides_the_host(world: OAuthWorld) -> None:
    """Then our own address counts, and no other."""
    client, browser = await world.client(), await world.signed_in()
    form = (await browser.go(client.url())).form("answer")
    heads = [
        ("host", "127.0.0.1:8008"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("cookie", f"__Host-kerwen={browser.cookies['__Host-kerwen']}"),
    ]
    body = f"mark={form.fields['mark']}&answer=allow".encode()
    for origin, status in ((BASE, 303), ("https://127.0.0.1", 403), (BASE + ".evil", 403)):
        sent = [*heads, ("origin", origin)]
        assert (await world.call("POST", form.action, sent, body))[0] == status, origin


async def test_no_secret_lies_in_the_database(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    code = (await world.allow(browser, client)).answer()["code"]
    spent = (await world.allow(browser, client)).answer()["code"]
    tokens = (await client.exchange(spent)).json
    device = (await client.ask_in()).json
    page = await browser.go(device["verification_uri_complete"])
    await browser.send(page.form("answer"), answer="allow")
    secrets = [code, spent, tokens["access_token"], tokens["refresh_token"]]
    secrets += [device["device_code"], browser.cookies["__Host-kerwen"]]
    kept = ""
    async with world.db.read() as snap:
        for statement in EVERYTHING:
            kept += repr(await snap.all(statement))
    assert client.client_id in kept, "the tables are read"
    for secret in secrets:
        bare = secret.partition("_")[2]
        raw = base64.urlsafe_b64decode(bare + "=")
        for form in (bare, repr(raw)[2:-1], raw.hex()):
            assert form not in kept


async def test_a_log_in_gives_another_cookie(world: OAuthWorld) -> None:
    """So that a cookie that somebody planted before is worth nothing after."""
    browser = world.browser()
    page = await browser.go(f"{MY}/log-in")
    planted = dict(browser.cookies)
    await browser.log_in(page, "ayna", "correct horse")
    assert browser.cookies["__Host-kerwen"] != planted["__Host-kerwen"]
    mine = browser.cookies["__Host-kerwen"]
    page = await browser.go(f"{MY}/account")
    page = await browser.send(page.forms[0])
    assert page.form("password")
    browser.cookies["__Host-kerwen"] = mine
    assert (await browser.go(f"{MY}/account")).form("password"), "the cookie is dead"
    for forged in ("", "kbs_", "kbs_" + "A" * 43, "kbs_" + "ä" * 43, "x" * 9000, "a;b"):
        browser.cookies["__Host-kerwen"] = forged.encode().decode("latin-1")
        assert (await browser.go(f"{MY}/account")).form("password")


async def test_codes_cannot_be_tried_quickly(world: OAuthWorld) -> None:
    """RFC 8628 §5.1: what a guesser sends is counted as log-ins are."""
    browser = await world.signed_in()
    world.app._limiter = TokenBuckets(PUBLIC_RATES, lambda: 0.0)
    statuses = [
        (await browser.go(f"{MY}/link?user_code=BBBBBBB{letter}")).status
        for letter in "BCDFGHJKLMNPQRSTVWXZ"
    ]
    assert statuses.count(404) == 15
    assert statuses[-1] == 429
    page = await browser.go(f"{MY}/link?user_code=BBBBBBBB")
    well_made(page)
    assert page.headers["retry-after"] == "6"
    assert "Too many" in page.text
