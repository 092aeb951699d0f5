"""What of a call's video goes to whom: layers by the size of the tile, fewer on a narrow line.

A publisher's simulcast has up to three layers, the smallest first. Audio is never held back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kerwen.base import limits

LOW, MEDIUM, HIGH, OFF = range(4)  # qualities, LiveKit's numbers

_ENOUGH: Final = 0.9  # a layer that is a little smaller than the tile will do
_STEP_S: Final = 3.0  # between two steps down
_CALM_S: Final = 15.0  # without trouble, before a step up
STEPS: Final = 3  # 1: at most the middle layer, 2: the smallest, 3: no video


@dataclass(frozen=True, slots=True)
class Setting:
    """What a receiver asks of one track. Without a size the quality counts."""

    disabled: bool = False
    quality: int = MEDIUM
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A track as one receiver has it: `sizes` are its layers, the smallest first."""

    sid: str
    video: bool
    screen: bool
    sizes: Sequence[tuple[int, int]]
    setting: Setting
    spoke: float  # when its owner last spoke


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is sent of a track: whether at all, which layer, and whether the line is to blame."""

    send: bool
    layer: int = 0
    paused: bool = False


def layer_for(sizes: Sequence[tuple[int, int]], setting: Setting) -> int:
    """The smallest layer that fills the tile."""
    if len(sizes) < 2:
        return 0
    asked = max(setting.width, setting.height)
    if not asked:
        return min(setting.quality, len(sizes) - 1)
    for layer, size in enumerate(sizes):
        if max(size) >= asked * _ENOUGH:
            return layer
    return len(sizes) - 1


def choose(tracks: Iterable[Shown], step: int) -> dict[str, Chosen]:
    """What a receiver is sent, by track. `step` is how far its line is from good (0 to `STEPS`).

    Of more videos than `CALL_VIDEOS_MAX`, screens go first, then large tiles, then whoever
    spoke last.
    """
    found: dict[str, Chosen] = {}
    videos = []
    for track in tracks:
        if track.video and not track.setting.disabled:
            videos.append(track)
        else:
            found[track.sid] = Chosen(not track.setting.disabled)
    videos.sort(key=lambda t: (not t.screen, -t.setting.width * t.setting.height, -t.spoke))
    for place, track in enumerate(videos):
        layer = layer_for(track.sizes, track.setting)
        if step >= STEPS or place >= limits.CALL_VIDEOS_MAX:
            found[track.sid] = Chosen(False, layer, True)
        else:
            most = (HIGH, MEDIUM, LOW)[step]
            found[track.sid] = Chosen(True, min(layer, most))
    return found


def qualities_wanted(layers: int, chosen: Iterable[Chosen | None]) -> list[tuple[int, bool]]:
    """(quality, wanted) of one track for its publisher, so that it need not encode what nobody
    looks at. The smallest layer goes on while anybody subscribes: it comes back at once."""
    here = [one for one in chosen if one is not None]
    top = max((one.layer for one in here if one.send), default=0)
    return [(quality, bool(here) and quality <= top) for quality in range(layers)]


class Line:
    """How good one receiver's line is, by what Janus says of packets that did not arrive.

    Down quickly, up slowly, and after each fall more slowly, so that it does not swing.
    """

    __slots__ = ("_calm_s", "_since", "step")

    def __init__(self) -> None:
        self.step = 0
        self._since = 0.0
        self._calm_s = _CALM_S

    def slow(self, now: float) -> bool:
        """Packets were lost; whether that changes something."""
        if self.step == STEPS or (self.step and now - self._since < _STEP_S):
            if self.step:
                self._since = max(self._since, now - _STEP_S)
            return False
        self.step += 1
        self._since = now
        self._calm_s = min(self._calm_s * 1.5, 120.0)
        return True

    def look(self, now: float) -> bool:
        """Time goes by; whether that changes something."""
        if not self.step or now - self._since < self._calm_s:
            return False
        self.step -= 1
        self._since = now
        if not self.step:
            self._calm_s = _CALM_S
        return True


def changed(before: Mapping[str, Chosen], after: Mapping[str, Chosen]) -> list[str]:
    """The tracks for which something else was chosen."""
    return [sid for sid, one in after.items() if before.get(sid) != one]
