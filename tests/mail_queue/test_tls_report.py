"""Reports of TLS: to whom, what they say, once."""

from __future__ import annotations

import email
import email.message
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.mail.tls_report import destinations

from .policy_server import PolicyServer
from .remote import Behaviour, Remote
from .test_tls import DAY, policy
from .world import World

ZONE = """
far.test MX 10 mx.far.test.
mx.far.test A 127.0.0.1
bare.test MX 10 mx.far.test.
reports.test MX 10 mx.far.test.
"""


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([b"v=TLSRPTv1; rua=mailto:tls@far.test"], ["tls@far.test"]),
        ([b"v=TLSRPTv1;rua=mailto:a@x.test,https://x.test/v1;"], ["a@x.test", "https://x.test/v1"]),
        ([b"v=TLSRPTv1; rua=mailto:a@x,mailto:b@x,mailto:c@x"], ["a@x", "b@x"]),
        ([b"v=spf1", b"v=TLSRPTv1; rua = mailto:a@x "], ["a@x"]),
        ([b"v=TLSRPTv1; rua=http://x.test/"], []),
        ([b"v=TLSRPTv1; rua=mailto:a@x?subject=y"], []),
        ([b"v=TLSRPTv1; rua=mailto:a@x>\r\nBcc"], []),
        ([b"v=TLSRPTv1"], []),
        ([b"v=TLSRPTv1; rua=mailto:a@x"] * 2, []),
        ([b"v=TLSRPTv2; rua=mailto:a@x"], []),
        ([], []),
    ],
)
def test_who_asks(texts: list[bytes], found: list[str]) -> None:
    assert list(destinations(tuple(texts))) == found


@given(st.lists(st.binary(max_size=80).map(lambda tail: b"v=TLSRPTv1; rua=" + tail), max_size=2))
def test_any_record_is_read(texts: list[bytes]) -> None:
    for place in destinations(tuple(texts)):
        assert place.isprintable()
        assert " " not in place


async def sent_some(world: World, *to: str) -> Remote:
    world.dns.add(ZONE)
    remote = await world.remote(behaviour=Behaviour(tls="good"))
    _, remote.context = world.certificate("no.test")
    world.build()
    for n, address in enumerate(to):
        await world.enqueue(n, address)
        await world.sender.step()
        await world.hand_on.close()
    await world.tls_results.flush()
    remote.kept.clear()
    return remote


def report_in(raw: bytes) -> tuple[email.message.Message, dict[str, Any]]:
    found = email.message_from_bytes(raw)
    assert found.get_content_type() == "multipart/report"
    (_, part) = found.get_payload()
    assert part.get_content_type() == "application/tlsrpt+gzip"
    return found, json.loads(gzip.decompress(part.get_payload(decode=True)))


async def test_a_report_by_mail(world: World) -> None:
    _, context = world.certificate("mta-sts.far.test")
    policies = await PolicyServer(context).start()
    policies.text = policy("testing", "mx.far.test", age=864_000)
    world.https_port = policies.port
    world.dns.add('_mta-sts.far.test TXT "v=STSv1; id=1;"')
    world.dns.add('_smtp._tls.far.test TXT "v=TLSRPTv1; rua=mailto:tls@reports.test"')
    remote = await sent_some(world, "a@far.test", "b@far.test", "a@bare.test")
    day = world.clock.now // DAY
    assert await world.tls_reports.run() == 0, "the day is not over"
    world.clock.now += DAY
    assert await world.tls_reports.run() == 1
    assert await world.tls_reports.run() == 0, "once"
    assert await world.tls_results.of_day(day) == []
    await world.sender.step()
    policies.close()
    (kept,) = remote.kept
    assert (kept.sender, kept.recipients) == ("", ["tls@reports.test"])
    found, told = report_in(kept.raw)
    assert found["X-Signed"] == "yes"
    assert found["TLS-Report-Domain"] == "far.test"
    assert found["TLS-Report-Submitter"] == "kerwen.test"
    assert told["organization-name"] == "kerwen.test"
    assert told["date-range"] == {
        "start-datetime": "2023-11-14T00:00:00Z", "end-datetime": "2023-11-14T23:59:59Z",
    }  # fmt: skip
    (sts,) = told["policies"]
    assert sts["policy"] == {
        "policy-type": "sts",
        "policy-domain": "far.test",
        "policy-string": ["version: STSv1", "mode: testing", "mx: mx.far.test", "max_age: 864000"],
        "mx-host": ["mx.far.test"],
    }
    assert sts["summary"] == {
        "total-successful-session-count": 0, "total-failure-session-count": 2,
    }  # fmt: skip
    assert sts["failure-details"] == [
        {
            "result-type": "certificate-host-mismatch",
            "failed-session-count": 2,
            "receiving-mx-hostname": "mx.far.test",
        }
    ]


async def test_a_report_waits_while_the_dns_is_away(world: World) -> None:
    world.dns.add("_smtp._tls.far.test FAIL")
    await sent_some(world, "a@far.test")
    day = world.clock.now // DAY
    world.clock.now += DAY
    assert await world.tls_reports.run() == 0
    assert len(await world.tls_results.of_day(day)) == 1
    world.dns.records["_smtp._tls.far.test"] = [("TXT", '"v=TLSRPTv1; rua=mailto:t@far.test"')]
    world.clock.now += DAY // 2
    assert await world.tls_reports.run() == 1
    assert await world.tls_results.of_day(day) == []


@pytest.mark.parametrize(("status", "sent"), [(200, 1), (500, 0)])
async def test_a_report_by_https(world: World, status: int, sent: int) -> None:
    _, context = world.certificate("far.test")
    taker = await PolicyServer(context).start()
    taker.status = status
    url = f"https://far.test:{taker.port}/v1/reports"
    world.dns.add(f'_smtp._tls.far.test TXT "v=TLSRPTv1; rua={url}"')
    await sent_some(world, "a@far.test")
    day = world.clock.now // DAY
    world.clock.now += DAY
    assert await world.tls_reports.run() == sent
    taker.close()
    assert len(await world.tls_results.of_day(day)) == 1 - sent
    (posted,) = taker.posted
    told = json.loads(gzip.decompress(posted))
    assert told["policies"][0]["policy"]["policy-type"] == "no-policy-found"
    assert told["policies"][0]["summary"]["total-successful-session-count"] == 1
