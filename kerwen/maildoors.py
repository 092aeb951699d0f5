"""Builds the doors of mail on its actions: read it to see what a door needs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from kerwen.api.client.accounts import Accounts
from kerwen.base.clock import Clock, now_ms
from kerwen.base.config import Config
from kerwen.calls.turn import Turn
from kerwen.imap.deeds import Deeds
from kerwen.imap.server import ImapServer
from kerwen.mail.actions.annotations import Annotations
from kerwen.mail.actions.order import Order
from kerwen.mail.actions.prove_sender import ProveSender
from kerwen.mail.actions.sign_in import SignIn
from kerwen.mail.actions.usage import Usage
from kerwen.mailhouse import MailHouse
from kerwen.managesieve.server import managesieve_door
from kerwen.managesieve.session import Deeds as SieveDeeds
from kerwen.net.line_door import LineDoor
from kerwen.pop3.server import pop3_door
from kerwen.pop3.session import Deeds as Pop3Deeds
from kerwen.smtp.deeds import Deeds as SmtpDeeds
from kerwen.smtp.rates import Rates
from kerwen.smtp.server import SmtpServer
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed
from kerwen.vault.store import Vaults


def build_sign_in(
    config: Config,
    db: Database,
    feed: Feed,
    mail: MailHouse,
    accounts: Accounts,
    clock: Clock = now_ms,
) -> SignIn:
    """Who may come in by mail's doors; one for all of them."""
    sign_in = SignIn(
        db,
        feed,
        config.server_name,
        accounts.prove,
        accounts.app_passwords,
        accounts.authenticate,
        Vaults(secrets.token_bytes, clock),
        mail.vaults,
        clock,
    )
    sign_in.opened = mail.tastes.sort
    return sign_in


def build_imap(
    config: Config,
    db: Database,
    mail: MailHouse,
    sign_in: SignIn,
    spend: Callable[[str], None],
    clock: Clock = now_ms,
) -> ImapServer:
    """The IMAP door. `spend` counts a log-in from a network address."""
    usage = Usage(db)
    turn = Turn(config.turn_uris, config.turn_secret or "")

    def server_metadata() -> dict[str, bytes]:
        line = turn.line_for(clock())
        return {"/shared/vendor/deltachat/turn": line.encode()} if line else {}

    deeds = Deeds(
        sign_in=sign_in,
        mailboxes=mail.mailboxes,
        views=mail.views,
        records=mail.records,
        fetch=mail.fetch,
        store_flags=mail.store_flags,
        copy=mail.copy,
        expunge=mail.expunge,
        append=mail.append,
        search=mail.search,
        order=Order(mail.records),
        changes=mail.changes,
        watches=mail.watches,
        metadata=Annotations(db, mail.records, mail.delivery_keys, clock),
        tastes=mail.tastes,
        email_ids=mail.tags.email_ids,
        keywords=usage.keywords,
        quota=usage.quota,
        server_metadata=server_metadata,
        spend=spend,
    )
    return ImapServer(deeds, plain=config.dev, slow_failures=config.limits_rates)


def build_smtp(
    config: Config,
    feed: Feed,
    mail: MailHouse,
    sign_in: SignIn,
    spend: Callable[[str], None],
    proved: Callable[[str], None],
) -> SmtpServer:
    """The doors of SMTP: for strangers, and for our own people who send."""
    rates = Rates(time.monotonic, on=config.limits_rates)
    deeds = SmtpDeeds(mail.arrive, mail.submit, ProveSender(feed, sign_in), rates, spend, proved)
    return SmtpServer(deeds, mail.recipients.domain, plain=config.dev, limited=config.limits_rates)


def build_pop3(
    config: Config,
    mail: MailHouse,
    sign_in: SignIn,
    spend: Callable[[str], None],
    proved: Callable[[str], None],
) -> LineDoor:
    """The POP3 doors."""
    deeds = Pop3Deeds(
        sign_in, mail.mailboxes, mail.views, mail.records, mail.expunge, spend, proved
    )
    return pop3_door(deeds, plain=config.dev, slow_failures=config.limits_rates)


def build_managesieve(
    config: Config,
    feed: Feed,
    mail: MailHouse,
    sign_in: SignIn,
    spend: Callable[[str], None],
    proved: Callable[[str], None],
) -> LineDoor:
    """The door for Sieve scripts."""
    deeds = SieveDeeds(mail.scripts, ProveSender(feed, sign_in), spend, proved)
    return managesieve_door(deeds, plain=config.dev, slow_failures=config.limits_rates)
