"""Builds every object of the house and hands it on: read this file to see what needs what."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import resource
import secrets
import signal
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from kerwen.accounts.address import user_id_of
from kerwen.api import replies, routes
from kerwen.api.account_deeds import AccountDeeds
from kerwen.api.admin_deeds import AdminDeeds
from kerwen.api.admin_socket import AdminSocket, Deed, audited
from kerwen.api.client.accounts import Accounts
from kerwen.api.discovery import DiscoveryApi
from kerwen.api.health import Health
from kerwen.api.http import App, Cost, Route
from kerwen.api.limiter import PUBLIC_RATES, TokenBuckets
from kerwen.api.router import Later
from kerwen.api.web import WebApp
from kerwen.base.clock import now_ms
from kerwen.base.config import CHAT_KINDS, BadConfig, Config, Listen, recorded_domain
from kerwen.base.memory import reuse_buffers
from kerwen.base.metrics import Metrics, Number, Value
from kerwen.media.actions.quota import Quota
from kerwen.media.rules import MediaRules
from kerwen.messenger import build_messenger
from kerwen.net import certificates
from kerwen.net.http import HttpServer
from kerwen.net.listeners import Factory, Listeners
from kerwen.net.outgoing import Outgoing
from kerwen.net.served_tls import ServedTls
from kerwen.storage.blobs import Blobs
from kerwen.storage.blobs_files import FileBlobs
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.storage.open_database import open_database
from kerwen.vault.store import Vaults

if TYPE_CHECKING:
    from kerwen.mailmore import MailMore
    from kerwen.net.acme.house import AcmeHouse

log = logging.getLogger("kerwen.main")

MORE_PATHS: Final = (b"/_kerwen/mail/", b"/.well-known/openpgpkey/")
STOP_PATIENCE_S: Final = 5.0  # for requests that run when we are asked to stop
STOP_MAX_S: Final = 9.0  # after that the process ends whatever still runs
FILES_MAX: Final = 65_536


@dataclass(slots=True)
class House:
    """What a running server consists of, as far as something outside `build` must reach it."""

    config: Config
    database: Database
    feed: Feed
    metrics: Metrics
    http: HttpServer
    listeners: Listeners
    factories: dict[str, Factory]
    deeds: dict[str, Deed] = field(default_factory=dict)
    """What `kerwen account` and its like may ask for, by the words of the command line."""
    acme: AcmeHouse | None = None
    """Who gets and renews the certificate."""
    take_tls: list[Callable[[ssl.SSLContext | None], None]] = field(default_factory=list)
    """Told what STARTTLS is served with, before the listeners open."""
    stop_doors: list[Callable[[float], Awaitable[None]]] = field(default_factory=list)
    """Each lets what runs behind a door end, for so many seconds, and cuts the rest."""
    at_stop: list[Callable[[], None]] = field(default_factory=list)
    """Called when the server begins to stop: whoever parks requests answers them."""
    workers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Each runs as a task while the server does, and is cancelled before the database closes."""
    at_end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Ends threads and helpers, just before the database closes."""
    ready: bool = False

    async def close(self) -> None:
        """Ends the threads and the database; the last thing to be done with a house."""
        for deed in self.at_end:
            await deed()
        await self.database.close()


async def build(config: Config) -> House:
    """Builds the house on its data folder; opens no listener. Raises `BadConfig`."""
    metrics = Metrics()
    feed = Feed()
    database = await open_database(config.database or config.data_path / "kerwen.db", feed)
    blobs = open_blobs(config)
    messenger = build_messenger(config, database, feed, blobs)
    for deed in messenger.at_start:
        await deed()
    limiter = TokenBuckets(
        PUBLIC_RATES if config.limits_rates else {}, percents=messenger.admin.limits.percents
    )

    house: House
    health = Health(lambda: house.ready, metrics.text, config.metrics_token)
    web = WebApp()
    areas: list[routes.Area] = [health, web, *messenger.areas]
    if config.has_mail:
        areas.append(DiscoveryApi(config))
    acme = _acme(config, messenger.outgoing)
    if acme is not None:
        from kerwen.api.acme import AcmeApi

        areas.append(AcmeApi(acme.answers))
    later: dict[str, Callable[[], Iterable[Route]]] = {}
    app = App(
        routes.gather(areas, [*messenger.later, web.later(), *_jmap_later(config, later)]),
        messenger.accounts.authenticate,
        limiter,
        messenger.masks,
        messenger.admin.audit,
    )
    http = HttpServer(app, proxies=config.proxies, fault=replies.fault)
    house = House(
        config=config,
        database=database,
        feed=feed,
        metrics=metrics,
        http=http,
        listeners=Listeners(),
        factories=dict.fromkeys(CHAT_KINDS, http.protocol),
        acme=acme,
    )
    if acme is not None:
        house.workers.append(acme.keeper.work)
        house.at_end.append(acme.close)
        house.deeds["certificate renew"] = acme.renew
    quiet: dict[str, Deed] = {}
    quota = Quota(database, MediaRules())
    house.deeds.update(AccountDeeds(config.server_name, messenger.accounts, quota).deeds())
    more = AdminDeeds(config.server_name, messenger.accounts, messenger.admin, messenger.export)
    house.deeds.update(more.deeds())
    if config.has_mail:
        later["jmap"], more_mail = _add_mail(
            house, blobs, messenger.accounts, limiter, messenger.outgoing
        )
        messenger.export.mail = more_mail.export
        later["more"] = more_mail.routes
        quiet.update(more_mail.quiet_deeds)
    house.deeds = audited(house.deeds, messenger.admin.audit) | quiet
    house.deeds["ping"] = _pong
    house.at_stop += messenger.at_stop
    house.workers += messenger.workers
    house.at_end += messenger.at_end
    metrics.add(*_numbers(house), *messenger.numbers)
    return house


def _add_mail(
    house: House, blobs: Blobs, accounts: Accounts, limiter: TokenBuckets, outgoing: Outgoing
) -> tuple[Callable[[], Iterable[Route]], MailMore]:
    """Builds the mail half, and opens its doors; gives what builds JMAP's, and what there is
    besides. Imported here: chats alone need none of it."""
    from kerwen import maildoors
    from kerwen.api.mail_deeds import MailDeeds
    from kerwen.api.queue_deeds import QueueDeeds
    from kerwen.mail.client.rspamd import Rspamd
    from kerwen.mailhouse import build_mail
    from kerwen.mailmore import build_more

    config, db, feed = house.config, house.database, house.feed
    mail = build_mail(config, db, feed, blobs, Vaults(secrets.token_bytes, now_ms))
    sign_in = maildoors.build_sign_in(config, db, feed, mail, accounts)

    def spend(address: str) -> None:
        limiter.spend(Cost.LOGIN, 0, address)

    if config.rspamd is not None:
        mail.arrive.opinion = Rspamd(outgoing, config.rspamd)
    mail_deeds = MailDeeds(mail.recipients, mail.sign_keys, mail.reports_in, mail.lists)
    house.deeds.update(mail_deeds.deeds())

    def proved(address: str) -> None:
        limiter.give_back(Cost.LOGIN, address)

    imap = maildoors.build_imap(config, db, mail, sign_in, spend)
    house.factories["imap"] = imap.imap
    house.factories["imaps"] = imap.imaps
    house.take_tls.append(imap.take_tls)
    house.stop_doors.append(imap.stop)
    smtp = maildoors.build_smtp(config, feed, mail, sign_in, spend, proved)
    house.factories["smtp"] = smtp.smtp
    house.factories["submission"] = smtp.submission
    house.factories["submissions"] = smtp.submissions
    house.take_tls.append(smtp.take_tls)
    house.stop_doors.append(smtp.stop)
    pop3 = maildoors.build_pop3(config, mail, sign_in, spend, proved)
    house.factories["pop3"] = pop3.clear
    house.factories["pop3s"] = pop3.secure
    sieve = maildoors.build_managesieve(config, feed, mail, sign_in, spend, proved)
    house.factories["managesieve"] = sieve.clear
    for door in (pop3, sieve):
        house.take_tls.append(door.take_tls)
        house.stop_doors.append(door.stop)
    house.deeds.update(QueueDeeds(mail.queue).deeds())
    house.metrics.add(*mail.numbers)
    house.at_stop += mail.at_stop
    house.workers += mail.workers
    house.at_end += mail.at_end
    house.metrics.add(
        Number("imap_connections", "gauge", "IMAP connections", lambda: len(imap.connections)),
        Number("imap_running", "gauge", "IMAP connections at work", lambda: len(imap.tasks)),
        Number("pop3_connections", "gauge", "POP3 connections", lambda: len(pop3.connections)),
        Number("sieve_connections", "gauge", "ManageSieve", lambda: len(sieve.connections)),
        Number("sieve_faults", "counter", "Scripts gone wrong", lambda: mail.filter.faults),
        Number("smtp_connections", "gauge", "SMTP connections", lambda: len(smtp.connections)),
        Number("smtp_running", "gauge", "SMTP connections at work", lambda: len(smtp.tasks)),
        Number("smtp_refused", "counter", "SMTP connections too many", lambda: smtp.turned_away),
        Number("smtp_messages", "counter", "Messages taken in by SMTP", lambda: smtp.messages),
        Number("smtp_bytes", "counter", "Their bytes", lambda: smtp.bytes),
    )

    def jmap() -> Iterable[Route]:
        from kerwen.jmapdoor import build_jmap

        door = build_jmap(config, db, feed, mail, sign_in, limiter.spend, proved)
        house.at_stop.append(door.stop)
        return door.routes()

    domain = config.server_name

    async def number_of(name: str) -> int:
        return (await accounts.moderate.account(user_id_of(name.lower(), domain))).account_no

    more = build_more(config, db, mail, number_of)
    house.deeds.update(more.deeds)
    house.at_end.insert(0, more.close)
    return jmap, more


def _jmap_later(config: Config, built: dict[str, Callable[[], Iterable[Route]]]) -> Iterable[Later]:
    """The routes of JMAP, and of what mail has besides, which are built with the mail half."""
    if config.has_mail:
        yield Later((b"/jmap/", b"/.well-known/jmap"), lambda: built["jmap"]())
        yield Later(MORE_PATHS, lambda: built["more"]())


def open_blobs(config: Config) -> Blobs:
    """Where files are kept."""
    if config.blobs is not None:
        from kerwen.storage.blobs_s3 import S3Blobs, S3Place  # obstore costs memory and time

        try:
            return S3Blobs(S3Place.of(config.blobs, os.environ))
        except ValueError as error:
            raise BadConfig(str(error)) from None
    return FileBlobs(config.data_path / "blobs")


async def _pong() -> str:
    return "here"


def _numbers(house: House) -> Iterable[Number]:
    http, feed = house.http, house.feed

    def replies() -> Iterable[Value]:
        return [({"status": f"{n}xx"}, http.statuses[n]) for n in range(1, 6)]

    yield Number("http_connections", "gauge", "Open connections", lambda: len(http.connections))
    yield Number("http_running", "gauge", "Requests that run or wait", lambda: len(http.tasks))
    yield Number("http_accepted", "counter", "Connections so far", lambda: http.accepted)
    yield Number("http_refused", "counter", "Connections too many", lambda: http.turned_away)
    yield Number("http_malformed", "counter", "Requests that broke HTTP", lambda: http.malformed)
    yield Number("http_replies", "counter", "Replies by their first digit", replies)
    yield Number("feed_position", "gauge", "The settled position", lambda: feed.settled)


# --- running ------------------------------------------------------------------------------


def serve(config: Config, told: Callable[[House], None]) -> None:
    """Runs the server until SIGTERM or SIGINT; `told` hears when it is ready."""
    reuse_buffers()
    make_folders(config)
    with lock(config.data_path), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, told))


async def _serve(config: Config, told: Callable[[House], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _allow_files()
    house = await build(config)
    door = AdminSocket(config.data_path, house.deeds)
    try:
        wanted = tuple(w for w in config.listeners() if w.kind in house.factories)
        house.http.start()
        served = _server_tls(house, wanted)
        context = served.context if served is not None else None
        for take in house.take_tls:
            take(context)
        await house.listeners.start(wanted, house.factories, context)
        await door.start()
        workers = [loop.create_task(_work(worker)) for worker in house.workers]
        _settle_memory()
        house.ready = True
        told(house)
        log.info("ready", extra={"listeners": house.listeners.open})
        await stop.wait()
    except BaseException:
        await house.close()
        raise
    door.close()
    await _stop(house, workers)


async def _work(worker: Callable[[], Awaitable[None]]) -> None:
    """Runs a worker; one that breaks is started again, more slowly each time."""
    pause_s = 1.0
    while True:
        try:
            await worker()
            return
        except Exception:
            log.exception("a worker broke")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 60.0)


async def _stop(house: House, workers: list[asyncio.Task[None]]) -> None:
    """Takes nothing new, ends what was acknowledged, closes."""
    _end_at_latest()
    log.info("stopping")
    house.ready = False
    house.listeners.close()
    house.http.stopping = True
    for deed in house.at_stop:
        deed()
    stops = [house.http.stop, *house.stop_doors]
    await asyncio.gather(*(stop(STOP_PATIENCE_S) for stop in stops))
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    await house.close()
    log.info("stopped")


def _end_at_latest() -> None:
    """However stuck a thread or the loop may be: what is acknowledged is on disk already."""
    timer = threading.Timer(STOP_MAX_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _server_tls(house: House, wanted: Iterable[Listen]) -> ServedTls | None:
    """What the listeners show, and who looks after it."""
    config = house.config
    if not any(listen.tls for listen in wanted):
        return None
    if house.acme is not None:
        found = house.acme.keeper.begin(tuple(certificates.public_names(config)))
    elif config.tls_cert is not None and config.tls_key is not None:
        found = certificates.Certificate(Path(config.tls_cert), Path(config.tls_key))
    else:
        found = certificates.for_development(config.data_path, config.server_name)
    try:
        served = ServedTls(found.cert, found.key)
    except OSError as error:
        raise BadConfig(f"{found.cert}: {error.strerror or error}") from None
    if house.acme is not None:
        house.acme.served = served
    elif config.tls_cert is not None:
        house.workers.append(lambda: certificates.follow(found, served.replace))
    return served


def _acme(config: Config, outgoing: Outgoing) -> AcmeHouse | None:
    if config.acme is None:
        return None
    from kerwen.net.acme.house import AcmeHouse

    return AcmeHouse(config, outgoing)


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(FILES_MAX, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _settle_memory() -> None:
    """What was built at start lives until the end: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 50)


# --- the data folder ----------------------------------------------------------------------


def make_folders(config: Config) -> None:
    """Makes the data folder for us alone, and writes down its domain. Raises `BadConfig`."""
    data, domain = config.data_path, config.server_name
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / "keys").mkdir(mode=0o700, exist_ok=True)
        recorded = recorded_domain(data)
        if recorded is None:
            (data / "domain").write_text(domain + "\n")
        elif recorded != domain:
            raise BadConfig(f"{data} belongs to {recorded}; a domain can never be changed")
    except OSError as error:
        raise BadConfig(f"data folder {data}: {error.strerror}") from None


class lock:
    """Holds a data folder for one process. Raises `BadConfig` if another holds it."""

    def __init__(self, data: Path) -> None:
        try:
            self._file = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadConfig(f"another Kerwen runs on the data folder {data}") from None
        except OSError as error:
            raise BadConfig(f"data folder {data}: {error.strerror}") from None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
