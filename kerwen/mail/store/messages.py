"""Messages as they are kept: loose ones, pages, and the blobs that hold bodies."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kerwen.mail.store.page import Places
from kerwen.mail.store.segment import pack, unpack
from kerwen.storage.database import Snap, Tx
from kerwen.storage.sql import sql

_ADD_LOOSE = sql(
    "insert into mail_loose (message_no, account_no, copies, blob, length, card, word, body)"
    " values (:message_no, :account_no, :copies, :blob, :length, :card, :word, :body)"
)
_CARDS = sql(
    "select message_no, card from mail_loose"
    " where message_no {in_ints:nos} and account_no = :account_no"
)
_CARDS_BETWEEN = sql(
    "select message_no, card from mail_loose where account_no = :account_no"
    " and message_no >= :first and message_no <= :last order by message_no"
)
_LOOSE_BETWEEN = sql(
    "select message_no, card, word from mail_loose where account_no = :account_no"
    " and message_no >= :first and message_no <= :last order by message_no"
)
_WORDS = sql(
    "select message_no, word from mail_loose"
    " where message_no {in_ints:nos} and account_no = :account_no"
)
_LOOSE = sql(
    "select message_no, copies, blob, length, card, word from mail_loose"
    " where account_no = :account_no order by message_no limit :most"
)
_BODY = sql(
    "select blob, length, body from mail_loose"
    " where message_no = :message_no and account_no = :account_no"
)
_BODIES = sql(
    "select message_no, blob, length, body from mail_loose"
    " where message_no {in_ints:nos} and account_no = :account_no"
)
_COPIES = sql(
    "select message_no, copies, blob from mail_loose"
    " where message_no {in_ints:nos} and account_no = :account_no"
)
_SET_COPIES = sql("update mail_loose set copies = :copies where message_no = :message_no")
_DROP_LOOSE = sql("delete from mail_loose where message_no {in_ints:nos}", sealed=True)
_ADD_PAGE = sql(
    "insert into mail_pages (page_no, account_no, first_no, last_no, held, live, places, copies)"
    " values (:page_no, :account_no, :first_no, :last_no, :held, :live, :places, :copies)"
)
_ADD_BOX = sql("insert into mail_page_boxes (page_no, kind, box) values (:page_no, :kind, :box)")
# sorted here: a sort there would copy the places of every later page before it looks at first_no
_PAGES = sql(
    "select page_no, held, live, places, copies, first_no from mail_pages"
    " where account_no = :account_no and last_no >= :first and first_no <= :last"
)
_PAGES_LOCKED = sql(
    "select page_no, held, live, places, copies from mail_pages where account_no = :account_no"
    " and last_no >= :first and first_no <= :last order by first_no, page_no {for_update}"
)
_PAGE_NUMBERS = sql(
    "select page_no from mail_pages where account_no = :account_no and last_no >= :first"
    " and first_no <= :last order by first_no, page_no"
)
_PAGE_SIZES = sql(
    "select page_no, held, live from mail_pages where account_no = :account_no"
    " order by first_no, page_no"
)
_SOME_PAGES = sql(
    "select page_no, held, live, places, copies from mail_pages where page_no {in_ints:pages}"
    " and account_no = :account_no order by first_no, page_no"
)
_SET_PAGE = sql("update mail_pages set live = :live, copies = :copies where page_no = :page_no")
_DROP_PAGES = sql("delete from mail_pages where page_no {in_ints:pages}")
_DROP_BOXES = sql("delete from mail_page_boxes where page_no {in_ints:pages}", sealed=True)
_BOXES = sql(
    "select page_no, box from mail_page_boxes where page_no {in_ints:pages} and kind = :kind"
)
_SET_BOX = sql("update mail_page_boxes set box = :box where page_no = :page_no and kind = :kind")
_ADD_BLOB = sql(
    "insert into mail_blobs (blob, account_no, used) values (:blob, :account_no, :used)"
)
_USE_BLOB = sql("update mail_blobs set used = used - :less where blob = :blob returning used")
_DROP_BLOBS = sql("delete from mail_blobs where blob {in_texts:blobs}")
_RETIRE_BLOBS = sql(
    "update mail_blobs set account_no = -1, used = :now where blob {in_texts:blobs}"
)
_RETIRED = sql(
    "select blob from mail_blobs where account_no = -1 and used < :before order by blob limit :most"
)
_NAMED = sql("select blob from mail_blobs where blob {in_texts:blobs}")
_BLOBS = sql("select blob from mail_blobs where account_no = :account_no limit :most")


class Body(msgspec.Struct, frozen=True, gc=False):
    """A sealed body: in memory, or a stretch of a blob."""

    box: bytes | None
    blob: str = ""
    start: int = 0
    length: int = 0


class Loose(msgspec.Struct, gc=False):
    """A loose message."""

    no: int
    copies: int
    blob: str | None
    length: int
    card: bytes
    word: bytes


class Page(msgspec.Struct, gc=False):
    """A page without its boxes."""

    page_no: int
    held: int
    live: int
    places: Places
    copies: array[int]


async def add_loose(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds loose messages; the keys are the columns."""
    if len(rows) == 1:
        await tx.run(_ADD_LOOSE, **rows[0])
    else:
        await tx.many(_ADD_LOOSE, rows)


