"""Signing in and up through OAuth 2.0, on both databases: CS #oauth-20-api."""

from __future__ import annotations

import pytest

from kerwen.accounts.store import tokens as token_store
from kerwen.accounts.tokens import slot_key, token_hash
from kerwen.vault.slots import SlotKind
from tests.oauth.browser import well_made
from tests.oauth.world import BASE, DEVICE_GRANT, MY, OAuthWorld

V3 = "/_matrix/client/v3"


async def test_metadata_leads_everywhere(world: OAuthWorld) -> None:
    stable = (await world.ask("GET", "/_matrix/client/v1/auth_metadata")).json
    early = (
        await world.ask("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata")
    ).json
    known = (await world.ask("GET", "/.well-known/oauth-authorization-server")).json
    assert stable == known
    assert stable["issuer"] == BASE + "/"
    actions = "account_management_actions_supported"
    assert {**early, actions: 0} == {**stable, actions: 0}
    assert set(early[actions]) - set(stable[actions]) == {
        "org.matrix.sessions_list",
        "org.matrix.session_view",
        "org.matrix.session_end",
    }


async def test_somebody_new_signs_up_and_in(world: OAuthWorld) -> None:
    client, browser = await world.client(), world.browser()
    page = await browser.go(client.url(prompt="create"))
    well_made(page)
    page = await browser.send(
        page.form("again"), name="Maral", password="a good password", again="a good password"
    )
    well_made(page)
    assert "Some App" in page.text
    assert f"@maral:{'house.test'}" in page.text
    assert page.headers["content-security-policy"].count("form-action 'self' test.app:") == 1
    page = await browser.send(page.form("answer"), answer="allow")
    assert page.location.startswith("test.app:/callback?code=")
    assert page.answer()["state"] == "my state"
    assert page.answer()["iss"] == BASE + "/"
    answer = await client.exchange(page.answer()["code"])
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert {k: answer.json[k] for k in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": client.scope,
    }
    who = await world.whoami(answer.json["access_token"])
    assert who.json["user_id"] == "@maral:house.test"
    assert who.json["device_id"] == "PHONEPHONE"


async def test_somebody_else_signs_in_on_the_way(world: OAuthWorld) -> None:
    await world.sign_up("batyr")
    client, browser = await world.client(), await world.signed_in()
    page = await browser.go(client.url())
    assert "@ayna:house.test" in page.text
    page = await browser.send(page.forms[0])
    page = await browser.log_in(page, "batyr", "correct horse")
    assert "@batyr:house.test" in page.text
    page = await browser.send(page.form("answer"), answer="allow")
    tokens = (await client.exchange(page.answer()["code"])).json
    assert (await world.whoami(tokens["access_token"])).json["user_id"] == "@batyr:house.test"


async def test_the_answer_may_come_in_the_fragment(world: OAuthWorld) -> None:
    client = await world.client(
        application_type="web", redirect_uris=["https://web.app.test/cb?a=b"]
    )
    browser = await world.signed_in()
    page = await world.allow(browser, client, response_mode="fragment")
    assert page.location.startswith("https://web.app.test/cb?a=b#code=")
    assert (await client.exchange(page.answer()["code"])).status == 200
    page = await world.allow(browser, client, response_mode=None)
    assert page.location.startswith("https://web.app.test/cb?a=b&code=")


