"""Builds administration, retention and the disk's keeper: read it to see what needs what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerwen.admin.actions.audit import Audit
from kerwen.admin.actions.limits import Limits
from kerwen.admin.actions.look import Look
from kerwen.admin.actions.notices import Notices
from kerwen.admin.actions.tell_resets import TellResets
from kerwen.admin.store import overview
from kerwen.api.client.accounts import Accounts
from kerwen.base.clock import Clock
from kerwen.base.config import Config
from kerwen.media.actions.delete import Deletion
from kerwen.media.actions.keep import Keep, KeepRules
from kerwen.media.actions.quota import Quota
from kerwen.media.rules import MediaRules
from kerwen.rooms.actions.append import Append
from kerwen.rooms.actions.create_room import CreateRoom
from kerwen.rooms.actions.membership import Membership
from kerwen.rooms.actions.purge import Purge
from kerwen.rooms.actions.report import Reports
from kerwen.rooms.actions.send import Send
from kerwen.rooms.store.users import user_nos
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database
from kerwen.storage.feed import Feed

if TYPE_CHECKING:
    from kerwen.api.admin.api import AdminTable

_DAY_MS = 86_400_000
_GB = 10**9


@dataclass(frozen=True, slots=True)
class Admin:
    """What `messenger` and the command line need of it."""

    audit: Audit
    limits: Limits
    look: Look
    notices: Notices
    tell_resets: TellResets
    purge: Purge
    keep: Keep
    reports: Reports
    deletion: Deletion
    quota: Quota
    make_table: Callable[[], AdminTable]


def build_admin(
    config: Config,
    db: Database,
    feed: Feed,
    blobs: Blobs,
    accounts: Accounts,
    append: Append,
    membership: Membership,
    send: Send,
    reports: Reports,
    deletion: Deletion,
    clock: Clock,
) -> Admin:
    """Builds every object; opens nothing."""
    domain = config.server_name

    async def drop_files(shared: Sequence[tuple[str, str]]) -> None:
        if shared:
            async with db.read() as snap:
                nos = await user_nos(snap, {sender for sender, _ in shared})
            await deletion.delete_shared([(nos[s], uri) for s, uri in shared if s in nos])

    async def pictures() -> frozenset[str]:
        async with db.read(long=True) as snap:
            return await overview.pictures(snap)

    rules = KeepRules(
        config.keep_files * _DAY_MS, config.keep_cached * _DAY_MS, config.media_budget * _GB
    )
    audit, limits, look = Audit(db, clock), Limits(db, feed), Look(db, domain, clock)
    purge = Purge(
        append, membership, drop_files, deletion.delete_all, config.keep_messages * _DAY_MS
    )
    plain_rooms = CreateRoom(append, membership, encrypt_private=False)
    notices = Notices(
        db,
        domain,
        accounts.register,
        accounts.moderate,
        plain_rooms,
        membership,
        send,
        append.names,
    )
    quota = Quota(db, MediaRules())

    @functools.cache
    def make_table() -> AdminTable:
        """The HTTP API, which is imported when an administrator first asks."""
        from kerwen.api.admin.accounts import AccountsApi
        from kerwen.api.admin.api import AdminTable
        from kerwen.api.admin.mail import MailReportsApi
        from kerwen.api.admin.media import MediaAdminApi
        from kerwen.api.admin.rooms import RoomsApi
        from kerwen.api.admin.server import ServerApi
        from kerwen.api.admin.table import ConfirmApi, Confirmations
        from kerwen.mail.actions.reports_in import ReportsIn

        confirmations = Confirmations(accounts.prove, clock)
        return AdminTable(
            [
                ConfirmApi(confirmations),
                AccountsApi(domain, accounts, look, quota, limits),
                RoomsApi(look, purge),
                MediaAdminApi(accounts.moderate, quota, deletion),
                ServerApi(look, reports, notices, audit),
                MailReportsApi(ReportsIn(db, domain.partition(":")[0], clock)),
            ],
            confirmations,
        )

    keep = Keep(db, blobs, deletion, domain, rules, pictures, clock)
    tell_resets = TellResets(db, domain, accounts.settings.well_known.base_url, notices.say)
    return Admin(
        audit, limits, look, notices, tell_resets, purge, keep, reports, deletion, quota, make_table
    )
