"""Mail that an account brings from elsewhere, as a file: `POST /_kerwen/mail/import`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from kerwen.api.http import Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.mail.actions.import_mail import ImportMail, Taken
from kerwen.mail.mbox import Found, MboxSplitter, NotMbox

_BODY_MAX: Final = 64 << 30  # it is never held: a message at a time


class MailImportApi:
    """One route: an mbox as it comes."""

    def __init__(self, importing: ImportMail) -> None:
        self._import = importing
        self._running: set[int] = set()

    def routes(self) -> list[Route]:
        """The table."""
        return [
            Route(
                "POST", "/_kerwen/mail/import", self.run, cost=Cost.HEAVY, spec="docs/import.md",
                body_max=_BODY_MAX, stream=True, suspended=False,
            )
        ]  # fmt: skip

    async def run(self, request: Request) -> Any:
        """POST /_kerwen/mail/import?mailbox=…: what became of the messages."""
        account_no = request.caller.account_no
        if account_no in self._running:
            raise Refused(Reason.CONFLICT, "An import runs already")
        splitter = MboxSplitter(request.query("mailbox") or "")

        async def come() -> AsyncIterator[list[Found]]:
            async for piece in request.chunks():
                if found := splitter.feed(piece):
                    yield found
            yield splitter.end()

        taken = Taken()
        self._running.add(account_no)
        try:
            await self._import.files(account_no, come(), taken)
        except NotMbox as error:
            raise Refused(Reason.MALFORMED_MESSAGE, f"This is no mbox: {error}") from None
        finally:
            self._running.discard(account_no)
        taken.left_out += splitter.too_long
        return msgspec.to_builtins(taken)