async def cards(snap: Snap, account_no: int, nos: Sequence[int]) -> list[tuple[int, bytes]]:
    """Sealed cards of those of these messages that are loose."""
    first, last = min(nos), max(nos)
    if last - first < 4 * len(nos) + 64:
        rows = await snap.all(_CARDS_BETWEEN, account_no=account_no, first=first, last=last)
    else:
        rows = await snap.all(_CARDS, account_no=account_no, nos=nos)
    return [(row[0], row[1]) for row in rows]


async def words(snap: Snap, account_no: int, nos: Sequence[int]) -> list[tuple[int, bytes]]:
    """Sealed search records of those of these messages that are loose."""
    return [(row[0], row[1]) for row in await snap.all(_WORDS, account_no=account_no, nos=nos)]


async def loose_between(
    snap: Snap, account_no: int, first: int, last: int
) -> list[tuple[int, bytes, bytes]]:
    """Sealed cards and search records of the loose messages between two numbers."""
    rows = await snap.all(_LOOSE_BETWEEN, account_no=account_no, first=first, last=last)
    return [(row[0], row[1], row[2]) for row in rows]


async def loose(snap: Snap, account_no: int, most: int) -> list[Loose]:
    """The eldest loose messages."""
    rows = await snap.all(_LOOSE, account_no=account_no, most=most)
    return [Loose(*row) for row in rows]


async def bodies(
    snap: Snap, account_no: int, nos: Sequence[int]
) -> tuple[dict[int, Body], list[Page]]:
    """Where the sealed bodies of messages are, and the pages that were met; those that are gone
    are not in it."""
    if len(nos) == 1:
        row = await snap.one(_BODY, message_no=nos[0], account_no=account_no)
        found = {nos[0]: _body(*row)} if row is not None else {}
    else:
        rows = await snap.all(_BODIES, account_no=account_no, nos=nos)
        found = {row[0]: _body(*row[1:]) for row in rows}
    left = [no for no in nos if no not in found]
    met: list[Page] = []
    if left:
        for page in await pages(snap, account_no, min(left), max(left)):
            here = False
            for no in left:
                slot = page.places.slot(no)
                if slot is not None and page.copies[slot]:
                    place = page.places.place(slot)
                    found[no] = Body(None, place.blob, place.start, place.length)
                    here = True
            if here:
                met.append(page)
    return found, met


def _body(blob: str | None, length: int, box: bytes | None) -> Body:
    return Body(None, blob, 0, length) if blob else Body(bytes(box or b""))


async def copies(
    tx: Snap, account_no: int, nos: Sequence[int]
) -> dict[int, tuple[int, str | None]]:
    """How often each loose message lies somewhere, and its blob."""
    rows = await tx.all(_COPIES, account_no=account_no, nos=nos)
    return {row[0]: (row[1], row[2]) for row in rows}


async def set_copies(tx: Tx, counts: Mapping[int, int]) -> None:
    """Writes that of loose messages."""
    await tx.many(
        _SET_COPIES, [{"message_no": no, "copies": count} for no, count in counts.items()]
    )


async def drop_loose(tx: Tx, nos: Sequence[int]) -> None:
    """Removes loose messages."""
    await tx.run(_DROP_LOOSE, nos=nos)


async def add_page(
    tx: Tx,
    page_no: int,
    account_no: int,
    places: Places,
    counts: Sequence[int],
    boxes: Mapping[str, bytes],
) -> None:
    """Adds a page and its boxes."""
    await tx.run(
        _ADD_PAGE,
        page_no=page_no,
        account_no=account_no,
        first_no=min(places.nos),
        last_no=max(places.nos),
        held=len(places.nos),
        live=sum(1 for count in counts if count),
        places=places.encode(),
        copies=pack("I", counts),
    )
    await tx.many(
        _ADD_BOX,
        [{"page_no": page_no, "kind": kind, "box": box} for kind, box in boxes.items()],
    )


