"""Reports that arrive are kept once, for our domain only, on both engines."""

from __future__ import annotations

import gzip

from kerwen.mail.actions.reports_in import KEPT_DAYS
from tests.mail.test_reports_read import XML, letter
from tests.mail_store.house import House


async def test_reports_are_kept_once(house: House) -> None:
    reports = house.mail.reports_in
    raw = letter(gzip.compress(XML))
    assert await reports.take(raw, True) == 1
    assert await reports.take(raw, False) == 0
    other = letter(gzip.compress(XML.replace(b"Kerwen.test", b"elsewhere.test")))
    assert await reports.take(other, True) == 0
    assert await reports.take(b"no report", True) == 0
    assert await reports.sums(30) == [("dmarc", "receiver.example", 1, 40, 7)]
    (one,) = await reports.page(30, 2**62, 10)
    assert (one.proved, one.rows[0].source) == (True, "203.0.113.9")
    house.clock.now += (KEPT_DAYS + 1) * 86_400_000
    again = letter(gzip.compress(XML.replace(b">123<", b">124<")))
    assert await reports.take(again, False) == 1
    assert [one.name for one in await reports.page(400, 2**62, 10)] == ["124"]


async def test_the_house_has_the_addresses_and_owners_may_take_them(house: House) -> None:
    recipients = house.mail.recipients
    found = await recipients.find("DMARC-Reports@kerwen.test")
    assert (found.accounts, found.house) == ((), "dmarc-reports")
    await recipients.add("tls-reports", "somebody@elsewhere.test")
    found = await recipients.find("tls-reports@kerwen.test")
    assert (found.elsewhere, found.house) == (("somebody@elsewhere.test",), "")
