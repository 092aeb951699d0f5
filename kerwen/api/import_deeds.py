"""What `kerwen mail import` asks the server to do, by the words of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from kerwen.api.admin_socket import Deed
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.import_jobs import ImportJobs
from kerwen.mail.client.imap_source import Account, Security


class ImportDeeds:
    """`number_of` finds an account by its name; `Refused(NOT_FOUND)`."""

    def __init__(self, jobs: ImportJobs, number_of: Callable[[str], Awaitable[int]]) -> None:
        self._jobs = jobs
        self._number_of = number_of

    def deeds(self) -> dict[str, Deed]:
        """Each deed by its words."""
        return {"mail import imap": self.imap, "mail import files": self.files}

    def steps(self) -> dict[str, Deed]:
        """What is asked every second, and so is not written down."""
        return {"mail import step": self.step}

    async def imap(
        self, name: str, host: str, port: int, user: str, password: str, security: Security
    ) -> int:
        """`kerwen mail import imap NAME …`: the job's number."""
        if security not in ("tls", "starttls", "none"):
            raise Refused(Reason.INVALID_PARAM, "There is no such security")
        account_no = await self._number_of(name)
        return self._jobs.begin_imap(account_no, Account(host, port, user, password, security))

    async def files(self, name: str, file: str, folder: str = "") -> int:
        """`kerwen mail import mbox NAME FILE` and the like: the job's number."""
        account_no = await self._number_of(name)
        path = Path(file)
        if not await asyncio.to_thread(path.exists):
            raise Refused(Reason.NOT_FOUND, f"There is no {file}")
        return self._jobs.begin_files(account_no, path, folder)

    async def step(self, job: int) -> dict[str, Any]:
        """How far it is."""
        return await self._jobs.step(job)
