"""Builds the mail half of the house: the store and the actions, without their doors."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kerwen.base import limits
from kerwen.base.clock import Clock, now_ms
from kerwen.base.config import Config
from kerwen.base.metrics import Number
from kerwen.mail.actions.account_views import AccountViews
from kerwen.mail.actions.answer import Answer
from kerwen.mail.actions.append import Append
from kerwen.mail.actions.arrive import Arrive
from kerwen.mail.actions.changes import Changes
from kerwen.mail.actions.check import Check
from kerwen.mail.actions.compact import Compact
from kerwen.mail.actions.copy import Copy
from kerwen.mail.actions.deliver import Deliver
from kerwen.mail.actions.email_changes import EmailChanges
from kerwen.mail.actions.email_query import EmailQuery
from kerwen.mail.actions.expunge import Expunge
from kerwen.mail.actions.fetch import Fetch
from kerwen.mail.actions.filter import Filter
from kerwen.mail.actions.filter_rules import FilterRules
from kerwen.mail.actions.greylist import Greylist
from kerwen.mail.actions.house_mail import HouseMail
from kerwen.mail.actions.lists import Lists
from kerwen.mail.actions.mailboxes import Mailboxes
from kerwen.mail.actions.objects import Objects
from kerwen.mail.actions.open_keys import OpenKeys
from kerwen.mail.actions.outcomes import Outcomes
from kerwen.mail.actions.push_states import PushStates
from kerwen.mail.actions.queue import Queue
from kerwen.mail.actions.receive import Receive
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.release import Release
from kerwen.mail.actions.report import Report
from kerwen.mail.actions.reports_in import ReportsIn
from kerwen.mail.actions.revise import Revise
from kerwen.mail.actions.scripts import Scripts
from kerwen.mail.actions.search import Search
from kerwen.mail.actions.sign_keys import SignKeys
from kerwen.mail.actions.store_flags import StoreFlags
from kerwen.mail.actions.submissions import Submissions
from kerwen.mail.actions.submit import Submit
from kerwen.mail.actions.tastes import Tastes
from kerwen.mail.actions.tidy import Tidy
from kerwen.mail.actions.unlock import OpenVaults
from kerwen.mail.actions.uploads import Uploads
from kerwen.mail.actions.views import Views
from kerwen.mail.actions.watch import MailWatches
from kerwen.mail.parts import Sending, build_sending
from kerwen.mail.store.dkim_files import DkimFiles
from kerwen.mail.store.key_file import key_file
from kerwen.mail.store.queue_key import QueueKey
from kerwen.mail.store.tags import Tags
from kerwen.net.resolver import Resolver
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Kind
from kerwen.storage.feed import Feed
from kerwen.vault.actions.delivery_keys import DeliveryKeys
from kerwen.vault.store import Vaults

_TIDY_S = 3600.0


@dataclass(slots=True)
class MailHouse:
    """The actions by name, for the doors; and what `main` needs."""

    vaults: OpenVaults
    delivery_keys: DeliveryKeys
    tags: Tags
    mailboxes: Mailboxes
    deliver: Deliver
    append: Append
    store_flags: StoreFlags
    copy: Copy
    expunge: Expunge
    changes: Changes
    compact: Compact
    records: Records
    fetch: Fetch
    search: Search
    tastes: Tastes
    views: Views
    account_views: AccountViews
    email_query: EmailQuery
    email_changes: EmailChanges
    revise: Revise
    uploads: Uploads
    objects: Objects
    submissions: Submissions
    push_states: PushStates
    watches: MailWatches
    queue: Queue
    recipients: Recipients
    receive: Receive
    arrive: Arrive
    submit: Submit
    scripts: Scripts
    filter: Filter
    sign_keys: SignKeys
    tidy: Tidy
    resolver: Resolver
    reports_in: ReportsIn
    open_keys: OpenKeys
    lists: Lists
    sending: Sending
    numbers: list[Number]
    at_stop: list[Callable[[], None]] = field(default_factory=list)
    workers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    at_end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


def build_mail(
    config: Config,
    db: Database,
    feed: Feed,
    blobs: Blobs,
    vaults: Vaults,
    clock: Clock = now_ms,
    quota: int = limits.MAIL_QUOTA,
) -> MailHouse:
    """Builds every object of mail and hands it on; opens nothing."""
    keys = config.data_path / "keys"
    tags = Tags(key_file(keys, "mail"))
    delivery_keys = DeliveryKeys(db, vaults, secrets.token_bytes, clock)
    feed.follow(delivery_keys.follow, Kind.ACCOUNT)
    open_vaults = OpenVaults(db, vaults)
    release = Release(blobs)
    records = Records(db, blobs, vaults, delivery_keys)
    mailboxes = Mailboxes(db, release, clock)
    compact = Compact(db, blobs, delivery_keys, records, open_vaults, clock)
    records.tired = compact.met
    deliver = Deliver(db, blobs, delivery_keys, tags, clock, quota, compact.crowded)
    views = Views(db)
    copy = Copy(db, release, views, clock, quota)
    tastes = Tastes(db, delivery_keys, records, open_vaults, views, copy)
    watches = MailWatches(feed)
    search = Search(db, records, tags, clock)
    resolver = Resolver.of(config)

    queue_key = QueueKey(key_file(keys, "queue"), secrets.token_bytes)
    queue = Queue(db, blobs, queue_key, tags, random.random, clock)
    recipients = Recipients(db, config.server_name)
    report = Report(recipients.domain, recipients, deliver, queue, secrets.token_bytes, clock)
    queue.tell = report.send
    receive = Receive(db, recipients, deliver, queue, delivery_keys, quota)
    sending = build_sending(
        config, db, queue, queue_key, tags, recipients, receive, report, resolver, clock
    )
    tidy = Tidy(db, clock)
    rules = FilterRules(db, feed)
    answer = Answer(db, recipients, report, secrets.token_bytes, clock)
    scripted = Filter(db, rules, mailboxes, recipients, tags, answer, clock)
    receive.filter = scripted
    outcomes = Outcomes(report.send, secrets.token_bytes, clock)
    host = recipients.domain
    asked = resolver.answer if config.dns or not config.dev else None
    checks = Check(host, asked, clock)
    sealers = frozenset(domain.lower() for domain in config.arc_sealers)
    arrive = Arrive(host, receive, checks, outcomes, secrets.token_bytes, clock, sealers)
    greylist = Greylist(db, tags, clock)
    if config.greylisting == "on":
        arrive.greylist = greylist
    sign_keys = SignKeys(DkimFiles(keys / "dkim", host), clock)
    if config.mail_reports == "on":
        arrive.notice = sending.dmarc_reports.notice
    reports_in = ReportsIn(db, host, clock)
    lists = Lists(db, recipients, receive, queue, report, clock)
    arrive.house = house_mail = HouseMail(reports_in, lists)
    arrive.sealing_keys = report.keys = sign_keys.signing
    arrive.taste = tastes.taste
    submit = Submit(
        host, recipients, receive, outcomes, sign_keys.signing, secrets.token_bytes, clock
    )
    open_keys = OpenKeys(db, host, clock)
    submit.house = sending.home.house = house_mail
    submit.all_publish = open_keys.all_publish

    uploads = Uploads(db, blobs, delivery_keys, records, clock)
    submissions = Submissions(db, submit, queue, records, delivery_keys, clock)

    async def keep_tidy() -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            await tidy.run()
            await tidy.forget_objects()
            await uploads.sweep()
            await sending.tidy(reports=config.mail_reports == "on")
            await greylist.sweep()
            await scripted.sweep()
            await blobs.delete(await tidy.retired())

    async def close() -> None:
        await sending.hand_on.close()
        await sending.outgoing.close()
        await resolver.close()
        compact.close()
        await tastes.drain()
        open_vaults.close()
        delivery_keys.close()

    return MailHouse(
        open_vaults,
        delivery_keys,
        tags,
        mailboxes,
        deliver,
        Append(db, blobs, delivery_keys, tags, release, clock, quota),
        StoreFlags(db, views),
        copy,
        Expunge(db, release, views, clock),
        Changes(db),
        compact,
        records,
        Fetch(records),
        search,
        tastes,
        views,
        AccountViews(db, views, mailboxes),
        EmailQuery(records, search),
        EmailChanges(db),
        Revise(db, release, views, clock, quota),
        uploads,
        Objects(db, records, delivery_keys, clock),
        submissions,
        PushStates(db),
        watches,
        queue,
        recipients,
        receive,
        arrive,
        submit,
        Scripts(db, clock),
        scripted,
        sign_keys,
        tidy,
        resolver,
        reports_in,
        open_keys,
        lists,
        sending,
        list(sending.numbers(report, resolver)),
        [watches.stop],
        [
            compact.work,
            tastes.work,
            keep_tidy,
            sign_keys.begin,
            sending.sender.run,
            submissions.work,
        ],
        [close],
    )
