"""Makes a message of an Email that a client creates: header fields in any form, parts of any shape.

What the client gave is checked first; every property that cannot be is named in the SetError.
"""

# RFC 8621 §4.6; RFC 5322, RFC 2045, RFC 2231

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from kerwen.base import limits
from kerwen.mail import dates, encoded_words
from kerwen.mail.jmap import headers
from kerwen.mail.jmap.arguments import is_id, parse_date
from kerwen.mail.jmap.errors import MethodError, SetError, bad_properties
from kerwen.mail.jmap.headers import CONVENIENT, HeaderProperty

_TYPE: Final = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,60}/[a-zA-Z0-9!#$&^_.+-]{1,80}")
_TOKEN: Final = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,60}")
_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_EMAIL: Final = re.compile(r"[^\s<>,;\"\\\x00-\x1f\x7f]{1,320}")
_MESSAGE_ID: Final = re.compile(r"[^\s<>\x00-\x20\x7f]{1,900}")
_URL: Final = re.compile(r"[!-;=?-~]{1,900}")
_PARTS_MAX: Final = 500
_DEPTH_MAX: Final = 20
_LINE_MAX: Final = 900
_SHAPE: Final = ("bodyStructure", "bodyValues", "textBody", "htmlBody", "attachments")
_PART_KEYS: Final = frozenset(
    {
        "partId", "blobId", "size", "headers", "name", "type", "charset", "disposition", "cid",
        "language", "location", "subParts",
    }
)  # fmt: skip
_SET_BY_US: Final = frozenset((b"content-transfer-encoding", b"mime-version"))


class Blob(msgspec.Struct, frozen=True):
    """A file that goes into a message."""

    data: bytes
    type: str


class Part(msgspec.Struct):
    """A part, checked; `text` or `blob_id` or `parts`."""

    type: str
    fields: list[tuple[str, bytes]]
    text: str | None = None
    blob_id: str | None = None
    parts: list[Part] = []
    charset: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """A message before its blobs are read."""

    fields: tuple[tuple[str, bytes], ...]
    body: Part

    def blob_ids(self) -> list[str]:
        """The blobs that it needs, each once."""
        found: dict[str, None] = {}
        left = [self.body]
        while left:
            part = left.pop()
            if part.blob_id is not None:
                found[part.blob_id] = None
            left += part.parts
        return list(found)


def draft(email: Mapping[str, Any]) -> Draft:
    """Checks an Email's header and body. Raises `SetError`."""
    bad: list[str] = []
    fields: dict[bytes, tuple[str, list[bytes]]] = {}
    for key, value in email.items():
        if key in _SHAPE or value is None:
            continue
        asked = _asked(key, bad)
        if asked is None:
            continue
        if asked.name.startswith(b"content-") or asked.name in _SET_BY_US or asked.name in fields:
            bad.append(key)
            continue
        try:
            values = _values(asked, value)
        except ValueError:
            bad.append(key)
        else:
            fields[asked.name] = (_named(key, asked), values)
    body = _Body(email, bad).read()
    if bad:
        raise bad_properties(sorted(set(bad))[:50])
    found = tuple((name, one) for name, values in fields.values() for one in values)
    return Draft(found, body)


def _asked(key: str, bad: list[str]) -> HeaderProperty | None:
    """The field that a property sets; None: it is no header property."""
    if key in CONVENIENT:
        return CONVENIENT[key]
    if key.startswith("header:"):
        try:
            return headers.parse_property(key)
        except MethodError:
            pass
    bad.append(key)
    return None


_NAMES: Final = {
    "messageId": "Message-ID",
    "inReplyTo": "In-Reply-To",
    "references": "References",
    "replyTo": "Reply-To",
    "sentAt": "Date",
}


def _named(key: str, asked: HeaderProperty) -> str:
    """The field's name as it is written."""
    if key.startswith("header:"):
        return key.split(":")[1]
    return _NAMES.get(key, key.capitalize())


# --- header fields ------------------------------------------------------------------------------


