"""The devices of an account: list, one, log-out (CS #oauth-20-account-management)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlencode

from kerwen.accounts.actions.manage_devices import ManageDevices
from kerwen.accounts.store.devices import Device
from kerwen.api.http import Access, Cost, Reply, Route
from kerwen.api.pages.desk import Desk, note
from kerwen.api.pages.html import button, el, link
from kerwen.api.pages.visit import HOME, Visit
from kerwen.oauth.actions.register_client import RegisterClient


class DevicesPages:
    """`/_kerwen/my/devices`, `device`."""

    def __init__(self, desk: Desk, manage: ManageDevices, clients: RegisterClient) -> None:
        self._desk = desk
        self._manage = manage
        self._clients = clients

    def routes(self) -> Iterable[Route]:
        """The table."""
        desk, anyone, spec = self._desk, Access.ANYONE, "CS #oauth-20-account-management"
        for method, name, page, cost in (
            ("GET", "devices", self.devices, Cost.READ),
            ("GET", "device", self.device, Cost.READ),
            ("POST", "device", self.log_out, Cost.WRITE),
        ):
            path = f"{HOME}/{name}"
            yield Route(method, path, desk.own(page), anyone, cost, spec, shown=desk.shown)

    async def devices(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/devices"""
        return await self._list(visit)

    async def _list(self, visit: Visit, said: str | None = None) -> Reply:
        words = visit.words
        found = await self._manage.list(visit.signed_in().account_no)
        found.sort(key=lambda device: -device.seen_ms)
        rows = [
            el(
                "li",
                el(
                    "a",
                    el("b", _name(device)),
                    el("small", words("devices.seen", when=when(device.seen_ms))),
                    href=f"{HOME}/device?{urlencode({'id': device.device_id})}",
                ),
            )
            for device in found
        ]
        title = words("devices.title")
        empty = el("p", words("devices.none")) if not rows else None
        block = el("section", el("h1", title), empty, el("ul", *rows, class_="rows"))
        back = el("p", link(words("account.title"), f"{HOME}/account"))
        shown = note(said, "good") if said else None
        return self._desk.page(visit, title, shown, block, back, wide=True)

    async def device(self, visit: Visit) -> Reply:
        """GET /_kerwen/my/device"""
        device_id = visit.request.query("id") or ""
        account_no = visit.signed_in().account_no
        device = await self._manage.one(account_no, device_id)
        clients = await self._clients.of_devices([device.device_no])
        words = visit.words
        facts = [("devices.id", device.device_id), ("devices.since", when(device.created_ms))]
        facts.append(("devices.last", when(device.seen_ms)))
        if device.seen_address:
            facts.append(("devices.address", device.seen_address))
        if client := clients.get(device.device_no):
            facts.append(("devices.app", f"{client.metadata.name} ({client.metadata.host})"))
        lines = [part for key, value in facts for part in (el("dt", words(key)), el("dd", value))]
        kept = el("input", type="hidden", name="id", value=device.device_id)
        out = el("div", button(words("devices.log_out"), look="danger"), class_="acts")
        block = el(
            "section",
            el("h1", _name(device)),
            el("dl", *lines),
            el("p", words("devices.warning"), class_="quiet"),
            self._desk.form(visit, f"{HOME}/device", kept, out),
        )
        back = el("p", link(words("devices.title"), f"{HOME}/devices"))
        return self._desk.page(visit, _name(device), block, back, wide=True)

    async def log_out(self, visit: Visit) -> Reply:
        """POST /_kerwen/my/device"""
        device_id = visit.form().get("id", "")
        account_no = visit.signed_in().account_no
        device = await self._manage.one(account_no, device_id)
        await self._manage.delete(account_no, [device_id])
        return await self._list(visit, visit.words("devices.done", name=_name(device)))


def _name(device: Device) -> str:
    return device.display_name or device.device_id


def when(ms: int) -> str:
    """A time that reads the same in every language."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
