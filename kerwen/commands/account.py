"""`kerwen account …`: by the server if it runs, else on the data folder itself."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from pathlib import Path
from typing import Any

from kerwen.base.config import BadConfig, Config, folder_of

_GIVEN = frozenset(
    {
        *("name", "admin", "erase", "label", "uses", "days", "target"),
        *("device", "percent", "file", "room", "media", "text", "report", "count"),
        *("owner", "title", "posting"),
    }
)
_PATIENCE_S = 60.0
_EXPORT_PATIENCE_S = 7 * 86_400.0  # an archive takes as long as it takes
_SIZES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def add_parsers(account: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The commands below `account`; each one's flags become the deed's arguments."""
    deeds = account.add_subparsers(title="commands", required=True, metavar="COMMAND")
    made: list[argparse.ArgumentParser] = []

    def deed(name: str, words: str, *, person: bool = True) -> argparse.ArgumentParser:
        command = deeds.add_parser(name, help=words)
        command.set_defaults(do=f"account {name}")
        if person:
            command.add_argument("name", metavar="NAME", help="the part before @ or :")
        made.append(command)
        return command

    add = deed("add", "make an account")
    add.add_argument("--admin", action="store_true", help="the account may administer")
    add.add_argument("--password-file", metavar="FILE", help="read the password here; - is input")
    deed("list", "list all accounts", person=False)
    deed("lock", "shut an account out until it is unlocked")
    deed("unlock", "let a locked account in again")
    delete = deed("delete", "close an account for ever; its name stays taken")
    delete.add_argument("--erase", action="store_true", help="hide its messages as well")
    quota = deed("quota", "show or set how much an account may store")
    quota.add_argument("size", nargs="?", metavar="SIZE", help="for example 500M, 2G, or none")
    app = deed("app-password", "make a password for one program")
    app.add_argument("label", metavar="LABEL", help="which program")
    words = "the account's own password; with a second factor, a space and the code behind it"
    app.add_argument("--password-file", metavar="FILE", help=words)
    deed("show", "one account in numbers")
    deed("suspend", "let an account read and leave, no more")
    deed("unsuspend", "let a suspended account write again")
    deed("admin", "make an account an administrator's")
    deed("no-admin", "let an account administer no longer")
    deed("devices", "where an account is logged in")
    out = deed("log-out", "end one log-in")
    out.add_argument("device", metavar="DEVICE", help="as `kerwen account devices` shows it")
    limits = deed("limits", "show or set an account's share of everyone's rate limits")
    limits.add_argument("percent", nargs="?", metavar="PERCENT", help="0: no limits, or none")
    reset = deed("reset-password", "begin a reset: it takes effect after three days")
    reset.add_argument("--password-file", metavar="FILE", help="the new password")
    deed("stop-reset", "stop a reset of the password")
    deed("reset-second-factor", "end a lost second factor: it takes effect after three days")
    deed("stop-second-factor-reset", "stop that")
    export = deed("export", "write all that is kept of an account to a tar file")
    export.add_argument("file", metavar="FILE", help="a part that is there is gone on with")
    export.add_argument("--password-file", metavar="FILE", help="the account's own password")
    invite = deed("invite", "make a token that lets people register", person=False)
    invite.add_argument("--uses", type=int, metavar="N", help="how often it may be used")
    invite.add_argument("--days", type=int, metavar="N", help="how long it is good")
    return made


def run(options: argparse.Namespace, config: Any) -> int:
    """Does one deed and prints what came of it; `config` makes the configuration if needed."""
    from kerwen.api import admin_socket

    asked = {"do": options.do, **arguments(options)}
    patience_s = _EXPORT_PATIENCE_S if options.do == "account export" else _PATIENCE_S
    told = None
    if _has_folder(options):
        told = admin_socket.ask(folder_of(vars(options)), asked, patience_s)
    if told is None:
        told = asyncio.run(alone(config(options), asked))
    if "refused" in told:
        print(f"kerwen: {told['refused']}", file=sys.stderr)
        return 1
    show(told["done"])
    return 0


def _has_folder(options: argparse.Namespace) -> bool:
    return folder_of(vars(options)).is_dir()


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the deed is given."""
    given = {
        key: value for key, value in vars(options).items() if key in _GIVEN and value is not None
    }
    if "password_file" in options:
        given["password"] = read_password(options.password_file)
    if "file" in given:
        given["file"] = str(Path(given["file"]).absolute())
    if options.do == "account quota" and options.size is not None:
        given["size_bytes"] = size_of(options.size)
    return given


def read_password(file: str | None) -> str:
    """The first line of a file or of the input; asked for where a person sits."""
    if file is None:
        if not sys.stdin.isatty():
            raise BadConfig("give --password-file FILE, or - for the input")
        return getpass.getpass("Password: ")
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file}: {error}") from None
    password = text.partition("\n")[0].removesuffix("\r")
    if not password:
        raise BadConfig(f"{file}: there is no password in it")
    return password


def size_of(text: str) -> int:
    """Bytes of a size as people write it; -1 for `none`."""
    if text == "none":
        return -1
    digits, unit = text.rstrip("kKmMgGtT"), text[-1:].lower()
    if not digits.isdigit() or len(text) - len(digits) > 1:
        raise BadConfig(f"{text!r} is no size: write 500M, 2G or none")
    return int(digits) * (1 if unit.isdigit() else _SIZES[unit])


async def alone(config: Config, asked: dict[str, Any]) -> dict[str, Any]:
    """Without a running server: builds the house, does the deed, and leaves."""
    from kerwen import main
    from kerwen.api import admin_socket

    main.make_folders(config)
    with main.lock(config.data_path):
        house = await main.build(config)
        try:
            return await admin_socket.answer(house.deeds, asked)
        finally:
            await house.close()


def show(done: Any) -> None:
    """Prints a result: rows as columns, pairs as lines, else as it is."""
    if isinstance(done, list):
        for row in done:
            cells = row.values() if isinstance(row, dict) else [row]
            print("  ".join(f"{cell!s:<24}" for cell in cells).rstrip())
    elif isinstance(done, dict):
        for key, value in done.items():
            print(f"{key.replace('_', ' ')}: {value}")
    elif done is not None:
        print(done)
