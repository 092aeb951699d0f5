"""Profiles, the user directory and OpenID tokens over HTTP, on both engines."""

from __future__ import annotations

from typing import Any

import pytest

from kerwen.accounts import profile_store
from kerwen.accounts.actions.openid import LIFE_MS
from kerwen.accounts.actions.profile import NAME_MAX, Profiles
from kerwen.accounts.folding import fold, like
from kerwen.accounts.profile_store import DirectoryEntry
from kerwen.base.errors import Reason, Refused
from kerwen.storage.sql import sql
from tests.account_data.world import World

AYNA = "@ayna:a.test"
PROFILE = f"/profile/{AYNA}"


async def put(world: World, key: str, value: Any, who: str = "ayna") -> Any:
    path = f"/profile/@{who}:a.test/{key}"
    return (await world.ask("PUT", path, {key: value}, who=who)).ok()


async def test_a_new_profile_is_empty(world: World) -> None:
    assert (await world.ask("GET", PROFILE, who="")).ok() == {}
    (await world.ask("GET", PROFILE + "/displayname", who="")).refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("displayname", "Aýna Şirin 🌙"),
        ("avatar_url", "mxc://a.test/abc"),
        ("m.tz", "Asia/Ashgabat"),
        ("org.example.pronouns", [{"language": "en", "summary": "she/her"}]),
        ("org.example.nothing", None),
    ],
)
async def test_fields(world: World, key: str, value: Any) -> None:
    assert await put(world, key, value) == {}
    for who in ("", "batyr"):
        assert (await world.ask("GET", PROFILE, who=who)).ok() == {key: value}
        assert (await world.ask("GET", f"{PROFILE}/{key}", who=who)).ok() == {key: value}
    for _ in range(2):
        assert (await world.ask("DELETE", f"{PROFILE}/{key}")).ok() == {}
    assert (await world.ask("GET", PROFILE)).ok() == {}


async def test_rooms_are_told_of_a_new_name_or_picture_only(world: World) -> None:
    await put(world, "displayname", "A")
    await put(world, "displayname", "A")
    await put(world, "avatar_url", "mxc://a.test/x")
    await put(world, "m.tz", "Asia/Ashgabat")
    assert world.changed == [1, 1]
    await put(world, "displayname", "")
    assert world.changed == [1, 1, 1]
    assert (await world.ask("GET", PROFILE)).ok().keys() == {"avatar_url", "m.tz"}
    async with world.db.read() as snap:
        assert await profile_store.names(snap, [1, 2]) == {1: (None, "mxc://a.test/x")}


@pytest.mark.parametrize(
    ("key", "body", "status", "errcode"),
    [
        ("displayname", {}, 400, "M_MISSING_PARAM"),
        ("displayname", {"displayname": None}, 400, "M_BAD_JSON"),
        ("displayname", {"displayname": 7}, 400, "M_BAD_JSON"),
        ("displayname", {"displayname": "x" * (NAME_MAX + 1)}, 400, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "https://a.test/x.png"}, 400, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "mxc://" + "x" * 1000}, 400, "M_INVALID_PARAM"),
        ("m.tz", {"m.tz": 7}, 400, "M_BAD_JSON"),
        ("Bad", {"Bad": 1}, 400, "M_INVALID_PARAM"),
        ("nodots", {"nodots": 1}, 400, "M_INVALID_PARAM"),
        ("a.%D1%8F", {"a.я": 1}, 400, "M_INVALID_PARAM"),
        ("a." + "b" * 254, {"a." + "b" * 254: 1}, 400, "M_KEY_TOO_LARGE"),
        ("org.x", {"org.x": "y" * 65_536}, 400, "M_PROFILE_TOO_LARGE"),
        ("org.x", {"org.x": 2**60}, 400, "M_BAD_JSON"),
        ("org.x", [], 400, "M_BAD_JSON"),
    ],
)
async def test_refusals(world: World, key: str, body: Any, status: int, errcode: str) -> None:
    (await world.ask("PUT", f"{PROFILE}/{key}", body)).refused(status, errcode)
    assert (await world.ask("GET", PROFILE)).ok() == {}


async def test_the_whole_profile_is_under_64_kib(world: World) -> None:
    await put(world, "org.a", "x" * 40_000)
    answer = await world.ask("PUT", PROFILE + "/org.b", {"org.b": "y" * 30_000})
    answer.refused(400, "M_PROFILE_TOO_LARGE")
    await put(world, "org.a", "x")
    await put(world, "org.b", "y" * 30_000)


async def test_others_profiles_are_theirs(world: World) -> None:
    path = f"{PROFILE}/displayname"
    (await world.ask("PUT", path, {"displayname": "x"}, who="batyr")).refused(403, "M_FORBIDDEN")
    (await world.ask("DELETE", path, who="batyr")).refused(403, "M_FORBIDDEN")


async def test_who_is_not_here_has_no_profile(world: World) -> None:
    for user_id in ("@none:a.test", "@x:elsewhere.test"):
        (await world.ask("GET", f"/profile/{user_id}")).refused(404, "M_NOT_FOUND")
    (await world.ask("GET", "/profile/ayna")).refused(400, "M_INVALID_PARAM")
    await put(world, "displayname", "A")
    async with world.db.write() as tx:
        await tx.run(sql("update accounts set deactivated_ms = 5"))
    (await world.ask("GET", PROFILE)).refused(404, "M_NOT_FOUND")


