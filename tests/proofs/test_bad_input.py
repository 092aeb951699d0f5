"""Every route of the house, asked in every wrong way: a clear refusal, soon, and nothing leaks.

Always a 4xx with an errcode (or a 2xx where nothing wrong was asked), within five seconds, never
a 5xx; the server's memory does not grow, and it is well at the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kerwen.api.http import Access, Route
from kerwen.api.web import VIEWS
from kerwen.base.config import Config
from kerwen.main import build, make_folders
from tests import postgres
from tests.conftest import KERWEN, FreshServer, Server
from tests.proofs.abuse import Case, cases, filled
from tests.proofs.databases import empty_database
from tests.proofs.wire import Answer, Cut, Person, Wire, q, register

SEED = int(os.environ.get("KERWEN_SEED", "1"))
PATIENCE_S = 5.0
WALKERS = 8
LONG = os.environ.get("KERWEN_LONG") == "1"
REQUESTS_MIN = 10_000
REQUESTS = 10**9 if LONG else 16_000  # of about twice as many; the seed chooses
WARMING = 2_000
GROWTH_MAX = (40 if LONG else 20) * 2**20
_PASSWORD = "a-password-for-the-proofs"


async def routes_of_the_house() -> tuple[Route, ...]:
    """The routes that `kerwen serve` answers, from the house that it builds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(dev=True, data=folder, domain="kerwen.test", cheap_passwords=True)
        make_folders(config)
        house = await build(config)
        app: Any = house.http.app
        routes: tuple[Route, ...] = app.router.routes
        await house.close()
    return routes


class Walker:
    """Somebody who asks; gets a new account when the walk has ended the old one's session."""

    def __init__(self, server: Server, number: int, faults: list[str]) -> None:
        self.server = server
        self.number = number
        self.faults = faults
        self.statuses: Counter[int] = Counter()
        self.slowest_s = 0.0
        self._made = 0
        self._admin: Wire | None = None
        self._wire = Wire(server.url)

    async def settle(self) -> None:
        """A new account with a room, an event, a file: what paths are filled with."""
        self._made += 1
        self.person: Person = await register(
            self.server.url, f"walker{self.number}-{self._made}", _PASSWORD
        )
        me = self.person
        room = (await me.post("createRoom", preset="private_chat"))["room_id"]
        event = await me.say(room, "1", "x")
        mxc = await me.upload(b"x" * 100, "text/plain")
        server, media = mxc.removeprefix("mxc://").split("/")
        self.parts = {
            "roomid": room, "room": room, "eventid": event, "userid": me.user_id,
            "deviceid": me.device_id, "servername": server, "mediaid": media, "txnid": "t",
            "type": "m.room.message", "eventtype": "m.room.message", "statekey": "",
            "kind": "override", "ruleid": "x", "keyname": "displayname", "tag": "u.x",
            "receipttype": "m.read", "filename": "a.txt", "version": "1", "filterid": "0",
            "appno": "1", "sessionid": "s", "token": "x",
        }  # fmt: skip

    async def make_admin(self) -> None:
        """An administrator, for the routes that are theirs."""
        name = f"admin{self.number}"
        command = [KERWEN, "account", "add", name, "--admin", "--password-file", "-"]
        command += ["--data", str(self.server.data)]
        await asyncio.to_thread(
            subprocess.run, command, input=_PASSWORD, text=True, check=True, capture_output=True
        )
        self._admin = Wire(self.server.url)
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": _PASSWORD}
        answer = await self._admin.call("POST", q("login"), body)
        self._admin.token = answer.must()["access_token"]

    async def ask(self, case: Case) -> None:
        """Sends one request and judges the answer."""
        path = filled(case.path, self.parts) + ("?" + case.query if case.query else "")
        body = case.body.replace(b"USER", self.person.user_id.encode())
        body = body.replace(b"DEVICE", self.person.device_id.encode())
        own = self._admin if case.route.access is Access.ADMIN else self.person.wire
        assert own is not None
        token = own.token if case.token == "own" else case.token
        if token == own.token and case.path.startswith(_ENDLESS):
            return
        head = f"{case.method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        if token is not None:
            head += f"authorization: Bearer {token}\r\n"
        head += f"content-length: {len(body)}\r\n\r\n"
        begun = time.monotonic()
        try:
            answer = await self._wire.exchange(case.method, head.encode() + body, PATIENCE_S)
        except TimeoutError:
            self.faults.append(f"no answer in {PATIENCE_S} s: {case}")
            return
        except Cut:
            self.faults.append(f"hung up: {case}")
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        self.statuses[answer.status] += 1
        fault = judge(case, answer)
        if fault:
            self.faults.append(f"{fault}: {case}: {answer}")
        ended = answer.status == 401 and b"M_UNKNOWN_TOKEN" in answer.body
        if case.token == "own" and ended and own is self.person.wire:
            await self.settle()


