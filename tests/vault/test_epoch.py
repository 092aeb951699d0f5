"""Epochs: when they end, what their boxes are bound to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.vault.epoch import (
    EPOCH_MESSAGES_MAX,
    EPOCH_MS_MAX,
    OVERHEAD_BYTES,
    Epoch,
    epoch_of,
    opened_key,
    sealed_key,
    unseal_with,
)
from kerwen.vault.seal import Belonging, public_of

KEY = b"d" * 32
WHERE = Belonging(7, 55, "message")


def epoch() -> Epoch:
    return Epoch(300, 7, 1_000, bytearray(KEY))


@given(st.binary(max_size=100))
def test_what_is_sealed_opens(plain: bytes) -> None:
    box = epoch().seal(WHERE, plain)
    assert unseal_with(KEY, WHERE, box) == plain
    assert epoch_of(box) == 300
    assert len(box) == len(plain) + OVERHEAD_BYTES


@pytest.mark.parametrize(
    ("now_ms", "messages", "over"),
    [
        (1_000, 0, False),
        (1_000 + EPOCH_MS_MAX - 1, 0, False),
        (1_000 + EPOCH_MS_MAX, 0, True),
        (999, 0, True),
        (1_000, EPOCH_MESSAGES_MAX - 1, False),
        (1_000, EPOCH_MESSAGES_MAX, True),
    ],
)
def test_an_epoch_ends(now_ms: int, messages: int, over: bool) -> None:
    found = epoch()
    found.messages = messages
    assert found.over(now_ms) is over


def test_no_nonce_comes_twice() -> None:
    found = epoch()
    boxes = [found.seal(WHERE, b"x") for _ in range(300)]
    assert len({box[9:21] for box in boxes}) == 300
    assert all(unseal_with(KEY, WHERE, box) == b"x" for box in boxes)


@pytest.mark.parametrize(
    "elsewhere",
    [Belonging(8, 55, "message"), Belonging(7, 5, "message"), Belonging(7, 55, "preview")],
)
def test_a_box_in_anothers_place_does_not_open(elsewhere: Belonging) -> None:
    with pytest.raises(Refused) as refused:
        unseal_with(KEY, elsewhere, epoch().seal(WHERE, b"x"))
    assert refused.value.reason is Reason.BOX_DAMAGED


@given(st.integers(0, OVERHEAD_BYTES), st.integers(0, 7))
def test_one_changed_bit_is_noticed(at: int, bit: int) -> None:
    damaged = bytearray(epoch().seal(WHERE, b"x"))
    damaged[at] ^= 1 << bit
    with pytest.raises(Refused):
        unseal_with(KEY, WHERE, bytes(damaged))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(box: bytes) -> None:
    for raw in (box, b"\x02" + box):
        with pytest.raises(Refused):
            unseal_with(KEY, WHERE, raw)


def test_the_key_is_kept_sealed_to_its_account_and_epoch() -> None:
    private = bytes(range(32))
    box = sealed_key(epoch(), public_of(private))
    assert opened_key(private, 7, 300, box) == KEY
    assert KEY not in box
    for account_no, epoch_no in ((8, 300), (7, 301)):
        with pytest.raises(Refused):
            opened_key(private, account_no, epoch_no, box)


def test_a_wiped_epoch_holds_no_key() -> None:
    found = epoch()
    found.wipe()
    assert found.key == bytes(32)
    assert "bytearray" not in repr(found), "the key is not printed"
