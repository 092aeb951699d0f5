from __future__ import annotations

import pytest

from kerwen.rooms.redact import redact, redacted_content
from kerwen.rooms.versions import ROOM_VERSIONS

from .forge import VERSIONS, from_to

ALL = from_to(3)
POWER = ["ban", "events", "events_default", "kick", "redact", "state_default", "users"]
# (type, key of content, versions that keep it)
KEYS = [
    ("m.room.member", "membership", ALL),
    ("m.room.member", "join_authorised_via_users_server", from_to(9)),
    ("m.room.member", "displayname", []),
    ("m.room.create", "creator", ALL),
    ("m.room.create", "anything", from_to(11)),
    ("m.room.join_rules", "join_rule", ALL),
    ("m.room.join_rules", "allow", from_to(8)),
    ("m.room.join_rules", "other", []),
    ("m.room.power_levels", "invite", from_to(11)),
    ("m.room.power_levels", "users_default", ALL),
    ("m.room.power_levels", "notifications", []),
    *(("m.room.power_levels", key, ALL) for key in POWER),
    ("m.room.aliases", "aliases", from_to(3, 5)),
    ("m.room.history_visibility", "history_visibility", ALL),
    ("m.room.history_visibility", "x", []),
    ("m.room.redaction", "redacts", from_to(11)),
    ("m.room.redaction", "reason", []),
    ("m.room.message", "body", []),
    ("m.room.message", "membership", []),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("event_type", "key", "keepers"), KEYS)
def test_content_keys(version, event_type, key, keepers):
    kept = redacted_content(event_type, {key: {"deep": [1]}}, ROOM_VERSIONS[version])
    assert kept == ({key: {"deep": [1]}} if version in keepers else {})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("invite", "kept"),
    [({"signed": {"a": 1}, "display_name": "x"}, {"signed": {"a": 1}}), ({"x": 1}, {})],
)
def test_signed_third_party_invite(version, invite, kept):
    content = {"membership": "invite", "third_party_invite": invite}
    result = redacted_content("m.room.member", content, ROOM_VERSIONS[version])
    expected = {"third_party_invite": kept} if version in from_to(11) else {}
    assert result == {"membership": "invite", **expected}
    broken = redacted_content("m.room.member", {"third_party_invite": "x"}, ROOM_VERSIONS[version])
    assert broken == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_top_level_keys(version):
    always = [
        "event_id", "type", "room_id", "sender", "state_key", "hashes", "signatures", "depth",
        "prev_events", "auth_events", "origin_server_ts",
    ]  # fmt: skip
    before_v11 = ["prev_state", "origin", "membership"]
    never = ["unsigned", "redacts", "replaces_state", "x"]
    event = {key: key for key in [*always, *before_v11, *never]} | {"content": {"a": 1}}
    kept = redact(event, ROOM_VERSIONS[version])
    assert set(kept) == {*always, "content", *(before_v11 if version in from_to(3, 10) else [])}
    assert kept["content"] == {}
    assert redact(kept, ROOM_VERSIONS[version]) == kept
    assert event["content"] == {"a": 1}
