"""Each command and each test, with every argument that it has."""

from __future__ import annotations

import pytest

from kerwen.base import limits
from kerwen.mail.sieve.checker import check
from kerwen.mail.sieve.mail import Mail
from kerwen.mail.sieve.outcome import Facts
from kerwen.mail.sieve.run import run
from tests.mail_sieve.show import MAIL, does, outcome, raw

ALL = (
    'require ["fileinto","reject","ereject","envelope","encoded-character","body","variables",'
    '"relational","imap4flags","copy","vacation","vacation-seconds","subaddress","date","index",'
    '"mailbox","special-use","duplicate","include","editheader","comparator-i;ascii-numeric",'
    '"comparator-i;unicode-casemap"];\n'
)

DEEDS = [
    ("", "keep"),
    ("keep;", "keep"),
    ("keep; keep;", "keep"),
    ("discard;", "discard"),
    ("discard; keep;", "keep"),
    ("stop; discard;", "keep"),
    ("if true { discard; stop; } keep;", "discard"),
    ('fileinto "Work";', "into Work"),
    ('fileinto "Work"; keep;', "into Work; keep"),
    ('fileinto "Work"; fileinto "Work"; fileinto "Lists";', "into Work; into Lists"),
    ('fileinto :copy "Work";', "into Work; keep"),
    ('fileinto :create "New/Box";', "into New/Box create"),
    ('fileinto :specialuse "\\\\Junk" "Spam";', "into Spam use=\\Junk"),
    ('fileinto :flags ["\\\\Seen", "$a $b"] "Work";', "into Work \\Seen $a $b"),
    ('redirect "a@b.example";', "redirect a@b.example"),
    ('redirect :copy "a@b.example";', "keep; redirect a@b.example"),
    ('redirect "a@b.example"; redirect "A@b.example";', "redirect a@b.example"),
    ('redirect "a@b.example"; keep;', "keep; redirect a@b.example"),
    ("".join(f'redirect "a{n}@b.c";' for n in range(5)),
     "keep; fault a message is sent on to at most 4 addresses"),
    ("".join(f'fileinto "a{n}";' for n in range(33)), "keep; fault at most 32 copies of a message"),
    ('set "a" "nobody"; redirect "${a}";', "keep; fault 'nobody' is no address"),
    ('set "a" ""; fileinto "${a}";', "keep; fault a mailbox has a name"),
    ('reject "No.";', "reject No."),
    ('ereject "No.";', "ereject No."),
    ('reject "No."; stop;', "reject No."),
    ('reject "No."; keep;',
     "keep; fault a message cannot be refused and taken at the same time"),
    ('reject "No."; reject "No.";', "keep; fault a message is refused only once"),
    ('vacation "Away";', "keep; reply 604800 Away"),
    ('vacation :days 2 "Away";', "keep; reply 172800 Away"),
    ('vacation :days 0 "Away";', "keep; reply 86400 Away"),
    ('vacation :seconds 90 "Away";', "keep; reply 90 Away"),
    ('vacation :seconds 0 "Away";', "keep; reply 0 Away"),
    ('vacation :days 1000 "Away";', "keep; reply 31622400 Away"),
    ('discard; vacation "Away";', "reply 604800 Away"),
    ('vacation "Away"; vacation "Away";', "keep; fault a message is answered only once"),
    ('setflag "\\\\Seen";', "keep \\Seen"),
    ('setflag ["a","b"]; addflag "c"; removeflag "B";', "keep a c"),
    ('addflag "a"; addflag "A b";', "keep a b"),
    ('addflag "a"; keep :flags "b";', "keep b"),
    ('addflag "a"; fileinto "Work"; addflag "b"; keep;', "into Work a; keep a b"),
    ('setflag "v" "x y"; addflag "v" "z"; removeflag "v" "x"; keep :flags "${v}";',
     "keep y z"),
    ("addflag \"" + " ".join(f"f{n}" for n in range(70)) + '";', "keep; fault too many flags"),
    ('if false { discard; } elsif true { fileinto "a"; } else { fileinto "b"; }', "into a"),
    ('if false { discard; } elsif false { discard; } else { fileinto "b"; }', "into b"),
    ('if true { fileinto "a"; } elsif true { fileinto "b"; } else { fileinto "c"; }', "into a"),
    ('if true { if false { stop; } else { fileinto "a"; } }', "into a"),
    ("return; discard;", "keep"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "does_this"), DEEDS)
def test_deeds(script: str, does_this: str) -> None:
    assert does(ALL + script) == does_this


