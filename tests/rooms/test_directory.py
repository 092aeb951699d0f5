"""Aliases, the published directory, room summaries, mutual rooms, reports, upgrades."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rooms.house import DOMAIN, House, Json, Person, ids

ALIAS = f"#tea:{DOMAIN}"


# --- aliases ----------------------------------------------------------------------------------


async def test_an_alias_from_birth_to_end(both: House) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    path = ("directory", "room", ALIAS)
    await cemal.refused(403, "M_FORBIDDEN", "PUT", *path, body={"room_id": room})
    await batyr.must("PUT", *path, body={"room_id": room})
    await ayna.refused(409, "M_UNKNOWN", "PUT", *path, body={"room_id": room})
    assert await cemal.must("GET", *path) == {"room_id": room, "servers": [DOMAIN]}
    assert await ayna.must("GET", "rooms", room, "aliases") == {"aliases": [ALIAS]}
    await cemal.refused(403, "M_FORBIDDEN", "GET", "rooms", room, "aliases")
    await cemal.must("POST", "join", ALIAS)
    await ayna.set_state(
        room, "m.room.canonical_alias", {"alias": ALIAS, "alt_aliases": [ALIAS], "x": 1}
    )
    await cemal.refused(403, "M_FORBIDDEN", "DELETE", *path)
    await ayna.must("DELETE", *path)
    await ayna.refused(404, "M_NOT_FOUND", "GET", *path)
    await ayna.refused(404, "M_NOT_FOUND", "DELETE", *path)
    expected: Json = {"alt_aliases": [], "x": 1}
    assert await ayna.state(room, "m.room.canonical_alias") == expected


async def test_who_made_an_alias_may_remove_it(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    path = ("directory", "room", ALIAS)
    await batyr.must("PUT", *path, body={"room_id": room})
    await ayna.set_state(room, "m.room.canonical_alias", {"alias": ALIAS})
    await batyr.must("DELETE", *path)
    # the name is gone; the room's own state was not batyr's to change
    assert await ayna.state(room, "m.room.canonical_alias") == {"alias": ALIAS}


async def test_open_rooms_show_their_aliases(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    state = {
        "type": "m.room.history_visibility",
        "content": {"history_visibility": "world_readable"},
    }
    room = await ayna.create_room(room_alias_name="tea", initial_state=[state])
    assert await batyr.must("GET", "rooms", room, "aliases") == {"aliases": [ALIAS]}


@pytest.mark.parametrize(
    "alias",
    ["tea", "#tea", "#:" + DOMAIN, "#tea:", "!tea:" + DOMAIN, f"#{'a' * 300}:{DOMAIN}"],
)
async def test_aliases_that_are_none(house: House, alias: str) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    path = ("directory", "room", alias)
    await ayna.refused(400, "M_INVALID_PARAM", "PUT", *path, body={"room_id": room})
    await ayna.refused(400, "M_INVALID_PARAM", "GET", *path)


BAD_ROOMS: list[tuple[Any, int, str]] = [
    ({}, 400, "M_BAD_JSON"),
    ({"room_id": 5}, 400, "M_BAD_JSON"),
    (b"{", 400, "M_NOT_JSON"),
    ({"room_id": "!none:x.test"}, 404, "M_NOT_FOUND"),
    ({"room_id": "x"}, 404, "M_NOT_FOUND"),
]


@pytest.mark.parametrize(("body", "status", "errcode"), BAD_ROOMS, ids=range(len(BAD_ROOMS)))
async def test_aliases_of_nothing(house: House, body: Any, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    await ayna.refused(status, errcode, "PUT", "directory", "room", ALIAS, body=body)


async def test_aliases_of_other_servers(house: House) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    path = ("directory", "room", "#tea:elsewhere.test")
    await ayna.refused(400, "M_INVALID_PARAM", "PUT", *path, body={"room_id": room})
    await ayna.refused(404, "M_NOT_FOUND", "GET", *path)


# --- the directory ----------------------------------------------------------------------------


async def browse(who: Person, **query: Any) -> Json:
    found: Json = await who.must("GET", "publicRooms", **query)
    return found


async def search(who: Person, **body: Any) -> list[str]:
    found = await who.must("POST", "publicRooms", body=body)
    return [room["room_id"] for room in found["chunk"]]


async def test_what_the_directory_tells(both: House) -> None:
    ayna, batyr = await both.people("ayna", "batyr")
    state = [
        {"type": "m.room.avatar", "content": {"url": "mxc://a/b"}},
        {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
        {
            "type": "m.room.history_visibility",
            "content": {"history_visibility": "world_readable"},
        },
    ]
    room = await ayna.create_room(
        visibility="public",
        name="Çaýhana",
        topic="About tea",
        room_alias_name="tea",
        initial_state=state,
        creation_content={"type": "m.space"},
    )
    await batyr.join(room)
    bare = await batyr.create_room(visibility="public")
    hidden = await batyr.create_room(preset="public_chat")
    found = await browse(ayna)
    assert found["total_room_count_estimate"] == 2
    assert found["chunk"] == [
        {
            "room_id": room,
            "name": "Çaýhana",
            "topic": "About tea",
            "canonical_alias": ALIAS,
            "avatar_url": "mxc://a/b",
            "num_joined_members": 2,
            "world_readable": True,
            "guest_can_join": True,
            "join_rule": "public",
            "room_type": "m.space",
        },
        {
            "room_id": bare,
            "num_joined_members": 1,
            "world_readable": False,
            "guest_can_join": False,
            "join_rule": "public",
        },
    ]
    assert hidden not in str(found)
    await ayna.set_state(room, "m.room.name", {"name": "New"})
    assert (await browse(ayna))["chunk"][0]["name"] == "New"
    answer = await both.call(None, "GET", "/_matrix/client/v3/publicRooms")
    assert answer.status == 200


async def test_publishing(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    path = ("directory", "list", "room", room)
    assert await cemal.must("GET", *path) == {"visibility": "private"}
    for who in (batyr, cemal):
        await who.refused(403, "M_FORBIDDEN", "PUT", *path, body={"visibility": "public"})
    await ayna.must("PUT", *path, body={})
    assert await cemal.must("GET", *path) == {"visibility": "public"}
    assert await search(cemal) == [room]
    await ayna.must("PUT", *path, body={"visibility": "private"})
    assert await search(cemal) == []
    for body in ({"visibility": "odd"}, {"visibility": 5}, []):
        answer = await ayna.call("PUT", *path, body=body)
        assert answer.status == 400, answer
    none = ("directory", "list", "room", "!none:x.test")
    await ayna.refused(404, "M_NOT_FOUND", "GET", *none)
    await ayna.refused(404, "M_NOT_FOUND", "PUT", *none, body={})


async def test_pages_of_the_directory(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    rooms = [await ayna.create_room(visibility="public") for _ in range(7)]
    await batyr.join(rooms[3])
    await batyr.join(rooms[5])
    await cemal.join(rooms[5])
    order = [rooms[n] for n in (5, 3, 0, 1, 2, 4, 6)]
    seen: list[str] = []
    token, pages = None, []
    while True:
        page = await browse(ayna, limit=3, since=token)
        pages.append(page)
        seen += [room["room_id"] for room in page["chunk"]]
        token = page.get("next_batch")
        if token is None:
            break
    assert seen == order
    assert [len(p["chunk"]) for p in pages] == [3, 3, 1]
    assert "prev_batch" not in pages[0]
    back = await browse(ayna, limit=3, since=pages[2]["prev_batch"])
    assert [room["room_id"] for room in back["chunk"]] == order[3:6]
    assert back["next_batch"]
    first = await browse(ayna, limit=3, since=back["prev_batch"])
    assert [room["room_id"] for room in first["chunk"]] == order[:3]
    assert "prev_batch" not in first
    for token in ("x", "n", "n1", "n1_x", "n-1_2", "q1_2", "n" + "9" * 50 + "_1", "é1_2"):
        await ayna.refused(400, "M_INVALID_PARAM", "GET", "publicRooms", since=token)


async def test_searching_the_directory(house: House) -> None:
    ayna = await house.person("ayna")
    tea = await ayna.create_room(visibility="public", name="Çaýhana", topic="green")
    news = await ayna.create_room(
        visibility="public", name="TÄZELIKLER", room_alias_name="habarlar"
    )
    space = await ayna.create_room(
        visibility="public", name="Ёлки", creation_content={"type": "m.space"}
    )

    async def by(term: str | None = None, **more: Any) -> set[str]:
        chosen = {"generic_search_term": term} if term is not None else {}
        return set(await search(ayna, filter={**chosen, **more}))

    for term in ("çaýhana", "CAYHANA", "ayha", "Green"):
        assert await by(term) == {tea}, term
    assert await by("tazelik") == {news}
    assert await by("habar") == {news}
    assert await by("елки") == {space}
    assert await by("nothing") == set()
    assert await by("") == {tea, news, space}
    assert await by(room_types=["m.space"]) == {space}
    assert await by(room_types=[None]) == {tea, news}
    assert await by(room_types=[None, "m.space"]) == {tea, news, space}
    assert await by(room_types=[]) == set()
    assert await by("a", room_types=["m.space"]) == set()
    assert await search(ayna, third_party_instance_id="irc") == []


BAD_QUERIES: list[tuple[Any, int]] = [
    ([], 400),
    ({"limit": "x"}, 400),
    ({"limit": -1}, 400),
    ({"limit": 1.5}, 400),
    ({"since": 5}, 400),
    ({"since": "x"}, 400),
    ({"filter": 5}, 400),
    ({"filter": {"generic_search_term": 5}}, 400),
    ({"filter": {"generic_search_term": "x" * 10_000}}, 413),
    ({"filter": {"room_types": "m.space"}}, 400),
    ({"filter": {"room_types": [5]}}, 400),
    ({"include_all_networks": "yes"}, 400),
    ({"include_all_networks": True, "third_party_instance_id": "x"}, 400),
    (b'{"filter":{"generic_search_term":"\\ud800"}}', 400),
]


@pytest.mark.parametrize(("body", "status"), BAD_QUERIES, ids=range(len(BAD_QUERIES)))
async def test_bad_searches(house: House, body: Any, status: int) -> None:
    ayna = await house.person("ayna")
    answer = await ayna.call("POST", "publicRooms", body=body)
    assert answer.status == status, answer


async def test_directories_of_other_servers(house: House) -> None:
    ayna = await house.person("ayna")
    await ayna.must("GET", "publicRooms", server=DOMAIN)
    await ayna.refused(404, "M_NOT_FOUND", "GET", "publicRooms", server="elsewhere.test")


# --- summaries --------------------------------------------------------------------------------


async def test_a_summary(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(
        preset="public_chat", name="Tea", room_alias_name="tea", room_version="11"
    )
    await ayna.set_state(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    expected = {
        "room_id": room,
        "name": "Tea",
        "canonical_alias": ALIAS,
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_version": "11",
        "encryption": "m.megolm.v1.aes-sha2",
    }
    path = ("room_summary", room)
    assert await batyr.must("GET", *path, v="v1") == expected | {"membership": "leave"}
    assert await ayna.must("GET", "room_summary", ALIAS, v="v1") == expected | {
        "membership": "join"
    }
    answer = await house.call(None, "GET", f"/_matrix/client/v1/room_summary/{room}")
    assert answer.json == expected
    for none in ("!none:x.test", "#none:x.test", "x"):
        await ayna.refused(404, "M_NOT_FOUND", "GET", "room_summary", none, v="v1")


SUMMARIES: list[tuple[str, str, str, bool, bool]] = [  # rule, visibility, membership, user, anyone
    ("public", "shared", "none", True, True),
    ("knock", "shared", "none", True, True),
    ("invite", "world_readable", "none", True, True),
    ("invite", "shared", "none", False, False),
    ("invite", "shared", "invite", True, False),
    ("invite", "shared", "join", True, False),
    ("invite", "shared", "ban", False, False),
    ("restricted", "shared", "none", False, False),
    ("restricted", "shared", "allowed", True, False),
]


@pytest.mark.parametrize(("rule", "visibility", "standing", "user", "anyone"), SUMMARIES)
async def test_who_sees_a_summary(
    house: House, rule: str, visibility: str, standing: str, user: bool, anyone: bool
) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    door = await ayna.create_room(preset="public_chat")
    if standing == "allowed":
        await batyr.join(door)
    allow = [{"type": "m.room_membership", "room_id": door}]
    rules = {"join_rule": rule} | ({"allow": allow} if rule == "restricted" else {})
    state = [
        {"type": "m.room.join_rules", "content": rules},
        {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}},
    ]
    room = await ayna.create_room(initial_state=state)
    if standing in ("invite", "join"):
        await ayna.invite(room, batyr)
    if standing == "join":
        await batyr.join(room)
    if standing == "ban":
        await ayna.ban(room, batyr)
    answer = await batyr.call("GET", "room_summary", room, v="v1")
    assert answer.status == (200 if user else 404), answer
    if rule == "restricted" and user:
        assert answer.json["allowed_room_ids"] == [door]
    answer = await house.call(None, "GET", f"/_matrix/client/v1/room_summary/{room}")
    assert answer.status == (200 if anyone else 404), answer


async def test_mutual_rooms(house: House) -> None:
    ayna, batyr, cemal = await house.people("ayna", "batyr", "cemal")
    rooms = [await ayna.create_room(preset="public_chat") for _ in range(4)]
    for room in rooms[:3]:
        await batyr.join(room)
    await batyr.leave(rooms[2])
    await cemal.join(rooms[3])

    async def mutual(other: str) -> Json:
        found: Json = await ayna.must("GET", "mutual_rooms", v="v1", user_id=other)
        return found

    assert await mutual(batyr.id) == {"joined": rooms[:2], "count": 2}
    assert await mutual(cemal.id) == {"joined": [rooms[3]], "count": 1}
    assert await mutual("@nobody:x.test") == {"joined": [], "count": 0}
    path = ("GET", "mutual_rooms")
    await ayna.refused(400, "M_MISSING_PARAM", *path, v="v1")
    for other in (ayna.id, "x", "@x"):
        await ayna.refused(400, "M_INVALID_PARAM", *path, v="v1", user_id=other)
    for token in ("x", "-1", "9" * 40):
        query = {"user_id": batyr.id, "from": token}
        await ayna.refused(400, "M_INVALID_PARAM", *path, v="v1", **query)


# --- reports ----------------------------------------------------------------------------------


async def test_reports(both: House) -> None:
    ayna, batyr, cemal = await both.people("ayna", "batyr", "cemal")
    room = await ayna.create_room()
    said = await ayna.say(room)
    await ayna.invite(room, batyr)
    await batyr.join(room)
    bad = {"reason": "bad"}
    await cemal.must("POST", "rooms", room, "report", body=bad)
    await batyr.must("POST", "rooms", room, "report", said, body=bad | {"score": -100})
    await batyr.must("POST", "rooms", room, "report", said, body={})
    await cemal.must("POST", "users", ayna.id, "report", body={"reason": ""})
    for path in (
        ("rooms", "!none:x.test", "report"),
        ("rooms", room, "report", "$none"),
        ("users", f"@none:{DOMAIN}", "report"),
    ):
        await batyr.refused(404, "M_NOT_FOUND", "POST", *path, body=bad)
    await cemal.refused(404, "M_NOT_FOUND", "POST", "rooms", room, "report", said, body=bad)
    for body in ({}, {"reason": 5}, []):
        answer = await cemal.call("POST", "rooms", room, "report", body=body)
        assert (answer.status, answer.errcode) == (400, "M_BAD_JSON")
    long = {"reason": "x" * 100_000}
    await cemal.refused(413, "M_TOO_LARGE", "POST", "rooms", room, "report", body=long)
    reports = both.messenger.reports
    found = await reports.page()
    assert [(r.kind, r.reporter, r.room_id, r.event_id, r.user_id, r.reason) for r in found] == [
        ("room", cemal.id, room, None, None, "bad"),
        ("event", batyr.id, room, said, ayna.id, "bad"),
        ("event", batyr.id, room, said, ayna.id, ""),
        ("user", cemal.id, None, None, ayna.id, ""),
    ]
    await reports.close(found[0].report_no)
    assert await reports.page() == found[1:]
    assert await reports.page(after=found[1].report_no, count=1) == [found[2]]


# --- upgrades ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [("9", "10"), ("10", "12"), ("12", "12"), ("12", "11")])
async def test_an_upgrade(house: House, old: str, new: str) -> None:
    ayna, batyr, cemal, spam = await house.people("ayna", "batyr", "cemal", "spam")
    state = [
        {"type": "m.room.avatar", "content": {"url": "mxc://a/b"}},
        {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
        {"type": "m.room.server_acl", "content": {"allow": ["*"]}},
        {"type": "test.own", "content": {"n": 1}},
    ]
    room = await ayna.create_room(
        visibility="public",
        room_version=old,
        name="Tea",
        topic="T",
        room_alias_name="tea",
        initial_state=state,
        creation_content={"type": "m.space"},
    )
    child = {"via": [DOMAIN]}
    await ayna.set_state(room, "m.space.child", child, "!child:x.test")
    await ayna.set_state(room, "m.space.child", {}, "!gone:x.test")
    await batyr.join(room)
    await ayna.ban(room, spam)
    users = {batyr.id: 50} | ({} if old == "12" else {ayna.id: 100})
    await ayna.levels(room, users=users, ban=77)
    tip = ids(await ayna.history(room))[0]
    path = ("rooms", room, "upgrade")
    await batyr.refused(403, "M_FORBIDDEN", "POST", *path, body={"new_version": new})
    await cemal.refused(403, "M_FORBIDDEN", "POST", *path, body={"new_version": new})
    made = await ayna.must("POST", *path, body={"new_version": new})
    following = made["replacement_room"]
    await check_new(ayna, room, following, new, tip, batyr, spam)
    await check_old(ayna, batyr, room, following)
    found = await cemal.must("GET", "directory", "room", ALIAS)
    assert found["room_id"] == following
    assert await search(cemal) == [following]
    await batyr.join(following)
    await spam.refused(403, "M_FORBIDDEN", "POST", "join", following)


async def check_new(
    ayna: Person, room: str, following: str, new: str, tip: str, batyr: Person, spam: Person
) -> None:
    found = await ayna.must("GET", "rooms", following, "state")
    now = {(e["type"], e["state_key"]): e["content"] for e in found}
    create = now["m.room.create", ""]
    assert create["predecessor"]["room_id"] == room
    if new != "12":
        assert create["predecessor"]["event_id"] == tip
    assert (create["room_version"], create["type"]) == (new, "m.space")
    assert now["m.room.name", ""] == {"name": "Tea"}
    assert now["m.room.topic", ""]["topic"] == "T"
    assert now["m.room.avatar", ""] == {"url": "mxc://a/b"}
    assert now["m.room.encryption", ""] == {"algorithm": "m.megolm.v1.aes-sha2"}
    assert now["m.room.server_acl", ""] == {"allow": ["*"]}
    assert now["m.room.join_rules", ""] == {"join_rule": "public"}
    assert now["m.room.canonical_alias", ""] == {"alias": ALIAS}
    assert now["m.space.child", "!child:x.test"] == {"via": [DOMAIN]}
    assert ("m.space.child", "!gone:x.test") not in now
    assert ("test.own", "") not in now
    assert now["m.room.member", spam.id] == {"membership": "ban"}
    assert ("m.room.member", batyr.id) not in now
    levels = now["m.room.power_levels", ""]
    assert levels["ban"] == 77
    assert levels["users"] == ({batyr.id: 50} | ({} if new == "12" else {ayna.id: 100}))
    if new == "12":
        assert levels["events"]["m.room.tombstone"] >= 150


async def check_old(ayna: Person, batyr: Person, room: str, following: str) -> None:
    tombstone = await ayna.state(room, "m.room.tombstone")
    assert tombstone["replacement_room"] == following
    levels = await ayna.state(room, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (50, 50)
    assert await ayna.state(room, "m.room.canonical_alias") == {}
    await ayna.levels(room, users=levels["users"] | {batyr.id: 0})
    path = ("rooms", room, "send", "m.room.message", "1")
    await batyr.refused(403, "M_FORBIDDEN", "PUT", *path, body={"body": "x"})


async def test_settings_go_along(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat")
    await batyr.join(room)
    tags = ("user", batyr.id, "rooms")
    await batyr.must("PUT", *tags, room, "tags", "m.favourite", body={"order": 0.5})
    rule = ("pushrules", "global", "room")
    for person in (ayna, batyr):
        await person.must("PUT", *rule, room, body={"actions": []})
    made = await ayna.must("POST", "rooms", room, "upgrade", body={"new_version": "12"})
    following = made["replacement_room"]
    assert (await ayna.must("GET", *rule, following))["actions"] == []
    since = await batyr.now()
    await batyr.join(following)
    found = await batyr.must("GET", *tags, following, "tags")
    assert found == {"tags": {"m.favourite": {"order": 0.5}}}
    assert (await batyr.must("GET", *rule, following))["actions"] == []
    block = (await batyr.sync(since))["rooms"]["join"][following]
    assert [e["type"] for e in block["account_data"]["events"]] == ["m.tag"]
    # what was set in the new room stays
    await batyr.must("PUT", *tags, following, "tags", "m.lowpriority", body={})
    await batyr.leave(following)
    await batyr.join(following)
    found = await batyr.must("GET", *tags, following, "tags")
    assert set(found["tags"]) == {"m.favourite", "m.lowpriority"}


async def test_private_rooms_stay_private(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    first = {"type": "m.room.join_rules", "content": {"join_rule": "knock_restricted"}}
    room = await ayna.create_room(room_version="10", initial_state=[first])
    body = {"new_version": "9"}
    made = await ayna.must("POST", "rooms", room, "upgrade", body=body)
    following = made["replacement_room"]
    assert await ayna.state(following, "m.room.join_rules") == {"join_rule": "invite"}
    plain = await ayna.create_room(preset="public_chat")
    body = {"new_version": "12", "additional_creators": [batyr.id]}
    made = await ayna.must("POST", "rooms", plain, "upgrade", body=body)
    following = made["replacement_room"]
    path = ("rooms", following, "state", "m.room.encryption")
    await ayna.refused(404, "M_NOT_FOUND", "GET", *path)
    create = await ayna.state(following, "m.room.create")
    assert create["additional_creators"] == [batyr.id]


async def test_a_moderator_may_upgrade_and_stays_one(house: House) -> None:
    ayna, batyr = await house.people("ayna", "batyr")
    room = await ayna.create_room(preset="public_chat", room_version="10")
    await batyr.join(room)
    levels = await ayna.state(room, "m.room.power_levels")
    events = levels["events"] | {"m.room.tombstone": 50}
    await ayna.levels(room, users={ayna.id: 100, batyr.id: 50}, events=events)
    made = await batyr.must("POST", "rooms", room, "upgrade", body={"new_version": "11"})
    following = made["replacement_room"]
    levels = await batyr.state(following, "m.room.power_levels")
    assert levels["users"] == {ayna.id: 100, batyr.id: 50}
    assert (await batyr.state(room, "m.room.tombstone"))["replacement_room"] == following


BAD_UPGRADES: list[tuple[Any, int, str]] = [
    ({}, 400, "M_BAD_JSON"),
    ({"new_version": 11}, 400, "M_BAD_JSON"),
    ({"new_version": "99"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
    ({"new_version": "12", "additional_creators": "x"}, 400, "M_BAD_JSON"),
    ({"new_version": "12", "additional_creators": ["x"]}, 400, "M_INVALID_PARAM"),
    ({"new_version": "12", "additional_creators": ["@a:b"] * 1000}, 413, "M_TOO_LARGE"),
]


@pytest.mark.parametrize(("body", "status", "errcode"), BAD_UPGRADES, ids=range(6))
async def test_bad_upgrades(house: House, body: Any, status: int, errcode: str) -> None:
    ayna = await house.person("ayna")
    room = await ayna.create_room()
    await ayna.refused(status, errcode, "POST", "rooms", room, "upgrade", body=body)
    answer = await ayna.call("GET", "rooms", room, "state", "m.room.tombstone")
    assert answer.status == 404
    good = {"new_version": "12"}
    await ayna.refused(404, "M_NOT_FOUND", "POST", "rooms", "!x:y", "upgrade", body=good)
