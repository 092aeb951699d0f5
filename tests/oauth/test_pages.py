"""The account's pages, as somebody without scripts sees them."""

from __future__ import annotations

from typing import Any

from kerwen.api.pages.words import LANGUAGES
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from tests.accounts.world import V3
from tests.keys.house import Person
from tests.oauth.browser import Page, well_made
from tests.oauth.world import BASE, MY, OAuthWorld

ALL = ("account", "devices", "device?id=PHONEPHONE", "password", "new-keys", "close", "link")


def in_page(page: Page, *words: str) -> None:
    for word in words:
        assert word in page.text, page.text


async def test_every_page_is_well_made_in_every_language(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    await world.session(browser, client)
    for language in LANGUAGES:
        browser.language = language
        for name in ALL:
            page = await browser.go(f"{MY}/{name}")
            assert (page.status, page.language) == (200, language), name
            well_made(page)
        for name in ("log-in", "sign-up", "second-step"):
            page = await world.browser(language).go(f"{MY}/{name}")
            well_made(page)
            assert page.language == language


async def test_strangers_sign_in_first_and_come_back(world: OAuthWorld) -> None:
    for name in ALL:
        browser = world.browser()
        page = await browser.go(f"{MY}/{name}")
        page = await browser.log_in(page, "@Ayna:house.test", "correct horse")
        assert page.url.startswith(f"{MY}/{name}".partition("?")[0])


async def test_wrong_passwords(world: OAuthWorld) -> None:
    browser = world.browser()
    page = await browser.go(f"{MY}/log-in?next=%2F%2Fevil.test")
    for name, password in (
        ("ayna", "wrong"),
        ("nobody", "correct horse"),
        ("@ayna:other.test", "correct horse"),
        ("", ""),
        ("<b>", "x" * 2000),
    ):
        page = await browser.log_in(page, name, password)
        assert page.status == 403
        in_page(page, "Wrong name or password")
        well_made(page)
    page = await browser.log_in(page, "ayna", "correct horse")
    assert page.url == f"{MY}/account"


async def test_the_language_is_chosen_once(world: OAuthWorld) -> None:
    browser = world.browser()
    page = await browser.go(f"{MY}/log-in?next=%2F_kerwen%2Fmy%2Fdevices")
    russian = next(link for link in page.links if link.endswith("lang=ru"))
    assert russian == f"{MY}/log-in?next=%2F_kerwen%2Fmy%2Fdevices&lang=ru"
    assert (await browser.go(russian)).language == "ru"
    page = await browser.go(f"{MY}/log-in")
    assert page.language == "ru"
    page = await browser.go(f"{MY}/sign-up?lang=xx")
    assert page.language == "ru"
    client = await world.client()
    page = await world.browser("ru").go(
        client.url(ui_locales="de-DE tk", login_hint="mxid:@ayna:house.test")
    )
    assert page.language == "tk"
    assert page.form("password").fields["name"] == "@ayna:house.test"


async def test_signing_up(world: OAuthWorld) -> None:
    browser = world.browser()
    page = await browser.go(f"{MY}/sign-up")
    good = {"name": "maral", "password": "a good password", "again": "a good password"}
    for changed, said in (
        ({"name": "ayna"}, "This name is taken"),
        ({"name": "bridge"}, "This name is reserved"),
        ({"name": "Märal!"}, "A name is made of"),
        ({"password": "short", "again": "short"}, "too easy"),
        ({"password": "password1", "again": "password1"}, "too easy"),
        ({"again": "another password"}, "not the same"),
    ):
        page = await browser.send(page.form("again"), **{**good, **changed})
        assert page.status == 400
        in_page(page, said)
    page = await browser.send(page.form("again"), **good)
    in_page(page, "@maral:house.test")
    assert (await world.sign_in("maral", "a good password")).status == 200


async def test_signing_up_by_invitation(database: Database, feed: Feed) -> None:
    world = OAuthWorld(database, feed, "token")
    token = (await world.accounts.invite.make(0, "come-in")).token
    browser = world.browser()
    page = await browser.go(f"{MY}/sign-up?token=come-in")
    good = {"name": "maral", "password": "a good password", "again": "a good password"}
    assert page.form("token").fields["token"] == token
    for wrong in ("", "come-on", "a" * 65, "'; --"):
        page = await browser.send(page.form("token"), **good, token=wrong)
        in_page(page, "This invitation is not valid")
    page = await browser.send(page.form("token"), **good, token=" come-in ")
    in_page(page, "@maral:house.test")
    other = world.browser()
    page = await other.go(f"{MY}/sign-up?token=come-in")
    page = await other.send(page.form("token"), **{**good, "name": "batyr"})
    in_page(page, "This invitation is not valid")
    world.close()


async def test_a_closed_house(database: Database, feed: Feed) -> None:
    world = OAuthWorld(database, feed, "closed")
    metadata = await world.ask("GET", "/_matrix/client/v1/auth_metadata")
    assert metadata.json["prompt_values_supported"] == []
    browser = world.browser()
    page = await browser.go(f"{MY}/sign-up")
    assert (page.status, page.forms) == (403, [])
    page = await browser.go(f"{MY}/log-in")
    assert not any("sign-up" in link for link in page.links)
    world.close()


LED = {
    "org.matrix.profile": "account",
    "org.matrix.devices_list": "devices",
    "org.matrix.sessions_list": "devices",
    "org.matrix.device_view&device_id=PHONEPHONE": "device",
    "org.matrix.device_delete&device_id=PHONEPHONE": "device",
    "org.matrix.session_end&device_id=PHONEPHONE": "device",
    "org.matrix.device_delete": "devices",
    "org.matrix.cross_signing_reset": "new-keys",
    "org.matrix.account_deactivate": "close",
    "org.matrix.unknown": "account",
}


async def test_actions_lead_to_their_pages(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    await world.session(browser, client)
    for action, page in LED.items():
        found = await browser.go(f"{MY}/account?action={action}")
        assert (found.status, found.url.partition("?")[0]) == (200, f"{MY}/{page}"), action
        if page == "device":
            in_page(found, "PHONEPHONE")


async def test_the_profile(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    page = await browser.go(f"{MY}/account")
    page = await browser.send(page.form("shown"), shown='<b>"Aýna"</b>')
    in_page(page, "Saved.")
    assert page.form("shown").fields["shown"] == '<b>"Aýna"</b>'
    assert "<b>&quot;" not in page.html
    page = await browser.send(page.form("shown"), shown="a" * 257)
    assert page.status == 400


async def test_a_device_is_logged_out(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    tokens = await world.session(browser, client)
    page = await browser.go(f"{MY}/devices")
    in_page(page, "Some App")
    page = await browser.go(f"{MY}/device?id=PHONEPHONE")
    in_page(page, "PHONEPHONE", "Some App (app.test)", "192.0.2.7")
    page = await browser.send(page.form("id"))
    in_page(page, "Some App is logged out")
    (await world.whoami(tokens["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    for gone in ("PHONEPHONE", "", "%00", "x" * 3000):
        page = await browser.go(f"{MY}/device?id={gone}")
        assert page.status in (400, 404), gone
        well_made(page)


async def test_another_account_s_device_is_out_of_reach(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    tokens = await world.session(browser, client)
    await world.sign_up("batyr")
    other = await world.signed_in("batyr")
    own = (await world.sign_in("batyr", device_id="MINE")).json
    form = (await other.go(f"{MY}/device?id=MINE")).form("id")
    page = await other.send(form, id="PHONEPHONE")
    assert page.status == 404
    assert (await world.whoami(tokens["access_token"])).status == 200
    assert (await world.whoami(own["access_token"])).status == 200


async def test_the_password_is_changed(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    other = await world.signed_in()
    tokens = await world.session(browser, client)
    page = await browser.go(f"{MY}/password")
    fresh = {"password": "a good password", "again": "a good password"}
    for changed, said in (
        ({"old": "wrong"}, "Wrong name or password"),
        ({"again": "different one"}, "not the same"),
        ({"password": "12345678", "again": "12345678"}, "too easy"),
    ):
        page = await browser.send(
            page.form("old"), **{"old": "correct horse", **fresh, **changed}, others=None
        )
        in_page(page, said)
    page = await browser.send(page.form("old"), old="correct horse", **fresh, others=None)
    in_page(page, "Your password is changed")
    assert (await world.whoami(tokens["access_token"])).status == 200
    assert (await world.sign_in("ayna", "a good password")).status == 200
    page = await browser.go(f"{MY}/password")
    assert page.form("old").fields["others"] == "yes", "others are logged out unless one says no"
    fresh = {"password": "a better password", "again": "a better password"}
    page = await browser.send(page.form("old"), old="a good password", **fresh)
    (await world.whoami(tokens["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    assert (await browser.go(f"{MY}/devices")).status == 200, "this browser stays"
    assert (await other.go(f"{MY}/devices")).form("password"), "others do not"


async def test_new_cross_signing_keys_are_allowed_once(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    token = (await world.session(browser, client))["access_token"]
    path = V3 + "/keys/device_signing/upload"
    keys = Person("ayna", "PHONEPHONE")
    keys.user_id = "@ayna:house.test"

    def fresh(seed: str) -> dict[str, Any]:
        for usage in ("master", "self_signing", "user_signing"):
            keys.renew(usage, f"{seed}/{usage}")
        return keys.cross_signing_keys()

    first = await world.ask("POST", path, fresh("first"), token)
    assert first.status == 200, first.raw
    again = fresh("second")
    asked = await world.ask("POST", path, again, token)
    assert asked.status == 401
    assert {"stages": ["m.oauth"]} in asked.json["flows"]
    url = asked.json["params"]["m.oauth"]["url"]
    assert url.startswith(f"{BASE}{MY}/account?action=org.matrix.cross_signing_reset")
    session = {"session": asked.json["session"]}
    still = await world.ask("POST", path, {**again, "auth": session}, token)
    assert (still.status, still.json["session"]) == (401, session["session"])
    page = await browser.go(url)
    page = await browser.send(page.form("password"), password="wrong")
    assert page.status == 403
    page = await browser.send(page.form("password"), password="correct horse")
    assert page.status == 200
    done = await world.ask("POST", path, {**again, "auth": session}, token)
    assert done.status == 200, done.raw
    third = {**fresh("third"), "auth": session}
    assert (await world.ask("POST", path, third, token)).status == 401
    page = await browser.send((await browser.go(url)).form("password"), password="correct horse")
    world.clock.ms += 600_000
    assert (await world.ask("POST", path, third, token)).status == 401


async def test_an_account_is_closed(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    tokens = await world.session(browser, client)
    code = (await world.allow(browser, client)).answer()["code"]
    page = await browser.go(f"{MY}/close")
    page = await browser.send(page.form("password"), password="wrong")
    assert page.status == 403
    page = await browser.send(page.form("password"), password="correct horse", erase="yes")
    in_page(page, "The account is closed")
    assert ("deactivated", True) in world.told
    (await world.whoami(tokens["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await client.exchange(code)).refused(400, "invalid_grant")
    assert (await browser.go(f"{MY}/account")).form("password")


async def test_a_password_reset_is_stopped(world: OAuthWorld) -> None:
    browser = await world.signed_in()
    find = world.accounts.prove.first_factor
    account_no = (await find("ayna", "correct horse")).account.account_no
    await world.accounts.reset_password.begin(0, account_no, "another good one")
    page = await browser.go(f"{MY}/account")
    in_page(page, "Somebody began to reset your password")
    page = await browser.send(page.form("stop_reset"))
    in_page(page, "Saved.")
    assert await world.accounts.reset_password.under_way(account_no) is None
