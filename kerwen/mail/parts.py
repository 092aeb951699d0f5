"""Builds what sends mail, for the mail house."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kerwen.base import limits
from kerwen.base.clock import Clock
from kerwen.base.config import Config, relay_place
from kerwen.base.metrics import Number, Value
from kerwen.mail.actions.bring_home import BringHome
from kerwen.mail.actions.day_counts import DayCounts
from kerwen.mail.actions.hand_on import HandOn
from kerwen.mail.actions.queue import Queue, Verdict
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.actions.report import Report
from kerwen.mail.actions.report_dmarc import DmarcReports
from kerwen.mail.actions.report_tls import TlsReports
from kerwen.mail.actions.sts import PolicyFiles, StsPolicies
from kerwen.mail.actions.tls_results import RESULTS, TlsResults
from kerwen.mail.actions.ways import Relay, Ways
from kerwen.mail.dmarc_report import Came
from kerwen.mail.sender import MailSender
from kerwen.mail.store.day_counts import DMARC
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.net.certificates import names_of
from kerwen.net.names import Hosts
from kerwen.net.outgoing import Outgoing
from kerwen.net.resolver import Resolver
from kerwen.smtp.client import Dialer, Trust, is_reachable
from kerwen.storage.database import Database

_FAMILIES = {"both": (6, 4), "4": (4,), "6": (6,)}


@dataclass(frozen=True, slots=True)
class Sending:
    """What sends, and what must be closed after it."""

    sender: MailSender
    hand_on: HandOn
    outgoing: Outgoing
    tls_results: TlsResults
    tls_reports: TlsReports
    sts: StsPolicies
    dmarc_counts: DayCounts[Came]
    dmarc_reports: DmarcReports
    home: BringHome

    async def tidy(self, *, reports: bool) -> None:
        """What is due every hour: reports to other domains, and what is too old goes."""
        if reports:
            await self.tls_reports.run()
            await self.dmarc_reports.run()
        await self.tls_results.sweep()
        await self.dmarc_counts.sweep()
        await self.sts.sweep()

    def numbers(self, report: Report, resolver: Resolver) -> Iterable[Number]:
        """What operators may want to know."""
        sender, hand_on = self.sender, self.hand_on

        def verdicts() -> Iterable[Value]:
            return [({"verdict": one.value}, sender.verdicts[one]) for one in Verdict]

        def connections() -> Iterable[Value]:
            return [
                ({"how": "opened"}, hand_on.opened),
                ({"how": "reused"}, hand_on.reused),
                ({"how": "clear"}, hand_on.clear),
            ]

        def results() -> Iterable[Value]:
            return [({"result": one}, self.tls_results.totals.get(one, 0)) for one in RESULTS]

        def reports() -> Iterable[Value]:
            return [
                ({"kind": "tls"}, self.tls_reports.sent),
                ({"kind": "dmarc"}, self.dmarc_reports.sent),
            ]

        yield Number("mail_queue_messages", "gauge", "Waiting", lambda: sender.waiting[0])
        yield Number("mail_queue_bytes", "gauge", "Their bytes", lambda: sender.waiting[1])
        yield Number("mail_queue_oldest_seconds", "gauge", "The oldest one", sender.oldest_s)
        yield Number("mail_sending", "gauge", "Messages on their way", lambda: sender.running)
        yield Number("mail_away", "gauge", "Destinations out of reach", lambda: sender.away)
        yield Number("mail_recipients", "counter", "Recipients by their fate", verdicts)
        yield Number("mail_connections", "counter", "Connections to others", connections)
        yield Number("mail_tls", "counter", "How TLS went with others", results)
        yield Number("mail_reports", "counter", "Daily reports to domains", reports)
        yield Number("mail_unsaid", "counter", "Reports not sent", lambda: report.unsaid)
        yield Number("dns_questions", "counter", "Questions asked", lambda: resolver.questions)
        yield Number("dns_failures", "counter", "Without an answer", lambda: resolver.failures)
        yield Number("dns_remembered", "counter", "Answered from memory", lambda: resolver.hits)


def build_sending(
    config: Config,
    db: Database,
    queue: Queue,
    key: QueueKey,
    tags: Tags,
    recipients: Recipients,
    receive: Receive,
    report: Report,
    resolver: Resolver,
    clock: Clock,
) -> Sending:
    """Builds the sender and all that it stands on; opens nothing."""
    host = recipients.domain
    authorities = [Path(config.ca)] if config.ca is not None else []
    outgoing = Outgoing(
        dev=config.dev, own_names=names_of(config.server_name), authorities=authorities
    )
    tls_results = TlsResults(db, key, tags, clock)

    def failed(domain: str, kind: str) -> None:
        tls_results.count(domain, "sts", "", kind)

    def is_us(name: str) -> bool:
        return name.lower().rstrip(".") == host

    fetch = PolicyFiles(outgoing).fetch
    sts = StsPolicies(db, key, tags, resolver, fetch, failed, clock)
    hosts = Hosts(Path(config.hosts) if config.hosts else None) if config.dev else None
    ways = Ways(
        resolver,
        sts,
        is_us,
        random.random,
        hosts=hosts,
        relay=relay_of(config),
        families=_FAMILIES[config.mail_ip],
    )
    dialer = Dialer(
        host,
        lambda address: is_reachable(address, dev=config.dev),
        is_us,
        authorities=authorities[0] if authorities else None,
        loopback=config.dev,
    )
    hand_on = HandOn(ways, dialer.dial, tls_results)
    home = BringHome(recipients, receive, queue)
    at_once = limits.SMTP_CLIENT_AT_ONCE
    if ways.relay is not None:
        at_once = limits.SMTP_CLIENT_RELAY_AT_ONCE
    dmarc_counts = DayCounts(DMARC, "dmarc result", Came, db, key, tags, clock)
    counts = (tls_results, dmarc_counts)
    sender = MailSender(queue, hand_on, home, counts, random.random, clock, at_once)
    tls_reports = TlsReports(
        host, tls_results, sts, resolver, queue, outgoing, report.signed, clock
    )
    dmarc_reports = DmarcReports(host, dmarc_counts, resolver, queue, report.signed, clock)
    return Sending(
        sender, hand_on, outgoing, tls_results, tls_reports, sts, dmarc_counts, dmarc_reports, home
    )


def relay_of(config: Config) -> Relay | None:
    """The smart host that the configuration names."""
    if config.relay is None:
        return None
    host, port = relay_place(config.relay)
    how = config.relay_tls or ("tls" if port == 465 else "starttls")
    login = None
    if config.relay_login is not None and config.relay_password is not None:
        login = (config.relay_login, config.relay_password)
    trust = Trust.CLEAR if how == "off" else Trust.NAMED
    return Relay(host, port, trust, how == "tls", login)
