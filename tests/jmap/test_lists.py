"""The list of a mailbox after whatever may happen to it, asked for in every way; nothing that is
kept in memory may be told a moment too long, or to somebody else.
"""

from __future__ import annotations

import pytest

from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.records import parts
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.mail.jmap import references
from kerwen.mail.jmap.arguments import Arguments, is_id
from kerwen.mail.jmap.errors import MethodError
from kerwen.mail.store.tags import Tags
from tests.jmap.world import Json, Person, World
from tests.mail_store.house import letter

Model = dict[int, tuple[int, int]]
"""(date, thread) of each Email by its number."""
_DELETED = 8
_START = 1_600_000_000


async def _append(world: World, model: Model, number: int, date: int, thread: int) -> int:
    """What IMAP's APPEND does. Every message of a thread answers its first."""
    raw = letter(number, reply_to=thread if thread != number else None)
    told = await world.house.mail.append.run(
        1, "INBOX", [Item(sealing.make(raw), 0, (), _START + date)]
    )
    view = await world.house.view(1)
    no = view.nos[view.places(told.uids[0], told.uids[0])[0]]
    model[no] = (_START + date, thread)
    return no


def _expected(world: World, model: Model, ascending: bool, collapse: bool) -> list[str]:
    """The list reckoned anew from the model."""
    nos = sorted(model, key=lambda no: model[no][0], reverse=not ascending)
    if collapse:
        met: dict[int, int] = {}
        for no in nos:
            met.setdefault(model[no][1], no)
        nos = list(met.values())
    return world.house.mail.tags.email_ids(1, nos)


async def _is_told(world: World, person: Person, inbox: str, model: Model) -> None:
    """Asks for pieces of the list, twice."""
    for _ in range(2):
        for ascending in (False, True):
            for collapse in (False, True):
                every = _expected(world, model, ascending, collapse)
                question: Json = {
                    "filter": {"inMailbox": inbox},
                    "sort": [{"property": "receivedAt", "isAscending": ascending}],
                    "collapseThreads": collapse,
                }
                some: list[tuple[Json, list[str]]] = [
                    ({"limit": 3}, every[:3]),
                    ({"position": 2, "limit": 2}, every[2:4]),
                    ({"limit": 3, "calculateTotal": True}, every[:3]),
                    ({"position": -2}, every[-2:]),
                    ({}, every),
                    ({"position": 99}, []),
                ]
                if len(every) > 4:
                    some.append(({"anchor": every[3], "anchorOffset": -1, "limit": 2}, every[2:4]))
                told = await person.calls(*[("Email/query", question | piece) for piece, _ in some])
                for (piece, ids), (name, answer) in zip(some, told, strict=True):
                    assert name == "Email/query", answer
                    assert answer["ids"] == ids, (ascending, collapse, piece)
                    assert answer.get("total", len(every)) == len(every), (collapse, piece)


async def test_a_list_is_what_is_there(either_world: World) -> None:
    world = either_world
    mail, clock = world.house.mail, world.house.clock
    ayna, batyr = await world.person(), await world.person("batyr")
    inbox, his = await ayna.inbox(), await batyr.inbox()
    box = (await mail.mailboxes.find(1, "INBOX")).mailbox_no
    model: Model = {}
    (theirs,) = await world.house.deliver(letter(1), 2)
    his_ids = mail.tags.email_ids(2, [theirs.no])

    async def is_so() -> None:
        await _is_told(world, ayna, inbox, model)
        told = await batyr.call("Email/query", filter={"inMailbox": his}, calculateTotal=True)
        assert (told["ids"], told["total"]) == (his_ids, 1)

    await is_so()  # an empty mailbox
    for number, (date, thread) in enumerate([(5, 0), (6, 1), (7, 0), (9, 3)]):
        await _append(world, model, number, date, thread)
    await is_so()  # in order
    old = await _append(world, model, 4, 2, 1)
    first = await _append(world, model, 5, 8, 5)
    await is_so()  # out of order
    clock.now += 60_000
    (came,) = await world.house.deliver(letter(6, reply_to=3), 1)
    model[came.no] = ((await world.house.view(1)).dates[-1], 3)
    await is_so()  # delivered by SMTP
    uids = (await world.house.view(1)).uids
    await mail.store_flags.run(1, box, [(uids[5], uids[5])], Wanted(How.ADD, _DELETED))
    kept = model.pop(first)
    await is_so()  # IMAP's \Deleted
    await mail.store_flags.run(1, box, [(uids[5], uids[5])], Wanted(How.REMOVE, _DELETED))
    model[first] = kept
    await is_so()
    await mail.copy.run(1, box, [(uids[1], uids[1])], "INBOX")
    await is_so()  # a copy beside it is the same Email
    await mail.expunge.run(1, box, [(uids[0], uids[0])], only_deleted=False)
    del model[(await world.house.view(1)).nos[0] - 1]
    await is_so()
    await mail.copy.run(1, box, [(uids[2], uids[2])], "Archive", move=True)
    del model[min(no for no, (date, _) in model.items() if date == _START + 7)]
    await is_so()
    (gone,) = mail.tags.email_ids(1, [old])
    assert (await ayna.call("Email/set", destroy=[gone]))["destroyed"] == [gone]
    del model[old]
    await is_so()
    assert (await batyr.call("Email/get", ids=[gone]))["notFound"] == [gone]


