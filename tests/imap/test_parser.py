"""What a client writes, and which command it is."""

# ruff: noqa: E501

from __future__ import annotations

import pytest

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.commands import Attribute, Event, Filter, Kind, Returns, SetKey, SortKey
from kerwen.imap.protocol.sequence import STAR, PartialRange, SequenceSet
from kerwen.imap.protocol.stages import TABLE, Stage
from kerwen.mail import match as m
from kerwen.mail.section import Partial, Section, What
from tests.imap.wire import Peer, cut, one_by_one, parse

UID = Attribute(Kind.UID, b"UID")
FLAGS = Attribute(Kind.FLAGS, b"FLAGS")
SIZE = Attribute(Kind.SIZE, b"RFC822.SIZE")
DATE = Attribute(Kind.INTERNALDATE, b"INTERNALDATE")
ENVELOPE = Attribute(Kind.ENVELOPE, b"ENVELOPE")


def numbers(*ranges: tuple[int, int]) -> SequenceSet:
    return SequenceSet(tuple(ranges))


ONE = numbers((1, 1))
ALL = numbers((1, STAR))
DAY = 18_262  # 1-Jan-2020
T = b"t"

EARLY: list[tuple[bytes, c.Item]] = [
    (b"CAPABILITY", c.Capability(T)),
    (b"noop", c.Noop(T)),
    (b"LOGOUT", c.Logout(T)),
    (b"ID NIL", c.Id(T)),
    (b'ID ("name" "x" "version" NIL)', c.Id(T)),
    (b"ID ()", c.Id(T)),
    (b"STARTTLS", c.StartTls(T)),
    (b'LOGIN ayna "a \\"b\\" \\\\c"', c.Login(T, "ayna", 'a "b" \\c')),
    (b"LOGIN {4+}\r\nayna {3+}\r\na]b", c.Login(T, "ayna", "a]b")),
    ("LOGIN ayna пароль".encode(), c.Login(T, "ayna", "пароль")),
    (b"LOGIN a@b.test p]w", c.Login(T, "a@b.test", "p]w")),
    (b"AUTHENTICATE plain", c.Authenticate(T, "PLAIN", None)),
    (b"AUTHENTICATE PLAIN AGEAYg==", c.Authenticate(T, "PLAIN", b"\0a\0b")),
    (b"AUTHENTICATE EXTERNAL =", c.Authenticate(T, "EXTERNAL", b"")),
]

