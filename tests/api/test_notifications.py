"""What people were notified of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.checked import Checked
from tests.rooms.house import House, Json, Person


async def notified(who: Person, **query: Any) -> Json:
    answer: Json = await Checked(who.house).do(who, "getNotifications", query=query)
    return answer


def texts(answer: Json) -> list[str]:
    return [n["event"]["content"].get("body", "") for n in answer["notifications"]]


async def room_of(*people: Person) -> str:
    """A public room with three people at least, so that it is no talk of two."""
    room = await people[0].create_room(preset="public_chat")
    for person in people[1:]:
        await person.join(room)
    return room


async def test_others_messages_newest_first(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    one, two = await room_of(ayna, batyr, maral), await room_of(batyr, ayna, maral)
    await batyr.say(one, "bir")
    await ayna.say(one, "öz sözüm")
    await maral.say(two, "iki")
    last = await batyr.say(one, "üç")
    await batyr.send(one, "m.reaction", {"m.relates_to": {"event_id": last}})
    answer = await notified(ayna)
    assert texts(answer) == ["üç", "iki", "bir"]
    assert "next_token" not in answer
    newest = answer["notifications"][0]
    assert (newest["room_id"], newest["event"]["event_id"]) == (one, last)
    assert "notify" in newest["actions"]
    assert newest["ts"] == newest["event"]["origin_server_ts"]
    assert "room_id" not in newest["event"]


async def test_what_was_said_before_one_came_told_one_nothing(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    room = await room_of(ayna, batyr)
    await ayna.say(room, "öň")
    await maral.join(room)
    await ayna.say(room, "soň")
    assert texts(await notified(maral)) == ["soň"]
    await maral.leave(room)
    assert texts(await notified(maral)) == []


async def test_read_ones_are_told_as_read(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    room = await room_of(ayna, batyr, maral)
    first = await batyr.say(room, "bir")
    await batyr.say(room, "iki")
    assert [n["read"] for n in (await notified(ayna))["notifications"]] == [False, False]
    await ayna.read(room, first)
    assert [n["read"] for n in (await notified(ayna))["notifications"]] == [False, True]


async def test_highlights_only(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    room = await room_of(ayna, batyr, maral)
    await batyr.say(room, "hemmelere")
    await batyr.say(room, "saňa", **{"m.mentions": {"user_ids": [ayna.id]}})
    answer = await notified(ayna, only="highlight")
    assert texts(answer) == ["saňa"]
    assert {"set_tweak": "highlight"} in answer["notifications"][0]["actions"]
    assert texts(await notified(ayna)) == ["saňa", "hemmelere"]
    assert texts(await notified(maral, only="highlight")) == []


async def test_by_ones_own_rules(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    loud, quiet = await room_of(ayna, batyr, maral), await room_of(ayna, batyr, maral)
    await ayna.must("PUT", "pushrules", "global", "room", quiet, body={"actions": []})
    await batyr.say(quiet, "bu ýerde")
    await batyr.say(loud, "o ýerde")
    assert texts(await notified(ayna)) == ["o ýerde"]
    assert texts(await notified(maral)) == ["o ýerde", "bu ýerde"]


async def test_redacted_ones_are_gone(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    room = await room_of(ayna, batyr, maral)
    await batyr.redact(room, await batyr.say(room, "gizlin"))
    await batyr.say(room, "galan")
    assert texts(await notified(ayna)) == ["galan"]


async def test_pages(both: House) -> None:
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    rooms = [await room_of(batyr, ayna, maral) for _ in range(3)]
    said = []
    for number in range(9):
        said.append(f"{number}")
        await batyr.say(rooms[number % 3], f"{number}")
    seen: list[str] = []
    token = None
    for _ in range(10):
        answer = await notified(ayna, limit=2, **({"from": token} if token else {}))
        seen += texts(answer)
        token = answer.get("next_token")
        if token is None:
            break
    assert seen == said[::-1]


@pytest.mark.parametrize(
    "query", [{"from": "x"}, {"from": "1-"}, {"from": "1-" + "9" * 30}, {"limit": "x"}]
)
async def test_bad_questions(house: House, query: Json) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(400, "M_INVALID_PARAM", "GET", "notifications", **query)