TESTS = [
    ("true", True),
    ("false", False),
    ("not false", True),
    ("allof (true, false)", False),
    ("allof (true, true)", True),
    ("anyof (false, true)", True),
    ("anyof (false, false)", False),
    ('exists "subject"', True),
    ('exists ["SUBJECT", "X-None"]', False),
    ("size :over 100", True),
    ("size :over 1K", False),
    ("size :under 1K", True),
    ('header "subject" "order 4711 is on its way"', True),
    ('header :is "subject" ["x", "ORDER 4711 IS ON ITS WAY"]', True),
    ('header :comparator "i;octet" "subject" "order 4711 is on its way"', False),
    ('header :contains "subject" "4711"', True),
    ('header :contains "subject" ""', True),
    ('header :contains "x-none" ""', False),
    ('header :matches "subject" "order*way"', True),
    ('header :matches "subject" "order * way?"', False),
    ('header :matches "subject" "?rder 47??*"', True),
    ('header :matches "subject" "*"', True),
    ('header :matches "subject" "**4711**"', True),
    ('header :matches "x-none" "*"', False),
    ('header :contains ["x-none", "subject"] "ORDER"', True),
    ('header :count "eq" ["subject", "to", "x"] "2"', True),
    ('header :count "gt" "to" "1"', False),
    ('header :value "gt" "subject" "Order 3"', True),
    ('header :value "lt" "subject" "Order 3"', False),
    ('header :value "ge" :comparator "i;ascii-numeric" "x-score" "7"', True),
    ('header :value "gt" :comparator "i;ascii-numeric" "x-score" "12"', False),
    ('header :is :comparator "i;ascii-numeric" "x-score" "012"', True),
    ('header :value "ne" :comparator "i;ascii-numeric" "subject" "5"', True),
    ('header :is "x-many" "two"', True),
    ('header :index 1 "x-many" "two"', False),
    ('header :index 2 "x-many" "two"', True),
    ('header :index 1 :last "x-many" "three"', True),
    ('header :index 4 "x-many" "three"', False),
    ('header :is "x-russian" "привет"', True),
    ('header :is "x-russian" "ПРИВЕТ"', False),
    ('header :is :comparator "i;unicode-casemap" "x-russian" "ПРИВЕТ"', True),
    ('header :contains :comparator "i;unicode-casemap" "x-russian" "РИВ"', True),
    ('header :is "x-folded" "one two"', True),
    ('header "subject" "${hex: 4f 72}der 4711 is on its way"', True),
    ('header :contains "subject" "${unicode:34 37}"', True),
    ('address "from" "batyr@shop.example"', True),
    ('address :domain "from" "SHOP.example"', True),
    ('address :localpart "from" "batyr"', True),
    ('address :contains "from" "Atayev"', False),
    ('address :is ["to","cc"] "office@kerwen.test"', True),
    ('address :count "eq" "to" "2"', True),
    ('address :index 2 "to" "merdan@other.example"', True),
    ('address :index 1 :last "to" "merdan@other.example"', True),
    ('address :index 1 :last "to" "ayna@kerwen.test"', False),
    ('address :matches :domain "to" "*.example"', True),
    ('address :user "x-detail" "ayna"', True),
    ('address :detail "x-detail" "shop"', True),
    ('address :detail "from" ""', False),
    ('address :user "from" "batyr"', True),
    ('envelope "from" "batyr@shop.example"', True),
    ('envelope :domain "to" "kerwen.test"', True),
    ('envelope :localpart ["from","to"] "ayna"', True),
    ('envelope :detail "to" "x"', False),
    ('envelope :count "eq" ["from","to"] "2"', True),
    ('body :contains "parcel"', True),
    ('body :contains "PARCEL LEFT"', True),
    ('body :raw :contains "hello ayna"', True),
    ('body :contains "Subject"', False),
    ('body :content "text" :contains "parcel"', True),
    ('body :content "text/html" :contains "parcel"', False),
    ('body :content "" :contains "parcel"', True),
    ('body :matches "*left today*"', True),
    ('string "a" "A"', True),
    ('string :matches "abc" "a?c"', True),
    ('string :count "eq" ["a", ""] "1"', True),
    ('string :value "lt" "abc" "abd"', True),
    ('hasflag "a"', False),
    ('hasflag :count "eq" "0"', True),
    ('currentdate "year" "2026"', True),
    ('currentdate :zone "+0500" "hour" "16"', True),
    ('currentdate "hour" "11"', True),
    ('currentdate "weekday" "3"', True),
    ('currentdate :value "ge" "date" "2026-11-01"', True),
    ('date "date" "hour" "04"', True),
    ('date :originalzone "date" "hour" "09"', True),
    ('date :zone "-0200" "date" "hour" "02"', True),
    ('date :originalzone "date" "zone" "+0500"', True),
    ('date "date" "date" "2026-11-17"', True),
    ('date "date" "month" "11"', True),
    ('date "date" "day" "17"', True),
    ('date "date" "minute" "30"', True),
    ('date "date" "second" "00"', True),
    ('date "date" "time" "04:30:00"', True),
    ('date "date" "iso8601" "2026-11-17T04:30:00+00:00"', True),
    ('date "date" "std11" "Tue, 17 Nov 2026 04:30:00 +0000"', True),
    ('date "date" "julian" "61361"', True),
    ('date "received" "year" "2020"', True),
    ('date "subject" "year" "2020"', False),
    ('mailboxexists "Work"', True),
    ('mailboxexists ["Work", "inbox"]', True),
    ('mailboxexists ["Work", "None"]', False),
    ('specialuse_exists "\\\\Junk"', True),
    ('specialuse_exists ["\\\\Junk", "\\\\Flagged"]', False),
    ('specialuse_exists "Junk" "\\\\Junk"', True),
    ('specialuse_exists "Work" "\\\\Junk"', False),
    ("duplicate", False),
]  # fmt: skip
MORE = """\
X-Score: 12
X-Many: one
X-Many: two
X-Many: three
X-Russian: =?utf-8?b?0L/RgNC40LLQtdGC?=
X-Folded: one
\ttwo
X-Detail: <ayna+shop@kerwen.test>
Received: from a by b; Wed, 1 Jan 2020 00:00:00 +0000
"""


