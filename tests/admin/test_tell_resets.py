"""Who is reset hears of it in the room of server notices, once."""

from __future__ import annotations

import pytest

from kerwen.accounts.store import factors
from kerwen.accounts.store.factors import Factor
from tests.admin.desk import Desk, desk_of
from tests.rooms.house import House, Person, bodies


async def heard(person: Person) -> list[str]:
    """All that the server said to somebody."""
    sync = await person.sync()
    for room in sync["rooms"].get("invite", {}):
        await person.join(room)
    rooms = (await person.sync())["rooms"].get("join", {})
    return [text for room in rooms.values() for text in bodies(room["timeline"]["events"])]


async def give_factor(house: House, person: Person) -> None:
    """A second factor, as if it had been enrolled."""
    account = await house.messenger.accounts.moderate.account(person.id)
    async with house.db.write() as tx:
        no = account.account_no
        await factors.add(tx, Factor(1, no, "totp", "x", 0, 0, 1, b"x", None, 0, False))


async def begin(desk: Desk, person: Person, kind: str) -> str:
    """When it takes effect, as people read it."""
    body = {"new_password": "a-password-2"} if kind == "password_reset" else None
    path = f"accounts/{{userId}}/{kind}"
    answer = await desk.ask("POST", path, body, userId=person.id)
    assert answer.status == 200, answer
    return str(answer.json["effect_ms"])


@pytest.mark.parametrize(
    ("kind", "what", "page"),
    [
        ("password_reset", "reset the password", "account"),
        ("second_factor_reset", "end the second factor", "second-factor"),
    ],
)
async def test_the_owner_hears_of_a_reset(both: House, kind: str, what: str, page: str) -> None:
    desk, ayna = await desk_of(both), await both.person("ayna")
    await give_factor(both, ayna)
    tell = both.messenger.admin.tell_resets
    assert await tell.run() == 0
    await desk.confirm()
    await begin(desk, ayna, kind)
    assert await tell.run() == 1
    (text,) = await heard(ayna)
    assert text.startswith(f"An administrator began to {what} of your account")
    assert text.endswith(f"/_kerwen/my/{page}")
    assert await tell.run() == 0
    await begin(desk, ayna, kind)  # begun anew: it waits anew
    assert await tell.run() == 1
    assert len(await heard(ayna)) == 2


async def test_a_closed_account_is_not_told_again_and_again(house: House) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    await desk.confirm()
    await begin(desk, ayna, "password_reset")
    moderate = house.messenger.accounts.moderate
    await house.messenger.accounts.deactivate.run((await moderate.account(ayna.id)).account_no)
    assert await house.messenger.admin.tell_resets.run() == 0
