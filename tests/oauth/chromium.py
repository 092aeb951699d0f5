"""A real browser, Chromium without a screen, driven over its debugging protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
START_S = 30
STEP_S = 15
AUTHENTICATOR = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "hasPrf": True,
    "automaticPresenceSimulation": True,
}


class Chromium:
    """The browser's end of the debugging protocol."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, process: asyncio.subprocess.Process
    ) -> None:
        self._socket = socket
        self._process = process
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if (waiting := self._answers.pop(said.get("id", 0), None)) is not None:
                waiting.set_result(said)
            else:
                self.events.append(said)

    async def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command; its result."""
        number = next(self._ids)
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        said = {"id": number, "method": method, "params": params}
        await self._socket.send_json({**said, "sessionId": session} if session else said)
        answer = await asyncio.wait_for(waiting, STEP_S)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    async def tab(self, target: str | None = None) -> Tab:
        """A new tab, or one that a page opened."""
        if target is None:
            target = (await self.ask("Target.createTarget", url="about:blank"))["targetId"]
        found = await self.ask("Target.attachToTarget", targetId=target, flatten=True)
        tab = Tab(self, found["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            await tab.ask(f"{domain}.enable")
        return tab

    async def opened(self, has: str) -> Tab:
        """The tab whose address holds `has`, once it is there."""
        for _ in range(STEP_S * 50):
            infos = (await self.ask("Target.getTargets"))["targetInfos"]
            for info in infos:
                if has in info["url"]:
                    return await self.tab(info["targetId"])
            await asyncio.sleep(0.02)
        raise AssertionError(f"no tab with {has}")

    def complaints(self) -> list[str]:
        """What the browser refused, a policy's violations among them."""
        entries = [e["params"]["entry"] for e in self.events if e["method"] == "Log.entryAdded"]
        return [entry["text"] for entry in entries if entry["source"] == "security"]

    def kill(self) -> None:
        """Ends the browser, as if the machine had lost its power."""
        self._process.kill()

    async def close(self) -> None:
        """Ends the connection."""
        self._reader.cancel()
        await self._socket.close()


class Tab:
    """A page that a person looks at."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command for the page."""
        return await self._chromium.ask(method, self._session, **params)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page, as if a person had done it."""
        answer = await self.ask(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """Waits until an expression is true; a page that is being left says nothing."""
        for _ in range(STEP_S * 50):
            with contextlib.suppress(AssertionError):
                if found := await self.run(script):
                    return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"never {script}: {await self.text()}")

    async def go(self, url: str) -> None:
        """Opens a page."""
        await self.ask("Page.navigate", url=url)
        await self.until(f"document.readyState === 'complete' && location.href === {url!r}")

    async def at(self, place: str) -> None:
        """Waits until a page is there, by part of its address."""
        await self.until(f"document.readyState === 'complete' && location.href.includes({place!r})")

    async def text(self) -> str:
        """What stands on the page."""
        return str(await self.run("document.body.innerText"))

    async def fill(self, **fields: str) -> None:
        """Types into fields by name and sends their form."""
        for name, value in fields.items():
            await self.run(f"document.getElementsByName({name!r})[0].value = {value!r}")
        first = next(iter(fields))
        await self.run(f"document.getElementsByName({first!r})[0].form.requestSubmit(), 1")

    async def authenticator(self) -> None:
        """Plugs one in that has a person's finger on it."""
        await self.ask("WebAuthn.enable")
        await self.ask("WebAuthn.addVirtualAuthenticator", options=AUTHENTICATOR)

    async def touch(self) -> None:
        """Begins the ceremony of the page."""
        await self.until("document.querySelector('form[data-passkey]:not([hidden])')?.action")
        await self.run("document.querySelector('form[data-passkey] button').click(), 1")


@contextlib.asynccontextmanager
async def chromium(home: Path, *more: str) -> AsyncIterator[Chromium]:
    """A running browser with an empty profile and `more` flags; skips where there is none."""
    if PROGRAM is None:
        pytest.skip("no Chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    flags += ["--remote-debugging-port=0", f"--user-data-dir={home}", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", *more]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *flags, "about:blank", stdin=nowhere, stdout=nowhere, stderr=nowhere
    )
    try:
        url = await _address(home / "DevToolsActivePort", process)
        async with aiohttp.ClientSession(trust_env=False) as http:
            socket = await http.ws_connect(url, max_msg_size=0)
            browser = Chromium(socket, process)
            try:
                yield browser
            finally:
                await browser.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _address(file: Path, process: asyncio.subprocess.Process) -> str:
    for _ in range(START_S * 50):
        assert process.returncode is None, "Chromium ended at once"
        if len(lines := _words(file)) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.02)
    raise AssertionError("Chromium did not start")


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []
