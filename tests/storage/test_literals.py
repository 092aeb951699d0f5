"""Literals: every value that is written into a text comes back from PostgreSQL as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kerwen.base.errors import Refused
from kerwen.storage.literals import int_list, literal, text_list

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
NASTY = st.text(st.sampled_from("'\"\\;-$:/*x41eE%_()\n\r é🏔"), max_size=40)
INT = st.integers(-(2**63), 2**63 - 1)
SLOW = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def ask(postgres_template: str) -> Iterator[Ask]:
    """Runs a simple-protocol message on a real server and says what it stored."""
    from kerwen.storage.postgres_pool import connect

    loop = asyncio.new_event_loop()
    link = loop.run_until_complete(connect(postgres_template))

    async def store(literals: str) -> Any:
        await link.execute(f"truncate pg_temp.held; execute hold({literals})")
        return await link.call(link.raw.fetchrow, "select * from pg_temp.held")

    loop.run_until_complete(
        link.execute(
            "create temp table held (n BIGINT, t TEXT, b BYTEA, ns BIGINT[], ts TEXT[]);"
            "prepare hold as insert into pg_temp.held values ($1, $2, $3, $4, $5)"
        )
    )
    yield lambda literals: loop.run_until_complete(store(literals))
    link.raw.terminate()
    loop.close()


@SLOW
@given(
    st.none() | INT,
    st.none() | TEXT | NASTY,
    st.none() | st.binary(max_size=200),
    st.lists(INT, max_size=5),
    st.lists(TEXT | NASTY, max_size=5),
)
@example(-(2**63), "\\", b"\\", [-(2**63), 2**63 - 1], ["{}", "NULL", "", "'"])
@example(2**63 - 1, "'; drop table feed; --", b"'", [], [])
def test_values_come_back(
    ask: Ask, n: int | None, t: str | None, b: bytes | None, ns: list[int], ts: list[str]
) -> None:
    words = [literal(n), literal(t), literal(b), int_list(ns), text_list(ts)]
    assert tuple(ask(", ".join(words))) == (n, t, b, ns, ts)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "1"),
        (False, "0"),
        (7, "7"),
        (-7, "(-7)"),
        ("a'b", "'a''b'"),
        (b"\x00'", "'\\x0027'"),
        (bytearray(b"a"), "'\\x61'"),
        (memoryview(b"a"), "'\\x61'"),
    ],
)
def test_texts(value: Any, text: str) -> None:
    assert literal(value) == text


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_text_that_nobody_stores_is_refused(value: str) -> None:
    for write in (literal, lambda v: text_list([v])):
        with pytest.raises(Refused):
            write(value)


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}, object()])
def test_other_types_are_a_bug(value: Any) -> None:
    with pytest.raises(TypeError):
        literal(value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_more_than_64_bits(value: int) -> None:
    for write in (literal, lambda v: int_list([v])):
        with pytest.raises(OverflowError):
            write(value)
