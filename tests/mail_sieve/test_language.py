"""What is a script and what is not, and where it says that it is not."""

from __future__ import annotations

import pytest

from kerwen.base import limits
from kerwen.mail.sieve.checker import check
from kerwen.mail.sieve.lexer import BadScript

GOOD = [
    "",
    "# only a comment",
    "/* one\nand two */ keep;",
    "KEEP; Stop;",
    'if TRUE { keep; } elsif false { discard; } else { stop; }',
    'if size :over 1M { discard; } if size :under 2g { keep; }',
    'require "fileinto"; fileinto "a";',
    'require ["fileinto", "reject"]; require "copy"; fileinto :copy "a\\"b\\\\";',
    'require "reject"; reject text:\nGo away.\n..dots\n.\n;',
    'require "reject"; reject text: # why\r\nGo away.\r\n.\r\n;',
    'if header :comparator "i;octet" :contains ["a", "b"] "c" { keep; }',
    'if not anyof (allof (true, false), exists ["to", "cc"]) { keep; }',
    'require "comparator-i;octet"; keep;',
    'require "variables"; set "a" "${1}${b}${c.d}${"; set "x1_" text:\n${a}\n.\n;',
    'require "encoded-character"; if header "subject" "${hex:24 24}${unicode:40}" { keep; }',
    'require ["imap4flags","variables"]; addflag "v" ["a", "b c"]; removeflag "d";'
    ' if hasflag "a" { keep :flags "x"; } if hasflag :contains ["v"] "a" { stop; }',
    'require ["vacation", "vacation-seconds"]; vacation :seconds 60 :handle "h" "away";',
    'require "vacation"; vacation :days 3 :subject "s" :from "a@b.c" :addresses ["d@e.f"]'
    ' :mime "Content-Type: text/html\n\nhi";',
    'require "date"; if currentdate :zone "-0300" "hour" "09" { keep; }',
    'require ["date","relational"]; if date :originalzone :value "ge" "date" "year" "1"'
    ' { keep; }',
    'require ["mailbox","fileinto"]; if mailboxexists "a" { fileinto :create "b"; }',
    'require ["special-use","fileinto"]; if specialuse_exists ["\\\\Junk"]'
    ' { fileinto :specialuse "\\\\Junk" "Spam"; }',
    'require "include"; include :personal :once "a"; include :global :optional "b"; return;',
    'require ["include","variables"]; global ["a","b"]; set "global.c" "d";',
    'require "editheader"; addheader :last "X-A" "b"; deleteheader "X-A";'
    ' deleteheader :index 1 :last :contains "X-A" ["b"];',
    'require "duplicate"; if duplicate :header "X-Id" :seconds 5 :handle "h" :last {discard;}',
    'require "index"; if header :index 2 :last "received" "x" { keep; }',
    'require "body"; if body :content ["text", "image"] :contains "a" { keep; }',
    'require ["envelope","subaddress"]; if envelope :detail "to" "x" { keep; }',
    "\ufeffkeep;",
]  # fmt: skip

