"""A full disk: a clear refusal, nothing acknowledged is lost, service again once there is room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kerwen.base import limits
from tests.conftest import FreshServer, Server
from tests.proofs.abuse import ENDS_SESSION, cases
from tests.proofs.test_bad_input import Walker, routes_of_the_house
from tests.proofs.wire import Answer, Person, q, register

SIZE = limits.DISK_RESERVE + 32 * 2**20  # blobs leave the reserve to the database
FILLER = "filler"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little room; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
    options = f"size={SIZE},mode=0700,uid={os.getuid()},gid={os.getgid()}"
    command = [*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is neither mount nor sudo here")
    if done.returncode:
        pytest.skip(f"may not mount a small tmpfs here: {done.stderr.strip()}")
    yield place
    subprocess.run([*sudo, "umount", "-l", str(place)], check=True)


def free(place: Path) -> int:
    """Bytes that may still be written."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def fill(place: Path, left: int) -> None:
    """Takes all room but `left` bytes."""
    with (place / FILLER).open("ab") as file:
        while (more := min(free(place) - left, 2**20)) > 0:
            try:
                file.write(bytes(more))
                file.flush()
            except OSError:
                break


def is_refusal(answer: Answer) -> bool:
    """Whether an answer says, as it should, that there is no room."""
    if answer.status == 200:
        return False
    assert answer.status == 507, answer
    assert answer.json["errcode"] == "M_RESOURCE_LIMIT_EXCEEDED"
    assert answer.json["retry_after_ms"] > 0
    return True


class Scene:
    """A server on a small disk, somebody in a room, and what was acknowledged to them."""

    def __init__(self, server: Server, me: Person, room: str) -> None:
        self.server = server
        self.me = me
        self.room = room
        self.said: dict[str, str] = {}  # transaction → event id
        self.files: dict[str, bytes] = {}
        self._count = 0

    async def say(self, size: int = 30_000) -> bool:
        """Says something large; whether it was taken."""
        self._count += 1
        txn = f"t{self._count}"
        answer = await self.me.wire.call(
            "PUT",
            q("rooms", self.room, "send", "m.room.message", txn),
            {"msgtype": "m.text", "body": txn + " " + "x" * size},
        )
        if is_refusal(answer):
            return False
        self.said[txn] = answer.json["event_id"]
        return True

    async def upload(self, size: int = 2**20) -> bool:
        """Uploads a file; whether it was taken."""
        data = os.urandom(size)
        answer = await self.me.wire.call("POST", "/_matrix/media/v3/upload", data)
        if is_refusal(answer):
            return False
        self.files[answer.json["content_uri"]] = data
        return True

    async def check(self) -> None:
        """All that was acknowledged is there; all other reading works as well."""
        for txn, event_id in self.said.items():
            event = await self.me.get("rooms", self.room, "event", event_id)
            assert event["content"]["body"].startswith(txn + " ")
        for mxc, data in self.files.items():
            assert (await self.me.download(mxc)).body == data
        await self.me.sync()
        await self.me.get("rooms", self.room, "messages", query="dir=b")
        await self.me.get("rooms", self.room, "state")
        health = await self.me.wire.call("GET", "/_kerwen/health")
        assert health.status == 200


@contextlib.asynccontextmanager
async def scene_on(disk: Path, fresh_server: FreshServer) -> AsyncIterator[Scene]:
    """The scene; at its end the server must stop well, without any bug in its log."""
    server = fresh_server("--cheap-passwords", data=disk)
    me = await register(server.url, "ayna")
    room = (await me.post("createRoom"))["room_id"]
    yield Scene(server, me, room)
    assert await asyncio.to_thread(server.stop) == 0
    log = server.log.read_text()
    assert '"bug"' not in log, log[-3000:]


async def test_files_leave_room_for_the_database(
    small_disk: Path, fresh_server: FreshServer
) -> None:
    async with scene_on(small_disk, fresh_server) as scene:
        for _ in range(200):
            if not await scene.upload():
                break
        else:
            raise AssertionError("uploads filled the disk")
        assert len(scene.files) > 10
        kept = [path for path in (small_disk / "blobs").rglob("*") if path.is_file()]
        assert len(kept) == len(scene.files), "half of a file was left"
        assert await scene.say(), "messages are still taken"
        assert free(small_disk) > limits.DISK_RESERVE // 2
        await scene.check()


