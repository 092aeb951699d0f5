"""Reports of others: read, bounded, and none of their tricks."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.mail import dmarc_report, reports_read, tls_report
from kerwen.mail.reports_read import Report, Row, Unreadable, of_file, read

# as a large receiver writes them: old schema, no namespace
XML = b"""<?xml version="1.0" encoding="UTF-8" ?>
<feedback><report_metadata><org_name>receiver.example</org_name><email>x@receiver.example</email>
<report_id>123</report_id><date_range><begin>1700000000</begin><end>1700086399</end></date_range>
</report_metadata><policy_published><domain>Kerwen.test</domain><adkim>r</adkim><p>reject</p>
<pct>100</pct></policy_published>
<record><row><source_ip>192.0.2.1</source_ip><count>40</count><policy_evaluated>
<disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>kerwen.test</header_from></identifiers><auth_results><dkim>
<domain>kerwen.test</domain><result>pass</result></dkim></auth_results></record>
<record><row><source_ip>203.0.113.9</source_ip><count>7</count><policy_evaluated>
<disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>kerwen.test</header_from></identifiers></record></feedback>"""
WANTED = Report(
    "dmarc", "receiver.example", "123", "kerwen.test", 1_700_000_000, 1_700_086_399, 40, 7,
    (Row("203.0.113.9", "reject", 7, "kerwen.test", "fail", "fail"),),
)  # fmt: skip


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.xml", data)
    return out.getvalue()


def letter(file: bytes, kind: str = "application/gzip") -> bytes:
    body = base64.encodebytes(file).replace(b"\n", b"\r\n")
    return (
        b"From: x@receiver.example\r\nSubject: Report domain: kerwen.test\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
        b"see there\r\n--b\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s"
        b"\r\n--b--\r\n" % (kind.encode(), body)
    )


@pytest.mark.parametrize("pack", [gzip.compress, zipped, bytes])
def test_dmarc_in_any_wrapping(pack: object) -> None:
    assert of_file(pack(XML)) == WANTED  # type: ignore[operator]
    assert read(letter(pack(XML))) == [WANTED]  # type: ignore[operator]


def test_a_namespace_does_not_matter() -> None:
    text = XML.replace(b"<feedback>", b'<d:feedback xmlns:d="urn:ietf:params:xml:ns:dmarc-2.0">')
    assert of_file(text.replace(b"</feedback>", b"</d:feedback>")) == WANTED


def test_what_we_send_ourselves_is_read() -> None:
    came = dmarc_report.Came(
        "kerwen.test", "kerwen.test", ("dmarc-reports@kerwen.test",),
        ("r", "r", "reject", "reject"),
        "192.0.2.5", "kerwen.test", "b.test", "reject", False, False,
        (("b.test", "s", "fail"),), ("b.test", "fail"),
    )  # fmt: skip
    (one,) = read(
        dmarc_report.letter(
            "there.test", "kerwen.test", 19_700, "dmarc-reports@kerwen.test",
            dmarc_report.pressed("there.test", "kerwen.test", 19_700, [(came, 3)]), 0,
        )
    )  # fmt: skip
    assert (one.reporter, one.domain, one.good, one.bad) == ("there.test", "kerwen.test", 0, 3)
    assert one.begin_s == 19_700 * 86_400
    lines = [tls_report.Line("sts", "kerwen.test", "success", 9),
             tls_report.Line("sts", "kerwen.test", "certificate-expired", 2)]  # fmt: skip
    told = tls_report.Report(host="there.test", domain="kerwen.test", day=19_700, lines=lines)
    two = of_file(tls_report.pressed(told))
    assert (two.kind, two.domain, two.good, two.bad) == ("tls", "kerwen.test", 9, 2)
    assert [(row.what, row.count) for row in two.rows] == [("certificate-expired", 2)]


BOMBS = [
    b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><feedback>&b;</feedback>',
    b'<?xml version="1.0"?><!DOCTYPE f SYSTEM "file:///etc/passwd"><feedback/>',
    '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x []><feedback/>'.encode("utf-16"),
    gzip.compress(b"<" + bytes(40 << 20)),
    zipped(b"<" + bytes(40 << 20)),
    b"<a>" * 1000,
    b"<feedback>" + b"<record></record>" * 30_000 + b"</feedback>",
    b'{"organization-name": ' + b"[" * 100_000,
    b"PK\x03\x04 no zip",
    b"\x1f\x8b no gzip",
    b"",
    json.dumps({"organization-name": "x", "report-id": "y", "policies": []}).encode(),
    json.dumps({"organization-name": "x", "report-id": 7}).encode(),
]


@pytest.mark.parametrize("data", BOMBS, ids=range(len(BOMBS)))
def test_bombs_are_no_reports(data: bytes) -> None:
    with pytest.raises(Unreadable):
        of_file(data)


def test_numbers_that_lie_are_bounded() -> None:
    found = of_file(XML.replace(b"<count>7<", b"<count>99999999999999999999<"))
    assert found.bad == 0
    assert reports_read._bounded(10**30) == 10**12
    with pytest.raises(Unreadable):
        of_file(b'{"organization-name":"x","report-id":"y","policies":[{"summary":'
                b'{"total-failure-session-count":1e400}}]}')  # fmt: skip


@given(st.binary(max_size=400), st.integers(0, len(XML)), st.integers(0, 60))
def test_any_bytes(data: bytes, at: int, size: int) -> None:
    for one in (data, XML[:at] + data + XML[at + size :], gzip.compress(data)):
        try:
            of_file(one)
            read(letter(one))
        except Unreadable:
            pass
