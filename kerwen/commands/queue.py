"""`kerwen queue …`: by the server if it runs, else on the data folder itself."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any

from kerwen.base.config import Config, folder_of

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def add_parsers(queue: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands below `queue`."""
    deeds = queue.add_subparsers(title="commands", required=True, metavar="COMMAND")
    made: list[argparse.ArgumentParser] = []

    def deed(name: str, words: str) -> argparse.ArgumentParser:
        command = deeds.add_parser(name, help=words)
        command.set_defaults(do=f"queue {name}")
        made.append(command)
        return command

    deed("list", "show what waits to be sent, and what was answered last")
    retry = deed("retry", "try a message now, also one that is held; or all")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("number", nargs="?", type=int, metavar="NUMBER", help="of the list")
    which.add_argument("--all", action="store_true", help="all that are not held")
    for name, words in (
        ("hold", "let a message wait until it is retried by its number"),
        ("drop", "remove a message; nobody is told"),
    ):
        deed(name, words).add_argument("number", type=int, metavar="NUMBER", help="of the list")
    return made


def run(options: argparse.Namespace, config: Callable[[argparse.Namespace], Config]) -> int:
    """Does one deed and prints what came of it."""
    from kerwen.api import admin_socket
    from kerwen.commands.account import alone

    data = folder_of(vars(options))

    def ask(asked: dict[str, Any]) -> dict[str, Any]:
        told = admin_socket.ask(data, asked) if data.is_dir() else None
        return asyncio.run(alone(config(options), asked)) if told is None else told

    asked = {"do": options.do}
    if getattr(options, "number", None) is not None:
        asked["number"] = options.number
    while True:
        told = ask(asked)
        if "refused" in told:
            print(f"kerwen: {told['refused']}", file=sys.stderr)
            return 1
        after = _show(options.do, told["done"])
        if after is None:
            return 0
        asked["after"] = after


def _show(deed: str, done: Any) -> int | None:
    """Prints an answer; where the next page begins, if there is one."""
    if deed == "queue list":
        for row in done["messages"]:
            _show_message(row)
        return done["next"]  # type: ignore[no-any-return]
    if done is not None:
        print(f"recipients: {done['recipients']}")
    return None


def _show_message(row: dict[str, Any]) -> None:
    sender = row["sender"] or "<>"
    print(f"{row['number']}  {time_of(row['age_s'])} old  {row['size']} bytes  from {sender}")
    for to in row["recipients"]:
        due = "held" if to["due_s"] is None else f"next in {time_of(to['due_s'])}"
        print(f"    {to['address']}  tries {to['tries']}  {due}")
        if to["answer"]:
            print(f"        {to['answer']}")
    if row["more"]:
        print(f"    and {row['more']} more")


def time_of(seconds: int) -> str:
    """A time as people say it."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds} s"
