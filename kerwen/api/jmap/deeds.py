"""What the door calls: the actions of mail, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kerwen.base.clock import Clock
from kerwen.mail.actions.account_views import AccountViews
from kerwen.mail.actions.append import Append
from kerwen.mail.actions.copy import Copy
from kerwen.mail.actions.email_changes import EmailChanges
from kerwen.mail.actions.email_query import EmailQuery
from kerwen.mail.actions.expunge import Expunge
from kerwen.mail.actions.mailboxes import Mailboxes
from kerwen.mail.actions.objects import Objects
from kerwen.mail.actions.records import Records
from kerwen.mail.actions.revise import Revise
from kerwen.mail.actions.scripts import Scripts
from kerwen.mail.actions.sign_in import SignIn
from kerwen.mail.actions.store_flags import StoreFlags
from kerwen.mail.actions.submissions import Submissions
from kerwen.mail.actions.submit import Submit
from kerwen.mail.actions.tastes import Tastes
from kerwen.mail.actions.uploads import Uploads
from kerwen.mail.actions.watch import MailWatches
from kerwen.mail.store.tags import Tags


@dataclass(frozen=True, slots=True)
class Deeds:
    """The actions."""

    sign_in: SignIn
    tags: Tags
    account_views: AccountViews
    email_query: EmailQuery
    mailboxes: Mailboxes
    records: Records
    append: Append
    store_flags: StoreFlags
    copy: Copy
    expunge: Expunge
    tastes: Tastes
    watches: MailWatches
    email_changes: EmailChanges
    revise: Revise
    uploads: Uploads
    scripts: Scripts
    objects: Objects
    submissions: Submissions
    submit: Submit
    host: str
    """Our domain, for Message-IDs."""
    quota: Callable[[int], Awaitable[tuple[int, int]]]
    clock: Clock
