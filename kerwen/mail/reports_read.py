"""Reads reports that other servers send about our domain: DMARC aggregate, and how TLS went.

They are made by strangers: what is unpacked is bounded, XML may declare nothing, and a report that
is too long for its kind is none.
"""

# RFC 9990 and RFC 7489 §7.2 (aggregate reports), RFC 8460 §4

from __future__ import annotations

import datetime
import io
import re
import zipfile
import zlib
from typing import Any, Final
from xml.parsers import expat

import msgspec

from kerwen.mail import message, transfer

PACKED_MAX: Final = 8 << 20
UNPACKED_MAX: Final = 32 << 20
ROWS_MAX: Final = 20_000
KEPT_ROWS: Final = 200  # of a report: those that did not go well
_DEPTH_MAX: Final = 16
_TEXT_MAX: Final = 1_000
_COUNT_MAX: Final = 10**12
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f]")


class Unreadable(ValueError):
    """This holds no report; the text says why."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What did not go well, and how often. For DMARC: `source` is the address that sent,
    `what` the disposition; for TLS: `source` is the host, `what` the kind of failure."""

    source: str
    what: str
    count: int
    author: str = ""  # header_from
    dkim: str = ""
    spf: str = ""


class Report(msgspec.Struct, frozen=True):
    """A report as it is kept; times in seconds since 1970."""

    kind: str
    reporter: str
    name: str
    domain: str
    begin_s: int
    end_s: int
    good: int
    bad: int
    rows: tuple[Row, ...]


def read(raw: bytes) -> list[Report]:
    """The reports in a message. Raises `Unreadable` where there is none."""
    found: list[Report] = []
    why = "no attachment"
    for part in message.scan(raw).leaves():
        kind = str(part.type)
        if kind.startswith("multipart/") or kind in ("text/plain", "text/html"):
            continue
        data = transfer.decode(raw[part.body : part.end], part.encoding)
        try:
            found.append(of_file(data))
        except Unreadable as error:
            why = str(error)
        if len(found) >= 4:
            break
    if not found:
        raise Unreadable(why)
    return found