@pytest.mark.parametrize(("test", "true"), TESTS)
def test_tests(test: str, true: bool) -> None:
    found = does(ALL + f"if {test} {{ discard; }}", MORE + MAIL)
    assert found == ("discard" if true else "keep")


SUBJECT = "Subject: [acme-users] [fwd] version 1.0 is out\n\n"
VARIABLES = [
    ('if header :matches "Subject" "[*] *" { fileinto "${1}|${2}"; }',
     "into acme-users|[fwd] version 1.0 is out"),
    ('if header :matches "Subject" "*version *.? is *" { fileinto "${2}|${3}|${4}|${0}"; }',
     "into 1|0|out|[acme-users] [fwd] version 1.0 is out"),
    ('if header :matches "Subject" "*o*" { fileinto "${1}|${2}"; }',
     "into [acme-users] [fwd] versi|n 1.0 is out"),
    ('if header :matches "Subject" "*out" { fileinto "${1}."; }',
     "into [acme-users] [fwd] version 1.0 is ."),
    ('if header :matches "Subject" "\\\\[*" { fileinto "a"; }', "into a"),
    ('if header :matches "Subject" "\\\\**" { fileinto "a"; }', "keep"),
    # a match that fails changes nothing, one without wildcards gives ${0}
    ('if header :matches "Subject" "[*] *" { if header :matches "Subject" "x*" { stop; }'
     ' fileinto "${1}"; }', "into acme-users"),
    ('if string :matches "abc" "ABC" { fileinto "${0}${1}"; }', "into abc"),
    ('set "a" "b"; fileinto "${A}${none}${9}x";', "into bx"),
    ('set "a" "${"; fileinto "${a}}${b c}${}";', "into ${}${b c}${}"),
    ('set "a" "x"; set "b" "${a}{a}"; fileinto "$${a}{b}";', "into $x{b}"),
    ('set :upper "a" "abC"; fileinto "${a}";', "into ABC"),
    ('set :lower "a" "ABc"; fileinto "${a}";', "into abc"),
    ('set :lower :upperfirst "a" "jUMBLED lETTERS"; fileinto "${a}";', "into Jumbled letters"),
    ('set :lowerfirst "a" "ABC"; fileinto "${a}";', "into aBC"),
    ('set :quotewildcard "a" "R*ck?\\\\"; fileinto "${a}";', "into R\\*ck\\?\\\\"),
    ('set :length "a" "Привет"; fileinto "${a}";', "into 6"),
    ('set :length :quotewildcard "a" "a*"; fileinto "${a}";', "into 3"),
    ('set "a" "x"; if string "${a}" "X" { discard; }', "discard"),
    ('set "a" "*"; if string :matches "zz" "${a}" { discard; }', "discard"),
    ('setflag "f" "a b"; if hasflag "f" "b" { discard; }', "discard"),
    ('setflag "f" "a b"; if hasflag :count "ge" ["f"] "2" { discard; }', "discard"),
    ('addflag ["a","b"]; if hasflag :matches "B*" { discard; }', "discard"),
    ('addflag "a"; if hasflag "x b a" { discard; }', "discard"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "does_this"), VARIABLES)
