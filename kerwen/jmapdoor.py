"""Builds the JMAP door on mail's actions (docs/jmap.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kerwen.api.http import Route
from kerwen.api.jmap import core, ids
from kerwen.api.jmap import mail as mail_capability
from kerwen.api.jmap.api import JmapApi
from kerwen.api.jmap.deeds import Deeds
from kerwen.api.jmap.registry import Registry
from kerwen.api.jmap.sessions import Sessions, Spend
from kerwen.base.clock import Clock, now_ms
from kerwen.base.config import Config
from kerwen.mail.actions.sign_in import SignIn
from kerwen.mail.actions.usage import Usage
from kerwen.mailhouse import MailHouse
from kerwen.storage.database import Database


@dataclass(slots=True)
class JmapDoor:
    """What `main` needs of it. `registry`: who brings more methods adds them here."""

    api: JmapApi
    sessions: Sessions
    registry: Registry

    def routes(self) -> Iterable[Route]:
        """The table."""
        return self.api.routes()

    def stop(self) -> None:
        """The server stops."""
        self.sessions.close()


def build_jmap(
    config: Config,
    db: Database,
    mail: MailHouse,
    sign_in: SignIn,
    spend: Spend,
    proved: Callable[[str], None],
    clock: Clock = now_ms,
) -> JmapDoor:
    """The door. `spend` counts requests and log-ins, `proved` gives a log-in back."""
    usage = Usage(db)
    deeds = Deeds(
        sign_in=sign_in,
        tags=mail.tags,
        account_views=mail.account_views,
        email_query=mail.email_query,
        mailboxes=mail.mailboxes,
        records=mail.records,
        append=mail.append,
        store_flags=mail.store_flags,
        copy=mail.copy,
        expunge=mail.expunge,
        tastes=mail.tastes,
        watches=mail.watches,
        quota=usage.quota,
        clock=clock,
    )
    sessions = Sessions(sign_in, lambda no: ids.account_id(mail.tags, no), spend, proved)
    registry = Registry([core.capability(), mail_capability.capability()])
    return JmapDoor(JmapApi(deeds, sessions, registry, _base_url(config)), sessions, registry)


def _base_url(config: Config) -> str:
    """Where clients find us whose requests do not tell how they came."""
    ports = {listen.kind: listen.port for listen in config.listeners()}
    host = config.server_name.partition(":")[0]
    port = ports.get("https", 443)
    return f"https://{host}" if port == 443 else f"https://{host}:{port}"
