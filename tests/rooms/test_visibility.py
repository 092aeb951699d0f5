from __future__ import annotations

import itertools

import pytest

from kerwen.rooms.visibility import may_see, sees_everything, server_may_see, visibility_of

from .forge import ALICE, BOB, Forge

ROOM = Forge("12").furnish()
MESSAGE = ROOM.make(ALICE, "m.room.message", {})
VISIBILITIES = ["world_readable", "shared", "invited", "joined"]


def changes_to(visibility):
    content = {"history_visibility": visibility}
    return ROOM.make(ALICE, "m.room.history_visibility", content, "")


def becomes(membership, user=BOB):
    return ROOM.make(user, "m.room.member", {"membership": membership}, user)


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
    def see(joined_since):
        return may_see(
            MESSAGE,
            BOB,
            visibility=visibility,
            membership=membership,
            joined_since=joined_since,
        )

    assert see(False) is (visibility in never_after)
    assert see(True) is (visibility in joined_after)


@pytest.mark.parametrize(("before", "after"), [*itertools.product(VISIBILITIES, repeat=2)])
def test_a_change_of_visibility_is_seen_from_both_sides(before, after):
    seen = may_see(changes_to(after), BOB, visibility=before, membership=None, joined_since=False)
    assert seen is ("world_readable" in (before, after))
    seen = may_see(changes_to(after), BOB, visibility=before, membership=None, joined_since=True)
    assert seen is bool({"world_readable", "shared"} & {before, after})


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
    def see(event, visibility):
        return may_see(event, BOB, visibility=visibility, membership=before, joined_since=False)

    assert see(becomes(after), "joined") is seen_if_joined
    assert see(becomes(after), "invited") is seen_if_invited
    # another's membership says nothing about Bob
    assert see(becomes("join", "@carol:c.test"), "joined") is (before == "join")


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
def test_sees_everything(ever, now, everything):
    assert sees_everything(ever, now) is everything


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