LOGGED_IN: list[tuple[bytes, c.Item]] = [
    (b"ENABLE CONDSTORE utf8=accept", c.Enable(T, ("CONDSTORE", "UTF8=ACCEPT"))),
    (b"SELECT inbox", c.Select(T, "INBOX", False)),
    (b"EXAMINE InBox/Sub", c.Select(T, "INBOX/Sub", True)),
    (b"SELECT &BBAEMQ- (CONDSTORE)", c.Select(T, "Аб", False, True)),
    (
        b"SELECT x (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
        c.Select(
            T, "x", False, True,
            c.Qresync(67890007, 20050715194045000, numbers((41, 41), (43, 211), (214, 541))),
        ),
    ),
    (
        b"SELECT x (QRESYNC (1 2 1:5 (1,3 1,9)))",
        c.Select(
            T, "x", False, True,
            c.Qresync(1, 2, numbers((1, 5)), (numbers((1, 1), (3, 3)), numbers((1, 1), (9, 9)))),
        ),
    ),
    (
        b"SELECT x (QRESYNC (1 2 (1 9)) CONDSTORE)",
        c.Select(T, "x", False, True, c.Qresync(1, 2, None, (ONE, numbers((9, 9))))),
    ),
    (b'CREATE "a b"', c.Create(T, "a b")),
    (b"CREATE x (USE (\\Drafts \\Sent))", c.Create(T, "x", ("\\Drafts", "\\Sent"))),
    (b"DELETE {3+}\r\na/b", c.Delete(T, "a/b")),
    (b"RENAME a b", c.Rename(T, "a", "b")),
    (b"SUBSCRIBE a&-b", c.Subscribe(T, "a&b")),
    (b"UNSUBSCRIBE a]b", c.Unsubscribe(T, "a]b")),
    (b'LIST "" *', c.List(T, "", ("*",))),
    (b'LIST "" ""', c.List(T, "", ("",))),
    (b"LIST a/ %/x]", c.List(T, "a/", ("%/x]",))),
    (
        b'LIST (SUBSCRIBED RECURSIVEMATCH) "" (INBOX "a b%") RETURN (CHILDREN SPECIAL-USE '
        b"STATUS (MESSAGES UNSEEN) SUBSCRIBED)",
        c.List(
            T, "", ("INBOX", "a b%"), False, subscribed=True, recursive=True,
            return_subscribed=True, return_children=True, return_special_use=True,
            return_status=(c.StatusItem.MESSAGES, c.StatusItem.UNSEEN),
        ),
    ),
    (b'LIST () "" x RETURN ()', c.List(T, "", ("x",), False)),
    (b'LSUB "" *', c.Lsub(T, "", "*")),
    (b"NAMESPACE", c.Namespace(T)),
    (
        b"STATUS x (messages SIZE MAILBOXID HIGHESTMODSEQ)",
        c.Status(
            T, "x",
            (c.StatusItem.MESSAGES, c.StatusItem.SIZE, c.StatusItem.MAILBOXID,
             c.StatusItem.HIGHESTMODSEQ),
        ),
    ),
    (b"APPEND x {3+}\r\nabc", c.Append(T, "x", (c.NewMessage((), None, b"abc"),))),
    (
        b'APPEND x (\\Seen $a) " 1-Jan-1970 01:00:00 +0100" {3+}\r\na\r\n (x) ~{2+}\r\n\0\n',
        c.Append(
            T, "x",
            (c.NewMessage(("\\Seen", "$a"), 0, b"a\r\n"), c.NewMessage(("x",), None, b"\0\n")),
        ),
    ),
    (b"APPEND x () {0+}\r\n", c.Append(T, "x", (c.NewMessage((), None, b""),))),
    (
        b"APPEND x UTF8 (~{1+}\r\na)",
        c.Append(T, "x", (c.NewMessage((), None, b"a", utf8=True),)),
    ),
    (b'GETQUOTA ""', c.GetQuota(T, "")),
    (b"GETQUOTAROOT INBOX", c.GetQuotaRoot(T, "INBOX")),
    (b'SETQUOTA "" (STORAGE 512)', c.SetQuota(T, "")),
    (
        b'GETMETADATA "" (/shared/comment /Shared/vendor/deltachat/turn)',
        c.GetMetadata(T, "", ("/shared/comment", "/shared/vendor/deltachat/turn")),
    ),
    (
        b"GETMETADATA (MAXSIZE 9 DEPTH infinity) INBOX /private",
        c.GetMetadata(T, "INBOX", ("/private",), 9, -1),
    ),
    (b"GETMETADATA x (DEPTH 1) (/private)", c.GetMetadata(T, "x", ("/private",), None, 1)),
    (
        b'SETMETADATA x (/private/a NIL /private/b "v" /private/c {1+}\r\n\n)',
        c.SetMetadata(
            T, "x", (("/private/a", None), ("/private/b", b"v"), ("/private/c", b"\n"))
        ),
    ),
    (b"COMPRESS DEFLATE", c.Compress(T, "DEFLATE")),
    (b"NOTIFY NONE", c.Notify(T, ())),
    (
        b"NOTIFY SET STATUS (selected-delayed (MessageNew (UID FLAGS) MessageExpunge))"
        b" (subtree (a b) NONE) (mailboxes x (FlagChange))",
        c.Notify(
            T,
            (
                c.EventGroup(
                    Filter.SELECTED_DELAYED, (),
                    frozenset({Event.MESSAGE_NEW, Event.MESSAGE_EXPUNGE}), (UID, FLAGS),
                ),
                c.EventGroup(Filter.SUBTREE, ("a", "b"), frozenset()),
                c.EventGroup(Filter.MAILBOXES, ("x",), frozenset({Event.FLAG_CHANGE})),
            ),
            True,
        ),
    ),
]  # fmt: skip


def section(
    label: bytes, found: Section, part: Partial | None = None, peek: bool = False
) -> c.Fetch:
    return c.Fetch(T, ONE, (Attribute(Kind.SECTION, label, found, part, peek),))


def search(key: m.Key, returns: Returns | None = None) -> c.Search:
    return c.Search(T, key, returns)


