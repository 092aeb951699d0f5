"""The log tells what happened and never to whom."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

from kerwen.base import log


def line(**extra: object) -> dict[str, Any]:
    record = logging.getLogger("kerwen.x").makeRecord(
        "kerwen.x", logging.WARNING, __file__, 1, "%s happened", ("it",), None, extra=extra
    )
    found: dict[str, Any] = json.loads(log.JsonLines().format(record))
    return found


def test_a_line() -> None:
    told = line(room=7, at_disk=True)
    assert told.pop("at").endswith("Z")
    assert told == {
        "level": "warning",
        "log": "kerwen.x",
        "say": "it happened",
        "room": 7,
        "at_disk": True,
    }


def test_what_json_cannot_say_becomes_text() -> None:
    assert line(kind=KeyError)["kind"] == "<class 'KeyError'>"
    assert line(table={1: object})["table"]["1"].startswith("<class")


def test_an_error_keeps_its_place_and_loses_its_words() -> None:
    def secretly() -> None:
        raise ValueError("the body of somebody's message")

    try:
        secretly()
    except ValueError as error:
        told = log.describe(error)
    assert told[-1] == "ValueError"
    assert told[-2].endswith(" secretly")
    assert "somebody" not in json.dumps(told)


def test_errors_of_the_system_and_of_ours_keep_their_words() -> None:
    for error in (OSError(28, "No space left on device"), AssertionError("our own words")):
        assert str(error) in log.describe(error)[-1]


async def test_lines_of_one_request_carry_its_number() -> None:
    async def request() -> tuple[int, int]:
        first = line()["request"]
        await asyncio.sleep(0)
        return first, line()["request"]

    first, second = await asyncio.gather(
        asyncio.create_task(request()), asyncio.create_task(request())
    )
    assert first[0] == first[1] != second[0] == second[1]


def test_outside_a_request_there_is_no_number() -> None:
    assert "request" not in line()


def test_an_exception_in_the_log(capsys: Any) -> None:
    record_of = logging.getLogger("kerwen.y").makeRecord
    try:
        raise RuntimeError("secret")
    except RuntimeError:
        record = record_of("kerwen.y", 40, __file__, 1, "bug", (), sys.exc_info())
    told = log.JsonLines().format(record)
    assert "secret" not in told
    assert json.loads(told)["error"][-1] == "RuntimeError"
    assert "\n" not in told
