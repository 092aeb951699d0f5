"""Everything of one account as one archive, for its owner (docs/export.md).

Read page by page and written as it is read, so an archive of any size costs the memory of one
page. What is end-to-end encrypted stays so: the server has no key to it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from kerwen.accounts import profile_store
from kerwen.accounts.store import accounts, devices, factors, tokens
from kerwen.base.clock import Clock
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.export import store
from kerwen.export.archive import END, header, padding
from kerwen.keys.store import cross_signing, device_keys
from kerwen.rooms.actions.render import render_all
from kerwen.rooms.actions.visible import visible_events, visible_room
from kerwen.rooms.store import events, members, state
from kerwen.rooms.store.members import Member
from kerwen.rooms.store.users import room_ids, user_ids
from kerwen.storage.blobs import Blobs
from kerwen.storage.database import Database, Snap

if TYPE_CHECKING:
    from kerwen.export.actions.mail import MailExport
    from kerwen.mail.actions.unlock import Lease

AT_ONCE: Final = 2  # archives that are made at the same time
_EVENTS: Final = 200
_KEYS: Final = 500
_FILES: Final = 50
_BIAS: Final = 2**53  # seqs of backfilled events are negative; names are sorted as text
_README: Final = """This is everything that the server keeps of you, made by yourself.

account.json        your account, devices, profile, settings of notifications
account-data.json   what your programs keep here
keys.json           your public keys
key-backup/         the sealed backup of your message keys; your recovery key opens it
rooms/              each room you are or were in: what it is, and what you may read of it
files/              what you uploaded, with what is known of each
reports.json        what you reported
mail/               your mail: a folder for each mailbox, about.json names it, each message is a
                    file; the letters of its name: A answered, D draft, F flagged, S seen, T deleted

