"""What the junk model learns: rules as tables, and a corpus in four languages."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base.errors import Reason, Refused
from kerwen.mail import taste as rules
from kerwen.mail.taste import LESSONS_LEAST, LESSONS_MAX, WORDS_MAX, WORDS_OF_ONE, Taste, words_of
from kerwen.mail.words import Record, body, line

COMMON_WORDS = (
    "the and you for with this that have will from please about when here time new day "
    "и в на не что для как это вы мы с по от до за "
    "we bilen üçin bu ol men siz bize gerek bar "
    "le la les pour vous nous dans avec est une"
)
JUNK_WORDS = (
    "winner lottery prize million transfer bitcoin crypto casino bonus cheap pills click unlimited "
    "выигрыш кредит займ казино бонус бесплатно срочно миллион скидка "
    "baýrak utuş mugt kazino millionlar gagnant gratuit argent crédit loterie"
)
GOOD_WORDS = (
    "meeting report agenda invoice schedule project review contract holiday family photo ticket "
    "встреча отчёт договор проект расписание семья билет заказ поездка "
    "duşuşyk hasabat taslama şertnama maşgala surat petek réunion rapport projet contrat famille"
)

COMMON, JUNK, GOOD = COMMON_WORDS.split(), JUNK_WORDS.split(), GOOD_WORDS.split()


def letter(source: random.Random, own: list[str], clear: float = 0.25) -> Record:
    """A message: mostly words that all use, some of its kind, one or two of the other."""
    other = GOOD if own is JUNK else JUNK
    text = [source.choice(own if source.random() < clear else COMMON) for _ in range(60)]
    text += source.sample(other, source.randint(0, 2))
    text += [f"{source.choice('xyz')}{source.randrange(10**6)}" for _ in range(3)]
    words, cut = body([" ".join(text)])
    subject = line(" ".join(source.sample(own, 1) + source.sample(COMMON, 3)))
    sender = line(f"{source.choice(own)} {source.randrange(200)} example test")
    return Record(subject, sender, "ayna", "", "", words, cut)


def taught(count: int, seed: int = 1) -> Taste:
    source, made = random.Random(seed), Taste()
    for at in range(count):
        made.learn(2 * at, words_of(letter(source, JUNK)), junk=True)
        made.learn(2 * at + 1, words_of(letter(source, GOOD)), junk=False)
    return made


@pytest.mark.parametrize(("lessons", "caught"), [(10, 0.85), (40, 0.95), (200, 0.99)])
def test_a_corpus_is_told_apart(lessons: int, caught: float) -> None:
    made, source = taught(lessons), random.Random(99)
    junk = [made.verdict(words_of(letter(source, JUNK))) for _ in range(300)]
    good = [made.verdict(words_of(letter(source, GOOD))) for _ in range(300)]
    assert good.count(True) == 0, "nothing good is taken for junk"
    assert junk.count(True) >= caught * 300
    assert junk.count(False) <= 3


@pytest.mark.parametrize(
    ("junk", "good", "ready"),
    [
        (0, 0, False),
        (100, 0, False),
        (0, 100, False),
        (LESSONS_LEAST - 1, 100, False),
        (LESSONS_LEAST, LESSONS_LEAST, True),
    ],
)
def test_it_says_nothing_before_it_knows_both(junk: int, good: int, ready: bool) -> None:
    made, source = Taste(), random.Random(3)
    for at in range(junk):
        made.learn(at, words_of(letter(source, JUNK)), junk=True)
    for at in range(good):
        made.learn(1000 + at, words_of(letter(source, GOOD)), junk=False)
    assert made.ready is ready
    assert (made.verdict(words_of(letter(source, JUNK, 0.9))) is not None) is ready


def test_new_words_alone_say_nothing() -> None:
    made = taught(50)
    assert made.probability([1, 2, 3]) == 0.5
    assert made.verdict([]) is None


def test_a_lesson_counts_once_and_can_be_taken_back() -> None:
    made, words = taught(20), words_of(letter(random.Random(5), JUNK, 0.5))
    before = made.encode()
    assert made.learn(9_999, words, junk=True)
    assert not made.learn(9_999, words, junk=True)
    assert (made.junk, made.good) == (21, 20)
    assert made.lesson(9_999) is True
    assert made.learn(9_999, words, junk=False)
    assert (made.junk, made.good) == (20, 21)
    assert made.lesson(9_999) is False
    made._count(words, False, -1)
    del made._lessons[9_999]
    assert made.encode() == before


def test_it_changes_its_mind() -> None:
    made = taught(30)
    source = random.Random(8)
    odd = [words_of(letter(source, JUNK)) for _ in range(60)]
    assert made.verdict(odd[0]) is True
    for at, words in enumerate(odd):
        made.learn(50_000 + at, words, junk=False)
    assert made.verdict(words_of(letter(source, JUNK))) is not True


def test_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "WORDS_MAX", 2_000)
    monkeypatch.setattr(rules, "LESSONS_MAX", 100)
    monkeypatch.setattr(rules, "FADE_AT", 150)
    made, source = Taste(), random.Random(2)
    for at in range(400):
        made.learn(at, words_of(letter(source, JUNK if at % 2 else GOOD)), junk=bool(at % 2))
        assert len(made) <= 2_000
        assert len(made._lessons) <= 100
        assert max(made.junk, made.good) <= 150
    assert made.lesson(0) is None
    assert made.verdict(words_of(letter(source, JUNK, 0.5))) is True, "it forgot what says least"


def test_a_long_message_is_one_lesson_of_bounded_size() -> None:
    words, _ = body([" ".join(f"word{n}" for n in range(9_000))])
    long = Record(line("s " * 4_000), line("f " * 4_000), "", "", "", words, False)
    assert len(words_of(long)) <= WORDS_OF_ONE + 202
    assert words_of(long) == words_of(long)
    assert WORDS_MAX * 8 + LESSONS_MAX * 10 < 512 * 1024


@given(st.lists(st.tuples(st.lists(st.integers(0, 2**32 - 1), max_size=8), st.booleans())))
def test_what_is_kept_comes_back(lessons: list[tuple[list[int], bool]]) -> None:
    made = Taste()
    for no, (words, junk) in enumerate(lessons):
        made.learn(no, set(words), junk=junk)
    again = Taste.decode(made.encode())
    assert again.encode() == made.encode()
    assert (again.junk, again.good, again._counts) == (made.junk, made.good, made._counts)
    for words, _ in lessons:
        found = again.probability(words)
        assert found is None or 0 <= found <= 1
        assert found == made.probability(words)


@given(st.binary(max_size=60))
def test_anything_else_is_damage(raw: bytes) -> None:
    with pytest.raises(Refused) as refused:
        Taste.decode(raw)
    assert refused.value.reason is Reason.BOX_DAMAGED
