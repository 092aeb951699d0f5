"""Who is told of what: rules, own events, what was read, who is ignored; and nothing more."""

from __future__ import annotations

import orjson
import pytest

from tests.push.gateway import FakeGateway
from tests.push.world import follow, push, pushers, set_pusher
from tests.rooms.house import House, Person


async def pair(house: House, gateway: FakeGateway) -> tuple[Person, Person, str]:
    """Ayna with a pusher and Batyr, in a room of the two."""
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="private_chat", invite=[batyr.id])
    await batyr.join(room)
    await set_pusher(ayna, gateway.url)
    await push(house)
    gateway.told.clear()
    return ayna, batyr, room


async def test_a_message_is_told_without_a_word_of_it(both: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(both, gateway)
    await set_pusher(ayna, gateway.url, default_payload={"aps": {"mutable-content": 1}})
    event_id = await batyr.say(room, "a secret word")
    await push(both)
    (told,) = gateway.told
    (device,) = told["devices"]
    assert isinstance(device.pop("pushkey_ts"), int)
    assert told == {
        "event_id": event_id,
        "room_id": room,
        "prio": "high",
        "counts": {"unread": 1},
        "devices": [device],
    }
    assert device == {
        "app_id": "test.app",
        "pushkey": "key",
        "data": {"format": "event_id_only", "default_payload": {"aps": {"mutable-content": 1}}},
        "tweaks": {"sound": "default"},
    }


async def test_also_the_full_format_holds_no_content(both: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(both, gateway)
    await ayna.must(
        "POST",
        "pushers",
        "set",
        body={
            "app_id": "test.app",
            "app_display_name": "App",
            "device_display_name": "Phone",
            "kind": "http",
            "lang": "en",
            "pushkey": "key",
            "data": {"url": gateway.url},
        },
    )
    await batyr.say(room, "a secret word")
    await push(both)
    text = gateway.bodies[-1]
    assert b"secret" not in text
    assert batyr.id.encode() not in text
    assert b"m.room.message" not in text
    assert set(gateway.told[-1]) == {"event_id", "room_id", "prio", "counts", "devices"}


async def test_nobody_is_told_of_their_own_events(house: House, gateway: FakeGateway) -> None:
    ayna, _, room = await pair(house, gateway)
    await ayna.say(room)
    await push(house)
    assert gateway.told == []


async def test_quiet_events_are_not_told(house: House, gateway: FakeGateway) -> None:
    _, batyr, room = await pair(house, gateway)
    said = await batyr.say(room)
    await batyr.say(room, msgtype="m.notice")
    await batyr.send(
        room,
        "m.reaction",
        {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "!"}},
    )
    await push(house)
    assert gateway.events == [said]


async def test_groups_have_no_sound_but_mentions_do(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    (cesur,) = await house.people("cesur")
    await ayna.invite(room, cesur)
    await cesur.join(room)
    plain = await batyr.say(room)
    named = await batyr.say(room, **{"m.mentions": {"user_ids": [ayna.id]}})
    await push(house)
    assert gateway.events == [plain, named]
    first, second = gateway.told
    assert first["prio"] == "low"
    assert "tweaks" not in first["devices"][0]
    assert second["prio"] == "high"
    assert second["devices"][0]["tweaks"] == {"sound": "default", "highlight": True}
    assert second["counts"] == {"unread": 2}


async def test_room_mentions_ask_for_the_right(house: House, gateway: FakeGateway) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await batyr.create_room(preset="public_chat", invite=[ayna.id])
    await ayna.join(room)
    (cesur,) = await house.people("cesur")
    await cesur.join(room)
    await set_pusher(ayna, gateway.url)
    await push(house)
    gateway.told.clear()
    await cesur.say(room, **{"m.mentions": {"room": True}})
    await batyr.say(room, **{"m.mentions": {"room": True}})
    await push(house)
    assert ["tweaks" in told["devices"][0] for told in gateway.told] == [False, True]


async def test_own_rules_decide(both: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(both, gateway)
    await ayna.must("PUT", "pushrules", "global", "room", room, body={"actions": []})
    await batyr.say(room)
    await push(both)
    assert gateway.told == []
    await ayna.must(
        "PUT",
        "pushrules",
        "global",
        "content",
        "bread",
        body={"pattern": "çörek", "actions": ["notify", {"set_tweak": "sound", "value": "bell"}]},
    )
    found = await batyr.say(room, "çörek bar")
    await push(both)
    assert gateway.events == [found]
    assert gateway.told[0]["devices"][0]["tweaks"] == {"sound": "bell"}


async def test_an_invite_is_told(both: House, gateway: FakeGateway) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    await set_pusher(ayna, gateway.url)
    room = await batyr.create_room()
    await batyr.invite(room, ayna)
    await push(both)
    (told,) = gateway.told
    assert told["room_id"] == room
    assert told["devices"][0]["tweaks"] == {"sound": "default"}


async def test_an_answered_invite_is_not(house: House, gateway: FakeGateway) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    await set_pusher(ayna, gateway.url)
    room = await batyr.create_room(invite=[ayna.id])
    await follow(house)
    await ayna.leave(room)
    await push(house)
    assert gateway.told == []


async def test_what_was_read_meanwhile_only_changes_the_badge(
    both: House, gateway: FakeGateway
) -> None:
    ayna, batyr, room = await pair(both, gateway)
    one = await batyr.say(room)
    await push(both)
    two = await batyr.say(room)
    await follow(both)  # written down, not sent yet
    await ayna.read(room, two)
    await push(both)
    assert gateway.events == [one]
    badge = gateway.told[-1]
    assert badge["counts"] == {"unread": 0}
    assert "event_id" not in badge
    assert "room_id" not in badge
    told = len(gateway.told)
    await ayna.read(room, two, "m.read.private")
    await push(both)
    assert len(gateway.told) == told, "the same count is not told again"


async def test_who_speaks_has_read(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    await batyr.say(room)
    await push(house)
    await ayna.say(room)
    await push(house)
    assert [told["counts"] for told in gateway.told] == [{"unread": 1}, {"unread": 0}]


async def test_the_badge_counts_all_rooms(both: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(both, gateway)
    other = await batyr.create_room(preset="public_chat")
    await ayna.join(other)
    for _ in range(3):
        await batyr.say(other)
    root = await batyr.say(room)
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await batyr.say(room, **thread)
    await push(both)
    assert gateway.told[-1]["counts"] == {"unread": 5}


async def test_threads_are_read_apart(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    root = await batyr.say(room)
    await push(house)
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    reply = await batyr.say(room, **thread)
    await ayna.read(room, reply, thread_id=root)
    await push(house)
    assert gateway.events == [root]


async def test_the_ignored_wake_nobody(both: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(both, gateway)
    body = {"ignored_users": {batyr.id: {}}}
    path = ("user", ayna.id, "account_data", "m.ignored_user_list")
    await ayna.must("PUT", *path, body=body)
    await batyr.say(room)
    await push(both)
    assert gateway.told == []
    await ayna.must("PUT", *path, body={"ignored_users": {}})
    said = await batyr.say(room)
    await push(both)
    assert gateway.events == [said]


async def test_a_redacted_event_is_not_told(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    event_id = await batyr.say(room)
    await follow(house)
    await batyr.redact(room, event_id)
    await push(house)
    assert gateway.events == []
    assert ayna


async def test_every_device_is_told(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    await set_pusher(ayna, gateway.url, "second")
    said = await batyr.say(room)
    await push(house)
    assert gateway.events == [said, said]
    assert {t["devices"][0]["pushkey"] for t in gateway.told} == {"key", "second"}


async def test_who_left_is_not_told(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    await batyr.say(room)
    await follow(house)
    await ayna.leave(room)
    await batyr.say(room)
    await push(house)
    assert gateway.events == []


async def test_a_pusher_reaches_rooms_joined_later(both: House, gateway: FakeGateway) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    await set_pusher(ayna, gateway.url)
    room = await batyr.create_room(preset="public_chat")
    await ayna.join(room)
    said = await batyr.say(room)
    await push(both)
    assert gateway.events == [said]


async def test_a_log_out_ends_its_pusher(house: House, gateway: FakeGateway) -> None:
    ayna, batyr, room = await pair(house, gateway)
    second = await ayna.log_in()
    await set_pusher(second, gateway.url, "second")
    await second.must("POST", "logout")
    await batyr.say(room)
    await push(house)
    assert [t["devices"][0]["pushkey"] for t in gateway.told] == ["key"]
    assert await pushers(ayna) == ["key"]


async def test_only_members_with_pushers_are_looked_at(house: House, gateway: FakeGateway) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await batyr.create_room(preset="public_chat")
    for person in await house.people(*(f"p{n}" for n in range(10))):
        await person.join(room)
    await batyr.say(room)
    await follow(house)
    notify = house.messenger.push.notify
    assert notify.looked_at == 0
    await ayna.join(room)
    await set_pusher(ayna, gateway.url)
    await batyr.say(room)
    await follow(house)
    assert notify.looked_at == 1


@pytest.mark.parametrize("loud", [True, False])
async def test_nothing_of_an_event_is_written_down(
    house: House, gateway: FakeGateway, loud: bool
) -> None:
    from kerwen.storage.sql import sql

    _, batyr, room = await pair(house, gateway)
    await batyr.say(room, "a secret word", msgtype="m.text" if loud else "m.notice")
    await follow(house)
    async with house.db.read() as snap:
        rows = await snap.all(sql("select * from pushes"))
    assert len(rows) == loud
    assert "secret" not in orjson.dumps(rows).decode()
