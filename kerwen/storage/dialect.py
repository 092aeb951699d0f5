"""What the two engines cannot say alike: at most ten tokens. Nothing else tests for the engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """`tokens` stand in texts as `{name}`; `lists` as `{in_ints:name}` and `{in_texts:name}`."""

    name: str
    tokens: dict[str, str]
    lists: dict[str, str]


SQLITE = Dialect(
    "sqlite",
    {
        "id": "INTEGER PRIMARY KEY",  # a 64-bit key given by us; SQLite's rowid itself
        "blob": "BLOB",
        "without_rowid": "WITHOUT ROWID",  # rows live in the primary key's tree
        "for_update": "",  # one writer: the lock is the turn
        "skip_locked": "",
        # the database's clock
        "now_ms": "cast((julianday('now') - 2440587.5) * 86400000 as BIGINT)",
        # full text: words that were folded and divided by us (`rooms/search_words.py`)
        "search_table": "create virtual table search_index using fts5"
        " (words, tokenize = 'unicode61 remove_diacritics 2')",
        "search_value": ":words",
        "search_match": "search_index match :lite",
        "search_rank": "-bm25(search_index)",
        # FTS5 keeps a deleted row's words until the segments that hold them are merged
        "search_segments": "select count(distinct segid), count(*) from search_index_idx",
        "search_merge": "insert into search_index (search_index, rank) values ('merge', :pages)",
    },
    {
        "ints": "in (select value from json_each(?))",
        "texts": "in (select value from json_each(?))",
    },
)

POSTGRES = Dialect(
    "postgres",
    {
        "id": "BIGINT PRIMARY KEY",
        "blob": "BYTEA",
        "without_rowid": "",
        "for_update": "for update",
        "skip_locked": "skip locked",
        "now_ms": "cast(extract(epoch from clock_timestamp()) * 1000 as BIGINT)",
        "search_table": "create table search_index (rowid BIGINT primary key,"
        " words tsvector not null);"
        " create index search_words on search_index using gin (words)",
        "search_value": "array_to_tsvector(string_to_array(cast(:words as text), ' '))",
        "search_match": "words @@ cast(cast(:postgres as text) as tsquery)",
        "search_rank": "ts_rank(words, cast(cast(:postgres as text) as tsquery))",
        "search_segments": "select 0, 0",  # autovacuum does it
        "search_merge": "delete from search_index where rowid = -cast(:pages as BIGINT) and false",
    },
    {"ints": "= any(?::bigint[])", "texts": "= any(?::text[])"},
)
