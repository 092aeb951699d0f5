"""Imports under way: each is a task that lives as long as somebody asks how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from kerwen.base.errors import Reason, Refused, Unavailable
from kerwen.mail.actions.import_mail import ImportMail, Taken
from kerwen.mail.client import files_source
from kerwen.mail.client.imap_source import Account, Away, Folder, ImapSource, batches, is_too_long
from kerwen.mail.mbox import Found

log = logging.getLogger("kerwen.import")

_JOBS_MAX: Final = 8
_STEP_S: Final = 1.0
_ABANDONED_S: Final = 30.0
_BATCH: Final = 200
_BATCH_BYTES: Final = 4 << 20


class Job:
    """How far an import is."""

    def __init__(self) -> None:
        self.taken = Taken()
        self.folder = ""
        self.total = 0
        self.notes: list[str] = []
        self.missing = 0  # folders that could not be read
        self.error = ""
        self.task: asyncio.Task[None] | None = None
        self.asked_s = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether nothing more comes."""
        return self.task is None or self.task.done()

    def told(self) -> dict[str, Any]:
        """For whoever asks."""
        taken = self.taken
        return {
            "taken": taken.taken, "known": taken.known, "left_out": taken.left_out,
            "bytes": taken.bytes, "total": self.total, "folder": self.folder,
            "notes": self.notes[-20:], "error": self.error, "finished": self.finished,
        }  # fmt: skip


class ImportJobs:
    """Begins imports and tells how far they are. `trust` makes the TLS for other servers."""

    def __init__(self, importing: ImportMail, trust: Callable[[], ssl.SSLContext]) -> None:
        self._import = importing
        self._trust = trust
        self._jobs: dict[int, Job] = {}
        self._next = 1

    def begin_imap(self, account_no: int, account: Account) -> int:
        """Takes all mail of an account at another server; the job's number."""
        return self._begin(lambda job: self._imap(job, account_no, account))

    def begin_files(self, account_no: int, path: Path, folder: str) -> int:
        """Takes all mail of a file or directory of this machine."""
        return self._begin(lambda job: self._files(job, account_no, path, folder))

    async def step(self, number: int) -> dict[str, Any]:
        """How far a job is, after a second or when it ends. Says `NOT_FOUND`."""
        job = self._jobs.get(number)
        if job is None or job.task is None:
            raise Refused(Reason.NOT_FOUND, "There is no such import; begin it again")
        job.asked_s = time.monotonic()
        await asyncio.wait([job.task], timeout=_STEP_S)
        told = job.told()
        if job.finished:
            self._jobs.pop(number, None)
        return told

    async def close(self) -> None:
        """Ends them all."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, run: Callable[[Job], Any]) -> int:
        if sum(not job.finished for job in self._jobs.values()) >= _JOBS_MAX:
            raise Refused(Reason.LIMIT_EXCEEDED, "Too many imports run at the same time")
        for number in [n for n, job in self._jobs.items() if job.finished]:
            del self._jobs[number]
        job, number = Job(), self._next
        self._next += 1
        self._jobs[number] = job
        job.task = asyncio.get_running_loop().create_task(self._run(job, run))
        return number

    async def _run(self, job: Job, run: Callable[[Job], Any]) -> None:
        work = asyncio.ensure_future(run(job))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=_STEP_S)
                if time.monotonic() - job.asked_s > _ABANDONED_S:
                    work.cancel()  # whoever began it is gone
            await work
        except asyncio.CancelledError:
            work.cancel()
            job.error = "nobody asked any more"
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work
        except Refused as error:
            job.error = error.public_text
        except Unavailable as error:
            job.error = f"not now: {error.reason.value}"
        except (Away, OSError) as error:
            job.error = str(error)
        except Exception:
            log.exception("bug")
            job.error = "an error in the server; its log says more"

    # --- files

    async def _files(self, job: Job, account_no: int, path: Path, folder: str) -> None:
        counts = files_source.Counts()
        found = files_source.messages(path, folder, counts)

        def read() -> list[Found]:
            batch: list[Found] = []
            size = 0
            for one in found:
                batch.append(one)
                size += len(one.raw)
                if len(batch) >= _BATCH or size > _BATCH_BYTES:
                    break
            return batch

        async def come() -> AsyncIterator[list[Found]]:
            while batch := await asyncio.to_thread(read):
                job.folder = batch[-1].folder
                yield batch

        await self._import.files(account_no, come(), job.taken)
        job.taken.left_out += counts.too_long
        if counts.unknown:
            job.notes.append(f"{counts.unknown} files in it are no mail")

    # --- another server

    async def _imap(self, job: Job, account_no: int, account: Account) -> None:
        context = self._trust() if account.security != "none" else None
        source = ImapSource(account, context)
        try:
            await asyncio.to_thread(source.sign_in)
            folders = await asyncio.to_thread(source.folders)
            job.total = sum(folder.messages for folder in folders)
            twice = any(folder.all for folder in folders)
            for folder in folders:
                await self._folder(job, account_no, account, source, folder, twice=twice)
            if job.missing:
                job.error = f"{job.missing} folders were left out"
        finally:
            await asyncio.to_thread(source.close)

    async def _folder(
        self, job: Job, account_no: int, account: Account, source: ImapSource, folder: Folder,
        *, twice: bool,
    ) -> None:  # fmt: skip
        name = folder.wire.decode("utf-8", "replace")
        job.folder = name
        try:
            validity = await asyncio.to_thread(source.open_, folder)
            place = self._import.place(
                account_no, account.host, account.user, folder.wire, validity
            )
            after = await self._import.begun(account_no, place)
        except Refused as error:
            job.notes.append(f"{name}: left out: {error.public_text}")
            job.missing += 1
            return
        before = job.taken.taken + job.taken.left_out
        windows = source.heads(after)
        while (heads := await asyncio.to_thread(next, windows, None)) is not None:
            short = [head for head in heads if not is_too_long(head)]
            job.taken.left_out += len(heads) - len(short)
            coming: asyncio.Task[list[Found]] | None = None
            parts = list(batches(short))
            for at, part in enumerate(parts):
                coming = coming or _fetch(source, part, folder)
                found = await coming
                # the next ones are on their way while these are sealed
                coming = _fetch(source, parts[at + 1], folder) if at + 1 < len(parts) else None
                try:
                    await self._import.folder(
                        account_no, place, found, part[-1].uid, job.taken,
                        once=folder.all, mark=twice,
                    )  # fmt: skip
                except BaseException:
                    if coming is not None:
                        await asyncio.gather(coming, return_exceptions=True)
                    raise
        now = job.taken.taken + job.taken.left_out
        job.taken.known += max(0, folder.messages - (now - before)) if not folder.all else 0


def _fetch(source: ImapSource, part: list[Any], folder: Folder) -> asyncio.Task[list[Found]]:
    return asyncio.ensure_future(asyncio.to_thread(source.fetch, part, folder))
