"""Builds the messenger: accounts, rooms, keys, media, and the API areas that show them."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kerwen.accounts import account_data_store, openid_store, profile_store
from kerwen.accounts.actions.account_data import AccountData
from kerwen.accounts.actions.filters import Filters
from kerwen.accounts.actions.openid import OpenId
from kerwen.accounts.actions.presence import Presence
from kerwen.accounts.actions.profile import Profiles
from kerwen.accounts.actions.prove import Challenge
from kerwen.accounts.actions.push_rules import EditPushRules
from kerwen.accounts.actions.pushers import Pushers
from kerwen.accounts.actions.user_directory import UserDirectory
from kerwen.accounts.address import localpart_named
from kerwen.accounts.old_hash import PEPPER_FILE
from kerwen.accounts.password import CHEAP, Argon2
from kerwen.accounts.push_rules_store import PushRules
from kerwen.admin.actions.notices import NAME as NOTICES
from kerwen.admin.parts import Admin, build_admin
from kerwen.admin.store import limits as account_limits
from kerwen.api.client.absent import AbsentApi
from kerwen.api.client.account_data import AccountDataApi
from kerwen.api.client.accounts import AccountHooks, Accounts, AccountSettings
from kerwen.api.client.app_services import AppServicesApi
from kerwen.api.client.calls import CallsApi
from kerwen.api.client.cross_signing import CrossSigningApi
from kerwen.api.client.dehydrated import DehydratedApi
from kerwen.api.client.delayed import DelayedApi
from kerwen.api.client.export import ExportApi
from kerwen.api.client.filters import FiltersApi
from kerwen.api.client.hierarchy import HierarchyApi
from kerwen.api.client.keys import KeysApi
from kerwen.api.client.media import MediaApi
from kerwen.api.client.notifications import NotificationsApi
from kerwen.api.client.old_sync import OldSyncApi
from kerwen.api.client.openid import OpenIdApi
from kerwen.api.client.presence import PresenceApi
from kerwen.api.client.profile import ProfileApi
from kerwen.api.client.push_rules import PushRulesApi
from kerwen.api.client.receipts import ReceiptsApi
from kerwen.api.client.relations import RelationsApi
from kerwen.api.client.room_directory import RoomDirectoryApi
from kerwen.api.client.room_events import RoomEventsApi
from kerwen.api.client.room_keys import RoomKeysApi
from kerwen.api.client.room_upkeep import RoomUpkeepApi
from kerwen.api.client.rooms import RoomsApi
from kerwen.api.client.search import SearchApi
from kerwen.api.client.sliding_sync import SlidingSyncApi
from kerwen.api.client.sync import SyncApi
from kerwen.api.client.tags import TagsApi
from kerwen.api.client.thread_subscriptions import ThreadSubscriptionsApi
from kerwen.api.client.to_device import ToDeviceApi
from kerwen.api.client.ui_auth import challenge_reply
from kerwen.api.client.user_directory import UserDirectoryApi
from kerwen.api.client.wellknown import WellKnown
from kerwen.api.http import Caller, Masks, Reply, Request
from kerwen.api.push import PushApi
from kerwen.api.router import Later
from kerwen.api.routes import Area
from kerwen.app_services import store as app_services_store
from kerwen.app_services.parts import AppServices, build_app_services, load_services
from kerwen.base.clock import Clock, now_ms
from kerwen.base.config import Config
from kerwen.base.metrics import Number
from kerwen.calls import figures
from kerwen.calls import store as calls_store
from kerwen.calls.transport import transport
from kerwen.calls.turn import Turn
from kerwen.export.actions.export import Export
from kerwen.keys.actions.backup import Backup
from kerwen.keys.actions.changes import Changes
from kerwen.keys.actions.claim import Claim
from kerwen.keys.actions.cross_sign import CrossSign
from kerwen.keys.actions.dehydrate import Dehydrate
from kerwen.keys.actions.federation import NoFederation
from kerwen.keys.actions.query import Query
from kerwen.keys.actions.send_to_device import SendToDevice
from kerwen.keys.actions.upload import Upload
from kerwen.keys.key_cache import KeyCache
from kerwen.keys.store import (
    forget_account,
    is_cross_signing_key,
    on_device_removed,
    on_device_renamed,
)
from kerwen.keys.store.key_counts import KeyCounts
from kerwen.media.actions.clean import Clean
from kerwen.media.actions.picture import Pictures
from kerwen.media.cleaner import run_cleaner
from kerwen.media.thumbnailer import Thumbnailer
from kerwen.net.certificates import names_of
from kerwen.net.outgoing import Outgoing
from kerwen.push import store as push_store
from kerwen.push.parts import Push, build_push
from kerwen.rooms.actions.append import Append
from kerwen.rooms.actions.badge import Badge
from kerwen.rooms.actions.create_room import CreateRoom
from kerwen.rooms.actions.delay import LIMITS as DELAY_LIMITS
from kerwen.rooms.actions.delay import Delay
from kerwen.rooms.actions.device_lists import moved_between
from kerwen.rooms.actions.directory import Directory
from kerwen.rooms.actions.follow_thread import FollowThread
from kerwen.rooms.actions.hierarchy import Hierarchy
from kerwen.rooms.actions.mark_read import MarkRead
from kerwen.rooms.actions.membership import Membership
from kerwen.rooms.actions.notifications import Notifications
from kerwen.rooms.actions.old_sync import OldSync
from kerwen.rooms.actions.peek import Peek
from kerwen.rooms.actions.read import Read
from kerwen.rooms.actions.recent import Recent
from kerwen.rooms.actions.relations import Relations
from kerwen.rooms.actions.render import render_all
from kerwen.rooms.actions.report import Reports
from kerwen.rooms.actions.room_summary import RoomSummary
from kerwen.rooms.actions.search import Search
from kerwen.rooms.actions.search_index import SearchIndex
from kerwen.rooms.actions.send import Send
from kerwen.rooms.actions.sliding_sync import SlidingSync
from kerwen.rooms.actions.sync import Sync
from kerwen.rooms.actions.sync_rooms import RoomSync
from kerwen.rooms.actions.typing import Typing
from kerwen.rooms.actions.upgrade_room import UpgradeRoom
from kerwen.rooms.store import delayed, members, subscriptions
from kerwen.rooms.store.events import Stored
from kerwen.rooms.store.names import Names
from kerwen.rooms.store.sliding import drop_device as drop_connections
from kerwen.rooms.store.users import user_ids
from kerwen.rooms.store.view import RoomViews
from kerwen.rooms.versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Kind, Snap, Tx
from kerwen.storage.feed import Feed
from kerwen.storage.key_files import read_secret, signing_key
from kerwen.storage.wake import WakeIndex
from kerwen.vault.store import Vaults

if TYPE_CHECKING:
    from kerwen.oauth.parts import OAuth

_SWEEP_S = 30.0
_SETTLED_S = 10.0  # after the start, until work is done ahead
OAUTH_PATHS: Final = (
    b"/_kerwen/oauth",
    b"/_kerwen/my",
    b"/_kerwen/passkey.js",
    b"/_matrix/client/v3/auth/",
    b"/_matrix/client/r0/auth/",
    b"/.well-known/oauth-authorization-server",
    b"/_matrix/client/v1/auth_metadata",
    b"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
    b"/_matrix/client/unstable/org.matrix.msc4108/",
    b"/_matrix/client/unstable/io.element.msc4388/",
)
ADMIN_PATHS: Final = (b"/_kerwen/admin",)
UNSTABLE = {
    "uk.half-shot.msc2666.query_mutual_rooms": True,
    "org.matrix.msc3814": True,  # dehydrated devices
    "io.element.msc4388": True,  # its second form
    "org.matrix.msc4108": True,  # rendezvous for a log-in by QR code
    "org.matrix.msc4140": True,  # delayed events
    "org.matrix.msc4222": True,  # state_after in /sync
    "org.matrix.msc4306": True,  # thread subscriptions, and MSC4308
    "org.matrix.simplified_msc3575": True,  # sliding sync (MSC4186)
}


@dataclass(slots=True)
class Messenger:
    """What `main` needs of the messenger."""

    accounts: Accounts
    reports: Reports
    recent: Recent
    areas: list[Area]
    later: list[Later]
    wake: WakeIndex
    sync: Sync
    sliding_sync: SlidingSync
    search_index: SearchIndex
    delay: Delay
    outgoing: Outgoing
    push: Push
    app_services: AppServices
    admin: Admin
    export: Export
    at_stop: list[Callable[[], None]] = field(default_factory=list)
    workers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    at_end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    at_start: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Done before anybody may ask anything."""
    masks: Masks | None = None
    numbers: list[Number] = field(default_factory=list)


