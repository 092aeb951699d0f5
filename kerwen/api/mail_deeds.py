"""What `kerwen alias` and `kerwen dkim` ask the server to do, by the words of the command line."""

from __future__ import annotations

from typing import Any

from kerwen.api.admin_socket import Deed
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.actions.reports_in import ReportsIn
from kerwen.mail.actions.sign_keys import SignKeys
from kerwen.mail.dkim_keys import SigningKey


class MailDeeds:
    """The commands below `kerwen alias` and `kerwen dkim`."""

    def __init__(self, recipients: Recipients, keys: SignKeys, reports: ReportsIn) -> None:
        self._recipients = recipients
        self._reports = reports
        self._keys = keys

    def deeds(self) -> dict[str, Deed]:
        """Each deed by its words."""
        return {
            "alias add": self.alias_add,
            "alias drop": self.alias_drop,
            "alias list": self.alias_list,
            "server mail-reports": self.mail_reports,
            "dkim list": self.dkim_list,
            "dkim prepare": self.dkim_prepare,
            "dkim rotate": self.dkim_rotate,
            "dkim drop": self.dkim_drop,
        }

    async def alias_add(self, name: str, target: str) -> None:
        """`kerwen alias add NAME TARGET`; `*` as the name gets what is for nobody."""
        await self._recipients.add(name.partition("@")[0], target)

    async def alias_drop(self, name: str, target: str) -> None:
        """`kerwen alias drop NAME TARGET`."""
        await self._recipients.drop(name.partition("@")[0], target)

    async def alias_list(self) -> list[dict[str, str]]:
        """`kerwen alias list`."""
        return [
            {"name": name, "target": target} for name, target in await self._recipients.listing()
        ]

    async def mail_reports(self, days: int = 30) -> list[dict[str, Any]]:
        """`kerwen server mail-reports [--days N]`: what other servers say of our mail."""
        found = [
            {"kind": kind, "reporter": who, "reports": n, "good": good, "bad": bad}
            for kind, who, n, good, bad in await self._reports.sums(min(max(days, 1), 400))
        ]
        for one in await self._reports.page(min(max(days, 1), 400), 2**62, 20):
            found += [
                {"kind": one.kind, "reporter": one.reporter, "source": row.source,
                 "what": row.what or "failed", "count": row.count}
                for row in one.rows[:5]
            ]  # fmt: skip
        return found

    async def dkim_list(self) -> list[dict[str, str]]:
        """`kerwen dkim list`."""
        await self._keys.signing()
        return [{"name": one.name, "standing": one.standing} for one in self._keys.listing()]

    async def dkim_prepare(self) -> list[str]:
        """`kerwen dkim prepare`: the records to publish before `kerwen dkim rotate`."""
        return [record_line(key) for key in (await self._keys.prepare()).keys]

    async def dkim_rotate(self) -> str:
        """`kerwen dkim rotate`: the name of the pair that signs now."""
        return await self._keys.rotate()

    async def dkim_drop(self, name: str) -> None:
        """`kerwen dkim drop NAME`."""
        await self._keys.drop(name)


def record_line(key: SigningKey) -> str:
    """A key's record as a line of a zone; strings of 255 letters at most (RFC 1035 §3.3)."""
    text = key.record
    pieces = [text[at : at + 250] for at in range(0, len(text), 250)]
    told = " ".join(f'"{piece}"' for piece in pieces)
    return f"{key.record_name}.  3600  IN  TXT  {told}"
