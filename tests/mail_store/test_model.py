"""Random deeds against a plain model: UIDs, MODSEQ, flags, counts, quota, what vanished."""

from __future__ import annotations

import pytest

from kerwen.mail.store import mailboxes
from kerwen.storage.sql import sql
from tests.mail_store.house import House
from tests.mail_store.model import Model


@pytest.mark.parametrize("seed", range(4))
async def test_random_deeds(house: House, seed: int) -> None:
    async with house.db.write() as tx:
        await mailboxes.set_quota(tx, 1, 1_500_000)
    model = Model(house, 1, seed, 1_500_000)
    since = 0
    for n in range(60):
        await model.step()
        if n % 7 == 0:
            await model.check(since)
            since = model.chance.randrange(model.modseq + 1)
    await model.check(0)
    await model.check_bodies()
    # nothing is left of what is gone
    async with house.db.read() as snap:
        rows = await snap.all(sql("select blob from mail_blobs order by blob"))
    files = sorted(f.name for f in (house.folder / "blobs").rglob("*") if f.is_file())
    assert files == [row[0] for row in rows]
