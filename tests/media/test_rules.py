"""Pure rules: names, types, dispositions, ranges."""

from __future__ import annotations

import contextlib
from email.message import Message
from email.utils import collapse_rfc2231_value

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused
from kerwen.media.content_type import INLINE, OPAQUE, declared, essence, image_type, may_be_inline
from kerwen.media.disposition import disposition, file_name
from kerwen.media.mxc import mxc, well_formed
from kerwen.media.ranges import Unsatisfiable, matches, wanted_range


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (None, OPAQUE),
        ("", OPAQUE),
        ("image/png", "image/png"),
        (" image/png ", "image/png"),
        ("Image/PNG", "Image/PNG"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ('text/plain;charset="utf-8"', 'text/plain;charset="utf-8"'),
        ('a/b; c="d\\"e"; f=g', 'a/b; c="d\\"e"; f=g'),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("image", OPAQUE),
        ("image/", OPAQUE),
        ("/png", OPAQUE),
        ("image/png\r\nX-Evil: 1", OPAQUE),
        ("image/png\x00", OPAQUE),
        ("image/p\u00f6g", OPAQUE),
        ("text/html, image/png", OPAQUE),
        ("text/plain; charset", OPAQUE),
        ("a/" + "b" * 253, "a/" + "b" * 253),
        ("a/" + "b" * 254, OPAQUE),
    ],
)
def test_declared_type(header: str | None, taken: str) -> None:
    assert declared(header) == taken


@given(st.text(max_size=60))
def test_any_type_is_safe_in_a_header(text: str) -> None:
    taken = declared(text)
    assert taken.isascii()
    assert not any(ord(c) < 32 and c != "\t" for c in taken)


def test_types_that_take_long_to_refuse() -> None:
    assert declared("a/b" + ";" * 200) == "a/b" + ";" * 200
    assert declared('a/b; c="' + "\\a" * 120) == OPAQUE


def test_inline_types() -> None:
    assert len(INLINE) == 26
    assert may_be_inline("image/png")
    assert may_be_inline("Text/Plain ; charset=utf-8")
    for never in (
        "text/html",
        "image/svg+xml",
        "application/pdf",
        "text/xml",
        OPAQUE,
        "image/pngx",
    ):
        assert not may_be_inline(never)
    assert essence("Text/HTML; a=b") == "text/html"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x89PNG\r\n\x1a\nxxxx", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"GIF87a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"GIF88a", None),
        (b"<svg", None),
        (b"", None),
    ],
)
def test_first_bytes(head: bytes, found: str | None) -> None:
    assert image_type(head) == found


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("image/png", None, b"inline"),
        ("text/html", None, b"attachment"),
        ("image/png", "a.png", b'inline; filename="a.png"'),
        ("text/html", "a b;c,d.html", b'attachment; filename="a b;c,d.html"'),
        ("image/png", 'a"b\\c', b"inline; filename*=UTF-8''a%22b%5Cc"),
        (
            "image/png",
            "gutlaýaryn.png",
            b"inline; filename*=UTF-8''gutla%C3%BDaryn.png",
        ),
        (
            "a/b",
            "\U0001f600'(*)%",
            b"attachment; filename*=UTF-8''%F0%9F%98%80%27%28%2A%29%25",
        ),
    ],
)
def test_disposition(kind: str, name: str | None, value: bytes) -> None:
    assert disposition(kind, name) == value


@given(st.text(min_size=1, max_size=200))
def test_any_name_survives_and_none_escapes(name: str) -> None:
    with contextlib.suppress(Refused):
        _check_name(name)


def _check_name(name: str) -> None:
    taken = file_name(name)
    value = disposition("image/png", taken)
    assert all(32 <= byte < 127 for byte in value)
    message = Message()
    message["Content-Disposition"] = value.decode()
    found = message.get_param("filename", header="Content-Disposition")
    if isinstance(found, tuple):
        assert found[0] == "UTF-8"
        found = collapse_rfc2231_value(found)
    assert found == name


@pytest.mark.parametrize(
    "name",
    [
        "a\r\nX: y",
        "a\nb",
        "a\0b",
        "tab\t",
        "\x7f",
        "\x85",
        "\u2028",
        "\ud800",
        "x" * 1025,
        "ý" * 513,
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        file_name(name)
    assert caught.value.reason is Reason.INVALID_PARAM


def test_names_that_are_taken() -> None:
    assert file_name(None) is None
    assert file_name("") is None
    assert file_name("../../etc/passwd") == "../../etc/passwd"  # a name, never a path here
    assert file_name("x" * limits.FILE_NAME_MAX) is not None


@pytest.mark.parametrize(
    ("server", "media_id", "well"),
    [
        ("a.example", "abc_-09AZ", True),
        ("a.example:8448", "x", True),
        ("[::1]:8448", "x", True),
        ("1.2.3.4", "x", True),
        ("a.example", "", False),
        ("a.example", "a.b", False),
        ("a.example", "..", False),
        ("a.example", "a/b", False),
        ("a.example", "a\n", False),
        ("a.example", "x" * 256, False),
        ("", "x", False),
        ("a/b", "x", False),
        ("a.example:port", "x", False),
        ("user@a.example", "x", False),
        ("ý.example", "x", False),
        ("a.example", "ý", False),
    ],
)
def test_well_formed(server: str, media_id: str, well: bool) -> None:
    assert well_formed(server, media_id) is well
    assert mxc("a", "b") == "mxc://a/b"


TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "if_range", "found"),
    [
        (None, None, None),
        ("bytes=0-0", None, (0, 1)),
        ("bytes=0-", None, (0, 100)),
        ("bytes=10-19", None, (10, 20)),
        ("bytes=10-1000", None, (10, 100)),
        ("bytes=-1", None, (99, 100)),
        ("bytes=-1000", None, (0, 100)),
        ("Bytes= 5-6 ", None, (5, 7)),
        ("bytes=99-99", None, (99, 100)),
        ("bytes=5-4", None, None),
        ("bytes=-", None, None),
        ("bytes=a-b", None, None),
        ("bytes=0-1,5-6", None, None),
        ("lines=0-1", None, None),
        ("bytes=٣-٤", None, None),
        ("bytes=" + "9" * 30 + "-", None, None),
        ("bytes=0-1", TAG, (0, 2)),
        ("bytes=0-1", '"other"', None),
        ("bytes=0-1", "W/" + TAG, None),
        ("bytes=0-1", "Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("bytes=100-", '"other"', None),
    ],
)
def test_ranges(header: str | None, if_range: str | None, found: tuple[int, int] | None) -> None:
    assert wanted_range(header, if_range, 100, TAG) == found


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=" + "9" * 18 + "-"]
)
def test_ranges_behind_the_end(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted_range(header, None, 100, TAG)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_file_has_no_ranges(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted_range(header, None, 0, TAG)


@given(st.text(max_size=30), st.integers(0, 1000))
def test_any_range_is_within_the_file(text: str, size: int) -> None:
    for header in (text, "bytes=" + text):
        try:
            found = wanted_range(header, None, size, TAG)
        except Unsatisfiable:
            continue
        assert found is None or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("header", "same"),
    [
        (None, False),
        (TAG, True),
        ("W/" + TAG, True),
        ('"x", "abc"', True),
        ("*", True),
        ('"abcd"', False),
        ("", False),
    ],
)
def test_if_none_match(header: str | None, same: bool) -> None:
    assert matches(header, TAG) is same