BAD = [
    ("keep", 1, 5, "; is missing before 'the end"),
    ("keep;\n  hold;", 2, 3, "no command 'hold'"),
    ("keep; }", 1, 7, "closes nothing"),
    ("if true { keep;", 1, 16, "} is missing"),
    ("if true keep;", 1, 1, "needs a block"),
    ("if true keep { stop; }", 1, 4, "no tests"),
    ('keep;\n"a";', 2, 1, "begins with a name"),
    ('redirect "a@b.c', 1, 10, "string never ends"),
    ("keep; /* a", 1, 7, "comment never ends"),
    ("redirect text:\na@b.c\n;", 1, 10, "never end with a dot"),
    ("keep; $", 1, 7, "no place for '$'"),
    ("keep;\n\n\0", 3, 1, "NUL"),
    ("if size :over 9999999999G { keep; }", 1, 15, "too great"),
    ("if size :over 9x { keep; }", 1, 15, "no place for '9'"),
    ("if true { keep; } elsif { stop; }", 1, 19, "elsif has one test"),
    ("else { stop; }", 1, 1, "follows if"),
    ("keep; else { stop; }", 1, 7, "follows if"),
    ('keep; require "fileinto";', 1, 7, "at the beginning"),
    ('if true { require "fileinto"; }', 1, 11, "at the beginning"),
    ('require ["fileinto", "teleport"];', 1, 22, "no extension 'teleport'"),
    ('require "enotify";', 1, 9, "no extension"),
    ('fileinto "a";', 1, 1, "needs: require 'fileinto'"),
    ('require "fileinto"; fileinto :copy "a";', 1, 30, "needs: require 'copy'"),
    ('require "fileinto"; fileinto :create "a";', 1, 30, "needs: require 'mailbox'"),
    ('require "fileinto"; fileinto ["a"];', 1, 30, "wants a string"),
    ('require "fileinto"; fileinto "a" "b";', 1, 34, "fewer arguments"),
    ('require "fileinto"; fileinto;', 1, 21, "lacks a string"),
    ('require "fileinto"; fileinto "";', 1, 21, "has a name"),
    ("keep { stop; }", 1, 1, "has no block"),
    ("if true;", 1, 1, "needs a block"),
    ("if { keep; }", 1, 1, "one test"),
    ("if allof true { keep; }", 1, 4, "in parentheses"),
    ("if (true, false) { keep; }", 1, 1, "one test"),
    ("if not true, false { keep; }", 1, 12, "; is missing"),
    ("if maybe { keep; }", 1, 4, "no test 'maybe'"),
    ("keep :loud;", 1, 6, "no :loud"),
    ('if header :is :contains "a" "b" { keep; }', 1, 15, "exclude each other"),
    ('if header "a" :is "b" { keep; }', 1, 15, "tags stand before"),
    ('if header :comparator "a" { keep; }', 1, 4, "lacks strings"),
    ('if header :comparator "i;klingon" "a" "b" { keep; }', 1, 4, "no comparator"),
    ('if header :comparator "i;ascii-numeric" "a" "1" { keep; }', 1, 4, "needs: require"),
    ('if header :count "gt" "a" "1" { keep; }', 1, 11, "needs: require 'relational'"),
    ('require "relational"; if header :count "over" "a" "1" { keep; }', 1, 26, "gt, ge"),
    ('require "comparator-i;ascii-numeric";\nif header :contains :comparator "i;ascii-numeric" '
     '"a" "1" { keep; }', 2, 4, "no sense with numbers"),
    ('if header "a b" "c" { keep; }', 1, 4, "no header field"),
    ('if header ["a", 1] "c" { keep; }', 1, 17, "a string is missing"),
    ('if header [] "c" { keep; }', 1, 12, "a string is missing"),
    ('if header ["a" "b"] "c" { keep; }', 1, 16, ", or ] is missing"),
    ('if exists "a:" { keep; }', 1, 4, "no header field"),
    ("if size 5 { keep; }", 1, 4, ":over or :under"),
    ('redirect "nobody";', 1, 1, "no address"),
    ('redirect "a@b.c\nx";', 1, 1, "no address"),
    ('redirect "a@b.c, d@e.f";', 1, 1, "no address"),
    ('require "envelope"; if envelope "auth" "x" { keep; }', 1, 24, "only from and to"),
    ('require "variables"; set "1a" "b";', 1, 22, "no variable is called"),
    ('require "variables"; set "a-b" "b";', 1, 22, "no variable is called"),
    ('require "variables"; set :lower :upper "a" "b";', 1, 33, "exclude each other"),
    ('require "variables"; set "${a}" "b";', 1, 22, "has no variables"),
    ('require "encoded-character"; redirect "${unicode:d800}@b.c";', 1, 39, "no character"),
    ('require "date"; if currentdate "aeon" "x" { keep; }', 1, 20, "no part"),
    ('require "date"; if currentdate :zone "CET" "hour" "1" { keep; }', 1, 20, "no time zone"),
    ('require "date"; if date :index 1 "date" "hour" "1" { keep; }', 1, 25, "require 'index'"),
    ('require "index"; if header :index 0 "a" "b" { keep; }', 1, 21, "from 1"),
    ('require "index"; if header :last "a" "b" { keep; }', 1, 21, "with :index"),
    ('require "vacation"; vacation :seconds 5 "x";', 1, 30, "require 'vacation-seconds'"),
    ('require "vacation"; vacation :days 5;', 1, 21, "lacks a string"),
    ('require "vacation"; vacation :addresses ["x"] "y";', 1, 21, "no address"),
    ('require ["include","variables"]; include "${a}";', 1, 34, "has no variables"),
    ('require "include"; include "";', 1, 20, "such a name"),
    ('require "include"; global "a.b";', 1, 20, "no variable is called"),
]  # fmt: skip


@pytest.mark.parametrize("script", GOOD)
def test_these_are_scripts(script: str) -> None:
    check(script.encode())


@pytest.mark.parametrize(("script", "line", "column", "text"), BAD)
def test_these_are_none(script: str, line: int, column: int, text: str) -> None:
    with pytest.raises(BadScript) as caught:
        check(script)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert text in caught.value.text


@pytest.mark.parametrize(
    "script",
    [
        b"keep; # \xff",
        b" " * (limits.SIEVE_SCRIPT_MAX + 1),
        b"if " + b"not " * 40 + b"true { keep; }",
        b"if true { " * 40 + b"keep;" + b"}" * 40,
        b"if " + b"anyof (" * 40 + b"true" + b")" * 40 + b" { keep; }",
        b"keep;" * (limits.SIEVE_COMMANDS_MAX + 1),
        b'if exists [""' + b',"a"' * (limits.SIEVE_STRINGS_MAX + 1) + b"] { keep; }",
    ],
)
def test_what_is_too_much(script: bytes) -> None:
    with pytest.raises(BadScript):
        check(script)
