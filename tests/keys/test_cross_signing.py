"""POST /keys/device_signing/upload and /keys/signatures/upload."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerwen.keys import store
from kerwen.storage.database import Database
from tests.keys.house import House, Person

UPLOAD = "/keys/device_signing/upload"
SIGN = "/keys/signatures/upload"
RIGHT = {"auth": {"password": "right"}}


@pytest.fixture
def ayna() -> Person:
    return Person("ayna", "PHONE")


@pytest.fixture
def batyr() -> Person:
    return Person("batyr", "B")


async def query(house: House, asker: Person, *people: Person) -> Any:
    asked = {person.user_id: [] for person in people}
    return (await house.post(asker.token, "/keys/query", {"device_keys": asked})).json


async def set_up(house: House, *people: Person) -> None:
    """Device keys and cross-signing keys."""
    for person in people:
        await house.post(person.token, "/keys/upload", {"device_keys": person.device_keys()})
        answer = await house.post(person.token, UPLOAD, person.cross_signing_keys())
        assert answer.status == 200, answer.body


async def sign(house: House, signer: Person, body: Any) -> Any:
    answer = await house.post(signer.token, SIGN, body)
    assert answer.status == 200, answer.body
    return {
        user: {key: error["errcode"] for key, error in keys.items()}
        for user, keys in answer.json["failures"].items()
    }


def signatures(value: dict[str, Any], user: Person) -> set[str]:
    return set(value["signatures"].get(user.user_id, {}))


def key_id(person: Person, usage: str) -> str:
    return f"ed25519:{person.cross[usage].public_base64}"


# --- the keys themselves ------------------------------------------------------------------


async def test_the_first_upload_needs_no_proof(house: House, ayna: Person, batyr: Person) -> None:
    answer = await house.post(ayna.token, UPLOAD, ayna.cross_signing_keys())
    assert (answer.status, answer.json) == (200, {})
    own = await query(house, ayna, ayna)
    master = ayna.cross_signing_key("master") | {"signatures": {}}
    assert own["master_keys"] == {ayna.user_id: master}
    assert own["self_signing_keys"] == {ayna.user_id: ayna.cross_signing_key("self_signing")}
    assert own["user_signing_keys"] == {ayna.user_id: ayna.cross_signing_key("user_signing")}
    others = await query(house, batyr, ayna)
    assert others == own | {"user_signing_keys": {}}
    assert house.proofs == 0


async def test_the_same_keys_again_need_no_proof(house: House, ayna: Person) -> None:
    await house.post(ayna.token, UPLOAD, ayna.cross_signing_keys())
    settled = house.feed.settled
    for body in (ayna.cross_signing_keys(), {}, {"user_signing_key": None}):
        assert (await house.post(ayna.token, UPLOAD, body)).status == 200
    part = {"self_signing_key": ayna.cross_signing_key("self_signing")}
    assert (await house.post(ayna.token, UPLOAD, part)).status == 200
    assert (house.proofs, house.feed.settled) == (0, settled)


@pytest.mark.parametrize("usage", ["master", "self_signing", "user_signing"])
async def test_new_keys_need_proof(house: House, ayna: Person, usage: str) -> None:
    await house.post(ayna.token, UPLOAD, ayna.cross_signing_keys())
    old = await query(house, ayna, ayna)
    ayna.renew(usage, "another")
    body = ayna.cross_signing_keys()
    answer = await house.post(ayna.token, UPLOAD, body)
    assert (answer.status, answer.json) == (401, {"flows": [], "session": "s"})
    assert await query(house, ayna, ayna) == old
    assert (await house.post(ayna.token, UPLOAD, body | RIGHT)).status == 200
    new = await query(house, ayna, ayna)
    changed = new[f"{usage}_keys"][ayna.user_id]["keys"]
    assert changed == body[f"{usage}_key"]["keys"] != old[f"{usage}_keys"][ayna.user_id]["keys"]


async def test_a_first_key_beside_an_old_master_key_needs_proof(house: House, ayna: Person) -> None:
    await house.post(ayna.token, UPLOAD, {"master_key": ayna.cross_signing_key("master")})
    body = {"self_signing_key": ayna.cross_signing_key("self_signing")}
    assert (await house.post(ayna.token, UPLOAD, body)).status == 401
    assert (await house.post(ayna.token, UPLOAD, body | RIGHT)).status == 200


async def test_wrong_keys_are_refused_before_anybody_types_a_password(
    house: House, ayna: Person
) -> None:
    await house.post(ayna.token, UPLOAD, ayna.cross_signing_keys())
    ayna.renew("master", "another")
    body = {"self_signing_key": ayna.cross_signing_key("self_signing")}  # by a stranger's key
    answer = await house.post(ayna.token, UPLOAD, body)
    assert (answer.status, answer.errcode, house.proofs) == (400, "M_INVALID_SIGNATURE", 0)


async def test_of_two_first_uploads_one_must_prove(house: House, ayna: Person) -> None:
    laptop = Person("ayna", "LAPTOP")
    laptop.renew("master", "other-master")
    both = await asyncio.gather(
        *(
            house.post(person.token, UPLOAD, person.cross_signing_keys())
            for person in (ayna, laptop)
        )
    )
    assert sorted(answer.status for answer in both) == [200, 401]


async def test_a_new_master_key_drops_what_it_did_not_sign(
    house: House, ayna: Person, batyr: Person
) -> None:
    await set_up(house, ayna, batyr)
    await sign(
        house, ayna, {ayna.user_id: {"PHONE": ayna.sign_with("self_signing", ayna.device_keys())}}
    )
    ayna.renew("master", "another")
    body = {"master_key": ayna.cross_signing_key("master")} | RIGHT
    assert (await house.post(ayna.token, UPLOAD, body)).status == 200
    found = await query(house, ayna, ayna)
    assert found["self_signing_keys"] == found["user_signing_keys"] == {}
    device = found["device_keys"][ayna.user_id]["PHONE"]
    assert signatures(device, ayna) == {"ed25519:PHONE"}


async def test_a_new_self_signing_key_drops_the_old_ones_signatures(
    house: House, ayna: Person
) -> None:
    await set_up(house, ayna)
    await sign(
        house, ayna, {ayna.user_id: {"PHONE": ayna.sign_with("self_signing", ayna.device_keys())}}
    )
    ayna.renew("self_signing", "another")
    await house.post(ayna.token, UPLOAD, ayna.cross_signing_keys() | RIGHT)
    found = await query(house, ayna, ayna)
    assert signatures(found["device_keys"][ayna.user_id]["PHONE"], ayna) == {"ed25519:PHONE"}


async def test_no_key_is_named_like_a_device(house: House, ayna: Person) -> None:
    public = ayna.cross["master"].public_base64
    await house.add_people({"eve": [public]})
    eve = Person("eve", public)
    eve.cross = ayna.cross
    answer = await house.post(eve.token, UPLOAD, eve.cross_signing_keys())
    assert (answer.status, answer.json["error"]) == (403, "Key ID in use")


async def test_no_device_is_named_like_a_key(house: House, database: Database) -> None:
    eve = Person("eve", "E")
    public = eve.cross["master"].public_base64
    await house.add_people({"eve": ["E"]})
    await house.post(eve.token, UPLOAD, eve.cross_signing_keys())
    async with database.read() as snap:
        no = house.callers[eve.token].account_no
        assert await store.is_cross_signing_key(snap, no, public)
        assert not await store.is_cross_signing_key(snap, no, "E")


async def test_older_clients_paths(house: House, ayna: Person) -> None:
    unstable = "/_matrix/client/unstable"
    assert (
        await house.post(ayna.token, unstable + UPLOAD, ayna.cross_signing_keys())
    ).status == 200
    assert (await house.post(ayna.token, unstable + SIGN, {})).json == {"failures": {}}


def bad_uploads() -> list[tuple[Any, int, str]]:
    ayna = Person("ayna", "PHONE")
    master, rest = ayna.cross_signing_key("master"), ayna.cross_signing_keys()
    self_signing = ayna.cross_signing_key("self_signing")
    unsigned = {k: v for k, v in self_signing.items() if k != "signatures"}
    wrong = ayna.sign_with("self_signing", unsigned)  # signed, but by itself
    forged = unsigned | {"signatures": {ayna.user_id: {key_id(ayna, "master"): "AAAA"}}}
    no_base64 = unsigned | {"signatures": {ayna.user_id: {key_id(ayna, "master"): "%"}}}
    return [
        (b"{", 400, "M_NOT_JSON"),
        (b"7", 400, "M_BAD_JSON"),
        ({}, 400, "M_MISSING_PARAM"),
        ({"self_signing_key": self_signing}, 400, "M_MISSING_PARAM"),
        ({"master_key": []}, 400, "M_BAD_JSON"),
        ({"master_key": {}}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"user_id": "@batyr:kerwen.test"}}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"usage": "master"}}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"usage": ["self_signing"]}}, 400, "M_INVALID_PARAM"),
        ({"master_key": self_signing}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"keys": {}}}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"keys": []}}, 400, "M_BAD_JSON"),
        ({"master_key": master | {"keys": {"ed25519:x": "x"}}}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"keys": {"ed25519:a": "b"}}}, 400, "M_INVALID_PARAM"),
        ({"master_key": master | {"keys": {"ed25519:1": 1}}}, 400, "M_INVALID_PARAM"),
        (
            {"master_key": master | {"keys": master["keys"] | self_signing["keys"]}},
            400,
            "M_INVALID_PARAM",
        ),
        ({"master_key": master | {"signatures": {ayna.user_id: {"a": 1}}}}, 400, "M_BAD_JSON"),
        ({"master_key": master | {"x": 0.5}}, 400, "M_BAD_JSON"),
        ({"master_key": master | {"x": "y" * 20_000}}, 400, "M_KEY_TOO_LARGE"),
        (rest | {"self_signing_key": unsigned}, 400, "M_INVALID_SIGNATURE"),
        (rest | {"self_signing_key": wrong}, 400, "M_INVALID_SIGNATURE"),
        (rest | {"self_signing_key": forged}, 400, "M_INVALID_SIGNATURE"),
        (rest | {"user_signing_key": no_base64}, 400, "M_INVALID_PARAM"),
        (rest | {"self_signing_key": no_base64}, 400, "M_INVALID_SIGNATURE"),
    ]


@pytest.mark.parametrize(("body", "status", "errcode"), bad_uploads())
async def test_bad_keys(house: House, ayna: Person, body: Any, status: int, errcode: str) -> None:
    answer = await house.post(ayna.token, UPLOAD, body)
    assert (answer.status, answer.errcode) == (status, errcode), answer.body
    assert (await query(house, ayna, ayna))["master_keys"] == {}


# --- signatures ---------------------------------------------------------------------------


async def test_a_device_signed_by_its_user_is_seen_by_all(
    house: House, ayna: Person, batyr: Person
) -> None:
    await set_up(house, ayna)
    await query(house, batyr, ayna)
    signed = ayna.sign_with("self_signing", ayna.device_keys())
    assert await sign(house, ayna, {ayna.user_id: {"PHONE": signed}}) == {}
    for asker in (ayna, batyr):
        device = (await query(house, asker, ayna))["device_keys"][ayna.user_id]["PHONE"]
        assert signatures(device, ayna) == {"ed25519:PHONE", key_id(ayna, "self_signing")}
        assert device["unsigned"] == {"device_display_name": "Phone"}


async def test_a_master_key_signed_by_a_device_is_seen_by_all(
    house: House, ayna: Person, batyr: Person
) -> None:
    await set_up(house, ayna)
    signed = ayna.sign_with_device(ayna.cross_signing_key("master"))
    public = ayna.cross["master"].public_base64
    assert await sign(house, ayna, {ayna.user_id: {public: signed}}) == {}
    for asker in (ayna, batyr):
        master = (await query(house, asker, ayna))["master_keys"][ayna.user_id]
        assert signatures(master, ayna) == {"ed25519:PHONE"}


async def test_a_signature_of_another_user_is_seen_by_its_maker_only(
    house: House, ayna: Person, batyr: Person
) -> None:
    await set_up(house, ayna, batyr)
    public = batyr.cross["master"].public_base64
    own = batyr.sign_with_device(batyr.cross_signing_key("master"))
    await sign(house, batyr, {batyr.user_id: {public: own}})
    await query(house, ayna, batyr)
    signed = ayna.sign_with("user_signing", batyr.cross_signing_key("master"))
    assert await sign(house, ayna, {batyr.user_id: {public: signed}}) == {}
    seen = (await query(house, ayna, batyr))["master_keys"][batyr.user_id]
    assert signatures(seen, ayna) == {key_id(ayna, "user_signing")}
    assert signatures(seen, batyr) == {"ed25519:B"}
    for asker in (batyr, Person("cemal", "C")):
        hidden = (await query(house, asker, batyr))["master_keys"][batyr.user_id]
        assert signatures(hidden, ayna) == set()


async def test_a_signature_of_a_bare_master_key(house: House, ayna: Person, batyr: Person) -> None:
    await set_up(house, ayna, batyr)
    public = batyr.cross["master"].public_base64
    signed = ayna.sign_with("user_signing", batyr.cross_signing_key("master"))
    await sign(house, ayna, {batyr.user_id: {public: signed}})
    assert (await query(house, ayna, batyr))["master_keys"][batyr.user_id] == signed


async def test_who_is_told_of_a_signature(house: House, ayna: Person, batyr: Person) -> None:
    await set_up(house, ayna, batyr)
    since = house.feed.settled
    public = batyr.cross["master"].public_base64
    signed = ayna.sign_with("user_signing", batyr.cross_signing_key("master"))
    body = {batyr.user_id: {public: signed}}
    await sign(house, ayna, body)
    upto = house.feed.settled
    assert upto == since + 1
    house.rooms = [{house.callers[p.token].account_no for p in (ayna, batyr)}]
    path = f"/keys/changes?from={since}&to={upto}"
    assert (await house.call(ayna.token, "GET", path)).json["changed"] == [batyr.user_id]
    assert (await house.call(batyr.token, "GET", path)).json["changed"] == []
    await sign(house, ayna, body)
    assert house.feed.settled == upto, "nothing new, nothing told"


async def test_what_is_not_signed_right_fails_key_by_key(
    house: House, ayna: Person, batyr: Person
) -> None:
    await set_up(house, ayna, batyr)
    device = ayna.device_keys()
    good = ayna.sign_with("self_signing", device)
    master, public = ayna.cross_signing_key("master"), ayna.cross["master"].public_base64
    theirs = batyr.cross_signing_key("master")
    their_public = batyr.cross["master"].public_base64
    failures = await sign(
        house,
        ayna,
        {
            ayna.user_id: {
                "PHONE": good,
                "NONE": good,
                "LAPTOP": good,  # a device without keys
                "\0": good,
                public: ayna.sign_with("self_signing", master),  # not by a device
                "list": [],
                "number": 1,
            },
            batyr.user_id: {
                their_public: ayna.sign_with("master", theirs),  # not by the user-signing key
                "B": ayna.sign_with("user_signing", batyr.device_keys()),  # no master key
            },
            "@nobody:kerwen.test": {"x": good},
            "@x:else.test": {"x": good},
            "@\0:kerwen.test": {"x": good},
        },
    )
    assert failures == {
        ayna.user_id: {
            "NONE": "M_NOT_FOUND",
            "LAPTOP": "M_NOT_FOUND",
            "\0": "M_NOT_FOUND",
            public: "M_INVALID_SIGNATURE",
            "list": "M_BAD_JSON",
            "number": "M_BAD_JSON",
        },
        batyr.user_id: {their_public: "M_INVALID_SIGNATURE", "B": "M_NOT_FOUND"},
        "@nobody:kerwen.test": {"x": "M_NOT_FOUND"},
        "@x:else.test": {"x": "M_NOT_FOUND"},
        "@\0:kerwen.test": {"x": "M_NOT_FOUND"},
    }
    found = (await query(house, ayna, ayna))["device_keys"][ayna.user_id]["PHONE"]
    assert key_id(ayna, "self_signing") in signatures(found, ayna), "the good one was taken"


def changed_objects() -> list[dict[str, Any]]:
    ayna = Person("ayna", "PHONE")
    device = ayna.device_keys()
    signed = ayna.sign_with("self_signing", device)
    own = key_id(ayna, "self_signing")
    forged = {ayna.user_id: {own: "A" * 86}}
    return [
        ayna.sign_with("self_signing", device | {"algorithms": []}),
        ayna.sign_with("self_signing", device | {"extra": 1}),
        signed | {"algorithms": []},
        signed | {"signatures": forged},
        signed | {"signatures": {ayna.user_id: {own: 1}}},
        signed | {"signatures": {ayna.user_id: []}},
        signed | {"signatures": None},
        signed | {"signatures": {ayna.user_id: {own: "\ud7ff"}}},
        {},
        device,
        signed | {"x": 2**63},
    ]


@pytest.mark.parametrize("value", changed_objects())
async def test_a_wrong_signature_is_not_kept(house: House, ayna: Person, value: Any) -> None:
    await set_up(house, ayna)
    failures = await sign(house, ayna, {ayna.user_id: {"PHONE": value}})
    assert set(failures[ayna.user_id]) == {"PHONE"}
    assert failures[ayna.user_id]["PHONE"] in ("M_INVALID_SIGNATURE", "M_BAD_JSON")
    found = (await query(house, ayna, ayna))["device_keys"][ayna.user_id]["PHONE"]
    assert signatures(found, ayna) == {"ed25519:PHONE"}


async def test_no_keys_to_sign_with(house: House, ayna: Person, batyr: Person) -> None:
    await house.post(ayna.token, "/keys/upload", {"device_keys": ayna.device_keys()})
    await set_up(house, batyr)
    public = batyr.cross["master"].public_base64
    failures = await sign(
        house,
        ayna,
        {
            ayna.user_id: {"PHONE": ayna.sign_with("self_signing", ayna.device_keys())},
            batyr.user_id: {
                public: ayna.sign_with("user_signing", batyr.cross_signing_key("master"))
            },
        },
    )
    assert failures == {
        ayna.user_id: {"PHONE": "M_NOT_FOUND"},
        batyr.user_id: {public: "M_NOT_FOUND"},
    }


async def test_a_new_identity_drops_others_signatures_of_the_old_one(
    house: House, ayna: Person, batyr: Person
) -> None:
    await set_up(house, ayna, batyr)
    public = batyr.cross["master"].public_base64
    signed = ayna.sign_with("user_signing", batyr.cross_signing_key("master"))
    await sign(house, ayna, {batyr.user_id: {public: signed}})
    batyr.renew("master", "another")
    await house.post(batyr.token, UPLOAD, batyr.cross_signing_keys() | RIGHT)
    master = (await query(house, ayna, batyr))["master_keys"][batyr.user_id]
    assert master == batyr.cross_signing_key("master") | {"signatures": {}}


async def test_other_device_keys_lose_the_signatures_of_the_old_ones(
    house: House, ayna: Person
) -> None:
    await set_up(house, ayna)
    await sign(
        house, ayna, {ayna.user_id: {"PHONE": ayna.sign_with("self_signing", ayna.device_keys())}}
    )
    other = ayna.sign_with_device(ayna.device_keys() | {"algorithms": ["m.other"]})
    await house.post(ayna.token, "/keys/upload", {"device_keys": other})
    found = (await query(house, ayna, ayna))["device_keys"][ayna.user_id]["PHONE"]
    assert signatures(found, ayna) == {"ed25519:PHONE"}


BAD: list[tuple[Any, int, str]] = [
    (b"{", 400, "M_NOT_JSON"),
    (b'"x"', 400, "M_BAD_JSON"),
    ({"@ayna:kerwen.test": []}, 400, "M_BAD_JSON"),
    ({"@ayna:kerwen.test": None}, 400, "M_BAD_JSON"),
    ({"@ayna:kerwen.test": {str(no): {} for no in range(1001)}}, 413, "M_TOO_LARGE"),
    (b'{"@a:b":{"c":NaN}}', 400, "M_NOT_JSON"),
]


@pytest.mark.parametrize(("body", "status", "errcode"), BAD)
async def test_bad_signatures(
    house: House, ayna: Person, body: Any, status: int, errcode: str
) -> None:
    answer = await house.post(ayna.token, SIGN, body)
    assert (answer.status, answer.errcode) == (status, errcode)


async def test_a_forgotten_account_has_nothing(
    house: House, ayna: Person, batyr: Person, database: Database
) -> None:
    await set_up(house, ayna, batyr)
    await house.post(ayna.token, "/keys/upload", {"one_time_keys": ayna.one_time_keys(3)})
    await query(house, batyr, ayna)
    async with database.write() as tx:
        await store.forget_account(tx, house.callers[ayna.token].account_no)
    found = await query(house, batyr, ayna)
    assert found["device_keys"] == {ayna.user_id: {}}
    assert found["master_keys"] == found["self_signing_keys"] == {}
    wanted = {"one_time_keys": {ayna.user_id: {"PHONE": "signed_curve25519"}}}
    assert (await house.post(batyr.token, "/keys/claim", wanted)).json["one_time_keys"] == {}
