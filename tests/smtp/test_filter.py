"""Scripts at the door: what comes in goes where its recipient's script wants it."""

from __future__ import annotations

import pytest

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.bring_home import BringHome
from kerwen.mail.actions.queue import Leased, Result, Verdict
from kerwen.mail.dns import Found, Status
from kerwen.mail.sieve.lexer import BadScript
from kerwen.mail.sieve.vacation import Vacation
from kerwen.mail.store.forget import forget_account
from tests.smtp.world import World, field

LETTER = (
    b"From: Who <who@remote.test>\r\nTo: ayna@kerwen.test\r\nSubject: a word\r\n"
    b"Message-ID: <m1@remote.test>\r\n\r\nbody\r\n"
)
DAY_MS = 86_400_000


async def _script(world: World, source: str, account_no: int = 1, name: str = "main") -> None:
    made = await world.mail.scripts.put(account_no, name, source.encode())
    await world.mail.scripts.activate(account_no, made.no)


async def _sent(
    world: World,
    raw: bytes = LETTER,
    *to: str,
    sender: str = "who@remote.test",
) -> str:
    client = await world.connect()
    return await client.send(sender, list(to or ("ayna@kerwen.test",)), raw)


async def _own(world: World, raw: bytes, *to: str) -> str:
    client = await world.ayna()
    return await client.send("ayna@kerwen.test", list(to), raw)


def _proved(world: World) -> None:
    """remote.test proves its mail by SPF."""

    async def answer(question: object) -> Found:
        if getattr(question, "name", "") == "remote.test":
            return Found(Status.FOUND, texts=(b"v=spf1 ip4:127.0.0.1 -all",))
        return Found(Status.NO_NAME)

    world.mail.arrive._check._answer = answer  # type: ignore[attr-defined]


async def _queued(world: World) -> list[tuple[Leased, bytes]]:
    queue = world.mail.queue
    found: list[tuple[Leased, bytes]] = []
    while (leased := await queue.lease()) is not None:
        found.append((leased, await queue.message(leased.queue_no)))
        done = [Result(number, Verdict.ARRIVED) for number in leased.recipients]
        await queue.settle(leased, done)
    return found


async def test_a_script_files_copies_and_flags(either_world: World) -> None:
    world = either_world
    await _script(
        world,
        'require ["fileinto","mailbox","imap4flags","envelope","subaddress","variables"];'
        'if envelope :matches :detail "to" "*" { set "d" "${1}";'
        ' fileinto :create :flags ["\\\\Seen","$Shop","bad{flag"] "Shops/${d}"; stop; }'
        'if header :contains "subject" "word" { fileinto "Archive"; fileinto "None"; }',
    )
    assert (await _sent(world, LETTER, "ayna+kitap@kerwen.test")).startswith("250")
    view = await world.house.view(1, "Shops/kitap")
    assert len(view.nos) == 1
    listed = await world.mail.mailboxes.listing(1)
    assert {"Shops", "Shops/kitap"} <= {one.name for one in listed.mailboxes}
    assert "Shops/kitap" in listed.subscribed
    assert next(one.unseen for one in listed.mailboxes if one.name == "Shops/kitap") == 0
    assert (await _sent(world)).startswith("250")
    assert len(await world.inbox(1, "Archive")) == 1
    assert len(await world.inbox()) == 1, "a mailbox that is not there is INBOX"
    await _script(world, "discard;")
    assert (await _sent(world, LETTER, "ayna@kerwen.test", "batyr@kerwen.test"))[:3] == "250"
    assert (len(await world.inbox()), len(await world.inbox(2))) == (1, 1)
    await world.mail.scripts.activate(1, 0)
    await _sent(world)
    assert len(await world.inbox()) == 2


async def test_a_script_that_goes_wrong_loses_nothing(world: World) -> None:
    await _script(
        world, 'require ["variables","fileinto"]; fileinto "Archive"; redirect "${none}"; discard;'
    )
    assert (await _sent(world)).startswith("250")
    assert len(await world.inbox()) == 1
    assert len(await world.inbox(1, "Archive")) == 0
    assert world.mail.filter.faults == 1
    await _script(world, 'require ["fileinto","mailbox"]; fileinto :create "a%b";')
    await _sent(world)
    assert len(await world.inbox()) == 2


