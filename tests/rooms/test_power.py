from __future__ import annotations

import pytest

from kerwen.rooms.power import INFINITE, PowerLevels, creator_of, creators_of, level_of
from kerwen.rooms.versions import ROOM_VERSIONS

from .forge import ALICE, BOB, CAROL, MOD, VERSIONS, Forge, from_to

OLD, NEW = ROOM_VERSIONS["9"], ROOM_VERSIONS["10"]


@pytest.mark.parametrize(
    ("value", "old", "new"),
    [
        (5, 5, 5),
        (-5, -5, -5),
        (True, None, None),
        (None, None, None),
        ([], None, None),
        ("100", 100, None),
        ("000100", 100, None),
        ("+100", 100, None),
        ("-100", -100, None),
        (" -100\t", -100, None),
        ("1 00", None, None),
        ("1_00", None, None),
        ("--1", None, None),
        ("", None, None),
        ("1.5", None, None),
        ("٣", None, None),
        ("1" * 2000, None, None),
        (50.57, 50, None),
        (-50.57, -50, None),
        (5.114698e4, 51146, None),
        (float("inf"), None, None),
        (float("nan"), None, None),
    ],
)
def test_level_of(value, old, new):
    assert level_of(value, OLD) == old
    assert level_of(value, NEW) == new


@pytest.mark.parametrize("version", VERSIONS)
def test_without_an_event(version):
    room = Forge(version)
    levels = PowerLevels.of_state(room.state, room.version)
    assert levels.user(ALICE) == (INFINITE if version == "12" else 100)
    assert levels.user(BOB) == 0
    assert levels.required("m.room.message", is_state=False) == 0
    assert levels.required("m.room.topic", is_state=True) == 50
    names = ("users_default", "events_default", "state_default", "ban", "kick", "redact", "invite")
    assert [levels.named(n) for n in names] == [0, 0, 50, 50, 50, 50, 0]
    assert levels.notification("room") == 50


@pytest.mark.parametrize("version", VERSIONS)
def test_with_an_event(version):
    room = Forge(version).furnish(
        users={BOB: 20},
        users_default=5,
        events={"x": 30},
        state_default=40,
        events_default=10,
        kick=60,
        notifications={"room": 70},
    )
    levels = PowerLevels.of_state(room.state, room.version)
    assert [levels.user(u) for u in (MOD, BOB, CAROL)] == [50, 20, 5]
    assert levels.user(ALICE) == (INFINITE if version == "12" else 100)
    assert levels.required("x", is_state=False) == levels.required("x", is_state=True) == 30
    assert levels.required("y", is_state=False) == 10
    assert levels.required("y", is_state=True) == 40
    assert (levels.named("kick"), levels.named("ban")) == (60, 50)
    assert (levels.notification("room"), levels.notification("x")) == (70, 50)


@pytest.mark.parametrize("version", from_to(3, 11))
def test_a_creator_has_no_power_beside_the_event(version):
    room = Forge(version)
    room.put(ALICE, "m.room.power_levels", {"users": {BOB: 100}})
    assert PowerLevels.of_state(room.state, room.version).user(ALICE) == 0


@pytest.mark.parametrize("junk", [None, [], "x", {"x": None}, {"x": "high"}])
def test_junk_means_default(junk):
    room = Forge("9")
    content = dict.fromkeys(("users", "events", "notifications", "ban"), junk)
    room.put(ALICE, "m.room.power_levels", content)
    levels = PowerLevels.of_state(room.state, room.version)
    assert (levels.user("x"), levels.required("x", is_state=True)) == (0, 50)
    assert (levels.named("ban"), levels.notification("x")) == (50, 50)


def test_creators():
    room = Forge("12", additional_creators=[BOB, 5])
    assert creators_of(room.create) == {ALICE, BOB}
    assert creator_of(room.create) == ALICE
    assert creators_of(Forge("12").create) == {ALICE}
    assert creators_of(Forge("12", additional_creators="x").create) == {ALICE}
    assert creators_of(Forge("11", additional_creators=[BOB]).create) == set()
    assert PowerLevels.of_state(room.state, room.version).user(BOB) == INFINITE
    old = Forge("10")
    assert creator_of(old.create) == ALICE
    assert creator_of(old.make(BOB, "m.room.create", {"creator": CAROL}, "")) == CAROL
    assert creator_of(old.make(BOB, "m.room.create", {"creator": 5}, "")) is None
    assert creator_of(Forge("11").make(BOB, "m.room.create", {"creator": CAROL}, "")) == BOB
