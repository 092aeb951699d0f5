from __future__ import annotations

import pytest

from kerwen.base.errors import Reason, Refused
from kerwen.rooms.versions import (
    DEFAULT_ROOM_VERSION,
    ROOM_VERSIONS,
    StateResolution,
    room_version,
)

# RV #feature-matrix and the text of each version: the versions in which each flag is set
FLAGS = {
    "url_safe_event_ids": range(4, 13),
    "strict_canonical_json": range(6, 13),
    "strict_byte_limits": range(11, 13),
    "redacts_in_content": range(11, 13),
    "room_id_is_create_hash": range(12, 13),
    "strict_key_validity": range(5, 13),
    "redaction_keeps_aliases": range(3, 6),
    "redaction_keeps_join_rule_allow": range(8, 13),
    "redaction_keeps_join_authorised": range(9, 13),
    "redaction_v11": range(11, 13),
    "aliases_rule": range(3, 6),
    "notification_levels": range(6, 13),
    "knock": range(7, 13),
    "restricted": range(8, 13),
    "knock_restricted": range(10, 13),
    "integer_power_levels": range(10, 13),
    "creator_is_sender": range(11, 13),
    "privileged_creators": range(12, 13),
    "create_in_auth_events": range(3, 12),
}


@pytest.mark.parametrize(("flag", "numbers"), FLAGS.items())
def test_flags(flag, numbers):
    assert {v.id for v in ROOM_VERSIONS.values() if getattr(v, flag)} == {str(n) for n in numbers}


def test_table():
    assert list(ROOM_VERSIONS) == [str(n) for n in range(3, 13)]
    assert all(ROOM_VERSIONS[name].id == name for name in ROOM_VERSIONS)
    assert room_version(DEFAULT_ROOM_VERSION).id == "12"
    by_algorithm = {v.id: v.state_resolution for v in ROOM_VERSIONS.values()}
    assert by_algorithm.pop("12") is StateResolution.V2_1
    assert set(by_algorithm.values()) == {StateResolution.V2}
    assert repr(room_version("9")) == "RoomVersion(9)"
    fields = set(type(room_version("9")).__dataclass_fields__)
    assert fields == {*FLAGS, "id", "state_resolution"}


@pytest.mark.parametrize("name", ["1", "2", "13", "", "12 ", 12, None, [], {}])
def test_unknown(name):
    with pytest.raises(Refused) as caught:
        room_version(name)
    assert caught.value.reason is Reason.UNSUPPORTED_ROOM_VERSION
