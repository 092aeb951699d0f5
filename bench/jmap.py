"""What JMAP costs the server: `python -m bench.jmap`. CPU of this process, all threads; the door is
in it, without sockets.

A mailbox of 10,000 messages as mail comes (some short, some long), sealed in pages. *Cold*: the
vault was opened just now and nothing is in memory; *warm*: again in the same session.
"""

from __future__ import annotations

import gc
import resource
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop

from kerwen.mail.actions import sealing
from kerwen.mail.actions.append import Item
from kerwen.mail.actions.store_flags import How, Wanted
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database
from tests.jmap.world import USING, Person, World
from tests.mail_store.house import letter

MESSAGES = 10_000
_WORDS = (
    *("apple", "river", "stone", "garden", "letter", "window"),
    *("morning", "table", "silver", "forest", "bridge"),
)


def cpu() -> float:
    """Seconds of CPU of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def first_page(account_id: str, mailbox: str, *, total: bool = False) -> dict[str, Any]:
    """The first 50 threads with what a list shows of them."""

    def of(call: str, method: str, path: str) -> dict[str, str]:
        return {"resultOf": call, "name": method, "path": path}

    shown = [
        *("id", "threadId", "mailboxIds", "keywords", "from", "to", "subject", "receivedAt"),
        *("hasAttachment", "preview", "size"),
    ]
    newest = [{"property": "receivedAt", "isAscending": False}]
    calls = [
        ["Email/query", {"accountId": account_id, "filter": {"inMailbox": mailbox},
                         "sort": newest, "collapseThreads": True, "limit": 50,
                         "calculateTotal": total}, "0"],
        ["Email/get", {"accountId": account_id, "#ids": of("0", "Email/query", "/ids"),
                       "properties": ["threadId"]}, "1"],
        ["Thread/get", {"accountId": account_id,
                        "#ids": of("1", "Email/get", "/list/*/threadId")}, "2"],
        ["Email/get", {"accountId": account_id,
                       "#ids": of("2", "Thread/get", "/list/*/emailIds"),
                       "properties": shown}, "3"],
    ]  # fmt: skip
    return {"using": USING, "methodCalls": calls}


def search(account_id: str, text: str) -> dict[str, Any]:
    """A search in everything."""
    arguments = {"accountId": account_id, "filter": {"text": text}, "limit": 50}
    return {"using": USING, "methodCalls": [["Email/query", arguments, "0"]]}


async def fill(world: World) -> None:
    """The messages: every third one answers another."""
    made = []
    for number in range(MESSAGES):
        body = " ".join(_WORDS[(number * 7 + at) % len(_WORDS)] for at in range(60))
        if number % 400 == 0:
            body += " quincunx"
        raw = letter(
            number, f"subject {number}", body, pad=1_800 if number % 5 else 6_000,
            reply_to=number - 1 if number % 3 == 1 else None,
        )  # fmt: skip
        made.append(Item(sealing.make(raw), 1 if number % 4 else 0, (), 1_700_000_000 + number))
        if len(made) == 500:
            await world.house.mail.append.run(1, "INBOX", made)
            made = []


async def measure(name: str, deed: Callable[[], Awaitable[object]], count: int) -> None:
    """Prints what one of `count` costs."""
    gc.collect()
    started = cpu()
    for _ in range(count):
        await deed()
    print(f"{name:48} {(cpu() - started) / count * 1000:7.2f} ms")


async def main() -> None:
    """Fills a mailbox and measures."""
    with tempfile.TemporaryDirectory() as folder:
        feed = Feed()
        db = await open_database(Path(folder) / "kerwen.db", feed)
        world = World(db, feed, Path(folder) / "data")
        await world.start()
        await fill(world)
        ayna = await world.person()
        mailbox = await ayna.inbox()
        await _measure_all(world, ayna, mailbox)
        await world.stop()
        await db.close()


async def _measure_changed(world: World, deed: Callable[[], Awaitable[object]]) -> None:
    """What a page with its total costs when a flag has changed since the last."""
    used, count = 0.0, 20
    for number in range(count):
        how = How.REMOVE if number % 2 else How.ADD
        await world.house.mail.store_flags.run(1, 1, [(1, 1)], Wanted(how, 4))
        started = cpu()
        await deed()
        used += cpu() - started
    print(f"{'first page, with the total, after a change':48} {used / count * 1000:7.2f} ms")


async def _measure_all(world: World, ayna: Person, mailbox: str) -> None:
    sessions, api = world.door.sessions, world.door.areas[0]
    header = ayna.headers["authorization"]
    page = orjson.dumps(first_page(ayna.id, mailbox))
    rare, common = (orjson.dumps(search(ayna.id, text)) for text in ("quincunx", "silver forest"))

    async def ask(body: bytes) -> bytes:
        entry = await sessions.again(header, 1)
        with sessions.running(entry):
            return await api.answer(entry, orjson.loads(body))  # type: ignore[attr-defined, no-any-return]

    def forget(*, views: bool) -> None:
        sessions.close()
        world.house.mail.account_views._kept.clear()
        if views:
            world.house.mail.views._kept.clear()

    for body in (page, rare, common):
        assert b'"error"' not in await ask(body)

    def cold(body: bytes, *, views: bool) -> Callable[[], Awaitable[object]]:
        async def deed() -> object:
            forget(views=views)
            return await ask(body)

        return deed

    def again(body: bytes) -> Callable[[], Awaitable[object]]:
        async def deed() -> object:
            for kept in world.house.mail.account_views._kept.values():
                kept.sorted.clear()  # the question is new, the mailbox is not
            return await ask(body)

        return deed

    await measure("first page of 50 threads, nothing in memory", cold(page, views=True), 10)
    await measure("first page of 50 threads, cold", cold(page, views=False), 20)
    await ask(page)
    await measure("first page of 50 threads, warm", again(page), 50)
    await measure("first page of 50 threads, warm, asked again", lambda: ask(page), 50)
    counted = orjson.dumps(first_page(ayna.id, mailbox, total=True))
    await measure("first page of 50 threads, warm, with the total", again(counted), 50)
    await _measure_changed(world, lambda: ask(counted))
    for name, body in (("25 hits", rare), ("thousands of hits", common)):
        await measure(f"text search, {name}, cold", cold(body, views=False), 5)
        await ask(body)
        await measure(f"text search, {name}, warm", again(body), 5)


if __name__ == "__main__":
    uvloop.run(main())