def _values(asked: HeaderProperty, value: Any) -> list[bytes]:
    """The field bodies of a property. Raises `ValueError`."""
    form = _WRITERS[asked.form]
    if asked.all:
        if not isinstance(value, list) or len(value) > 100:
            raise ValueError
        return [form(one) for one in value]
    return [form(value)]


def _text_of(value: Any) -> str:
    if not isinstance(value, str) or len(value) > limits.FIELD_SHOWN_MAX:
        raise ValueError
    return value


def _raw(value: Any) -> bytes:
    text = _text_of(value)
    if not text.isprintable() and re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        raise ValueError
    text = re.sub(r"\r\n|\r|\n", "\r\n", text)
    if re.search(r"\r\n(?![ \t])", text) or re.search(r"\r\n[ \t]*(?=\r\n|\Z)", text):
        raise ValueError  # a line that is none of this field
    return text.encode("utf-8", "replace").strip(b" ")


def _text(value: Any) -> bytes:
    return _folded(encoded_words.encode(_line(_text_of(value)), first=20))


def _line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()


def _address(value: Any) -> bytes:
    if not isinstance(value, dict) or not isinstance(value.get("email"), str):
        raise ValueError
    email, name = value["email"].strip(), value.get("name")
    if _EMAIL.fullmatch(email) is None or not (name is None or isinstance(name, str)):
        raise ValueError
    address: bytes = email.encode("utf-8", "replace")
    name = _line(name) if name else ""
    if not name:
        return address
    return b"%b <%b>" % (_phrase(name), address)


def _phrase(name: str) -> bytes:
    if not name.isascii() or "=?" in name or len(name) > 70:
        return encoded_words.encode(name, first=77)
    if _ATOM.fullmatch(name):
        return name.encode()
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()


def _addresses(value: Any) -> bytes:
    if not isinstance(value, list) or len(value) > limits.ADDRESSES_SHOWN_MAX:
        raise ValueError
    return b",\r\n ".join(map(_address, value))


def _grouped(value: Any) -> bytes:
    if not isinstance(value, list) or len(value) > limits.ADDRESSES_SHOWN_MAX:
        raise ValueError
    found = []
    for one in value:
        if not isinstance(one, dict):
            raise ValueError
        inner, name = _addresses(one.get("addresses")), one.get("name")
        if name is None:
            found.append(inner)
        else:
            found.append(b"%b: %b;" % (_phrase(_line(_text_of(name)) or " "), inner))
    return b",\r\n ".join(found)


def _message_ids(value: Any) -> bytes:
    return _bracketed(value, _MESSAGE_ID, b"\r\n ")


def _urls(value: Any) -> bytes:
    return _bracketed(value, _URL, b",\r\n ")


def _bracketed(value: Any, fits: re.Pattern[str], between: bytes) -> bytes:
    if not isinstance(value, list) or not 0 < len(value) <= limits.REFERENCES_MAX:
        raise ValueError
    if not all(isinstance(one, str) and fits.fullmatch(one) for one in value):
        raise ValueError
    return between.join(b"<%b>" % one.encode("utf-8", "replace") for one in value)


def _date(value: Any) -> bytes:
    ms = parse_date(value)
    if ms is None or not 0 <= ms < 253_402_300_800_000:
        raise ValueError
    zone = 0
    if value[-1] != "Z":
        zone = int(value[-5:-3]) * 60 + int(value[-2:])
        zone = -zone if value[-6] == "-" else zone
    if abs(zone) >= 24 * 60:
        raise ValueError
    return dates.write(ms, zone).encode()


_WRITERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "asRaw": _raw,
    "asText": _text,
    "asAddresses": _addresses,
    "asGroupedAddresses": _grouped,
    "asMessageIds": _message_ids,
    "asDate": _date,
    "asURLs": _urls,
}


