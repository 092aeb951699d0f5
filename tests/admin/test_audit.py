"""Every deed of an administrator is written down, and every one that was refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import kerwen
from kerwen.admin.actions.audit import Audit
from kerwen.api.admin_socket import answer, audited
from kerwen.base.errors import Reason, Refused
from tests.admin.desk import Desk, desk_of
from tests.rooms.house import House


async def entries(desk: Desk) -> list[Any]:
    """(actor, deed, target, detail, outcome), the oldest first, without looks at the log."""
    found: list[Any] = []
    query: dict[str, int] = {"limit": 2}
    while True:
        page = await desk.must("GET", "audit", query=query)
        found += page["entries"]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert [e["entry"] for e in found] == sorted((e["entry"] for e in found), reverse=True)
    return [
        (
            e["actor"],
            e["deed"].replace("/_kerwen/admin/", ""),
            e["target"],
            e["detail"],
            e["outcome"],
        )
        for e in reversed(found)
        if not e["deed"].endswith("/audit")
    ]


async def test_deeds_and_how_they_ended(both: House) -> None:
    desk, ayna = await desk_of(both), await both.person("ayna")
    me, lock = {"userId": ayna.id}, "accounts/{userId}/lock"
    await desk.must("PUT", lock, {"locked": True}, **me)
    await desk.refused(404, "M_NOT_FOUND", "PUT", lock, {"locked": True}, userId="@no:kerwen.test")
    await desk.refused(400, "M_BAD_JSON", "PUT", lock, {"locked": "marked"}, **me)
    await desk.refused(403, "M_FORBIDDEN", "POST", "accounts/{userId}/deactivate", **me)
    assert (await desk.ask("POST", "confirm", {"auth": None})).status == 401
    await desk.person.must("PUT", "admin", "suspend", ayna.id, v="v1", body={"suspended": True})
    who = desk.person.id
    assert await entries(desk) == [
        (who, "PUT accounts/{userId}/lock", ayna.id, {"locked": True}, "done"),
        (
            who,
            "PUT accounts/{userId}/lock",
            "@no:kerwen.test",
            {"locked": True},
            "refused: not_found",
        ),
        (who, "PUT accounts/{userId}/lock", ayna.id, {"locked": "marked"}, "refused: bad_json"),
        (who, "POST accounts/{userId}/deactivate", ayna.id, {}, "refused: forbidden"),
        (who, "POST confirm", "", {}, "refused: proof asked for"),
        (
            who,
            "PUT /_matrix/client/v1/admin/suspend/{userId}",
            ayna.id,
            {"suspended": True},
            "done",
        ),
    ]


async def test_those_who_may_not_are_written_down_but_fill_nothing(house: House) -> None:
    desk, ayna = await desk_of(house), await house.person("ayna")
    for _ in range(30):
        answer = await house.call(ayna.token, "GET", "/_kerwen/admin/rooms/!a:b")
        assert answer.status == 403
    found = await entries(desk)
    refused = (ayna.id, "GET rooms/{roomId}", "!a:b", {}, "refused: no administrator")
    assert found == [refused] * 20
    house.clock.ms += 3_600_000
    await house.call(ayna.token, "GET", "/_kerwen/admin/rooms/!a:b")
    assert len(await entries(desk)) == 21


async def test_a_deed_that_was_cut_short_has_no_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the deed's beginning and its end."""

    async def no_end(self: Audit, entry_no: int, outcome: str) -> None:
        pass

    desk = await desk_of(house)
    with monkeypatch.context() as patched:
        patched.setattr(Audit, "end", no_end)
        await desk.must("GET", "statistics")
    assert await entries(desk) == [(desk.person.id, "GET statistics", "", {}, None)]


async def test_commands_are_written_down(house: House) -> None:
    async def add(name: str, password: str, admin: bool = False) -> str:
        return name

    async def refuse(name: str) -> None:
        raise Refused(Reason.NOT_FOUND, "no")

    async def fail(name: str) -> None:
        raise RuntimeError("a bug")

    desk = await desk_of(house)
    deeds = audited({"add": add, "refuse": refuse, "fail": fail}, house.messenger.admin.audit)
    asked = {"do": "add", "name": "batyr", "password": "marked", "admin": True}
    assert await answer(deeds, dict(asked)) == {"done": "batyr"}
    assert await answer(deeds, {"do": "refuse", "name": "x"}) == {"refused": "no"}
    assert "refused" in await answer(deeds, {"do": "fail", "name": "x"})
    assert await entries(desk) == [
        ("", "kerwen add", "batyr", {"admin": True}, "done"),
        ("", "kerwen refuse", "x", {}, "refused: not_found"),
        ("", "kerwen fail", "x", {}, "failed"),
    ]


def test_no_statement_changes_or_removes_an_entry() -> None:
    for file in Path(kerwen.__file__).parent.rglob("*"):
        if file.suffix in (".py", ".sql"):
            text = file.read_text("utf-8")
            assert not re.search(r"(update|delete from|drop table|alter table) audit_", text), file