SELECTED: list[tuple[bytes, c.Item]] = [
    (b"CLOSE", c.Close(T)),
    (b"UNSELECT", c.Unselect(T)),
    (b"CHECK", c.Check(T)),
    (b"EXPUNGE", c.Expunge(T)),
    (b"UID EXPUNGE 1:*", c.Expunge(T, ALL)),
    (b"FETCH 1 ALL", c.Fetch(T, ONE, (FLAGS, DATE, SIZE, ENVELOPE))),
    (b"FETCH 1 FULL", c.Fetch(T, ONE, (FLAGS, DATE, SIZE, ENVELOPE, Attribute(Kind.BODY, b"BODY")))),
    (b"FETCH 1 fast", c.Fetch(T, ONE, (FLAGS, DATE, SIZE))),
    (b"UID FETCH 5:3,* (UID FLAGS)", c.Fetch(T, numbers((3, 5), (STAR, STAR)), (UID, FLAGS), True)),
    (b"FETCH $ UID", c.Fetch(T, SequenceSet(saved=True), (UID,))),
    (
        b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12 VANISHED)",
        c.Fetch(T, ALL, (FLAGS,), True, 12, True),
    ),
    (
        b"UID FETCH 1:* (FLAGS) (PARTIAL -1:-30)",
        c.Fetch(T, ALL, (FLAGS,), True, partial=PartialRange(-1, -30, b"-1:-30")),
    ),
    (b"FETCH 1 BODY[]", section(b"BODY[]", Section())),
    (b"FETCH 1 body.peek[]<0.10>", section(b"BODY[]<0>", Section(), Partial(0, 10), peek=True)),
    (b"FETCH 1 RFC822", section(b"RFC822", Section())),
    (b"FETCH 1 RFC822.TEXT", section(b"RFC822.TEXT", Section(what=What.TEXT))),
    (b"FETCH 1 RFC822.HEADER", section(b"RFC822.HEADER", Section(what=What.HEADER), peek=True)),
    (b"FETCH 1 BODY[1.2.3]", section(b"BODY[1.2.3]", Section((1, 2, 3)))),
    (b"FETCH 1 BODY[2.mime]", section(b"BODY[2.MIME]", Section((2,), What.MIME))),
    (b"FETCH 1 BODY[TEXT]", section(b"BODY[TEXT]", Section(what=What.TEXT))),
    (
        b'FETCH 1 BODY[1.HEADER.FIELDS.NOT ("To" {2+}\r\nCc)]',
        section(b"BODY[1.HEADER.FIELDS.NOT (To Cc)]", Section((1,), What.FIELDS_NOT, (b"To", b"Cc"))),
    ),
    (
        b'FETCH 1 BODY[HEADER.FIELDS ("a]b")]',
        section(b'BODY[HEADER.FIELDS ("a]b")]', Section((), What.FIELDS, (b"a]b",))),
    ),
    (
        b"FETCH 1 (BINARY[1]<2.3> BINARY.PEEK[] BINARY.SIZE[2] PREVIEW (LAZY) PREVIEW)",
        c.Fetch(
            T, ONE,
            (
                Attribute(Kind.BINARY, b"BINARY[1]<2>", Section((1,)), Partial(2, 3), False),
                Attribute(Kind.BINARY, b"BINARY[]", Section()),
                Attribute(Kind.BINARY_SIZE, b"BINARY.SIZE[2]", Section((2,))),
                Attribute(Kind.PREVIEW, b"PREVIEW"),
                Attribute(Kind.PREVIEW, b"PREVIEW"),
            ),
        ),
    ),
    (b"STORE 1 FLAGS (\\Seen $x)", c.Store(T, ONE, c.StoreMode.SET, ("\\Seen", "$x"))),
    (b"STORE 1 +FLAGS.SILENT \\Seen x", c.Store(T, ONE, c.StoreMode.ADD, ("\\Seen", "x"), True)),
    (
        b"UID STORE 1 (UNCHANGEDSINCE 7) -FLAGS ()",
        c.Store(T, ONE, c.StoreMode.REMOVE, (), uid=True, unchanged_since=7),
    ),
    (b"COPY 1 x", c.Copy(T, ONE, "x")),
    (b"UID MOVE 1:* &BDA-", c.Move(T, ALL, "а", True)),
    (b"REPLACE 4 x {1+}\r\na", c.Replace(T, 4, "x", c.NewMessage((), None, b"a"))),
    (
        b"UID REPLACE * x (\\Draft) {1+}\r\na",
        c.Replace(T, STAR, "x", c.NewMessage(("\\Draft",), None, b"a"), True),
    ),
    (b"SEARCH ALL", search(m.All())),
    (b"UID SEARCH 1:*", c.Search(T, SetKey(ALL, False), uid=True)),
    (b"SEARCH UID $ unseen", search(m.And((SetKey(SequenceSet(saved=True), True), m.Flagged("\\Seen", is_set=False))))),
    (b"SEARCH CHARSET utf-8 SUBJECT \xd0\xb0", search(m.Header(b"subject", "а"))),
    (b"SEARCH CHARSET KOI8-R BODY {1+}\r\n\xc1", search(m.Body("а"))),
    (b'SEARCH OR TEXT "a b" (NOT DELETED KEYWORD $x)', search(m.Or(m.Text("a b"), m.And((m.Not(m.Flagged("\\Deleted")), m.Flagged("$x")))))),
    (b"SEARCH HEADER Message-ID <a@b>", search(m.Header(b"message-id", "<a@b>"))),
    (b'SEARCH SINCE 1-Jan-2020 SENTBEFORE "01-jan-2020"', search(m.And((m.Day(m.When.INTERNAL, m.Op.SINCE, DAY), m.Day(m.When.SENT, m.Op.BEFORE, DAY))))),
    (b"SEARCH SAVEDON 1-Jan-2020 SAVEDATESUPPORTED", search(m.And((m.Day(m.When.SAVED, m.Op.ON, DAY), m.All())))),
    (b"SEARCH LARGER 5 SMALLER 4294967296", search(m.And((m.Size(5, True), m.Size(2**32, False))))),
    (b"SEARCH YOUNGER 60 OLDER 5", search(m.And((m.Within(60, True), m.Within(5, False))))),
    (b'SEARCH MODSEQ "/flags/\\\\seen" all 620', search(m.Changed(620))),
    (b"SEARCH MODSEQ 0 EMAILID M1 THREADID T1", search(m.And((m.Changed(0), m.Id("M1", False), m.Id("T1", True))))),
    (b"SEARCH NEW", search(m.Not(m.All()))),
    (b"SEARCH OLD", search(m.All())),
    (b"SEARCH RETURN () ALL", search(m.All(), Returns(all=True))),
    (b"SEARCH RETURN (MIN MAX COUNT SAVE) ALL", search(m.All(), Returns(True, True, False, True, True))),
    (b"SEARCH return (PARTIAL 1:10) ALL", search(m.All(), Returns(partial=PartialRange(1, 10, b"1:10")))),
    (
        b"SORT (REVERSE DATE subject) UTF-8 ALL",
        c.Sort(T, ((SortKey.DATE, True), (SortKey.SUBJECT, False)), m.All()),
    ),
    (
        b"UID SORT RETURN (COUNT) (DISPLAYFROM) US-ASCII ALL",
        c.Sort(T, ((SortKey.DISPLAYFROM, False),), m.All(), Returns(count=True), True),
    ),
    (b"THREAD REFERENCES utf-8 ALL", c.Thread(T, "REFERENCES", m.All())),
    (b"UID THREAD ORDEREDSUBJECT UTF-8 SEEN", c.Thread(T, "ORDEREDSUBJECT", m.Flagged("\\Seen"), True)),
]  # fmt: skip

