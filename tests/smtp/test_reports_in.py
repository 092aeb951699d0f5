"""A report that comes by SMTP is read by the house; nobody's mailbox holds it."""

from __future__ import annotations

import gzip

from tests.mail.test_reports_read import XML, letter
from tests.smtp.world import World


async def test_a_report_comes_in(world: World) -> None:
    client = await world.connect()
    raw = letter(gzip.compress(XML))
    said = await client.send("x@receiver.example", ["dmarc-reports@kerwen.test"], raw)
    assert said.startswith("250")
    assert await world.mail.reports_in.sums(30) == [("dmarc", "receiver.example", 1, 40, 7)]
    assert await world.inbox(1) == []
    both = ["ayna@kerwen.test", "dmarc-reports@kerwen.test"]
    assert (await client.send("x@receiver.example", both, raw)).startswith("250")
    assert len(await world.inbox(1)) == 1
