"""What goes wrong beside a call: it harms no more than it must."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.calls.live import peer as peers
from kerwen.calls.live.hall import Hall
from kerwen.calls.live.peer import Peer
from kerwen.calls.sfu.janus import Handle, Janus
from kerwen.calls.token import Grant
from kerwen.storage.database import Kind

GRANT = Grant("call", "!r:a", "@u:a:D", "@u:a", "D", True)


class Line:
    """A line of a WebSocket, or to Janus."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.open = False
        self.fault = fault

    async def receive(self) -> None:
        if self.fault is not None:
            raise self.fault


def test_who_goes_while_the_line_to_janus_breaks_just_goes() -> None:
    janus = Janus("ws://127.0.0.1:1", "secret")
    broken: Any = Line()
    janus._socket, janus._session = broken, 1
    handle = Handle(janus, 7, lambda _: None)
    janus.handles[7] = handle
    handle.trickle(None)
    handle.detach()
    assert not janus.handles


@pytest.mark.parametrize("fault", [None, RuntimeError("a fault of ours")])
async def test_nobody_stays_whose_line_ended(fault: Exception | None) -> None:
    parted: list[Peer] = []
    call: Any = SimpleNamespace(part=lambda peer, reason: parted.append(peer))
    peer = Peer(call, GRANT, 1, 0)
    publishing: Any = SimpleNamespace(flows=False, tracks={})
    peer.publishing = publishing
    line: Any = Line(fault)
    if fault is None:
        await peer.serve(line)
    else:
        with pytest.raises(RuntimeError):
            await peer.serve(line)
    peer.look(time.monotonic())
    assert parted == []
    peer.look(time.monotonic() + peers.WATCHER_S + 1)
    assert parted == [peer]


async def test_who_left_the_room_is_put_out_though_the_database_was_away() -> None:
    answers: list[Exception] = [
        Unavailable(Unready.DISK_FULL),
        Refused(Reason.FORBIDDEN, "You are not in this room"),
    ]
    removed: list[int] = []

    async def may_stay(grant: Grant) -> tuple[int, int]:
        raise answers.pop(0)

    class Watched(Hall):
        def remove(self, peer: Peer) -> None:
            removed.append(peer.account_no)

    stub: Any = SimpleNamespace()
    hall = Watched(Janus("ws://127.0.0.1:1", "s"), b"s", may_stay, stub, stub, lambda: 0)
    guest = SimpleNamespace(account_no=1, grant=GRANT, gone=False)
    call: Any = SimpleNamespace(room_no=5, peers={"PA": guest})
    hall.calls["call"] = call
    hall.follow(1, [(Kind.MEMBERSHIP, 5, 0)])
    await hall._check_members()
    assert removed == []
    await hall._check_members()
    assert removed == [1]