EVERY = [
    *[(Stage.GREETED, text, item) for text, item in EARLY],
    *[(Stage.LOGGED_IN, text, item) for text, item in LOGGED_IN],
    *[(Stage.SELECTED, text, item) for text, item in SELECTED],
]


@pytest.mark.parametrize(("stage", "text", "wanted"), EVERY, ids=[str(e[1])[:50] for e in EVERY])
def test_command(stage: Stage, text: bytes, wanted: c.Item) -> None:
    data = b"t " + text + b"\r\n"
    assert parse(data, stage) == [wanted]
    assert parse(one_by_one(data), stage) == [wanted]
    assert parse(data.replace(b"+}\r\n", b"}\r\n"), stage)[-1] == wanted  # asked to go on
    for place in range(1, len(data), 7):
        assert parse(cut(data, [place, place * 3]), stage) == [wanted]


def test_every_command_has_an_example() -> None:
    assert {type(item) for _, _, item in EVERY} | {c.Idle} == set(TABLE)


BAD: list[bytes] = [
    b"FROBNICATE",
    b"LOGIN a b",  # logged in already
    b"NOOP x",
    b"SELECT",
    b"SELECT a b",
    b"SELECT a (FOO)",
    b"SELECT a (QRESYNC 1 2)",
    b"SELECT &BBAEMQ",
    b"SELECT a\0b",
    b"ENABLE",
    b"CREATE x (USE \\Drafts)",
    b"LIST (RECURSIVEMATCH) a b",
    b"LIST (FOO) a b",
    b"LIST a b RETURN (FOO)",
    b"LIST a b FOO",
    b"STATUS x ()",
    b"STATUS x (FOO)",
    b"STATUS x MESSAGES",
    b"APPEND x",
    b'APPEND x "1-Jan-2020 00:00:00 +0000" {1+}\r\na',
    b'APPEND x "32-Jan-2020 00:00:00 +0000" {1+}\r\na',
    b'APPEND x "01-Jan-2020 24:00:00 +0000" {1+}\r\na',
    b"APPEND x (\\Seen {1+}\r\na",
    b"APPEND x {1+}\r\naa",
    b"GETMETADATA x shared",
    b"GETMETADATA x /shared/*",
    b"NOTIFY SET",
    b"NOTIFY SET (nobody (MessageNew))",
    b"NOTIFY SET (selected (Foo))",
    b"FETCH 1",
    b"FETCH 0 UID",
    b"FETCH 1:0 UID",
    b"FETCH 4294967296 UID",
    b"FETCH 1,,2 UID",
    b"FETCH 1, UID",
    b"FETCH 1 ()",
    b"FETCH 1 (UID",
    b"FETCH 1 (UID)) ",
    b"FETCH 1 (ALL)",
    b"FETCH 1 FOO",
    b"FETCH 1 BODY[0]",
    b"FETCH 1 BODY[1.]",
    b"FETCH 1 BODY[.TEXT]",
    b"FETCH 1 BODY[MIME]",
    b"FETCH 1 BODY[HEADER.FIELDS]",
    b"FETCH 1 BODY[HEADER.FIELDS ()]",
    b'FETCH 1 BODY[HEADER.FIELDS ("a:b")]',
    b"FETCH 1 BODY[]<0.0>",
    b"FETCH 1 BINARY[TEXT]",
    b"FETCH 1 UID (VANISHED)",
    b"FETCH 1 UID (PARTIAL 1:2)",
    b"UID FETCH 1 UID (PARTIAL 1:-2)",
    b"STORE 1 FLAGS",
    b"STORE 1 *FLAGS (\\Seen)",
    b"STORE 1 FLAGS (\\*)",
    b"COPY 1",
    b"UID CAPABILITY",
    b"UID EXPUNGE",
    b"UID APPEND x {1+}\r\na",
    b"REPLACE 1,2 x {1+}\r\na",
    b"SEARCH",
    b"SEARCH FOO",
    b"SEARCH SUBJECT",
    b"SEARCH (ALL",
    b"SEARCH OR ALL",
    b"SEARCH SINCE 31-Feb-2020",
    b"SEARCH BODY {1+}\r\n\xff",
    b"SEARCH RETURN (FOO) ALL",
    b"SEARCH RETURN (ALL PARTIAL 1:2) ALL",
    b"SEARCH " + b"NOT " * (limits.SEARCH_DEPTH_MAX + 1) + b"ALL",
    b"SEARCH " + b"(" * 5_000 + b"ALL" + b")" * 5_000,
    b"SEARCH " + b"ALL " * (limits.SEARCH_KEYS_MAX + 1) + b"ALL",
    b"SORT (FOO) UTF-8 ALL",
    b"THREAD REFS UTF-8 ALL",
    b"FETCH " + b"1," * limits.IMAP_RANGES_MAX + b"1 UID",
    b"FETCH 1 (" + b"UID " * limits.IMAP_ITEMS_MAX + b"UID)",
    b'LIST "" "unclosed',
    b'DELETE "a\\b"',
]