def build_messenger(
    config: Config, db: Database, feed: Feed, blobs: Blobs, clock: Clock = now_ms
) -> Messenger:
    """Builds every object and hands it on; opens nothing."""
    domain = config.server_name
    names, recent, views = Names(), Recent(), RoomViews()
    feed.follow(recent.follow, Kind.EVENT, Kind.PURGE, Kind.BACKFILL)

    push_rules = PushRules(db, feed)
    append = Append(
        db,
        domain,
        signing_key(config.data_path / "keys"),
        clock,
        views,
        recent,
        names,
        push_rules,
    )
    membership = Membership(append, f"@{NOTICES}:{domain}")
    services = load_services(config)

    # accounts
    vaults = Vaults(secrets.token_bytes, clock)
    accounts = Accounts(
        db,
        feed,
        vaults,
        AccountSettings(
            domain,
            config.registration_mode,
            _argon2(config),
            room_versions=dict.fromkeys(ROOM_VERSIONS, "stable"),
            default_room_version=DEFAULT_ROOM_VERSION,
            unstable=UNSTABLE,
            capabilities={
                "m.delayed_events": DELAY_LIMITS,
                "org.matrix.msc4140.delayed_events": DELAY_LIMITS,
            },
            well_known=_well_known(config),
            old_pepper=read_secret(config.data_path / "keys" / PEPPER_FILE),
        ),
        AccountHooks(
            on_registered=[_mailboxes] if config.has_mail else [],
            reserved=lambda localpart: (
                localpart == NOTICES or services.user_is_claimed(f"@{localpart}:{domain}")
            ),
            device_id_taken=is_cross_signing_key,
            on_device_removed=[on_device_removed, _drop_pushers, drop_connections],
            on_device_renamed=[on_device_renamed],
            on_deactivated=[_forget],
            after_deactivated=[
                membership.leave_all,
                lambda *closed: admin.purge.after_deactivated(*closed),
            ],
        ),
        clock,
    )
    account_data = AccountData(db)

    read = Read(db, names, recent.pages, clock)
    create_room = CreateRoom(append, membership)
    reports = Reports(db, names, clock)
    neighbours = _Neighbours(db)
    wake = WakeIndex(neighbours.device_list)
    neighbours.wake = wake
    feed.follow(wake.follow)
    typing = Typing(wake)
    key_counts = KeyCounts(db)
    feed.follow(key_counts.follow, Kind.KEY_COUNT)
    sync = Sync(db, feed, wake, RoomSync(recent, clock), typing, key_counts, clock)
    sliding_sync = SlidingSync(db, feed, wake, recent, typing, key_counts, clock)
    feed.follow(sliding_sync.follow)

    summary = RoomSummary(db, names)
    send = Send(append)
    delay = Delay(db, send, clock)
    search_index = SearchIndex(db, feed)
    peek = Peek(db, feed, names, clock)
    feed.follow(peek.follow, Kind.EVENT)

    async def profile_changed(account_no: int) -> None:
        async with db.read() as snap:
            ids = await user_ids(snap, [account_no])
        await membership.refresh_profile((ids[account_no], account_no))

    # keys
    cache, alone = KeyCache(), NoFederation()
    query, upload = Query(db, cache, domain, alone), Upload(db, cache, clock)
    feed.follow(query.follow, Kind.DEVICE_LIST)

    async def check_uia(request: Request, body: Mapping[str, Any]) -> Reply | None:
        if request.caller.service:  # AS #cross-signing
            return None
        auth = body.get("auth")
        auth = auth if isinstance(auth, dict) else None
        if request.caller.oauth:
            from kerwen.api.oauth.new_keys import prove_new_keys

            return await prove_new_keys(oauth().renew_keys, base_url, request, auth or {})
        proof = await accounts.prove.owner("device_signing", request.caller.account_no, auth)
        if isinstance(proof, Challenge):
            return challenge_reply(proof)
        accounts.prove.done(proof)
        return None

    outgoing = _outgoing(config)
    base_url = _well_known(config).base_url
    push = build_push(config, db, feed, push_rules, Badge(db), outgoing, base_url, clock)

    async def rendered(snap: Snap, event: Stored, room_id: str) -> bytes:
        return (await render_all(snap, [event], clock(), 0, room_id))[0]

    app_services = build_app_services(
        config,
        db,
        feed,
        outgoing,
        accounts.register,
        accounts.log_in,
        services,
        rendered,
        typing.users,
        clock,
    )
    append.bridges = app_services.bridges
    if services:
        typing.listeners.append(app_services.soft)
        accounts.service_accounts = app_services.enrol

    async def check_app_password(name: str, password: str) -> int | None:
        localpart = localpart_named(name, domain)
        entry = await accounts.app_passwords.check(localpart, password) if localpart else None
        return entry.account.account_no if entry and not entry.account.locked else None

    profiles = Profiles(db, domain, profile_changed, make_user=app_services.bridges.make_user)

    @functools.cache
    def oauth() -> OAuth:
        from kerwen.oauth.parts import build_oauth  # pages and all: who needs them waits for them

        return build_oauth(db, domain, base_url, accounts, profiles, vaults, clock)

    thumbnailer = Thumbnailer()
    previews = None
    if config.url_previews == "on":
        from kerwen.media.actions.preview import Previews

        previews = Previews(db, blobs, outgoing, domain, clock)
    pictures = Pictures(outgoing) if config.has_mail else None
    media = MediaApi(
        db, blobs, feed, domain, thumbnailer, previews=previews, pictures=pictures, clock=clock
    )
    export = Export(db, blobs, clock)

    async def named_by_mail(keys: Sequence[str]) -> set[str]:
        from kerwen.mail.actions.tidy import Tidy

        return await Tidy(db, clock).named(keys)

    clean = Clean(db, blobs, clock, [named_by_mail])
    admin = build_admin(
        config,
        db,
        feed,
        blobs,
        accounts,
        append,
        membership,
        send,
        reports,
        media.deletion,
        clock,
    )
    filters = Filters(db)
    openid = OpenId(db, domain, secrets.token_bytes, clock)
    calls = None
    if config.janus is not None:
        from kerwen.calls.parts import build_calls  # brings WebSockets, which cost memory

        calls = build_calls(config, db, feed, openid.owner, delay, base_url, clock)
    areas: list[Area] = [
        accounts,
        AccountDataApi(account_data),
        TagsApi(account_data),
        PushRulesApi(EditPushRules(db), Pushers(db, clock, plain_http=config.dev)),
        FiltersApi(filters),
        ProfileApi(profiles),
        UserDirectoryApi(UserDirectory(db, neighbours.visible)),
        OpenIdApi(openid),
        KeysApi(
            upload,
            query,
            Claim(db, domain, alone),
            Changes(db, members.sharing_users, moved_between),
        ),
        DehydratedApi(Dehydrate(db, feed, upload, accounts.remove_devices.run, clock)),
        CrossSigningApi(CrossSign(db, cache), check_uia),
        RoomKeysApi(Backup(db)),
        ToDeviceApi(SendToDevice(db, domain, alone, clock)),
        media,
        RoomsApi(create_room, membership, read),
        RoomDirectoryApi(Directory(append), domain),
        RoomUpkeepApi(
            summary,
            UpgradeRoom(append, create_room),
            reports,
        ),
        RelationsApi(Relations(db, names, read, clock)),
        ThreadSubscriptionsApi(FollowThread(db, names)),
        RoomEventsApi(send, delay, read),
        DelayedApi(delay),
        ReceiptsApi(MarkRead(db, names, clock), typing, db, names),
        SyncApi(sync, filters),
        SlidingSyncApi(sliding_sync),
        CallsApi(
            Turn(config.turn_uris, config.turn_secret or ""),
            [transport(base_url)] if calls else [],
            clock,
        ),
        *([calls.api] if calls else []),
        PresenceApi(Presence(db, neighbours.visible, clock, shared=config.presence == "on")),
        OldSyncApi(OldSync(db, feed, sync, read, peek, names)),
        SearchApi(Search(db, search_index, clock)),
        NotificationsApi(Notifications(db, push_rules, clock)),
        HierarchyApi(Hierarchy(db, names, summary)),
        PushApi(push.topics, check_app_password),
        AppServicesApi(services, app_services.lookup, app_services.client, db, names, clock),
        ExportApi(export, accounts.prove),
        AbsentApi(),
    ]
    later = [
        Later(OAUTH_PATHS, lambda: [r for area in oauth().areas for r in area.routes()]),
        Later(ADMIN_PATHS, lambda: admin.make_table().routes()),
    ]

    async def close() -> None:
        await sliding_sync.connections.finish()
        if previews is not None:
            previews.stop()
        await outgoing.close()
        accounts.close()
        await thumbnailer.close()
        await blobs.close()

    async def prepare() -> None:
        await asyncio.sleep(_SETTLED_S)
        await blobs.prepare()

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            wake.sweep(clock())
            await sliding_sync.tidy()
            await accounts.tidy()
            await admin.tell_resets.run()
            if oauth.cache_info().currsize:  # somebody uses it
                await oauth().tidy()
            await media.downloads.use.write()

    return Messenger(
        accounts,
        reports,
        recent,
        areas,
        later,
        wake,
        sync,
        sliding_sync,
        search_index,
        delay,
        outgoing,
        push,
        app_services,
        admin,
        export,
        at_stop=[
            typing.stop,
            sync.stop,
            sliding_sync.stop,
            peek.stop,
            push.topics.stop,
            *([calls.hall.stop] if calls else []),
        ],
        workers=[
            prepare,
            sweep,
            lambda: run_cleaner(clean, admin.keep),
            admin.purge.work,
            search_index.work,
            delay.work,
            push.follow,
            push.sender.run,
            push.sweep,
            *app_services.workers(),
            *(calls.workers() if calls else []),
        ],
        numbers=figures.numbers(calls.hall if calls else None),
        at_end=[close],
        at_start=[
            app_services.at_start,
            admin.limits.load,
            *([calls.leaves.load] if calls else []),
        ],
        masks=app_services.masks(db, Caller) if services else None,
    )


