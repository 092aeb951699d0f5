"""What `kerwen alias` and `kerwen dkim` ask the server to do, by the words of the command line."""

from __future__ import annotations

from typing import Any

from kerwen.api.admin_socket import Deed
from kerwen.mail.actions.lists import Lists
from kerwen.mail.actions.recipients import Recipients
from kerwen.mail.actions.reports_in import ReportsIn
from kerwen.mail.actions.sign_keys import SignKeys
from kerwen.mail.dkim_keys import SigningKey


class MailDeeds:
    """The commands below `kerwen alias` and `kerwen dkim`."""

    def __init__(
        self, recipients: Recipients, keys: SignKeys, reports: ReportsIn, lists: Lists
    ) -> None:
        self._recipients = recipients
        self._lists = lists
        self._reports = reports
        self._keys = keys

    def deeds(self) -> dict[str, Deed]:
        """Each deed by its words."""
        return {
            "alias add": self.alias_add,
            "alias drop": self.alias_drop,
            "alias list": self.alias_list,
            "list add": self.list_add,
            "list drop": self.list_drop,
            "list join": self.list_join,
            "list leave": self.list_leave,
            "list show": self.list_show,
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

    async def list_add(
        self, name: str, owner: str, title: str = "", posting: str = "members"
    ) -> None:
        """`kerwen list add NAME --owner NAME [--title TEXT] [--posting WHO]`."""
        await self._lists.add(name.partition("@")[0], owner, title, posting)

    async def list_drop(self, name: str) -> None:
        """`kerwen list drop NAME`."""
        await self._lists.drop(name.partition("@")[0])

    async def list_join(self, name: str, target: str) -> None:
        """`kerwen list join NAME ADDRESS`."""
        await self._lists.join(name.partition("@")[0], target)

    async def list_leave(self, name: str, target: str) -> None:
        """`kerwen list leave NAME ADDRESS`."""
        await self._lists.leave(name.partition("@")[0], target)

    async def list_show(self, name: str = "") -> list[dict[str, Any]]:
        """`kerwen list show [NAME]`: lists, or the members of one."""
        found = await self._lists.listing()
        if not name:
            return [
                {"name": one.local, "owner": one.owner, "posting": one.posting,
                 "members": len(members), "title": one.title}
                for one, members in found
            ]  # fmt: skip
        wanted = name.partition("@")[0].lower()
        return [{"address": m} for one, members in found if one.local == wanted for m in members]

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