def _folded(value: bytes) -> bytes:
    """Long lines of words are broken at spaces."""
    lines = []
    for line in value.split(b"\r\n"):
        while len(line) > 76 and (at := line.rfind(b" ", 1, 76)) > 0:
            lines.append(line[:at])
            line = line[at:]
        lines.append(line)
    return b"\r\n".join(lines)


# --- the body -----------------------------------------------------------------------------------


class _Body:
    """Reads the body's properties; what is wrong is noted in `bad`."""

    def __init__(self, email: Mapping[str, Any], bad: list[str]) -> None:
        self._email = email
        self._bad = bad
        self._count = 0
        values = email.get("bodyValues")
        self._values: dict[str, Any] = values if isinstance(values, dict) else {}
        if values is not None and not isinstance(values, dict):
            bad.append("bodyValues")

    def read(self) -> Part:
        email, bad = self._email, self._bad
        shaped = email.get("bodyStructure")
        lists = [name for name in ("textBody", "htmlBody", "attachments") if email.get(name)]
        if shaped is not None:
            if lists:
                bad += [*lists, "bodyStructure"]
            return self._part(shaped, "bodyStructure", 0)
        text = self._only("textBody", "text/plain")
        html = self._only("htmlBody", "text/html")
        files = email.get("attachments") or []
        if not isinstance(files, list):
            bad.append("attachments")
            files = []
        attached = [
            self._part(one, f"attachments/{at}", 1) for at, one in enumerate(files[:_PARTS_MAX])
        ]
        return _shape(text, html, attached)

    def _only(self, name: str, kind: str) -> Part | None:
        value = self._email.get(name)
        if value is None or value == []:
            return None
        if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], dict):
            self._bad.append(name)
            return None
        told = value[0]
        if told.get("type", kind) != kind:
            self._bad.append(f"{name}/0/type")
        return self._part({"type": kind, **told}, f"{name}/0", 1)

    def _part(self, told: Any, path: str, depth: int) -> Part:
        bad = self._bad
        self._count += 1
        if not isinstance(told, dict) or depth > _DEPTH_MAX or self._count > _PARTS_MAX:
            bad.append(path)
            return Part("text/plain", [], "")
        inner = told.get("subParts")
        kind = told.get("type", "multipart/mixed" if inner else "text/plain")
        if not isinstance(kind, str) or _TYPE.fullmatch(kind) is None:
            bad.append(f"{path}/type")
            kind = "text/plain"
        part = Part(kind.lower(), [])
        if inner is not None or part.type.startswith("multipart/"):
            if not isinstance(inner, list) or not part.type.startswith("multipart/") or not inner:
                bad.append(f"{path}/subParts")
            else:
                part.parts = [
                    self._part(one, f"{path}/subParts/{at}", depth + 1)
                    for at, one in enumerate(inner[:_PARTS_MAX])
                ]
        else:
            self._content(part, told, path)
        self._fields(part, told, path)
        return part

    def _content(self, part: Part, told: dict[str, Any], path: str) -> None:
        part_id, blob_id = told.get("partId"), told.get("blobId")
        if (part_id is None) == (blob_id is None):
            self._bad.append(f"{path}/blobId")
        elif blob_id is not None:
            if is_id(blob_id):
                part.blob_id = blob_id
            else:
                self._bad.append(f"{path}/blobId")
        else:
            value = self._values.get(part_id) if isinstance(part_id, str) else None
            text = value.get("value") if isinstance(value, dict) else None
            if (
                not isinstance(value, dict)
                or not isinstance(text, str)
                or not part.type.startswith("text/")
            ):
                self._bad.append(f"{path}/partId")
                return
            # RFC 8621 §4.6: what a client sends is whole, and in no charset but ours
            if value.get("isEncodingProblem"):
                self._bad.append(f"bodyValues/{part_id}/isEncodingProblem")
            if value.get("isTruncated"):
                self._bad.append(f"bodyValues/{part_id}/isTruncated")
            if told.get("charset") is not None:
                self._bad.append(f"{path}/charset")
            part.text = text

    def _fields(self, part: Part, told: dict[str, Any], path: str) -> None:
        bad = self._bad
        for key in told:
            if key.startswith("header:"):
                self._header(part, key, told[key], path)
            elif key not in _PART_KEYS or (key == "headers" and told[key]):
                bad.append(f"{path}/{key}")
        name, charset = told.get("name"), told.get("charset")
        kind = part.type.encode()
        if isinstance(charset, str) and _TOKEN.fullmatch(charset) and part.blob_id is not None:
            part.charset = charset
            kind += b"; charset=" + charset.encode()
        elif charset is not None and part.text is None:
            bad.append(f"{path}/charset")
        if part.text is not None:
            kind += b"; charset=utf-8"
        if name is not None:
            if isinstance(name, str) and len(name) <= limits.FILE_NAME_MAX:
                kind += parameter("name", name)
            else:
                bad.append(f"{path}/name")
                name = None
        part.fields.append(("Content-Type", kind))
        self._disposition(part, told, path, name)
        self._others(part, told, path)

    def _disposition(self, part: Part, told: dict[str, Any], path: str, name: str | None) -> None:
        disposition = told.get("disposition")
        if disposition is None and (name is None or part.parts):
            return
        if disposition is None:
            disposition = "attachment"
        if not isinstance(disposition, str) or _TOKEN.fullmatch(disposition) is None:
            self._bad.append(f"{path}/disposition")
            return
        value = disposition.encode() + (parameter("filename", name) if name else b"")
        part.fields.append(("Content-Disposition", value))

    def _others(self, part: Part, told: dict[str, Any], path: str) -> None:
        cid, language, location = told.get("cid"), told.get("language"), told.get("location")
        if cid is not None:
            if isinstance(cid, str) and _MESSAGE_ID.fullmatch(cid) and cid.isascii():
                part.fields.append(("Content-ID", b"<%b>" % cid.encode()))
            else:
                self._bad.append(f"{path}/cid")
        if language is not None:
            if isinstance(language, list) and all(
                isinstance(one, str) and re.fullmatch(r"[A-Za-z0-9-]{1,35}", one)
                for one in language[:20]
            ):
                part.fields.append(("Content-Language", ", ".join(language[:20]).encode()))
            else:
                self._bad.append(f"{path}/language")
        if location is not None:
            if isinstance(location, str) and _URL.fullmatch(location):
                part.fields.append(("Content-Location", location.encode()))
            else:
                self._bad.append(f"{path}/location")

    def _header(self, part: Part, key: str, value: Any, path: str) -> None:
        asked = _asked(key, [])
        taken = {name.lower().encode() for name, _ in part.fields}
        usual = (b"content-type", b"content-disposition", b"content-id")
        if value is None:
            return
        if asked is None or asked.name in _SET_BY_US or asked.name in (*usual, *taken):
            self._bad.append(f"{path}/{key}")
            return
        try:
            values = _values(asked, value)
        except ValueError:
            self._bad.append(f"{path}/{key}")
        else:
            part.fields += [(_named(key, asked), one) for one in values]


