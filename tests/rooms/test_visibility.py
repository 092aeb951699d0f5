from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.rooms.visibility import Sight, server_may_see, visibility_of

from .forge import ALICE, Forge

ROOM = Forge("12").furnish()
MESSAGE = ROOM.make(ALICE, "m.room.message", {})
VISIBILITIES = ["world_readable", "shared", "invited", "joined"]
MEMBERSHIPS = ["join", "invite", "knock", "leave", "ban"]


def changes_to(visibility):
    content = {"history_visibility": visibility}
    return ROOM.make(ALICE, "m.room.history_visibility", content, "")


def stretches(*changes):
    """(place, value) → stretches."""
    ends = ([place for place, _ in changes[1:]] + [None])[: len(changes)]
    return [(place, end, value) for (place, value), end in zip(changes, ends, strict=True)]


# what Bob was: which visibilities let him see, without and with a later join
TABLE = [
    ("join", VISIBILITIES, VISIBILITIES),
    ("invite", ["world_readable", "invited"], ["world_readable", "shared", "invited"]),
    ("knock", ["world_readable"], ["world_readable", "shared"]),
    ("leave", ["world_readable"], ["world_readable", "shared"]),
    ("ban", ["world_readable"], ["world_readable", "shared"]),
    (None, ["world_readable"], ["world_readable", "shared"]),
]


@pytest.mark.parametrize(("membership", "never_after", "joined_after"), TABLE)
@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_messages(membership, never_after, joined_after, visibility):
    was = [(2, membership)] if membership else []

    def see(*later):
        return Sight([(1, None, visibility)], stretches(*was, *later)).sees(5)

    assert see() is (visibility in never_after)
    assert see((6, "invite")) is (visibility in never_after)
    assert see((6, "join")) is (visibility in joined_after)
    assert see((6, "join"), (7, "leave")) is (visibility in joined_after)


@pytest.mark.parametrize(("before", "after"), [*itertools.product(VISIBILITIES, repeat=2)])
def test_a_change_of_visibility_is_seen_from_both_sides(before, after):
    changes = stretches((1, before), (5, after))
    assert Sight(changes, []).sees(5) is ("world_readable" in (before, after))
    joined = Sight(changes, [(6, None, "join")])
    assert joined.sees(5) is bool({"world_readable", "shared"} & {before, after})
    for place, visibility in ((4, before), (6, after)):
        assert Sight(changes, []).sees(place) is (visibility == "world_readable")


@pytest.mark.parametrize(
    ("before", "after", "seen_if_joined", "seen_if_invited"),
    [
        ("join", "leave", True, True),
        ("join", "ban", True, True),
        (None, "join", True, True),
        ("invite", "join", True, True),
        (None, "invite", False, True),
        ("invite", "leave", False, True),
        ("leave", "ban", False, False),
        (None, "knock", False, False),
    ],
)
def test_own_membership_is_seen_from_both_sides(before, after, seen_if_joined, seen_if_invited):
    was = [(2, before)] if before else []

    def see(visibility):
        return Sight([(1, None, visibility)], stretches(*was, (5, after))).sees(5)

    assert see("joined") is seen_if_joined
    assert see("invited") is seen_if_invited


def test_a_room_without_a_visibility_is_shared():
    assert Sight([], [(3, None, "join")]).sees(1)
    assert not Sight([], [(3, None, "invite")]).sees(1)
    late = Sight([(5, None, "joined")], [(8, None, "join")])
    assert [place for place in range(10) if late.sees(place)] == [0, 1, 2, 3, 4, 5, 8, 9]


@pytest.mark.parametrize("value", [None, "secret", 5, ["joined"]])
def test_what_is_not_understood_means_shared(value):
    assert visibility_of(changes_to(value)) == "shared"
    assert visibility_of(None) == "shared"


@pytest.mark.parametrize("value", VISIBILITIES)
def test_visibility_of(value):
    assert visibility_of(changes_to(value)) == value


@pytest.mark.parametrize(
    ("ever", "now", "everything"),
    [
        (["shared"], "join", True),
        (["shared", "world_readable"], "join", True),
        ([], "join", True),
        (["shared", "joined"], "join", False),
        (["invited"], "join", False),
        (["shared"], "leave", False),
        (["world_readable"], None, False),
    ],
)
def test_everything(ever, now, everything):
    memberships = [(10, None, now)] if now else []
    assert Sight(stretches(*enumerate(ever, 1)), memberships).everything is everything


@st.composite
def histories(draw):
    """Changes of a room in turn, each at the next place or a later one."""
    visibilities, memberships, place = [], [], 0
    for _ in range(draw(st.integers(0, 8))):
        place += draw(st.integers(1, 3))
        if draw(st.booleans()):
            visibilities.append((place, draw(st.sampled_from(VISIBILITIES))))
        else:
            memberships.append((place, draw(st.sampled_from(MEMBERSHIPS))))
    return visibilities, memberships


def value_at(changes, place, default):
    return ([default] + [value for at, value in changes if at <= place])[-1]


def plainly(visibilities, memberships, place):
    """The rules word by word, one event alone."""
    joined_since = any(at > place and value == "join" for at, value in memberships)
    for v in {value_at(visibilities, p, "shared") for p in (place - 1, place)}:
        for m in {value_at(memberships, p, None) for p in (place - 1, place)}:
            if v == "world_readable" or m == "join" or (v == "shared" and joined_since):
                return True
            if v == "invited" and m == "invite":
                return True
    return False


@given(histories())
def test_ranges_say_what_the_rules_say(history):
    visibilities, memberships = history
    sight = Sight(stretches(*visibilities), stretches(*memberships))
    places = range(-2, 30)
    seen = [p for p in places if plainly(visibilities, memberships, p)]
    assert [p for p in places if sight.sees(p)] == seen
    for place in places:
        below = [p for p in seen if p < place]
        found = sight.last_before(place)
        assert found == below[-1] if below else found is None or found < places[0]
        above = [p for p in seen if p >= place]
        found = sight.first_from(place)
        assert found == above[0] if above else found is None or found > places[-1]


@pytest.mark.parametrize(
    ("visibility", "memberships", "whole"),
    [
        ("world_readable", [], True),
        ("shared", [], True),
        ("joined", ["leave"], False),
        ("joined", ["invite"], False),
        ("joined", ["leave", "join"], True),
        ("invited", ["leave", "invite"], True),
        ("invited", ["join"], True),
        ("invited", [], False),
    ],
)
def test_servers(visibility, memberships, whole):
    assert server_may_see(MESSAGE, visibility=visibility, memberships=memberships) is whole
    opening, closing = changes_to("shared"), changes_to("joined")
    assert server_may_see(opening, visibility=visibility, memberships=memberships)
    assert server_may_see(closing, visibility=visibility, memberships=memberships) is whole
