"""`kerwen mail import …`: mail of another server or of files, by the running server, else on the
data folder itself. What was taken is not taken again, so it may be broken off at any moment."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kerwen.base.config import BadConfig, Config, folder_of

_KINDS = (
    ("mbox", "one file of many messages"),
    ("maildir", "a directory with cur and new, and folders below it"),
    ("archive", "a .zip or .tar of mbox files, Maildirs or .eml files; Takeout, our own export"),
)
Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def add_parsers(mail: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands below `mail`."""
    below = mail.add_subparsers(title="commands", required=True, metavar="COMMAND")
    importing = below.add_parser("import", help="take mail over from elsewhere")
    kinds = importing.add_subparsers(title="from", required=True, metavar="KIND")
    made = []
    imap = kinds.add_parser("imap", help="all folders of an account at another server")
    imap.add_argument("name", metavar="NAME", help="whose mailbox here")
    imap.add_argument("--from", dest="server", required=True, metavar="HOST[:PORT]")
    imap.add_argument("--user", required=True, metavar="USER", help="the name there")
    imap.add_argument("--password-file", metavar="FILE", help="the password there; - is input")
    imap.add_argument(
        "--security", choices=("tls", "starttls", "none"), help="default: tls, starttls at 143"
    )
    made.append(imap)
    for kind, words in _KINDS:
        command = kinds.add_parser(kind, help=words)
        command.add_argument("name", metavar="NAME", help="whose mailbox here")
        command.add_argument("file", metavar="PATH")
        command.add_argument(
            "--into", default="", metavar="MAILBOX", help="for what names no folder itself"
        )
        made.append(command)
    for command in made:
        command.set_defaults(quiet=False)
    return made


def run(options: argparse.Namespace, config: Callable[[argparse.Namespace], Config]) -> int:
    """Begins it, and prints how far it is until it ends."""
    from kerwen.api import admin_socket

    asked = _imap(options) if "server" in options else _files(options)
    data = folder_of(vars(options))
    if data.is_dir() and admin_socket.ask(data, {"do": "ping"}) is not None:

        async def ask(what: dict[str, Any]) -> dict[str, Any]:
            told = admin_socket.ask(data, what)
            return {"refused": "the server has stopped"} if told is None else told

        try:
            return asyncio.run(_follow(ask, asked))
        except (OSError, ValueError):
            print("kerwen: the server has stopped; give the command again", file=sys.stderr)
            return 1
    return asyncio.run(_alone(config(options), asked))


def _imap(options: argparse.Namespace) -> dict[str, Any]:
    from kerwen.commands.account import read_password

    host, _, port = options.server.rpartition(":") if ":" in options.server else (
        options.server, "", ""
    )  # fmt: skip
    if port and not (port.isascii() and port.isdigit()):
        raise BadConfig(f"--from {options.server}: write HOST or HOST:PORT")
    number = int(port or (993 if options.security in (None, "tls") else 143))
    security = options.security or ("starttls" if number == 143 else "tls")
    return {
        "do": "mail import imap", "name": options.name, "host": host, "port": number,
        "user": options.user, "password": read_password(options.password_file),
        "security": security,
    }  # fmt: skip


def _files(options: argparse.Namespace) -> dict[str, Any]:
    path = Path(options.file).absolute()
    return {
        "do": "mail import files",
        "name": options.name,
        "file": str(path),
        "folder": options.into,
    }


async def _follow(ask: Ask, asked: dict[str, Any]) -> int:
    told = await ask(asked)
    if "refused" in told:
        print(f"kerwen: {told['refused']}", file=sys.stderr)
        return 1
    number, notes = told["done"], 0
    while True:
        told = await ask({"do": "mail import step", "job": number})
        if "refused" in told:
            print(f"kerwen: {told['refused']}", file=sys.stderr)
            return 1
        done = told["done"]
        for note in done["notes"][notes:]:
            print(note)
        notes = len(done["notes"])
        _show(done)
        if done["finished"]:
            break
    if done["error"]:
        print(f"kerwen: {done['error']}", file=sys.stderr)
        print("kerwen: give the command again, and it goes on from here", file=sys.stderr)
        return 1
    return 0


def _show(done: dict[str, Any]) -> None:
    of = f" of {done['total']}" if done["total"] else ""
    line = f"{done['taken'] + done['known']}{of} messages: {done['taken']} taken"
    line += f" ({done['bytes'] / 1e6:.1f} MB), {done['known']} were here"
    if done["left_out"]:
        line += f", {done['left_out']} left out (too long)"
    if done["finished"]:
        print(line + ("" if done["error"] else "; done"))
    else:
        print(f"{line}; {done['folder']}", flush=True)


async def _alone(config: Config, asked: dict[str, Any]) -> int:
    """Without a running server: builds the house, takes all, and leaves."""
    from kerwen import main
    from kerwen.api import admin_socket

    main.make_folders(config)
    with main.lock(config.data_path):
        house = await main.build(config)

        async def ask(what: dict[str, Any]) -> dict[str, Any]:
            return await admin_socket.answer(house.deeds, dict(what))

        try:
            return await _follow(ask, asked)
        finally:
            await house.close()
