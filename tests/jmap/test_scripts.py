"""SieveScript and VacationResponse: kept, checked, activated, and told of."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerwen.base import limits
from kerwen.mail.sieve.checker import check
from tests.jmap.world import SIEVE, VACATION, Json, Person, World


async def _blob(person: Person, source: str) -> str:
    told = await person.call(
        "Blob/upload",
        create={"b": {"data": [{"data:asText": source}], "type": "application/sieve"}},
    )
    return str(told["created"]["b"]["id"])


async def _text(person: Person, blob_id: str) -> tuple[int, str]:
    url = person.session["downloadUrl"]
    for name, value in {
        "accountId": person.id,
        "blobId": blob_id,
        "name": "x",
        "type": "a/b",
    }.items():
        url = url.replace(f"{{{name}}}", value)
    async with person.world.session.get(url, headers=person.headers) as answer:
        return answer.status, await answer.text()


async def test_a_script_is_made_changed_and_removed(either_world: World) -> None:
    world = either_world
    ayna, batyr = await world.person("ayna"), await world.person("batyr")
    told = ayna.session["accounts"][ayna.id]["accountCapabilities"]
    assert "fileinto" in told[SIEVE]["sieveExtensions"]
    assert told[SIEVE]["maxNumberScripts"] == limits.SIEVE_SCRIPTS_MAX
    assert VACATION in told
    first = await _blob(ayna, "keep;")
    made = await ayna.call(
        "SieveScript/set",
        create={"a": {"name": "main", "blobId": first}, "b": {"name": None, "blobId": first}},
        onSuccessActivateScript="#a",
    )
    one, two = made["created"]["a"], made["created"]["b"]
    assert (one["isActive"], two["isActive"], two["name"]) == (True, False, "script 1")
    assert await _text(ayna, one["blobId"]) == (200, "keep;")
    got = await ayna.call("SieveScript/get", ids=[one["id"], "S99"], properties=["name"])
    assert got["list"] == [{"id": one["id"], "name": "main"}]
    assert got["notFound"] == ["S99"]
    changed = await ayna.call(
        "SieveScript/set", update={one["id"]: {"blobId": await _blob(ayna, "stop;")}}
    )
    new = changed["updated"][one["id"]]["blobId"]
    assert new != one["blobId"]
    assert (await _text(ayna, one["blobId"]))[0] == 404, "an old text is gone"
    assert (await _text(ayna, new))[1] == "stop;"
    assert (await _text(batyr, new))[0] == 404, "nobody has another's"
    assert (await batyr.call("SieveScript/get", ids=None))["list"] == []
    gone = await ayna.call("SieveScript/set", destroy=[one["id"], two["id"]])
    assert gone["notDestroyed"][one["id"]]["type"] == "sieveIsActive"
    assert gone["destroyed"] == [two["id"]]
    off = await ayna.call("SieveScript/set", onSuccessDeactivateScript=True)
    assert off["updated"] == {one["id"]: {"isActive": False}}
    await ayna.call("SieveScript/set", destroy=[one["id"]])
    assert (await ayna.call("SieveScript/get", ids=None))["list"] == []


async def test_what_is_refused(world: World) -> None:
    ayna = await world.person()
    good, bad = await _blob(ayna, "keep;"), await _blob(ayna, "keep;\n hold;")
    make = ayna.call
    await make("SieveScript/set", create={"a": {"name": "a", "blobId": good}})
    for asked, kind in (
        ({"name": "b", "blobId": bad}, "invalidSieve"),
        ({"name": "a", "blobId": good}, "alreadyExists"),
        ({"name": "b\n", "blobId": good}, "invalidProperties"),
        ({"name": "b", "blobId": "Uxxxxxxxxxxxxxxxxxxxxxx"}, "blobNotFound"),
        ({"name": "b"}, "invalidProperties"),
        ({"name": "b", "blobId": good, "isActive": True}, "invalidProperties"),
        ({"name": 5, "blobId": good}, "invalidProperties"),
    ):
        told = await make("SieveScript/set", create={"x": asked}, onSuccessActivateScript="#x")
        assert told["notCreated"]["x"]["type"] == kind, asked
        assert told["updated"] is None
    told = await make("SieveScript/set", update={"S77": {"name": "z"}})
    assert told["notUpdated"]["S77"]["type"] == "notFound"
    error = (await make("SieveScript/validate", blobId=bad))["error"]
    assert error["type"] == "invalidSieve"
    assert "line 2, column 2" in error["description"]
    assert (await make("SieveScript/validate", blobId=good))["error"] is None
    [(name, told)] = await ayna.calls(("SieveScript/set", {"ifInState": "77"}))
    assert (name, told["type"]) == ("error", "stateMismatch")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["b", "A", "c"]),
        ({"filter": {"name": "a"}}, ["A"]),
        ({"filter": {"isActive": True}}, ["c"]),
        ({"filter": {"operator": "NOT", "conditions": [{"isActive": True}]}}, ["b", "A"]),
        ({"filter": {"operator": "OR", "conditions": [{"name": "a"}, {"name": "b"}]}}, ["b", "A"]),
        ({"sort": [{"property": "name"}]}, ["A", "b", "c"]),
        ({"sort": [{"property": "isActive", "isAscending": False}]}, ["c", "b", "A"]),
        ({"position": 1, "limit": 1}, ["A"]),
    ],
)
async def test_queries(world: World, asked: Json, found: list[str]) -> None:
    ayna = await world.person()
    for name in ("b", "A", "c"):
        made = await world.house.mail.scripts.put(1, name, b"keep;")
    await world.house.mail.scripts.activate(1, made.no)
    ids = (await ayna.call("SieveScript/query", **asked))["ids"]
    listed = (await ayna.call("SieveScript/get", ids=ids))["list"]
    assert [one["name"] for one in listed] == found


async def test_a_vacation(either_world: World) -> None:
    world = either_world
    ayna = await world.person()
    told = await ayna.call("VacationResponse/get", ids=None)
    empty = {
        "id": "singleton", "isEnabled": False, "fromDate": None, "toDate": None,
        "subject": None, "textBody": None, "htmlBody": None,
    }  # fmt: skip
    assert told["list"] == [empty]
    patch = {
        "isEnabled": True, "fromDate": "2026-11-20T00:00:00Z", "textBody": "Dynç alýaryn",
        "subject": "Away",
    }  # fmt: skip
    done = await ayna.call("VacationResponse/set", update={"singleton": patch})
    assert done["updated"] == {"singleton": None}
    assert done["newState"] != done["oldState"] == told["state"]
    (one,) = (await ayna.call("VacationResponse/get", ids=["singleton"]))["list"]
    assert one == {**empty, **patch}
    for asked, kind in (
        ({"isEnabled": 1}, "invalidProperties"),
        ({"fromDate": "2026-11-20"}, "invalidProperties"),
        ({"textBody": []}, "invalidProperties"),
        ({"none": 1}, "invalidProperties"),
        ({"id": "x"}, "invalidProperties"),
    ):
        told = await ayna.call("VacationResponse/set", update={"singleton": asked})
        assert told["notUpdated"]["singleton"]["type"] == kind, asked
    told = await ayna.call(
        "VacationResponse/set", create={"a": {}}, destroy=["singleton"], update={"x": {}}
    )
    assert (
        told["notCreated"]["a"]["type"] == told["notDestroyed"]["singleton"]["type"] == "singleton"
    )
    assert told["notUpdated"]["x"]["type"] == "notFound"
    assert not (await world.house.mail.scripts.kept(2)).vacation.enabled


async def test_others_hear_of_changes(world: World) -> None:
    states = world.house.mail.push_states
    head, before = await states.of(1)
    await world.house.mail.scripts.put(1, "a", b"keep;")
    later, now = await states.of(1, head + 1)
    assert later > head
    assert now["SieveScript"] != before["SieveScript"]
    assert now["VacationResponse"] != before["VacationResponse"]


def test_what_the_web_app_writes_is_a_script() -> None:
    """The form of filters (web/src/models/mail/rules.ts) makes scripts like this one."""
    root = Path(__file__).resolve().parents[2]
    assert '"# kerwen-rules: "' in (root / "web/src/models/mail/rules.ts").read_text("utf-8")
    check(
        '# kerwen-rules: [{"name":"Shop","on":true,"join":"any","into":"Shop"}]\n'
        'require ["body", "fileinto", "mailbox", "imap4flags"];\n\n'
        'if anyof (address :contains "from" "shop",\n    address :is ["to", "cc"] "a@b.c",\n'
        '    header :contains "list-id" "x",\n    body :text :contains "say \\"hi\\"") {\n'
        '    fileinto :flags ["\\\\Seen", "\\\\Flagged"] :create "Shop";\n    stop;\n}\n\n'
        'if allof (header :is "subject" "x") {\n    discard;\n    stop;\n}\n'
    )
