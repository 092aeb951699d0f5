"""Words as people search them, and the question to an index of them.

One fold (`base/folding.py`) for what is kept and what is asked, so both engines find alike. A word
of three letters or more is asked as a beginning, since in our languages words grow at their end:
`kitap` finds `kitaplar`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from kerwen.base.folding import fold_letters

TEXT_MAX: Final = 20_000  # characters of one event that are looked at
WORD_MAX: Final = 64  # characters of a word
WORDS_MAX: Final = 1_000  # different words of one event
ASKED_MAX: Final = 16  # words of a question
_BEGINNING_MIN: Final = 3
_ROOMS_ASKED_MAX: Final = 64  # more rooms are told apart by the events' own rows
_WORD: Final = re.compile(r"[^\W_]+")
_ROOM: Final = "\ue000"  # begins a room's word: for FTS5 a letter, for `_WORD` none

KEYS: Final = {
    "content.body": "m.room.message",
    "content.name": "m.room.name",
    "content.topic": "m.room.topic",
}
"""What may be searched (CS #server-side-search), and the type of event that has it."""
SEARCHED: Final = frozenset(KEYS.values())
_FIELD: Final = {event_type: key.removeprefix("content.") for key, event_type in KEYS.items()}


def text_of(event_type: str, content: Any) -> str | None:
    """The text of a clear event that can be found; None if there is none."""
    field = _FIELD.get(event_type)
    if field is None or not isinstance(content, dict):
        return None
    text = content.get(field)
    return text if isinstance(text, str) and text else None


def words_of(text: str) -> list[str]:
    """The different words of a text, folded, in their order."""
    plain = fold_letters(text[:TEXT_MAX])
    found = dict.fromkeys(word[:WORD_MAX] for word in _WORD.findall(plain))
    return list(found)[:WORDS_MAX]


def indexed(room_no: int, text: str) -> str:
    """What the index keeps of an event: its room as a word, and its words."""
    return " ".join([_room(room_no), *words_of(text)])


class Question(NamedTuple):
    """What is asked, in the words of both engines; `words` are to be shown where they stand."""

    words: list[str]
    lite: str
    postgres: str


def question(text: str, room_nos: Iterable[int]) -> Question | None:
    """All words must be there, in one of the rooms. None: there is no word in the text."""
    words = words_of(text)[:ASKED_MAX]
    if not words:
        return None
    lite = [f'"{w}"*' if len(w) >= _BEGINNING_MIN else f'"{w}"' for w in words]
    postgres = [f"{w}:*" if len(w) >= _BEGINNING_MIN else w for w in words]
    rooms = [_room(number) for number in room_nos]
    if 0 < len(rooms) <= _ROOMS_ASKED_MAX:
        lite.insert(0, "(" + " OR ".join(f'"{r}"' for r in rooms) + ")")
        postgres.insert(0, "(" + " | ".join(f"'{r}'" for r in rooms) + ")")
    return Question(words, " AND ".join(lite), " & ".join(postgres))


def _room(room_no: int) -> str:
    """A word that nobody can write, nor find by its beginning: who searches without looking at the
    events' rows (`store.search.newest`) trusts it."""
    return f"{_ROOM}{room_no}"