def _outgoing(config: Config) -> Outgoing:
    """How others are asked. In development the names of this machine are its own."""
    authorities = [Path(config.ca)] if config.ca is not None else []
    if config.dev:
        authorities.append(config.data_path / "dev-ca.pem")
    return Outgoing(dev=config.dev, own_names=names_of(config.server_name), authorities=authorities)


def _argon2(config: Config) -> Argon2:
    """A development server may hash cheaply; people's passwords never are."""
    if config.dev and config.cheap_passwords:
        return CHEAP
    return Argon2()


async def _mailboxes(tx: Tx, account_no: int, user_id: str) -> None:
    """Whoever has mail has its mailboxes from the start, and takes nobody's address."""
    from kerwen.mail.actions.mailboxes import ensure as ensure_mailboxes
    from kerwen.mail.actions.recipients import check_free

    await check_free(tx, user_id[1:].partition(":")[0])
    await ensure_mailboxes(tx, account_no, now_ms() // 1000)


async def _drop_pushers(tx: Tx, account_no: int, device_no: int) -> None:
    await account_data_store.drop_device_pushers(tx, [device_no])
    await push_store.drop_device_topics(tx, device_no)


async def _forget(tx: Tx, account_no: int, erase: bool) -> None:
    """What all subjects keep of somebody who leaves for good."""
    from kerwen.mail.store.forget import forget_account as forget_mail

    await forget_account(tx, account_no)
    await forget_mail(tx, account_no)
    await account_data_store.drop_account(tx, account_no)
    await openid_store.drop_account(tx, account_no)
    await profile_store.drop(tx, account_no)
    await push_store.drop_account(tx, account_no)
    await app_services_store.drop_user(tx, account_no)
    await delayed.drop_user(tx, account_no)
    await calls_store.drop_account(tx, account_no)
    await subscriptions.drop_account(tx, account_no)
    await account_limits.drop_account(tx, account_no)


def _well_known(config: Config) -> WellKnown:
    """What the server says of itself, where a client that knows only the domain looks."""
    ports = config.ports
    if config.dev:
        base = f"http://127.0.0.1:{ports['http']}" if "http" in ports else ""
        server = f"127.0.0.1:{ports.get('federation', 8448)}"
    else:
        host = config.server_name.partition(":")[0]
        base = config.https_url
        server = f"{host}:{ports.get('federation', 8448)}"
    more: dict[str, Any] = {}
    if config.janus is not None:  # where older clients look for calls (MSC4143)
        more["org.matrix.msc4143.rtc_foci"] = [transport(base)]
    return WellKnown(base, server, more=more)


class _Neighbours:
    """Who shares a room with whom, for those who cannot wait for an answer."""

    wake: WakeIndex

    def __init__(self, db: Database) -> None:
        self._db = db
        self._running: set[asyncio.Task[None]] = set()

    def device_list(self, pos: int, account_no: int) -> None:
        """The devices of somebody who is not connected changed: wakes those who share a room."""
        task = asyncio.ensure_future(self._wake(pos, account_no))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _wake(self, pos: int, account_no: int) -> None:
        async with self._db.read() as snap:
            rooms = await members.joined_rooms(snap, account_no)
        self.wake.wake_sharing(pos, (), rooms)

    async def visible(self, account_no: int, others: Sequence[int]) -> set[int]:
        """Of `others`, those with whom an account shares a room."""
        async with self._db.read() as snap:
            return await members.sharing_among(snap, account_no, others)
