"""What `kerwen room …`, `media …`, `server …` and the rest of `account …` ask the server to do.

The same actions as the administrators' API, by the words of the command line. They show no more
than it does: whoever has the data folder has the database, but no tool of ours reads it to them.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import orjson

from kerwen.accounts.address import user_id_of
from kerwen.admin.parts import Admin
from kerwen.api.admin_socket import Deed
from kerwen.api.client.accounts import Accounts
from kerwen.base.clock import now_ms
from kerwen.base.errors import Reason, Refused
from kerwen.export.actions.export import Export
from kerwen.export.archive import last_whole
from kerwen.media.mxc import parse_mxc
from kerwen.rooms.store.expiry import Job

_DAY_MS = 86_400_000
_PAGE = 1_000


class AdminDeeds:
    """The deeds by their words."""

    def __init__(self, domain: str, accounts: Accounts, admin: Admin, export: Export) -> None:
        self._domain = domain
        self._accounts = accounts
        self._moderate = accounts.moderate
        self._admin = admin
        self._export = export

    def deeds(self) -> dict[str, Deed]:
        """Each deed by its words."""
        return {
            "account show": self.show,
            "account suspend": self.suspend,
            "account unsuspend": self.unsuspend,
            "account admin": self.make_admin,
            "account no-admin": self.drop_admin,
            "account devices": self.devices,
            "account log-out": self.log_out,
            "account limits": self.limits,
            "account reset-password": self.reset_password,
            "account stop-reset": self.stop_reset,
            "account reset-second-factor": self.reset_second_factor,
            "account stop-second-factor-reset": self.stop_second_factor_reset,
            "account export": self.export,
            "room list": self.rooms,
            "room show": self.room,
            "room block": self.block,
            "room unblock": self.unblock,
            "room purge-history": self.purge_history,
            "room shut-down": self.shut_down,
            "media list": self.files,
            "media quarantine": self.quarantine,
            "media release": self.release,
            "media delete": self.delete,
            "server statistics": self.statistics,
            "server audit": self.audit,
            "server reports": self.reports,
            "server close-report": self.close_report,
            "server removals": self.removals,
            "server notice": self.notice,
        }

    # --- accounts -----------------------------------------------------------------------------

    async def show(self, name: str) -> dict[str, Any]:
        """`kerwen account show NAME`"""
        return msgspec.structs.asdict(await self._admin.look.account(self._user_id(name)))

    async def suspend(self, name: str) -> None:
        """`kerwen account suspend NAME`: it may read and leave, no more."""
        await self._moderate.suspend(0, self._user_id(name), True)

    async def unsuspend(self, name: str) -> None:
        """`kerwen account unsuspend NAME`"""
        await self._moderate.suspend(0, self._user_id(name), False)

    async def make_admin(self, name: str) -> None:
        """`kerwen account admin NAME`: the only way to make an administrator of an account."""
        await self._moderate.set_admin(self._user_id(name), True)

    async def drop_admin(self, name: str) -> None:
        """`kerwen account no-admin NAME`"""
        await self._moderate.set_admin(self._user_id(name), False)

    async def devices(self, name: str) -> list[dict[str, Any]]:
        """`kerwen account devices NAME`"""
        found = await self._moderate.devices_of(self._user_id(name))
        return [
            {"device": d.device_id, "seen_ms": d.seen_ms, "address": d.seen_address} for d in found
        ]

    async def log_out(self, name: str, device: str) -> None:
        """`kerwen account log-out NAME DEVICE`"""
        account_no = await self._account_no(name)
        found = await self._accounts.manage_devices.one(account_no, device)
        await self._accounts.manage_devices.delete(account_no, [found.device_id])

    async def limits(self, name: str, percent: str | None = None) -> str:
        """`kerwen account limits NAME [PERCENT|none]`: a share of everyone's rate limits."""
        account_no = await self._account_no(name)
        if percent is not None:
            if percent != "none" and not (percent.isascii() and percent.isdigit()):
                raise Refused(Reason.INVALID_PARAM, "Write a percentage, 0 for no limits, or none")
            await self._admin.limits.set(account_no, None if percent == "none" else int(percent))
        found = await self._admin.limits.of(account_no)
        return "as everyone" if found is None else f"{found} %" if found else "no limits"

    async def reset_password(self, name: str, password: str) -> dict[str, int]:
        """`kerwen account reset-password NAME`: takes effect after three days."""
        resets = self._accounts.reset_password
        return {"effect_ms": await resets.begin(0, await self._account_no(name), password)}

    async def stop_reset(self, name: str) -> None:
        """`kerwen account stop-reset NAME`"""
        await self._accounts.reset_password.stop(await self._account_no(name))

    async def reset_second_factor(self, name: str) -> dict[str, int]:
        """`kerwen account reset-second-factor NAME`: takes effect after three days."""
        resets = self._accounts.reset_factors
        return {"effect_ms": await resets.begin(0, await self._account_no(name))}

    async def stop_second_factor_reset(self, name: str) -> None:
        """`kerwen account stop-second-factor-reset NAME`"""
        await self._accounts.reset_factors.stop(await self._account_no(name))

    async def export(self, name: str, file: str, password: str) -> str:
        """`kerwen account export NAME FILE`: with the account's own password only. A file that
        is there already is a part of it, and is gone on with."""
        account, keys = await self._accounts.prove.password(name.lower(), password)
        owner = await self._export.owner(account.account_no)
        with await asyncio.to_thread(_open, Path(file)) as out:
            after, at = await asyncio.to_thread(last_whole, out)
            out.seek(at)
            out.truncate()
            made = await self._export.begin(owner, after, keys.slot)
            try:
                async for chunk in made:
                    await asyncio.to_thread(out.write, chunk)
            finally:
                await made.aclose()
            await asyncio.to_thread(_sync, out)
            return f"{file}: {out.tell() / 1e6:.1f} MB"

    # --- rooms --------------------------------------------------------------------------------

    async def rooms(self, text: str = "") -> list[dict[str, Any]]:
        """`kerwen room list [TEXT]`: ids that contain a text, or the room of an alias."""
        shown, after = [], 0
        while True:
            page = await self._admin.look.rooms(text, after, _PAGE)
            for row in page:
                words = ("encrypted", "published", "blocked")
                marks = ", ".join(word for word in words if getattr(row, word))
                shown.append(
                    {"room": row.room_id, "joined": row.joined, "events": row.events, "is": marks}
                )
            if len(page) < _PAGE:
                return shown
            after = page[-1].room_no

    async def room(self, room: str) -> dict[str, Any]:
        """`kerwen room show ROOM`"""
        found = await self._admin.look.room(room)
        shown = msgspec.structs.asdict(found.row) | dict(found.settings)
        shown["aliases"] = " ".join(found.aliases)
        shown["state"] = ", ".join(f"{n} {kind}" for kind, n in found.state.items())
        return shown

    async def block(self, room: str) -> None:
        """`kerwen room block ROOM`: nobody enters it."""
        await self._admin.purge.block(room, True)

    async def unblock(self, room: str) -> None:
        """`kerwen room unblock ROOM`"""
        await self._admin.purge.block(room, False)

    async def purge_history(self, room: str, days: int) -> dict[str, Any]:
        """`kerwen room purge-history ROOM --days N`: messages that are older go."""
        if days < 0:
            raise Refused(Reason.INVALID_PARAM, "Days are counted back from now")
        return _job(await self._admin.purge.history(room, now_ms() - days * _DAY_MS))

    async def shut_down(self, room: str) -> dict[str, Any]:
        """`kerwen room shut-down ROOM`: everybody out, and all of it goes."""
        return _job(await self._admin.purge.room(room))

    # --- files --------------------------------------------------------------------------------

    async def files(self, name: str) -> list[dict[str, Any]]:
        """`kerwen media list NAME`: the newest thousand."""
        account_no = await self._account_no(name)
        found = await self._admin.quota.own_media(account_no, 2**62, _PAGE)
        return [
            {
                "uri": f"mxc://{self._domain}/{m.media_id}",
                "bytes": m.size,
                "type": m.content_type,
                "is": "quarantined" if m.quarantined else "",
            }
            for m in found
        ]

    async def quarantine(self, media: str) -> None:
        """`kerwen media quarantine URI`: nobody gets it."""
        await self._admin.deletion.quarantine(*_named(media), True)

    async def release(self, media: str) -> None:
        """`kerwen media release URI`"""
        await self._admin.deletion.quarantine(*_named(media), False)

    async def delete(self, media: str) -> None:
        """`kerwen media delete URI`"""
        await self._admin.deletion.delete_any(*_named(media))

    # --- the server ---------------------------------------------------------------------------

    async def statistics(self) -> dict[str, int]:
        """`kerwen server statistics`"""
        return await self._admin.look.counts()

    async def audit(self, count: int = 50) -> list[dict[str, Any]]:
        """`kerwen server audit [--count N]`: the newest deeds."""
        found = await self._admin.audit.page(2**62, min(max(count, 1), _PAGE))
        return [
            {
                "at_ms": e.at_ms,
                "who": e.actor or "command line",
                "deed": e.deed,
                "target": e.target,
                "outcome": e.outcome or "cut short",
                "detail": "" if e.detail == "{}" else str(orjson.loads(e.detail)),
            }
            for e in found
        ]

    async def reports(self) -> list[dict[str, Any]]:
        """`kerwen server reports`: the oldest thousand."""
        return [msgspec.structs.asdict(r) for r in await self._admin.reports.page(0, _PAGE)]

    async def close_report(self, report: int) -> None:
        """`kerwen server close-report NUMBER`"""
        await self._admin.reports.close(report)

    async def removals(self) -> list[dict[str, Any]]:
        """`kerwen server removals`: the newest thousand."""
        return [_job(job) for job in await self._admin.purge.jobs(2**62, _PAGE)]

    async def notice(self, name: str, text: str) -> None:
        """`kerwen server notice NAME TEXT`"""
        await self._admin.notices.say(self._user_id(name), text)

    def _user_id(self, name: str) -> str:
        return user_id_of(name.lower(), self._domain)

    async def _account_no(self, name: str) -> int:
        return (await self._moderate.account(self._user_id(name))).account_no


def _job(job: Job) -> dict[str, Any]:
    standing = f"done at {job.done_ms}" if job.done_ms else "under way"
    return {
        "removal": job.job_no,
        "kind": job.kind,
        "room": job.room_id,
        "removed": job.removed,
        "is": standing,
    }


def _named(uri: str) -> tuple[str, str]:
    found = parse_mxc(uri)
    if found is None:
        raise Refused(Reason.INVALID_PARAM, "Write mxc://SERVER/ID")
    return found


def _open(path: Path) -> BinaryIO:
    """A new file that nobody else may read, or a part that is there already."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
    except OSError as error:
        raise Refused(Reason.INVALID_PARAM, f"{path}: {error.strerror}") from None


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
