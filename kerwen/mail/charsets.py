"""Bytes to text: what the sender said, and where that is wrong or missing, what fits.

Never raises. Old Russian mail comes in windows-1251, KOI8-R or CP866 without saying so; Turkmen
in UTF-8 or windows-1250. What is valid UTF-8 is taken for UTF-8.
"""

from __future__ import annotations

import codecs
import functools
import math
import re
from typing import Final

GUESS_BYTES: Final = 4096
_NAME_MAX: Final = 40

_ALIASES: Final = {
    "unicode-1-1-utf-7": "utf-7",
    "utf8mb4": "utf-8",
    "unicode": "utf-8",
    "cp-1251": "cp1251",
    "cp-1252": "cp1252",
    "win-1251": "cp1251",
    "windows1251": "cp1251",
    "x-cp1251": "cp1251",
    "koi8": "koi8-r",
    "koi8-ru": "koi8-u",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "windows-874": "cp874",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "big5": "big5hkscs",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
}
# not charsets of mail, slow on hostile input, or not text
_DENIED: Final = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs"}
_UNSAID: Final = {"", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit", "unknown", "x-unknown",
                  "8bit", "default", "none", "binary"}  # fmt: skip


def decode(data: bytes, charset: str | None = None) -> str:
    """The text of `data`; `charset` is what the message says, which may be nonsense."""
    codec = _codec(charset[:_NAME_MAX].strip(" '\"").lower()) if charset else None
    if codec is None:
        return guess(data)
    try:
        return data.decode(codec)
    except (UnicodeError, LookupError, ValueError):
        pass
    text = data.decode(codec, "replace")
    wrong = text.count("\ufffd")
    if wrong * 8 < len(text) or codec not in ("utf-8", "utf-7"):
        return text
    return guess(data)


def guess(data: bytes) -> str:
    """The text of bytes of which nothing is said."""
    if data.isascii():
        return data.decode("ascii")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start > len(data) - 4 and error.reason == "unexpected end of data":
            return data[: error.start].decode("utf-8") + "\ufffd"  # cut in the midst of a letter
    return data.decode(_fitting(data[:GUESS_BYTES]), "replace")


@functools.lru_cache(maxsize=512)
def _codec(name: str) -> str | None:
    """Python's name of a charset; None if it says nothing or is unknown."""
    if name in _UNSAID:
        return None
    try:
        found = codecs.lookup(_ALIASES.get(name, name)).name
        b"x".decode(found, "replace")  # what is not text (zip, hex) is a LookupError
    except (LookupError, ValueError):
        return None
    return None if found in _DENIED else found


# with a head start for what is more common
_CYRILLIC: Final = {"cp1251": 2, "koi8-r": 1, "cp866": 1, "iso8859-5": -1, "mac_cyrillic": -2}
# how often each letter comes in Russian, per mille
_LETTERS: Final = (
    "о110 е85 а80 и74 н67 т63 с55 р47 в45 л44 к35 м32 д30 п28 у26 я20 ы19 ь17 г17 з16 \
б16 ч14 й12 х10 ж9 ш7 ю6 ц5 щ4 э3 ф3 ё2 ъ1"
)
_OFTEN: Final = {entry[0]: int(entry[1:]) for entry in _LETTERS.split()}
_WEIGHT: Final = {letter: math.log(share / 12) for letter, share in _OFTEN.items()}
_WEIGHT.update({letter.upper(): weight for letter, weight in tuple(_WEIGHT.items())})
_USUAL: Final = frozenset("№«»—–“”„…’\xa0€©·•")
_UPPER_INSIDE: Final = re.compile("[а-яё][А-ЯЁ]")
_HIGH: Final = bytes(range(0x80, 0x100))
_ASCII_LETTERS: Final = bytes(c for c in range(0x80) if chr(c).isalpha())


def _fitting(data: bytes) -> str:
    """The 8-bit charset in which these bytes look most like words."""
    high = len(data) - len(data.translate(None, _HIGH))
    letters = len(data) - len(data.translate(None, _ASCII_LETTERS))
    if high * 2 < letters and not _has_foreign_word(data):
        return _western(data)
    return max(
        _CYRILLIC, key=lambda codec: _CYRILLIC[codec] + _likeness(data.decode(codec, "replace"))
    )


_WORD: Final = re.compile(rb"[A-Za-z\x80-\xff]+")


def _has_foreign_word(data: bytes) -> bool:
    """Whether some word has no Latin letter: a Cyrillic word in an English text, say."""
    return any(len(word) > 3 and min(word) >= 0x80 for word in _WORD.findall(data))


def _likeness(text: str) -> float:
    """How much this looks like Russian: the logarithm of how likely it is."""
    weights, usual = _WEIGHT, _USUAL
    score = 0.0
    for letter in text:
        if letter > "\x7f":
            weight = weights.get(letter)
            score += weight if weight is not None else 0 if letter in usual else -5
    return score - 6 * len(_UPPER_INSIDE.findall(text))


_CENTRAL: Final = re.compile(rb"[A-Za-z][\xba\xf2\x9e\xaa\xd2\x8e]|[\xba\xf2\x9e][A-Za-z]")
_TURKISH: Final = re.compile(rb"[a-z][\xfe\xf0]|[\xfe][a-z]|[A-Z]\xdd[A-Z]|[a-z]\xfd[a-z]")


def _western(data: bytes) -> str:
    """Latin letters with marks: Turkmen (1250), Turkish (1254), else Western (1252)."""
    if _CENTRAL.search(data):
        return "cp1250"
    if b"\xfe" in data and _TURKISH.search(data):
        return "cp1254"
    return "cp1252"
