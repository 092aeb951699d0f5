"""The door, command by command, on a house in this process."""

from __future__ import annotations

import base64
import re

import pytest

from tests.imap.client import Client
from tests.imap.world import World
from tests.mail_store.house import letter

NESTED = (
    b"From: a@b.test\r\nSubject: nested\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nZsO8cg==\r\n"
    b"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner body\r\n--x\r\n"
    b"Content-Type: image/x; name=a\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n--x--\r\n"
)


def uids(lines: list[bytes]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.search(rb"UID (\d+)", line))]


# --- log-in ------------------------------------------------------------------------------------


async def test_greeting_and_capabilities(world: World) -> None:
    client = await world.connect()
    assert client.greeting.startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ")
    assert b"AUTH=PLAIN" in client.greeting
    before = (await client.cmd("CAPABILITY")).lines[0]
    assert b" IDLE" not in before
    answer = await client.login()
    assert answer.code.startswith(b"CAPABILITY ")
    after = (await client.cmd("CAPABILITY")).lines[0]
    for name in (b" IDLE", b" QRESYNC", b" COMPRESS=DEFLATE", b" NOTIFY"):
        assert name in after
    assert b"AUTH=" not in after


@pytest.mark.parametrize("name", ["ayna", "AYNA", "ayna@kerwen.test", "@ayna:kerwen.test"])
async def test_names_at_log_in(world: World, name: str) -> None:
    client = await world.connect()
    await client.login(name)
    assert world.spent == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["batyr", "ayna@elsewhere.test", "nobody", '""'])
async def test_wrong_log_ins(world: World, name: str) -> None:
    client = await world.connect()
    for _ in range(2):
        answer = await client.cmd(f"LOGIN {name} secret-1", ok=False)
        assert (answer.status, answer.code) == ("NO", b"AUTHENTICATIONFAILED")
    client.send(f"x LOGIN {name} secret-1\r\n".encode())
    said = await client.gone()
    assert said.startswith(b"* BYE ") or b"\r\n* BYE" in said
    assert len(world.sign_in) == 0


async def test_authenticate(world: World) -> None:
    plain = base64.b64encode(b"\0ayna\0secret-1").decode()
    client = await world.connect()
    await client.cmd(f"AUTHENTICATE PLAIN {plain}")
    client = await world.connect()
    client.send(b"a AUTHENTICATE PLAIN\r\n")
    assert await client.line() == b"+ "
    client.send(plain.encode() + b"\r\n")
    assert (await client.end(b"a")).status == "OK"
    client = await world.connect()
    client.send(b"a AUTHENTICATE PLAIN\r\n" + plain.encode() + b"\r\n")
    assert await client.line() == b"+ "
    assert (await client.end(b"a")).status == "OK", "an answer that comes before it is asked for"
    client = await world.connect()
    client.send(b"a AUTHENTICATE LOGIN\r\n")
    for said in (b"ayna", b"secret-1"):
        assert (await client.line()).startswith(b"+ ")
        client.send(base64.b64encode(said) + b"\r\n")
    assert (await client.end(b"a")).status == "OK"


async def test_authenticate_refuses(world: World) -> None:
    client = await world.connect()
    for line in ("AUTHENTICATE CRAM-MD5", "AUTHENTICATE PLAIN !!!"):
        assert (await client.cmd(line, ok=False)).status in ("NO", "BAD")
    other = base64.b64encode(b"batyr\0ayna\0secret-1").decode()
    assert (await client.cmd(f"AUTHENTICATE PLAIN {other}", ok=False)).status == "NO"
    client.send(b"a AUTHENTICATE PLAIN\r\n")
    await client.line()
    client.send(b"*\r\n")
    assert (await client.end(b"a")).status == "BAD"
    client.send(b"b AUTHENTICATE XOAUTH2 dXNlcj1heW5hAWF1dGg9QmVhcmVyIHgBAQ==\r\n")
    told = await client.line()
    assert b"invalid_token" in base64.b64decode(told[2:])
    client.send(b"\r\n")
    assert (await client.end(b"b")).status == "NO"
    await client.login()