async def test_refusals_reach_the_sender(world: World) -> None:
    await _script(world, 'require "ereject"; ereject text:\nNot\nthis.\n.\n;')
    assert await _sent(world) == "550 5.7.1 Not this."
    assert await world.inbox() == []
    # one of two: the other has it, and an unproved sender hears nothing
    assert (await _sent(world, LETTER, "ayna@kerwen.test", "batyr@kerwen.test"))[:3] == "250"
    assert len(await world.inbox(2)) == 1
    assert await _queued(world) == []
    letter = LETTER.replace(b"who@remote.test", b"ayna@kerwen.test")
    await _script(world, 'require "reject"; reject "Go away";', 2)
    await world.mail.scripts.activate(1, 0)
    said = await _own(world, letter, "batyr@kerwen.test", "ayna@kerwen.test")
    assert said[:3] == "250"
    report = next(one for one in await world.inbox() if b"multipart/report" in one)
    assert b"Go away" in report


async def test_what_is_sent_on(either_world: World) -> None:
    world = either_world
    _proved(world)
    await _script(world, 'redirect "a@far.test"; redirect "ayna+x@kerwen.test";')
    assert (await _sent(world)).startswith("250")
    [(leased, raw)] = await _queued(world)
    assert [one.address for one in leased.recipients.values()] == ["a@far.test"]
    assert (leased.envelope.sender, leased.envelope.account_no) == ("who@remote.test", 1)
    assert raw.endswith(LETTER)
    assert raw.startswith(b"Delivered-To: ayna@kerwen.test\r\nARC-")
    assert b"Return-Path" not in raw
    assert len(await world.inbox()) == 1, "what cannot go to its owner is kept"
    await _sent(world, b"Delivered-To: ayna@kerwen.test\r\n" + LETTER)
    assert len(await world.inbox()) == 2, "what goes in circles is kept"
    # of ours to ours, on to elsewhere: signed by us
    await _script(world, 'redirect "b@far.test";', 2)
    own = LETTER.replace(b"who@remote.test", b"ayna@kerwen.test")
    assert (await _own(world, own, "batyr@kerwen.test")).startswith("250")
    [(leased, raw)] = await _queued(world)
    assert b"DKIM-Signature" in raw
    assert len(await world.inbox(2)) == 0
    world.mail.filter._sent_on[2] = limits.SIEVE_REDIRECTS_DAY_MAX
    await _own(world, own.replace(b"m1@", b"m2@"), "batyr@kerwen.test")
    assert len(await world.inbox(2)) == 1, "too many a day: it stays"


async def test_copies_may_have_another_header(world: World) -> None:
    await _script(
        world,
        'require ["editheader","fileinto","copy"]; fileinto "Archive"; addheader "X-A" "b";'
        ' redirect :copy "a@far.test"; keep;',
    )
    assert (await _sent(world)).startswith("250")
    [kept], [filed] = await world.inbox(), await world.inbox(1, "Archive")
    assert (field(kept, "X-A"), field(filed, "X-A")) == ("b", "")
    assert kept.endswith(b"\r\n\r\nbody\r\n")
    assert field(kept, "Return-Path") == "<who@remote.test>"
    [(_, raw)] = await _queued(world)
    assert field(raw, "X-A") == "b"
    assert b"Return-Path" not in raw


async def test_duplicates_are_known(either_world: World) -> None:
    world = either_world
    await _script(world, 'require "duplicate"; if duplicate :seconds 60 { discard; }')
    for _ in range(2):
        await _sent(world)
    assert len(await world.inbox()) == 1
    world.house.clock.now += 61_000
    await world.mail.filter.sweep()
    await _sent(world)
    assert len(await world.inbox()) == 2


