"""The pages of second factors, on both databases: enrolment, the second step, a passkey alone, the
page of the stage for other clients.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from kerwen.accounts.uia import SECOND_FACTOR
from tests.accounts.authenticator import Authenticator
from tests.accounts.test_login import account_no_of, slots_of
from tests.accounts.test_second_factor import App
from tests.accounts.world import V1, password_auth
from tests.oauth.browser import Browser, Form, Page
from tests.oauth.world import MY, OAuthWorld

PASSWORD = "correct horse"


def options_of(page: Page) -> dict[str, Any]:
    """What the script would give to the browser's passkeys."""
    found = re.search(r'data-options="([^"]*)"', page.html)
    assert found, page.html
    said: dict[str, Any] = json.loads(html.unescape(found[1]))
    return said


def key_form(page: Page) -> Form:
    """The form that the script fills in."""
    assert "script-src 'self'; " in page.headers["content-security-policy"]
    assert '<script src="/_kerwen/passkey.js" defer></script>' in page.html
    return page.form("credential")


async def begin(browser: Browser, kind: str, password: str = PASSWORD) -> Page:
    page = await browser.go(f"{MY}/factor-add?kind={kind}")
    return await browser.send(page.form("password"), name="mine", password=password)


async def add_app(world: OAuthWorld, browser: Browser) -> tuple[App, list[str]]:
    """An app, and the recovery codes that the page shows."""
    page = await begin(browser, "totp")
    secret = re.search(r"secret=([A-Z2-7]{32})&", html.unescape(page.html))
    assert secret, page.text
    app = App(world, secret[1])
    done = await browser.send(page.form("code"), code=app.code())
    return app, re.findall(r"<code>([^<]+)</code>", done.html)


async def add_passkey(browser: Browser, key: Authenticator, prf: bool = False) -> Page:
    page = await begin(browser, "passkey")
    options = options_of(page)
    fields = {"credential": json.dumps(key.create(options))}
    if prf:
        fields["prf"] = key.prf(options)
    return await browser.send(key_form(page), **fields)


async def at_second_step(world: OAuthWorld) -> tuple[Browser, Page]:
    """Another browser, after the right password."""
    browser = world.browser()
    page = await browser.go(f"{MY}/log-in")
    page = await browser.log_in(page, "ayna", PASSWORD)
    assert f"{MY}/second-step?" in page.url
    return browser, page


async def is_in(browser: Browser) -> bool:
    page = await browser.go(f"{MY}/account")
    return page.status == 200 and "@ayna:house.test" in page.text