def _shape(text: Part | None, html: Part | None, files: Sequence[Part]) -> Part:
    """The usual tree of texts and files."""
    shown = [part for part in (text, html) if part is not None]
    inline = [part for part in files if html is not None and _is_inline(part)]
    body: Part
    if inline:
        last = _multipart("related", [shown[-1], *inline])
        shown[-1] = last
    if len(shown) == 2:
        body = _multipart("alternative", shown)
    elif shown:
        body = shown[0]
    else:
        body = Part("text/plain", [("Content-Type", b"text/plain; charset=utf-8")], "")
    rest = [part for part in files if part not in inline]
    if not rest:
        return body
    return _multipart("mixed", [body, *rest] if shown else list(rest))


def _is_inline(part: Part) -> bool:
    names = dict(part.fields)
    return "Content-ID" in names and names.get("Content-Disposition", b"").startswith(b"inline")


def _multipart(kind: str, parts: list[Part]) -> Part:
    return Part(f"multipart/{kind}", [("Content-Type", b"multipart/" + kind.encode())], parts=parts)


def parameter(name: str, value: str) -> bytes:
    """A parameter of a field, in pieces and percent-encoded where it must be. # RFC 2231"""
    value = _line(value)
    if value.isascii() and len(value) <= 60:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f';\r\n {name}="{escaped}"'.encode()
    coded = quote(value, safe="")
    if len(coded) <= 60:
        return f";\r\n {name}*=utf-8''{coded}".encode()
    pieces: list[str] = []
    while coded:
        at = min(60, len(coded))
        while at < len(coded) and "%" in coded[at - 2 : at]:
            at -= 1
        pieces.append(coded[:at])
        coded = coded[at:]
    pieces[0] = "utf-8''" + pieces[0]
    return "".join(f";\r\n {name}*{at}*={one}" for at, one in enumerate(pieces)).encode()