async def test_a_full_disk_and_room_again(small_disk: Path, fresh_server: FreshServer) -> None:
    async with scene_on(small_disk, fresh_server) as scene:
        assert await scene.upload()
        assert await scene.say()
        fill(small_disk, 2 * 2**20)
        refused = await _say_until_refused(scene)
        fill(small_disk, 0)
        for _ in range(20):
            refused += not await scene.say()
            refused += not await scene.upload()
            refused += not await _to_device(scene)
        assert refused > 40
        await scene.check()
        assert scene.server.pid  # the same process all along
        (small_disk / FILLER).unlink()
        for _ in range(5):
            assert await scene.say()
            assert await scene.upload()
            assert await _to_device(scene)
        await scene.check()


async def test_sixteen_at_once_on_a_full_disk(small_disk: Path, fresh_server: FreshServer) -> None:
    """Group commit: a group that the disk does not take is refused as a whole, and told so."""
    async with scene_on(small_disk, fresh_server) as scene:
        url, room = scene.server.url, scene.room
        people = [await register(url, f"p{n}") for n in range(16)]
        for person in people:
            await scene.me.post("rooms", room, "invite", user_id=person.user_id)
            await person.post("join", room)
        others = [Scene(scene.server, person, room) for person in people]
        fill(small_disk, 3 * 2**20)
        taken = [await asyncio.gather(*(other.say(5_000) for other in others)) for _ in range(60)]
        assert any(map(all, taken)), "there was room at first"
        assert any(not any(group) for group in taken), "and none in the end"
        for other in others:
            await other.check()
        (small_disk / FILLER).unlink()
        assert all(await asyncio.gather(*(other.say() for other in others)))
        await asyncio.to_thread(scene.server.kill9)
        await asyncio.to_thread(scene.server.start)
        for other in others:
            await other.check()


async def test_a_start_on_a_full_disk(small_disk: Path, fresh_server: FreshServer) -> None:
    """It either serves what is there, or ends with a line that says why."""
    async with scene_on(small_disk, fresh_server) as scene:
        assert await scene.say()
        assert await scene.upload()
        await asyncio.to_thread(scene.server.kill9)
        fill(small_disk, 0)
        try:
            await asyncio.to_thread(scene.server.start)
        except AssertionError:
            said = scene.server.log.read_text()
            assert "Traceback" not in said, said
        else:
            await scene.check()
            assert not await scene.say()
            await asyncio.to_thread(scene.server.kill9)
        (small_disk / FILLER).unlink()
        await asyncio.to_thread(scene.server.start)
        assert await scene.say()
        await scene.check()


async def _say_until_refused(scene: Scene) -> int:
    for _ in range(400):
        if not await scene.say():
            return 1
    raise AssertionError("the disk is never full")


async def _to_device(scene: Scene) -> bool:
    scene._count += 1
    path = q("sendToDevice", "test.note", f"d{scene._count}")
    to = {scene.me.user_id: {scene.me.device_id: {"text": "x" * 20_000}}}
    return not is_refusal(await scene.me.wire.call("PUT", path, {"messages": to}))


async def test_every_route_on_a_full_disk(small_disk: Path, fresh_server: FreshServer) -> None:
    """No route says 500 for it: what writes says that there is no room, the rest works."""
    async with scene_on(small_disk, fresh_server) as scene:
        faults: list[str] = []
        walker = Walker(scene.server, 1, faults)
        await walker.settle()
        await walker.make_admin()
        found = cases(await routes_of_the_house(), random.Random(1), 4_000)
        fill(small_disk, 0)
        for case in found:
            if not ENDS_SESSION.search(case.path) and case.token == "own":
                await walker.ask(case)
        lacking = [fault for fault in faults if not _says_full(fault)]
        assert not lacking, f"{len(lacking)}\n" + "\n".join(lacking[:20])
        assert walker.statuses[507] > 100
        assert walker.statuses[200] > 100


def _says_full(fault: str) -> bool:
    return ": 507 b" in fault and "M_RESOURCE_LIMIT_EXCEEDED" in fault
