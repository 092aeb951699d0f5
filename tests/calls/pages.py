"""LiveKit's client in Chromium, in calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.calls.stage import ADDRESS, Person, Stage, stage
from tests.oauth import chromium as browsers
from tests.oauth.chromium import Chromium, Tab

FAKE = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]


class Page:
    """A tab with LiveKit's client in it, and who sits before it."""

    def __init__(self, tab: Tab, person: Person) -> None:
        self.tab = tab
        self.person = person

    async def join(self, room_id: str, **more: Any) -> None:
        """Comes in; `key`, `simulcast`, `publish`, `size` as the page has them."""
        given = await asyncio.to_thread(self.person.call_pass, room_id)
        await self.tab.run(
            f"join({ {**given, **more}!r})".replace("True", "true").replace("False", "false")
        )

    async def figures(self, other: Page | Person) -> dict[str, float]:
        """What came of somebody's."""
        who = other if isinstance(other, Person) else other.person
        found = await self.tab.run("figures()")
        figures: dict[str, float] = found.get(who.identity, {})
        return figures

    async def gets(self, other: Page | Person, frames: int = 50, seconds: float = 15) -> float:
        """Waits until so many more frames of somebody's are decoded, and sound; how long."""
        before = await self.figures(other)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            now = await self.figures(other)
            more = now.get("frames", 0) - before.get("frames", 0)
            louder = now.get("energy", 0) - before.get("energy", 0)
            if more >= frames and louder > 0.001:
                return time.monotonic() - began
            await asyncio.sleep(0.1)
        raise AssertionError(f"{before} {now} {await self.tab.run('seen')}")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Chromium]:
    """Chromium with a camera that shows a ball and a microphone that beeps."""
    with tempfile.TemporaryDirectory(
        prefix="kerwen-chromium",
        ignore_cleanup_errors=True,  # its children may write on
    ) as home:
        async with browsers.chromium(Path(home), *FAKE) as found:
            yield found


async def open_page(scene: Stage, chromium: Chromium, name: str, page: str = "call.html") -> Page:
    """A page of a new person's."""
    person = await asyncio.to_thread(scene.person, name)
    tab = await chromium.tab()
    await tab.go(scene.page(page))
    return Page(tab, person)


async def encrypted() -> None:
    """Two pages in an encrypted call; one with a wrong key and one with none decode nothing; a
    page that is killed is gone for the others."""
    async with stage() as scene, browser() as chromium, browser() as doomed:
        a, wrong, bare = [await open_page(scene, chromium, n) for n in ("ayna", "wepa", "kakajan")]
        b = await open_page(scene, doomed, "batyr")
        room_id = a.person.room(b.person, wrong.person, bare.person)
        await a.join(room_id, key="right")
        await b.join(room_id, key="right")
        await asyncio.gather(a.gets(b), b.gets(a))
        await wrong.join(room_id, key="wrong", publish=False)
        await bare.join(room_id, publish=False)
        await a.gets(b)
        heard = await wrong.figures(a)
        assert heard["frames"] == 0, heard
        raw = await bare.figures(a)
        assert raw["received"] > 20, raw
        assert raw["frames"] <= 3, raw  # a key frame's clear head may look like one
        print("first frame", await b.tab.run("seen"))
        began = time.monotonic()
        doomed.kill()
        while (await a.figures(b)) != {}:
            # Janus needs up to 2.2 s to miss the media; a busy machine adds to it
            assert time.monotonic() - began < 4, "who is killed is gone soon"
            await asyncio.sleep(0.05)
        print(f"gone {time.monotonic() - began:.1f} s after the page was killed")


async def layers() -> None:
    """Three layers: a receiver gets the one that it asks for, and the publisher sends no more than
    anybody looks at."""
    async with stage() as scene, browser() as chromium:
        a, b = [await open_page(scene, chromium, name) for name in ("ayna", "batyr")]
        room_id = a.person.room(b.person)
        await a.join(room_id, key="k", simulcast=True, size=[1280, 720])
        await b.join(room_id, key="k", publish=False)
        for quality, width in (("LOW", 320), ("MEDIUM", 640), ("HIGH", 1280)):
            await b.tab.run(f"quality('{quality}')")
            await _until(lambda width=width: _has(b, a, width), 12, f"{quality} is {width} wide")
        await b.tab.run("quality('LOW')")
        await _until(lambda: _has(b, a, 320), 10, "low again")
        await asyncio.sleep(6)
        before = await a.tab.run("layers()")
        await asyncio.sleep(2)
        after = await a.tab.run("layers()")
        sent = {rid: after[rid] - before[rid] for rid in after}
        assert sent["q"] > 10, sent
        assert sent["f"] == 0, sent