Messages of encrypted rooms are as the server has them: encrypted. A program that has your keys, or
your recovery key and the key backup, reads them. Your mail is open in here, as your password opened
it: keep this file as you keep your mail. `kerwen mail import archive` takes it in again.
"""


class Owner(msgspec.Struct, frozen=True):
    """Whose archive it is."""

    account_no: int
    user_id: str


class Export:
    """One archive at a time for an account, `AT_ONCE` for the whole house."""

    def __init__(self, db: Database, blobs: Blobs, clock: Clock) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._running: set[int] = set()
        self.mail: MailExport | None = None
        """Who reads mail; none where the house has no mail."""

    async def owner(self, account_no: int) -> Owner:
        """The owner of an account, by number."""
        async with self._db.read() as snap:
            account = await accounts.by_no(snap, account_no)
            ids = await user_ids(snap, [account_no])
        if account is None or not account.active:
            raise Refused(Reason.NOT_FOUND, "There is no such account")
        return Owner(account_no, ids[account_no])

    async def begin(
        self, owner: Owner, after: str = "", slot: bytes | None = None
    ) -> AsyncGenerator[bytes]:
        """The archive's bytes, or those behind the member `after`. `slot` opens the owner's vault
        for its mail: what its password was stretched to.

        `Unavailable(BUSY)` while one is made for the account, or too many are. Whoever takes
        the bytes must end the iterator (`aclose`).
        """
        if len(after) > 300:
            raise Refused(Reason.INVALID_PARAM, "There is no such member")
        if owner.account_no in self._running or len(self._running) >= AT_ONCE:
            raise Unavailable(Unready.BUSY, 60_000)
        lease = None
        if self.mail is not None and slot is not None:
            lease = await self.mail.open(owner.account_no, slot)
        if owner.account_no in self._running:
            if lease is not None:
                lease.close()
            raise Unavailable(Unready.BUSY, 60_000)
        self._running.add(owner.account_no)
        made = self._bytes(owner, after, lease)
        await anext(made)
        return made

    async def _bytes(self, owner: Owner, after: str, lease: Lease | None) -> AsyncGenerator[bytes]:
        try:
            yield b""  # begun: from here on `aclose` reaches what follows
            sections = (
                ("0-", self._readme),
                ("3-", self._account),
                ("4-key-backup/", self._key_backups),
                ("5-rooms/", self._rooms),
                ("6-files/", self._files),
                ("7-", self._reports),
            )
            for prefix, section in sections:  # of its last name
                if prefix >= after[: len(prefix)]:
                    async for chunk in section(owner, after):
                        yield chunk
            if self.mail is not None and lease is not None:
                async for chunk in self.mail.members(lease, after, self._clock()):
                    yield chunk
            yield END
        finally:
            if lease is not None:
                lease.close()
            self._running.discard(owner.account_no)

    def _member(self, name: str, data: bytes) -> bytes:
        return header(name, len(data), self._clock()) + data + padding(len(data))

    def _json(self, name: str, value: Any) -> bytes:
        return self._member(name, orjson.dumps(value, option=orjson.OPT_INDENT_2))

    # --- the account --------------------------------------------------------------------------

    async def _readme(self, owner: Owner, after: str) -> AsyncIterator[bytes]:
        if after < "0-README.txt":
            yield self._member("0-README.txt", _README.encode())

    async def _account(self, owner: Owner, after: str) -> AsyncIterator[bytes]:
        made = (
            ("1-account.json", self._own),
            ("2-account-data.json", self._data),
            ("3-keys.json", self._keys),
        )
        for name, make in made:
            if name > after:
                async with self._db.read() as snap:
                    value = await make(snap, owner)
                yield self._json(name, value)

    async def _own(self, snap: Snap, owner: Owner) -> dict[str, Any]:
        no = owner.account_no
        account = await accounts.by_no(snap, no)
        profile = await profile_store.get(snap, no)
        assert account is not None, "its row stays"
        return {
            "user_id": owner.user_id,
            "created_ms": account.created_ms,
            "profile": msgspec.to_builtins(profile),
            "devices": [
                {
                    "device_id": d.device_id,
                    "display_name": d.display_name,
                    "created_ms": d.created_ms,
                    "seen_ms": d.seen_ms,
                    "seen_address": d.seen_address,
                }
                for d in await devices.of(snap, no)
            ],
            "app_passwords": [
                {"name": a.name, "created_ms": a.created_ms, "used_ms": a.used_ms}
                for a in await tokens.app_passwords(snap, no)
            ],
            "second_factors": [
                {"kind": f.kind, "name": f.name, "created_ms": f.created_ms, "used_ms": f.used_ms}
                for f in await factors.of(snap, no)
            ],
            "pushers": [
                {"app_id": app, "kind": kind, "set_ms": at}
                for app, kind, at in await store.pushers(snap, no)
            ],
            "filters": [orjson.loads(source) for source in await store.filters(snap, no)],
        }

    async def _data(self, snap: Snap, owner: Owner) -> dict[str, Any]:
        found = await store.account_data(snap, owner.account_no)
        return {event_type: orjson.loads(content) for event_type, content in found}

    async def _keys(self, snap: Snap, owner: Owner) -> dict[str, Any]:
        no = owner.account_no
        stored = await device_keys.stored_devices(snap, [no])
        crossed = await cross_signing.user_keys(snap, no)
        versions = await store.backups(snap, no)
        return {
            "device_keys": [orjson.loads(device.body) for device in stored.get(no, [])],
            "cross_signing_keys": {usage: orjson.loads(key.body) for usage, key in crossed.items()},
            "key_backups": [
                {
                    "version": str(version),
                    "algorithm": algorithm,
                    "auth_data": orjson.loads(auth_data),
                    "count": count,
                }
                for version, algorithm, auth_data, count in versions
            ],
        }

    async def _key_backups(self, owner: Owner, after: str) -> AsyncIterator[bytes]:
        async with self._db.read() as snap:
            versions = [row[0] for row in await store.backups(snap, owner.account_no)]
        for version in versions:
            start = 0
            while True:
                name = f"4-key-backup/{version:09d}/{start:09d}.json"
                async with self._db.read() as snap:
                    rows = await store.backup_keys(snap, owner.account_no, version, start, _KEYS)
                if rows and name > after:
                    yield self._json(
                        name,
                        [
                            {"room_id": r, "session_id": s, **orjson.loads(body)}
                            for r, s, body in rows
                        ],
                    )
                if len(rows) < _KEYS:
                    break
                start += _KEYS

    async def _reports(self, owner: Owner, after: str) -> AsyncIterator[bytes]:
        if after < "7-reports.json":
            names = ("kind", "room_id", "event_id", "user_id", "reason", "reported_ms")
            async with self._db.read() as snap:
                rows = await store.reports(snap, owner.user_id)
            yield self._json("7-reports.json", [dict(zip(names, r, strict=True)) for r in rows])

    # --- rooms --------------------------------------------------------------------------------

    async def _rooms(self, owner: Owner, after: str) -> AsyncIterator[bytes]:
        async with self._db.read() as snap:
            places = await members.members_of(snap, owner.account_no)
            ids = await room_ids(snap, [place.room_no for place in places])
        for place in sorted(places, key=lambda p: p.room_no):
            folder = f"5-rooms/{place.room_no:016d}/"
            if folder < after[: len(folder)]:
                continue
            if folder + "about.json" > after:
                async with self._db.read() as snap:
                    about = await self._about(snap, owner, place, ids[place.room_no])
                yield self._json(folder + "about.json", about)
            first = _place_in(after, folder)
            async for chunk in self._events(owner, place.room_no, ids[place.room_no], first):
                yield chunk

    async def _about(self, snap: Snap, owner: Owner, place: Member, room_id: str) -> dict[str, Any]:
        no = owner.account_no
        data = await store.room_data(snap, no, place.room_no)
        kept = await store.receipts(snap, place.room_no, no)
        threads = await store.threads(snap, no, place.room_no)
        return {
            "room_id": room_id,
            "membership": place.membership,
            "forgotten": bool(place.forgotten),
            "invite_state": orjson.loads(place.stripped) if place.stripped else [],
            "account_data": {kind: orjson.loads(content) for kind, content in data},
            "receipts": [
                {"type": kind, "thread_id": thread or None, "event_id": event_id, "ts": ts}
                for kind, thread, event_id, ts in kept
            ],
            "threads_followed": [
                {"event_id": root, "automatic": state == 1} for root, state in threads
            ],
            "state": await self._state(snap, owner, place.room_no, room_id),
        }

    async def _state(
        self, snap: Snap, owner: Owner, room_no: int, room_id: str
    ) -> list[orjson.Fragment]:
        try:
            _, until = await visible_room(snap, room_no, owner.account_no, owner.user_id)
        except Refused:
            return []
        if until is None:
            found = await state.current_events(snap, room_no)
        else:
            found = await state.state_at(snap, room_no, until)
        shown = await render_all(snap, found, self._clock(), 0, room_id)
        return [orjson.Fragment(event) for event in shown]

    async def _events(
        self, owner: Owner, room_no: int, room_id: str, after: int
    ) -> AsyncIterator[bytes]:
        """What the owner may read of a room, in the order of the timeline, behind a place."""
        while True:
            async with self._db.read() as snap:
                try:
                    await visible_room(snap, room_no, owner.account_no, owner.user_id)
                except Refused:
                    return
                sight = await visible_events(snap, room_no, owner.user_id)
                first = sight.first_from(after + 1)
                if first is None:
                    return
                rows = await events.forward(snap, room_no, first - 1, _EVENTS)
                seen = [row for row in rows if sight.sees(row.seq)]
                shown = await render_all(snap, seen, self._clock(), 0, room_id)
            if not rows:
                return
            after = rows[-1].seq
            if shown:
                name = f"5-rooms/{room_no:016d}/events-{after + _BIAS:017d}.json"
                yield self._member(name, b"[" + b",\n".join(shown) + b"]")

    # --- files --------------------------------------------------------------------------------

    async def _files(self, owner: Owner, after: str) -> AsyncIterator[bytes]:
        place = (_file_in(after) - 1, "\x7f")  # those of the same moment are told apart by name
        while True:
            async with self._db.read() as snap:
                rows = await store.files(snap, owner.account_no, place, _FILES)
            for media_id, blob, content_type, file_name, size, created_ms in rows:
                base = f"6-files/{created_ms:015d}-{media_id}"
                about = {
                    "media_id": media_id,
                    "content_type": content_type,
                    "file_name": file_name,
                    "size": size,
                    "created_ms": created_ms,
                }
                if base + ".about.json" > after:
                    yield self._json(base + ".about.json", about)
                if base + ".data" > after:
                    async for chunk in self._blob(base + ".data", blob, size):
                        yield chunk
                place = (created_ms, media_id)
            if len(rows) < _FILES:
                return

    async def _blob(self, name: str, blob: str, size: int) -> AsyncIterator[bytes]:
        try:
            reader = await self._blobs.open(blob, 0, size)
        except Refused:
            return  # deleted meanwhile
        try:
            yield header(name, size, self._clock())
            async for chunk in reader:
                yield chunk
            yield padding(size)
        finally:
            await reader.aclose()


def _place_in(after: str, folder: str) -> int:
    """Behind which place of a room's timeline an archive goes on."""
    digits = after.removeprefix(folder + "events-").removesuffix(".json")
    if after.startswith(folder + "events-") and digits.isascii() and digits.isdigit():
        return int(digits) - _BIAS
    return -(2**62)


def _file_in(after: str) -> int:
    """From when on the files are that an archive goes on with; 0: all."""
    stamp = after.removeprefix("6-files/").partition("-")[0]
    if not after.startswith("6-files/") or not stamp.isascii() or not stamp.isdigit():
        return 0
    return int(stamp) if len(stamp) == 15 else 0
