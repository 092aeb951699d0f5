"""DMARC and iprev as tables."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail import dmarc, fields, iprev
from kerwen.mail.dmarc import Dmarc, Policy, Result
from kerwen.mail.iprev import Iprev

from .zone import Zone

ZONE = """
_dmarc.strict.example TXT v=DMARC1; p=reject; sp=quarantine; adkim=s; aspf=s
_dmarc.plain.example TXT v=DMARC1; p=reject; rua=mailto:x@plain.example
news.plain.example A 192.0.2.1
_dmarc.own.plain.example TXT v=DMARC1; p=quarantine
_dmarc.testing.example TXT v=DMARC1; p=reject; t=y
_dmarc.q-testing.example TXT v=DMARC1; p=quarantine; t=y
_dmarc.np.example TXT v=DMARC1; p=none; sp=quarantine; np=reject
there.np.example MX 10 mx.np.example
empty.np.example TXT x
unsure.np.example FAIL
_dmarc.twice.example TXT v=DMARC1; p=reject
_dmarc.twice.example TXT v=DMARC1; p=none
_dmarc.with-others.example TXT v=DMARC1; p=reject
_dmarc.with-others.example TXT v=spf1 -all
_dmarc.no-p.example TXT v=DMARC1; sp=reject
_dmarc.failing.example FAIL
_dmarc.psd TXT v=DMARC1; p=reject; psd=y
_dmarc.org.psd TXT v=DMARC1; p=quarantine
_dmarc.unit.big.example TXT v=DMARC1; p=none; psd=n
_dmarc.big.example TXT v=DMARC1; p=reject
"""


def check(author: str, spf: str | None = None, *dkim: str, zone: str = ZONE) -> Dmarc:
    return Zone(zone).ask(dmarc.check(author, spf, dkim))


# (author, domain that SPF proved, domains that DKIM proved, result, policy)
VERDICTS = [
    ("plain.example", None, [], "fail", "reject"),
    ("plain.example", "plain.example", [], "pass", "none"),
    ("plain.example", None, ["plain.example"], "pass", "none"),
    ("plain.example", "mail.plain.example", [], "pass", "none"),
    ("plain.example", None, ["x.example", "mail.plain.example"], "pass", "none"),
    ("plain.example", "other.example", ["notplain.example"], "fail", "reject"),
    ("PLAIN.example.", "Plain.Example", [], "pass", "none"),
    ("news.plain.example", "plain.example", [], "pass", "none"),
    ("news.plain.example", None, ["shop.plain.example"], "pass", "none"),
    ("news.plain.example", None, [], "fail", "reject"),
    ("own.plain.example", None, [], "fail", "quarantine"),
    ("own.plain.example", "plain.example", [], "pass", "none"),
    ("a.b.c.plain.example", None, ["plain.example"], "pass", "none"),
    ("strict.example", "mail.strict.example", ["mail.strict.example"], "fail", "reject"),
    ("strict.example", None, ["strict.example"], "pass", "none"),
    ("mail.strict.example", "strict.example", [], "fail", "quarantine"),
    ("mail.strict.example", "mail.strict.example", [], "pass", "none"),
    ("testing.example", None, [], "fail", "quarantine"),
    ("q-testing.example", None, [], "fail", "none"),
    ("np.example", None, [], "fail", "none"),
    ("there.np.example", None, [], "fail", "quarantine"),
    ("gone.np.example", None, [], "fail", "reject"),
    ("empty.np.example", None, [], "fail", "reject"),
    ("unsure.np.example", None, [], "temperror", "none"),
    ("nobody.example", "nobody.example", [], "none", "none"),
    (
        "x" * 60 + "." + "y" * 60 + "." + "z" * 60 + "." + "w" * 57 + ".example",
        None,
        [],
        "none",
        "none",
    ),
    ("twice.example", "twice.example", [], "none", "none"),
    ("with-others.example", None, [], "fail", "reject"),
    ("no-p.example", None, [], "fail", "none"),
    ("failing.example", None, [], "temperror", "none"),
    ("x.failing.example", None, [], "temperror", "none"),
    # public suffixes: what lies beside each other below one is not one organization
    ("org.psd", "other.psd", [], "fail", "quarantine"),
    ("mail.org.psd", "org.psd", [], "pass", "none"),
    ("free.psd", None, ["psd"], "fail", "reject"),
    ("sub.free.psd", "other.free.psd", [], "pass", "none"),
    # an organization that says so itself
    ("unit.big.example", "big.example", [], "fail", "none"),
    ("x.unit.big.example", "unit.big.example", [], "pass", "none"),
    ("x.big.example", "big.example", [], "pass", "none"),
    ("x.big.example", None, ["unit.big.example"], "fail", "reject"),
]


@pytest.mark.parametrize(("author", "spf", "dkim", "result", "policy"), VERDICTS)
def test_verdicts(author: str, spf: str | None, dkim: list[str], result: str, policy: str) -> None:
    found = check(author, spf, *dkim)
    assert (found.result, found.policy) == (Result(result), Policy(policy))
    assert (found.by_spf or found.by_dkim) == (result == "pass")
    assert (found.record is not None) == (result in ("pass", "fail"))


def test_walks_are_short() -> None:
    zone = Zone(ZONE)
    author = ".".join("abcdefghijklmnop") + ".plain.example"
    assert zone.ask(dmarc.check(author, None, [])).policy is Policy.REJECT
    walk = [q for q in zone.asked if q.startswith("TXT")]
    assert len(walk) == dmarc.QUERIES_MAX
    assert walk[0] == f"TXT _dmarc.{author}"
    assert walk[1] == "TXT _dmarc.l.m.n.o.p.plain.example"
    assert walk[-1] == "TXT _dmarc.example"


def test_the_usual_message_costs_one_question() -> None:
    zone = Zone(ZONE)
    zone.ask(dmarc.check("plain.example", "plain.example", ["plain.example"]))
    assert zone.asked == ["TXT _dmarc.plain.example"]


def test_a_domain_is_asked_for_once() -> None:
    zone = Zone(ZONE)
    zone.ask(dmarc.check("a.plain.example", "b.plain.example", [f"{n}.x.example" for n in "abc"]))
    assert len(zone.asked) == len(set(zone.asked))


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (b"v=DMARC1; p=reject", Policy.REJECT),
        (b"v=DMARC1;p=QUARANTINE;", Policy.QUARANTINE),
        (b" v = DMARC1 ; p = none ; unknown=x", Policy.NONE),
        (b"v=DMARC1; p=nonsense", Policy.NONE),
        (b"v=DMARC1", Policy.NONE),
        (b"p=reject; v=DMARC1", None),
        (b"v=dmarc1; p=reject", None),
        (b"v=DMARC12; p=reject", None),
        (b"v=DMARC1; p=reject; p=none", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_records(text: bytes, policy: Policy | None) -> None:
    found = dmarc.parse(text)
    assert (found and found.policy) is policy


def test_where_reports_go() -> None:
    found = dmarc.parse(b"v=DMARC1; p=none; rua=mailto:a@x.example, mailto:b@x.example")
    assert found is not None
    assert found.aggregate == ("mailto:a@x.example", "mailto:b@x.example")


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (b"From: Ayna <ayna@X.Example>\r\n", "x.example"),
        (b"From: a@x.example, b@x.example\r\n", "x.example"),
        ("From: a@почта.example\r\n".encode(), "xn--80a1acny.example"),
        (b"From: a@x.example, b@y.example\r\n", None),
        (b"From: a@x.example\r\nFrom: a@x.example\r\n", None),
        (b"From: nobody\r\n", None),
        (b"From: \r\n", None),
        (b"Sender: a@x.example\r\n", None),
        (b'From: "a@bank.example" <a@x.example>\r\n', "x.example"),
    ],
)
def test_the_domain_of_the_author(header: bytes, domain: str | None) -> None:
    assert dmarc.author_domain(fields.read(header)) == domain


NAMES = st.lists(st.sampled_from(["a", "b", "plain", "org", "psd", "example", "np", "big"]),
                 min_size=1, max_size=12).map(".".join)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(NAMES, st.none() | NAMES, st.lists(NAMES, max_size=3))
def test_who_proves_another_name_proves_nothing(
    author: str, spf: str | None, dkim: list[str]
) -> None:
    found = check(author, spf, *dkim)
    if found.result is Result.PASS:
        proved = [spf, *dkim]
        assert any(one == author or (one and one.endswith(found.organization)) for one in proved)
        assert author.endswith(found.organization)
    assert check(author, author).result is not Result.FAIL


# --- iprev --------------------------------------------------------------------------------------

ADDRESSES = """
1.2.0.192.in-addr.arpa PTR mail.x.example.
2.2.0.192.in-addr.arpa PTR liar.x.example
3.2.0.192.in-addr.arpa FAIL
4.2.0.192.in-addr.arpa PTR failing.example
5.2.0.192.in-addr.arpa PTR liar.x.example
6.2.0.192.in-addr.arpa PTR x..example
6.2.0.192.in-addr.arpa PTR odd.x.example
odd.x.example A nonsense
5.2.0.192.in-addr.arpa PTR other.x.example
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.x.example
mail.x.example A 192.0.2.1
liar.x.example A 192.0.2.200
other.x.example A 192.0.2.5
failing.example FAIL
six.x.example AAAA 2001:0db8:0::1
"""


@pytest.mark.parametrize(
    ("client", "result", "name"),
    [
        ("192.0.2.1", iprev.Result.PASS, "mail.x.example"),
        ("::ffff:192.0.2.1", iprev.Result.PASS, "mail.x.example"),
        ("192.0.2.2", iprev.Result.FAIL, None),
        ("192.0.2.3", iprev.Result.TEMPERROR, None),
        ("192.0.2.4", iprev.Result.TEMPERROR, None),
        ("192.0.2.5", iprev.Result.PASS, "other.x.example"),
        ("192.0.2.6", iprev.Result.FAIL, None),
        ("192.0.2.9", iprev.Result.PERMERROR, None),
        ("2001:db8::1", iprev.Result.PASS, "six.x.example"),
    ],
)
def test_iprev(client: str, result: iprev.Result, name: str | None) -> None:
    assert Zone(ADDRESSES).ask(iprev.check(client)) == Iprev(result, name)


def test_many_names_of_one_address_are_not_all_asked_for() -> None:
    zone = Zone("\n".join(f"1.2.0.192.in-addr.arpa PTR n{n}.example" for n in range(100)))
    zone.ask(iprev.check("192.0.2.1"))
    assert len(zone.asked) == 1 + iprev.NAMES_MAX