async def test_other_servers_are_asked(world: World) -> None:
    async def remote(user_id: str, key: str | None) -> dict[str, Any]:
        return {"displayname": f"{user_id} {key}"}

    profiles = Profiles(world.db, "a.test", world._on_profile_changed, remote)
    assert await profiles.get("@x:b.test") == {"displayname": "@x:b.test None"}
    assert await profiles.field("@x:b.test", "displayname") == "@x:b.test displayname"


# --- the directory ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Aýna", "ayna"),
        ("ÇARY Şöhrat Ňuý Ž", "cary sohrat nuy z"),
        ("ИЛЬЯ Ёлкин", "илья елкин"),
        ("İstanbul ISPARTA ıı", "istanbul isparta ii"),
        ("  a \n b ", "a b"),
        ("Straße", "strasse"),
        ("ＡＢ", "ab"),
        ("", ""),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(folded) == folded


def test_like_takes_signs_as_they_are() -> None:
    assert like("50%_\\x") == "50\\%\\_\\\\x"


async def people(world: World) -> None:
    for localpart, name in (
        ("cary", "Çary Nazarow"),
        ("ilya", "Илья Ёлкин"),
        ("sohrat", "Şöhrat Çaryýew"),
        ("mary", None),
    ):
        await world.add_person(localpart)
        if name is not None:
            await put(world, "displayname", name, localpart)


async def search(world: World, term: str, **more: Any) -> list[str]:
    body = {"search_term": term, **more}
    found = (await world.ask("POST", "/user_directory/search", body)).ok()
    return [entry["user_id"].split(":")[0][1:] for entry in found["results"]]


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        ("cary", ["cary", "sohrat"]),
        ("ÇARY", ["cary", "sohrat"]),
        ("çary naz", ["cary"]),
        ("ary", ["cary", "sohrat", "mary"]),
        ("елкин", ["ilya"]),
        ("ЁЛК", ["ilya"]),
        ("ilya", ["ilya"]),
        ("@ilya:a.test", ["ilya"]),
        ("@ily", ["ilya"]),
        ("ayna", []),
        ("%", []),
        ("_", []),
        ("   ", []),
        ("nobody", []),
    ],
)
async def test_searching_people(world: World, term: str, wanted: list[str]) -> None:
    await people(world)
    assert await search(world, term) == wanted


async def test_a_found_person_is_shown_with_name_and_picture(world: World) -> None:
    await put(world, "displayname", "Batyr", "batyr")
    await put(world, "avatar_url", "mxc://a.test/b", "batyr")
    body = {"search_term": "bat"}
    assert (await world.ask("POST", "/user_directory/search", body)).ok() == {
        "results": [
            {
                "user_id": "@batyr:a.test",
                "display_name": "Batyr",
                "avatar_url": "mxc://a.test/b",
            }
        ],
        "limited": False,
    }


async def test_only_those_whom_one_may_see_are_found(world: World) -> None:
    await people(world)
    world.visible = {world.callers["sohrat"].account_no}
    assert await search(world, "cary") == ["sohrat"]
    world.visible = set()
    assert await search(world, "cary") == []


async def test_people_of_other_servers_come_after(world: World) -> None:
    world.others = [DirectoryEntry(77, "@batyr2:b.test", "Batyr 2", None)]
    assert await search(world, "batyr") == ["batyr", "batyr2"]


async def test_limits(world: World) -> None:
    await people(world)
    body = {"search_term": "ary", "limit": 2}
    found = (await world.ask("POST", "/user_directory/search", body)).ok()
    assert (len(found["results"]), found["limited"]) == (2, True)
    for body, errcode in (
        ({"search_term": "a", "limit": 0}, "M_INVALID_PARAM"),
        ({"search_term": 7}, "M_BAD_JSON"),
        ({}, "M_BAD_JSON"),
    ):
        (await world.ask("POST", "/user_directory/search", body)).refused(400, errcode)
    assert await search(world, "x" * 100_000) == []


# --- OpenID -------------------------------------------------------------------------------------


async def test_an_openid_token_says_who_somebody_is(world: World) -> None:
    path = f"/user/{AYNA}/openid/request_token"
    found = (await world.ask("POST", path, {})).ok()
    assert found["token_type"] == "Bearer"
    assert found["matrix_server_name"] == "a.test"
    assert found["expires_in"] == LIFE_MS // 1000
    assert await world.openid.owner(found["access_token"]) == AYNA
    (await world.ask("GET", "/pushers", who=found["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
    world.now_ms += LIFE_MS
    await unknown(world, found["access_token"])
    (await world.ask("POST", path, {}, who="batyr")).refused(403, "M_FORBIDDEN")


async def unknown(world: World, token: str) -> None:
    with pytest.raises(Refused) as refused:
        await world.openid.owner(token)
    assert refused.value.reason is Reason.UNKNOWN_TOKEN


@pytest.mark.parametrize("token", ["", "x", "x" * 10_000, "\udcff"])
async def test_other_tokens_say_nothing(world: World, token: str) -> None:
    await unknown(world, token)


async def test_tokens_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerwen.accounts.openid_store.TOKENS_MAX", 2)
    made = []
    for _ in range(3):
        made.append((await world.openid.request(1))["access_token"])
        world.now_ms += 1
    await unknown(world, made[0])
    assert [await world.openid.owner(token) for token in made[1:]] == [AYNA, AYNA]
