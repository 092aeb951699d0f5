"""Sliding sync (MSC4186): what is told of rooms."""

from __future__ import annotations

from tests.rooms.house import House, Json, bodies
from tests.rooms.sliding_client import (
    EVERYTHING,
    LAZILY,
    SlidingClient,
    all_rooms,
    ask,
)

OWN = [["m.room.member", "$ME"]]


def keys(block: Json) -> set[tuple[str, str]]:
    return {(e["type"], e["state_key"]) for e in block.get("required_state", [])}


# --- a room in full -------------------------------------------------------------------------------


async def test_the_server_says_that_it_knows_it(house: House) -> None:
    answer = await house.call(None, "GET", "/_matrix/client/versions")
    assert answer.json["unstable_features"]["org.matrix.simplified_msc3575"] is True


async def test_a_room_that_is_new_to_the_client(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", name="Maşgala")
    await ayna.set_state(room, "m.room.avatar", {"url": "mxc://a/b"})
    await batyr.join(room)
    await batyr.say(room, "one")
    last = await ayna.say(room, "two")
    answer = await ask(ayna, all_rooms(1, [["m.room.name", ""], *OWN]))
    assert answer["lists"] == {"all": {"count": 1}}
    block = answer["rooms"][room]
    assert block["initial"] is True
    assert block["name"] == "Maşgala"
    assert block["avatar"] == "mxc://a/b"
    assert "heroes" not in block
    assert "is_dm" not in block
    assert (block["joined_count"], block["invited_count"]) == (2, 0)
    assert (block["notification_count"], block["highlight_count"]) == (0, 0)
    assert keys(block) == {("m.room.name", ""), ("m.room.member", ayna.id)}
    assert [e["event_id"] for e in block["timeline"]] == [last]
    assert (block["limited"], block["num_live"]) == (True, 0)
    older = await ayna.messages(room, **{"from": block["prev_batch"]})
    assert bodies(older["chunk"]) == ["one"]
    assert isinstance(block["bump_stamp"], int)
    assert "unstable_expanded_timeline" not in block


async def test_a_whole_short_room_is_not_limited(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    block = (await ask(ayna, all_rooms(50)))["rooms"][room]
    assert "limited" not in block
    assert block["timeline"][0]["type"] == "m.room.create"


async def test_without_a_timeline(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    answer = await ask(ayna, all_rooms(0))
    block = answer["rooms"][room]
    assert "timeline" not in block
    assert block["limited"] is True
    await ayna.say(room, "one")
    block = (await ask(ayna, all_rooms(0), answer["pos"]))["rooms"][room]
    assert "timeline" not in block
    older = await ayna.messages(room, **{"from": block["prev_batch"]})
    assert bodies(older["chunk"]) == ["one"]


async def test_a_nameless_room_is_called_by_its_people(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "Batyr B"})
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    await ayna.invite(room, cemal)
    answer = await ask(ayna, all_rooms())
    block = answer["rooms"][room]
    assert "name" not in block
    assert block["heroes"] == [
        {"user_id": batyr.id, "displayname": "Batyr B"},
        {"user_id": cemal.id},
    ]
    await cemal.join(room)
    await batyr.leave(room)
    block = (await ask(ayna, all_rooms(), answer["pos"]))["rooms"][room]
    assert [hero["user_id"] for hero in block["heroes"]] == [cemal.id]
    assert (block["joined_count"], block["invited_count"]) == (2, 0)


async def test_names_and_pictures_come_and_go(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", name="Köne")
    await batyr.join(room)
    client = SlidingClient(ayna)
    await client.sync(all_rooms())
    await ayna.say(room)
    block = (await client.sync(all_rooms()))["rooms"][room]
    assert "name" not in block
    assert "joined_count" not in block
    await ayna.set_state(room, "m.room.name", {"name": "Täze"})
    await ayna.set_state(room, "m.room.avatar", {"url": "mxc://a/b"})
    block = (await client.sync(all_rooms()))["rooms"][room]
    assert (block["name"], block["avatar"]) == ("Täze", "mxc://a/b")
    await ayna.set_state(room, "m.room.name", {"name": ""})
    block = (await client.sync(all_rooms()))["rooms"][room]
    assert block["name"] is None
    event = await ayna.set_state(room, "m.room.name", {"name": "Ýene"})
    await client.sync(all_rooms())
    await ayna.redact(room, event)
    block = (await client.sync(all_rooms()))["rooms"][room]
    assert block["name"] is None


async def test_direct_chats(house: House) -> None:
    ayna = await house.person("ayna")
    one, two = await ayna.create_room(), await ayna.create_room()

    async def direct(*rooms: str) -> None:
        body = {"@x:y": list(rooms)}
        await ayna.must("PUT", "user", ayna.id, "account_data", "m.direct", body=body)

    await direct(one)
    client = SlidingClient(ayna)
    answer = await client.sync(all_rooms(filters={"is_dm": True}))
    assert answer["rooms"].keys() == {one}
    assert answer["rooms"][one]["is_dm"] is True
    answer = await client.sync(all_rooms())
    assert answer["rooms"].keys() == {two}
    assert "is_dm" not in answer["rooms"][two]
    await direct(two)
    answer = await client.sync(all_rooms())
    assert {i: block["is_dm"] for i, block in answer["rooms"].items()} == {one: False, two: True}
    assert not (await client.sync(all_rooms()))["rooms"]


async def test_unread_counts(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1))
    await batyr.say(room, "one")
    last = await batyr.say(room, "two", **{"m.mentions": {"user_ids": [ayna.id]}})
    block = (await client.sync(all_rooms(1)))["rooms"][room]
    assert (block["notification_count"], block["highlight_count"]) == (2, 1)
    await ayna.read(room, last, "m.read.private")
    block = (await client.sync(all_rooms(1)))["rooms"][room]
    assert (block["notification_count"], block["highlight_count"]) == (0, 0)
    assert "timeline" not in block
    assert not (await client.sync(all_rooms(1)))["rooms"]


async def test_bump_stamps_rise_with_words_only(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    client = SlidingClient(ayna)
    await client.sync(all_rooms(5))
    stamps = [client.rooms[room].shown["bump_stamp"]]
    for deed in (
        ayna.say(room),
        ayna.set_state(room, "m.room.topic", {"topic": "x"}),
        ayna.send(room, "m.reaction", {}),
        ayna.send(room, "m.room.encrypted", {"algorithm": "x"}),
    ):
        await deed
        await client.sync(all_rooms(5))
        stamps.append(client.rooms[room].shown["bump_stamp"])
    assert stamps[0] < stamps[1] == stamps[2] == stamps[3] < stamps[4]
    fresh = (await ask(ayna, all_rooms(1), conn_id="x"))["rooms"][room]
    assert fresh["bump_stamp"] == stamps[4]


async def test_the_ignored_are_not_heard(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    await batyr.say(room, "hidden")
    body = {"ignored_users": {batyr.id: {}}}
    await ayna.must("PUT", "user", ayna.id, "account_data", "m.ignored_user_list", body=body)
    invited = await batyr.create_room(invite=[ayna.id])
    client = SlidingClient(ayna)
    answer = await client.sync(all_rooms(20))
    assert invited not in answer["rooms"]
    assert bodies(answer["rooms"][room]["timeline"]) == []
    assert any(e.get("state_key") == batyr.id for e in answer["rooms"][room]["timeline"])
    await batyr.say(room, "hidden too")
    await ayna.say(room, "shown")
    answer = await client.sync(all_rooms(20))
    assert bodies(answer["rooms"][room]["timeline"]) == ["shown"]


async def test_the_words_of_the_ignored_count_for_what_they_count(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    body = {"ignored_users": {batyr.id: {}}}
    await ayna.must("PUT", "user", ayna.id, "account_data", "m.ignored_user_list", body=body)
    client = SlidingClient(ayna)
    await client.sync(all_rooms(5))
    await batyr.say(room, "hidden")
    await client.sync(all_rooms(5))
    fresh = (await ask(ayna, all_rooms(5), conn_id="x"))["rooms"][room]
    assert client.rooms[room].shown["notification_count"] == fresh["notification_count"]


async def test_events_come_with_what_relates_to_them(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    client = SlidingClient(batyr)
    await client.sync(all_rooms(1))
    event = await ayna.say(room, "frist")
    block = (await ask(ayna, all_rooms(1), conn_id="x"))["rooms"][room]
    assert "m.relations" not in block["timeline"][0]["unsigned"]
    relates = {"rel_type": "m.replace", "event_id": event}
    new = {"msgtype": "m.text", "body": "first"}
    edit = await ayna.say(room, "* first", **{"m.relates_to": relates, "m.new_content": new})
    for block in (
        (await ask(ayna, all_rooms(2), conn_id="x"))["rooms"][room],
        (await client.sync(all_rooms(5)))["rooms"][room],
    ):
        told = {e["event_id"]: e for e in block["timeline"]}[event]
        assert told["unsigned"]["m.relations"]["m.replace"]["event_id"] == edit


# --- news -----------------------------------------------------------------------------------------


async def test_only_news_are_told(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(3)]
    for room in rooms:
        await batyr.join(room)
    client = SlidingClient(ayna)
    await client.sync(all_rooms(2, EVERYTHING))
    assert not (await client.sync(all_rooms(2, EVERYTHING)))["rooms"]
    await batyr.say(rooms[1], "one")
    answer = await client.sync(all_rooms(2, EVERYTHING))
    assert answer["rooms"].keys() == {rooms[1]}
    block = answer["rooms"][rooms[1]]
    assert bodies(block["timeline"]) == ["one"]
    assert block["num_live"] == 1
    assert block.keys() & {"initial", "limited", "required_state", "prev_batch"} == set()
    for text in ("a", "b", "c"):
        await batyr.say(rooms[0], text)
    block = (await client.sync(all_rooms(2, EVERYTHING)))["rooms"][rooms[0]]
    assert bodies(block["timeline"]) == ["b", "c"]
    assert (block["limited"], block["num_live"]) == (True, 2)
    older = await ayna.messages(rooms[0], **{"from": block["prev_batch"]}, limit=1)
    assert bodies(older["chunk"]) == ["a"]


async def test_state_that_changes_is_told_with_the_timeline(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(preset="public_chat")
    wish = [["m.room.topic", ""], ["test.thing", "*"]]
    client = SlidingClient(ayna)
    await client.sync(all_rooms(1, wish))
    await ayna.set_state(room, "m.room.topic", {"topic": "x"})
    await ayna.set_state(room, "test.thing", {}, "k")
    await ayna.set_state(room, "test.other", {}, "k")
    block = (await client.sync(all_rooms(1, wish)))["rooms"][room]
    assert keys(block) == {("m.room.topic", ""), ("test.thing", "k")}
    assert block["limited"] is True


async def test_own_words_bear_their_transaction_id(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    client, other = SlidingClient(ayna), SlidingClient(await ayna.log_in())
    await client.sync(all_rooms())
    await other.sync(all_rooms())
    await ayna.must("PUT", "rooms", room, "send", "m.room.message", "txn", body={"body": "x"})
    mine = (await client.sync(all_rooms()))["rooms"][room]["timeline"][-1]
    theirs = (await other.sync(all_rooms()))["rooms"][room]["timeline"][-1]
    assert mine["unsigned"]["transaction_id"] == "txn"
    assert "transaction_id" not in theirs["unsigned"]


# --- members --------------------------------------------------------------------------------------


async def test_members_come_as_the_timeline_needs_them(house: House) -> None:
    ayna, batyr, cemal, dursun = await house.people("ayna", "batyr", "cemal", "dursun")
    room = await ayna.create_room(preset="public_chat")
    for person in (batyr, cemal, dursun):
        await person.join(room)
    wish = [["m.room.member", "$LAZY"], *OWN]
    await batyr.say(room, "one")
    client = SlidingClient(ayna, lazy=True)
    block = (await client.sync(all_rooms(1, wish)))["rooms"][room]
    assert keys(block) == {("m.room.member", ayna.id), ("m.room.member", batyr.id)}
    await batyr.say(room, "two")
    assert "required_state" not in (await client.sync(all_rooms(1, wish)))["rooms"][room]
    await cemal.say(room, "three")
    block = (await client.sync(all_rooms(1, wish)))["rooms"][room]
    assert keys(block) == {("m.room.member", cemal.id)}
    await dursun.say(room, "four")
    await batyr.say(room, "five")  # a gap: the client forgets whom it knew
    block = (await client.sync(all_rooms(1, wish)))["rooms"][room]
    assert block["limited"] is True
    assert keys(block) == {("m.room.member", batyr.id)}


async def test_members_of_a_lost_answer_are_told_again(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    await ayna.say(room)
    wish = [["m.room.member", "$LAZY"]]
    client = SlidingClient(ayna, lazy=True)
    await client.sync(all_rooms(1, wish))
    await batyr.say(room, "one")
    lost = (await client.ask(all_rooms(1, wish)))["rooms"][room]
    again = (await client.sync(all_rooms(1, wish)))["rooms"][room]
    assert keys(lost) == keys(again) == {("m.room.member", batyr.id)}
    await batyr.say(room, "two")
    assert "required_state" not in (await client.sync(all_rooms(1, wish)))["rooms"][room]


async def test_changes_of_members_are_told_where_there_is_no_gap(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    await cemal.join(room)
    client = SlidingClient(ayna, lazy=True)
    await client.sync(all_rooms(9, LAZILY))
    await cemal.must("PUT", "profile", cemal.id, "displayname", body={"displayname": "C"})
    block = (await client.sync(all_rooms(9, LAZILY)))["rooms"][room]
    assert keys(block) == {("m.room.member", cemal.id)}
    await batyr.leave(room)
    block = (await client.sync(all_rooms(9, LAZILY)))["rooms"][room]
    assert keys(block) == {("m.room.member", batyr.id)}
    assert block["joined_count"] == 2