async def _has(page: Page, other: Page, width: int) -> bool:
    return (await page.figures(other)).get("width") == width


async def _until(so: Callable[[], Awaitable[bool]], seconds: float, what: str) -> float:
    began = time.monotonic()
    while not await so():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def broken_line() -> None:
    """The way between is cut for five seconds; then the signalling socket breaks: nobody joins
    anew by hand, and media goes on."""
    async with stage() as scene, browser() as chromium:
        a, b = [await open_page(scene, chromium, name) for name in ("ayna", "batyr")]
        room_id = a.person.room(b.person)
        await a.join(room_id, key="k")
        await b.join(room_id, key="k")
        await asyncio.gather(a.gets(b), b.gets(a))
        _cut(True)
        await asyncio.sleep(2)
        before = await a.figures(b)
        await asyncio.sleep(3)
        assert (await a.figures(b))["frames"] == before["frames"], "nothing comes"
        _cut(False)
        spent = await a.gets(b, 20)
        print(f"media goes on {spent:.1f} s after a cut of 5 s")
        await a.tab.run("room.simulateScenario('signal-reconnect')")
        await a.gets(b, 20)
        events = [name for name, *_ in (await a.tab.run("seen"))["events"]]
        assert "Disconnected" not in events, events
        assert "SignalReconnecting" in events, events
        assert "ParticipantDisconnected" not in events, events  # it was the same line
        others = [name for name, *_ in (await b.tab.run("seen"))["events"]]
        assert "ParticipantDisconnected" not in others, others
        await b.gets(a, 20)


def _cut(cut: bool) -> None:
    """Takes the address away that media goes by, or gives it back."""
    subprocess.run(["ip", "link", "set", "d0", "down" if cut else "up"], check=True)
    if cut:  # when the link is up the kernel puts the route back
        way = ["ip", "route", "del", "table", "local", "local", ADDRESS, "dev", "d0"]
        subprocess.run(way, check=True)


async def relays() -> None:
    """Everything through TURN: by UDP, by TCP, by TLS."""
    for kind in ("udp", "tcp", "tls"):
        await _relay(kind)


async def _relay(kind: str) -> None:
    async with stage("--calls-relay", "on", turn=kind) as scene, trusting(scene) as chromium:
        a, b = [await open_page(scene, chromium, name) for name in ("ayna", "batyr")]
        room_id = a.person.room(b.person)
        await a.join(room_id, key="k")
        await b.join(room_id, key="k")
        await asyncio.gather(a.gets(b), b.gets(a))
        ways = await a.tab.run("ways()")
        assert ways == [f"relay/{kind}"], ways
        print(kind, ways, await a.figures(b))


@contextlib.asynccontextmanager
async def trusting(scene: Stage) -> AsyncIterator[Chromium]:
    """A browser that trusts the authority of the TURN server's certificate."""
    with tempfile.TemporaryDirectory(prefix="kerwen-home", ignore_cleanup_errors=True) as home:
        store = Path(home) / ".pki" / "nssdb"
        store.mkdir(parents=True)
        database = ["-d", f"sql:{store}"]
        if scene.authority is not None:
            words = ["-A", "-t", "C,,", "-n", "t", "-i", str(scene.authority)]
            for command in (["-N", "--empty-password"], words):
                await asyncio.to_thread(
                    subprocess.run, ["certutil", *database, *command], check=True
                )
        before, os.environ["HOME"] = os.environ.get("HOME", ""), home
        try:
            async with browser() as found:
                yield found
        finally:
            os.environ["HOME"] = before


