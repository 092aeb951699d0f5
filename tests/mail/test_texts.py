"""Bytes to text: charsets, transfer encodings, HTML, previews, words."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.folding import fold_letters
from kerwen.mail import charsets, html_text, message, texts, transfer, words
from kerwen.mail.preview import preview
from kerwen.mail.texts import Texts

RUSSIAN = [
    "Привет, как дела? Давно не виделись.",
    "ВНИМАНИЕ! СРОЧНО ОПЛАТИТЕ СЧЁТ",
    "Уважаемые коллеги, высылаю договор № 5 и счёт-фактуру. С уважением, Иван",
    "Да",
    "Отчёт",
]
TURKMEN = [
    "Gutlaýaryn! Täze ýylyňyz gutly bolsun.",
    "Şu gün howa gowy boldy, işiňiz ilerlesin, dostlarym.",
    "Maşgalaňyz bilen bagtly boluň",
]


@pytest.mark.parametrize("text", RUSSIAN)
@pytest.mark.parametrize("codec", ["utf-8", "cp1251", "koi8-r", "cp866"])
def test_russian_is_guessed(text: str, codec: str) -> None:
    told = text.replace("№", "N") if codec in ("koi8-r", "cp866") else text
    assert charsets.guess(told.encode(codec)) == told


@pytest.mark.parametrize("text", TURKMEN)
@pytest.mark.parametrize("codec", ["utf-8", "cp1250"])
def test_turkmen_is_guessed(text: str, codec: str) -> None:
    assert charsets.guess(text.encode(codec)) == text


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Grüße aus Köln, schöne Ferien", "cp1252"),
        ("Dear sirs, Ваш заказ is ready", "cp1251"),
        ("Müşteri hizmetleri, iyi günler dileriz, teşekkürler", "cp1254"),
    ],
)
def test_others_are_guessed(text: str, codec: str) -> None:
    assert charsets.guess(text.encode(codec)) == text


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        (b"abc", None, "abc"),
        ("я".encode(), "utf-8", "я"),
        ("я".encode(), "us-ascii", "я"),
        ("я".encode(), "x-unknown", "я"),
        ("привет всем".encode("cp1251"), "utf-8", "привет всем"),  # a lie
        (
            "привет".encode() + b"\xff and much more text",
            "utf-8",
            "привет\ufffd and much more text",
        ),
        ("привет".encode("koi8-r"), '"KOI8-R"', "привет"),
        ("привет".encode("cp1251"), "windows1251", "привет"),
        (b"\x93quoted\x94", "iso-8859-1", "“quoted”"),  # what mailers mean by Latin-1
        ("日本".encode("iso2022_jp"), "ISO-2022-JP", "日本"),
        ("中文".encode("gb18030"), "gb2312", "中文"),
        (b"x" * 10, "zip", "xxxxxxxxxx"),
        (b"x", "idna", "x"),
        (b"x", "undefined", "x"),
        (b"x", "\0", "x"),
        (b"x", "a" * 5000, "x"),
    ],
)
def test_charsets(data: bytes, charset: str | None, text: str) -> None:
    assert charsets.decode(data, charset) == text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.none() | st.sampled_from(["utf-8", "cp1251", "utf-7", "utf-16",
       "hz", "big5", "unicode_escape", "rot13", "uu", "charmap"]))  # fmt: skip
def test_any_bytes_decode(data: bytes, charset: str | None) -> None:
    assert isinstance(charsets.decode(data, charset), str)


# --- transfer encodings -------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(4, 100))
def test_base64_in_lines(data: bytes, width: int) -> None:
    letters = base64.b64encode(data)
    lines = b"\r\n".join(letters[at : at + width] for at in range(0, len(letters), width))
    assert transfer.decode(lines, b"base64") == data
    assert transfer.decode(lines.rstrip(b"=") + b"\r\n", b"base64") == data
    assert transfer.decode(quopri.encodestring(data), b"quoted-printable") == data


@pytest.mark.parametrize(
    ("data", "decoded"),
    [
        (b"U2FsYW0=", b"Salam"),
        (b"U2Fs!!\0 YW0=", b"Salam"),
        (b"U2FsYW0=U2FsYW0=", b"SalamSalam"),  # two pieces, one after the other
        (b"U2FsYW0=\r\n=\r\n", b"Salam"),
        (b"U2FsY", b"Sal"),
        (b"U", b""),
        (b"", b""),
    ],
)
def test_dirty_base64(data: bytes, decoded: bytes) -> None:
    assert transfer.decode(data, b"base64") == decoded


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([*sorted(transfer.KNOWN), b"nonsense"]))
def test_any_bytes_decode_from_any_encoding(data: bytes, encoding: bytes) -> None:
    assert isinstance(transfer.decode(data, encoding), bytes)


# --- HTML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one two"),
        ("w<b>or</b>d", "word"),
        ("a<br>b<BR/>c", "a b c"),
        ("<head><title>no</title></head>yes", "yes"),
        ("a<script>if (a<b) c()</script >b", "ab"),
        ("a<!-- <p>no</p> -->b<!-->c", "abc"),
        ("a<style>never closed", "a"),
        ("&lt;b&gt; &amp; &nbsp;&#1103; &bogus;", "<b> & я &bogus;"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<table><tr><td>x</td><td>y</td></tr></table>", "x y"),
        ("<<<p>>x", "<< >x"),
        ("<sc<script>x</script>y", "<scy"),
    ],
)
def test_html(html: str, text: str) -> None:
    assert " ".join(html_text.text_of(html).split()) == text


# --- previews -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "html", "line"),
    [
        (["Salam!\r\n\r\n  Nähili?\r\n"], [], "Salam! Nähili?"),
        (["> quoted\r\n> more\r\nmine\r\n-- \r\nme\r\n"], [], "mine"),
        (["> only quoted\r\n"], [], "> only quoted"),
        (["  \r\n"], ["from html"], "from html"),
        ([], [], ""),
        (["a\u200bb\ufeff c\0d"], [], "ab cd"),
        (["mine\r\n-----Original Message-----\r\nyours"], [], "mine"),
    ],
)
def test_previews(plain: list[str], html: list[str], line: str) -> None:
    assert preview(Texts(plain, html, [], 0, False)) == line


def test_a_long_preview_is_cut_between_words() -> None:
    line = preview(Texts(["word " * 100], [], [], 0, False))
    assert len(line) <= limits.PREVIEW_MAX
    assert line.endswith("word…")
    assert len(preview(Texts(["x" * 1000], [], [], 0, False))) == limits.PREVIEW_MAX


# --- attachments --------------------------------------------------------------------------------

PARTS = [
    (b"Content-Type: text/plain\r\n", False, None),
    (b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n", True, None),
    (b"Content-Type: text/plain; name=a.txt\r\nContent-Disposition: inline\r\n", False, "a.txt"),
    (b"Content-Type: image/png\r\nContent-ID: <x>\r\n", False, None),
    (b"Content-Type: image/png\r\n", True, None),
    (b"Content-Type: application/pgp-signature\r\n", False, None),
    (b"Content-Type: application/pdf; name=a.pdf\r\n", True, "a.pdf"),
    (b"Content-Type: message/rfc822\r\n", True, None),
    (b"Content-Type: message/delivery-status\r\n", False, None),
]


@pytest.mark.parametrize(("header", "attached", "name"), PARTS)
def test_what_is_an_attachment(header: bytes, attached: bool, name: str | None) -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + header + b"\r\nx\r\n--b--"
    root = message.scan(raw)
    assert texts.is_attachment(root.parts[0]) is attached
    assert texts.file_name(root.parts[0]) == name
    assert texts.texts(raw, root).files == attached


def test_texts_say_when_they_are_cut() -> None:
    raw = b"Subject: x\r\n\r\n" + b"word " * 300_000
    found = texts.texts(raw, message.scan(raw))
    assert found.cut
    assert len(found.plain[0]) == limits.TEXT_READ_MAX
    assert not texts.texts(raw, message.scan(raw), bytes_max=len(raw)).cut


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One two, TWO!", {"one", "two"}),
        ("Gutlaýaryn Ýazyň ŞAHSY", {"gutlayaryn", "yazyn", "sahsy"}),
        ("Ёлка и ёж, ЁЖ", {"елка", "и", "еж"}),
        ("don't a_b c-d e.f@g.h", {"don", "t", "a", "b", "c", "d", "e", "f", "g", "h"}),
        ("co\u00adoperate na\u0308h", {"cooperate", "nah"}),
        ("straße № ﬁn ½", {"strasse", "no", "fin", "1", "2"}),
        ("日本語 한국어 🎉", {"日本語", words.line("한국어")}),
        ("İstanbul ılık I", {"istanbul", "ilik", "i"}),
        ("mixed текст we ýazdyk", {"mixed", "текст", "we", "yazdyk"}),
        ("", set()),
        ("\0\x7f…", set()),
    ],
)
def test_splitting(text: str, found: set[str]) -> None:
    assert words.split(text) == found


def test_long_texts_of_many_scripts() -> None:
    text = "日本 Ёлка Ýaz ß " * 1000
    assert words.split(text) == {"日本", "елка", "yaz", "ss"}


LETTERS = st.text(
    st.sampled_from("abcŞşÝýňЖжёЁй ,.-№ß\u00ad\u0301\n") | st.characters(), max_size=80
)


@settings(max_examples=300, deadline=None)
@given(LETTERS)
def test_every_way_of_folding_is_the_same(text: str) -> None:
    assert words._fold(text).split() == text.translate(words._SPLITTING).split()
    assert words.split(words.line(text)) == words.split(text)
    assert set(words.line(text).split()) == words.split(text)


@settings(max_examples=300, deadline=None)
@given(LETTERS, st.data())
def test_a_part_of_a_text_is_never_missed(text: str, data: st.DataObject) -> None:
    """Whatever piece of a text is looked for, the record allows it and the proof has it."""
    start = data.draw(st.integers(0, len(text)))
    piece = text[start : start + data.draw(st.integers(0, 30))]
    if piece and (piece[0] in "\u00ad\u0301" or len(fold_letters(piece[0])) != 1):
        return
    asked = words.query(piece)
    record, cut = words.body([text])
    assert cut or words.may_hold(record, asked)
    assert asked.proof in words.proving(text)
    if asked.exact:
        assert any(asked.line in word for word in words.split(text))


def test_a_record_has_each_word_once_in_order() -> None:
    assert words.body(["b a", "B c"]) == ("\na\nb\nc\n", False)
    assert words.body([]) == ("", False)


def test_a_record_says_when_words_are_missing() -> None:
    long = "x" * (limits.WORD_MAX + 1)
    assert words.body([f"a {long}"]) == ("\na\n", True)
    record, cut = words.body([" ".join(map(str, range(limits.WORDS_MAX + 1)))])
    assert cut
    assert len(record.split()) == limits.WORDS_MAX


@pytest.mark.parametrize(
    ("asked", "may"),
    [
        ("quick", True),
        ("UIC", True),
        ("quick brown", True),
        ("ick bro", True),
        ("quick fox", True),  # allowed by the record, refuted by the proof
        ("uick rown fox", False),
        ("fo", True),
        ("fox.", True),
        ("ox qu", True),
        ("x q", True),
        ("cat", False),
        ("", True),
        ("...", True),
    ],
)
def test_what_a_record_allows(asked: str, may: bool) -> None:
    record, _ = words.body(["the quick brown fox"])
    assert words.may_hold(record, words.query(asked)) is may


def test_only_single_words_are_decided_by_the_record() -> None:
    assert words.query(" Ýaz ").exact
    assert not words.query("two words").exact
    assert not words.query("one-").exact
    assert not words.query("").exact
