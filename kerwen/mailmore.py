"""Builds what mail has beside its doors, each part when it is first wanted."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kerwen.api.admin_socket import Deed
from kerwen.api.http import Route
from kerwen.base.clock import now_ms
from kerwen.base.config import Config
from kerwen.export.actions.mail import MailExport
from kerwen.mail.actions.usage import Usage
from kerwen.mailhouse import MailHouse
from kerwen.storage.database import Database

if TYPE_CHECKING:
    from kerwen.api.import_deeds import ImportDeeds
    from kerwen.mail.actions.import_jobs import ImportJobs
    from kerwen.mail.actions.import_mail import ImportMail

_IMPORTS: Final = ("mail import imap", "mail import files")
_STEP: Final = "mail import step"


@dataclass(slots=True)
class MailMore:
    """What `main` needs of it. `quiet_deeds` are not written down: they are asked for often."""

    deeds: dict[str, Deed]
    quiet_deeds: dict[str, Deed]
    export: MailExport
    routes: Callable[[], Iterable[Route]]
    close: Callable[[], Awaitable[None]]


def build_more(
    config: Config, db: Database, mail: MailHouse, number_of: Callable[[str], Awaitable[int]]
) -> MailMore:
    """Builds it and hands it on; opens nothing."""

    @functools.cache
    def importing() -> ImportMail:
        from kerwen.mail.actions.import_mail import ImportMail

        return ImportMail(db, mail.tags, mail.append, mail.mailboxes)

    @functools.cache
    def jobs() -> ImportJobs:
        from kerwen.mail.actions.import_jobs import ImportJobs
        from kerwen.net import tls

        authority = Path(config.ca) if config.ca is not None else None
        return ImportJobs(importing(), lambda: tls.client_context(authority))

    @functools.cache
    def import_deeds() -> ImportDeeds:
        from kerwen.api.import_deeds import ImportDeeds

        return ImportDeeds(jobs(), number_of)

    def of_imports(words: str) -> Deed:
        async def run(**asked: Any) -> Any:
            made = import_deeds()
            return await {**made.deeds(), **made.steps()}[words](**asked)

        return run

    def routes() -> Iterable[Route]:
        from kerwen.api.client.mail_import import MailImportApi
        from kerwen.api.client.masks import MasksApi
        from kerwen.api.client.open_keys import OpenKeysApi
        from kerwen.mail.actions.masks import Masks

        yield from MailImportApi(importing()).routes()
        yield from OpenKeysApi(mail.open_keys, mail.recipients.domain).routes()
        masks = Masks(db, secrets.token_bytes, now_ms)
        yield from MasksApi(masks, mail.recipients.domain).routes()

    async def close() -> None:
        if jobs.cache_info().currsize:
            await jobs().close()

    deeds = {words: of_imports(words) for words in _IMPORTS}
    export = MailExport(mail.vaults, mail.mailboxes, mail.views, mail.records, Usage(db))
    return MailMore(deeds, {_STEP: of_imports(_STEP)}, export, routes, close)
