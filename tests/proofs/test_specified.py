"""Ten thousand requests made from the specification's data, to each database engine.

Each is answered within five seconds and never with a 5xx; errors read as specified; the memory of
the server does not grow, and it is well at the end. `KERWEN_SEED` chooses others; it is printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import Any

import pytest

from tests import postgres
from tests.api.asking import EVENT_TYPES, Asking, Call, Pool
from tests.api.operations import OPERATIONS
from tests.conftest import FreshServer, Server
from tests.proofs.databases import empty_database
from tests.proofs.test_bad_input import judge_error, pss
from tests.proofs.wire import Answer, Cut, Person, Wire, register

SEED = int(os.environ.get("KERWEN_SEED", "1"))
REQUESTS = int(os.environ.get("KERWEN_REQUESTS", "10000"))
WARMING = REQUESTS // 4
ASKERS = 8
PATIENCE_S = 5.0
GROWTH_MAX = 24 * 2**20
GRANTED_MIN = 110  # operations that said 200 at least once: the requests are no mere noise
_PASSWORD = "a-password-for-the-proofs"


class Asker:
    """Somebody who asks; gets a new account when a request has ended the old one's session."""

    def __init__(self, server: Server, number: int, chance: random.Random) -> None:
        self._url = server.url
        self._number = number
        self._made = 0
        self._chance = chance
        self._wire = Wire(server.url)
        self.asking = Asking(chance)
        self.pool = Pool(_PASSWORD)
        self.granted: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.slowest_s = 0.0

    async def settle(self) -> None:
        """A new account with a room, events and a file: what requests may name."""
        self._made += 1
        self.me: Person = await register(self._url, f"asker{self._number}-{self._made}", _PASSWORD)
        me, pool = self.me, Pool(_PASSWORD)
        for preset in ("private_chat", "public_chat"):
            room = (await me.post("createRoom", preset=preset))["room_id"]
            pool.add("roomid", room)
            pool.add("eventid", *[await me.say(room, str(n), "salam") for n in range(3)])
        server, media = (
            (await me.upload(b"x" * 100, "text/plain")).removeprefix("mxc://").split("/")
        )
        pool.add("servername", server)
        pool.add("mediaid", media)
        pool.add("userid", me.user_id, me.user_id, "@asker0-1:kerwen.test", "@nobody:kerwen.test")
        pool.add("deviceid", me.device_id)
        pool.add("type", *EVENT_TYPES[:12])
        pool.add("type", *self._chance.sample(EVENT_TYPES, 8))
        for name, values in _WORDS.items():
            pool.add(name, *values)
        self.pool = pool

    async def ask(self) -> None:
        """Sends one request and judges the answer."""
        operation = self.asking.operation()
        chance = self._chance.random()
        token = None if chance < 0.03 else "x" if chance < 0.04 else self.me.token
        call = self.asking.call(operation, self.pool, token)
        head = f"{operation.method} {call.path}"
        head += f"?{call.query}" if call.query else ""
        head += " HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        if call.token is not None:
            head += f"authorization: Bearer {call.token}\r\n"
        head += f"content-length: {len(call.body)}\r\n\r\n"
        begun = time.monotonic()
        try:
            answer = await self._wire.exchange(
                operation.method, head.encode() + call.body, PATIENCE_S
            )
        except TimeoutError:
            self.faults.append(f"no answer in {PATIENCE_S} s: {call}")
            return
        except Cut:
            self.faults.append(f"hung up: {call}")
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
        self.statuses[answer.status] += 1
        await self._judge(call, answer)

    async def _judge(self, call: Call, answer: Answer) -> None:
        if answer.status >= 500:
            self.faults.append(f"a 5xx: {call}: {answer}")
        elif answer.status >= 400:
            fault = judge_error(answer)
            if fault:
                self.faults.append(f"{fault}: {call}: {answer}")
            elif b"M_UNKNOWN_TOKEN" in answer.body and call.token == self.me.token:
                await self.settle()
        else:
            self.granted.add(call.operation.id)
        if len(answer.body) < 100_000 and "json" in answer.headers.get("content-type", ""):
            self.pool.learn(answer.json)


