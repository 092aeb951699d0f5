"""Requests made at random: every one is answered, nothing breaks, and no account sees another."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, Final

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerwen.api.jmap.registry import Work
from kerwen.mail.jmap import compose, headers, requests
from kerwen.mail.jmap.errors import MethodError, RequestError, SetError
from kerwen.mail.jmap.requests import Batch
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database
from tests.jmap.world import USING, World
from tests.mail_store.house import letter

ROUNDS: Final = 600
_NAMES: Final = (
    *("ids", "properties", "sinceState", "maxChanges", "filter", "sort", "position", "anchor"),
    *("anchorOffset", "limit", "calculateTotal", "create", "update", "destroy", "ifInState"),
    *("collapseThreads", "bodyProperties", "fetchAllBodyValues", "maxBodyValueBytes", "emails"),
    *("blobIds", "emailIds", "typeNames", "sinceQueryState", "sortAsTree", "filterAsTree"),
    *("onDestroyRemoveEmails", "onSuccessUpdateEmail", "onSuccessDestroyEmail", "offset", "length"),
)
_KEYS: Final = (
    *("mailboxIds", "keywords", "from", "to", "subject", "textBody", "bodyValues", "attachments"),
    *("bodyStructure", "partId", "blobId", "type", "name", "parentId", "role", "sortOrder"),
    *("isSubscribed", "identityId", "emailId", "envelope", "mailFrom", "rcptTo", "email"),
    *("parameters", "HOLDFOR", "undoStatus", "operator", "conditions", "inMailbox", "text"),
    *("hasKeyword", "before", "minSize", "header", "property", "isAscending", "keyword", "data"),
    *("data:asText", "header:X-A:asText", "header:To:asAddresses:all", "receivedAt", "subParts"),
    *("keywords/$seen", "mailboxIds/F1", "value", "cid", "charset", "disposition", "resultOf"),
    *("path", "inMailboxOtherThan", "allInThreadHaveKeyword", "hasAttachment", "htmlSignature"),
)


_EMAIL: Final = {
    "mailboxIds": {"F3": True},
    "keywords": {"$draft": True},
    "from": [{"name": "A", "email": "ayna@kerwen.test"}],
    "to": [{"email": "batyr@kerwen.test"}],
    "subject": "s",
    "header:X-A:asText": "x",
    "textBody": [{"partId": "t", "type": "text/plain"}],
    "attachments": [{"blobId": "ID", "type": "a/b", "name": "n", "cid": "c@d"}],
    "bodyValues": {"t": {"value": "v"}},
}
_SENT: Final = {
    "identityId": "I1",
    "emailId": "ID",
    "envelope": {
        "mailFrom": {"email": "ayna@kerwen.test", "parameters": {"HOLDFOR": "9"}},
        "rcptTo": [{"email": "ayna@kerwen.test"}],
    },
}
_QUERY: Final = {
    "filter": {"operator": "OR", "conditions": [{"inMailbox": "F1"}, {"text": "a body"}]},
    "sort": [{"property": "from"}, {"property": "hasKeyword", "keyword": "$seen"}],
    "collapseThreads": True,
    "position": 0,
    "limit": 3,
}
_SHAPE: Final = {
    "type": "multipart/mixed",
    "subParts": [{"type": "text/plain", "partId": "t", "header:X-B:asRaw": "b"}],
}
BASES: Final[list[tuple[str, dict[str, Any]]]] = [
    ("Email/set", {"create": {"k": _EMAIL}, "update": {"ID": {"keywords/$seen": True}}}),
    ("Email/set", {"create": {"k": {"mailboxIds": {"F3": True}, "bodyStructure": _SHAPE,
                                    "bodyValues": {"t": {"value": "v"}}}}}),
    ("Email/set", {"update": {"ID": {"mailboxIds": {"F1": True, "F2": True}}, "#k": {}}}),
    ("Email/get", {"ids": ["ID"], "properties": ["header:From:asText", "bodyStructure", "preview"],
                   "bodyProperties": ["partId", "header:X-A"], "fetchAllBodyValues": True}),
    ("Email/query", _QUERY),
    ("Email/queryChanges", {**_QUERY, "sinceQueryState": "3", "maxChanges": 40}),
    ("Email/changes", {"sinceState": "3", "maxChanges": 2}),
    ("Thread/changes", {"sinceState": "3.1.1"}),
    ("Thread/get", {"ids": ["ID", "ID"]}),
    ("Mailbox/changes", {"sinceState": "2"}),
    ("Mailbox/queryChanges", {"sinceQueryState": "2", "filter": {"role": "inbox"}}),
    ("Mailbox/set", {"create": {"k": {"name": "n", "parentId": "F2", "role": None}},
                     "update": {"ID": {"name": "m", "parentId": "#k"}}, "destroy": ["ID"]}),
    ("Mailbox/query", {"filter": {"name": "a", "hasAnyRole": True},
                       "sort": [{"property": "name"}]}),
    ("Email/import", {"emails": {"k": {"blobId": "ID", "mailboxIds": {"F1": True}}}}),
    ("Email/parse", {"blobIds": ["ID", "ID"], "fetchTextBodyValues": True}),
    ("SearchSnippet/get", {"emailIds": ["ID"], "filter": {"text": "body"}}),
    ("EmailSubmission/set", {"create": {"s": _SENT}, "onSuccessDestroyEmail": ["#s"],
                             "onSuccessUpdateEmail": {"#s": {"keywords/$draft": None}}}),
    ("EmailSubmission/set", {"update": {"S1": {"undoStatus": "canceled"}}, "destroy": ["S2"]}),
    ("EmailSubmission/query", {"filter": {"undoStatus": "final"},
                               "sort": [{"property": "sentAt"}]}),
    ("EmailSubmission/changes", {"sinceState": "0"}),
    ("Identity/set", {"create": {"i": {"email": "ayna@kerwen.test", "name": "n", "bcc": None}},
                      "update": {"I1": {"replyTo": [{"email": "a@b"}]}}}),
    ("Identity/changes", {"sinceState": "0", "maxChanges": 1}),
    ("Blob/upload", {"create": {"b": {"data": [{"data:asText": "x"}, {"blobId": "ID"}]}}}),
    ("Blob/get", {"ids": ["ID"], "properties": ["data", "digest:sha-256"], "offset": 1}),
    ("Blob/lookup", {"ids": ["ID"], "typeNames": ["Email", "Thread"]}),
    ("Quota/query", {"filter": {"name": "a"}}),
]  # fmt: skip


class Words:
    """Draws JSON that looks like what a client could send."""

    def __init__(self, seed: int, things: list[str]) -> None:
        self._random = random.Random(seed)
        self._things = things

    def value(self, depth: int = 0) -> Any:
        """Anything."""
        draw = self._random
        kind = draw.randrange(14 if depth < 4 else 9)
        if kind < 4:
            return draw.choice(self._things)
        if kind == 4:
            return draw.choice((0, 1, -1, 7, 2**53, 2**63, 1.5, True, False, None))
        if kind == 5:
            return draw.choice(_KEYS)
        if kind == 6:
            return draw.choice(
                ("\ufffd", "a" * 300, "", "\0", "#k", "$seen", "text/plain", "1", "drafts", "é")
            )
        if kind == 7:
            return draw.choice((True, None))
        if kind == 8:
            return {}
        if kind < 11:
            return [self.value(depth + 1) for _ in range(draw.randrange(4))]
        return self.object(depth + 1)

    def object(self, depth: int = 0) -> dict[str, Any]:
        """An object."""
        draw = self._random
        names = _KEYS if draw.random() < 0.8 else self._things
        return {draw.choice(names): self.value(depth) for _ in range(draw.randrange(5))}

    def _changed(self, whole: Any) -> Any:
        """The same with ids that are some, and one thing at random."""
        draw = self._random
        if isinstance(whole, dict):
            found = {
                draw.choice(self._things) if key == "ID" else key: value
                for key, value in whole.items()
            }
            if found and draw.random() < 0.6:
                key = draw.choice(list(found))
                found[key] = self._changed(found[key])
            elif draw.random() < 0.3:
                found[draw.choice(_KEYS)] = self.value(2)
            return found
        if isinstance(whole, list) and whole and draw.random() < 0.7:
            at = draw.randrange(len(whole))
            return [*whole[:at], self._changed(whole[at]), *whole[at + 1 :]]
        if whole == "ID":
            return draw.choice(self._things)
        return self.value(2)

    def call(self, methods: list[str], account_id: str, call_id: str) -> list[Any]:
        """A method call."""
        draw = self._random
        if draw.random() < 0.6:
            name, whole = draw.choice(BASES)
            changed = self._changed(whole)
            return [name, {**changed, "accountId": account_id}, call_id]
        arguments = {draw.choice(_NAMES): self.value() for _ in range(draw.randrange(6))}
        for name in ("create", "update", "emails", "filter"):
            if draw.random() < 0.5:
                arguments[name] = (
                    self.object()
                    if name == "filter"
                    else {draw.choice(self._things): self.object() for _ in range(2)}
                )
        arguments["accountId"] = account_id
        if draw.random() < 0.2:
            arguments["#ids"] = {
                "resultOf": draw.choice("012"),
                "name": draw.choice(methods),
                "path": draw.choice(("/ids", "/list/*/id", "/created/*", "//", "/list/*/*")),
            }
        return [draw.choice(methods), arguments, call_id]


async def test_calls_at_random(tmp_path: Path) -> None:
    feed = Feed()
    db = await open_database(tmp_path / "kerwen.db", feed)
    world = World(db, feed, tmp_path / "data")
    await world.start()
    for number in range(4):
        await world.house.deliver(letter(number, reply_to=number - 1 if number else None), 1)
    await world.house.deliver(letter(99, "for batyr alone"), 2)
    ayna, batyr = await world.person("ayna"), await world.person("batyr")
    theirs = (await batyr.call("Email/query"))["ids"]
    rows = (await batyr.call("Email/get", ids=theirs, properties=["blobId", "threadId"]))["list"]
    mine = (await ayna.call("Email/query"))["ids"]
    own = (await ayna.call("Email/get", ids=mine, properties=["blobId", "threadId"]))["list"]
    identity = (await ayna.call("Identity/get"))["list"][0]["id"]
    things = [
        *mine, *theirs, identity, "F1", "F2", "F3", "F99", "S1", "k", "#k", "1", "2", "3.1.1",
        *(value for row in own + rows for value in row.values()),
        await batyr.upload(b"the secret of batyr"), ayna.id, batyr.id,
    ]  # fmt: skip
    entry = await world.door.sessions.again(ayna.headers["authorization"], 1)
    registry = world.door.registry
    methods = [name for name in registry.methods if name != "Core/echo"]
    for seed in range(ROUNDS):
        words = Words(seed, things)
        calls = [words.call(methods, ayna.id, str(at)) for at in range(3)]
        body = orjson.loads(orjson.dumps({"using": USING, "methodCalls": calls}, default=str))
        batch = Batch(body, registry.capabilities)
        with world.door.sessions.running(entry):
            async with asyncio.timeout(20):
                await registry.run(Work(world.door.areas[0].deeds, entry, batch))  # type: ignore[attr-defined]
        assert {call_id for _, _, call_id in batch.responses} == {"0", "1", "2"}
        told = orjson.dumps(batch.response("s"))
        assert b"for batyr alone" not in told, seed
        assert b"the secret of batyr" not in told, seed
    assert not world.bugs.found, world.bugs.found[0]
    assert (await batyr.call("Email/query"))["ids"]
    await world.stop()
    await db.close()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=8)
    | st.sampled_from(_KEYS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda one: orjson.dumps(one, default=str)))
def test_any_bytes_are_a_request_or_none(raw: bytes) -> None:
    try:
        batch = Batch(requests.parse(raw), USING)
    except RequestError:
        return
    assert all(call.id is not None for call in batch.calls())


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(_KEYS), JSON, max_size=6))
def test_any_email_is_a_message_or_refused(email: dict[str, Any]) -> None:
    try:
        made = compose.draft(email)
    except SetError:
        return
    blobs = {one: compose.Blob(b"\x00\xff", "a/b") for one in made.blob_ids()}
    raw = compose.write(made, blobs, 0, lambda count: b"x" * count, "kerwen.test")
    head = raw.partition(b"\r\n\r\n")[0]
    assert all(len(line) < 998 or b" " not in line for line in head.split(b"\r\n"))
    assert raw.count(b"\n") == raw.count(b"\r\n")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(sorted(headers.FORMS)))
def test_any_field_has_a_value(value: bytes, form: str) -> None:
    orjson.dumps(headers.FORMS[form](value))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_header_property_or_none(text: str) -> None:
    try:
        found = headers.parse_property("header:" + text)
    except MethodError:
        return
    assert found.form in headers.FORMS
