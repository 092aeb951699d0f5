"""Builds the JMAP door on mail's actions (docs/jmap.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kerwen.api.http import Route
from kerwen.api.jmap import blobs, core, ids, more, push, scripts, submission, vacation
from kerwen.api.jmap import mail as mail_capability
from kerwen.api.jmap.api import JmapApi
from kerwen.api.jmap.deeds import Deeds
from kerwen.api.jmap.files import FilesApi
from kerwen.api.jmap.registry import Registry
from kerwen.api.jmap.sessions import Sessions, Spend
from kerwen.api.routes import Area
from kerwen.base.clock import Clock, now_ms
from kerwen.base.config import Config
from kerwen.mail.actions.sign_in import SignIn
from kerwen.mail.actions.usage import Usage
from kerwen.mailhouse import MailHouse
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed


@dataclass(slots=True)
class JmapDoor:
    """What `main` needs of it. `registry`: who brings more methods adds them here."""

    areas: list[Area]
    sessions: Sessions
    registry: Registry
    listeners: push.Listeners

    def routes(self) -> Iterable[Route]:
        """The table."""
        return [route for area in self.areas for route in area.routes()]

    def stop(self) -> None:
        """The server stops."""
        self.sessions.close()


def build_jmap(
    config: Config,
    db: Database,
    feed: Feed,
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
        email_changes=mail.email_changes,
        revise=mail.revise,
        uploads=mail.uploads,
        scripts=mail.scripts,
        objects=mail.objects,
        submissions=mail.submissions,
        submit=mail.submit,
        host=mail.recipients.domain,
        quota=usage.quota,
        clock=clock,
    )
    sessions = Sessions(sign_in, lambda no: ids.account_id(mail.tags, no), spend, proved)
    registry = Registry([core.capability(), mail_capability.capability()])
    registry.add(submission.Api(registry).capability())
    registry.add(more.quota_capability())
    registry.add(blobs.capability())
    registry.add(scripts.capability())
    registry.add(vacation.capability())
    registry.add(push.capability())
    api = JmapApi(deeds, sessions, registry, config.https_url)
    listeners = push.Listeners(mail.watches, mail.push_states, sign_in, feed)
    areas: list[Area] = [api, FilesApi(api, sessions), push.PushApi(api, sessions, listeners)]
    return JmapDoor(areas, sessions, registry, listeners)
