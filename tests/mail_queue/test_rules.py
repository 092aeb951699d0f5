"""The pure rules of sending: routes, MTA-STS policies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerwen.mail import mta_sts, route
from kerwen.mail.mta_sts import BadPolicy, Mode, Policy
from kerwen.mail.route import Binding, NoRoute, Places, Route
from tests.mail.zone import Zone

ZONE = """
far.test MX 20 b.far.test
far.test MX 10 a.far.test
far.test MX 20 c.far.test
bare.test A 192.0.2.1
empty.test EXISTS
null.test MX 0 .
odd.test MX 0 .
odd.test MX 5 a.far.test
we.test MX 10 us.test
we.test MX 10 a.far.test
we.test MX 5 b.far.test
only.test MX 10 US.test
bad.test MX 10 a..b
lost.test FAIL
xn--80ak6aa92e.test MX 1 a.far.test
a.far.test A 192.0.2.1
a.far.test A 192.0.2.2
a.far.test AAAA 2001:db8::1
four.test A 192.0.2.1
half.test A 192.0.2.1
half.test FAIL AAAA
"""


def zone() -> Zone:
    made = Zone(ZONE)
    for records in made.records.values():
        for at, (kind, value) in enumerate(records):
            if kind == "MX" and value.endswith(" ."):
                records[at] = (kind, "0 \0")  # the root
    return made


def hosts_of(domain: str) -> Route | NoRoute:
    chances = iter([0.9, 0.1, 0.5, 0.3] * 5)
    found = zone()
    answer = found.answer

    def rooted(question: object) -> object:
        told = answer(question)  # type: ignore[arg-type]
        if "\0" in [host for _, host in told.mx]:
            mx = tuple((p, host.strip("\0")) for p, host in told.mx)
            return type(told)(told.status, mx=mx)
        return told

    found.answer = rooted  # type: ignore[method-assign, assignment]
    return found.ask(
        route.hosts_of(domain, lambda name: name.lower() == "us.test", lambda: next(chances))
    )


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("far.test", ("a.far.test", "b.far.test", "c.far.test")),
        ("FAR.test.", ("a.far.test", "b.far.test", "c.far.test")),
        ("аррӏе.test", ("a.far.test",)),
        ("bare.test", ("bare.test",)),
        ("empty.test", ("empty.test",)),
        ("odd.test", ("a.far.test",)),
        ("we.test", ("b.far.test",)),
        ("[192.0.2.7]", ("192.0.2.7",)),
        ("[IPv6:2001:db8::7]", ("2001:db8::7",)),
    ],
)
def test_hosts(domain: str, hosts: tuple[str, ...]) -> None:
    found = hosts_of(domain)
    assert isinstance(found, Route)
    assert sorted(found.hosts[1:]) == sorted(hosts[1:])
    assert found.hosts[0] == hosts[0]


@pytest.mark.parametrize(
    ("domain", "final", "status"),
    [
        ("null.test", True, "5.1.10"),
        ("nowhere.test", True, "5.1.2"),
        ("only.test", True, "5.4.6"),
        ("bad.test", True, "5.4.4"),
        ("lost.test", False, "4.4.3"),
        ("[192.0.2.300]", True, "5.1.2"),
        ("[x]", True, "5.1.2"),
        ("", True, "5.1.2"),
        ("a b.test", True, "5.1.2"),
    ],
)
def test_no_route(domain: str, final: bool, status: str) -> None:
    found = hosts_of(domain)
    assert isinstance(found, NoRoute)
    assert (found.final, found.status) == (final, status)


@pytest.mark.parametrize(
    ("host", "places"),
    [
        ("a.far.test", Places(("2001:db8::1", "192.0.2.1", "192.0.2.2"))),
        ("four.test", Places(("192.0.2.1",))),
        ("half.test", Places(("192.0.2.1",), failed=True)),
        ("lost.test", Places((), failed=True)),
        ("nowhere.test", Places(())),
        ("192.0.2.9", Places(("192.0.2.9",))),
    ],
)
def test_places(host: str, places: Places) -> None:
    assert zone().ask(route.places_of(host, secure=True)) == places
    assert places.binding is Binding.NONE


GOOD = "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.far.test\nmx: *.Far.Test\n"


def test_a_policy() -> None:
    assert mta_sts.parse(GOOD.replace("\n", "\r\n").encode()) == Policy(
        Mode.ENFORCE, 86_400, ("mx.far.test", "*.far.test")
    )
    none = b"version: STSv1\nmode: none\nmax_age: 99999999999\nnew: x\n"
    with pytest.raises(BadPolicy):
        mta_sts.parse(none)
    assert mta_sts.parse(none.replace(b"99999999999", b"9999999999")).max_age_s == 31_557_600
    twice = GOOD + "mode: none\nmax_age: 1\n"
    assert mta_sts.parse(twice.encode()).mode is Mode.ENFORCE, "the first counts"


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.replace("STSv1", "STSv2"),
        GOOD.replace("enforce", "force"),
        GOOD.replace("86400", "-1"),
        GOOD.replace("86400", "1e3"),
        GOOD.replace("mx: ", "xm: "),
        GOOD.replace("*.Far", "a.*.Far"),
        GOOD + "what is this\n",
        GOOD + "mx: a b\n",
        GOOD + "mx: x.test\n" * 300,
        GOOD + "x" * 70_000,
    ],
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(BadPolicy):
        mta_sts.parse(text.encode())


@given(st.binary(max_size=200), st.integers(0, len(GOOD)))
def test_any_policy_file_is_read(noise: bytes, at: int) -> None:
    for body in (noise, GOOD[:at].encode() + noise + GOOD[at:].encode()):
        try:
            mta_sts.parse(body)
        except BadPolicy:
            pass


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mx.far.test", True),
        ("MX.far.test.", True),
        ("b.far.test", True),
        ("a.b.far.test", False),
        ("far.test", False),
        ("mx.far.test.evil.test", False),
        ("xmx.far.tes", False),
    ],
)
def test_who_is_allowed(host: str, allowed: bool) -> None:
    assert mta_sts.allows(mta_sts.parse(GOOD.encode()), host) is allowed


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([b"v=STSv1; id=20240101T1;"], "20240101T1"),
        ([b"v=STSv1;id=x"], "x"),
        ([b"v=spf1 -all", b"v=STSv1; id=x;"], "x"),
        ([b"v=STSv1; id=x; new=1;"], "x"),
        ([b"v=STSv1; id=x;", b"v=STSv1; id=y;"], None),
        ([b"v=STSv1; id=;"], None),
        ([b"v=STSv1;"], None),
        ([b"v=STSv10; id=x;"], None),
        ([b"id=x; v=STSv1"], None),
        ([], None),
    ],
)
def test_the_record(texts: list[bytes], found: str | None) -> None:
    assert mta_sts.policy_id(tuple(texts)) == found
