"""What is removed is gone: from the database, its index of words, the blobs; and clients go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from kerwen.rooms import retention
from kerwen.rooms.actions import purge
from kerwen.rooms.retention import expired, lifetime
from kerwen.storage.sql import sql
from tests.admin.desk import desk_of, download, upload
from tests.rooms.client import Client
from tests.rooms.house import House, Person, bodies, ids, sqlite_house

DAY = 86_400_000
PLAIN: dict[str, Any] = {
    "preset": "public_chat",
    "power_level_content_override": {"events": {}},
}


async def everywhere(house: House) -> bytes:
    """Every text and blob that the database holds."""
    tables = (
        *("events", "search_pending", "sent_transactions", "members", "receipts", "room_state"),
        *("delayed_events", "room_account_data", "aliases", "push_marks"),
    )
    found = []
    async with house.db.read() as snap:
        for table in tables:
            found += [str(row) for row in await snap.all(sql(f"select * from {table}"))]
    return "\n".join(found).encode()


async def found_by_search(who: Person, word: str) -> int:
    body = {"search_categories": {"room_events": {"search_term": word}}}
    answer = await who.must("POST", "search", body=body)
    return int(answer["search_categories"]["room_events"]["count"])


async def set_timer(who: Person, room: str, ms: int) -> None:
    await who.set_state(room, retention.RETENTION, {"max_lifetime": ms})


@pytest.mark.parametrize(
    ("rule", "timer", "house_ms", "lives"),
    [
        (None, None, 0, 0),
        (None, None, DAY, DAY),
        ({"max_lifetime": DAY}, None, 0, DAY),
        ({"max_lifetime": 2 * DAY}, None, DAY, DAY),  # the server's is the upper bound
        ({"max_lifetime": DAY}, None, 2 * DAY, DAY),
        ({"max_lifetime": 5}, None, 0, retention.LIFETIME_MIN_MS),
        ({"max_lifetime": 0}, None, 0, 0),
        ({"max_lifetime": -5}, None, DAY, DAY),
        ({"max_lifetime": True}, None, 0, 0),
        ({"max_lifetime": "5"}, {"type": 5}, 0, 0),
        ({"max_lifetime": 2**60}, None, 0, 0),
        ({"min_lifetime": DAY}, None, 0, 0),
        (None, {"type": "after_send", "timer": DAY}, 0, DAY),
        (None, {"type": "after_read", "timer": DAY}, 0, 0),  # who has read is not for us to know
        (None, {}, 0, 0),
        ({"max_lifetime": DAY}, {"type": "after_send", "timer": 60_000}, 0, 60_000),
    ],
)
def test_lifetimes(rule: Any, timer: Any, house_ms: int, lives: int) -> None:
    assert lifetime(rule, timer, house_ms) == lives


@pytest.mark.parametrize(
    ("stamps", "count"),
    [
        ([], 0),
        ([1, 2, 9], 3),
        ([1, 10, 2], 1),  # what stays keeps what came after it
        ([10], 0),
        ([1, 500, 2, 11], 3),  # a time that lies ahead cannot be true
        ([500], 0),
        ([1, 500], 1),
    ],
)
def test_the_oldest_go_first(stamps: list[int], count: int) -> None:
    assert expired(stamps, before_ms=10, now_ms=100) == count


async def test_a_rooms_timer(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    room = await ayna.create_room(**PLAIN)
    await batyr.join(room)
    await set_timer(ayna, room, DAY)
    client = Client(batyr)
    await client.sync()
    old = await ayna.say(room, "oldword one")
    thread = {"rel_type": "m.thread", "event_id": old}
    await ayna.say(room, "oldword two", **{"m.relates_to": thread})
    await ayna.say(room, f"{batyr.id} oldword", **{"m.mentions": {"user_ids": [batyr.id]}})
    assert await found_by_search(batyr, "oldword") == 3
    await client.sync()
    both.clock.ms += DAY // 2
    fresh = await ayna.say(room, "freshword")
    await both.messenger.admin.purge.run()
    assert "oldword one" in bodies(await ayna.history(room))
    both.clock.ms += DAY // 2 + 1
    await both.messenger.admin.purge.run()
    assert bodies(await ayna.history(room)) == ["freshword"]
    assert bodies(await ayna.history(room, "f")) == ["freshword"]
    assert await found_by_search(batyr, "oldword") == 0
    assert await found_by_search(batyr, "freshword") == 1
    assert b"oldword" not in await everywhere(both)
    # who looks for what is gone is told so, and clients go on
    await batyr.refused(404, "M_NOT_FOUND", "GET", "rooms", room, "event", old)
    await batyr.refused(404, "M_NOT_FOUND", "GET", "rooms", room, "context", old)
    assert (await batyr.must("GET", "rooms", room, "threads", v="v1"))["chunk"] == []
    await batyr.read(room, old)
    await client.sync()
    assert client.rooms[room].counts == {"notification_count": 1, "highlight_count": 0}
    anew = Client(batyr)
    await anew.sync()
    assert anew.rooms[room].counts["notification_count"] == 1
    assert fresh in anew.rooms[room].timeline
    await batyr.read(room, fresh)
    both.clock.ms += 2 * DAY
    await both.messenger.admin.purge.run()
    assert b"freshword" not in await everywhere(both)  # the newest too, though others follow it
    last = await ayna.say(room, "lastword")
    assert ids(await batyr.history(room))[0] == last
    both.clock.ms += 2 * DAY
    await ayna.say(room, "newest")
    await both.messenger.admin.purge.run()
    assert bodies(await batyr.history(room)) == ["newest"]
    await client.sync()
    assert client.rooms[room].counts["notification_count"] == 1


async def test_no_byte_is_left_in_the_file(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(**PLAIN)
    await set_timer(ayna, room, DAY)
    await ayna.say(room, "oldword")
    assert await found_by_search(ayna, "oldword") == 1
    house.clock.ms += 2 * DAY
    await ayna.say(room, "another")
    await house.messenger.admin.purge.run()
    await house.messenger.search_index.catch_up()
    await house.messenger.search_index.purge()
    again = await house.reopen()
    await again.close()
    held = b"".join(p.read_bytes() for p in house.folder.glob("kerwen.db*"))
    assert b"another" in held
    assert b"oldword" not in held


async def test_nothing_is_left_of_the_newest_once_others_follow(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(**PLAIN)
    await set_timer(ayna, room, DAY)
    await ayna.say(room, "one")
    house.clock.ms += 2 * DAY
    await house.messenger.admin.purge.run()
    bones = sql("select count(*) from events where seq is null")
    async with house.db.read() as snap:
        assert await snap.one(bones) == (1,)  # the next event's `prev_events` points there
    for _ in range(2):
        await ayna.say(room, "two")
        house.clock.ms += 2 * DAY
        await house.messenger.admin.purge.run()
    async with house.db.read() as snap:
        assert await snap.one(bones) == (1,)


async def test_a_timer_is_changed_and_taken_away(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room(**PLAIN)
    run = house.messenger.admin.purge.run
    await ayna.set_state(room, retention.TIMER, {"type": "after_send", "timer": 60_000})
    await ayna.say(room, "one")
    house.clock.ms += 50_000
    await ayna.say(room, "two")
    await run()
    house.clock.ms += 15_000
    await run()
    assert bodies(await ayna.history(room)) == ["two"]
    await ayna.set_state(room, retention.TIMER, {})
    house.clock.ms += DAY
    await run()
    assert bodies(await ayna.history(room)) == ["two"]
    async with house.db.read() as snap:
        assert await snap.one(sql("select 1 from room_expiry")) is None
    await ayna.set_state(room, retention.TIMER, {"type": "after_send", "timer": 2 * DAY})
    await run()
    assert bodies(await ayna.history(room)) == ["two"]
    house.clock.ms += 2 * DAY
    await run()
    assert bodies(await ayna.history(room)) == []


async def test_the_house_keeps_no_message_longer(tmp_path: Path, sqlite_template: Path) -> None:
    house = sqlite_house(tmp_path, sqlite_template, keep_messages=30)
    ayna = await house.person("ayna")
    rooms = [await ayna.create_room(**PLAIN) for _ in range(3)]
    for room in rooms:
        await ayna.say(room, "hello")
        await ayna.set_state(room, "m.room.topic", {"topic": "stays"})
    await set_timer(ayna, rooms[1], 60 * DAY)
    await set_timer(ayna, rooms[2], DAY)
    house.clock.ms += 2 * DAY
    await house.messenger.admin.purge.run()
    said = [bodies(await ayna.history(room)) for room in rooms]
    assert said == [["hello"], ["hello"], []]
    house.clock.ms += 29 * DAY
    await house.messenger.admin.purge.run()
    assert [bodies(await ayna.history(room)) for room in rooms] == [[], [], []]
    assert (await ayna.state(rooms[0], "m.room.topic")) == {"topic": "stays"}
    await house.close()
    assert not house.bugs


async def test_steps_are_bounded_and_go_on_where_they_stopped(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_BATCH", 3)
    ayna = await house.person("ayna")
    room = await ayna.create_room(**PLAIN)
    await set_timer(ayna, room, DAY)
    for n in range(10):
        await ayna.say(room, f"word{n}")
    await house.messenger.admin.purge.run()
    house.clock.ms += 2 * DAY
    assert await house.messenger.admin.purge.round()
    assert len(bodies(await ayna.history(room))) == 7
    again = await house.reopen()  # as after a crash
    await again.messenger.admin.purge.run()
    person = Person(again, ayna.id, ayna.device_id, ayna.token)
    assert bodies(await person.history(room)) == []
    await again.close()


async def test_files_go_with_the_message_that_brought_them(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(**PLAIN)
    await batyr.join(room)
    await set_timer(ayna, room, DAY)
    mine, small, other, pack = [await upload(ayna) for _ in range(4)]
    info = {"thumbnail_url": small}
    await ayna.say(room, "a picture", msgtype="m.image", url=mine, info=info)
    await batyr.say(room, "somebody else's", msgtype="m.image", url=other)
    await ayna.send(room, "m.sticker", {"body": "hi", "url": pack, "info": {}})
    blobs = [p for p in (house.folder / "blobs").rglob("*") if p.is_file()]
    assert len(blobs) == 4
    house.clock.ms += 2 * DAY
    await house.messenger.admin.purge.run()
    assert [(await download(batyr, uri)).status for uri in (mine, small)] == [404, 404]
    assert [(await download(batyr, uri)).status for uri in (other, pack)] == [200, 200]
    assert len([p for p in blobs if p.exists()]) == 2


async def test_history_up_to_a_time(both: House) -> None:
    desk, ayna = await desk_of(both), await both.person("ayna")
    room = await ayna.create_room(**PLAIN)
    await ayna.say(room, "oldword")
    both.clock.ms += DAY
    before = both.clock.ms
    await ayna.say(room, "freshword")
    await desk.confirm()
    asked = await desk.must(
        "POST", "rooms/{roomId}/purge_history", {"before_ms": before}, roomId=room
    )
    assert (asked["kind"], asked["removed"], asked["done_ms"]) == ("history", 0, 0)
    await both.messenger.admin.purge.run()
    done = (await desk.must("GET", "removals"))["removals"][0]
    assert (done["removed"], done["done_ms"] > 0) == (1, True)
    assert bodies(await ayna.history(room)) == ["freshword"]
    assert b"oldword" not in await everywhere(both)
    for wrong in (0, both.clock.ms + DAY):
        await desk.refused(
            400,
            "M_INVALID_PARAM",
            "POST",
            "rooms/{roomId}/purge_history",
            {"before_ms": wrong},
            roomId=room,
        )
    await desk.refused(404, "M_NOT_FOUND", "POST", "rooms/{roomId}/shut_down", None, roomId="!no:x")


async def test_a_room_is_shut_down(both: House) -> None:
    desk = await desk_of(both)
    ayna, batyr, maral = await both.people("ayna", "batyr", "maral")
    room = await ayna.create_room(
        **PLAIN, name="secretname", room_alias_name="club", visibility="public"
    )
    other = await ayna.create_room(**PLAIN, name="another")
    await batyr.join(room)
    await ayna.invite(room, maral)
    uri = await upload(batyr)
    await batyr.say(room, "secretword", msgtype="m.file", url=uri)
    await batyr.must("PUT", "user", batyr.id, "rooms", room, "tags", "u.x", body={})
    offline, online = Client(batyr), Client(ayna)
    await offline.sync()
    await online.sync()
    await desk.confirm()
    await desk.must("POST", "rooms/{roomId}/shut_down", roomId=room)
    await maral.refused(403, "M_FORBIDDEN", "POST", "join", room)
    await both.messenger.admin.purge.round()
    await online.sync()
    assert not online.rooms[room].joined
    await both.messenger.admin.purge.run()
    held = await everywhere(both)
    assert b"secretword" not in held
    assert b"secretname" not in held
    assert (await download(batyr, uri)).status == 404
    await desk.refused(404, "M_NOT_FOUND", "GET", "rooms/{roomId}", None, roomId=room)
    assert [r["room_id"] for r in (await desk.must("GET", "rooms"))["rooms"]] == [other]
    # who was away learns that they are out; nobody can look or come in
    await offline.sync()
    assert not offline.rooms[room].joined
    for who in (ayna, batyr, maral):
        await who.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "messages", dir="b")
        await who.refused(403, "M_FORBIDDEN", "POST", "join", room)
        assert room not in (await who.must("GET", "joined_rooms"))["joined_rooms"]
        fresh = await who.sync(filter={"room": {"include_leave": True}})
        assert room not in fresh["rooms"].get("join", {})
        state = [["*", "*"]]
        wish: Any = {"ranges": [[0, 9]], "timeline_limit": 5, "required_state": state}
        path = ("org.matrix.simplified_msc3575", "sync")
        await who.must("POST", *path, v="unstable", body={"lists": {"all": wish}})
    await maral.refused(404, "M_NOT_FOUND", "GET", "directory", "room", "#club:kerwen.test")
    await desk.must("PUT", "rooms/{roomId}/block", {"blocked": False}, roomId=room)
    assert (await ayna.call("POST", "join", room)).status == 403  # there is nothing to enter
    assert bodies(await ayna.history(other)) == []
    job = (await desk.must("GET", "removals"))["removals"][0]
    assert job["done_ms"] > 0
    assert job["removed"] > 8


async def test_nobody_enters_a_blocked_room(house: House) -> None:
    desk = await desk_of(house)
    ayna, batyr, maral = await house.people("ayna", "batyr", "maral")
    room = await ayna.create_room(**PLAIN)
    await batyr.join(room)
    await desk.must("PUT", "rooms/{roomId}/block", {"blocked": True}, roomId=room)
    assert (await desk.must("GET", "rooms/{roomId}", roomId=room))["room"]["blocked"] is True
    await maral.refused(403, "M_FORBIDDEN", "POST", "join", room)
    await ayna.refused(
        403, "M_FORBIDDEN", "POST", "rooms", room, "invite", body={"user_id": maral.id}
    )
    path = ("rooms", room, "state", "m.room.member", maral.id)
    await ayna.refused(403, "M_FORBIDDEN", "PUT", *path, body={"membership": "invite"})
    await batyr.say(room, "those who are in go on")
    await batyr.must("PUT", "profile", batyr.id, "displayname", body={"displayname": "B"})
    await batyr.leave(room)
    await batyr.refused(403, "M_FORBIDDEN", "POST", "join", room)
    await desk.must("PUT", "rooms/{roomId}/block", {"blocked": False}, roomId=room)
    await batyr.join(room)
    await desk.refused(
        400, "M_INVALID_PARAM", "PUT", "rooms/{roomId}/block", {"blocked": True}, roomId="x"
    )


async def test_an_erased_account_has_said_nothing(
    both: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_BATCH", 2)
    monkeypatch.setattr(purge, "_WINDOW", 4)
    desk, ayna, batyr = await desk_of(both), *await both.people("ayna", "batyr")
    rooms = [await batyr.create_room(**PLAIN) for _ in range(2)]
    uri = await upload(ayna)
    for room in rooms:
        await ayna.join(room)
        for n in range(5):
            await ayna.say(room, f"eraseword{n}")
            await batyr.say(room, f"staysword{n}")
    await desk.confirm()
    await desk.must("POST", "accounts/{userId}/deactivate", {"erase": True}, userId=ayna.id)
    await both.messenger.admin.purge.run()
    held = await everywhere(both)
    assert b"eraseword" not in held
    assert (await download(batyr, uri)).status == 404
    for room in rooms:
        history = await batyr.history(room)
        assert len([b for b in bodies(history) if b.startswith("staysword")]) == 5
        emptied = [e for e in history if e["sender"] == ayna.id and e["type"] == "m.room.message"]
        assert [e["content"] for e in emptied] == [{}] * 5
    assert await found_by_search(batyr, "eraseword0") == 0
    job = (await desk.must("GET", "removals"))["removals"][0]
    assert (job["kind"], job["removed"], job["done_ms"] > 0) == ("erase", 10, True)


async def test_an_erasure_outlives_a_crash(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is closed, and the server ends before the removal is asked for."""
    ayna, batyr = await house.people("ayna", "batyr")
    room = await batyr.create_room(**PLAIN)
    await ayna.join(room)
    await ayna.say(room, "eraseword")
    no = (await house.messenger.accounts.moderate.account(ayna.id)).account_no
    purging = house.messenger.admin.purge

    async def crash(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(purging, "after_deactivated", crash)
        with pytest.raises(ConnectionError):
            await house.messenger.accounts.deactivate.run(no, erase=True)
    assert await purging.jobs(2**62, 9) == []
    await purging.run()
    assert b"eraseword" not in await everywhere(house)
    assert len(await purging.jobs(2**62, 9)) == 1
    await purging.run()
    assert len(await purging.jobs(2**62, 9)) == 1


async def test_the_worker_runs_and_survives_what_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_LOOK_S", 0.001)
    desk, ayna = await desk_of(house), await house.person("ayna")
    broken, room = [await ayna.create_room(**PLAIN) for _ in range(2)]
    for each in (broken, room):
        await set_timer(ayna, each, DAY)
        await ayna.say(each, "hello")
    house.clock.ms += 2 * DAY
    whole = house.messenger.admin.purge._lifetime
    async with house.db.read() as snap:
        broken_no = await house.messenger.admin.purge._append.names.room(snap, broken)

    async def fails(snap: Any, room_no: int) -> int:
        if room_no == broken_no:
            raise RuntimeError("a bug")
        return await whole(snap, room_no)

    purging, done = house.messenger.admin.purge, asyncio.Event()
    monkeypatch.setattr(purging, "_lifetime", fails)
    step = purging.round

    async def watched() -> bool:
        more = await step()
        if not bodies(await ayna.history(room)):
            done.set()
        return more

    monkeypatch.setattr(purging, "round", watched)
    worker = asyncio.ensure_future(purging.work())
    await asyncio.wait_for(done.wait(), 20)
    assert bodies(await ayna.history(broken)) == ["hello"]
    assert not worker.done()
    worker.cancel()
    await desk.must("GET", "statistics")


def test_files_of_odd_messages() -> None:
    def event(content: Any, event_type: str = "m.room.message") -> tuple[str, bytes]:
        return "@a:b", orjson.dumps({"type": event_type, "content": content})[:-1]

    url = "mxc://b/c"
    assert purge.files_in([event({"url": url})]) == [("@a:b", url)]
    assert purge.files_in([event({"file": {"url": url}, "url": 5})]) == [("@a:b", url)]
    for odd in ({"url": url[1:]}, {"body": url}, {"info": [url]}, {"file": {"v": {"url": url}}}):
        assert purge.files_in([event(odd)]) == []
    assert purge.files_in([event({"url": url}, "m.sticker")]) == []
