"""SQL texts: one for both engines, rewritten once at load.

A text uses `:name` parameters and the tokens of `dialect.py` in braces. `$1` is never
written by hand: SQLite would bind it by order of appearance.
"""

from __future__ import annotations

import itertools
import re

from kerwen.storage.dialect import POSTGRES, SQLITE, Dialect

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_LIST = re.compile(r"\{in_(ints|texts):([a-z_][a-z0-9_]*)\}")
_TOKEN = re.compile(r"\{([a-z_]+)\}")
_numbers = itertools.count(1)


class Sql:
    """One statement. `lite` and `postgres` are its texts, `names` its parameters in order.
    `sealed`: what it deletes is sealed, so SQLite need not overwrite it.
    """

    __slots__ = (
        "lists",
        "lite",
        "locks",
        "name",
        "names",
        "number",
        "postgres",
        "sealed",
        "text",
        "text_lists",
        "uses_pos",
    )

    def __init__(self, text: str, sealed: bool) -> None:
        self.text = text
        self.sealed = sealed
        self.name = ""
        self.number = next(_numbers)  # names its prepared form on PostgreSQL
        self.lists = frozenset(m.group(2) for m in _LIST.finditer(text))
        self.text_lists = frozenset(
            m.group(2) for m in _LIST.finditer(text) if m.group(1) == "texts"
        )
        self.locks = "{for_update}" in text
        self.lite = _expand(text, SQLITE)
        plain = _expand(text, POSTGRES)
        names: list[str] = []
        for match in _PARAMETER.finditer(plain):
            if match.group(1) not in names:
                names.append(match.group(1))
        self.names = tuple(names)
        self.postgres = _PARAMETER.sub(lambda m: f"${names.index(m.group(1)) + 1}", plain)
        self.uses_pos = "pos" in self.names


def _expand(text: str, dialect: Dialect) -> str:
    text = _LIST.sub(lambda m: dialect.lists[m.group(1)].replace("?", ":" + m.group(2)), text)
    return _TOKEN.sub(lambda m: dialect.tokens[m.group(1)], text)


def sql(text: str, *, sealed: bool = False) -> Sql:
    """Makes a statement of a text; module-level constants only, so that it costs once."""
    return Sql(text, sealed)


def expand_script(text: str, dialect: Dialect) -> str:
    """A schema file for one engine."""
    return _expand(text, dialect)
