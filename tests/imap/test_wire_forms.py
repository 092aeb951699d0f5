"""Names, sequence sets, and what we write."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.imap.protocol import mailbox_names, responses, sequence
from kerwen.imap.protocol.commands import StatusItem
from kerwen.imap.protocol.sequence import STAR, PartialRange
from kerwen.mail.threads import Node

NAMES = [
    ("INBOX", b"INBOX"),
    ("a b", b"a b"),
    ("A&B", b"A&-B"),
    ("Отправленные", b"&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-"),
    ("Iberilen hatlar", b"Iberilen hatlar"),
    ("ş/ä", b"&AV8-/&AOQ-"),
    ("😀", b"&2D3eAA-"),
]


@pytest.mark.parametrize(("name", "raw"), NAMES)
def test_names(name: str, raw: bytes) -> None:
    assert mailbox_names.encode(name, utf8=False) == raw
    assert mailbox_names.decode(raw, utf8=False) == name
    assert mailbox_names.decode(name.encode(), utf8=True) == name
    assert mailbox_names.encode(name, utf8=True) == name.encode()


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_names_come_back(name: str, utf8: bool) -> None:
    back = mailbox_names.decode(mailbox_names.encode(name, utf8=utf8), utf8=utf8)
    head, slash, rest = name.partition("/")
    assert back == ("INBOX" + slash + rest if head.upper() == "INBOX" else name)


@pytest.mark.parametrize("raw", [b"&", b"a&b", b"&BBA", b"&A-", b"&2D0-", b"\xff", b"&BBA=-"])
def test_bad_names(raw: bytes) -> None:
    with pytest.raises(mailbox_names.BadName):
        mailbox_names.decode(raw, utf8=False)


# --- sequence sets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "greatest", "wanted"),
    [
        ([(1, STAR)], 5, ((1, 5),)),
        ([(STAR, STAR)], 5, ((5, 5),)),
        ([(9, STAR)], 5, ((5, 9),)),  # RFC 9051 §9: `9:*` of five messages means `5:9`
        ([(3, 4), (1, 2), (7, 9), (8, 10)], 20, ((1, 4), (7, 10))),
        ([(1, STAR), (2, 3)], 5, ((1, 5),)),
        ([], 5, ()),
    ],
)
def test_resolved(
    ranges: list[tuple[int, int]], greatest: int, wanted: tuple[tuple[int, int], ...]
) -> None:
    assert sequence.resolved(ranges, greatest) == wanted


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda p: tuple(sorted(p)))),
    st.lists(st.integers(1, 60), unique=True).map(sorted),
)
def test_places(ranges: list[tuple[int, int]], uids: list[int]) -> None:
    found = [at for r in sequence.places(sequence.resolved(ranges, 60), uids) for at in r]
    wanted = [at for at, uid in enumerate(uids) if any(low <= uid <= high for low, high in ranges)]
    assert found == wanted


@given(st.lists(st.integers(1, 50)))
def test_encoded_sets_come_back(numbers: list[int]) -> None:
    encoded = sequence.encode(numbers)
    back = set()
    for piece in encoded.split(b",") if encoded else []:
        low, _, high = piece.partition(b":")
        back |= set(range(int(low), int(high or low) + 1))
    assert back == set(numbers)


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [([], b""), ([5], b"5"), ([1, 2, 3, 7, 6, 5], b"1:3,7,6,5"), ([3, 4, 1, 2], b"3:4,1:2")],
)
def test_order_is_kept_where_it_matters(numbers: list[int], wanted: bytes) -> None:
    assert sequence.encode_in_order(numbers) == wanted


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        (1, 3, [1, 2, 3]), (3, 1, [1, 2, 3]), (9, 12, [9, 10]), (11, 12, []), (-1, -3, [8, 9, 10]),
        (-3, -1, [8, 9, 10]), (-9, -12, [1, 2]), (-11, -12, []), (-1, -1, [10]), (1, 1, [1]),
    ],
)  # fmt: skip
def test_partial_ranges(first: int, last: int, wanted: list[int]) -> None:
    assert list(PartialRange(first, last, b"").of(range(1, 11))) == wanted


# --- responses ---------------------------------------------------------------------------------


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@given(st.integers(-62_135_000_000, 253_402_000_000))
def test_internal_dates(second: int) -> None:
    when = EPOCH + datetime.timedelta(seconds=second)
    wanted = f'"{when.day:2}-{when:%b}-{when.year:04} {when:%H:%M:%S} +0000"'
    assert responses.internal_dates([second]) == [wanted.encode()]


@pytest.mark.parametrize(
    ("value", "string", "astring"),
    [
        (b"abc", b'"abc"', b"abc"),
        (b"", b'""', b'""'),
        (b"a b", b'"a b"', b'"a b"'),
        (b'a"\\', b'"a\\"\\\\"', b'"a\\"\\\\"'),
        (b"\xff", b"{1}\r\n\xff", b"{1}\r\n\xff"),
        (b"a\r\nb\0", b"{4}\r\na\r\nb", b"{4}\r\na\r\nb"),
        (b"NIL", b'"NIL"', b'"NIL"'),
        (b"a]b", b'"a]b"', b'"a]b"'),
    ],
)
def test_strings(value: bytes, string: bytes, astring: bytes) -> None:
    assert responses.string(value) == string
    assert responses.astring(value) == astring


def node(number: int | None, *children: Node) -> Node:
    return Node(number, 0, "", False, list(children))


def test_threads() -> None:
    # RFC 5256 §4
    nodes = [
        node(2),
        node(3, node(6, node(4, node(23)), node(44, node(7, node(96))))),
    ]
    assert responses.thread(nodes) == b"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n"
    assert responses.thread([node(None, node(3), node(5))]) == b"* THREAD ((3)(5))\r\n"
    assert responses.thread([]) == b"* THREAD\r\n"


def test_a_deep_thread() -> None:
    deep = node(1)
    for number in range(2, 20_001):
        deep = node(number, deep)
    assert responses.thread([deep]).count(b" ") == 20_001


def test_status_lines_hold_one_line() -> None:
    assert responses.tagged(b"t", "NO", "a\r\nb ö", b"LIMIT") == b"t NO [LIMIT] a?b ?\r\n"
    assert responses.untagged("BYE", "") == b"* BYE .\r\n"


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (responses.expunges([2, 3, 7]), b"* 3 EXPUNGE\r\n* 3 EXPUNGE\r\n* 6 EXPUNGE\r\n"),
        (responses.vanished([]), b""),
        (responses.vanished([3, 1, 2], earlier=True), b"* VANISHED (EARLIER) 1:3\r\n"),
        (responses.search([]), b"* SEARCH\r\n"),
        (responses.search([1, 5], 9), b"* SEARCH 1 5 (MODSEQ 9)\r\n"),
        (responses.sort([5, 1]), b"* SORT 5 1\r\n"),
        (
            responses.esearch(b"t", uid=True, results=[b"MIN 1", b"COUNT 3"]),
            b'* ESEARCH (TAG "t") UID MIN 1 COUNT 3\r\n',
        ),
        (
            responses.partial_result(PartialRange(-1, -9, b"-1:-9"), b""),
            b"PARTIAL (-1:-9 NIL)",
        ),
        (
            responses.list_([b"\\HasChildren", b"\\Sent"], b"Sent"),
            b'* LIST (\\HasChildren \\Sent) "/" Sent\r\n',
        ),
        (
            responses.list_([], b"b", child_info=b'"SUBSCRIBED"', old_name=b"a"),
            b'* LIST () "/" b ("CHILDINFO" ("SUBSCRIBED")) ("OLDNAME" (a))\r\n',
        ),
        (
            responses.status(b"x", [(StatusItem.MESSAGES, b"3"), (StatusItem.SIZE, b"9")]),
            b"* STATUS x (MESSAGES 3 SIZE 9)\r\n",
        ),
        (responses.quota(b'""', 10, 512), b'* QUOTA "" (STORAGE 10 512)\r\n'),
        (
            responses.metadata(b'""', [("/shared/a", b"x"), ("/shared/b", None)]),
            b'* METADATA "" (/shared/a "x" /shared/b NIL)\r\n',
        ),
        (responses.metadata_changed(b"x", ["/a"]), b"* METADATA x /a\r\n"),
        (responses.enabled(["QRESYNC"]), b"* ENABLED QRESYNC\r\n"),
        (responses.enabled([]), b"* ENABLED\r\n"),
        (responses.id_({"name": "Kerwen"}), b'* ID ("name" "Kerwen")\r\n'),
        (responses.id_({}), b"* ID NIL\r\n"),
        (responses.fetch(3, [b"UID 5", b"FLAGS ()"]), b"* 3 FETCH (UID 5 FLAGS ())\r\n"),
        (responses.mailbox("ж", utf8=False), b"&BDY-"),
        (responses.mailbox("ж ", utf8=True), '"ж "'.encode()),
        (responses.literal8(b"\0"), b"~{1}\r\n\0"),
    ],
)  # fmt: skip
def test_responses(made: bytes, wanted: bytes) -> None:
    assert made == wanted