async def element_call() -> None:
    """Two pages of Element Call as it comes from npm, in an encrypted call; one is killed, and we
    say its leave."""
    async with stage() as scene, browser() as chromium, browser() as doomed:
        a, room_id = await _host(scene, chromium, "ayna", None)
        b, _ = await _host(scene, doomed, "batyr", room_id)
        for page in (a, b):
            await page.tab.run(f"void start({_host_words(page, room_id)})")
        await asyncio.gather(
            *(_until(lambda p=p: _plays(p), 40, "Element Call plays") for p in (a, b))
        )
        said = await b.tab.run("said")
        assert ["delay", 3_600_000] in said, said  # it found that leaves can be handed over
        assert "perParticipantE2EE=true" in await a.tab.run("inside().location.href")
        began = time.monotonic()
        doomed.kill()
        await _until(lambda: _left(a, b, room_id), 8, "its leave is said")
        print(f"left {time.monotonic() - began:.1f} s after the page was killed")


async def _host(
    scene: Stage, chromium: Chromium, name: str, room_id: str | None
) -> tuple[Page, str]:
    page = await open_page(scene, chromium, name, "element_call.html")
    if room_id is None:
        levels = {"org.matrix.msc3401.call.member": 0}
        body = {
            "preset": "public_chat",
            "name": "A call",
            "power_level_content_override": {"events": levels},
        }
        room_id = page.person.ask("POST", "/_matrix/client/v3/createRoom", body)["room_id"]
    else:
        page.person.ask("POST", f"/_matrix/client/v3/join/{room_id}", {})
    return page, str(room_id)


def _host_words(page: Page, room_id: str) -> str:
    person = page.person
    who = {
        "url": person.url,
        "token": person.token,
        "user": person.user_id,
        "device": person.device_id,
    }
    return json.dumps({"person": who, "roomId": room_id})


async def _plays(page: Page) -> bool:
    now = await page.tab.run("figures().catch(() => ({frames: 0, energy: 0}))")
    return bool(now["frames"] > 60 and now["energy"] > 0.001)


async def _left(page: Page, other: Page, room_id: str) -> bool:
    path = f"/_matrix/client/v3/rooms/{room_id}/state"
    events: Any = await asyncio.to_thread(page.person.ask, "GET", path)
    mine = [
        e
        for e in events
        if e["type"].endswith("call.member") and other.person.user_id in e["state_key"]
    ]
    assert mine, "it was in the call"
    return not mine[0]["content"]


async def figures() -> None:
    """What a call costs: CPU and memory of Janus and of Kerwen, for four pages that all see and
    hear one another for 20 s. No test; for `docs/speed.md`."""
    async with stage() as scene, browser() as chromium:
        idle = [_cost(scene.media.pid("janus")), _cost(scene.server.pid)]
        print(f"idle: Janus {idle[0][1]:.0f} MB, Kerwen {idle[1][1]:.0f} MB")
        pages = [await open_page(scene, chromium, f"p{number}") for number in range(4)]
        room_id = pages[0].person.room(*(page.person for page in pages[1:]))
        for page in pages:
            await page.join(room_id, key="k", simulcast=True)
        await asyncio.sleep(5)
        pids = {"Janus": scene.media.pid("janus"), "Kerwen": scene.server.pid}
        before = {name: _cost(pid) for name, pid in pids.items()}
        seen = await pages[0].tab.run("figures()")
        await asyncio.sleep(20)
        for name, pid in pids.items():
            cpu, memory = _cost(pid)
            print(f"{name}: {(cpu - before[name][0]) / 20:.2%} of a core, {memory:.1f} MB")
        now = await pages[0].tab.run("figures()")
        rates = [(now[who]["frames"] - seen[who]["frames"]) / 20 for who in now]
        print(f"frames a second of each at the first page: {rates}, lost", _lost(now))
        firsts = [round((await page.tab.run("seen"))["first"]) for page in pages[1:]]
        print(f"first picture after connect(), ms: {firsts}")


def _lost(now: dict[str, Any]) -> int:
    return sum(one["lost"] for one in now.values())


def _cost(pid: int) -> tuple[float, float]:
    """(CPU seconds so far, MB resident) of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks, pages = int(words[11]) + int(words[12]), int(words[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


SCENES: dict[str, Any] = {
    "element_call": element_call,
    "figures": figures,
    "encrypted": encrypted,
    "layers": layers,
    "broken_line": broken_line,
    "relays": relays,
}
