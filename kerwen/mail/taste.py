"""What an account's owner takes for junk, learned from what they put into Junk and out of it.

A naive Bayes model over the words of search records. How many junk and good messages had a word
gives the word's probability; Fisher's method joins those of a message. The model is bounded: words
that say least are forgotten first, old lessons fade.
"""

# G. Robinson, "A statistical approach to the spam problem", 2003; design.md §5

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

from kerwen.base.errors import Reason, Refused
from kerwen.mail.words import Record

WORDS_MAX: Final = 30_000  # that a model knows
WORDS_OF_ONE: Final = 1_000  # of one message that are learned or looked at
CLUES_MAX: Final = 150  # that decide: the strongest
LESSONS_MAX: Final = 4_096  # messages of which the model knows that it learned them
LESSONS_LEAST: Final = 4  # of each class before it says anything
FADE_AT: Final = 4_000  # messages of one class; then all counts are halved
JUNK_FROM: Final = 0.95
GOOD_TO: Final = 0.05
_STRENGTH: Final = 0.45  # how much the guess about a new word weighs
_CLUE_LEAST: Final = 0.1  # a word nearer to one half says nothing
_COUNT_MAX: Final = 0xFFFF


class _Kept(msgspec.Struct, array_like=True, gc=False):
    form: int
    junk: int
    good: int
    words: list[int]
    junk_counts: list[int]
    good_counts: list[int]
    lessons: list[int]
    classes: list[bool]


_FORM: Final = 1
_DECODER: Final = msgspec.msgpack.Decoder(_Kept)
_ENCODER: Final = msgspec.msgpack.Encoder()


def words_of(record: Record) -> list[int]:
    """What the model knows a message by: its words, those of its subject and sender apart."""
    crc = zlib.crc32
    found = {crc(word.encode()) for word in record.body.split("\n") if 1 < len(word) <= 24}
    if len(found) > WORDS_OF_ONE:
        found = set(sorted(found)[:WORDS_OF_ONE])  # the same ones of the same words
    for mark, text in ((b"subject ", record.subject), (b"from ", record.sender)):
        found.update(crc(mark + word.encode()) for word in text.split()[:100])
        if text:
            found.add(crc(mark + b"= " + text.encode()))
    found.discard(crc(b""))
    return sorted(found)


class Taste:
    """The model. `junk` and `good`: how many messages it learned of each."""

    __slots__ = ("_counts", "_lessons", "good", "junk")

    def __init__(self) -> None:
        self.junk = 0
        self.good = 0
        self._counts: dict[int, list[int]] = {}  # word → in how many junk and good messages
        self._lessons: dict[int, bool] = {}  # message → whether it was junk

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def ready(self) -> bool:
        """Whether it learned enough of both to say anything."""
        return min(self.junk, self.good) >= LESSONS_LEAST

    def lesson(self, no: int) -> bool | None:
        """As what a message was learned; None: it was not, or long ago."""
        return self._lessons.get(no)

    def learn(self, no: int, words: Iterable[int], *, junk: bool) -> bool:
        """Learns a message; one that was learned as the other is unlearned first. False if
        nothing is new."""
        known = self._lessons.pop(no, None)
        self._lessons[no] = junk
        if known is junk:
            return False
        words = list(words)
        if known is not None:
            self._count(words, known, -1)
        self._count(words, junk, 1)
        while len(self._lessons) > LESSONS_MAX:
            del self._lessons[next(iter(self._lessons))]
        if max(self.junk, self.good) > FADE_AT:
            self._fade()
        if len(self._counts) > WORDS_MAX:
            self._forget()
        return True

    def _count(self, words: Iterable[int], junk: bool, by: int) -> None:
        if junk:
            self.junk = max(self.junk + by, 0)
        else:
            self.good = max(self.good + by, 0)
        counts, at = self._counts, 0 if junk else 1
        for word in words:
            pair = counts.get(word)
            if pair is None:
                if by < 0:
                    continue
                pair = counts[word] = [0, 0]
            pair[at] = min(max(pair[at] + by, 0), _COUNT_MAX)
            if not pair[0] and not pair[1]:
                del counts[word]

    def _fade(self) -> None:
        self.junk //= 2
        self.good //= 2
        halved = {word: [a // 2, b // 2] for word, (a, b) in self._counts.items()}
        self._counts = {word: pair for word, pair in halved.items() if pair[0] or pair[1]}

    def _forget(self) -> None:
        """Keeps three quarters: the words that were met most, and on one side most."""
        ranked = sorted(self._counts.items(), key=_weight, reverse=True)
        self._counts = dict(ranked[: WORDS_MAX * 3 // 4])

    def probability(self, words: Iterable[int]) -> float | None:
        """How likely it is that a message is junk, from 0 to 1; None: it cannot tell yet."""
        if not self.ready:
            return None
        clues = sorted(self._clues(words), key=lambda f: abs(f - 0.5), reverse=True)[:CLUES_MAX]
        if not clues:
            return 0.5
        count = 2 * len(clues)
        junk = _chi2(-2 * sum(math.log(1 - f) for f in clues), count)
        good = _chi2(-2 * sum(math.log(f) for f in clues), count)
        return (1 + good - junk) / 2

    def _clues(self, words: Iterable[int]) -> Iterable[float]:
        counts, junk, good = self._counts, self.junk, self.good
        for word in words:
            pair = counts.get(word)
            if pair is None:
                continue
            bad, fine = min(pair[0] / junk, 1.0), min(pair[1] / good, 1.0)
            seen = pair[0] + pair[1]
            f = (_STRENGTH * 0.5 + seen * bad / (bad + fine)) / (_STRENGTH + seen)
            if abs(f - 0.5) >= _CLUE_LEAST:
                yield f

    def verdict(self, words: Iterable[int]) -> bool | None:
        """Junk or not; None where it does not know."""
        found = self.probability(words)
        if found is None or GOOD_TO < found < JUNK_FROM:
            return None
        return found >= JUNK_FROM

    def encode(self) -> bytes:
        """As it is kept, to be sealed: about 7 bytes a word."""
        ordered = sorted(self._counts.items())
        return _ENCODER.encode(
            _Kept(
                _FORM,
                self.junk,
                self.good,
                [word for word, _ in ordered],
                [pair[0] for _, pair in ordered],
                [pair[1] for _, pair in ordered],
                list(self._lessons),
                list(self._lessons.values()),
            )
        )

    @classmethod
    def decode(cls, raw: bytes) -> Taste:
        """What `encode` made. Says `BOX_DAMAGED`."""
        made = cls()
        try:
            kept = _DECODER.decode(raw)
            pairs = map(list, zip(kept.junk_counts, kept.good_counts, strict=True))
            made._counts = dict(zip(kept.words, pairs, strict=True))
            made._lessons = dict(zip(kept.lessons, kept.classes, strict=True))
        except (msgspec.DecodeError, ValueError):
            raise Refused(Reason.BOX_DAMAGED, "A sealed record is damaged", why="taste") from None
        made.junk, made.good = kept.junk, kept.good
        return made


def _weight(entry: tuple[int, list[int]]) -> tuple[int, int]:
    junk, good = entry[1]
    return (abs(junk - good), junk + good)


def _chi2(x: float, freedom: int) -> float:
    """The probability that chi-square with an even number of degrees of freedom is above x."""
    half = x / 2
    # in logarithms: exp(-half) alone is 0 from 745 on
    term = -half
    found = math.exp(term) if term > -700 else 0.0
    for at in range(1, freedom // 2):
        term += math.log(half / at) if half > 0 else -math.inf
        if term > -700:
            found += math.exp(term)
    return min(found, 1.0)
