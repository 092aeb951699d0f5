"""One text, two engines."""

from __future__ import annotations

import re

import pytest

from kerwen.storage.dialect import POSTGRES, SQLITE
from kerwen.storage.sql import sql


def test_names_become_numbers_in_order_of_appearance() -> None:
    made = sql("select :b, :a, :b, x::text, ':' from t where c = :a_1")
    assert made.names == ("b", "a", "a_1")
    assert made.postgres == "select $1, $2, $1, x::text, ':' from t where c = $3"
    assert made.lite == made.text
    assert not made.uses_pos


def test_tokens_and_lists() -> None:
    made = sql("select a from t where n {in_ints:ns} and t {in_texts:ts} {for_update}")
    assert made.lists == {"ns", "ts"}
    assert made.text_lists == {"ts"}
    assert made.locks
    assert made.names == ("ns", "ts")
    assert "any($1::bigint[])" in made.postgres
    assert made.postgres.endswith("for update")
    assert "json_each(:ns)" in made.lite


def test_the_position_is_known() -> None:
    assert sql("insert into t values (:pos)").uses_pos
    assert not sql("insert into t values (:position)").uses_pos


def test_an_unknown_token_is_a_bug() -> None:
    with pytest.raises(KeyError):
        sql("select {nothing}")


def test_each_statement_has_its_own_number() -> None:
    assert sql("select 1").number != sql("select 1").number


def test_the_engines_know_the_same_few_tokens() -> None:
    assert SQLITE.tokens.keys() == POSTGRES.tokens.keys()
    assert SQLITE.lists.keys() == POSTGRES.lists.keys()
    # the index of words has no common form at all: what it needs is counted apart
    search = [name for name in SQLITE.tokens if name.startswith("search_")]
    assert len(search) <= 6
    assert len(SQLITE.tokens) - len(search) <= 6
    assert len(SQLITE.lists) <= 2
    assert all(re.fullmatch("[a-z_]+", name) for name in SQLITE.tokens)
