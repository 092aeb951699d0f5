"""`kerwen alias …`, `list …` and `dkim …`: by the running server, else on the data folder."""

from __future__ import annotations

import argparse


def add_parsers(
    alias: argparse.ArgumentParser, dkim: argparse.ArgumentParser, lists: argparse.ArgumentParser
) -> list[argparse.ArgumentParser]:
    """The commands below `alias` and `dkim`; each one's flags become the deed's arguments."""
    made: list[argparse.ArgumentParser] = []

    below = alias.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for word, words in (
        ("add", "let a name lead to an account, or to an address elsewhere"),
        ("drop", "a name no longer leads there"),
    ):
        command = below.add_parser(word, help=words)
        command.add_argument("name", metavar="NAME", help="the part before @; * gets all the rest")
        command.add_argument("target", metavar="TARGET", help="an account's name or an address")
        command.set_defaults(do=f"alias {word}")
        made.append(command)
    command = below.add_parser("list", help="every name with its targets")
    command.set_defaults(do="alias list")
    made.append(command)

    below = dkim.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for word, words in (
        ("list", "the pairs of keys, and which one signs"),
        ("prepare", "make a new pair and print its records; it does not sign yet"),
        ("rotate", "let the prepared pair sign"),
        ("drop", "remove a pair that does not sign"),
    ):
        command = below.add_parser(word, help=words)
        if word == "drop":
            command.add_argument("name", metavar="NAME", help="as `kerwen dkim list` shows it")
        command.set_defaults(do=f"dkim {word}")
        made.append(command)
    return made + _lists(lists)


def _lists(lists: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    below = lists.add_subparsers(title="commands", required=True, metavar="COMMAND")
    made = []
    for word, words in (
        ("add", "make a mailing list"),
        ("drop", "remove a list"),
        ("join", "make somebody a member"),
        ("leave", "somebody is no member any more"),
        ("show", "all lists, or the members of one"),
    ):
        command = below.add_parser(word, help=words)
        optional = {"nargs": "?"} if word == "show" else {}
        command.add_argument("name", metavar="NAME", help="the part before @", **optional)  # type: ignore[arg-type]
        if word in ("join", "leave"):
            command.add_argument("target", metavar="ADDRESS", help="an account's name or address")
        if word == "add":
            command.add_argument("--owner", required=True, metavar="NAME", help="an account here")
            command.add_argument("--title", metavar="TEXT", help="what people see")
            command.add_argument(
                "--posting", choices=("members", "owner", "anyone"), help="who may write to it"
            )
        command.set_defaults(do=f"list {word}")
        made.append(command)
    return made