async def test_who_writes_is_answered_once(either_world: World) -> None:
    world = either_world
    _proved(world)
    await _script(
        world, 'require "vacation"; vacation :days 2 :subject "Я в отпуске" "Буду позже";'
    )
    await _sent(world)
    [(leased, raw)] = await _queued(world)
    assert [one.address for one in leased.recipients.values()] == ["who@remote.test"]
    assert leased.envelope.sender == ""
    assert field(raw, "From") == "<ayna@kerwen.test>"
    assert field(raw, "In-Reply-To") == "<m1@remote.test>"
    assert field(raw, "Auto-Submitted") == "auto-replied"
    assert b"DKIM-Signature" in raw
    assert len(await world.inbox()) == 1
    await _sent(world)
    assert await _queued(world) == [], "once in two days"
    world.house.clock.now += 2 * DAY_MS + 1
    await _sent(world)
    assert len(await _queued(world)) == 1
    # one of ours is answered in the mailbox, and an answer is not answered
    await _script(world, 'require "vacation"; vacation "Me too";', 2)
    own = LETTER.replace(b"ayna@kerwen.test", b"batyr@kerwen.test")
    own = own.replace(b"who@remote.test", b"ayna@kerwen.test")
    await _own(world, own, "batyr@kerwen.test")
    assert len(await world.inbox()) == 4
    assert len(await world.inbox(2)) == 1


NEVER_ANSWERED = [
    ("", b"", True),
    ("who@remote.test", b"", False),
    ("owner-list@remote.test", b"", True),
    ("list-request@remote.test", b"", True),
    ("MAILER-DAEMON@remote.test", b"", True),
    ("no-reply@remote.test", b"", True),
    ("bounce+a=b@remote.test", b"", True),
    ("who@remote.test", b"List-Id: <a.b>\r\n", True),
    ("who@remote.test", b"List-Unsubscribe: <mailto:a@b>\r\n", True),
    ("who@remote.test", b"Precedence: bulk\r\n", True),
    ("who@remote.test", b"Auto-Submitted: auto-generated\r\n", True),
    ("who@remote.test", b"X-Auto-Response-Suppress: DR, OOF\r\n", True),
    ("who@remote.test", b"Content-Type: multipart/report; boundary=x\r\n", True),
]


async def test_who_is_never_answered(world: World) -> None:
    await _script(world, 'require "vacation"; vacation "Away";')
    for place, (sender, more, spf) in enumerate(NEVER_ANSWERED):
        if spf:
            _proved(world)
        else:
            world.mail.arrive._check._answer = None
        assert (await _sent(world, more + LETTER, sender=sender)).startswith("250")
        assert len(await world.inbox()) == place + 1
        assert await _queued(world) == [], (sender, more)
    _proved(world)
    await _sent(world)
    assert len(await _queued(world)) == 1, "else it would be answered"


async def test_only_what_was_written_to_its_owner_is_answered(world: World) -> None:
    _proved(world)
    await world.mail.recipients.add("info", "ayna")
    await _script(world, 'require "vacation"; vacation :addresses "else@where.test" "Away";')
    other = LETTER.replace(b"To: ayna@kerwen.test", b"To: everybody@remote.test")
    await _sent(world, other)
    assert await _queued(world) == []
    await _sent(world, LETTER.replace(b"To: ayna@", b"To: info@"), "info@kerwen.test")
    assert len(await _queued(world)) == 1
    cc = other.replace(b"Subject", b"Cc: else@where.test\r\nSubject").replace(b"who@", b"me@")
    await _sent(world, cc, sender="me@remote.test")
    assert len(await _queued(world)) == 1


async def test_a_vacation_needs_no_script(either_world: World) -> None:
    world = either_world
    _proved(world)
    now = world.house.clock.now
    set_ = world.mail.scripts.set_vacation
    await set_(1, Vacation(enabled=True, from_ms=now + 1000, text="Later"))
    await _sent(world)
    assert await _queued(world) == []
    await set_(1, Vacation(True, now, now + DAY_MS, "Away", "Text", "<p>Html</p>"))
    await _sent(world)
    [(_, raw)] = await _queued(world)
    assert b"multipart/alternative" in raw
    assert field(raw, "Subject") == "Away"
    # a script that answers speaks for itself, one that discards says nothing
    await _script(world, 'require "vacation"; vacation "Mine";')
    other = LETTER.replace(b"who@", b"me@")
    await _sent(world, other, sender="me@remote.test")
    [(_, raw)] = await _queued(world)
    assert b"multipart/alternative" not in raw
    await _script(world, "discard;")
    await _sent(world, other, sender="you@remote.test")
    assert await _queued(world) == []
    await set_(1, Vacation())
    await world.mail.scripts.activate(1, 0)
    await _sent(world, sender="them@remote.test")
    assert await _queued(world) == []