async def test_an_app_is_enrolled_and_asked_for(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    app, codes = await add_app(world, browser)
    assert len(codes) == 10
    page = await browser.go(f"{MY}/second-factor")
    assert "mine" in page.text
    assert "Recovery codes left: 10" in page.text
    other, page = await at_second_step(world)
    assert not await is_in(other)
    assert "<script" not in page.html
    wrong = await other.send(page.form("code"), code="000000")
    assert wrong.status == 403
    assert not await is_in(other)
    await other.send(wrong.form("code"), code=app.code())
    assert await is_in(other)


async def test_a_recovery_code_does_the_second_step_once(world: OAuthWorld) -> None:
    _, codes = await add_app(world, await world.signed_in())
    for good in (True, False):
        browser, page = await at_second_step(world)
        await browser.send(page.form("code"), code=codes[0])
        assert await is_in(browser) is good


async def test_the_qr_code_holds_the_link(world: OAuthWorld) -> None:
    page = await begin(await world.signed_in(), "totp")
    assert "<svg" in page.html
    assert "style=" not in page.html
    assert 'href="otpauth://totp/house.test:ayna?secret=' in page.html


async def test_a_wrong_password_or_code_enrols_nothing(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    assert (await begin(browser, "totp", "wrong")).status == 403
    page = await begin(browser, "totp")
    assert (await browser.send(page.form("code"), code="000000")).status == 400
    assert (await browser.send(page.form("code"), code="000000", enrolment="x")).status == 400
    page = await begin(browser, "passkey")
    for nonsense in ("", "{", "[]", "{}", '{"response": 5}'):
        assert (await browser.send(key_form(page), credential=nonsense)).status == 400
    assert "Recovery codes" not in (await browser.go(f"{MY}/second-factor")).text


async def test_a_passkey_does_the_second_step(world: OAuthWorld) -> None:
    key = Authenticator()
    await add_passkey(await world.signed_in(), key)
    browser, page = await at_second_step(world)
    wrong = await browser.send(
        key_form(page), credential=json.dumps(Authenticator().get(options_of(page)))
    )
    assert wrong.status == 403
    await browser.send(key_form(wrong), credential=json.dumps(key.get(options_of(wrong))))
    assert await is_in(browser)


async def test_an_answer_is_of_one_browser(world: OAuthWorld) -> None:
    key = Authenticator(counts=False)
    await add_passkey(await world.signed_in(), key)
    _, page = await at_second_step(world)
    answer = json.dumps(key.get(options_of(page)))
    other, page = await at_second_step(world)
    assert (await other.send(key_form(page), credential=answer)).status == 403


async def test_a_passkey_signs_in_alone_and_opens_the_vault(world: OAuthWorld) -> None:
    key = Authenticator()
    await add_passkey(await world.signed_in(), key, prf=True)
    browser = world.browser()
    page = await browser.go(f"{MY}/log-in")
    assert f"{MY}/passkey?" in " ".join(page.links)
    page = await browser.go(f"{MY}/passkey")
    options = options_of(page)
    fields = {"credential": json.dumps(key.get(options)), "prf": key.prf(options)}
    await browser.send(key_form(page), **fields)
    assert await is_in(browser)
    session = await world.session(browser, await world.client())
    no = await account_no_of(world, "ayna")
    assert "token" in await slots_of(world, no)  # the app's token opens the vault
    assert (await world.whoami(session["access_token"])).status == 200
    again = world.browser()
    page = await again.go(f"{MY}/passkey")
    assert (await again.send(key_form(page), **fields)).status == 403


async def test_a_passkey_without_a_prf_does_not_sign_in_alone(world: OAuthWorld) -> None:
    key = Authenticator()
    await add_passkey(await world.signed_in(), key)
    browser = world.browser()
    page = await browser.go(f"{MY}/passkey")
    answer = json.dumps(key.get(options_of(page)))
    refused = await browser.send(key_form(page), credential=answer)
    assert refused.status == 403
    assert "second step" in refused.text
    assert not await is_in(browser)


async def test_factors_are_removed_and_codes_renewed(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    _, old = await add_app(world, browser)
    page = await browser.go(f"{MY}/new-codes")
    assert (await browser.send(page.form("password"), password="wrong")).status == 403
    shown = await browser.send(page.form("password"), password=PASSWORD)
    new = re.findall(r"<code>([^<]+)</code>", shown.html)
    assert len(new) == 10
    assert not set(new) & set(old)
    page = await browser.go(f"{MY}/second-factor")
    place = next(to for to in page.links if "factor-remove" in to)
    page = await browser.go(place)
    assert (await browser.send(page.form("password"), password="wrong")).status == 403
    page = await browser.send(page.form("password"), password=PASSWORD)
    assert "None yet" in page.text
    other = await world.signed_in()
    assert await is_in(other)


async def test_nobody_sees_anothers_factor(world: OAuthWorld) -> None:
    await add_app(world, await world.signed_in())
    await world.sign_up("batyr")
    browser = await world.signed_in("batyr")
    for number in ("1", "2", "3", "x", ""):
        assert (await browser.go(f"{MY}/factor-remove?no={number}")).status == 404
    assert (await browser.go(f"{MY}/factor-add?kind=x")).status == 404


async def test_a_reset_is_stopped_on_the_page(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    await add_app(world, browser)
    no = await account_no_of(world, "ayna")
    await world.accounts.reset_factors.begin(0, no)
    page = await browser.go(f"{MY}/second-factor")
    assert "began to remove your second factor" in page.text
    stop = next(form for form in page.forms if form.action == f"{MY}/second-factor")
    await browser.send(stop)
    assert await world.accounts.reset_factors.under_way(no) is None


@pytest.mark.parametrize("language", ["tk", "ru", "en", "fr"])
async def test_every_page_in_every_language(world: OAuthWorld, language: str) -> None:
    browser = await world.signed_in()
    await add_app(world, browser)
    for name in (
        "second-factor",
        "factor-add?kind=totp",
        "factor-add?kind=passkey",
        "new-codes",
        "app-passwords",
    ):
        to = f"{MY}/{name}{'&' if '?' in name else '?'}lang={language}"
        page = await browser.go(to)
        assert (page.status, page.language) == (200, language)
    page = await world.browser(language).go(f"{MY}/passkey")
    assert (page.status, page.language) == (200, language)


async def test_app_passwords_are_made_and_ended(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    await add_app(world, browser)
    page = await browser.go(f"{MY}/app-passwords")
    wrong = await browser.send(page.form("password"), name="mutt", password="wrong")
    assert wrong.status == 403
    made = await browser.send(page.form("password"), name="mutt", password=PASSWORD)
    shown = re.findall(r"<code>([^<]+)</code>", made.html)[0]
    assert (await world.sign_in("ayna", shown)).status == 200
    page = await browser.go(f"{MY}/app-passwords")
    assert "mutt" in page.text
    assert shown not in page.html
    place = next(to for to in page.links if "/app-password?" in to)
    await world.sign_up("batyr")
    assert (await (await world.signed_in("batyr")).go(place)).status == 404
    page = await browser.go(place)
    page = await browser.send(page.form("no"))
    assert "mutt" not in page.text
    (await world.sign_in("ayna", shown)).refused(403, "M_FORBIDDEN")


# --- the page for clients that do not know the stage ---------------------------------------


async def waiting_stage(world: OAuthWorld, token: str) -> tuple[str, str]:
    """A session that waits for the second factor, and where its page is."""
    half = await world.ask("POST", V1 + "/login/get_token", {"auth": password_auth("ayna")}, token)
    session = half.json["session"]
    path = f"/_matrix/client/v3/auth/{SECOND_FACTOR}/fallback/web"
    return session, f"{path}?{urlencode({'session': session})}"


async def test_the_page_of_the_stage_proves_it(world: OAuthWorld) -> None:
    app, _ = await add_app(world, await world.signed_in())
    token = (await world.sign_in("ayna", f"{PASSWORD} {app.code()}")).json["access_token"]
    session, place = await waiting_stage(world, token)
    browser = world.browser()
    page = await browser.go(place)
    assert "cross-origin-opener-policy" not in page.headers  # it must reach its client
    wrong = await browser.send(page.form("code"), code="000000")
    assert wrong.status == 403
    assert "data-auth-done" not in wrong.html
    done = await browser.send(wrong.form("code"), code=app.code())
    assert "data-auth-done" in done.html
    auth = {"session": session}
    answer = await world.ask("POST", V1 + "/login/get_token", {"auth": auth}, token)
    assert answer.status == 200, answer.raw
    assert (await browser.go(place)).status == 404  # the proof is used up


async def test_the_page_of_the_stage_takes_passkeys(world: OAuthWorld) -> None:
    key = Authenticator()
    browser = await world.signed_in()
    page = await add_passkey(browser, key)
    code = re.findall(r"<code>([^<]+)</code>", page.html)[0]
    token = (await world.sign_in("ayna", f"{PASSWORD} {code}")).json["access_token"]
    session, place = await waiting_stage(world, token)
    page = await browser.go(place)
    done = await browser.send(key_form(page), credential=json.dumps(key.get(options_of(page))))
    assert "data-auth-done" in done.html
    answer = await world.ask("POST", V1 + "/login/get_token", {"auth": {"session": session}}, token)
    assert answer.status == 200, answer.raw


async def test_the_page_of_the_stage_needs_the_password_first(world: OAuthWorld) -> None:
    app, _ = await add_app(world, await world.signed_in())
    token = (await world.sign_in("ayna", f"{PASSWORD} {app.code()}")).json["access_token"]
    asked = await world.ask("POST", V1 + "/login/get_token", {}, token)
    path = f"/_matrix/client/v3/auth/{SECOND_FACTOR}/fallback/web"
    browser = world.browser()
    for session in (asked.json["session"], "x"):
        page = await browser.go(f"{path}?{urlencode({'session': session})}")
        assert page.status == 404
    assert (await browser.go(path)).status == 400
    other = "/_matrix/client/v3/auth/m.login.password/fallback/web?session=x"
    assert (await browser.go(other)).status == 404


async def test_the_script_is_served_as_one(world: OAuthWorld) -> None:
    status, heads, text = await world.call("GET", "/_kerwen/passkey.js", [])
    assert (status, dict(heads)["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "navigator.credentials.get" in text
    assert "fetch(" not in text  # it asks nobody for anything
