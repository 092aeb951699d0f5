"""Any bytes: no exception, the same however they are cut, bounded memory and time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.imap.protocol import commands as c
from kerwen.imap.protocol.stages import Stage
from tests.imap.test_parser import BAD, EVERY
from tests.imap.wire import Peer, cut, one_by_one, parse

LINES = [b"t " + text + b"\r\n" for _, text, _ in EVERY] + [
    b"t " + text + b"\r\n" for text in BAD if len(text) < 200
]
STAGES = st.sampled_from(list(Stage)[:3])
PIECES = st.one_of(
    st.sampled_from(LINES),
    st.binary(max_size=20),
    st.sampled_from(
        [b"{3+}\r\n", b"{3}\r\n", b"~{2+}\r\nab", b"DONE\r\n", b"t IDLE\r\n", b"(", b")", b'"',
         b"\r\n", b"\n", b"\r", b" ", b"{", b"{}\r\n", b"{9999999+}\r\n", b"*\r\n", b"\\"]
    ),
)  # fmt: skip
TALK = st.lists(PIECES, max_size=12).map(b"".join)


@settings(max_examples=400)
@given(data=TALK, places=st.lists(st.integers(0, 10_000), max_size=6), stage=STAGES)
@example(data=b"t LOGIN {1}\r\n\r\n", places=[], stage=Stage.GREETED)
def test_the_same_however_it_is_cut(data: bytes, places: list[int], stage: Stage) -> None:
    whole = parse(data, stage)
    assert parse(cut(data, places), stage) == whole
    if len(data) < 300:
        assert parse(one_by_one(data), stage) == whole


@settings(max_examples=300)
@given(line=st.sampled_from(LINES), at=st.integers(0, 200), more=st.binary(max_size=4),
       gone=st.integers(0, 3), stage=STAGES)  # fmt: skip
def test_a_changed_command_is_a_command_or_refused(
    line: bytes, at: int, more: bytes, gone: int, stage: Stage
) -> None:
    at = min(at, len(line))
    for item in parse(line[:at] + more + line[at + gone :] + b"\r\nz NOOP\r\n", stage):
        assert isinstance(item, c.Item)


HEAVY = [
    b"t SEARCH " + b"(" * 60_000 + b"\r\n",
    b"t SEARCH " + b"NOT " * 15_000 + b"\r\n",
    b"t SEARCH " + b"OR ALL " * 9_000 + b"\r\n",
    b"t FETCH " + b"1:" * 30_000 + b"\r\n",
    b"t FETCH " + b"9" * 60_000 + b"\r\n",
    b't LIST "" "' + b'\\"' * 30_000 + b"\r\n",
    b"t STORE 1 FLAGS (" + b"\\a " * 20_000 + b"\r\n",
    b"t FETCH 1 BODY[" + b"1." * 30_000 + b"\r\n",
    b"t ID (" + b'"" ' * 20_000 + b"\r\n",
    b"t " + b" " * 60_000 + b"\r\n",
    b"&" * 60_000 + b"\r\n",
    b"t DELETE " + b"&" * 60_000 + b"\r\n",
    b"t DELETE " + b"&A" * 30_000 + b"\r\n",
    b"t DELETE " + b"{0+}\r\n" * 5_000 + b"\r\n",
    b"\r\n" * 50_000,
    b"\0" * 100_000,
]


@pytest.mark.parametrize("data", HEAVY, ids=lambda data: str(data)[:30])
def test_heavy_input_takes_little_time(data: bytes) -> None:
    start = time.process_time()
    parse(data)
    assert time.process_time() - start < 1.0
    start = time.process_time()
    parse(cut(data, list(range(0, len(data), 200))))
    assert time.process_time() - start < 2.0


def test_waiting_bytes_are_bounded_by_what_holds() -> None:
    peer = Peer()
    peer.feed(b"t APPEND x {%d}\r\n" % limits.MESSAGE_BYTES_MAX)
    peer.feed(b"x" * 1_000_000)
    assert peer.parser.waiting == 0
    assert peer.parser.literal_left == limits.MESSAGE_BYTES_MAX - 1_000_000
    assert peer.parser.closed() == []