async def test_junk_is_neither_sent_on_nor_answered(world: World) -> None:
    _proved(world)

    async def taste(accounts: object, raw: bytes) -> dict[int, bool]:
        return {1: True}

    world.mail.arrive.taste = taste
    await _script(
        world,
        'require ["vacation","imap4flags"]; vacation "Away"; addflag "x"; redirect "a@far.test";',
    )
    await _sent(world)
    assert await _queued(world) == []
    assert len(await world.inbox(1, "Junk")) == 1


async def test_scripts_are_kept_by_name(either_world: World) -> None:
    scripts = either_world.mail.scripts
    first = await scripts.put(1, "a", b"keep;")
    again = await scripts.put(1, "a", b"stop;")
    assert first.no == again.no
    second = await scripts.add(1, "b", b"discard;")
    with pytest.raises(BadScript):
        await scripts.put(1, "a", b"nonsense;")
    for wrong in ("", "a\nb", "x" * 129):
        with pytest.raises(Refused):
            await scripts.put(1, wrong, b"keep;")
    with pytest.raises(Refused) as caught:
        await scripts.add(1, "b", b"keep;")
    assert caught.value.reason is Reason.CONFLICT
    await scripts.activate(1, second.no)
    with pytest.raises(Refused) as caught:
        await scripts.delete(1, second.no)
    assert caught.value.reason is Reason.FORBIDDEN
    await scripts.rename(1, "b", "c")
    with pytest.raises(Refused):
        await scripts.rename(1, "c", "a")
    await scripts.delete(1, first.no)
    kept = await scripts.kept(1)
    assert [(one.name, one.source) for one in kept.scripts] == [("c", "discard;")]
    assert kept.active == second.no
    assert (await scripts.kept(2)).scripts == [], "nobody has another's"
    with pytest.raises(Refused):
        await scripts.activate(2, second.no)
    for number in range(limits.SIEVE_SCRIPTS_MAX - 1):
        await scripts.put(1, f"s{number}", b"keep;")
    with pytest.raises(Refused) as caught:
        await scripts.put(1, "more", b"keep;")
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
    with pytest.raises(Refused):
        await scripts.have_space(1, "more", 10)
    await scripts.have_space(1, "c", 10)
    async with either_world.house.db.write() as tx:
        await forget_account(tx, 1)
    assert (await scripts.kept(1)).scripts == []


async def test_what_comes_by_the_queue_or_a_list_meets_scripts_too(world: World) -> None:
    mail = world.mail
    await _script(world, 'redirect "batyr@kerwen.test";')
    await _script(
        world,
        'require ["fileinto","ereject"]; if exists "list-id" { fileinto "Archive"; stop; }'
        'if header :contains "subject" "no" { ereject "No."; stop; } redirect "ayna@kerwen.test";',
        2,
    )
    home = BringHome(mail.recipients, mail.receive, mail.queue)

    async def home_all() -> list[Verdict]:
        found = []
        while (leased := await mail.queue.lease()) is not None:
            results = await home.run(leased, await mail.queue.message(leased.queue_no))
            await mail.queue.settle(leased, results)
            found += [one.verdict for one in results]
        return found

    await _sent(world)
    # ayna's script sends it to batyr, whose script sends it back, and there it stays
    assert await home_all() == [Verdict.ARRIVED, Verdict.ARRIVED]
    assert (len(await world.inbox(1)), len(await world.inbox(2))) == (1, 0)
    await _sent(world, LETTER.replace(b"a word", b"no"))
    assert await home_all() == [Verdict.FAILED]
    await mail.lists.add("all", "ayna", "All", "anyone")
    await mail.lists.join("all", "batyr")
    await _own(world, LETTER.replace(b"who@remote.test", b"ayna@kerwen.test"), "all@kerwen.test")
    [filed] = await world.inbox(2, "Archive")
    assert b"List-Id" in filed