async def test_the_vault_is_open_as_long_as_somebody_is_there(world: World) -> None:
    first, second = await world.ayna(), await world.ayna()
    assert len(world.house.mail.vaults) == 1
    assert len(world.sign_in) == 2
    await first.cmd("LOGOUT")
    await first.gone()
    assert len(world.house.mail.vaults) == 1
    await second.cmd("LOGOUT")
    await second.gone()
    assert len(world.house.mail.vaults) == 0
    assert len(world.sign_in) == 0


async def test_a_lost_connection_gives_everything_back(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.idle()
    client.writer.transport.abort()
    other = await world.connect()
    while len(world.imap.connections) > 1:
        await other.cmd("NOOP")
    assert len(world.house.mail.vaults) == 0
    assert len(world.house.mail.watches) == 0


# --- mailboxes ---------------------------------------------------------------------------------


async def test_select(world: World) -> None:
    client = await world.ayna()
    await client.append("INBOX", letter(1))
    await client.append("INBOX", letter(2), flags="\\Seen $Work")
    answer = await client.cmd("SELECT INBOX")
    said = b"\n".join(answer.lines)
    assert b"FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)" in answer.lines
    assert b"2 EXISTS" in answer.lines
    assert b"0 RECENT" in answer.lines
    for code in (rb"UNSEEN 1", rb"UIDVALIDITY \d+", rb"UIDNEXT 3", rb"HIGHESTMODSEQ \d+"):
        assert re.search(rb"OK \[" + code + rb"\]", said), code
    assert answer.code == b"READ-WRITE"
    answer = await client.cmd("EXAMINE Sent")
    assert answer.lines[0].startswith(b"OK [CLOSED]")
    assert answer.code == b"READ-ONLY"
    missing = await client.cmd("SELECT Nowhere", ok=False)
    assert (missing.status, missing.code) == ("NO", b"NONEXISTENT")
    assert (await client.cmd("FETCH 1 FLAGS", ok=False)).status == "BAD"


async def test_a_mailbox_that_is_only_read(world: World) -> None:
    client = await world.ayna()
    await client.append("INBOX", letter(1))
    await client.cmd("EXAMINE INBOX")
    for line in ("STORE 1 FLAGS (\\Seen)", "EXPUNGE", "MOVE 1 Sent", "UID EXPUNGE 1"):
        answer = await client.cmd(line, ok=False)
        assert (answer.status, answer.code) == ("NO", b"READ-ONLY"), line
    answer = await client.cmd("FETCH 1 (FLAGS BODY[])")
    assert b"FLAGS ()" in answer.lines[0]
    await client.cmd("COPY 1 Sent")
    await client.cmd("CLOSE")


async def names(client: Client, line: str) -> list[bytes]:
    return (await client.cmd(line)).of(b"LIST")


async def test_list(world: World) -> None:
    client = await world.ayna()
    for name in ("Work/a/b", "Work2", "&BBAEMQ-"):
        await client.cmd(f"CREATE {name}")
    assert b'LIST (\\HasNoChildren \\Sent) "/" Sent' in await names(client, 'LIST "" *')
    assert (await names(client, 'LIST "" W%')) == [
        b'LIST (\\HasChildren) "/" Work', b'LIST (\\HasNoChildren) "/" Work2',
    ]  # fmt: skip
    assert (await names(client, 'LIST Work/ *')) == [
        b'LIST (\\HasChildren) "/" Work/a', b'LIST (\\HasNoChildren) "/" Work/a/b',
    ]  # fmt: skip
    assert (await names(client, 'LIST "" inbox')) == [b'LIST (\\HasNoChildren) "/" INBOX']
    assert (await names(client, 'LIST "" ""')) == [b'LIST (\\Noselect) "/" ""']
    assert len(await names(client, 'LIST (SPECIAL-USE) "" *')) == 5
    await client.cmd("ENABLE UTF8=ACCEPT")
    assert '"Аб"'.encode() in b"".join(await names(client, 'LIST "" *'))


async def test_list_of_subscriptions(world: World) -> None:
    client = await world.ayna()
    for name in ("Work/a", "Gone"):
        await client.cmd(f"CREATE {name}")
        await client.cmd(f"SUBSCRIBE {name}")
    await client.cmd("DELETE Gone")
    await client.cmd("UNSUBSCRIBE Sent")
    subscribed = await names(client, 'LIST (SUBSCRIBED) "" *')
    assert b'LIST (\\HasNoChildren \\NonExistent \\Subscribed) "/" Gone' in subscribed
    assert not any(line.endswith(b" Sent") for line in subscribed)
    recursive = await names(client, 'LIST (SUBSCRIBED RECURSIVEMATCH) "" %')
    assert b'LIST (\\HasChildren) "/" Work ("CHILDINFO" ("SUBSCRIBED"))' in recursive
    old = (await client.cmd('LSUB "" W%')).of(b"LSUB")
    assert old == [b'LSUB (\\Noselect) "/" Work']
    answer = await client.cmd('LIST "" Work/a RETURN (SUBSCRIBED STATUS (MESSAGES UNSEEN))')
    assert answer.lines == [
        b'LIST (\\HasNoChildren \\Subscribed) "/" Work/a', b"STATUS Work/a (MESSAGES 0 UNSEEN 0)",
    ]  # fmt: skip


async def test_mailboxes_come_and_go(world: World) -> None:
    client = await world.ayna()
    made = await client.cmd("CREATE Work/")
    assert made.code.startswith(b"MAILBOXID (F")
    for line, code in (
        ("CREATE Work", b"ALREADYEXISTS"),
        ("CREATE INBOX", b"ALREADYEXISTS"),
        ('CREATE ""', b"CANNOT"),
        ("CREATE x (USE (\\Sent))", b"USEATTR"),
        ("CREATE x (USE (\\All))", b"USEATTR"),
        ("DELETE INBOX", b"NOPERM"),
        ("DELETE Nowhere", b"NONEXISTENT"),
        ("RENAME Nowhere Else", b"NONEXISTENT"),
        ("RENAME Work Sent", b"ALREADYEXISTS"),
    ):
        answer = await client.cmd(line, ok=False)
        assert (answer.status, answer.code) == ("NO", code), line
    await client.cmd("RENAME Work Play")
    await client.append("Play", letter(1))
    await client.cmd("SELECT Play")
    assert (await client.cmd("DELETE Play")).lines[0].startswith(b"OK [CLOSED]")
    assert (await client.cmd("FETCH 1 UID", ok=False)).status == "BAD"
    await client.append("INBOX", letter(2))
    await client.cmd("RENAME INBOX Old")
    counts = [(await client.cmd(f"STATUS {n} (MESSAGES)")).lines[0] for n in ("INBOX", "Old")]
    assert counts == [b"STATUS INBOX (MESSAGES 0)", b"STATUS Old (MESSAGES 1)"]


async def test_status(world: World) -> None:
    client = await world.ayna()
    await client.append("INBOX", letter(1, pad=1000), letter(2, pad=500))
    await client.cmd("SELECT INBOX")
    await client.cmd("STORE 1 FLAGS (\\Seen \\Deleted)")
    line = (
        await client.cmd(
            "STATUS INBOX (MESSAGES UIDNEXT UNSEEN DELETED SIZE DELETED-STORAGE RECENT APPENDLIMIT)"
        )
    ).lines[0]
    assert line == (
        b"STATUS INBOX (MESSAGES 2 UIDNEXT 3 UNSEEN 1 DELETED 1 SIZE 1500 DELETED-STORAGE 1000"
        b" RECENT 0 APPENDLIMIT 52428800)"
    )


async def test_rev2(world: World) -> None:
    client = await world.ayna()
    assert (await client.cmd("ENABLE IMAP4rev2 X-FOO")).lines == [b"ENABLED IMAP4rev2"]
    answer = await client.cmd("SELECT INBOX")
    assert b'LIST () "/" INBOX' in answer.lines
    assert not answer.of(b"RECENT")
    answer = await client.cmd("SEARCH ALL")
    assert answer.lines == [b'ESEARCH (TAG "t4")']
    assert (await client.cmd("NAMESPACE")).lines == [b'NAMESPACE (("" "/")) NIL NIL']
    assert (await client.cmd('ID ("name" "x")')).lines == [b'ID ("name" "Kerwen")']


# --- messages ----------------------------------------------------------------------------------


async def test_append(world: World) -> None:
    client = await world.ayna("INBOX")
    client.send(b'a APPEND INBOX (\\Seen) "14-Nov-2023 10:00:00 +0500" {5}\r\n')
    assert (await client.line()).startswith(b"+ ")
    client.send(b"a\r\nb\0\r\n")
    answer = await client.end(b"a")
    assert answer.status == "OK"
    assert re.fullmatch(rb"APPENDUID \d+ 1", answer.code)
    assert b"1 EXISTS" in answer.lines
    fetched = await client.cmd("FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
    assert fetched.lines == [
        b'1 FETCH (FLAGS (\\Seen) INTERNALDATE "14-Nov-2023 05:00:00 +0000" RFC822.SIZE 5'
        b" BODY[] {5}\r\na\r\nb\0)"
    ]
    answer = await client.append("INBOX", letter(1), letter(2))
    assert answer.code.endswith(b" 2:3")
    answer = await client.cmd(b"APPEND Nowhere {1+}\r\nx", ok=False)
    assert (answer.status, answer.code) == ("NO", b"TRYCREATE")
    answer = await client.cmd("APPEND INBOX {60000000}", ok=False)
    assert (answer.status, answer.code) == ("NO", b"TOOBIG")


async def test_fetch_of_parts(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", NESTED)
    for item, wanted in (
        ("BODY.PEEK[1]", b"BODY[1] {8}\r\nZsO8cg=="),
        ("BODY.PEEK[1]<2.3>", b"BODY[1]<2> {3}\r\nO8c"),
        ("BODY.PEEK[2.HEADER]", b"BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n"),
        ("BODY.PEEK[2.1]", b"BODY[2.1] {10}\r\ninner body"),
        ("BODY.PEEK[3.MIME]", b"BODY[3.MIME] {67}\r\nContent-Type: image/x; name=a\r\n"),
        ("BODY.PEEK[4]", b"BODY[4] NIL"),
        ("BODY.PEEK[HEADER.FIELDS (Subject X-No)]", b"{19}\r\nSubject: nested\r\n\r\n"),
        ("BODY.PEEK[HEADER.FIELDS.NOT (Content-Type From)]", b"{19}\r\nSubject: nested\r\n\r\n"),
        ("BODY.PEEK[HEADER.FIELDS (Subject)]<0.3>", b"{3}\r\nSub"),
        ("RFC822.HEADER", b"RFC822.HEADER {%d}\r\nFrom: a@b.test\r\n" % (NESTED.index(b"--x") - 0)),
        ("BINARY.PEEK[1]", b"BINARY[1] {4}\r\nf\xc3\xbcr"),
        ("BINARY.PEEK[1]<1.2>", b"BINARY[1]<1> {2}\r\n\xc3\xbc"),
        ("BINARY.SIZE[1]", b"BINARY.SIZE[1] 4"),
        ("BINARY.SIZE[]", b"BINARY.SIZE[] %d" % len(NESTED)),
        ("PREVIEW", b'PREVIEW {4}\r\nf\xc3\xbcr'),
        ("BODY", b'BODY (("text" "plain" NIL NIL NIL "base64" 8 0)'),
        ("(BODYSTRUCTURE)", b'"mixed" ("boundary" "x") NIL NIL NIL)'),
    ):  # fmt: skip
        answer = await client.cmd(f"FETCH 1 {item}")
        assert len(answer.lines) == 1
        assert wanted in answer.lines[0], (item, answer.lines[0])
    answer = await client.cmd("FETCH 1 BINARY.PEEK[3]", ok=False)
    assert (answer.status, answer.code) == ("NO", b"UNKNOWN-CTE")


async def test_reading_marks_as_seen(world: World) -> None:
    client, other = await world.ayna("INBOX"), await world.ayna("INBOX")
    await client.append("INBOX", letter(1), letter(2))
    await client.cmd("FETCH 1:2 BODY.PEEK[]")
    answer = await client.cmd("FETCH 2 BODY[TEXT]")
    assert answer.lines[0].endswith(b"FLAGS (\\Seen))")
    assert len(answer.lines) == 1
    assert b"FLAGS" not in (await client.cmd("FETCH 2 BODY[]")).lines[0]
    assert (await client.cmd("FETCH 1:2 FLAGS")).lines == [
        b"1 FETCH (FLAGS ())", b"2 FETCH (FLAGS (\\Seen))",
    ]  # fmt: skip
    told = (await other.cmd("NOOP")).lines
    assert told == [b"2 EXISTS"]


async def test_ids(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", letter(1), letter(2, reply_to=1), letter(3))
    await client.cmd("COPY 1 Sent")
    lines = (await client.cmd("FETCH 1:3 (EMAILID THREADID SAVEDATE)")).lines
    found = [re.search(rb"EMAILID \((M[\w-]+)\) THREADID \((T\w+)\)", line) for line in lines]
    emails = [one[1] for one in found if one]
    threads = [one[2] for one in found if one]
    assert len(set(emails)) == 3
    assert threads[0] == threads[1] != threads[2]
    assert (await client.cmd(b"SEARCH EMAILID " + emails[1])).lines == [b"SEARCH 2"]
    assert (await client.cmd(b"SEARCH THREADID " + threads[0])).lines == [b"SEARCH 1 2"]
    await client.cmd("SELECT Sent")
    assert emails[0] in (await client.cmd("FETCH 1 EMAILID")).lines[0]


async def test_store(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", letter(1), letter(2), letter(3))
    for line, told in (
        ("STORE 1 +FLAGS (\\Flagged $Work)", [b"1 FETCH (UID 1 FLAGS (\\Flagged $Work))"]),
        ("STORE 1 +FLAGS \\Flagged", [b"1 FETCH (UID 1 FLAGS (\\Flagged $Work))"]),
        ("UID STORE 1 -FLAGS ($work)", [b"1 FETCH (UID 1 FLAGS (\\Flagged))"]),
        ("STORE 1 FLAGS (\\Seen)", [b"1 FETCH (UID 1 FLAGS (\\Seen))"]),
        ("STORE 1:3 +FLAGS.SILENT (\\Answered)", []),
        ("UID STORE 9 +FLAGS (\\Seen)", []),
    ):
        answer = await client.cmd(line)
        assert [x for x in answer.lines if not x.startswith(b"FLAGS")] == told, line
    answer = await client.cmd("STORE 4 +FLAGS (\\Seen)", ok=False)
    assert answer.status == "BAD"
    answer = await client.cmd("STORE 1 +FLAGS (\\Foo)", ok=False)
    assert answer.status == "NO"


async def test_copy_and_move(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", *(letter(n) for n in range(1, 6)))
    answer = await client.cmd("COPY 2:3 Archive")
    assert re.fullmatch(rb"COPYUID \d+ 2:3 1:2", answer.code)
    answer = await client.cmd("UID MOVE 1,4 Archive")
    assert re.match(rb"OK \[COPYUID \d+ 1,4 3:4\]", answer.lines[0])
    assert answer.lines[1:] == [b"1 EXPUNGE", b"3 EXPUNGE"]
    assert uids((await client.cmd("FETCH 1:* UID")).lines) == [2, 3, 5]
    for line in ("COPY 1 Nowhere", "MOVE 1 Nowhere"):
        answer = await client.cmd(line, ok=False)
        assert (answer.status, answer.code) == ("NO", b"TRYCREATE")
    answer = await client.cmd("UID COPY 99 Archive")
    assert answer.code == b""


async def test_expunge(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", *(letter(n) for n in range(1, 7)))
    await client.cmd("STORE 2,3,5 +FLAGS.SILENT (\\Deleted)")
    assert (await client.cmd("UID EXPUNGE 3:4")).lines == [b"3 EXPUNGE"]
    assert (await client.cmd("EXPUNGE")).lines == [b"2 EXPUNGE", b"3 EXPUNGE"]
    await client.cmd("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert (await client.cmd("CLOSE")).lines == []
    assert (await client.cmd("STATUS INBOX (MESSAGES)")).lines == [b"STATUS INBOX (MESSAGES 2)"]
    await client.cmd("SELECT INBOX")
    await client.cmd("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await client.cmd("UNSELECT")
    assert (await client.cmd("STATUS INBOX (MESSAGES)")).lines == [b"STATUS INBOX (MESSAGES 2)"]


async def test_replace(world: World) -> None:
    client = await world.ayna("Drafts")
    await client.append("Drafts", letter(1), letter(2), flags="\\Draft")
    answer = await client.cmd(b"UID REPLACE 1 Drafts (\\Draft) {%d+}\r\n%b" % (5, b"hello"))
    assert re.match(rb"OK \[APPENDUID \d+ 3\]", answer.lines[0])
    assert b"1 EXPUNGE" in answer.lines
    assert uids((await client.cmd("FETCH 1:* UID")).lines) == [2, 3]
    assert (await client.cmd(b"REPLACE 9 Drafts {1+}\r\nx", ok=False)).status != "OK"
    assert (await client.cmd("STATUS Drafts (MESSAGES)")).lines == [b"STATUS Drafts (MESSAGES 2)"]


# --- searches ----------------------------------------------------------------------------------


async def test_search(world: World) -> None:
    client = await world.ayna("INBOX")
    for n in range(1, 6):
        await client.append(
            "INBOX", letter(n, subject=f"Salam {n}", body=f"sözler {n}", pad=n * 400)
        )
    await client.cmd("STORE 2,4 FLAGS (\\Seen)")
    for line, found in (
        ("SEARCH ALL", b"SEARCH 1 2 3 4 5"),
        ("SEARCH UNSEEN 2:*", b"SEARCH 3 5"),
        ("UID SEARCH NOT SEEN", b"SEARCH 1 3 5"),
        ('SEARCH SUBJECT "salam 3"', b"SEARCH 3"),
        ("SEARCH BODY SÖZLER", b"SEARCH 1 2 3 4 5"),
        ("SEARCH OR SUBJECT 1 LARGER 1900", b"SEARCH 1 5"),
        ("SEARCH SUBJECT nothing", b"SEARCH"),
        ("SEARCH 7:9 ALL", b"SEARCH"),
    ):
        assert (await client.cmd(line)).lines == [found], line
    answer = await client.cmd("SEARCH CHARSET X-NO ALL", ok=False)
    assert answer.code == b"BADCHARSET (UTF-8 US-ASCII)"
    answer = await client.cmd("SEARCH MODSEQ 1 UID 2")
    assert re.fullmatch(rb"SEARCH 2 \(MODSEQ \d+\)", answer.lines[0])


async def test_extended_search(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", *(letter(n) for n in range(1, 8)))
    await client.cmd("STORE 3,4 +FLAGS.SILENT (\\Deleted)")
    await client.cmd("EXPUNGE")
    for line, found in (
        ("UID SEARCH RETURN () ALL", b" UID ALL 1:2,5:7"),
        ("SEARCH RETURN (MIN MAX COUNT) ALL", b" MIN 1 MAX 5 COUNT 5"),
        ("SEARCH RETURN (MIN) SEEN", b""),
        ("SEARCH RETURN (COUNT) SEEN", b" COUNT 0"),
        ("UID SEARCH RETURN (PARTIAL -1:-2) ALL", b" UID PARTIAL (-1:-2 6:7)"),
        ("UID SEARCH RETURN (PARTIAL 9:10) ALL", b" UID PARTIAL (9:10 NIL)"),
        ("UID SORT RETURN (ALL) (REVERSE ARRIVAL) UTF-8 UID 5:6", b" UID ALL 5:6"),
    ):
        answer = await client.cmd(line)
        assert re.sub(rb'ESEARCH \(TAG "t\d+"\)', b"", answer.lines[0]) == found, line


async def test_saved_searches(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append("INBOX", *(letter(n) for n in range(1, 6)))
    assert (await client.cmd("SEARCH RETURN (SAVE) UID 2:4")).lines == []
    assert uids((await client.cmd("FETCH $ UID")).lines) == [2, 3, 4]
    assert (await client.cmd("SEARCH $")).lines == [b"SEARCH 2 3 4"]
    await client.cmd("SEARCH RETURN (SAVE MIN) $")
    assert uids((await client.cmd("UID FETCH $ UID")).lines) == [2]
    await client.cmd("STORE $ +FLAGS.SILENT (\\Deleted)")
    await client.cmd("EXPUNGE")
    assert (await client.cmd("FETCH $ UID")).lines == []
    await client.cmd("SELECT INBOX")
    assert (await client.cmd("FETCH $ UID")).lines == []


async def test_sort_and_thread(world: World) -> None:
    client = await world.ayna("INBOX")
    await client.append(
        "INBOX",
        letter(1, subject="b", sender="Zoe <zoe@x.test>", pad=900),
        letter(2, subject="Re: a", sender="Bob <bob@x.test>", reply_to=1),
        letter(3, subject="a", sender="Ann <ann@x.test>"),
    )
    for line, found in (
        ("SORT (SUBJECT) UTF-8 ALL", b"SORT 2 3 1"),
        ("SORT (REVERSE SIZE) UTF-8 ALL", b"SORT 1 2 3"),
        ("UID SORT (FROM) UTF-8 ALL", b"SORT 3 2 1"),
        ("SORT (DISPLAYFROM) UTF-8 2:3", b"SORT 3 2"),
        ("SORT (SUBJECT REVERSE FROM) UTF-8 ALL", b"SORT 2 3 1"),
        ("SORT (DATE) UTF-8 SEEN", b"SORT"),
    ):
        assert (await client.cmd(line)).lines == [found], line
    assert (await client.cmd("THREAD REFERENCES UTF-8 ALL")).lines[0].startswith(b"THREAD (1 2)")
    assert (await client.cmd("UID THREAD ORDEREDSUBJECT UTF-8 ALL")).lines == [b"THREAD (1)(2 3)"]


# --- quota, metadata ---------------------------------------------------------------------------


async def test_quota(world: World) -> None:
    client = await world.ayna()
    await client.append("INBOX", letter(1, pad=2048))
    answer = await client.cmd("GETQUOTAROOT INBOX")
    assert answer.lines == [b'QUOTAROOT INBOX ""', b'QUOTA "" (STORAGE 2 1048576)']
    assert (await client.cmd('GETQUOTA ""')).lines == [b'QUOTA "" (STORAGE 2 1048576)']
    assert (await client.cmd('SETQUOTA "" (STORAGE 1)', ok=False)).code == b"NOPERM"
    assert (await client.cmd("GETQUOTA x", ok=False)).code == b"NONEXISTENT"


async def test_metadata(world: World) -> None:
    client = await world.ayna()
    await client.cmd(
        'SETMETADATA INBOX (/private/comment "my own" /private/vendor/x/y {2+}\r\na\n)'
    )
    for line, told in (
        ("GETMETADATA INBOX /private/comment", b'METADATA INBOX (/private/comment "my own")'),
        ("GETMETADATA INBOX /private/nothing", b"METADATA INBOX (/private/nothing NIL)"),
        ("GETMETADATA (DEPTH infinity) INBOX /private/vendor",
         b"METADATA INBOX (/private/vendor/x/y {2}\r\na\n)"),
        ("GETMETADATA (MAXSIZE 3) INBOX (/private/comment /private/vendor/x/y)",
         b"METADATA INBOX (/private/vendor/x/y {2}\r\na\n)"),
    ):  # fmt: skip
        assert (await client.cmd(line)).lines == [told], line
    await client.cmd("SETMETADATA INBOX (/private/comment NIL)")
    answer = await client.cmd("GETMETADATA INBOX /private/comment")
    assert answer.lines == [b"METADATA INBOX (/private/comment NIL)"]
    answer = await client.cmd('SETMETADATA "" (/shared/comment "x")', ok=False)
    assert answer.code == b"NOPERM"
    answer = await client.cmd("GETMETADATA Nowhere /private/comment", ok=False)
    assert answer.code == b"NONEXISTENT"


async def test_delta_chat_finds_the_turn_server(world: World) -> None:
    client = await world.ayna()
    asked = "(/shared/comment /shared/admin /shared/vendor/deltachat/turn)"
    (line,) = (await client.cmd(f'GETMETADATA "" {asked}')).lines
    found = re.search(rb'/shared/vendor/deltachat/turn "([^"]+)"', line)
    assert found
    host, port, until, password = found[1].split(b":")
    assert (host, port) == (b"turn.kerwen.test", b"3478")
    assert int(until) == world.house.clock.now // 1000 + 86_400
    assert len(base64.b64decode(password)) == 20


# --- the line ----------------------------------------------------------------------------------


async def test_compress(world: World) -> None:
    client = await world.ayna()
    await client.append("INBOX", letter(1, pad=100_000))
    await client.cmd("COMPRESS DEFLATE")
    client.compress()
    await client.cmd("SELECT INBOX")
    for _ in range(3):
        assert len((await client.cmd("FETCH 1 BODY.PEEK[]")).lines[0]) > 100_000
    assert b"COMPRESS" not in (await client.cmd("CAPABILITY")).lines[0]
    assert (await client.cmd("COMPRESS DEFLATE", ok=False)).code == b"COMPRESSIONACTIVE"
    await client.append("INBOX", letter(2, pad=300_000))
    await client.idle()
    await world.house.deliver(letter(3), 1)
    assert await client.line() == b"* 3 EXISTS"
    await client.done()
    await client.cmd("LOGOUT")


async def test_compress_must_come_last(world: World) -> None:
    client = await world.ayna()
    client.send(b"a COMPRESS DEFLATE\r\nb NOOP\r\n")
    assert (await client.end(b"a")).status == "BAD"
    assert (await client.end(b"b")).status == "OK"


async def test_pipelined_commands_are_answered_in_order(world: World) -> None:
    client = await world.connect()
    client.send(
        b"a LOGIN ayna secret-1\r\nb SELECT INBOX\r\nc APPEND INBOX {1+}\r\nx\r\n"
        b"d FETCH 1 UID\r\ne LOGOUT\r\nf NOOP\r\n"
    )
    for tag in (b"a", b"b", b"c", b"d", b"e"):
        assert (await client.end(tag)).status == "OK"
    assert await client.gone() == b""


async def test_too_much_nonsense_ends_it(world: World) -> None:
    client = await world.connect()
    client.send(b"nonsense\r\n" * 30)
    said = await client.gone()
    assert said.count(b"* BAD ") == 20
    assert said.endswith(b"* BYE Too much that is no IMAP\r\n")


async def test_everything_on_both_engines(either_world: World) -> None:
    world = either_world
    client, other = await world.ayna("INBOX"), await world.ayna("INBOX")
    await client.append("INBOX", *(letter(n, subject=f"word{n}") for n in range(1, 31)))
    assert b"30 EXISTS" in (await other.cmd("NOOP")).lines
    await client.cmd("STORE 1:10 +FLAGS.SILENT (\\Deleted $x)")
    await client.cmd("UID MOVE 11:20 Archive")
    await client.cmd("EXPUNGE")
    assert (await client.cmd("SEARCH SUBJECT word25")).lines == [b"SEARCH 5"]
    await other.cmd("NOOP")
    for one in (client, other):
        assert uids((await one.cmd("FETCH 1:* (UID FLAGS)")).lines) == list(range(21, 31))
        assert len((await one.cmd("FETCH 1:* (ENVELOPE BODY.PEEK[])")).lines) == 10
    await client.idle()
    await world.house.deliver(letter(99), 1)
    assert await client.line() == b"* 11 EXISTS"
    await client.done()
