"""The log: one JSON object a line on standard error.

It never holds content, tokens, user ids or network addresses. Whoever logs gives the event a
short fixed text and puts what is worth knowing into `extra`. Lines that a request wrote carry
its number (`request`), so that they can be read together.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from typing import Any, Final

import orjson

_OURS: Final = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
}


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON; values that JSON cannot say become text."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _utc(record.created),
            "level": record.levelname.lower(),
            "log": record.name,
            "say": record.getMessage(),
        }
        number = request_number()
        if number:
            line["request"] = number
        for key, value in record.__dict__.items():
            if key not in _OURS:
                line[key] = value
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def describe(error: BaseException) -> list[str]:
    """Where an error comes from, innermost last, without its text: that may hold content.

    Our own `assert` texts and errors of the system (`OSError`) say nothing about people, so
    those are kept.
    """
    told = isinstance(error, AssertionError | OSError | NotImplementedError)
    lines = [
        f"{frame.filename.rpartition('/site-packages/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-12:]
    ]
    lines.append(f"{type(error).__name__}: {error}" if told else type(error).__name__)
    return lines


def request_number() -> int:
    """The number of the running request: its task's, which costs nothing to keep. 0: none."""
    # (the loop's first task is the server itself)
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    if task is None:
        return 0
    number = task.get_name().rpartition("-")[2]
    return int(number) if number.isdigit() and number != "1" else 0


def _utc(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"


def start(level: str) -> None:
    """Sends the whole process's log to standard error, from `level` on."""
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [to_stderr]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("fido2").setLevel(logging.WARNING)  # below that it names people's passkeys
    logging.raiseExceptions = False  # a broken pipe of the log is no reason to shout
