"""A graphical client that others wrote: `python -m tests.clients.nheko [--pictures DIR]`.

nheko (from Debian) runs on a screen that nobody sees (Xvfb). Ayna types her name and password into
its window, sets up encryption, accepts an invitation, and reads there what Batyr, on matrix-nio,
said to her sealed; what she types in answer is read by Batyr. What the window shows is read from
pictures of the screen (tesseract), so nothing is taken on trust from the client's log.

Installs what it needs by apt-get where it may. Ends with 0 if all was seen, 1 if something was not,
2 with a line that says why if it cannot be tried here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.clients.nio_person import NioPerson
from tests.clients.steps import Story, until
from tests.conftest import PortBase, Server
from tests.proofs.wire import register

DOMAIN = "kerwen.test"
PASSWORD = "a-good-password"
PROGRAMS = {  # program → its package
    "nheko": "nheko", "Xvfb": "xvfb", "xdotool": "xdotool", "tesseract": "tesseract-ocr",
    "import": "imagemagick", "dbus-run-session": "dbus",
}  # fmt: skip
SEEN_S = 60  # until a picture shows it
STEP_S = 150.0
_SETTINGS = "[General]\nrun_without_secure_secrets_service=true\n"
Place = tuple[int, int]


def main() -> int:
    """Tells the story; the exit code."""
    options = argparse.ArgumentParser("tests.clients.nheko", description=__doc__)
    options.add_argument("--pictures", type=Path, help="keep the pictures of the screen here")
    chosen = options.parse_args()
    missing = _install()
    if missing:
        print(f"nheko: cannot be tried here: {missing}")
        return 2
    logging.getLogger("nio").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="kerwen-nheko-") as folder:
        try:
            asyncio.run(tell(Path(folder), chosen.pictures))
        except (AssertionError, TimeoutError) as error:
            print(f"nheko: {error!r}")
            return 1
    return 0


def _install() -> str:
    """Why it cannot be tried; empty if everything is here."""
    wanted = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if not wanted:
        return ""
    if shutil.which("apt-get") is None or os.getuid() != 0:
        return f"{', '.join(wanted)} are missing, and only root on Debian can install them"
    quiet = {"capture_output": True, "text": True, "check": False}
    asked = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=asked, **quiet)  # type: ignore[call-overload]
    done = subprocess.run(  # type: ignore[call-overload]
        ["apt-get", "install", "-y", "-qq", *wanted], env=asked, **quiet
    )
    return "" if done.returncode == 0 else f"apt-get: {done.stderr.strip()[-300:]}"


class Screen:
    """A screen without a monitor, and nheko on it with a home of its own."""

    def __init__(self, folder: Path, pictures: Path | None) -> None:
        self._folder = folder
        self._pictures = pictures
        self._count = 0
        self._running: list[subprocess.Popen[bytes]] = []
        self.env: dict[str, str] = {}

    def __enter__(self) -> Screen:
        home = self._folder / "home"
        (home / "config" / "nheko").mkdir(parents=True)
        (home / "run").mkdir(mode=0o700)
        (home / "config" / "nheko" / "nheko.conf").write_text(_SETTINGS)
        read_end, write_end = os.pipe()
        screen = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1066x600x24"]
        self._start(screen, os.environ.copy(), (write_end,))
        os.close(write_end)
        with os.fdopen(read_end) as told:
            number = told.readline().strip()  # the screen is there once it has said its number
        assert number, "Xvfb did not start"
        self.env = os.environ | {
            "DISPLAY": f":{number}",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "QT_QPA_PLATFORM": "xcb",
            "QT_QUICK_BACKEND": "software",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "LANG": "C.UTF-8",
            "OMP_THREAD_LIMIT": "1",  # tesseract's threads wait for each other on a busy machine
        }
        self._start(["dbus-run-session", "--", "nheko"], self.env, ())
        return self

    def _start(self, command: list[str], env: dict[str, str], kept: tuple[int, ...]) -> None:
        with (self._folder / f"{command[-1]}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(
                    command, env=env, stdout=log, stderr=log, pass_fds=kept, start_new_session=True
                )
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._running):
            try:
                os.killpg(process.pid, 15)
            except ProcessLookupError:
                pass
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()

    def words(self) -> list[tuple[str, Place]]:
        """What the screen shows now: words and the middle of each, in the order of reading."""
        self._count += 1
        picture = self._folder / "screen.png"
        self._do("import", "-window", "root", str(picture))
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, self._pictures / f"{self._count:03}.png")
        return [*self._read(picture, "3"), *self._read(picture, "11")]

    def _read(self, picture: Path, how: str) -> list[tuple[str, Place]]:
        """The words of a picture: as a page (3), which finds words on buttons, or as words that
        lie about (11), which finds lone ones.
        """
        large = self._folder / "large.png"
        self._do("convert", str(picture), "-resize", "200%", "-colorspace", "Gray", str(large))
        told = self._do("tesseract", str(large), "-", "--psm", how, "tsv")
        found = []
        for line in told.splitlines()[1:]:
            parts = line.split("\t")
            if len(parts) == 12 and parts[11].strip():
                left, top, width, height = (int(part) for part in parts[6:10])
                found.append((parts[11], ((left + width // 2) // 2, (top + height // 2) // 2)))
        return found

    def _do(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def see(self, *wanted: str, meanwhile: Callable[[], None] | None = None) -> Place:
        """Waits until words stand side by side on the screen; where the first of them is.
        `meanwhile` is done before each look.
        """
        deadline = time.monotonic() + SEEN_S
        while True:
            if meanwhile is not None:
                meanwhile()
            shown = self.words()
            texts = [_plain(text) for text, _ in shown]
            for at in range(len(texts) - len(wanted) + 1):
                if texts[at : at + len(wanted)] == [_plain(word) for word in wanted]:
                    return shown[at][1]
            text = " ".join(text for text, _ in shown)
            assert time.monotonic() < deadline, f"the screen never showed {wanted}; now: {text}"

    def click(self, place: Place) -> None:
        """Clicks there."""
        self._do("xdotool", "mousemove", str(place[0]), str(place[1]), "click", "1")

    def type(self, text: str) -> None:
        """Types at a person's pace: the client thinks about each key."""
        self._do("xdotool", "type", "--delay", "40", text)

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other."""
        self._do("xdotool", "key", "--delay", "300", *keys)


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())


async def tell(folder: Path, pictures: Path | None) -> None:
    """The story. Raises AssertionError where something was not seen."""
    story = Story("nheko")
    with PortBase() as base, Screen(folder, pictures) as screen:
        server = Server(folder / "data", base.port, DOMAIN, ("--cheap-passwords",))
        (folder / "data").mkdir()
        server.start()
        batyr = NioPerson(server.url, "batyr", folder / "batyr", "batyr's phone")
        try:
            ayna = (await register(server.url, "ayna", PASSWORD)).user_id
            await batyr.register(PASSWORD)
            async with story.step("Ayna logs in in nheko's window", STEP_S):
                await asyncio.to_thread(_log_in, screen, ayna, server.url)
            async with story.step(
                "nheko sets up cross-signing, secret storage and a key backup", STEP_S
            ):
                await asyncio.to_thread(_set_up, screen)
                await _keys_are_there(batyr, ayna)
            async with story.step("she accepts Batyr's invitation", STEP_S):
                room = await batyr.create_group("Bazar", [ayna])
                await asyncio.to_thread(_accept, screen)
                await until(
                    lambda: ayna in batyr.client.rooms[room].users and batyr.knows_devices_of(ayna),
                    "Ayna in the room",
                )
            async with story.step("what Batyr says sealed is seen on her screen", STEP_S):
                await batyr.say(room, "correct horse battery staple")
                await asyncio.to_thread(screen.see, "correct", "horse", "battery", "staple")
            async with story.step("what she types is read by Batyr", STEP_S):
                await asyncio.to_thread(_answer, screen, "purple elephants dance")
                await until(lambda: _heard(batyr, "purple elephants dance"), "her answer")
        finally:
            await batyr.stop()
            server.stop()
    print("nheko: all was seen")


def _log_in(screen: Screen, user_id: str, url: str) -> None:
    screen.click(screen.see("LOGIN"))
    # our name is in nobody's DNS: it asks where that is, once it has taken the name
    screen.see("Homeserver", "address", meanwhile=lambda: _name(screen, user_id))
    screen.type(PASSWORD)
    screen.press("Tab")
    screen.type("nheko")
    screen.press("Tab", "ctrl+a")
    screen.type(url)
    screen.press("Tab")  # on to the button, which works once the server has told how to log in
    screen.see("Setup", "Encryption", meanwhile=lambda: screen.press("Return"))


def _name(screen: Screen, user_id: str) -> None:
    left, top = screen.see("Matrix", "ID")
    screen.click((left + 150, top + 12))
    screen.press("ctrl+a")
    screen.type(user_id)
    screen.press("Tab")


def _set_up(screen: Screen) -> None:
    screen.click(screen.see("OK"))
    screen.see("recovery", "key")
    screen.click(screen.see("OK"))


async def _keys_are_there(batyr: NioPerson, ayna: str) -> None:
    """The server has her master key, and every device of nheko's is signed."""
    found = await batyr.query(ayna)
    master = found["master_keys"][ayna]
    assert master["usage"] == ["master"], master
    for device in found["device_keys"][ayna].values():
        assert len(device["signatures"][ayna]) >= 2, device  # its own, and the self-signing key's


def _accept(screen: Screen) -> None:
    screen.click(screen.see("Bazar"))
    screen.click(screen.see("accept", "invite"))


def _answer(screen: Screen, text: str) -> None:
    screen.click(screen.see("Write", "a", "message"))
    screen.type(text)
    screen.press("Return")


def _heard(person: NioPerson, text: str) -> bool:
    return any(event.source["content"].get("body") == text for _, event in person.events)


if __name__ == "__main__":
    sys.exit(main())
