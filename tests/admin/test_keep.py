"""The disk's bounds: what goes first, what never goes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from kerwen.api.client.media import MediaApi
from kerwen.media import store
from kerwen.media.actions.keep import Keep, KeepRules
from kerwen.media.store import Media, Thumbnail
from tests.admin.desk import desk_of, download, upload
from tests.rooms.house import House, sqlite_house

DAY = 86_400_000


def keeper(house: House, **rules: Any) -> Keep:
    """The keeper of a house under other rules."""
    keep = house.messenger.admin.keep
    return Keep(
        keep._db,
        keep._blobs,
        keep._deletion,
        keep._domain,
        KeepRules(**rules),
        keep._pictures,
        keep._clock,
    )


async def cached(house: House, name: str, size: int = 1_000, used_ms: int = 0) -> Media:
    """A file of another server that is kept here."""
    blob = await house.messenger.admin.keep._blobs.put_bytes(b"x" * size)
    media = Media(
        "b.test",
        name,
        None,
        blob.key,
        "image/png",
        None,
        size,
        house.clock.ms,
        None,
    )
    async with house.db.write() as tx:
        await store.add(tx, media)
        if used_ms:
            await store.used(tx, [("b.test", name)], used_ms)
    return media


async def with_thumbnail(house: House, media: Media, size: int = 500) -> str:
    """Keeps a thumbnail of a piece; its blob."""
    blob = await house.messenger.admin.keep._blobs.put_bytes(b"t" * size)
    async with house.db.write() as tx:
        await store.add_thumbnail(tx, media, Thumbnail("96x96", blob.key, "image/png", size))
    return blob.key


def blobs(house: House) -> set[str]:
    return {p.name for p in (house.folder / "blobs").rglob("*") if p.is_file()}


async def left(house: House) -> set[str]:
    """The other server's files that are still here."""
    async with house.db.read() as snap:
        return {m.media_id for m in await store.cached(snap, 2**62, 100)}


async def test_what_others_have_goes_when_nobody_uses_it(both: House) -> None:
    await cached(both, "unused")
    await cached(both, "used")
    both.clock.ms += 31 * DAY
    await cached(both, "fresh")
    async with both.db.write() as tx:
        await store.used(tx, [("b.test", "used")], both.clock.ms - DAY)
    assert await keeper(both).run() == 1
    assert await left(both) == {"used", "fresh"}
    assert len(blobs(both)) == 2
    assert await keeper(both, cached_ms=0).run() == 0


async def test_old_files_of_people_go_only_if_the_operator_says_so(both: House) -> None:
    ayna = await both.person("ayna")
    old, picture, room_picture, pack, used = [await upload(ayna) for _ in range(5)]
    await ayna.must("PUT", "profile", ayna.id, "avatar_url", body={"avatar_url": picture})
    room = await ayna.create_room(preset="public_chat")
    await ayna.set_state(room, "m.room.avatar", {"url": room_picture})
    emotes = {"images": {"a": {"url": pack}}}
    await ayna.must("PUT", "user", ayna.id, "account_data", "im.ponies.user_emotes", body=emotes)
    both.clock.ms += 100 * DAY
    assert (await download(ayna, used)).status == 200
    fresh = await upload(ayna)
    assert await keeper(both).run() == 0
    (media,) = [area for area in both.messenger.areas if isinstance(area, MediaApi)]
    await media.downloads.use.write()  # as a timer does
    assert await keeper(both, files_ms=90 * DAY).run() == 1
    for uri, status in (
        (old, 404),
        (picture, 200),
        (room_picture, 200),
        (pack, 200),
        (used, 200),
        (fresh, 200),
    ):
        assert (await download(ayna, uri)).status == status
    page = await (await desk_of(both)).must("GET", "accounts/{userId}/media", userId=ayna.id)
    assert {f["used_ms"] for f in page["files"]} == {0, both.clock.ms // DAY * DAY}


async def test_above_the_budget_thumbnails_go_then_others_files(
    both: House, caplog: pytest.LogCaptureFixture
) -> None:
    ayna = await both.person("ayna")
    mine = await upload(ayna, b"m" * 1_000)
    day = both.clock.ms // DAY * DAY
    for n in range(3):
        media = await cached(both, f"c{n}", used_ms=day + n)
        thumbnail = await with_thumbnail(both, media)
    own = Thumbnail("32x32", str(media.blob), "image/png", 1_000)
    async with both.db.write() as tx:
        await store.add_thumbnail(tx, media, own)  # a small picture is its own thumbnail
    # 1,000 of hers, 3,000 of others', 1,500 of thumbnails, and 1,000 that are counted twice
    assert await keeper(both, budget=6_500).run() == 0
    assert await keeper(both, budget=5_900).run() == 2
    assert thumbnail in blobs(both)
    assert await keeper(both, budget=4_900).run() == 2
    assert thumbnail not in blobs(both)
    assert await left(both) == {"c1", "c2"}  # the longest unused went
    with caplog.at_level(logging.WARNING, "kerwen.media"):
        assert await keeper(both, budget=10).run() == 2
    assert "above the budget" in caplog.text
    assert await left(both) == set()
    assert (await download(ayna, mine)).status == 200
    assert len(blobs(both)) == 1


async def test_the_settings_reach_the_keeper(tmp_path: Path, sqlite_template: Path) -> None:
    house = sqlite_house(tmp_path, sqlite_template, keep_files=3, keep_cached=4, media_budget=5)
    assert house.messenger.admin.keep._rules == KeepRules(3 * DAY, 4 * DAY, 5 * 10**9)
    await house.close()
