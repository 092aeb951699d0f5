"""Tokens: every token has one text, and only such texts are tokens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.base.feed_token import FeedToken, decode, encode

POS = st.integers(0, 2**63 - 1)


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@st.composite
def tokens(draw: st.DrawFn) -> FeedToken:
    pos = draw(POS)
    return FeedToken(
        pos,
        draw(st.integers(0, pos)),
        draw(st.integers(0, 0xFFFF)),
        draw(st.integers(0, 2**32 - 1)),
    )


@given(tokens())
@example(FeedToken(0))
@example(FeedToken(2**63 - 1, 2**63 - 1, 0xFFFF, 2**32 - 1))
def test_comes_back_as_it_was(token: FeedToken) -> None:
    text = encode(token)
    assert decode(text) == token
    assert len(text) <= 40
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.integers(0, 2**48), st.integers(0, 10_000), st.integers(0, 0xFFFF), POS)
def test_is_short(pos: int, lag: int, origin: int, soft: int) -> None:
    """A thousand changes a second for a thousand years, and still 32 characters."""
    assert len(encode(FeedToken(pos, min(lag, pos), origin, soft % 2**32))) <= 32


@given(tokens(), tokens())
def test_two_tokens_have_two_texts(one: FeedToken, other: FeedToken) -> None:
    assert (encode(one) == encode(other)) == (one == other)


@given(st.one_of(st.text(max_size=80), st.binary(max_size=40).map(_url)))
def test_garbage_is_refused_or_the_one_text(text: str) -> None:
    try:
        token = decode(text)
    except Refused as refused:
        reason = refused.reason
    else:
        reason = Reason.UNKNOWN_POSITION
        assert encode(token) == text
    assert reason is Reason.UNKNOWN_POSITION


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x10",
        b"\x10\x01",  # no position
        b"\x20\x01\x05",  # other version
        b"\x14\x01\x05",  # unknown flag
        b"\x10\x02\x05\x06",  # two lanes
        b"\x10\x00",  # none
        b"\x10\x01\x05\x00",  # something after it
        b"\x10\x01\x85\x00",  # longer varint than needed
        b"\x10\x01" + b"\xff" * 9 + b"\x01",  # above 63 bits
        b"\x11\x01\x05\x06",  # lag above the position
        b"\x11\x01\x05\x00",  # a lag of none
        b"\x12\x01\x05\x00\x00\x00",  # an empty soft part
        b"\x12\x01\x05\x00",  # half an origin
    ],
)
def test_refused(raw: bytes) -> None:
    with pytest.raises(Refused):
        decode(_url(raw))


@pytest.mark.parametrize("text", ["EAEF=", "EAEF\n", " EAEF", "E AEF", "EAEé", "EAEF" * 100])
def test_only_the_bare_alphabet(text: str) -> None:
    assert decode("EAEF") == FeedToken(5)
    with pytest.raises(Refused):
        decode(text)


@pytest.mark.parametrize(
    "token",
    [FeedToken(-1), FeedToken(2**63), FeedToken(5, 6), FeedToken(5, -1), FeedToken(5, 0, 2**16)],
)
def test_impossible_numbers_are_a_bug(token: FeedToken) -> None:
    with pytest.raises(ValueError, match="FeedToken"):
        encode(token)