def _page(row: Sequence[Any]) -> Page:
    page_no, held, live, places, counts = row
    return Page(page_no, held, live, Places.decode(places), unpack("I", counts))


async def pages(snap: Snap, account_no: int, first: int, last: int) -> list[Page]:
    """The pages that may hold messages between two numbers."""
    rows = await snap.all(_PAGES, account_no=account_no, first=first, last=last)
    return [_page(row[:5]) for row in sorted(rows, key=_first_no)]


def _first_no(row: Sequence[Any]) -> tuple[int, int]:
    return row[5], row[0]


async def pages_locked(tx: Tx, account_no: int, first: int, last: int) -> list[Page]:
    """The same, to be changed."""
    rows = await tx.all(_PAGES_LOCKED, account_no=account_no, first=first, last=last)
    return [_page(row) for row in rows]


async def some_pages(snap: Snap, account_no: int, page_nos: Iterable[int]) -> list[Page]:
    """Pages by their numbers; those that are gone are not in it."""
    rows = await snap.all(_SOME_PAGES, account_no=account_no, pages=list(page_nos))
    return [_page(row) for row in rows]


async def page_numbers(snap: Snap, account_no: int, first: int, last: int) -> list[int]:
    """Only the numbers of the pages that may hold messages between two numbers."""
    rows = await snap.all(_PAGE_NUMBERS, account_no=account_no, first=first, last=last)
    return [row[0] for row in rows]


async def page_sizes(snap: Snap, account_no: int) -> list[tuple[int, int, int]]:
    """All pages of an account: (number, held, live)."""
    return [(r[0], r[1], r[2]) for r in await snap.all(_PAGE_SIZES, account_no=account_no)]


async def set_page(tx: Tx, changed: Page) -> None:
    """Writes back how often its messages lie somewhere."""
    await tx.run(
        _SET_PAGE, page_no=changed.page_no, live=changed.live, copies=pack("I", changed.copies)
    )


async def drop_pages(tx: Tx, page_nos: Sequence[int]) -> None:
    """Removes pages with their boxes."""
    await tx.run(_DROP_PAGES, pages=page_nos)
    await tx.run(_DROP_BOXES, pages=page_nos)


async def boxes(snap: Snap, page_nos: Iterable[int], kind: str) -> dict[int, bytes]:
    """The boxes of one kind of some pages."""
    rows = await snap.all(_BOXES, pages=list(page_nos), kind=kind)
    return {row[0]: row[1] for row in rows}


async def set_box(tx: Tx, page_no: int, kind: str, box: bytes) -> None:
    """Writes a box anew: it was damaged."""
    await tx.run(_SET_BOX, page_no=page_no, kind=kind, box=box)


async def add_blob(tx: Tx, blob: str, account_no: int, used: int) -> None:
    """Names a blob, so that the sweep leaves it; `used` by that many messages."""
    await tx.run(_ADD_BLOB, blob=blob, account_no=account_no, used=used)


async def use_less(tx: Tx, blob: str, less: int) -> bool:
    """So many messages fewer have their body in it; true if none has."""
    row = await tx.one(_USE_BLOB, blob=blob, less=less)
    return row is not None and row[0] <= 0


async def drop_blobs(tx: Tx, blobs: Sequence[str]) -> None:
    """No longer names blobs: the caller removes them after commit."""
    await tx.run(_DROP_BLOBS, blobs=blobs)


async def retire_blobs(tx: Tx, blobs: Sequence[str], now_ms: int) -> None:
    """Blobs whose content moved: they stay a day, for a backup that is being made."""
    await tx.run(_RETIRE_BLOBS, blobs=blobs, now=now_ms)


async def retired_blobs(snap: Snap, before_ms: int, most: int) -> list[str]:
    """Blobs that were retired before a time."""
    return [row[0] for row in await snap.all(_RETIRED, before=before_ms, most=most)]


async def named(snap: Snap, blobs: Sequence[str]) -> set[str]:
    """Which of these mail names."""
    return {row[0] for row in await snap.all(_NAMED, blobs=blobs)}


async def blobs_of(snap: Snap, account_no: int, most: int) -> list[str]:
    """Blobs of an account."""
    return [row[0] for row in await snap.all(_BLOBS, account_no=account_no, most=most)]
