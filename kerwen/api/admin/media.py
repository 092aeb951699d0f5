"""Files of people, for administrators: their numbers, never their names or bytes."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from kerwen.accounts.actions.moderate import Moderate
from kerwen.api.admin.table import BASE, AdminRoute, Nothing, Query
from kerwen.api.http import Request
from kerwen.media.actions.delete import Deletion
from kerwen.media.actions.quota import Quota

_FILES = "ids, types, sizes and times of files; no names, no bytes"
_GONE = "files, which are deleted unread"


class File(msgspec.Struct):
    """A file. `used_ms`: when somebody got it last, to the day."""

    media_id: str
    content_type: str
    size: int
    created_ms: int
    used_ms: int
    quarantined: bool


class Files(msgspec.Struct):
    """`next` goes into `before_ms` for the next page; null: this was the last."""

    files: list[File]
    next: int | None


class Deleted(msgspec.Struct):
    deleted: int


class Quarantine(msgspec.Struct):
    """True: nobody gets the file."""

    quarantined: bool


class MediaAdminApi:
    """The routes about files."""

    def __init__(self, moderate: Moderate, quota: Quota, deletion: Deletion) -> None:
        self._moderate = moderate
        self._quota = quota
        self._deletion = deletion

    def lines(self) -> list[AdminRoute]:
        """The table."""
        of = f"{BASE}/accounts/{{userId}}/media"
        one = f"{BASE}/media/{{serverName}}/{{mediaId}}"
        pages = (
            Query("before_ms", "integer", "`next` of the page before"),
            Query("limit", "integer", "how many at most, 1,000 at most"),
        )
        line = AdminRoute
        every = line("DELETE", of, self.delete_all, "Deletes all its files", _GONE, Deleted)
        return [
            line("GET", of, self.page, "Its files, the newest first", _FILES, Files, None, pages),
            replace(every, confirmed=True),
            replace(line("DELETE", one, self.delete, "Deletes a file", _GONE), confirmed=True),
            line(
                "PUT",
                f"{one}/quarantine",
                self.quarantine,
                "Keeps a file from everybody",
                "whether a file is given out",
                Quarantine,
                Quarantine,
                tells=("quarantined",),
            ),
        ]

    async def page(self, request: Request) -> Files:
        """GET /_kerwen/admin/accounts/{userId}/media"""
        account = await self._moderate.account(request.params["userId"])
        before = request.int_query("before_ms", 2**62, 0, 2**62)
        count = request.int_query("limit", 100, 1, 1000)
        found = await self._quota.own_media(account.account_no, before, count)
        files = [
            File(m.media_id, m.content_type, m.size, m.created_ms, m.used_ms, bool(m.quarantined))
            for m in found
        ]
        return Files(files, found[-1].created_ms if len(found) == count else None)

    async def delete_all(self, request: Request) -> Deleted:
        """DELETE /_kerwen/admin/accounts/{userId}/media"""
        account = await self._moderate.look(request.params["userId"])
        return Deleted(await self._deletion.delete_all(account.account_no))

    async def delete(self, request: Request) -> Nothing:
        """DELETE /_kerwen/admin/media/{serverName}/{mediaId}"""
        params = request.params
        await self._deletion.delete_any(params["serverName"], params["mediaId"])
        return Nothing()

    async def quarantine(self, request: Request) -> Quarantine:
        """PUT /_kerwen/admin/media/{serverName}/{mediaId}/quarantine"""
        body, params = request.json(Quarantine), request.params
        await self._deletion.quarantine(params["serverName"], params["mediaId"], body.quarantined)
        return body
