"""LiveKit's native client in calls, without a browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import rtc

from tests.calls.stage import Person, stage

KEY = b"k" * 32
WIDTH, HEIGHT = 320, 240


@dataclass
class Guest:
    """One native client in a call, and what it got of the others by identity."""

    person: Person
    key: bytes | None = KEY
    frames: dict[str, int] = field(default_factory=dict)
    tones: dict[str, int] = field(default_factory=dict)  # pieces of sound that are our tone
    events: list[tuple[str, str]] = field(default_factory=list)
    room: rtc.Room = field(default_factory=rtc.Room)
    connect_ms: float = 0
    first_ms: float = 0
    _began: float = 0
    _tasks: list[asyncio.Future[None]] = field(default_factory=list)

    async def join(self, room_id: str, *, publish: bool = True, **more: Any) -> None:
        """Comes in and sends a picture and a tone."""
        given = await asyncio.to_thread(self.person.call_pass, room_id, **more)
        options = rtc.RoomOptions(auto_subscribe=True)
        if self.key is not None:
            keys = rtc.KeyProviderOptions(shared_key=self.key)
            options.encryption = rtc.E2EEOptions(key_provider_options=keys)
        self.room.on("track_subscribed", self._take)
        for name in ("participant_disconnected", "participant_connected"):
            self.room.on(name, lambda who, name=name: self.events.append((name, who.identity)))
        for name in ("reconnecting", "reconnected"):
            self.room.on(name, lambda name=name: self.events.append((name, "")))
        self.room.on("disconnected", lambda why: self.events.append(("disconnected", str(why))))
        self._began = time.monotonic()
        await self.room.connect(given["url"], given["jwt"], options)
        self.connect_ms = (time.monotonic() - self._began) * 1e3
        if publish:
            await self._publish()

    async def _publish(self) -> None:
        video, audio = rtc.VideoSource(WIDTH, HEIGHT), rtc.AudioSource(48_000, 1)
        own = self.room.local_participant
        camera = rtc.LocalVideoTrack.create_video_track("camera", video)
        voice = rtc.LocalAudioTrack.create_audio_track("voice", audio)
        source = rtc.TrackSource
        await own.publish_track(
            camera, rtc.TrackPublishOptions(source=source.SOURCE_CAMERA, simulcast=False)
        )
        await own.publish_track(voice, rtc.TrackPublishOptions(source=source.SOURCE_MICROPHONE))
        self._tasks += [
            asyncio.ensure_future(_show(video)),
            asyncio.ensure_future(_speak(audio)),
        ]

    def _take(self, track: rtc.Track, _: object, who: rtc.RemoteParticipant) -> None:
        read = self._see if track.kind == rtc.TrackKind.KIND_VIDEO else self._hear
        self._tasks.append(asyncio.ensure_future(read(track, who.identity)))

    async def _see(self, track: rtc.Track, who: str) -> None:
        async for _ in rtc.VideoStream(track):
            self.first_ms = self.first_ms or (time.monotonic() - self._began) * 1e3
            self.frames[who] = self.frames.get(who, 0) + 1

    async def _hear(self, track: rtc.Track, who: str) -> None:
        async for event in rtc.AudioStream(track):
            samples = np.frombuffer(event.frame.data, dtype=np.int16).astype(np.float64)
            self.tones[who] = self.tones.get(who, 0) + _is_tone(samples)

    async def leave(self) -> None:
        """Goes as people go."""
        for task in self._tasks:
            task.cancel()
        await self.room.disconnect()


def _is_tone(samples: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether it is the 1 kHz that we send, and not noise of what could not be decrypted."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    place = round(len(samples) / 48)
    near = power[max(place - 1, 0) : place + 2].sum()
    return bool(np.abs(samples).max() > 2_000 and near > 0.7 * power.sum())


async def _show(source: rtc.VideoSource) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    count = 0
    while True:
        picture[:, :, :3] = count % 255
        picture[count % HEIGHT, :, 0] = 255
        kind = rtc.VideoBufferType.RGBA
        source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, kind, picture.tobytes()))
        count += 1
        await asyncio.sleep(1 / 15)


async def _speak(source: rtc.AudioSource) -> None:
    tone = (np.sin(np.arange(480) * 2 * np.pi / 48) * 8_000).astype(np.int16)
    while True:
        frame = rtc.AudioFrame.create(48_000, 1, 480)
        np.frombuffer(frame.data, dtype=np.int16)[:] = tone
        await source.capture_frame(frame)


async def until(so: Callable[[], Any], seconds: float, what: str) -> float:
    """Waits until something is so; how long it took."""
    began = time.monotonic()
    while not so():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def gets(guest: Guest, other: Guest, frames: int = 20) -> bool:
    """Whether one sees and hears another."""
    who = other.person.identity
    return guest.frames.get(who, 0) >= frames and guest.tones.get(who, 0) >= 10


async def core() -> None:
    """Two in an encrypted call; one with the wrong key gets nothing of it; who goes is gone; Janus
    falls and all are back; Kerwen falls and all are back."""
    async with stage() as scene:
        a, b, wrong = (
            Guest(scene.person("ayna")),
            Guest(scene.person("batyr")),
            Guest(scene.person("wepa"), b"w" * 32),
        )
        room_id = a.person.room(b.person, wrong.person)
        await a.join(room_id)
        await b.join(room_id)
        await until(lambda: gets(a, b) and gets(b, a), 15, "both see and hear each other")
        print(f"connect {a.connect_ms:.0f} and {b.connect_ms:.0f} ms, first {b.first_ms:.0f} ms")
        await wrong.join(room_id, publish=False)
        before = dict(b.frames)
        await until(lambda: b.frames[a.person.identity] > before[a.person.identity] + 20, 10, "on")
        assert not wrong.frames, wrong.frames
        assert sum(wrong.tones.values()) == 0, wrong.tones
        await wrong.leave()
        gone = ("participant_disconnected", wrong.person.identity)
        spent = await until(lambda: gone in a.events, 3, "who goes is gone")
        print(f"gone for the others after {spent:.2f} s")
        await _falls(scene, a, b)
        await a.leave()
        await b.leave()


async def _falls(scene: Any, a: Guest, b: Guest) -> None:
    for name, kill, back in (
        ("Janus", lambda: scene.media.kill("janus"), scene.media.start_janus),
        ("Kerwen", scene.server.kill9, scene.server.start),
    ):
        kill()
        await asyncio.sleep(1)
        await asyncio.to_thread(back)
        for guest in (a, b):
            guest.frames.clear()
            guest.tones.clear()
        spent = await until(
            lambda: gets(a, b, 5) and gets(b, a, 5), 12, f"all are back after {name}'s fall"
        )
        print(f"back {spent:.1f} s after {name}'s return")


async def open_call() -> None:
    """The test of the tests: without encryption the stranger sees and hears all."""
    async with stage() as scene:
        a, stranger = (
            Guest(scene.person("ayna"), None),
            Guest(scene.person("wepa"), None),
        )
        room_id = a.person.room(stranger.person)
        await a.join(room_id)
        await stranger.join(room_id, publish=False)
        await until(lambda: gets(stranger, a), 15, "an open call is open")


SCENES: dict[str, Callable[[], Awaitable[None]]] = {"core": core, "open_call": open_call}