def judge(case: Case, answer: Answer) -> str:
    """What is wrong with an answer; empty if it is right."""
    if answer.status >= 500:
        return "a 5xx"
    if answer.status < 400:
        return "was taken" if case.refused else ""
    if case.path.startswith(_PAGES):  # of the web app, if it is built
        plain = answer.headers.get("content-type", "").startswith("text/plain")
        return "" if answer.status == 404 and plain else judge_error(answer)
    if case.path.startswith(_WITH_OWN_ERRORS):
        return judge_page_or_oauth(answer)
    fault = judge_error(answer)
    if not fault and case.code and answer.json.get("errcode", case.code) != case.code:
        fault = f"not {case.code}"
    return fault


_WITH_OWN_ERRORS = (
    "/_kerwen/my",
    "/_kerwen/oauth",
    "/_matrix/client/v3/auth/",
)  # pages, and RFC 6749's errors
_ENDLESS = "/jmap/eventsource"  # what it takes lasts as long as the line: tests/jmap
_PAGES = ("/assets/", "/icons/", "/sw.js", "/manifest.webmanifest", *(f"/{view}" for view in VIEWS))


def judge_page_or_oauth(answer: Answer) -> str:
    """Whether an error is a page for people, or reads as RFC 6749 §5.2 says."""
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/html"):
        return "" if b"</html>" in answer.body else "half of a page"
    if not kind.startswith("application/json"):
        return "neither a page nor JSON"
    body = answer.json
    named = re.fullmatch(r"[a-z_]+", str(body.get("error"))) and "error_description" in body
    return "" if named else judge_error(answer)


def judge_error(answer: Answer) -> str:
    """Whether an error reads as CS #standard-error-response says, or as RFC 8620 §3.6.1."""
    if answer.headers.get("content-type") == "application/problem+json":
        body = answer.json
        told = re.match(r"(urn:ietf:params:jmap:error:|about:blank$)", body["type"])
        return "" if told and body["status"] == answer.status else "no problem of JMAP"
    if answer.headers.get("content-type") != "application/json":
        return "an error that is not JSON"
    try:
        body = answer.json
    except ValueError:
        return "an error that is not JSON"
    if answer.status == 401 and "flows" in body:
        return ""  # CS #user-interactive-authentication-api
    if not re.fullmatch(r"([A-Z0-9]+\.)*M_[A-Z_]+", str(body.get("errcode"))):
        return "no errcode"
    if not isinstance(body.get("error"), str):
        return "no error text"
    return ""


@pytest.mark.timeout(180)
async def test_every_route_refuses_nonsense(fresh_server: FreshServer) -> None:
    found = await _walk_all(fresh_server("--cheap-passwords"), REQUESTS)
    assert found >= REQUESTS_MIN


@pytest.mark.timeout(180)
async def test_every_route_on_postgres(
    fresh_server: FreshServer, postgres_server: postgres.Server
) -> None:
    """A part of the walk: PostgreSQL knows other texts and numbers than SQLite."""
    dsn = await empty_database(postgres_server)
    server = fresh_server("--cheap-passwords", "--database", dsn)
    await _walk_all(server, REQUESTS // 4)


async def _walk_all(server: Server, most: int) -> int:
    chance = random.Random(SEED)
    found = cases(await routes_of_the_house(), chance, most)
    faults: list[str] = []
    walkers = [Walker(server, number, faults) for number in range(WALKERS)]
    for walker in walkers:
        await walker.settle()
        await walker.make_admin()
    await _all_walk(walkers, found[:WARMING])  # what is used for the first time is loaded
    before, begun = pss(server.pid), time.monotonic()
    await _all_walk(walkers, found[WARMING:])
    spent_s, grown = time.monotonic() - begun, pss(server.pid) - before
    statuses = sum((walker.statuses for walker in walkers), Counter())
    slowest_s = max(walker.slowest_s for walker in walkers)
    print(f"{len(found)} requests in {spent_s:.1f} s, the slowest took {slowest_s:.2f} s")
    print(f"memory {before / 2**20:.1f} + {grown / 2**20:.1f} MiB")
    print(f"statuses {dict(sorted(statuses.items()))}")
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults[:40])
    assert grown <= GROWTH_MAX
    assert (await Wire(server.url).call("GET", "/_kerwen/health")).status == 200
    assert '"bug"' not in server.log.read_text(), server.log.read_text()[-3000:]
    return len(found)


async def _all_walk(walkers: list[Walker], found: list[Case]) -> None:
    await asyncio.gather(*(_walk(w, found[w.number :: WALKERS]) for w in walkers))


async def _walk(walker: Walker, found: list[Case]) -> None:
    for case in found:
        await walker.ask(case)


def pss(pid: int) -> int:
    """The memory that a process costs, in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) * 1024  # type: ignore[index]