@pytest.mark.parametrize("text", BAD, ids=lambda text: str(text)[:50])
def test_refused(text: bytes) -> None:
    data = b"t " + text + b"\r\nu NOOP\r\n"
    found = parse(data)
    assert len(found) == 2, found
    refused = found[0]
    assert isinstance(refused, c.Malformed)
    assert (refused.tag, refused.status, refused.fatal) == (b"t", "BAD", False)
    assert found[1] == c.Noop(b"u")
    assert parse(one_by_one(data)) == found


@pytest.mark.parametrize("line", [b"", b" ", b"x", b"+ NOOP", b"( NOOP", b"\xff NOOP", b"a" * 70])
def test_without_a_tag(line: bytes) -> None:
    found = parse(line + b"\r\nu NOOP\r\n")
    if line:
        refused = found.pop(0)
        assert isinstance(refused, c.Malformed)
        assert refused.tag is None
    assert found == [c.Noop(b"u")]


def test_charset_is_refused_by_its_name() -> None:
    (found,) = parse(b"t SEARCH CHARSET X-KLINGON ALL\r\n")
    assert isinstance(found, c.Malformed)
    assert (found.status, found.code) == ("NO", b"BADCHARSET (UTF-8 US-ASCII)")


@pytest.mark.parametrize("stage", list(Stage)[:3])
def test_stages_allow_what_the_table_says(stage: Stage) -> None:
    for _, text, wanted in EVERY:
        found = parse(b"t " + text + b"\r\n", stage)[-1]
        fits = stage in TABLE[type(wanted)][0]  # type: ignore[index]
        assert (found == wanted) == fits or b"{" in text
        assert isinstance(found, c.Malformed) != fits or b"{" in text