# --- bytes --------------------------------------------------------------------------------------


def write(
    made: Draft, blobs: Mapping[str, Blob], now_ms: int, draw: Callable[[int], bytes], host: str
) -> bytes:
    """The message. Date and Message-ID are added where they are missing."""
    lines: list[bytes] = []
    names = {name.lower() for name, _ in made.fields}
    if "message-id" not in names:
        lines.append(b"Message-ID: <%b@%b>" % (draw(16).hex().encode(), host.encode()))
    if "date" not in names:
        lines.append(b"Date: " + dates.write(now_ms).encode())
    lines += [b"%b: %b" % (name.encode(), value) for name, value in made.fields]
    lines.append(b"MIME-Version: 1.0")
    return b"\r\n".join(lines) + b"\r\n" + _part_bytes(made.body, blobs, draw)


def _part_bytes(part: Part, blobs: Mapping[str, Blob], draw: Callable[[int], bytes]) -> bytes:
    """The fields of a part, and what is in it."""
    fields = list(part.fields)
    if part.parts:
        boundary = b"=_" + draw(15).hex().encode()
        fields = [
            (name, value + b';\r\n boundary="' + boundary + b'"')
            if name == "Content-Type"
            else (name, value)
            for name, value in fields
        ]
        inner = [
            b"--" + boundary + b"\r\n" + _part_bytes(child, blobs, draw) + b"\r\n"
            for child in part.parts
        ]
        body = b"".join(inner) + b"--" + boundary + b"--\r\n"
    else:
        encoding, body = _encoded(part, blobs)
        fields.append(("Content-Transfer-Encoding", encoding))
    head = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in fields)
    return head + b"\r\n" + body


def _encoded(part: Part, blobs: Mapping[str, Blob]) -> tuple[bytes, bytes]:
    if part.blob_id is not None:
        data = blobs[part.blob_id].data
        if part.type.startswith("message/"):  # RFC 2046 §5.2.1: no encoding there
            return (b"7bit" if data.isascii() else b"8bit"), data
        return b"base64", base64_lines(data)
    text = re.sub(r"\r\n|\r|\n", "\r\n", part.text or "")
    data = text.encode("utf-8", "replace")
    if data.isascii() and b"\0" not in data and _short(data):
        return b"7bit", data
    if len(data) > 100 and _mostly_foreign(data):
        return b"base64", base64_lines(data)
    quoted = binascii.b2a_qp(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return b"quoted-printable", quoted


_ASCII: Final = bytes(range(128))


def _mostly_foreign(data: bytes) -> bool:
    return len(data.translate(None, _ASCII)) * 3 > len(data)


def _short(data: bytes) -> bool:
    return all(len(line) <= _LINE_MAX for line in data.split(b"\r\n"))


def base64_lines(data: bytes) -> bytes:
    """Base64 in lines."""
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def missing(ids: Sequence[str]) -> SetError:
    """Blobs that are not there."""
    return SetError("blobNotFound", notFound=list(ids))


def are_addresses(value: Any) -> bool:
    """Whether something is a list of EmailAddress."""
    try:
        _addresses(value)
    except ValueError:
        return False
    return True
