"""The door on a real connection: session, requests, Emails, mailboxes, sending, push."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson

from kerwen.storage.database import Kind
from tests.jmap.world import CORE, MAIL, Json, Person, World
from tests.mail_store.house import letter

FIRST_PAGE_PROPERTIES = ["threadId", "mailboxIds", "keywords", "from", "subject", "preview"]


async def first_page(person: Person, mailbox: str, limit: int = 50) -> list[Json]:
    """What a web mail asks for a list of threads."""
    told = await person.calls(
        (
            "Email/query",
            {
                "filter": {"inMailbox": mailbox},
                "sort": [{"property": "receivedAt", "isAscending": False}],
                "collapseThreads": True,
                "limit": limit,
                "calculateTotal": True,
            },
        ),
        (
            "Email/get",
            {
                "#ids": {"resultOf": "0", "name": "Email/query", "path": "/ids"},
                "properties": ["threadId"],
            },
        ),
        (
            "Thread/get",
            {"#ids": {"resultOf": "1", "name": "Email/get", "path": "/list/*/threadId"}},
        ),
        (
            "Email/get",
            {
                "#ids": {"resultOf": "2", "name": "Thread/get", "path": "/list/*/emailIds"},
                "properties": FIRST_PAGE_PROPERTIES,
            },
        ),
    )
    assert [name for name, _ in told] == ["Email/query", "Email/get", "Thread/get", "Email/get"]
    return [arguments for _, arguments in told]


async def test_session_and_refusals(world: World) -> None:
    url = world.base + "/.well-known/jmap"
    async with world.session.get(url) as answer:
        assert answer.status == 401
        assert answer.content_type == "application/problem+json"
        kinds = [value.split()[0] for value in answer.headers.getall("www-authenticate")]
        assert kinds == ["Bearer", "Basic"]
    async with world.session.get(url, headers={"authorization": "Bearer nonsense"}) as answer:
        assert answer.status == 401
        assert len(answer.headers.getall("www-authenticate")) == 1  # no browser asks its user
    ayna = await world.person()
    assert ayna.session["username"] == "ayna@kerwen.test"
    for name in ("apiUrl", "uploadUrl", "downloadUrl", "eventSourceUrl"):
        assert ayna.session[name].startswith(world.base + "/jmap/")
    assert ayna.session["capabilities"][CORE]["maxCallsInRequest"] >= 16
    assert ayna.session["primaryAccounts"][MAIL] == ayna.id
    assert len(world.door.sessions) == 1


async def test_requests_that_are_none(world: World) -> None:
    ayna = await world.person()
    cases: list[tuple[Any, str]] = [
        ([], "notRequest"),
        ({"using": [CORE]}, "notRequest"),
        ({"using": [CORE], "methodCalls": [["Core/echo", {}]]}, "notRequest"),
        ({"using": ["urn:x"], "methodCalls": []}, "unknownCapability"),
        ({"using": [CORE], "methodCalls": [["Core/echo", {}, "a"]] * 65}, "limit"),
    ]
    for body, kind in cases:
        status, told = await ayna.post(body)
        assert (status, told["type"]) == (400, "urn:ietf:params:jmap:error:" + kind), body
    async with world.session.post(
        ayna.session["apiUrl"],
        data=b"{",
        headers=ayna.headers | {"content-type": "application/json"},
    ) as answer:
        assert (await answer.json(content_type=None))["type"].endswith("notJSON")


async def test_references_and_method_errors(world: World) -> None:
    ayna = await world.person()
    _, told = await ayna.post(
        {
            "using": [CORE],
            "methodCalls": [
                ["Core/echo", {"a": [{"b": [1, 2]}, {"b": [3]}], "c": {"d/e": 7}}, "x"],
                [
                    "Core/echo",
                    {"#n": {"resultOf": "x", "name": "Core/echo", "path": "/a/*/b"}},
                    "y",
                ],
                [
                    "Core/echo",
                    {"#n": {"resultOf": "x", "name": "Core/echo", "path": "/c/d~1e"}},
                    "y",
                ],
                ["Core/echo", {"#n": {"resultOf": "x", "name": "Core/no", "path": "/a"}}, "z"],
                ["Core/echo", {"#n": {"resultOf": "x", "name": "Core/echo", "path": "/q"}}, "z"],
                ["Core/echo", {"n": 1, "#n": {}}, "z"],
                ["Mailbox/get", {"accountId": ayna.id, "ids": None}, "w"],
            ],
            "createdIds": {"k": "M1"},
        }
    )
    answers = told["methodResponses"]
    assert answers[1][1] == {"n": [1, 2, 3]}
    assert answers[2][1] == {"n": 7}
    assert [one[1]["type"] for one in answers[3:]] == [
        "invalidResultReference",
        "invalidResultReference",
        "invalidArguments",
        "unknownMethod",  # its capability is not in `using`
    ]
    assert told["createdIds"] == {"k": "M1"}
    assert (await ayna.fails("Mailbox/get", accountId="other"))["type"] == "accountNotFound"


async def test_the_first_page(either_world: World) -> None:
    world = either_world
    for number in range(6):
        reply = number - 3 if number >= 3 else None
        await world.house.deliver(letter(number, f"subject {number}", reply_to=reply), 1)
        world.house.clock.now += 60_000
    ayna = await world.person()
    query, _, threads, emails = await first_page(ayna, await ayna.inbox(), 2)
    assert query["total"] == 3
    assert len(query["ids"]) == 2
    assert [len(one["emailIds"]) for one in threads["list"]] == [2, 2]
    assert len(emails["list"]) == 4
    newest = next(one for one in emails["list"] if one["id"] == query["ids"][0])
    assert newest["subject"] == "subject 5"
    assert newest["from"] == [{"name": "Aýna", "email": "ayna@remote.test"}]
    assert newest["preview"] == "some words of a body"
    assert newest["keywords"] == {}
    counts = (await ayna.mailboxes())["inbox"]
    told = tuple(counts[name] for name in ("totalEmails", "unreadEmails", "totalThreads"))
    assert told == (6, 6, 3)
    assert counts["unreadThreads"] == 3


async def test_parts_of_a_query(world: World) -> None:
    for number in range(5):
        await world.house.deliver(letter(number), 1)
        world.house.clock.now += 1_000
    ayna = await world.person()
    every = (await ayna.call("Email/query"))["ids"]
    assert len(every) == 5

    async def ask(**more: Any) -> tuple[int, list[str]]:
        told = await ayna.call("Email/query", **more)
        return told["position"], told["ids"]

    assert await ask(position=3) == (3, every[3:])
    assert await ask(position=-2, limit=1) == (3, every[3:4])
    assert await ask(position=9) == (5, [])
    assert await ask(anchor=every[2], limit=2) == (2, every[2:4])
    assert await ask(anchor=every[2], anchorOffset=-1, limit=1) == (1, every[1:2])
    assert await ask(anchor=every[0], anchorOffset=-9, limit=1) == (0, every[:1])
    assert (await ayna.fails("Email/query", anchor="nonsense"))["type"] == "anchorNotFound"
    assert (await ayna.fails("Email/query", limit=-1))["type"] == "invalidArguments"
    assert (await ayna.fails("Email/query", filter={"x": 1}))["type"] == "unsupportedFilter"
    sort = [{"property": "colour"}]
    assert (await ayna.fails("Email/query", sort=sort))["type"] == "unsupportedSort"


async def test_what_may_be_asked(world: World) -> None:
    await world.house.deliver(letter(1, "green apples", "we eat fruit", sender="Zoe <z@b.test>"), 1)
    world.house.clock.now += 10_000
    edge = "2023-11-14T22:13:25Z"
    long = letter(2, "red cars", "they drive", sender="Adam <a@b.test>", pad=5_000)
    await world.house.deliver(long, 1, flags=4)
    ayna = await world.person()
    green, red = reversed((await ayna.call("Email/query"))["ids"])
    inbox = await ayna.inbox()
    trash = (await ayna.mailboxes())["trash"]["id"]
    cases: list[tuple[Json | None, list[str]]] = [
        (None, [red, green]),
        ({"inMailbox": inbox}, [red, green]),
        ({"inMailbox": trash}, []),
        ({"inMailboxOtherThan": [inbox]}, []),
        ({"inMailboxOtherThan": [trash]}, [red, green]),
        ({"before": edge}, [green]),
        ({"after": edge}, [red]),
        ({"minSize": 4_000}, [red]),
        ({"maxSize": 4_000}, [green]),
        ({"hasKeyword": "$flagged"}, [red]),
        ({"notKeyword": "$flagged"}, [green]),
        ({"someInThreadHaveKeyword": "$flagged"}, [red]),
        ({"allInThreadHaveKeyword": "$flagged"}, [red]),
        ({"noneInThreadHaveKeyword": "$flagged"}, [green]),
        ({"hasAttachment": False}, [red, green]),
        ({"hasAttachment": True}, []),
        ({"text": "fruit"}, [green]),
        ({"text": "eat apples"}, [green]),
        ({"text": "eat cars"}, []),
        ({"from": "adam"}, [red]),
        ({"to": "batyr"}, [red, green]),
        ({"cc": "batyr"}, []),
        ({"subject": "green"}, [green]),
        ({"body": "drive"}, [red]),
        ({"header": ["Message-ID", "m1@"]}, [green]),
        ({"header": ["X-None"]}, []),
        ({"operator": "NOT", "conditions": [{"text": "fruit"}]}, [red]),
        ({"operator": "OR", "conditions": [{"text": "fruit"}, {"minSize": 4_000}]}, [red, green]),
        ({"operator": "AND", "conditions": [{"text": "fruit"}, {"minSize": 4_000}]}, []),
        ({"operator": "AND", "conditions": []}, [red, green]),
    ]
    for asked, wanted in cases:
        assert (await ayna.call("Email/query", filter=asked))["ids"] == wanted, asked
    for by, first in (
        ({"property": "from"}, red),
        ({"property": "subject"}, green),
        ({"property": "size"}, green),
        ({"property": "hasKeyword", "keyword": "$flagged", "isAscending": False}, red),
        ({"property": "sentAt"}, red),
    ):
        assert (await ayna.call("Email/query", sort=[by]))["ids"][0] == first, by


async def test_changes_in_pieces(either_world: World) -> None:
    """Whoever follows changes, however small the pieces, ends with what is there."""
    world = either_world
    ayna = await world.person()
    await world.house.deliver(letter(0), 1)
    state = (await ayna.call("Email/get", ids=[]))["state"]
    known = set((await ayna.call("Email/query"))["ids"])
    first = next(iter(known))
    for number in range(1, 8):
        await world.house.deliver(letter(number), 1)
    every = (await ayna.call("Email/query"))["ids"]
    trash = (await ayna.mailboxes())["trash"]["id"]
    changes = {one: {"keywords/$seen": True} for one in every}
    changes[every[0]] = {"mailboxIds": {trash: True}}
    await ayna.call("Email/set", update=changes)
    gone = every[1]
    await ayna.call("Email/set", destroy=[gone, first])
    updated: set[str] = set()
    for _ in range(50):
        told = await ayna.call("Email/changes", sinceState=state, maxChanges=2)
        count = sum(len(told[kind]) for kind in ("created", "updated", "destroyed"))
        assert count <= 2
        known |= set(told["created"])
        known -= set(told["destroyed"])
        updated |= set(told["updated"])
        state = told["newState"]
        if not told["hasMoreChanges"]:
            break
    assert known == set((await ayna.call("Email/query"))["ids"])
    assert gone not in known
    assert not updated - known
    assert state == (await ayna.call("Email/get", ids=[]))["state"]
    bad = await ayna.fails("Email/changes", sinceState="999999")
    assert bad["type"] == "cannotCalculateChanges"


async def test_query_changes_lead_to_the_same_list(either_world: World) -> None:
    world = either_world
    ayna = await world.person()
    for number in range(6):
        await world.house.deliver(letter(number, reply_to=number - 3 if number > 2 else None), 1)
        world.house.clock.now += 1_000
    inbox = await ayna.inbox()
    asked = {"filter": {"inMailbox": inbox}, "collapseThreads": True}
    before = await ayna.call("Email/query", **asked)
    shown, state = list(before["ids"]), before["queryState"]
    await ayna.call("Email/set", destroy=[shown[0]])
    trash = (await ayna.mailboxes())["trash"]["id"]
    await ayna.call("Email/set", update={shown[1]: {"mailboxIds": {trash: True}}})
    await world.house.deliver(letter(9), 1)
    told = await ayna.call(
        "Email/queryChanges", sinceQueryState=state, calculateTotal=True, **asked
    )
    shown = [one for one in shown if one not in told["removed"]]
    for one in sorted(told["added"], key=lambda one: one["index"]):
        shown.insert(one["index"], one["id"])
    after = await ayna.call("Email/query", calculateTotal=True, **asked)
    assert shown == after["ids"]
    assert told["total"] == after["total"]
    assert told["newQueryState"] == after["queryState"]
    many = await ayna.fails("Email/queryChanges", sinceQueryState=state, maxChanges=1, **asked)
    assert many["type"] == "tooManyChanges"


async def test_mailboxes(either_world: World) -> None:
    ayna = await either_world.person()
    state = (await ayna.call("Mailbox/get", ids=[]))["state"]
    told = await ayna.call(
        "Mailbox/set",
        create={
            "b": {"name": "below", "parentId": "#a", "isSubscribed": True},
            "a": {"name": "above", "sortOrder": 3},
            "bad": {"name": "a/b"},
            "role": {"name": "x", "role": "sent"},
            "worse": {"name": "y", "totalEmails": 1},
        },
    )
    assert set(told["created"]) == {"a", "b"}
    assert {key: one["properties"] for key, one in told["notCreated"].items()} == {
        "bad": ["name"],
        "role": ["role"],
        "worse": ["totalEmails"],
    }
    above, below = told["created"]["a"]["id"], told["created"]["b"]["id"]
    await ayna.call("Mailbox/set", update={above: {"name": "Übersicht"}, below: {"parentId": None}})
    boxes = await ayna.mailboxes()
    assert boxes["Übersicht"]["sortOrder"] == 3
    assert boxes["below"]["parentId"] is None
    assert boxes["below"]["isSubscribed"] is True
    changes = await ayna.call("Mailbox/changes", sinceState=state)
    assert set(changes["created"]) == {above, below}
    await ayna.call("Mailbox/set", update={below: {"parentId": above}})
    refused = await ayna.call("Mailbox/set", destroy=[above, boxes["inbox"]["id"]])
    kinds = {key: one["type"] for key, one in refused["notDestroyed"].items()}
    assert kinds == {above: "mailboxHasChild", boxes["inbox"]["id"]: "forbidden"}
    await either_world.house.deliver(letter(1), 1, mailbox="Übersicht/below")
    refused = await ayna.call("Mailbox/set", destroy=[below])
    assert refused["notDestroyed"][below]["type"] == "mailboxHasEmail"
    state = changes["newState"]
    await ayna.call("Mailbox/set", destroy=[above, below], onDestroyRemoveEmails=True)
    changes = await ayna.call("Mailbox/changes", sinceState=state)
    assert set(changes["destroyed"]) == {above, below}
    order = await ayna.call("Mailbox/query", filter={"hasAnyRole": True}, sortAsTree=True)
    assert order["ids"][0] == boxes["inbox"]["id"]
    assert (await ayna.call("Email/query"))["ids"] == []


async def test_only_counts_changed(world: World) -> None:
    ayna = await world.person()
    await world.house.deliver(letter(1), 1)
    state = (await ayna.call("Mailbox/get", ids=[]))["state"]
    (email,) = (await ayna.call("Email/query"))["ids"]
    await ayna.call("Email/set", update={email: {"keywords": {"$seen": True}}})
    changes = await ayna.call("Mailbox/changes", sinceState=state)
    assert changes["updated"] == [await ayna.inbox()]
    assert "unreadEmails" in changes["updatedProperties"]
    assert (await ayna.mailboxes())["inbox"]["unreadEmails"] == 0


async def test_emails_move_and_are_marked(either_world: World) -> None:
    world = either_world
    ayna = await world.person()
    await world.house.deliver(letter(1), 1)
    (email,) = (await ayna.call("Email/query"))["ids"]
    boxes = await ayna.mailboxes()
    inbox, archive = boxes["inbox"]["id"], boxes["archive"]["id"]
    steps: list[tuple[Json, Json, Json]] = [
        ({"keywords/$seen": True, "keywords/label": True}, {"$seen": True, "label": True},
         {inbox: True}),
        ({"mailboxIds/" + archive: True}, {"$seen": True, "label": True},
         {inbox: True, archive: True}),
        ({"keywords": {"$flagged": True}}, {"$flagged": True}, {inbox: True, archive: True}),
        ({"mailboxIds/" + inbox: None}, {"$flagged": True}, {archive: True}),
        ({"mailboxIds": {inbox: True}, "keywords/$flagged": None}, {}, {inbox: True}),
    ]  # fmt: skip
    for changes, keywords, mailboxes in steps:
        told = await ayna.call("Email/set", update={email: changes})
        assert told["updated"] == {email: None}, told
        (now,) = (await ayna.call("Email/get", ids=[email]))["list"]
        assert (now["keywords"], now["mailboxIds"]) == (keywords, mailboxes)
    bad: list[tuple[Json, str]] = [
        ({"subject": "x"}, "invalidProperties"),
        ({"mailboxIds": {}}, "invalidProperties"),
        ({"mailboxIds": {"F999": True}}, "invalidProperties"),
        ({"keywords/a b": True}, "invalidProperties"),
        ({"keywords": {"$seen": False}}, "invalidProperties"),
        ({"keywords/$seen": "yes"}, "invalidPatch"),
        ({"keywords": {}, "keywords/$seen": True}, "invalidPatch"),
    ]
    for changes, kind in bad:
        told = await ayna.call("Email/set", update={email: changes})
        assert told["notUpdated"][email]["type"] == kind, changes
    state = told["newState"]
    assert (await ayna.fails("Email/set", ifInState="0", update={}))["type"] == "stateMismatch"
    told = await ayna.call("Email/set", ifInState=state, destroy=[email, "Mnonsense"])
    assert told["destroyed"] == [email]
    assert told["notDestroyed"]["Mnonsense"]["type"] == "notFound"
    view = await world.house.view(1)
    assert len(view) == 0


async def test_deleted_in_imap_is_not_seen(world: World) -> None:
    ayna = await world.person()
    await world.house.deliver(letter(1), 1)
    state = (await ayna.call("Email/get", ids=[]))["state"]
    (email,) = (await ayna.call("Email/query"))["ids"]
    await world.house.deliver(letter(2), 1, flags=8)
    assert (await ayna.call("Email/query"))["ids"] == [email]
    assert (await ayna.mailboxes())["inbox"]["totalEmails"] == 1
    told = await ayna.call("Email/changes", sinceState=state)
    assert told["created"] == []


async def test_a_draft_of_every_shape(either_world: World) -> None:
    world = either_world
    ayna = await world.person()
    drafts = (await ayna.mailboxes())["drafts"]["id"]
    blob = await ayna.upload(b"\x00\x01file" * 30_000, "image/png")
    asked = {
        "mailboxIds": {drafts: True},
        "keywords": {"$draft": True, "$seen": True},
        "from": [{"name": "Aýna, \"the\" first", "email": "ayna@kerwen.test"}],
        "to": [{"name": None, "email": "batyr@kerwen.test"}],
        "subject": "Salam — hatyň täze görnüşi " + "uzyn " * 30,
        "references": ["a@b", "c@d"],
        "sentAt": "2026-01-02T03:04:05+05:00",
        "header:X-Own:asText": "hä?",
        "textBody": [{"partId": "t", "type": "text/plain"}],
        "htmlBody": [{"partId": "h", "type": "text/html"}],
        "attachments": [
            {"blobId": blob, "type": "image/png", "name": "şekil " + "a" * 90 + ".png",
             "disposition": "attachment"},
            {"blobId": blob, "type": "image/png", "cid": "pic@x", "disposition": "inline"},
        ],
        "bodyValues": {
            "t": {"value": "text\nof " + "ä" * 2_000},
            "h": {"value": "<p>html <img src='cid:pic@x'></p>"},
        },
    }  # fmt: skip
    told = await ayna.call("Email/set", create={"k": asked})
    email = told["created"]["k"]["id"]
    (found,) = (
        await ayna.call(
            "Email/get",
            ids=[email],
            properties=[
                *("from", "to", "subject", "references", "sentAt", "keywords", "hasAttachment"),
                *("textBody", "htmlBody", "attachments", "bodyValues", "bodyStructure"),
                *("header:X-Own:asText", "messageId"),
            ],
            fetchAllBodyValues=True,
        )
    )["list"]
    for name in ("from", "to", "subject", "references", "sentAt", "header:X-Own:asText"):
        wanted = asked[name].strip() if isinstance(asked[name], str) else asked[name]  # type: ignore[attr-defined]
        assert found[name] == wanted, name
    assert found["keywords"] == {"$draft": True, "$seen": True}
    assert found["hasAttachment"] is True
    text, html = found["textBody"][0]["partId"], found["htmlBody"][0]["partId"]
    assert found["bodyValues"][text]["value"] == asked["bodyValues"]["t"]["value"]  # type: ignore[index]
    assert found["bodyValues"][html]["value"] == asked["bodyValues"]["h"]["value"]  # type: ignore[index]
    assert [one["size"] for one in found["attachments"]] == [180_000, 180_000]
    assert {one["name"] for one in found["attachments"]} == {asked["attachments"][0]["name"], None}  # type: ignore[index]
    part = next(one for one in found["attachments"] if one["cid"] == "pic@x")
    status, data = await ayna.download(part["blobId"])
    assert (status, len(data)) == (200, 180_000)
    assert found["messageId"][0].endswith("@kerwen.test")
    again = await ayna.call("Blob/get", ids=[part["blobId"]], properties=["size", "digest:sha-256"])
    assert again["list"][0]["size"] == 180_000


async def test_drafts_that_cannot_be(world: World) -> None:
    ayna = await world.person()
    drafts = {(await ayna.mailboxes())["drafts"]["id"]: True}
    text: Json = {"textBody": [{"partId": "t"}], "bodyValues": {"t": {"value": "x"}}}
    cases: list[tuple[Json, str, list[str]]] = [
        ({}, "invalidProperties", ["mailboxIds"]),
        ({"mailboxIds": drafts, "id": "x"}, "invalidProperties", ["id"]),
        ({"mailboxIds": drafts, "headers": []}, "invalidProperties", ["headers"]),
        ({"mailboxIds": drafts, "subject": 1}, "invalidProperties", ["subject"]),
        ({"mailboxIds": drafts, "to": [{"email": "a b"}]}, "invalidProperties", ["to"]),
        ({"mailboxIds": drafts, "header:Content-Type": "x"}, "invalidProperties",
         ["header:Content-Type"]),
        ({"mailboxIds": drafts, "subject": "x", "header:Subject": "y"}, "invalidProperties",
         ["header:Subject"]),
        ({"mailboxIds": drafts, "header:X-A": "a\r\nBcc: b"}, "invalidProperties", ["header:X-A"]),
        ({"mailboxIds": drafts, "textBody": [{"partId": "q"}]}, "invalidProperties",
         ["textBody/0/partId"]),
        ({"mailboxIds": drafts, **text, "bodyStructure": {"partId": "t"}}, "invalidProperties",
         ["bodyStructure", "textBody"]),
        ({"mailboxIds": drafts, "attachments": [{"blobId": "Bnone"}]}, "blobNotFound", []),
        ({"mailboxIds": drafts, **text, "receivedAt": "now"}, "invalidProperties", ["receivedAt"]),
    ]  # fmt: skip
    for asked, kind, properties in cases:
        told = (await ayna.call("Email/set", create={"k": asked}))["notCreated"]["k"]
        assert (told["type"], told.get("properties", [])) == (kind, properties), asked


async def test_import_and_parse(world: World) -> None:
    ayna = await world.person()
    inbox = await ayna.inbox()
    inner = letter(5, "the one inside")
    outer = (
        b"From: a@b.test\r\nSubject: outer\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n"
        b"Content-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--x--\r\n"
    )
    blob = await ayna.upload(outer, "message/rfc822")
    told = await ayna.call(
        "Email/import",
        emails={
            "k": {"blobId": blob, "mailboxIds": {inbox: True}, "keywords": {"$seen": True},
                  "receivedAt": "2020-01-01T00:00:00Z"},
            "no": {"blobId": "Bno", "mailboxIds": {inbox: True}},
            "bad": {"blobId": await ayna.upload(b"\x00\x01"), "mailboxIds": {inbox: True}},
        },
    )  # fmt: skip
    assert told["notCreated"]["no"]["type"] == "blobNotFound"
    assert told["notCreated"]["bad"]["type"] == "invalidEmail"
    email = told["created"]["k"]["id"]
    (found,) = (await ayna.call("Email/get", ids=[email]))["list"]
    assert (found["receivedAt"], found["size"]) == ("2020-01-01T00:00:00Z", len(outer))
    attached = found["attachments"][0]
    assert attached["type"] == "message/rfc822"
    parsed = await ayna.call(
        "Email/parse", blobIds=[attached["blobId"], "Bno"], fetchTextBodyValues=True
    )
    one = parsed["parsed"][attached["blobId"]]
    assert one["subject"] == "the one inside"
    assert parsed["notFound"] == ["Bno"]
    status, data = await ayna.download(one["textBody"][0]["blobId"])
    assert (status, data) == (200, b"some words of a body\r\n")
    copied = await ayna.fails("Email/copy", fromAccountId="other", create={})
    assert copied["type"] == "fromAccountNotFound"


async def test_snippets(world: World) -> None:
    ayna = await world.person()
    await world.house.deliver(letter(1, "red <apples>", "x" * 500 + " they eat apples & pears"), 1)
    (email,) = (await ayna.call("Email/query"))["ids"]
    told = await ayna.call("SearchSnippet/get", emailIds=[email, "Mno"], filter={"text": "apples"})
    (one,) = told["list"]
    assert one["subject"] == "red &lt;<mark>apples</mark>&gt;"
    assert one["preview"].endswith("<mark>apples</mark> &amp; pears")
    assert len(one["preview"]) <= 255
    assert told["notFound"] == ["Mno"]


async def test_nobody_sees_what_is_anothers(world: World) -> None:
    await world.house.deliver(letter(1), 1)
    ayna, batyr = await world.person("ayna"), await world.person("batyr")
    (email,) = (await ayna.call("Email/query"))["ids"]
    (told,) = (await ayna.call("Email/get", ids=[email]))["list"]
    upload = await ayna.upload(b"secret")
    inbox = await batyr.inbox()
    assert (await batyr.call("Email/get", ids=[email]))["notFound"] == [email]
    assert (await batyr.call("Thread/get", ids=[told["threadId"]]))["notFound"]
    set_ = await batyr.call("Email/set", update={email: {"keywords/$seen": True}}, destroy=[])
    assert set_["notUpdated"][email]["type"] == "notFound"
    for blob in (told["blobId"], upload, told["textBody"][0]["blobId"]):
        assert (await batyr.download(blob))[0] == 404
        assert (await ayna.download(blob))[0] == 200
        assert (await batyr.download(blob, ayna.id))[0] == 404
        imported = await batyr.call(
            "Email/import", emails={"k": {"blobId": blob, "mailboxIds": {inbox: True}}}
        )
        assert imported["notCreated"]["k"]["type"] == "blobNotFound"
        assert (await batyr.call("Blob/get", ids=[blob]))["notFound"] == [blob]
        parsed = await batyr.call("Email/parse", blobIds=[blob])
        assert parsed["notFound"] == [blob]
    assert (await batyr.fails("Email/query", accountId=ayna.id))["type"] == "accountNotFound"
    identity = (await ayna.call("Identity/get"))["list"][0]["id"]
    sent = await batyr.call(
        "EmailSubmission/set", create={"k": {"identityId": identity, "emailId": email}}
    )
    assert sent["notCreated"]["k"]["properties"] in (["emailId"], ["identityId"])


async def test_quota_and_blobs(world: World) -> None:
    ayna = await world.person()
    await world.house.deliver(letter(1), 1)
    (quota,) = (await ayna.call("Quota/get"))["list"]
    assert 0 < quota["used"] < quota["hardLimit"]
    assert (await ayna.call("Quota/query", filter={"scope": "domain"}))["ids"] == []
    made = await ayna.call(
        "Blob/upload",
        create={
            "a": {"type": "text/plain", "data": [{"data:asText": "Salam "}]},
            "b": {"data": [{"blobId": "#a"}, {"data:asBase64": "ZMO8bsO9w6Q="}]},
            "c": {"data": [{"data:asBase64": "!"}]},
            "d": {"data": [{"blobId": "#a", "offset": 2, "length": 3}]},
        },
    )
    assert made["notCreated"]["c"]["type"] == "invalidProperties"
    told = await ayna.call(
        "Blob/get", ids=[made["created"][key]["id"] for key in "bd"], properties=["data:asText"]
    )
    assert [one["data:asText"] for one in told["list"]] == ["Salam dünýä", "lam"]
    (email,) = (await ayna.call("Email/query"))["ids"]
    (row,) = (await ayna.call("Email/get", ids=[email], properties=["blobId", "threadId"]))["list"]
    found = await ayna.call(
        "Blob/lookup", ids=[row["blobId"]], typeNames=["Email", "Mailbox", "Thread"]
    )
    assert found["list"][0]["matchedIds"] == {
        "Email": [email],
        "Mailbox": [await ayna.inbox()],
        "Thread": [row["threadId"]],
    }


async def test_uploads_end(world: World) -> None:
    ayna = await world.person()
    blob = await ayna.upload(b"a" * 100_000)
    world.house.clock.now += 25 * 3_600_000
    assert await world.house.mail.uploads.sweep() == 1
    assert (await ayna.download(blob))[0] == 404


async def test_uploads_are_counted_by_account_and_share_their_room(world: World) -> None:
    end, ayna = asyncio.Event(), await world.person()
    # the same account by another name has no places of its own
    other = {"authorization": "Basic " + base64.b64encode(b"@ayna:kerwen.test:secret-1").decode()}
    url = ayna.session["uploadUrl"].replace("{accountId}", ayna.id)
    room = world.door.areas[1]._room  # type: ignore[attr-defined]
    whole = room.left

    async def slowly() -> AsyncIterator[bytes]:
        yield b"a" * 1_000
        await end.wait()
        yield b"b"

    async def upload(headers: dict[str, str], data: object = b"c" * 1_000) -> int:
        async with world.session.post(url, data=data, headers=headers) as answer:
            return answer.status

    slow = [asyncio.create_task(upload(ayna.headers, slowly())) for _ in range(4)]
    while room.left != whole - 4_000:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    assert await upload(other) == await upload(ayna.headers) == 429
    end.set()
    assert await asyncio.gather(*slow) == [201] * 4
    assert (await upload(other), room.left) == (201, whole)
    room.left = 999
    assert (await upload(ayna.headers), room.left) == (503, 999)


async def events(person: Person, count: int, **query: str) -> list[Json]:
    """The next state changes of an event stream."""
    url = person.session["eventSourceUrl"]
    for name, value in {"types": "*", "closeafter": "no", "ping": "0", **query}.items():
        url = url.replace("{" + name + "}", value)
    found: list[Json] = []
    async with person.world.session.get(url, headers=person.headers) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if line.startswith(b"data: "):
                found.append(orjson.loads(line[6:]))
                if len(found) == count:
                    return found
    return found


async def test_event_stream(world: World) -> None:
    ayna = await world.person()
    task = asyncio.ensure_future(events(ayna, 2))
    await world.listening(1)
    await world.house.deliver(letter(1), 1)
    first, second = await task
    before, after = first["changed"][ayna.id], second["changed"][ayna.id]
    assert set(before) >= {"Email", "Mailbox", "Thread", "EmailDelivery"}
    assert set(after) == {"Email", "Mailbox", "Thread", "EmailDelivery"}
    assert after["Email"] == (await ayna.call("Email/get", ids=[]))["state"]
    once = asyncio.ensure_future(events(ayna, 9, types="EmailDelivery", closeafter="state"))
    await world.listening(1)
    (email,) = (await ayna.call("Email/query"))["ids"]
    await ayna.call("Email/set", update={email: {"keywords/$seen": True}})
    await world.house.deliver(letter(2), 1)
    (only,) = await once
    assert list(only["changed"][ayna.id]) == ["EmailDelivery"]
    await world.listening(0)


async def test_websocket(world: World) -> None:
    ayna = await world.person()
    url = ayna.session["capabilities"]["urn:ietf:params:jmap:websocket"]["url"]
    async with world.session.ws_connect(url, headers=ayna.headers, protocols=["jmap"]) as line:
        assert line.protocol == "jmap"
        call = ["Core/echo", {"a": 1}, "x"]
        await line.send_json(
            {"@type": "Request", "id": "r", "using": [CORE], "methodCalls": [call]}
        )
        told = await line.receive_json()
        assert (told["@type"], told["requestId"]) == ("Response", "r")
        assert told["methodResponses"] == [call]
        for bad in ("{", '{"@type":"Request","id":"q","using":1}', "[]", '{"@type":"x"}'):
            await line.send_str(bad)
            assert (await line.receive_json())["@type"] == "RequestError"
        await line.send_json({"@type": "WebSocketPushEnable", "dataTypes": ["Email"]})
        await line.send_json({"@type": "Request", "using": [CORE], "methodCalls": []})
        await line.receive_json()
        await world.house.deliver(letter(1), 1)
        told = await line.receive_json()
        assert told["@type"] == "StateChange"
        assert list(told["changed"][ayna.id]) == ["Email"]
        await line.send_json({"@type": "WebSocketPushDisable"})
    await world.listening(0)


async def test_whose_secret_ends_is_shut_out(world: World) -> None:
    ayna = await world.person()
    task = asyncio.ensure_future(events(ayna, 99))
    await world.listening(1)
    async with world.db.write() as tx:
        await world.house.vaults.drop_slot(tx, 1, "password", "")
        tx.change(Kind.ACCOUNT, 1, 0)
    assert len(await task) >= 1  # and it ended
    status, _ = await ayna.post({"using": [CORE], "methodCalls": []})
    assert status in (401, 403)
