"""EmailSubmission and Identity: now, later, taken back; and what follows a submission."""

from __future__ import annotations

import re

from tests.jmap.world import Json, Person, World


async def draft(person: Person, recipient: str, **more: object) -> str:
    """A draft's id."""
    drafts = (await person.mailboxes())["drafts"]["id"]
    asked = {
        "mailboxIds": {drafts: True},
        "keywords": {"$draft": True},
        "from": [{"email": f"{person.name}@kerwen.test"}],
        "to": [{"email": recipient}],
        "subject": "Salam",
        "textBody": [{"partId": "t"}],
        "bodyValues": {"t": {"value": "Nähili?"}},
        **more,
    }
    told = await person.call("Email/set", create={"k": asked})
    return str(told["created"]["k"]["id"])


async def identity(person: Person) -> str:
    """The first identity."""
    (one,) = (await person.call("Identity/get"))["list"]
    assert one["email"] == f"{person.name}@kerwen.test"
    return str(one["id"])


async def test_send_now(either_world: World) -> None:
    world = either_world
    ayna, batyr = await world.person("ayna"), await world.person("batyr")
    email = await draft(ayna, "batyr@kerwen.test", bcc=[{"email": "x@remote.test"}])
    boxes = await ayna.mailboxes()
    sent = boxes["sent"]["id"]
    state = (await ayna.call("EmailSubmission/get", ids=[]))["state"]
    answers = await ayna.calls(
        (
            "EmailSubmission/set",
            {
                "create": {"s": {"identityId": await identity(ayna), "emailId": email}},
                "onSuccessUpdateEmail": {
                    "#s": {"mailboxIds": {sent: True}, "keywords/$draft": None}
                },
            },
        )
    )
    assert [name for name, _ in answers] == ["EmailSubmission/set", "Email/set"], answers
    made = answers[0][1]["created"]["s"]
    assert made["undoStatus"] == "final"
    assert answers[1][1]["updated"] == {email: None}
    (got,) = (await batyr.call("Email/query"))["ids"]
    (read,) = (await batyr.call("Email/get", ids=[got], fetchTextBodyValues=True))["list"]
    assert read["subject"] == "Salam"
    assert read["bcc"] is None
    assert next(iter(read["bodyValues"].values()))["value"] == "Nähili?"
    assert (await world.house.mail.queue.totals())[0] == 1  # for x@remote.test
    told = await ayna.call("EmailSubmission/get", ids=[made["id"]])
    status = told["list"][0]["deliveryStatus"]
    assert {to: one["delivered"] for to, one in status.items()} == {
        "batyr@kerwen.test": "yes",
        "x@remote.test": "unknown",
    }
    changes = await ayna.call("EmailSubmission/changes", sinceState=state)
    assert changes["created"] == [made["id"]]
    found = await ayna.call("EmailSubmission/query", filter={"emailIds": [email]})
    assert found["ids"] == [made["id"]]
    await ayna.call("EmailSubmission/set", destroy=[made["id"]])
    state, changes = changes["newState"], {}
    changes = await ayna.call("EmailSubmission/changes", sinceState=state)
    assert changes["destroyed"] == [made["id"]]


def held(seconds: int) -> Json:
    """An envelope that waits."""
    return {
        "mailFrom": {"email": "ayna@kerwen.test", "parameters": {"HOLDFOR": str(seconds)}},
        "rcptTo": [{"email": "batyr@kerwen.test"}],
    }


async def deliver_due(world: World) -> int:
    """What the queue's worker does for people here; how many messages."""
    mail, count = world.house.mail, 0
    while (leased := await mail.queue.lease()) is not None:
        raw = await mail.queue.message(leased.queue_no)
        results = await mail.sending.sender._home.run(leased, raw)
        await mail.queue.settle(leased, results)
        count += 1
    return count