def test_variables(script: str, does_this: str) -> None:
    assert does(ALL + script, SUBJECT) == does_this


def test_a_value_is_cut_and_there_are_only_so_many() -> None:
    grow = 'set "a" "0123456789";' + 'set "a" "${a}${a}";' * 12
    found = does(ALL + grow + 'set :length "b" "${a}"; fileinto "${b}";')
    assert found == f"into {limits.SIEVE_VARIABLE_MAX}"
    many = "".join(f'set "v{n}" "x";' for n in range(limits.SIEVE_VARIABLES_MAX + 1))
    assert "too many variables" in does(ALL + many)


def test_envelopes() -> None:
    detail = ALL + 'if envelope :detail "to" "shop" { fileinto "shop"; }'
    assert does(detail, recipient="ayna+shop@kerwen.test") == "into shop"
    null = ALL + 'if envelope "from" "" { discard; }'
    assert does(null, sender="") == "discard"
    assert does(null) == "keep"
    matches = ALL + 'if envelope :matches :detail "to" "*" { fileinto "a/${1}"; }'
    assert does(matches, recipient="ayna+a+b@kerwen.test") == "into a/a+b"


INCLUDES = {
    "lists": 'require "fileinto"; if header :contains "list-id" "a" { fileinto "Lists"; stop; }',
    "spam": 'require ["include", "variables"]; global "score"; if string "${score}" "9" '
            '{ discard; stop; } return; discard;',
    "sets": 'require ["include", "variables"]; set "global.found" "yes"; set "own" "no";',
    "self": 'require "include"; include "self";',
    "a": 'require "include"; include "b";',
    "b": 'require "include"; include "a";',
}  # fmt: skip
INCLUDING = [
    ('include "lists"; discard;', "discard"),
    ('global "score"; set "score" "9"; include "spam";', "discard"),
    ('global "score"; set "score" "1"; include "spam"; fileinto "x";', "into x"),
    ('set "own" "mine"; include "sets"; fileinto "${global.found} ${own}";', "into yes mine"),
    ('include :once "sets"; include :once "sets"; include :optional "none";', "keep"),
    ('include "none"; discard;', "keep; fault there is no script 'none' to include"),
    ('include :global "x";', "keep; fault there are no scripts for everybody here"),
    ('include :global :optional "x"; discard;', "discard"),
    ('include "self";', "keep; fault too many includes, or one of itself: 'self'"),
    ('include "a";', "keep; fault too many includes, or one of itself: 'a'"),
    ('include "sets";' * 17, "keep; fault too many includes, or one of itself: 'sets'"),
]


@pytest.mark.parametrize(("script", "does_this"), INCLUDING)
def test_includes(script: str, does_this: str) -> None:
    assert does(ALL + script, scripts=INCLUDES) == does_this
    if script.startswith('include "lists"'):
        listed = "List-Id: <a.example>\n" + MAIL
        assert does(ALL + script, listed, scripts=INCLUDES) == "into Lists"


def test_duplicates_are_asked_for_and_remembered() -> None:
    script = ALL + "if duplicate :seconds 60 { discard; } else { keep; }"
    found = outcome(script)
    (one,) = found.remember
    assert (one.seconds, one.again) == (60, False)
    assert does(script, seen=frozenset({one.key})) == "discard"
    other = outcome(ALL + 'if duplicate :handle "x" :last {}').remember[0]
    assert other.key != one.key
    assert (other.seconds, other.again) == (7 * 86_400, True)
    by = outcome(ALL + 'if duplicate :uniqueid "<a1@shop.example>" {}').remember[0]
    assert by.key == one.key
    assert outcome(ALL + 'if duplicate :header "x-none" {}').remember == ()
    many = "".join(f'if duplicate :uniqueid "{n}" {{}}' for n in range(9))
    assert "too many duplicate tests" in does(ALL + many)


def test_nothing_is_remembered_by_a_script_that_fails() -> None:
    found = outcome(ALL + 'if duplicate {} redirect "${none}";')
    assert found.remember == ()
    assert found.fault is not None
    assert found.fault.line == 2


