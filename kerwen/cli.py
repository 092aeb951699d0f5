"""The command line: `kerwen serve`, `account`, `alias`, `dkim`, `queue`, `backup`, `restore`,
`import`, `doctor`, `dns`, `certificate`, `version`.

Wrong use and a wrong configuration end with 2 and one line; what could not be done, with 1.
"""

from __future__ import annotations

import argparse
import gc
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kerwen.base import config as configuration
from kerwen.base.config import BadConfig, Config
from kerwen.commands.account import add_parsers as add_account_parsers
from kerwen.commands.admin import WORDS as ADMIN_WORDS
from kerwen.commands.admin import add_parsers as add_admin_parsers
from kerwen.commands.dns import add_flags as add_dns_flags
from kerwen.commands.mail import add_parsers as add_mail_parsers
from kerwen.commands.mail_import import add_parsers as add_import_parsers
from kerwen.commands.queue import add_parsers as add_queue_parsers


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits."""
    options = parser().parse_args(argv)
    try:
        code = options.run(options)
    except BadConfig as error:
        print(f"kerwen: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    """`late_flags`: adds the flags of a command when it is the one that is given. All of them for
    all commands would cost every start a tenth of a second."""

    late_flags: Callable[[], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Adds what was put off."""
        late, self.late_flags = self.late_flags, None
        if late is not None:
            late()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> typing.NoReturn:
        """Wrong use is said in one line."""
        self.exit(2, f"kerwen: {message}\n")


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    top = _Parser("kerwen", description="A self-hosted messenger server.")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the server")
    add_flags(serve)
    serve.set_defaults(run=_serve)
    account = commands.add_parser("account", help="make, list, lock and delete accounts")
    for command in add_account_parsers(account):
        add_flags(command)
        command.set_defaults(run=_account)
    alias = commands.add_parser("alias", help="names that lead to accounts or elsewhere")
    dkim = commands.add_parser("dkim", help="the keys that sign outgoing mail")
    lists = commands.add_parser("list", help="mailing lists")
    for command in add_mail_parsers(alias, dkim, lists):
        add_flags(command)
        command.set_defaults(run=_account)
    queue = commands.add_parser("queue", help="look after mail that waits to be sent")
    for command in add_queue_parsers(queue):
        add_flags(command)
        command.set_defaults(run=_queue)
    groups = {name: commands.add_parser(name, help=words) for name, words in ADMIN_WORDS.items()}
    for command in add_admin_parsers(groups):
        add_flags(command)
        command.set_defaults(run=_account)
    backup = commands.add_parser("backup", help="write the data folder to one file")
    backup.add_argument("file", metavar="FILE", help="ends with .tar or .tar.gz")
    add_flags(backup)
    backup.set_defaults(run=_backup)
    restore = commands.add_parser("restore", help="unpack a backup into an empty data folder")
    restore.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="what `kerwen backup` wrote; none with --database, after `pg_restore`",
    )
    add_flags(restore)
    restore.set_defaults(run=_restore)
    _add_import(commands.add_parser("import", help="take over another server's people and rooms"))
    mail = commands.add_parser("mail", help="take mail over from elsewhere")
    for command in add_import_parsers(mail):
        add_flags(command)
        command.set_defaults(run=_import_mail)
    doctor = commands.add_parser("doctor", help="look for what will hurt")
    doctor.add_argument(
        "--reach",
        metavar="DOMAIN",
        help="try whether mail can leave: speak to this domain's mail server, send nothing",
    )
    add_flags(doctor)
    doctor.set_defaults(run=_doctor)
    dns = commands.add_parser("dns", help="print or write the records that the domain needs")
    add_dns_flags(dns)
    add_flags(dns)
    dns.set_defaults(run=_dns)
    certificate = commands.add_parser("certificate", help="show the certificate of ACME")
    certificate.add_argument("--renew", action="store_true", help="let the server look at once")
    add_flags(certificate)
    certificate.set_defaults(run=_certificate)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return top


def _add_import(command: argparse.ArgumentParser) -> None:
    kinds = command.add_subparsers(title="from", required=True, metavar="SERVER")
    synapse = kinds.add_parser("synapse", help="a stopped Synapse, into an empty data folder")
    synapse.add_argument("--database", metavar="WHERE", help="its SQLite file, or postgresql://…")
    synapse.add_argument("--media", metavar="DIR", help="its media store")
    synapse.add_argument("--config", metavar="FILE", help="its homeserver.yaml: key, pepper, paths")
    synapse.add_argument("--data", metavar="DIR", help="where Kerwen will keep everything")
    synapse.add_argument("--domain", metavar="NAME", help="the server's name, to be sure")
    synapse.add_argument("--into", metavar="DSN", help="an empty PostgreSQL database for Kerwen")
    synapse.set_defaults(run=_import_synapse)


# --- flags from the configuration's keys ---------------------------------------------------


def add_flags(command: argparse.ArgumentParser) -> None:
    """Adds `--config` and every key of the configuration as a flag, once they are wanted."""
    if isinstance(command, _Parser):
        command.late_flags = lambda: _add_flags(command)
    else:
        _add_flags(command)


