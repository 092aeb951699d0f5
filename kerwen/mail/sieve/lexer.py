"""The source of a Sieve script as words; and what says that a script is no good, and where."""

# RFC 5228 §2.1-2.4, §8.1

from __future__ import annotations

import enum
import re
from typing import Final

import msgspec

from kerwen.base import limits

_NUMBER_MAX: Final = 2**53
_SCALE: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TEXT_START: Final = re.compile(r"text:[ \t]*(?:#[^\n]*)?(?:\r?\n)", re.IGNORECASE)
_TEXT_END: Final = re.compile(r"^\.\r?(?:\n|\Z)", re.MULTILINE)
_STUFFED: Final = re.compile(r"^\.\.", re.MULTILINE)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\n]++|\#[^\n]*+)"
    r"|(?P<comment>/\*)"
    r'|(?P<string>"(?:[^"\\]|\\.)*+")'
    r"|(?P<number>[0-9]++)(?P<scale>[kKmMgG]?)(?![A-Za-z0-9_])"
    r"|(?P<tag>:[A-Za-z_][A-Za-z0-9_]*+)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*+)"
    r"|(?P<sign>[\[\](){},;])",
    re.DOTALL,
)


class BadScript(Exception):
    """A script that cannot be used: why, and where it was seen (both from 1)."""

    def __init__(self, text: str, line: int = 1, column: int = 1) -> None:
        super().__init__(text, line, column)
        self.text = text
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.text}"


class Sort(enum.Enum):
    """What a word is."""

    WORD = "a name"
    TAG = "a tag"
    NUMBER = "a number"
    STRING = "a string"
    SIGN = "a sign"
    END = "the end"


class Token(msgspec.Struct, frozen=True, gc=False):
    """One word; names and tags in small letters, tags without the colon."""

    sort: Sort
    text: str
    number: int
    line: int
    column: int

    def bad(self, text: str) -> BadScript:
        """Something is wrong here."""
        return BadScript(text, self.line, self.column)


def decoded(source: bytes) -> str:
    """The text of a script; `BadScript` if it is too long, not UTF-8, or holds NUL."""
    if len(source) > limits.SIEVE_SCRIPT_MAX:
        raise BadScript(f"a script has at most {limits.SIEVE_SCRIPT_MAX} bytes")
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise BadScript("this is not UTF-8", line) from None
    return text.removeprefix("\ufeff")


def tokens(source: str) -> list[Token]:
    """Every word of a script and an END; `BadScript` where there is none."""
    return _Lexer(source).run()


class _Lexer:
    __slots__ = ("_at", "_found", "_line", "_line_start", "_source", "_strings")

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._found: list[Token] = []
        self._strings = 0

    def run(self) -> list[Token]:
        """All of it."""
        source = self._source
        nul = source.find("\0")
        if nul >= 0:
            self._pass_to(nul)
            raise self._bad("there is a NUL")
        while self._at < len(source):
            if not self._text():
                self._token()
        self._add(Sort.END, "")
        return self._found

    def _bad(self, text: str) -> BadScript:
        return BadScript(text, self._line, self._at - self._line_start + 1)

    def _pass_to(self, end: int) -> None:
        """Goes on to `end`, and counts lines."""
        newlines = self._source.count("\n", self._at, end)
        if newlines:
            self._line += newlines
            self._line_start = self._source.rindex("\n", self._at, end) + 1
        self._at = end

    def _add(self, sort: Sort, text: str, number: int = 0) -> None:
        column = self._at - self._line_start + 1
        self._found.append(Token(sort, text, number, self._line, column))
        if sort is Sort.STRING:
            self._strings += 1
            if self._strings > limits.SIEVE_STRINGS_MAX:
                raise self._bad(f"a script has at most {limits.SIEVE_STRINGS_MAX} strings")

    def _text(self) -> bool:
        """`text:` and its lines up to one that is a dot.  # RFC 5228 §8.1, multi-line"""
        match = _TEXT_START.match(self._source, self._at)
        if match is None:
            return False
        end = _TEXT_END.search(self._source, match.end())
        if end is None:
            raise self._bad("the lines after text: never end with a dot")
        lines = self._source[match.end() : end.start()]
        self._add(Sort.STRING, _STUFFED.sub(".", lines) if ".." in lines else lines)
        self._pass_to(end.end())
        return True

    def _token(self) -> None:
        match = _TOKEN.match(self._source, self._at)
        if match is None:
            raise self._unfit()
        end = match.end()
        kind = match.lastgroup
        if kind == "comment":
            end = self._source.find("*/", end) + 2
            if end < 2:
                raise self._bad("this comment never ends")
        elif kind == "string":
            text = match[0][1:-1]
            self._add(Sort.STRING, _ESCAPE.sub(r"\1", text) if "\\" in text else text)
        elif kind == "scale":  # of a number; it may be empty
            digits = match["number"].lstrip("0")
            number = int(digits or "0") if len(digits) < 17 else _NUMBER_MAX
            number *= _SCALE[match["scale"].lower()]
            if number >= _NUMBER_MAX:
                raise self._bad("this number is too great")
            self._add(Sort.NUMBER, match[0], number)
        elif kind == "tag":
            self._add(Sort.TAG, match[0][1:].lower())
        elif kind == "word":
            self._add(Sort.WORD, match[0].lower())
        elif kind == "sign":
            self._add(Sort.SIGN, match[0])
        self._pass_to(end)

    def _unfit(self) -> BadScript:
        letter = self._source[self._at]
        if letter == '"':
            return self._bad("this string never ends")
        return self._bad(f"there is no place for {letter!r} here")