def _header(script: str, mail: str = MAIL) -> str:
    one = Mail(raw(mail), "", "ayna@kerwen.test")
    found = run(check(ALL + script), one, Facts(0))
    assert found.fault is None
    return one.header(found.filed[-1].header).decode()


def test_the_header_can_be_changed() -> None:
    whole = MAIL.partition("\n\n")[0].replace("\n", "\r\n") + "\r\n\r\n"
    assert _header("") == whole
    assert _header('addheader "X-A" "b";') == "X-A: b\r\n" + whole
    assert _header('addheader :last "X-A" "b";') == whole[:-2] + "X-A: b\r\n\r\n"
    assert _header('addheader "X-A" "привет";').startswith("X-A: =?utf-8?b?")
    assert _header('addheader "X-A" "b"; deleteheader "x-a";') == whole
    assert _header('deleteheader "X-None";') == whole
    assert "Subject" not in _header('deleteheader "subject";')
    assert _header('deleteheader :contains "subject" "none";') == whole
    assert "Subject" not in _header('deleteheader :matches "subject" "*4711*";')
    trace = "Received: a\nReceived: b\nX-A: 1\nX-A: 2\nX-A: 3\n" + MAIL
    assert "Received: b" in _header('deleteheader "Received";', trace)
    assert "X-A: 3" not in _header('deleteheader :index 1 :last "X-A";', trace)
    assert "X-A: 2" not in _header('deleteheader :index 2 "X-A";', trace)
    split = 'set "a" text:\nx\nY: z\n.\n; addheader "X-A" "${a}";'
    assert "\r\nY:" not in _header(split)


def test_each_copy_has_the_header_of_its_time() -> None:
    script = 'fileinto "a"; addheader "X" "1"; fileinto "b"; deleteheader "X"; keep;'
    one = Mail(raw(MAIL), "", "")
    found = run(check(ALL + script), one, Facts(0)).filed
    assert [b"X: 1" in one.header(filed.header) for filed in found] == [False, True, False]
    assert does(ALL + 'addheader "x" "y";' * 65) == "keep; fault too many changes of the header"
    seen = 'addheader "X-A" "b"; if header "x-a" "b" { discard; }'
    assert does(ALL + seen) == "discard"


MIXED = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

before
--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>Sal=C3=A1m <b>d=C3=BCn=C3=BD=C3=A4</b></p>
--b
Content-Type: message/rfc822

Subject: inner words

inner body
--b
Content-Type: image/png
Content-Transfer-Encoding: base64

aGlkZGVu
--b--
"""
BODIES = [
    ('body :contains "salám dünýä"', True),
    ('body :contains "<p>"', False),
    ('body :content "text/html" :contains "<p>salám"', True),
    ('body :content "image" :contains "hidden"', True),
    ('body :content "image/gif" :contains "hidden"', False),
    ('body :content "message/rfc822" :contains "inner words"', True),
    ('body :content "message/rfc822" :contains "inner body"', False),
    ('body :content "multipart" :contains "before"', True),
    ('body :raw :contains "aGlkZGVu"', True),
    ('body :count "eq" "2"', True),
]


@pytest.mark.parametrize(("test", "true"), BODIES)
def test_bodies(test: str, true: bool) -> None:
    found = does(ALL + f"if {test} {{ discard; }}", MIXED)
    assert found == ("discard" if true else "keep")


def test_work_is_bounded() -> None:
    steps = "if header :contains [" + ",".join(['"x-a"'] * 300) + "] ["
    steps += ",".join(['"b"'] * 300) + "] { discard; }"
    assert "too many steps" in does(ALL + steps, "X-A: c\n" + MAIL)
    slow = 'if body :raw :matches "*' + "?a" * 400 + '*" { discard; }'
    assert "too much text" in does(ALL + slow, "\n" + "a" * 900_000)
    wild = 'if body :raw :matches "' + "*a" * 3000 + '*b" { discard; }'
    assert does(ALL + wild, "\n" + "a" * 900_000) == "keep"


def test_a_changed_header_keeps_the_fields_that_were_not_read() -> None:
    many = [b"X-%d: a\r\n" % number for number in range(limits.FIELDS_SHOWN_MAX + 3)]
    one = Mail(b"".join(many) + b"\r\nbody\r\n", "", "")
    one.add("X-New", "b", last=False)
    assert one.header(one.version()) == b"X-New: b\r\n" + b"".join(many) + b"\r\n"
