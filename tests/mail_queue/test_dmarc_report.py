"""Reports of DMARC: what is counted, to whom it is told, what it says."""

from __future__ import annotations

import email
import gzip
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Refused
from kerwen.mail import dmarc_report
from kerwen.mail.actions.check import Check
from kerwen.mail.actions.day_counts import DayCounts
from kerwen.mail.actions.report_dmarc import DmarcReports
from kerwen.mail.dmarc_report import Came
from kerwen.mail.letter import NO_WISHES, Letter, Peer
from kerwen.mail.store.day_counts import DMARC
from kerwen.mail.store.queue_key import QueueKey
from tests.mail_store.house import letter

from .world import HOUR, World, _signed

DAY = 24 * HOUR
ELSE = "mailto:e@else.test"
ZONE = f"""
far.test MX 10 mx.far.test.
mx.far.test A 127.0.0.1
far.test TXT "v=spf1 ip4:192.0.2.7 -all"
_dmarc.far.test TXT "v=DMARC1; p=reject; sp=none; adkim=s; " "rua=mailto:d@far.test!10m,{ELSE}"
else.test MX 10 mx.far.test.
quiet.test TXT "v=spf1 ip4:192.0.2.7 -all"
_dmarc.quiet.test TXT "v=DMARC1; p=none"
"""
SPACE = "{urn:ietf:params:xml:ns:dmarc-2.0}"


def reporting(world: World) -> tuple[DayCounts[Came], DmarcReports]:
    world.dns.add(ZONE)
    key = QueueKey(b"k" * 32, bytes)
    mail = world.house.mail
    counts = DayCounts(DMARC, "dmarc result", Came, world.house.db, key, mail.tags, world.clock)
    reports = DmarcReports("kerwen.test", counts, world.resolver, world.queue, _signed, world.clock)
    mail.arrive._check = Check("kerwen.test", world.resolver.answer, world.clock)
    mail.arrive.notice = reports.notice
    return counts, reports


async def bring(world: World, domain: str, address: str) -> None:
    arrive = world.house.mail.arrive
    peer, writer = Peer(address=address, helo="mx.far.test"), Letter(sender=f"x@{domain}")
    accepted = await arrive.recipient(peer, writer, "batyr@kerwen.test", NO_WISHES)
    await arrive.run(peer, writer, [accepted], letter(1, sender=f"x@{domain}"))


def rows_in(raw: bytes) -> tuple[ElementTree.Element, list[dict[str, str]]]:
    found = email.message_from_bytes(raw)
    assert found["X-Signed"] == "yes"
    (_, part) = found.get_payload()
    assert part.get_content_type() == "application/gzip"
    assert part.get_filename() == "kerwen.test!far.test!1699920000!1700006399.xml.gz"
    tree = ElementTree.fromstring(gzip.decompress(part.get_payload(decode=True)))
    rows = [
        {leaf.tag.removeprefix(SPACE): leaf.text or "" for leaf in record.iter() if leaf.text}
        for record in tree.iter(f"{SPACE}record")
    ]
    return tree, rows


@pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
async def test_a_day_is_reported_once(world: World) -> None:
    remote = await world.remote()
    world.build()
    counts, reports = reporting(world)
    for _ in range(3):
        await bring(world, "far.test", "192.0.2.7")
    await counts.flush()
    with pytest.raises(Refused):
        await bring(world, "far.test", "192.0.2.66")
    await bring(world, "quiet.test", "192.0.2.7")
    await counts.flush()
    assert await reports.run() == 0, "the day is not over"
    world.clock.now += DAY
    assert await reports.run() == 1, "else.test does not say that it wants them"
    assert await reports.run() == 0
    await world.sender.step()
    (kept,) = remote.kept
    assert (kept.sender, kept.recipients) == ("", ["d@far.test"])
    tree, rows = rows_in(kept.raw)
    published = tree.find(f"{SPACE}policy_published")
    assert published is not None
    assert {one.tag.removeprefix(SPACE): one.text for one in published} == {
        "domain": "far.test", "p": "reject", "sp": "none", "adkim": "s", "aspf": "r",
    }  # fmt: skip
    by_source = {row["source_ip"]: row for row in rows}
    assert set(by_source) == {"192.0.2.7", "192.0.2.66"}
    good, bad = by_source["192.0.2.7"], by_source["192.0.2.66"]
    assert (good["count"], good["disposition"], good["spf"].strip()) == ("3", "none", "pass")
    assert (bad["count"], bad["disposition"], bad["spf"].strip()) == ("1", "reject", "fail")
    assert good["header_from"] == good["envelope_from"] == "far.test"


async def test_who_says_yes_gets_them_and_a_silent_dns_lets_them_wait(world: World) -> None:
    counts, reports = reporting(world)
    await bring(world, "far.test", "192.0.2.7")
    await counts.flush()
    world.dns.add("far.test._report._dmarc.else.test FAIL")
    world.clock.now += DAY
    assert await reports.run() == 0
    world.dns.records["far.test._report._dmarc.else.test"] = [("TXT", '"v=DMARC1"')]
    world.clock.now += HOUR
    assert await reports.run() == 2


async def test_too_many_different_things_are_not_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, _ = reporting(world)
    monkeypatch.setattr(limits, "DAY_COUNTS_MAX", 5)
    for n in range(20):
        await bring(world, "far.test", "192.0.2.7")
        counts.add(CAME)
        counts.add(came_from(f"192.0.2.{n}"))
        await counts.flush()
    world.clock.now += DAY
    (day,) = await counts.over()
    told = await counts.of_day(day)
    assert len(told) == 5
    assert dict(told)[CAME] == 20, "what is known is counted on"
    world.clock.now += 20 * DAY
    await counts.sweep()
    assert await counts.over() == []


def came_from(source: str, word: str = "x.test") -> Came:
    return Came(
        "far.test", "far.test", ("d@far.test",), ("r", "r", "none", "none"), source, word, word,
        "none", False, False, ((word, word, "pass"),), (word, "fail"),
    )  # fmt: skip


CAME = came_from("192.0.2.250")


@given(st.text(max_size=30))
def test_whatever_stands_there_the_report_is_well_formed(word: str) -> None:
    file = dmarc_report.pressed("kerwen.test", "far.test", 19_675, [(came_from("::1", word), 1)])
    tree = ElementTree.fromstring(gzip.decompress(file))
    assert len(list(tree.iter(f"{SPACE}record"))) == 1


@pytest.mark.parametrize(
    ("uris", "found"),
    [
        (("mailto:a@x.test",), ("a@x.test",)),
        (("mailto:a@x.test!10m", " mailto:b@x.test", "mailto:c@x.test"), ("a@x.test", "b@x.test")),
        (("https://x.test/", "mailto:a@x.test?cc=b@x.test", "mailto:a", "mailto:a@b>\r\nX: y"), ()),
    ],
)
def test_to_whom(uris: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert dmarc_report.destinations(uris) == found


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("a@far.test", None),
        ("a@mail.far.test", None),
        ("a@org.test", None),
        ("a@x.org.test", None),
        ("a@test", "far.test._report._dmarc.test"),
        ("a@else.test", "far.test._report._dmarc.else.test"),
        ("a@notfar.test", "far.test._report._dmarc.notfar.test"),
    ],
)
def test_who_must_say_yes(place: str, name: str | None) -> None:
    assert dmarc_report.consent_name("far.test", "org.test", place) == name
