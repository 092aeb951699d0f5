"""SPF as tables: records, what they say for which client, and what they may cost."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.mail import dns, spf, spf_record
from kerwen.mail.spf import Result, Spf
from kerwen.mail.spf_record import BadRecord, Macros

from .zone import Zone

HOSTS = """
x.example A 192.0.2.10
x.example AAAA 2001:db8::10
x.example MX 10 mx1.x.example
x.example MX 20 mx2.x.example
mx1.x.example A 192.0.2.21
mx2.x.example A 192.0.2.22
mx2.x.example AAAA 2001:db8::22
only4.example A 192.0.2.40
no-mx.example A 192.0.2.41
null-mx.example MX 0 .
yes.example TXT v=spf1 +all
no.example TXT v=spf1 -all
soft.example TXT v=spf1 ~all
neutral.example TXT v=spf1 ?all
silent.example TXT v=spf1 ip4:203.0.113.1
broken.example TXT v=spf1 nonsense
nothing.example TXT something else
failing.example FAIL
fail-a.example FAIL A
fail-a.example AAAA 2001:db8::1
2.0.192.listed.example A 127.0.0.2
99.2.0.192.in-addr.arpa PTR host.x.example
99.2.0.192.in-addr.arpa PTR liar.example
99.2.0.192.in-addr.arpa PTR other.y.example
99.2.0.192.in-addr.arpa PTR x..example
odd.example A nonsense
host.x.example A 192.0.2.99
other.y.example A 192.0.2.99
liar.example A 198.51.100.1
98.2.0.192.in-addr.arpa FAIL
ayna.users.example A 127.0.0.1
circle.example TXT v=spf1 include:circle.example
ring.example TXT v=spf1 redirect=ring.example
void.example TXT v=spf1 a:n1.example a:n2.example
"""


def check(record: str, client: str = "192.0.2.1", sender: str = "ayna@test.example") -> Spf:
    zone = Zone(HOSTS + f"\ntest.example TXT {record}")
    return zone.ask(spf.check_mail_from(client, sender, "helo.example", receiver="mx.kerwen"))


# (record, client, result)
RECORDS = [
    # the record itself
    ("v=spf1", "192.0.2.1", "neutral"),
    ("v=spf1 -all", "192.0.2.1", "fail"),
    ("V=SPF1 ~ALL", "192.0.2.1", "softfail"),
    ("v=spf1  ?all ", "192.0.2.1", "neutral"),
    ("v=spf10 -all", "192.0.2.1", "none"),
    ("v=spf1-all", "192.0.2.1", "none"),
    ("spf1 -all", "192.0.2.1", "none"),
    ("v=spf1 all\ntest.example TXT v=spf1 -all", "192.0.2.1", "permerror"),
    ("v=spf1 all\ntest.example TXT v=spf2.0/pra -all", "192.0.2.1", "pass"),
    # syntax, wherever it is wrong
    ("v=spf1 all nonsense", "192.0.2.1", "permerror"),
    ("v=spf1 -all:x.example", "192.0.2.1", "permerror"),
    ("v=spf1 -all/8", "192.0.2.1", "permerror"),
    ("v=spf1 !all", "192.0.2.1", "permerror"),
    ("v=spf1 all.", "192.0.2.1", "permerror"),
    ("v=spf1 \té -all", "192.0.2.1", "permerror"),
    ("v=spf1 include", "192.0.2.1", "permerror"),
    ("v=spf1 include:", "192.0.2.1", "permerror"),
    ("v=spf1 exists", "192.0.2.1", "permerror"),
    ("v=spf1 a:", "192.0.2.1", "permerror"),
    ("v=spf1 a:localhost -all", "192.0.2.1", "permerror"),
    ("v=spf1 a:x.123 -all", "192.0.2.1", "permerror"),
    ("v=spf1 a:x.-y -all", "192.0.2.1", "permerror"),
    ("v=spf1 a:x.example. -all", "192.0.2.10", "pass"),
    ("v=spf1 a:x.example:8080", "192.0.2.1", "permerror"),
    ("v=spf1 unknown=%{s} -all", "192.0.2.1", "fail"),
    ("v=spf1 unknown=%{x} -all", "192.0.2.1", "permerror"),
    ("v=spf1 un-known.x_1= -all", "192.0.2.1", "fail"),
    ("v=spf1 1x=y -all", "192.0.2.1", "permerror"),
    # ip4, ip6
    ("v=spf1 ip4:192.0.2.0/24 -all", "192.0.2.200", "pass"),
    ("v=spf1 ip4:192.0.2.1/24 -all", "192.0.2.200", "pass"),
    ("v=spf1 ip4:192.0.2.1 -all", "192.0.2.2", "fail"),
    ("v=spf1 ip4:0.0.0.0/0 -all", "203.0.113.9", "pass"),
    ("v=spf1 -ip4:192.0.2.1 +all", "192.0.2.1", "fail"),
    ("v=spf1 ip4:192.0.2.1/33 -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip4:192.0.2.1/024 -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip4:192.0.2.1/ -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip4:192.0.2 -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip4 -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip4=192.0.2.1 -all", "192.0.2.1", "fail"),  # a modifier that nobody knows
    ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::77", "pass"),
    ("v=spf1 ip6:2001:db8::/32 -all", "192.0.2.1", "fail"),
    ("v=spf1 ip6:2001:db8::1 -all", "2001:db8::1", "pass"),
    ("v=spf1 ip6:::1.2.3.4/129 -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip6:2001:db8::%25eth0 -all", "192.0.2.1", "permerror"),
    ("v=spf1 ip4:192.0.2.1 -all", "::ffff:192.0.2.1", "pass"),
    ("v=spf1 ip6::: +all", "192.0.2.1", "pass"),
    # a
    ("v=spf1 a:x.example -all", "192.0.2.10", "pass"),
    ("v=spf1 a:x.example -all", "2001:db8::10", "pass"),
    ("v=spf1 a:x.example/28 -all", "192.0.2.1", "pass"),
    ("v=spf1 a:x.example/32//64 -all", "2001:db8::ffff", "pass"),
    ("v=spf1 a:x.example//64 -all", "192.0.2.11", "fail"),
    ("v=spf1 a:x.example/0 -all", "203.0.113.5", "pass"),
    ("v=spf1 a:x.example//0 -all", "2001:db8:5::", "pass"),
    ("v=spf1 a:x.example/33 -all", "192.0.2.1", "permerror"),
    ("v=spf1 a:x.example//129 -all", "192.0.2.1", "permerror"),
    ("v=spf1 a:x.example/01 -all", "192.0.2.1", "permerror"),
    ("v=spf1 a/24 -all\ntest.example A 192.0.2.77", "192.0.2.1", "pass"),
    ("v=spf1 a -all", "192.0.2.1", "fail"),
    ("v=spf1 a:only4.example -all", "2001:db8::1", "fail"),
    ("v=spf1 a:fail-a.example -all", "192.0.2.1", "temperror"),
    ("v=spf1 a:fail-a.example -all", "2001:db8::1", "pass"),
    ("v=spf1 a:odd.example -all", "192.0.2.1", "fail"),
    # mx
    ("v=spf1 mx:x.example -all", "192.0.2.22", "pass"),
    ("v=spf1 mx:x.example -all", "2001:db8::22", "pass"),
    ("v=spf1 mx:x.example/29 -all", "192.0.2.17", "pass"),
    ("v=spf1 mx:x.example -all", "192.0.2.10", "fail"),
    ("v=spf1 mx:no-mx.example -all", "192.0.2.41", "fail"),  # no falling back to A
    ("v=spf1 mx:null-mx.example -all", "192.0.2.1", "fail"),
    ("v=spf1 mx:failing.example -all", "192.0.2.1", "temperror"),
    # ptr
    ("v=spf1 ptr:x.example -all", "192.0.2.99", "pass"),
    ("v=spf1 ptr:host.x.example -all", "192.0.2.99", "pass"),
    ("v=spf1 ptr:ost.x.example -all", "192.0.2.99", "fail"),
    ("v=spf1 ptr:liar.example -all", "192.0.2.99", "fail"),
    ("v=spf1 ptr -all", "192.0.2.99", "fail"),
    ("v=spf1 ptr:x.example -all", "192.0.2.98", "fail"),  # no answer is no match here
    ("v=spf1 ptr/24 -all", "192.0.2.1", "permerror"),
    # exists
    ("v=spf1 exists:%{l}.users.example -all", "192.0.2.1", "pass"),
    ("v=spf1 exists:%{d}.users.example -all", "192.0.2.1", "fail"),
    ("v=spf1 -exists:%{ir}.listed.example +all", "192.0.2.1", "pass"),
    ("v=spf1 -exists:%{i3r}.listed.example +all", "192.0.2.1", "fail"),
    ("v=spf1 exists:failing.example -all", "192.0.2.1", "temperror"),
    ("v=spf1 exists:x.example/24 -all", "192.0.2.1", "permerror"),
    # include
    ("v=spf1 include:yes.example -all", "192.0.2.1", "pass"),
    ("v=spf1 -include:yes.example +all", "192.0.2.1", "fail"),
    ("v=spf1 include:no.example ~all", "192.0.2.1", "softfail"),
    ("v=spf1 include:soft.example ?all", "192.0.2.1", "neutral"),
    ("v=spf1 include:neutral.example -all", "192.0.2.1", "fail"),
    ("v=spf1 include:silent.example -all", "192.0.2.1", "fail"),
    ("v=spf1 include:nothing.example all", "192.0.2.1", "permerror"),
    ("v=spf1 include:nobody.example all", "192.0.2.1", "permerror"),
    ("v=spf1 include:broken.example all", "192.0.2.1", "permerror"),
    ("v=spf1 include:failing.example all", "192.0.2.1", "temperror"),
    ("v=spf1 include:yes.example/24 -all", "192.0.2.1", "permerror"),
    # redirect
    ("v=spf1 redirect=yes.example", "192.0.2.1", "pass"),
    ("v=spf1 redirect=yes.example -all", "192.0.2.1", "fail"),
    ("v=spf1 redirect=no.example ip4:192.0.2.1", "192.0.2.1", "pass"),
    ("v=spf1 redirect=nobody.example", "192.0.2.1", "permerror"),
    ("v=spf1 redirect=failing.example", "192.0.2.1", "temperror"),
    ("v=spf1 redirect=yes.example redirect=yes.example", "192.0.2.1", "permerror"),
    ("v=spf1 redirect:yes.example", "192.0.2.1", "permerror"),
    ("v=spf1 redirect=", "192.0.2.1", "permerror"),
    # what it may cost: §4.6.4
    ("v=spf1 " + "a:x.example " * 10 + "-all", "192.0.2.1", "fail"),
    ("v=spf1 " + "a:x.example " * 11 + "-all", "192.0.2.1", "permerror"),
    ("v=spf1 " + "a:x.example " * 10 + "redirect=yes.example", "192.0.2.1", "permerror"),
    ("v=spf1 include:circle.example all", "192.0.2.1", "permerror"),
    ("v=spf1 redirect=ring.example", "192.0.2.1", "permerror"),
    ("v=spf1 a:n1.example a:n2.example -all", "192.0.2.1", "fail"),
    ("v=spf1 a:n1.example a:n2.example a:n3.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 include:void.example exists:n3.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 mx:ten.example -all" + "".join(
        f"\nten.example MX 1 m{n}.ten.example\nm{n}.ten.example A 203.0.113.{n}"
        for n in range(10)), "203.0.113.9", "pass"),
    ("v=spf1 mx:ten.example -all" + "".join(
        f"\nten.example MX 1 m{n:02}.ten.example\nm{n:02}.ten.example A 203.0.113.{n}"
        for n in range(11)), "203.0.113.10", "permerror"),
    # macros in domains
    ("v=spf1 a:%{d2}.nowhere.example a:mx1.%{d1r}.x.%{d1} -all", "192.0.2.1", "fail"),
    ("v=spf1 exists:%{l}%{l}.x.example exists:%{l1}.users.example -all", "192.0.2.1", "pass"),
    ("v=spf1 exists:%(l).users.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 exists:%{l0}.users.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 exists:%{c}.users.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 exists:%{q}.users.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 exists:%%.users.example -all", "192.0.2.1", "fail"),
    ("v=spf1 exists:x%users.example -all", "192.0.2.1", "permerror"),
    ("v=spf1 a:%{p}.nowhere.example ptr:%{p} -all", "192.0.2.99", "pass"),
    ("v=spf1 exists:%{o1}" + "." + "x" * 64 + ".example -all", "192.0.2.1", "fail"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "client", "result"), RECORDS)
def test_records(record: str, client: str, result: str) -> None:
    found = check(record, client)
    assert found.result is Result(result), found.problem
    assert found.domain == "test.example"
    assert bool(found.problem) == result.endswith("error")


@pytest.mark.parametrize(
    ("sender", "helo", "domain", "identity"),
    [
        ("ayna@no.example", "yes.example", "no.example", "mailfrom"),
        ("", "no.example", "no.example", "helo"),
        ("@no.example", "yes.example", "no.example", "mailfrom"),
        ("ayna@NO.Example.", "x", "no.example", "mailfrom"),
    ],
)
def test_whose_record_counts(sender: str, helo: str, domain: str, identity: str) -> None:
    found = Zone(HOSTS).ask(spf.check_mail_from("192.0.2.1", sender, helo))
    assert (found.result, found.domain, found.identity) == (Result.FAIL, domain, identity)


@pytest.mark.parametrize(
    "domain",
    ["localhost", "", "nobody.example", "nothing.example", "[192.0.2.1]", "x..example",
     "x" * 64 + ".example", "x." * 130 + "example"],
)  # fmt: skip
def test_domains_without_a_record(domain: str) -> None:
    zone = Zone(HOSTS)
    assert zone.ask(spf.check_helo("192.0.2.1", domain)).result is Result.NONE
    assert len(zone.asked) <= 1


def test_a_domain_that_does_not_answer() -> None:
    found = Zone(HOSTS).ask(spf.check_helo("192.0.2.1", "failing.example"))
    assert found.result is Result.TEMPERROR


def test_a_name_beyond_ascii_is_asked_for_in_ascii() -> None:
    zone = Zone("xn--80a1acny.example TXT v=spf1 -all")
    found = zone.ask(spf.check_mail_from("192.0.2.1", "ayna@почта.example", "x"))
    assert found.result is Result.FAIL
    assert found.domain == "xn--80a1acny.example"


EXPLAINED = [
    ("exp=why.example", "No, %{s} from %{i} may not",
     "No, ayna@test.example from 192.0.2.99 may not"),
    ("exp=why.example", "%{c} %{r} %{t} %{h} %{v} %{d} %{o} %{l}",
     "192.0.2.99 mx.kerwen 0 helo.example in-addr test.example test.example ayna"),
    ("exp=why.example", "100%% sure%_of%-it", "100% sure of%20it"),
    ("exp=why.example", "%{L} %{S}", "ayna ayna%40test.example"),
    ("exp=why.example", "%{p}", "host.x.example"),
    ("exp=why.example", "%{x}", ""),
    ("exp=why.example", "%{s", ""),
    ("exp=why.example", "нет", ""),
    ("exp=none.example", "x", ""),
    ("exp=%{l}.%{d}", "x", ""),
]  # fmt: skip


@pytest.mark.parametrize(("modifier", "words", "told"), EXPLAINED)
def test_explanations(modifier: str, words: str, told: str) -> None:
    zone = f"v=spf1 {modifier} -all\nwhy.example TXT {words}"
    assert check(zone, "192.0.2.99").explanation == told


def test_whose_explanation_counts() -> None:
    zone = Zone(
        "a.example TXT v=spf1 redirect=b.example exp=mine.example\n"
        "b.example TXT v=spf1 -all exp=theirs.example\n"
        "c.example TXT v=spf1 -include:d.example\n"
        "d.example TXT v=spf1 ip4:192.0.2.1 exp=theirs.example\n"
        "mine.example TXT mine\ntheirs.example TXT theirs"
    )
    assert zone.ask(spf.check_helo("192.0.2.1", "a.example")).explanation == "theirs"
    assert zone.ask(spf.check_helo("192.0.2.1", "c.example")).explanation == ""


# --- macros: the examples of RFC 7208 §7.4 ------------------------------------------------------

MACROS = Macros(
    "strong-bad@email.example.com", "strong-bad", "email.example.com", "email.example.com",
    "mail.example.com", dns.address("192.0.2.3"), "rx.example", 1_000,
)  # fmt: skip
EXPANDED = [
    ("%{s}", "strong-bad@email.example.com"),
    ("%{o}", "email.example.com"),
    ("%{d4}", "email.example.com"),
    ("%{d2}", "example.com"),
    ("%{d1}", "com"),
    ("%{dr}", "com.example.email"),
    ("%{d2r}", "example.email"),
    ("%{l}", "strong-bad"),
    ("%{l-}", "strong.bad"),
    ("%{lr}", "strong-bad"),
    ("%{lr-}", "bad.strong"),
    ("%{l1r-}", "strong"),
    ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
    ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
    ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
]


@pytest.mark.parametrize(("text", "expanded"), EXPANDED)
def test_macros(text: str, expanded: str) -> None:
    assert spf_record.expand(text, MACROS) == expanded


def test_macros_of_ipv6() -> None:
    six = msgspec.structs.replace(MACROS, address=dns.address("2001:db8::cb01"))
    assert spf_record.expand("%{ir}.%{v}", six) == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6"
    )
    assert spf_record.expand("%{c}", six) == "2001:db8::cb01"


def test_long_names_lose_their_first_labels() -> None:
    name = "x" * 60 + "." + ".".join(["y" * 60] * 4)
    assert spf_record.to_fit(name) == ".".join(["y" * 60] * 4)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "mx", "ptr", "all", "include:test.example", "exists:%{l}.example",
                         "redirect=test.example", "exp=x.example", "ip4:192.0.2.1/3", "a:%{p}.x.y",
                         "%", "%{", "=", ":", "/", "//", "-", "a:b", "é", "x" * 300])
        | st.text(max_size=5),
        max_size=15,
    )
)  # fmt: skip
def test_any_record_ends(terms: list[str]) -> None:
    text = " ".join(terms).replace("\n", "").replace("\r", "")
    zone = Zone(HOSTS)
    zone.records["test.example"] = [("TXT", "v=spf1 " + text), ("MX", "1 test.example")]
    found = zone.ask(spf.check_helo("192.0.2.99", "test.example"))
    assert isinstance(found, Spf)
    assert len(zone.asked) < 150


def test_a_record_that_is_too_long_is_not_read() -> None:
    with pytest.raises(BadRecord):
        spf_record.parse(b"v=spf1 " + b"a " * 10_000)