async def test_send_later_and_take_back(either_world: World) -> None:
    world = either_world
    ayna, batyr = await world.person("ayna"), await world.person("batyr")
    who = await identity(ayna)
    ids = []
    for _ in range(2):
        email = await draft(ayna, "batyr@kerwen.test")
        told = await ayna.call(
            "EmailSubmission/set",
            create={"s": {"identityId": who, "emailId": email, "envelope": held(30)}},
        )
        assert told["created"]["s"]["undoStatus"] == "pending"
        ids.append(told["created"]["s"]["id"])
    assert await deliver_due(world) == 0
    assert await world.house.mail.queue.retry() == 0  # what is scheduled is not hurried
    state = told["newState"]
    told = await ayna.call("EmailSubmission/set", update={ids[0]: {"undoStatus": "canceled"}})
    assert told["updated"] == {ids[0]: None}
    world.house.clock.now += 31_000
    assert await deliver_due(world) == 1
    late = await ayna.call("EmailSubmission/set", update={ids[1]: {"undoStatus": "canceled"}})
    assert late["notUpdated"][ids[1]]["type"] == "cannotUnsend"
    assert await world.house.mail.submissions.settle() == 1
    assert await world.house.mail.submissions.settle() == 0
    assert len((await batyr.call("Email/query"))["ids"]) == 1
    changes = await ayna.call("EmailSubmission/changes", sinceState=state)
    assert set(changes["updated"]) == set(ids)
    told = await ayna.call("EmailSubmission/get", ids=ids)
    assert [one["undoStatus"] for one in told["list"]] == ["canceled", "final"]
    (raw,) = [await world.house.read(2, no) for no in (await world.house.view(2)).nos]
    assert re.search(rb"^DKIM-Signature:|^Received:", raw, re.MULTILINE)


async def test_what_is_not_sent(world: World) -> None:
    ayna = await world.person()
    who = await identity(ayna)
    mine = await draft(ayna, "batyr@kerwen.test")
    foreign = await draft(ayna, "batyr@kerwen.test", **{"from": [{"email": "batyr@kerwen.test"}]})
    lonely = await draft(ayna, "", to=[])
    to = [{"email": "batyr@kerwen.test"}]
    far = {"mailFrom": {"email": "ayna@kerwen.test", "parameters": {"HOLDFOR": "999999999"}}}
    cases: list[tuple[Json, str]] = [
        ({"identityId": "I999", "emailId": mine}, "invalidProperties"),
        ({"identityId": who, "emailId": "Mno"}, "invalidProperties"),
        ({"identityId": who, "emailId": foreign}, "forbiddenFrom"),
        ({"identityId": who, "emailId": lonely}, "noRecipients"),
        ({"identityId": who, "emailId": mine,
          "envelope": {"mailFrom": {"email": "batyr@kerwen.test"}, "rcptTo": to}},
         "forbiddenMailFrom"),
        ({"identityId": who, "emailId": mine,
          "envelope": {"mailFrom": {"email": "ayna@kerwen.test"},
                       "rcptTo": [{"email": "nobody@kerwen.test"}]}}, "invalidRecipients"),
        ({"identityId": who, "emailId": mine,
          "envelope": {"mailFrom": {"email": "ayna@kerwen.test"}, "rcptTo": [{"email": "x"}]}},
         "invalidRecipients"),
        ({"identityId": who, "emailId": mine, "envelope": {**far, "rcptTo": to}},
         "invalidProperties"),
        ({"identityId": who, "emailId": mine, "sendAt": "now"}, "invalidProperties"),
    ]  # fmt: skip
    for asked, kind in cases:
        told = await ayna.call("EmailSubmission/set", create={"s": asked})
        assert told["notCreated"]["s"]["type"] == kind, asked


async def test_identities(either_world: World) -> None:
    ayna = await either_world.person()
    first = await identity(ayna)
    state = (await ayna.call("Identity/get"))["state"]
    told = await ayna.call(
        "Identity/set",
        create={
            "a": {"email": "ayna+shop@kerwen.test", "name": "Aýna", "textSignature": "-- \nA."},
            "b": {"email": "batyr@kerwen.test"},
            "c": {"email": "ayna@kerwen.test", "colour": 1},
        },
        update={first: {"name": "Me", "email": "ayna@kerwen.test"}, "I9": {}},
    )
    assert told["notCreated"]["b"]["type"] == "forbiddenFrom"
    assert told["notCreated"]["c"]["properties"] == ["colour"]
    assert told["notUpdated"]["I9"]["type"] == "notFound"
    made = told["created"]["a"]["id"]
    changes = await ayna.call("Identity/changes", sinceState=state)
    assert (changes["created"], changes["updated"]) == ([made], [first])
    await ayna.call("Identity/set", destroy=[first])
    changes = await ayna.call("Identity/changes", sinceState=changes["newState"])
    assert changes["destroyed"] == [first]
    (left,) = (await ayna.call("Identity/get"))["list"]
    assert (left["id"], left["name"], left["textSignature"]) == (made, "Aýna", "-- \nA.")
