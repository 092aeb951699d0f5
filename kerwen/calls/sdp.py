"""Session descriptions, as far as we read and change them: which section carries which track.

Janus and the clients do the rest; what we do not know is passed on as it came.
"""

# RFC 8866; `a=msid` RFC 8830, `a=mid` RFC 5888

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused

SECTIONS_MAX: Final = 256
LINE_MAX: Final = 8_192
_DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})


@dataclass(frozen=True, slots=True)
class Section:
    """One `m=` section: its kind (audio, video, application), its mid, the id of the track that
    its writer sends ('' for none) and whether it sends at all."""

    kind: str
    mid: str
    track: str
    sends: bool


def sections(sdp: str) -> list[Section]:
    """The sections of a client's description. Says `INVALID_PARAM`."""
    if len(sdp) > limits.CALL_SDP_MAX or not sdp.startswith("v=0") or "\0" in sdp:
        raise Refused(Reason.INVALID_PARAM, "That is no session description")
    parts = _split(sdp)
    if len(parts) > SECTIONS_MAX + 1 or any(len(line) > LINE_MAX for p in parts for line in p):
        raise Refused(Reason.TOO_LARGE, "The session description is too large")
    return [_section(lines) for lines in parts[1:]]


def _split(sdp: str) -> list[list[str]]:
    """Lines by section; first those of the session."""
    parts: list[list[str]] = [[]]
    for line in sdp.split("\n"):
        line = line.rstrip("\r")
        if line.startswith("m="):
            parts.append([])
        if line:
            parts[-1].append(line)
    return parts


def _section(lines: list[str]) -> Section:
    words = lines[0][2:].split(" ")
    kind, port = words[0], words[1] if len(words) > 1 else "0"
    mid, track, direction = "", "", "sendrecv"
    for line in lines:
        if line.startswith("a=mid:"):
            mid = line[6:]
        elif line.startswith("a=msid:") and not track:
            track = line[7:].partition(" ")[2].partition(" ")[0]
        elif line[2:] in _DIRECTIONS:
            direction = line[2:]
    # a rejected section has port 0; in a bundle port 0 may also mean: see the first
    dead = port == "0" and "a=bundle-only" not in lines
    return Section(kind, mid, track, not dead and direction in ("sendrecv", "sendonly"))


def with_tracks(sdp: str, names: Mapping[str, tuple[str, str]]) -> str:
    """Janus' offer as LiveKit's clients read it: each section says whose track it carries.

    `names` has (participant, track) by mid; a section that is not in it carries nobody's.
    """
    session, *media = _split(sdp)
    told = [*session]
    for lines in media:
        mid = next((line[6:] for line in lines if line.startswith("a=mid:")), "")
        told += [line for line in lines if not _names_a_track(line)]
        if mid in names:
            participant, track = names[mid]
            told.append(f"a=msid:{participant}|{track} {track}")
    return "\r\n".join(told) + "\r\n"


def _names_a_track(line: str) -> bool:
    if line.startswith("a=msid:"):
        return True
    if not line.startswith("a=ssrc:"):
        return False
    attribute = line.partition(" ")[2]
    return attribute.startswith(("msid:", "mslabel:", "label:"))
