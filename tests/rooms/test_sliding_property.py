"""Whatever people do, and through whatever windows a sliding client looks, it ends where a
client that starts anew begins."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.rooms.house import House, Json, Person
from tests.rooms.sliding_client import (
    EVERYTHING,
    LAZILY,
    Room,
    SlidingClient,
    all_rooms,
    with_extensions,
)
from tests.rooms.test_sync_property import Play

STEPS = 80
NAMED = [
    ["m.room.name", ""],
    ["m.room.topic", ""],
    ["m.room.create", ""],
    ["test.thing", "*"],
    ["m.room.member", "$ME"],
    ["m.room.member", "*"],
    ["*", "1"],
]


class Looker:
    """A client with windows of its own choice."""

    def __init__(self, person: Person, kind: str, rooms: list[str], chance: random.Random) -> None:
        self.client = SlidingClient(person, kind, kind == "lazy")
        self.kind = kind
        self.rooms = rooms
        self.chance = chance

    def state(self) -> list[list[str]]:
        if self.kind == "lazy":
            return LAZILY
        if self.kind == "all":
            return EVERYTHING
        return self.chance.sample(NAMED, self.chance.randrange(len(NAMED)))

    def wish(self) -> Json:
        chance = self.chance
        state = self.state()
        body = all_rooms(chance.choice((0, 1, 2, 5, 20)), state, chance.randrange(4))
        if chance.random() < 0.3:
            first = chance.randrange(3)
            body["lists"]["more"] = {
                "ranges": [[first, first + chance.randrange(3)]],
                "timeline_limit": chance.choice((1, 3, 20)),
                "required_state": self.state(),
                "filters": chance.choice(
                    (
                        {},
                        {"is_invite": chance.random() < 0.5},
                        {"is_dm": chance.random() < 0.5},
                        {"room_name_like": "1"},
                    )
                ),
            }
        if chance.random() < 0.3:
            one = {"timeline_limit": chance.choice((1, 4, 20)), "required_state": state}
            body["room_subscriptions"] = {chance.choice(self.rooms): one}
        return with_extensions(body)

    async def look(self) -> None:
        body = self.wish()
        if self.chance.random() < 0.2:
            await self.client.ask(body)  # the answer gets lost; perhaps the next one, too
        await self.client.sync(body)

    async def look_at_all(self) -> None:
        """Everything, until nothing is left to tell."""
        body = self.last_wish()
        for _ in range(5):
            answer = await self.client.sync(body)
            if not answer["rooms"]:
                return
        raise AssertionError(answer)

    def last_wish(self) -> Json:
        state = LAZILY if self.kind == "lazy" else EVERYTHING
        return with_extensions(all_rooms(10, state))


async def same(looker: Looker, log: list[str]) -> None:
    """The client knows what a fresh one is told."""
    client = looker.client
    fresh = SlidingClient(client.person, "fresh")
    await fresh.sync(with_extensions(all_rooms(10, EVERYTHING)))
    who = f"{client.person} {looker.kind}\n" + "\n".join(log)
    assert client.joined() == fresh.joined(), who
    assert client.asked_in() == fresh.asked_in(), who
    assert client.counts == fresh.counts, who
    assert client.data == fresh.data, who
    for room_id in sorted(fresh.joined()):
        await same_room(looker, client.rooms[room_id], fresh.rooms[room_id], room_id, who)
        for key, content in fresh.room_data.items():
            assert client.room_data[key] == content, who
        for key, event_id in fresh.receipts.items():
            assert client.receipts[key] == event_id, (key, who)


async def same_room(looker: Looker, mine: Room, theirs: Room, room_id: str, who: str) -> None:
    if looker.kind == "lazy":
        for key, event_id in mine.members().items():
            assert event_id == theirs.state[key], (key, who)
        senders = {k[1] for k in mine.members()}
        assert mine.last_senders <= senders, who
        assert without_members(mine) == without_members(theirs), who
    else:
        assert mine.state == theirs.state, who
    assert shown(mine) == shown(theirs), who
    whole = [e["event_id"] for e in await looker.client.person.history(room_id, "f")]
    assert mine.timeline == whole[len(whole) - len(mine.timeline) :], who
    assert len(mine.timeline) >= min(10, len(theirs.timeline)), who


def shown(room: Room) -> dict[str, Any]:
    """What stands beside; what is not set, and what stays when a name comes, left out."""
    found = {k: v for k, v in room.shown.items() if v not in (None, False, [])}
    if "name" in found:
        found.pop("heroes", None)
    found.pop("bump_stamp")
    return found


def without_members(room: Room) -> dict[Any, str]:
    return {k: v for k, v in room.state.items() if k[0] != "m.room.member"}


async def forget(house: House) -> None:
    """The server has nothing of connections in memory."""
    sliding = house.messenger.sliding_sync
    await sliding.connections.finish()
    sliding.connections._kept.clear()


@pytest.mark.parametrize("seed", range(10))
async def test_any_windows_end_where_starting_anew_begins(house: House, seed: int) -> None:
    await windows_end_where_starting_anew_begins(house, seed)


async def test_it_is_so_on_either_engine(both: House) -> None:
    await windows_end_where_starting_anew_begins(both, 1_000)


async def windows_end_where_starting_anew_begins(house: House, seed: int) -> None:
    chance = random.Random(seed)
    people = await house.people("ayna", "batyr", "cemal", "dursun")
    rooms = []
    for number, preset in enumerate(("public_chat", "private_chat", "public_chat", "public_chat")):
        wish: Json = {"preset": preset, "room_version": chance.choice(("10", "11", "12"))}
        wish["power_level_content_override"] = {"state_default": 0, "invite": 0, "kick": 0}
        wish["power_level_content_override"] |= {"ban": 0, "redact": 0, "events": {}}
        rooms.append(await people[number].create_room(**wish))
    play = Play(people, rooms, chance)
    lookers = [
        Looker(person, kind, rooms, chance)
        for person in people
        for kind in ("all", "lazy", "named")
    ]
    for _ in range(STEPS):
        await play.act()
        await more(play, chance)
        if chance.random() < 0.05:
            await forget(house)
        for looker in lookers:
            if chance.random() < 0.12:
                await looker.look()
                play.log.append(f"look {looker.client.person} {looker.kind}")
    for looker in lookers:
        await looker.look_at_all()
        await same(looker, play.log)


async def more(play: Play, chance: random.Random) -> None:
    """What only some clients care for: direct chats, tags, who types."""
    who, room = chance.choice(play.people), play.pick()
    deed = chance.random()
    if deed < 0.1:
        rooms = chance.sample(play.rooms, chance.randrange(3))
        body = {"@x:y": rooms}
        await who.call("PUT", "user", who.id, "account_data", "m.direct", body=body)
    elif deed < 0.2:
        tag = chance.choice(("m.favourite", "u.work"))
        await who.call("PUT", "user", who.id, "rooms", room, "tags", tag, body={})