def of_file(data: bytes) -> Report:
    """The report in an attachment, whatever it is packed in. Raises `Unreadable`."""
    text = unpacked(data)
    start = text[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        return tls_report(text)
    if start.startswith(b"<"):
        return dmarc_report(text)
    raise Unreadable("neither XML nor JSON")


def unpacked(data: bytes) -> bytes:
    """What gzip or zip hold; of a zip the first file. Raises `Unreadable`."""
    if len(data) > PACKED_MAX:
        raise Unreadable("too long")
    try:
        if data[:2] == b"\x1f\x8b":
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            text = inflate.decompress(data, UNPACKED_MAX + 1)
        elif data[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                first = next(info for info in archive.infolist() if not info.is_dir())
                with archive.open(first) as file:
                    text = file.read(UNPACKED_MAX + 1)
        else:
            text = data
    except (zlib.error, zipfile.BadZipFile, StopIteration, NotImplementedError, RuntimeError,
            EOFError, ValueError, OSError) as error:  # fmt: skip
        raise Unreadable(f"it cannot be unpacked: {type(error).__name__}") from None
    if len(text) > UNPACKED_MAX:
        raise Unreadable("too long when unpacked")
    return text


# --- DMARC --------------------------------------------------------------------------------------

_WANTED: Final = {
    "report_metadata/org_name": "reporter",
    "report_metadata/report_id": "name",
    "report_metadata/date_range/begin": "begin",
    "report_metadata/date_range/end": "end",
    "policy_published/domain": "domain",
}
_OF_ROW: Final = {
    "record/row/source_ip": "source",
    "record/row/count": "count",
    "record/row/policy_evaluated/disposition": "what",
    "record/row/policy_evaluated/dkim": "dkim",
    "record/row/policy_evaluated/spf": "spf",
    "record/identifiers/header_from": "author",
}


class _Aggregate:
    """Collects what is wanted as the parser passes by."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.rows: list[dict[str, str]] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._row: dict[str, str] = {}

    def start(self, tag: str, _: dict[str, str]) -> None:
        if len(self._path) >= _DEPTH_MAX:
            raise Unreadable("too deep")
        self._path.append(tag.rpartition(":")[2].lower()[:40])
        self._text = []

    def data(self, text: str) -> None:
        if len(self._text) < 64:
            self._text.append(text[:_TEXT_MAX])

    def end(self, _: str) -> None:
        path = "/".join(self._path[1:])
        text = _plain("".join(self._text))
        if path in _WANTED:
            self.head.setdefault(_WANTED[path], text)
        elif path in _OF_ROW:
            self._row.setdefault(_OF_ROW[path], text)
        elif path == "record":
            if len(self.rows) >= ROWS_MAX:
                raise Unreadable("too many rows")
            self.rows.append(self._row)
            self._row = {}
        self._path.pop()
        self._text = []


def _no_declarations(*_: Any) -> None:
    raise Unreadable("it declares a document type")


def dmarc_report(text: bytes) -> Report:
    """An aggregate report. Raises `Unreadable`."""
    seen = _Aggregate()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _no_declarations
    parser.EntityDeclHandler = _no_declarations
    parser.StartElementHandler = seen.start
    parser.EndElementHandler = seen.end
    parser.CharacterDataHandler = seen.data
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable("it is no XML") from None
    head = seen.head
    if not head.get("domain") or not head.get("reporter"):
        raise Unreadable("it is no report of DMARC")
    good, bad = 0, []
    for row in seen.rows:
        count = _number(row.get("count", ""))
        if "pass" in (row.get("dkim", "").lower(), row.get("spf", "").lower()):
            good += count
        else:
            bad.append(
                Row(row.get("source", ""), row.get("what", "none"), count, row.get("author", ""),
                    row.get("dkim", ""), row.get("spf", ""))
            )  # fmt: skip
    bad.sort(key=lambda row: -row.count)
    return Report(
        "dmarc", head["reporter"], head.get("name", ""), head["domain"].lower().rstrip("."),
        _number(head.get("begin", "")), _number(head.get("end", "")),
        good, sum(row.count for row in bad), tuple(bad[:KEPT_ROWS]),
    )  # fmt: skip


# --- TLS ----------------------------------------------------------------------------------------


class _Failure(msgspec.Struct):
    result_type: str = msgspec.field(name="result-type", default="")
    receiving_host: str = msgspec.field(name="receiving-mx-hostname", default="")
    count: int = msgspec.field(name="failed-session-count", default=0)


class _Summary(msgspec.Struct):
    good: int = msgspec.field(name="total-successful-session-count", default=0)
    bad: int = msgspec.field(name="total-failure-session-count", default=0)


class _Of(msgspec.Struct):
    domain: str = msgspec.field(name="policy-domain", default="")


class _Policy(msgspec.Struct):
    policy: _Of = msgspec.field(default_factory=_Of)
    summary: _Summary = msgspec.field(default_factory=_Summary)
    failures: list[_Failure] = msgspec.field(name="failure-details", default_factory=list)


class _Range(msgspec.Struct):
    start: str = msgspec.field(name="start-datetime", default="")
    end: str = msgspec.field(name="end-datetime", default="")


class _Tls(msgspec.Struct):
    reporter: str = msgspec.field(name="organization-name")
    name: str = msgspec.field(name="report-id")
    range: _Range = msgspec.field(name="date-range", default_factory=_Range)
    policies: list[_Policy] = msgspec.field(default_factory=list)


def tls_report(text: bytes) -> Report:
    """A report of TLS. Raises `Unreadable`."""
    try:
        found = msgspec.json.decode(text, type=_Tls)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        raise Unreadable("it is no report of TLS") from None
    domains = {one.policy.domain.lower().rstrip(".") for one in found.policies}
    if len(domains) != 1:
        raise Unreadable("it is not about one domain")
    rows = [
        Row(_plain(fail.receiving_host), _plain(fail.result_type), _bounded(fail.count))
        for one in found.policies[:100]
        for fail in one.failures[:ROWS_MAX]
    ]
    rows.sort(key=lambda row: -row.count)
    good = sum(_bounded(one.summary.good) for one in found.policies[:100])
    bad = sum(_bounded(one.summary.bad) for one in found.policies[:100])
    return Report(
        "tls", _plain(found.reporter), _plain(found.name), domains.pop(),
        _time(found.range.start), _time(found.range.end), good, bad, tuple(rows[:KEPT_ROWS]),
    )  # fmt: skip


def _time(text: str) -> int:
    try:
        return max(int(datetime.datetime.fromisoformat(text).timestamp()), 0)
    except (ValueError, OverflowError):
        return 0


def _number(text: str) -> int:
    return _bounded(int(text)) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _bounded(number: int) -> int:
    return min(max(number, 0), _COUNT_MAX)


def _plain(text: str) -> str:
    return _UNFIT.sub(" ", text.strip())[:255].encode("utf-8", "replace").decode()