# --- literals ----------------------------------------------------------------------------------


def test_a_literal_is_asked_for_once() -> None:
    peer = Peer(Stage.GREETED)
    peer.feed(b"t LOGIN {4}\r\n")
    assert peer.items == [c.Continue(4)]
    peer.feed(b"ayna")
    peer.feed(b" {2}\r\n")
    assert peer.items == [c.Continue(4), c.Continue(2)]
    peer.feed(b"pw\r\n")
    assert peer.items[-1] == c.Login(T, "ayna", "pw")


def test_a_literal_may_look_like_a_command() -> None:
    body = b"x\r\nt2 LOGOUT\r\nt3 FOO {5+}\r\n"
    data = b"t APPEND x {%d+}\r\n%b\r\nu NOOP\r\n" % (len(body), body)
    found = [c.Append(T, "x", (c.NewMessage((), None, body),)), c.Noop(b"u")]
    assert parse(data) == found
    assert parse(one_by_one(data)) == found


def test_a_message_too_large_is_refused_before_it_comes() -> None:
    data = b"t APPEND x {%d}\r\nu NOOP\r\n" % (limits.MESSAGE_BYTES_MAX + 1)
    refused, after = parse(data)
    assert isinstance(refused, c.Malformed)
    assert (refused.status, refused.code) == ("NO", b"TOOBIG")
    assert after == c.Noop(b"u")


def test_a_message_too_large_that_comes_anyway_is_read_past() -> None:
    size = limits.MESSAGE_BYTES_MAX + 1
    peer = Peer()
    peer.feed(b"t APPEND x {%d+}\r\n" % size)
    chunk = b"u LOGOUT\r\n" * 100_000
    while size:
        peer.feed(chunk[:size])
        size -= min(len(chunk), size)
        assert peer.parser.waiting == 0
    peer.feed(b" {10+}\r\nv LOGOUT\r\n\r\nw NOOP\r\n")
    assert [type(item) for item in peer.items] == [c.Malformed, c.Noop]


def test_before_log_in_literals_are_small() -> None:
    size = limits.IMAP_LITERAL_EARLY_MAX
    assert parse(b"t LOGIN a {%d}\r\n" % size, Stage.GREETED) == [c.Continue(size)]
    for text in (b"t LOGIN a {%d}\r\n" % (size + 1), b"t APPEND a {%d}\r\n" % (size + 1)):
        (refused,) = parse(text, Stage.GREETED)
        assert isinstance(refused, c.Malformed)
        assert refused.code == b"LIMIT"


def test_an_absurd_literal_ends_the_connection() -> None:
    (refused,) = parse(b"t APPEND x {99999999999999999999+}\r\nu NOOP\r\n")
    assert isinstance(refused, c.Malformed)
    assert refused.fatal