async def test_a_request_sees_what_it_did_itself(world: World) -> None:
    ayna = await world.person()
    inbox = await ayna.inbox()
    nos = [(await world.house.deliver(letter(n), 1))[0].no for n in range(3)]
    one, two, three = world.house.mail.tags.email_ids(1, nos)
    question: tuple[str, Json] = ("Email/query", {"filter": {"inMailbox": inbox}})
    keywords = ("Email/get", {"ids": [two], "properties": ["keywords"]})
    told = await ayna.calls(
        question,
        keywords,
        ("Email/set", {"destroy": [one], "update": {two: {"keywords/$seen": True}}}),
        question,
        keywords,
        ("Email/get", {"ids": [one]}),
        ("Mailbox/get", {"ids": [inbox]}),
        ("Mailbox/set", {"create": {"a": {"name": "Fresh"}}}),
        ("Mailbox/get", {"ids": None}),
    )
    found = [arguments for _, arguments in told]
    assert set(found[0]["ids"]) == {one, two, three}
    assert found[1]["list"][0]["keywords"] == {}
    assert set(found[3]["ids"]) == {two, three}
    assert found[4]["list"][0]["keywords"] == {"$seen": True}
    assert found[5]["notFound"] == [one]
    box = found[6]["list"][0]
    assert (box["totalEmails"], box["unreadEmails"]) == (2, 1)
    assert "Fresh" in {one["name"] for one in found[8]["list"]}


async def test_copies_and_rows_alike(world: World) -> None:
    """Rows share what says the same; one that lies elsewhere too says so."""
    ayna, mail = await world.person(), world.house.mail
    boxes = await ayna.mailboxes()
    inbox, archive = boxes["inbox"]["id"], boxes["archive"]["id"]
    nos = [(await world.house.deliver(letter(n), 1))[0].no for n in range(4)]
    box = (await mail.mailboxes.find(1, "INBOX")).mailbox_no
    await mail.copy.run(1, box, [(2, 2)], "Archive")
    await mail.store_flags.run(1, box, [(3, 4)], Wanted(How.ADD, 1))
    told = await ayna.call(
        "Email/get",
        ids=mail.tags.email_ids(1, nos),
        properties=["mailboxIds", "keywords"],
    )
    assert [set(one["mailboxIds"]) for one in told["list"]] == [
        {inbox}, {inbox, archive}, {inbox}, {inbox},
    ]  # fmt: skip
    assert [bool(one["keywords"]) for one in told["list"]] == [False, False, True, True]


# --- pure rules ---------------------------------------------------------------------------------


def test_ids_read_together_as_one_by_one() -> None:
    keys = Tags(bytes(32))
    own, others = keys.email_ids(1, [0, 1, 2**40, 7]), keys.email_ids(2, [1, 2])
    assert [keys.message_no(1, one) for one in own] == [0, 1, 2**40, 7]
    assert keys.message_nos(1, own) == [0, 1, 2**40, 7]
    assert keys.message_nos(1, []) == []
    odd = [
        "", "M", "Mnonsense", "B" + own[1][1:], own[1][:-1] + "B", own[1] + "A", own[1][:-1] + "=",
        "M=" + own[1][2:], "M+" + own[1][2:], "M/" + own[1][2:], "Mş" + own[1][2:], "M" + "A" * 22,
    ]  # fmt: skip
    for bad in odd + others:
        assert keys.message_no(1, bad) is None
        assert keys.message_nos(1, [own[0], bad, own[3]]) == [0, None, 7], bad
    assert keys.message_nos(1, ["B" + own[1][1:]], "B") == [1]


@pytest.mark.parametrize(
    "values",
    [
        [], ["a"], ["a", "b-_9"], ["x" * 255, "y"], [""], ["a", ""], ["", "a"], ["a,b"], [","],
        ["a", "b,c"], ["a b"], ["x" * 256], ["a\n"], ["ä"], ["a", 1], [None], [["a"]], [{}], ["#a"],
    ],
)  # fmt: skip
def test_lists_of_ids(values: list[object]) -> None:
    arguments = Arguments({"ids": values})
    if all(map(is_id, values)):
        assert arguments.ids() == values
    else:
        with pytest.raises(MethodError):
            arguments.ids()


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"list": [{"a": 1}, {"a": 2}]}, "/list/*/a", [1, 2]),
        ({"list": [{"a": [1]}, {"a": [2, 3]}]}, "/list/*/a", [1, 2, 3]),
        ({"list": [{"a": [1]}, {"a": 2}]}, "/list/*/a", [1, 2]),
        ({"list": []}, "/list/*/a", []),
        ({"list": [{"a": {"b": 1}}]}, "/list/*/a/b", [1]),
        ({"list": [{"a": 1}, {"b": 2}]}, "/list/*/a", None),
        ({"list": [{"a": 1}, 7]}, "/list/*/a", None),
        ({"list": [[{"a": 1}], [{"a": 2}]]}, "/list/*/*/a", [1, 2]),
        ({"list": [{"a": 1}] * (references.ITEMS_MAX + 1)}, "/list/*/a", None),
    ],
)
def test_pointers_with_a_star(value: Json, path: str, found: list[int] | None) -> None:
    if found is None:
        with pytest.raises(MethodError):
            references.evaluate(value, path)
    else:
        assert references.evaluate(value, path) == found


def test_long_messages_are_not_in_memory_at_the_same_time() -> None:
    mib = 1 << 20
    assert list(parts([])) == []
    assert [len(some) for some in parts((no, 1_000) for no in range(70))] == [32, 32, 6]
    assert list(parts([(1, 50 * mib), (2, 50 * mib), (3, 5 * mib), (4, 3 * mib), (5, 1)])) == [
        [1], [2], [3, 4], [5],
    ]  # fmt: skip