def _add_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", metavar="FILE", help="the file to read instead of config.toml in the data"
    )
    for key in msgspec.structs.fields(Config):
        kind, words = key_type(key.type)
        flag = "--" + key.name.replace("_", "-")
        common: dict[str, Any] = {
            "dest": key.name,
            "default": argparse.SUPPRESS,
            "help": words.replace("%", "%%"),
        }
        if key.name == "listen":
            command.add_argument(flag, action="append", metavar="KIND=HOST:PORT", **common)
        elif kind is bool:
            command.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif typing.get_origin(kind) is list:
            metavar = "URI" if key.name.endswith("uris") else "FILE"
            metavar = "ADDRESS" if key.name in ("dns", "proxies", "acme_contact") else metavar
            command.add_argument(flag, action="append", metavar=metavar, **common)
        elif typing.get_origin(kind) is typing.Literal:
            command.add_argument(flag, choices=typing.get_args(kind), **common)
        else:
            metavar = {"hosts": "FILE", "ca": "FILE", "data": "DIR"}.get(
                key.name, "FILE" if key.name.startswith("tls") else key.name.upper()
            )
            command.add_argument(flag, type=kind, metavar=metavar, **common)


def key_type(kind: Any) -> tuple[Any, str]:
    """The plain type of a key and what it is for."""
    words = ""
    if typing.get_origin(kind) is typing.Annotated:
        kind, meta = typing.get_args(kind)
        words = meta.description or ""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    return kind, words


def config_of(options: argparse.Namespace, *, serving: bool = False) -> Config:
    """The configuration of a command's flags and file. Raises `BadConfig`."""
    names = {key.name for key in msgspec.structs.fields(Config)}
    flags = {name: value for name, value in vars(options).items() if name in names}
    if "listen" in flags:
        flags["listen"] = dict(_listen(text) for text in flags["listen"])
    file = Path(options.config) if options.config else None
    return configuration.load(flags, file, serving=serving)


def _listen(text: str) -> tuple[str, str]:
    kind, equals, where = text.partition("=")
    if not equals:
        raise BadConfig(f"--listen {text}: write KIND=HOST:PORT or KIND=off")
    return kind, where


# --- commands ------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> int:
    gc.disable()  # until the house stands: what is built now stays, so looking at it is waste
    from kerwen import main as house
    from kerwen.base import log

    config = config_of(options, serving=True)
    log.start(config.log_level)
    house.serve(config, _print_addresses)
    return 0


def _print_addresses(house: Any) -> None:
    config: Config = house.config
    print(f"Kerwen serves {config.server_name}; data in {config.data_path}")
    for kind, places in house.listeners.open.items():
        for host, port in places:
            host = f"[{host}]" if ":" in host else host
            scheme = {"federation": "https"}.get(kind, kind)
            print(f"  {kind:<10} {scheme}://{host}:{port}")
    if web := house.listeners.open.get("http"):
        host, port = web[-1]
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        print(f"  web app    http://{f'[{host}]' if ':' in host else host}:{port}/")
    if config.dev and config.tls_cert is None:
        print(f"  authority  {config.data_path / 'dev-ca.pem'}")
    sys.stdout.flush()


def _account(options: argparse.Namespace) -> int:
    from kerwen.commands import account

    return account.run(options, config_of)


def _queue(options: argparse.Namespace) -> int:
    from kerwen.commands import queue

    return queue.run(options, config_of)


def _backup(options: argparse.Namespace) -> int:
    from kerwen.commands import backup

    count, size = backup.backup(config_of(options), Path(options.file))
    print(f"{options.file}: {count} files, {size / 1e6:.1f} MB")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from kerwen.commands import backup

    database = vars(options).get("database")
    if (options.file is None) == (database is None):
        raise BadConfig("restore takes a FILE, or --database after pg_restore")
    if database is not None:
        print(f"the feed goes on at {backup.after_pg_restore(database)}")
        return 0
    data = configuration.folder_of(vars(options)).absolute()
    count = backup.restore(Path(options.file), data)
    print(f"{data}: {count} files")
    return 0


def _import_synapse(options: argparse.Namespace) -> int:
    from kerwen.commands.synapse.run import Wanted, run

    flags = {"data": options.data} if options.data else {}
    wanted = Wanted(
        options.database,
        Path(options.media) if options.media else None,
        Path(options.config) if options.config else None,
        configuration.folder_of(flags).absolute(),
        options.domain,
        options.into,
    )
    report = run(wanted)
    for what, count in report.done.items():
        print(f"{count:>12,}  {what}")
    for what, count in report.left_out.items():
        print(f"{count:>12,}  left out: {what}")
    print(f"{wanted.data}: done in {report.spent_s:,.1f} s")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from kerwen.commands import doctor

    worst = 0
    for finding in doctor.examine(config_of(options), options.reach):
        print(f"{finding.level:<5} {finding.about:<12} {finding.text}")
        worst = max(worst, finding.level == "bad")
    return worst


def _dns(options: argparse.Namespace) -> int:
    from kerwen.commands import dns

    return dns.run(options, config_of)


def _import_mail(options: argparse.Namespace) -> int:
    from kerwen.commands import mail_import

    return mail_import.run(options, config_of)


def _certificate(options: argparse.Namespace) -> int:
    from kerwen.commands import certificate

    return certificate.run(options, config_of)


def _version(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    print(f"kerwen {version('kerwen')}")
    return 0