def test_many_literals_are_bounded() -> None:
    one = b"{60000+}\r\n" + b"x" * 60_000
    refused, after = parse(b"t DELETE " + one + b" " + one + b"\r\nu NOOP\r\n")
    assert isinstance(refused, c.Malformed)
    assert after == c.Noop(b"u")


@pytest.mark.parametrize("tail", [b"", b" {7+}\r\nv NOOP"])
def test_a_line_too_long_is_read_past(tail: bytes) -> None:
    data = b"t SEARCH " + b"ALL " * 40_000 + b"x" + tail + b"\r\nu NOOP\r\n"
    for pieces in ([data], cut(data, list(range(0, len(data), 1000)))):
        refused, after = parse(pieces)
        assert isinstance(refused, c.Malformed)
        assert refused.tag == b"t"
        assert after == c.Noop(b"u")


def test_an_endless_line_takes_no_memory() -> None:
    peer = Peer()
    for _ in range(200):
        peer.feed(b"x" * 100_000)
        assert peer.parser.waiting <= limits.IMAP_COMMAND_MAX
    assert len(peer.items) == 1


# --- what holds --------------------------------------------------------------------------------


def test_idle_ends_with_done() -> None:
    data = b"t IDLE\r\nDONE\r\nu NOOP\r\nv IDLE\r\nx NOOP\r\nw NOOP\r\n"
    wanted = [c.Idle(T), c.Done(), c.Noop(b"u"), c.Idle(b"v"), c.Done(False), c.Noop(b"w")]
    assert parse(data) == wanted
    assert parse(one_by_one(data)) == wanted


def test_authentication_reads_answers() -> None:
    data = b"t AUTHENTICATE PLAIN\r\nAGEAYg==\r\nu NOOP\r\n"
    wanted = [c.Authenticate(T, "PLAIN", None), c.Answer(b"\0a\0b"), c.Noop(b"u")]
    assert parse(data, Stage.GREETED) == wanted
    assert parse(one_by_one(data), Stage.GREETED) == wanted
    assert parse(b"t AUTHENTICATE PLAIN\r\n*\r\n", Stage.GREETED)[1] == c.Answer(None, True)
    assert parse(b"t AUTHENTICATE PLAIN\r\n!\r\n", Stage.GREETED)[1] == c.Answer(None)


def test_nothing_is_read_before_it_is_known_how_a_log_in_ended() -> None:
    peer = Peer(Stage.GREETED)
    found = peer.parser.feed(b"t LOGIN a b\r\nu SELECT INBOX\r\n")
    assert found == [c.Login(T, "a", "b")]
    assert peer.parser.feed(b"v NOOP\r\n") == []
    refused, noop = peer.parser.go_on(Stage.GREETED)
    assert isinstance(refused, c.Malformed)
    assert noop == c.Noop(b"v")


def test_what_came_before_tls_does_not_count() -> None:
    parser = Peer(Stage.GREETED).parser
    assert parser.feed(b"t STARTTLS\r\nu LOGIN a b\r\nv NO") == [c.StartTls(T)]
    assert parser.forget() == 17
    assert parser.go_on(Stage.GREETED) == []
    assert parser.feed(b"w NOOP\r\n") == [c.Noop(b"w")]


def test_only_so_many_commands_are_read_ahead() -> None:
    parser = Peer().parser
    found = parser.feed(b"t NOOP\r\n" * 1_000)
    assert len(found) == limits.IMAP_PIPELINE_MAX
    total = len(found)
    while found := parser.go_on(Stage.SELECTED):
        total += len(found)
    assert total == 1_000


def test_lines_may_end_with_lf_alone() -> None:
    assert parse(b"t NOOP\nu IDLE\nDONE\n") == [c.Noop(T), c.Idle(b"u"), c.Done()]


def test_names_are_utf8_once_enabled() -> None:
    for utf8, raw, name in ((False, b"&BDA-", "а"), (True, b"&BDA-", "&BDA-")):
        assert parse(b"t DELETE %b\r\n" % raw, utf8=utf8) == [c.Delete(T, name)]
    assert parse('t DELETE "а"\r\n'.encode(), utf8=True) == [c.Delete(T, "а")]
