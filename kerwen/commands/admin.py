"""`kerwen room …`, `media …`, `server …`: by the running server, else on the data folder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

_ROOM = ("room", "ROOM", "its id")
_MEDIA = ("media", "URI", "mxc://SERVER/ID")
_NAME = ("name", "NAME", "the part before @ or :")
_COMMANDS: dict[str, tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...]] = {
    "room": (
        ("list", "all rooms, or those whose id contains TEXT", ()),
        ("show", "one room by its numbers", (_ROOM,)),
        ("block", "let nobody enter a room", (_ROOM,)),
        ("unblock", "let people enter it again", (_ROOM,)),
        ("purge-history", "remove its messages that are older than so many days", (_ROOM,)),
        ("shut-down", "show everybody out and remove all of it", (_ROOM,)),
    ),
    "media": (
        ("list", "an account's files", (_NAME,)),
        ("quarantine", "keep a file from everybody", (_MEDIA,)),
        ("release", "give it out again", (_MEDIA,)),
        ("delete", "delete a file", (_MEDIA,)),
    ),
    "server": (
        ("statistics", "the house in numbers", ()),
        ("audit", "the newest deeds of administrators", ()),
        ("reports", "what people reported", ()),
        ("close-report", "a report is handled", (("report", "NUMBER", "its number"),)),
        ("mail-reports", "what other servers report of our mail, and of TLS", ()),
        ("removals", "removals under way, and those that were", ()),
        (
            "notice",
            "tell an account something, in its room of notices",
            (_NAME, ("text", "TEXT", "what it is told")),
        ),
    ),
}
WORDS = {
    "room": "look after rooms",
    "media": "look after people's files",
    "server": "numbers, reports, notices, the audit log",
}


def add_parsers(groups: Mapping[str, argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """The commands below each group; each one's flags become the deed's arguments."""
    made: list[argparse.ArgumentParser] = []
    for group, parser in groups.items():
        below = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
        for word, words, given in _COMMANDS[group]:
            command = below.add_parser(word, help=words)
            command.set_defaults(do=f"{group} {word}")
            for name, metavar, what in given:
                kind = int if name == "report" else str
                command.add_argument(name, metavar=metavar, help=what, type=kind)
            _add_flags(group, word, command)
            made.append(command)
    return made


def _add_flags(group: str, word: str, command: argparse.ArgumentParser) -> None:
    if (group, word) == ("room", "list"):
        command.add_argument("text", nargs="?", metavar="TEXT", help="a part of the id, an alias")
    elif (group, word) == ("room", "purge-history"):
        command.add_argument(
            "--days", type=int, required=True, metavar="N", help="how old a message must be"
        )
    elif (group, word) == ("server", "mail-reports"):
        command.add_argument("--days", type=int, metavar="N", help="how far back; default 30")
    elif (group, word) == ("server", "audit"):
        command.add_argument("--count", type=int, metavar="N", help="how many")
