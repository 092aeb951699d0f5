"""The recovery key's slot over HTTP: made with the password, opens what was shut by a reset."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kerwen.accounts.tokens import slot_key
from kerwen.base.errors import Refused
from kerwen.vault.slots import SlotKind
from kerwen.vault.store import Secret
from tests.accounts.test_login import account_no_of, slots_of
from tests.accounts.world import World, password_auth

MAKE = "/_kerwen/account/recovery_key"
OPEN = MAKE + "/open"
KEY, OTHER = bytes(range(32)), bytes(32)


def text(key: bytes) -> str:
    return base64.b64encode(key).decode().rstrip("=")


async def make(world: World, token: str, key: bytes = KEY) -> None:
    body = {"slot_key": text(key), "auth": password_auth("ayna")}
    assert (await world.ask("POST", MAKE, body, token)).raw == b"{}"


async def generations(world: World, account_no: int, secret: Secret) -> set[int]:
    async with world.db.read() as snap:
        try:
            with await world.vaults.unlock(snap, account_no, *secret) as opened:
                return set(opened.generations)
        except Refused:
            return set()


async def test_it_is_made_with_the_password_and_replaced(world: World) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    no = await account_no_of(world, "ayna")
    asked = await world.ask("POST", MAKE, {"slot_key": text(KEY)}, token)
    assert asked.status == 401
    assert "flows" in asked.json
    await make(world, token, OTHER)
    await make(world, token)
    assert await slots_of(world, no) == ["password", "recovery", "token"]
    assert await generations(world, no, (SlotKind.RECOVERY, "", OTHER)) == set()
    assert await generations(world, no, (SlotKind.RECOVERY, "", KEY)) == {1}


async def test_it_opens_what_a_reset_has_shut(world: World) -> None:
    up = await world.sign_up("ayna")
    no = await account_no_of(world, "ayna")
    await make(world, up["access_token"])
    async with world.db.write() as tx:  # forgotten: what the password opened is gone
        await world.vaults.drop_slots(tx, no, SlotKind.PASSWORD)
        await world.vaults.drop_slots(tx, no, SlotKind.TOKEN)
    token = (await world.sign_in("ayna")).json["access_token"]
    token_no = (await world.accounts.authenticate.caller(token)).token_no
    session = (SlotKind.TOKEN, str(token_no), slot_key(token))
    async with world.db.write() as tx:  # new mail has a new vault
        await world.vaults.create(tx, no, [session])
    assert await generations(world, no, session) == {2}
    (await world.ask("POST", OPEN, {"slot_key": text(OTHER)}, token)).refused(403, "M_FORBIDDEN")
    body: dict[str, Any] = {"slot_key": text(KEY)}
    assert (await world.ask("POST", OPEN, body, token)).status == 200
    assert await generations(world, no, session) == {1, 2}
    assert await generations(world, no, (SlotKind.RECOVERY, "", KEY)) == {1, 2}
    assert "password" not in await slots_of(world, no)
    body["auth"] = password_auth("ayna")
    assert (await world.ask("POST", OPEN, body, token)).status == 200
    assert "password" in await slots_of(world, no)


@pytest.mark.parametrize("key", ["", "AAAA", "!" * 43, text(bytes(33))])
async def test_keys_that_are_none(world: World, key: str) -> None:
    token = (await world.sign_up("ayna"))["access_token"]
    for path in (MAKE, OPEN):
        body = {"slot_key": key, "auth": password_auth("ayna")}
        (await world.ask("POST", path, body, token)).refused(400, "M_INVALID_PARAM")
