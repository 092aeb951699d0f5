"""Nonsense from an administrator is refused, never a fault of ours."""

from __future__ import annotations

import random
import re
from typing import Any
from urllib.parse import quote

from kerwen.api.admin.table import BASE
from kerwen.api.http import Access
from tests.admin.desk import desk_of
from tests.proofs.abuse import NO_OBJECT, NOT_JSON
from tests.rooms.house import House

WORDS = ["", "@", "@ayna:kerwen.test", "@ÄÖ:kerwen.test", "!x", "!a:b", "#a:b", "mxc://", "-1", "0"]
WORDS += ["9" * 30, "x" * 300, "\u202e", "%00", "'; drop table", "null", "true", "1e9", " "]
VALUES: list[Any] = [None, True, -1, 0, 1, 2**31, 2**63, 2**64, -(2**70), 1.5, "", "x" * 70_000]
VALUES += ["\0", "\ud800", [], [[]], {}, {"a": None}, "@ayna:kerwen.test", 10**40]


async def test_odd_paths_queries_and_bodies(both: House) -> None:
    desk = await desk_of(both)
    await both.person("ayna")
    dice = random.Random(7)
    seen: set[int] = set()
    await desk.confirm()
    for line in both.messenger.admin.make_table().lines:
        if line.access is Access.ANYONE or line.path == f"{BASE}/confirm":
            continue
        fields = getattr(line.body, "__struct_fields__", ()) if line.body else ()
        for turn in range(8):
            path = re.sub(r"\{\w+\}", lambda m: quote(dice.choice(WORDS), safe=""), line.path)
            query = "&".join(f"{q.name}={quote(dice.choice(WORDS))}" for q in line.query)
            body: Any = {name: dice.choice(VALUES) for name in fields}
            if line.method != "GET" and turn < 4:
                body = dice.choice([*NOT_JSON.values(), *NO_OBJECT.values()])
            answer = await both.call(desk.person.token, line.method, path, body, query)
            seen.add(answer.status)
            assert answer.status < 500, (line.method, path, query, body, answer)
    assert seen >= {200, 400, 404}