_WORDS: dict[str, tuple[str, ...]] = {
    "txnid": ("1", "2", "3"),
    "statekey": ("", "x"),
    "tag": ("u.x", "m.favourite"),
    "keyname": ("displayname", "avatar_url", "m.tz", "test.x"),
    "kind": ("override", "underride", "content", "room", "sender"),
    "ruleid": (".m.rule.master", "x", "salam"),
    "scope": ("global",),
    "receipttype": ("m.read", "m.read.private", "m.fully_read"),
    "reltype": ("m.thread", "m.annotation", "m.replace"),
    "filename": ("a.txt",),
    "filterid": ("0", "1"),
    "version": ("1", "2"),
    "sessionid": ("s1", "s2"),
    "keyid": ("signed_curve25519:AAAA", "ed25519:BBBB"),
    "roomversion": ("1", "10", "11", "12"),
    "roomalias": ("#x:kerwen.test", "#y:kerwen.test"),
    "username": ("somebody", "asker0-1"),
    "newpassword": (_PASSWORD,),
    "password": (_PASSWORD,),
    "width": ("32",),
    "height": ("32",),
    "method": ("scale", "crop"),
    "dir": ("b", "f"),
    "filter": ('{"room":{"timeline":{"limit":3}}}', "0"),
    "searchterm": ("salam",),
}


async def test_every_operation_as_specified(fresh_server: FreshServer) -> None:
    await _ask_all(fresh_server("--cheap-passwords"))


async def test_every_operation_on_postgres(
    fresh_server: FreshServer, postgres_server: postgres.Server
) -> None:
    dsn = await empty_database(postgres_server)
    await _ask_all(fresh_server("--cheap-passwords", "--database", dsn))


async def _ask_all(server: Server) -> None:
    print(f"KERWEN_SEED={SEED}")
    askers = [Asker(server, n, random.Random(SEED * 1_000 + n)) for n in range(ASKERS)]
    for asker in askers:
        await asker.settle()
    await _turns(askers, WARMING)
    before, begun = pss(server.pid), time.monotonic()
    await _turns(askers, REQUESTS - WARMING)
    spent_s, grown = time.monotonic() - begun, pss(server.pid) - before
    statuses = sum((asker.statuses for asker in askers), Counter[int]())
    granted = set[str]().union(*(asker.granted for asker in askers))
    faults = [fault for asker in askers for fault in asker.faults]
    slowest_s = max(asker.slowest_s for asker in askers)
    print(f"{statuses.total()} requests, the slowest took {slowest_s:.2f} s; {spent_s:.1f} s")
    print(
        f"memory {before / 2**20:.1f} + {grown / 2**20:.1f} MiB; {dict(sorted(statuses.items()))}"
    )
    print(f"granted {len(granted)}; never: {sorted({o.id for o in OPERATIONS} - granted)}")
    assert not faults, f"seed {SEED}: {len(faults)} faults\n" + "\n".join(faults[:40])
    assert statuses.total() >= REQUESTS
    assert len(granted) >= GRANTED_MIN
    assert grown <= GROWTH_MAX
    assert (await Wire(server.url).call("GET", "/_kerwen/health")).status == 200
    assert '"bug"' not in server.log.read_text(), server.log.read_text()[-3000:]


async def _turns(askers: list[Asker], count: int) -> None:
    async def turns(asker: Asker) -> Any:
        for _ in range(-(-count // ASKERS)):
            await asker.ask()

    await asyncio.gather(*(turns(asker) for asker in askers))


@pytest.mark.parametrize("seed", [1, 2])
def test_equal_seeds_draw_equal_requests(seed: int) -> None:
    pool = Pool("x")
    pool.add("roomid", "!a:b", "!c:d")
    first, second = (Asking(random.Random(seed)) for _ in range(2))
    for _ in range(500):
        operation = first.operation()
        assert second.operation() is operation
        assert first.call(operation, pool, None) == second.call(operation, pool, None)