async def test_the_unstable_spelling_of_scopes(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    old = "urn:matrix:org.matrix.msc2967.client:"
    page = await world.allow(browser, client, scope=f"openid {old}api:* {old}device:ABCDEFGHIJ")
    answer = await client.exchange(page.answer()["code"])
    assert answer.json["scope"] == f"{old}api:* {old}device:ABCDEFGHIJ"
    who = await world.whoami(answer.json["access_token"])
    assert who.json["device_id"] == "ABCDEFGHIJ"


async def test_the_vault_opens_with_every_secret_on_the_way(world: OAuthWorld) -> None:
    """Password → cookie → code → tokens → refreshed tokens."""
    client, browser = await world.client(), await world.signed_in()
    account = await world.oauth.browse.find(browser.cookies["__Host-kerwen"])
    assert account is not None
    tokens = await world.session(browser, client)
    refreshed = (await client.refresh(tokens["refresh_token"])).json

    async def opens(token: str) -> bool:
        async with world.db.read() as snap:
            holder = await token_store.holder(snap, token_hash(token))
            assert holder is not None
            ref = str(holder.token_no)
            with await world.vaults.unlock(
                snap, account.account_no, SlotKind.TOKEN, ref, slot_key(token)
            ) as vault:
                return bool(vault.private_key)

    assert await opens(tokens["access_token"])
    assert await opens(refreshed["access_token"])


async def test_refresh_rotates_and_a_lost_answer_can_be_asked_for_again(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    first = await world.session(browser, client)
    lost = await client.refresh(first["refresh_token"])
    again = await client.refresh(first["refresh_token"])
    assert lost.status == again.status == 200
    assert (await world.whoami(again.json["access_token"])).status == 200
    assert again.json["scope"] == client.scope


async def test_a_replaced_refresh_token_ends_the_session(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    first = await world.session(browser, client)
    second = (await client.refresh(first["refresh_token"])).json
    assert (await world.whoami(second["access_token"])).status == 200
    (await client.refresh(first["refresh_token"])).refused(400, "invalid_grant")
    (await world.whoami(second["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await client.refresh(second["refresh_token"])).refused(400, "invalid_grant")


async def test_an_old_thief_does_not_end_a_new_session_of_the_device(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    first = await world.session(browser, client)
    second = (await client.refresh(first["refresh_token"])).json
    await world.whoami(second["access_token"])
    third = await world.session(browser, client)
    (await client.refresh(first["refresh_token"])).refused(400, "invalid_grant")
    assert (await world.whoami(third["access_token"])).status == 200
    (await world.whoami(second["access_token"])).refused(401, "M_UNKNOWN_TOKEN")


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revocation_ends_the_device(world: OAuthWorld, kind: str) -> None:
    client, browser = await world.client(), await world.signed_in()
    tokens = await world.session(browser, client)
    answer = await world.post("revoke", {"token": tokens[kind], "token_type_hint": kind})
    assert (answer.status, answer.json) == (200, {})
    (await world.whoami(tokens["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await client.refresh(tokens["refresh_token"])).refused(400, "invalid_grant")
    again = await world.post("revoke", {"token": tokens[kind]})
    assert again.status == 200


async def test_an_expired_token_is_a_soft_logout(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    tokens = await world.session(browser, client)
    world.clock.ms += 3_600_001
    gone = await world.whoami(tokens["access_token"])
    assert (gone.status, gone.json["soft_logout"]) == (401, True)
    fresh = await client.refresh(tokens["refresh_token"])
    assert (await world.whoami(fresh.json["access_token"])).status == 200


async def test_a_password_log_in_takes_the_device_over(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    tokens = await world.session(browser, client)
    answer = await world.sign_in("ayna", device_id="PHONEPHONE", refresh_token=True)
    (await world.whoami(tokens["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    (await client.refresh(answer.json["refresh_token"])).refused(400, "invalid_grant")
    devices = await world.ask("GET", V3 + "/devices", token=answer.json["access_token"])
    assert len([d for d in devices.json["devices"] if d["device_id"] == "PHONEPHONE"]) == 1


NOT_FOR_OAUTH = [
    ("POST", "/v3/account/password"),
    ("POST", "/v3/account/deactivate"),
    ("DELETE", "/v3/devices/PHONEPHONE"),
    ("POST", "/v3/delete_devices"),
    ("POST", "/v1/login/get_token"),
]


async def test_interactive_authentication_is_not_for_oauth(world: OAuthWorld) -> None:
    """CS #oauth-20-api: such a client is never to see a password."""
    client, browser = await world.client(), await world.signed_in()
    token = (await world.session(browser, client))["access_token"]
    body = {"new_password": "another good one", "devices": []}
    for method, path in NOT_FOR_OAUTH:
        answer = await world.ask(method, "/_matrix/client" + path, body, token)
        answer.refused(404, "M_UNRECOGNIZED")
    found = await world.ask("GET", V3 + "/capabilities", token=token)
    for name in ("m.change_password", "m.get_login_token"):
        assert found.json["capabilities"][name] == {"enabled": False}


async def test_a_device_is_allowed_by_its_code(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    client.device_id = "NEWDEVICE1"
    asked = (await client.ask_in()).json
    assert asked["verification_uri"] == f"{BASE}{MY}/link"
    assert asked["interval"] == 5
    (await client.poll(asked["device_code"])).refused(400, "authorization_pending")
    (await client.poll(asked["device_code"])).refused(400, "slow_down")
    world.clock.ms += 11_000
    (await client.poll(asked["device_code"])).refused(400, "authorization_pending")
    page = await browser.go(asked["verification_uri_complete"])
    well_made(page)
    assert asked["user_code"] in page.text
    assert "Some App" in page.text
    page = await browser.send(page.form("answer"), answer="allow")
    assert page.status == 200
    world.clock.ms += 10_000
    answer = await client.poll(asked["device_code"])
    assert answer.status == 200, answer.json
    assert (await world.whoami(answer.json["access_token"])).json["device_id"] == "NEWDEVICE1"
    (await client.poll(asked["device_code"])).refused(400, "invalid_grant")


async def test_a_device_is_denied(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    asked = (await client.ask_in()).json
    page = await browser.go(f"{MY}/link")
    page = await browser.send(page.form("user_code"), user_code=asked["user_code"].lower())
    page = await browser.send(page.form("answer"), answer="deny")
    (await client.poll(asked["device_code"])).refused(400, "access_denied")
    page = await browser.go(asked["verification_uri_complete"])
    assert page.status == 404


async def test_a_device_waits_not_for_ever(world: OAuthWorld) -> None:
    client, browser = await world.client(), await world.signed_in()
    asked = (await client.ask_in()).json
    world.clock.ms += asked["expires_in"] * 1000
    (await client.poll(asked["device_code"])).refused(400, "expired_token")
    page = await browser.go(asked["verification_uri_complete"])
    assert page.status == 404
    world.clock.ms += 600_001
    await world.oauth.tidy()
    (await client.poll(asked["device_code"])).refused(400, "invalid_grant")


async def test_a_client_of_another_grant_gets_no_device_code(world: OAuthWorld) -> None:
    client = await world.client(grant_types=["authorization_code"])
    (await client.ask_in()).refused(400, "unauthorized_client")
    (await client.ask_in(client_id="nobody")).refused(401, "invalid_client")
    (await client.ask_in(scope="openid")).refused(400, "invalid_scope")
    other = await world.client(grant_types=[DEVICE_GRANT], redirect_uris=[])
    browser = await world.signed_in()
    page = await browser.go(other.url(redirect_uri="https://app.test/"))
    assert page.status == 400
    assert "location" not in page.headers


async def test_clients_that_nobody_uses_are_forgotten(world: OAuthWorld) -> None:
    used, unused = await world.client(), await world.client(client_name="Unused")
    browser = await world.signed_in()
    await world.session(browser, used)
    world.clock.ms += 25 * 3_600_000
    await world.oauth.tidy()
    browser = await world.signed_in()
    assert (await browser.go(unused.url())).status == 400
    assert (await browser.go(used.url())).status == 200
    world.clock.ms += 100 * 24 * 3_600_000
    await world.oauth.tidy()
    browser = await world.signed_in()
    assert (await browser.go(used.url())).status == 200, "its session stands"
