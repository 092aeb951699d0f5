"""Letters as people search them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import folding
from kerwen.base.folding import fold_letters


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Aýna ÇARY Žäk ňaýza", "ayna cary zak nayza"),
        ("Ёлка, ЙОД", "елка, иод"),
        ("Iİı", "iii"),
        ("straße №5", "strasse no5"),
        ("łøđŋ", "lodn"),
        ("e\u0301", "e"),
        ("日本 1-2_3", "日本 1-2_3"),
        ("", ""),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold_letters(text) == folded


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_it_is_folded_once_and_for_all(text: str) -> None:
    once = fold_letters(text)
    assert fold_letters(once) == once
    assert not any(unicodedata.combining(c) for c in once)
    assert fold_letters(text[:1]) + fold_letters(text[1:]) == once


def test_the_table_does_not_grow_without_end() -> None:
    table = folding.Letters()
    for code in range(folding.LETTERS_KEPT_MAX + 100):
        assert table[code] is not None
    assert len(table) == folding.LETTERS_KEPT_MAX
