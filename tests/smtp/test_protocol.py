"""The server's side: transcripts whole, byte by byte and at random cuts; limits; fuzz."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.smtp import address, grammar, replies, sasl
from kerwen.smtp.address import Address
from kerwen.smtp.commands import Chunk, Command, Gone, Login, Malformed, Token
from kerwen.smtp.dots import Stuffer, Unstuffer
from kerwen.smtp.protocol import NEXT, Offer, Protocol, Stage

from . import transcripts
from .desk import OFFERS, Desk

Cut = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]


def at_random(seed: int) -> Cut:
    chance = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        while data:
            size = chance.randint(1, 12)
            yield data[:size]
            data = data[size:]

    return cut


CUTS = [whole, bytewise, at_random(1), at_random(2), at_random(3)]


def run(name: str, cut: Cut) -> Desk:
    """Plays a transcript; the desk that was spoken to."""
    steps = transcripts.read(name)
    setting = [text.decode() for kind, text in steps if kind == "@"]
    offer = next((s.removeprefix("offer ") for s in setting if s.startswith("offer ")), "mx")
    desk = Desk(offer, tls="implicit tls" in setting)
    out = desk.start()
    for kind, text in steps:
        if kind == "C":
            assert out == b"", "the transcript is silent about this"
            for piece in cut(text):
                out += desk.feed(piece)
        elif kind == "S":
            assert transcripts.fits(text, out), f"\nexpected:\n{text!r}\ngot:\n{out!r}"
            out = b""
        elif kind == "M":
            assert desk.messages[-1] == text
        elif text == b"tls":
            desk.shake_hands()
        elif text == b"closed":
            assert desk.protocol.is_closed
    assert out == b""
    return desk


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", transcripts.names())
def test_transcripts(name: str, cut: Cut) -> None:
    assert run(name, cut).commands == run(name, whole).commands


# --- the table ----------------------------------------------------------------------------------


def test_every_command_can_come_somewhere_and_every_stage_can_be_left() -> None:
    left = {stage for stage, _ in NEXT} | {Stage.GREETING, Stage.DATA, Stage.AUTH, Stage.TLS}
    assert left | {Stage.CLOSED} == set(Stage)
    assert {"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "EXPN", "HELP",
            "QUIT", "STARTTLS", "AUTH"} == {verb for _, verb in NEXT}  # fmt: skip


# --- limits -------------------------------------------------------------------------------------


def started(offer: str = "mx") -> Desk:
    desk = Desk(offer)
    desk.start()
    desk.feed(b"HELO x\r\n")
    return desk


def test_an_endless_line_is_not_kept() -> None:
    desk = started()
    for _ in range(1000):
        assert desk.feed(b"x" * 1000) == b""
    assert len(desk.protocol._buffer) <= limits.SMTP_LINE_MAX + 1000
    assert desk.feed(b"\r\nNOOP\r\n") == b"500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n"


def test_a_long_line_is_refused_however_it_comes() -> None:
    line = b"NOOP " + b"x" * limits.SMTP_LINE_MAX + b"\r\n"
    for cut in CUTS:
        desk = started()
        out = b"".join(desk.feed(piece) for piece in cut(line + b"NOOP\r\n"))
        assert out == b"500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n"


def test_too_many_errors_end_it() -> None:
    desk = started()
    out = desk.feed(b"x\r\n" * 100)
    assert out.count(b"500 ") == limits.SMTP_ERRORS_MAX
    assert out.endswith(b"421 4.7.0 Too many errors\r\n")
    assert desk.protocol.is_closed


def test_idle_talk_ends() -> None:
    desk = started()
    out = desk.feed(b"NOOP\r\n" * (limits.SMTP_IDLE_COMMANDS_MAX + 1))
    assert out.endswith(b"421 4.7.0 Too many errors\r\n")


def test_harvesting_ends() -> None:
    desk = started()
    desk.feed(b"MAIL FROM:<>\r\n")
    out = desk.feed(b"RCPT TO:<who@kerwen.example>\r\n" * 200)
    assert out.count(b"550 5.1.1") == limits.SMTP_LOST_RECIPIENTS_MAX
    assert desk.protocol.is_closed


def test_what_nobody_waited_for_is_not_kept() -> None:
    protocol = Protocol(OFFERS["mx"])
    protocol.greet()
    found = protocol.feed(b"EHLO x\r\n")
    assert protocol.wants_reply
    while not any(isinstance(c, Gone) for c in found):
        found = protocol.feed(b"x" * 65_536)
    assert protocol.is_closed
    assert protocol.feed(b"NOOP\r\n") == []


def test_the_end_of_the_connection_is_told_once() -> None:
    desk = started()
    assert desk.protocol.closed() == [Gone()]
    assert desk.protocol.closed() == []


def test_what_was_sent_behind_starttls_is_forgotten() -> None:
    desk = started()
    assert desk.feed(b"STARTTLS\r\nMAIL FROM:<x@y.example>\r\n") == b"220 2.0.0 Ready for TLS\r\n"
    desk.shake_hands()
    assert desk.feed(b"") == b""
    assert desk.feed(b"NOOP\r\n") == b"250 2.0.0 OK\r\n"


def test_starttls_is_not_offered_where_it_cannot_be_had() -> None:
    desk = Desk("no tls")
    desk.start()
    assert b"STARTTLS" not in desk.feed(b"EHLO x\r\n")
    assert desk.feed(b"STARTTLS\r\n") == b"503 5.5.1 TLS cannot be started here\r\n"


def test_a_failed_chunk_fails_the_message() -> None:
    protocol = Protocol(Offer(host="h"))
    protocol.greet()
    protocol.feed(b"HELO x\r\n")
    protocol.reply(protocol.hello_reply())
    for line in (b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.example>\r\n", b"BDAT 1\r\nx"):
        protocol.feed(line)
        protocol.reply(replies.OK if line[0:1] != b"B" else replies.reply(452, "4.3.1", "full"))
    (command,) = protocol.feed(b"BDAT 1 LAST\r\nx")
    assert isinstance(command, Malformed)
    assert command.reply.code == 503


def test_data_that_we_will_not_have() -> None:
    protocol = Protocol(Offer(host="h"))
    protocol.greet()
    protocol.feed(b"HELO x\r\n")
    protocol.reply(protocol.hello_reply())
    for line in (b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.example>\r\n", b"DATA\r\n"):
        protocol.feed(line)
        protocol.reply(replies.OK if line[:1] != b"D" else replies.reply(451, "4.3.0", "later"))
    assert protocol.stage is Stage.RCPT


# --- dots ---------------------------------------------------------------------------------------

TEXT = st.lists(st.sampled_from([b".", b"..", b"a", b"\r\n", b"bc"]), max_size=30).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(TEXT, st.integers(0, 1000))
def test_stuffing_and_back(message: bytes, seed: int) -> None:
    stuffer, cut = Stuffer(), at_random(seed)
    wire = b"".join(map(stuffer.feed, cut(message))) + stuffer.end()
    whole_message = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    assert b"\r\n.\r\n" not in (b"\r\n" + wire)[:-3]
    unstuffer = Unstuffer()
    got, rest = b"", b""
    for piece in cut(wire + b"QUIT\r\n"):
        if unstuffer.done:
            rest += piece
            continue
        more, rest = unstuffer.feed(piece)
        got += more
    assert got == whole_message
    assert rest == b"QUIT\r\n"
    assert not unstuffer.is_bare


DIRTY = st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a"]), max_size=30).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(DIRTY, st.integers(0, 1000))
def test_bare_line_ends_are_seen_however_they_come(dirty: bytes, seed: int) -> None:
    wire = dirty + b"\r\n.\r\n"
    results = []
    for cut in (whole, bytewise, at_random(seed)):
        unstuffer, got = Unstuffer(), b""
        for piece in cut(wire):
            if not unstuffer.done:
                got += unstuffer.feed(piece)[0]
        results.append((got, unstuffer.is_bare, unstuffer.done))
    assert results[0] == results[1] == results[2]
    read = (b"\r\n" + wire)[: (b"\r\n" + wire).index(b"\r\n.\r\n") + 2]
    assert results[0][1] == (re.search(rb"(?<!\r)\n|\r(?!\n)", read) is not None)
    assert results[0][2]


@pytest.mark.parametrize("ending", [b"\r\n", b"\r", b""])
def test_a_line_without_end_is_passed_on_in_pieces(ending: bytes) -> None:
    unstuffer, got, fed = Unstuffer(), b"", b".."
    got += unstuffer.feed(b"..")[0]
    for _ in range(5):
        piece = b"x" * 40_000 + b"."
        fed += piece
        got += unstuffer.feed(piece)[0]
        assert len(unstuffer._held) <= 65_536
    fed += b"y" * 70_000 + ending
    got += unstuffer.feed(b"y" * 70_000 + ending)[0]
    rest = b"\r\n.\r\n".removeprefix(ending)
    more, behind = unstuffer.feed(rest + b"NEXT")
    assert got + more == fed[1:].removesuffix(ending) + b"\r\n"
    assert (unstuffer.done, unstuffer.is_bare, behind) == (True, False, b"NEXT")


def test_five_megabytes_of_lines() -> None:
    line = b"x" * 76 + b"\r\n"
    data = line * (5 * 1024 * 1024 // len(line))
    unstuffer = Unstuffer()
    before = time.process_time()
    for at in range(0, len(data), 65_536):
        unstuffer.feed(data[at : at + 65_536])
    assert time.process_time() - before < 0.5


# --- addresses and SASL -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ayna@kerwen.example", Address("ayna", "kerwen.example")),
        ('"a b"@x.example', Address("a b", "x.example")),
        (r'"a\"b\\"@x.example', Address('a"b\\', "x.example")),
        ("a@[192.0.2.1]", Address("a", "[192.0.2.1]")),
        ("a@[IPv6:2001:db8::1]", Address("a", "[IPv6:2001:db8::1]")),
        ("мерген@почта.example", Address("мерген", "почта.example")),
        ("a@x_y.example", Address("a", "x_y.example")),
        ("postMASTER", Address("postMASTER", "")),
        ("@r.example:a@x.example", Address("a", "x.example")),
        ("a@[IPv6:fe80::1%eth0]", None),
        ("a@[300.0.0.1]", None),
        ("a@[]", None),
        ("a@", None),
        ("@x.example", None),
        ("a", None),
        ('"a@x.example', None),
        ('""@x.example', None),
        ("a b@x.example", None),
        ("a.@x.example", None),
        (".a@x.example", None),
        ("a@-x.example", None),
        ("a@x..example", None),
        ("a@" + "x" * 64 + ".example", None),
        ("x" * 65 + "@x.example", None),
        ("a@" + "x." * 130 + "example", None),
        ("a@x.example\0", None),
    ],
)
def test_addresses(text: str, found: Address | None) -> None:
    assert address.path(text) == found
    if found is not None and found.domain:
        assert address.path(str(found)) == found


def test_which_addresses_need_smtputf8() -> None:
    assert Address("a", "x.example").is_ascii
    assert not Address("ä", "x.example").is_ascii
    assert str(Address("Postmaster", "")) == "Postmaster"


@pytest.mark.parametrize(
    ("name", "good"),
    [("x.example", True), ("[192.0.2.1]", True), ("[IPv6:::1]", True), ("", False), ("a b", False)],
)
def test_names_of_hosts(name: str, good: bool) -> None:
    assert grammar.is_host(name) is good


def test_sasl_messages() -> None:
    assert sasl.plain("ayna\0ayna\0secret") == Login("PLAIN", "ayna", "secret")
    assert sasl.plain("batyr\0ayna\0secret") == Login("PLAIN", "ayna", "secret", "batyr")
    for wrong in ("", "\0\0x", "\0x\0", "x", "\0a\0b\0c"):
        assert sasl.plain(wrong) is None
    good = "n,a=a=2Cb,\x01host=x\x01auth=bearer tok \x01\x01"
    assert sasl.bearer(good) == Token("a,b", "tok")
    assert sasl.bearer("n,,\x01auth=Bearer t\x01\x01") == Token("", "t")
    for wrong in ("", "x", "n,a=b", "n,,\x01auth=Basic t\x01\x01", "n,,\x01auth=Bearer \x01"):
        assert sasl.bearer(wrong) is None
    assert sasl.decode(b"=") == ""
    for broken in (b"x", b"AAA", b"A===", b"/w==", b"AA=A"):
        assert sasl.decode(broken) is None


def test_xtext_there_and_back() -> None:
    for text in ("plain", "a+b=c d", "tab\tя"):
        coded = grammar.to_xtext(text)
        back = grammar.xtext(coded)
        assert back == "".join(c if " " <= c <= "~" else "?" for c in text)
    with pytest.raises(grammar.Wrong):
        grammar.xtext("+zz")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("FROM:<a@x.example> SIZE=x", 501),
        ("FROM:<a@x.example> SMTPUTF8=1", 501),
        ("FROM:<a@x.example> RET=SOME", 501),
        ("FROM:<a@x.example> ENVID=" + "x" * 101, 501),
        ("FROM:<a@x.example> ENVID=+zz", 501),
        ("FROM:<a@x.example> =", 501),
        ("FROM:<Postmaster>", 501),
        ("FROM", 501),
        ("FROM:", 501),
        ("FROM:<a@x.example", 501),
        ("FROM:<a@x.example>SIZE=1", 501),
    ],
)
def test_wrong_arguments(text: str, code: int) -> None:
    with pytest.raises(grammar.Wrong) as caught:
        grammar.mail(text)
    assert caught.value.answer.code == code


@pytest.mark.parametrize(
    ("text", "original"),
    [
        ("ORCPT=rfc822;a+40x", "rfc822;a@x"),
        ("ORCPT=UTF-8;\\x{44F}\\x{D800}", "utf-8;я?"),
        ("ORCPT=rfc822", None),
        ("ORCPT=;x", None),
        ("NOTIFY=SOMETIMES", None),
        ("NOTIFY", None),
    ],
)
def test_dsn_arguments(text: str, original: str | None) -> None:
    line = f"TO:<a@x.example> {text}"
    if original is None:
        with pytest.raises(grammar.Wrong):
            grammar.rcpt(line, utf8=True)
    else:
        assert grammar.rcpt(line, utf8=True).original == original


# --- replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_codes(reason: Reason) -> None:
    made = replies.refusal(Refused(reason, "words"))
    assert re.fullmatch(rb"[45]\d\d [45]\.\d\.\d+ words\r\n", made.render())
    assert made.enhanced[0] == str(made.code)[0]


MAIL_REASONS = [
    Reason.UNKNOWN_RECIPIENT, Reason.UNKNOWN_SENDER_DOMAIN, Reason.BAD_ADDRESS,
    Reason.RELAY_REFUSED, Reason.SENDER_NOT_YOURS, Reason.LOGIN_REQUIRED,
    Reason.ENCRYPTION_REQUIRED, Reason.TOO_MANY_RECIPIENTS, Reason.MAILBOX_FULL,
    Reason.MAIL_LOOP, Reason.MALFORMED_MESSAGE, Reason.UNAUTHENTIC_MAIL, Reason.MAIL_POLICY,
    Reason.WRONG_PASSWORD, Reason.SECOND_FACTOR_NEEDED, Reason.WRONG_CODE,
    Reason.TOO_LARGE, Reason.LIMIT_EXCEEDED, Reason.OVER_QUOTA,
]  # fmt: skip


@pytest.mark.parametrize("reason", MAIL_REASONS)
def test_reasons_of_mail_have_codes_of_their_own(reason: Reason) -> None:
    assert replies.CODES[reason] != (554, "5.0.0")


@pytest.mark.parametrize("reason", list(Unready))
def test_what_cannot_be_now_can_be_later(reason: Unready) -> None:
    made = replies.unavailability(Unavailable(reason))
    assert made.code // 100 == 4
    assert made.enhanced.startswith("4.")


def test_a_reply_cannot_be_broken_out_of() -> None:
    made = replies.Reply(250, "2.0.0", ("one\r\n250 two", "three" * 1000)).render()
    assert made.startswith(b"250-2.0.0 one 250 two\r\n250 2.0.0 threethree")
    assert made.count(b"\r\n") == 2
    assert replies.Reply(220, "", ()).render() == b"220 \r\n"


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Login("PLAIN", "ayna", "secret"))
    assert "secret" not in repr(Token("ayna", "secret"))


# --- any bytes ----------------------------------------------------------------------------------

LINES = st.sampled_from(
    [b"EHLO x", b"HELO x", b"MAIL FROM:<>", b"MAIL FROM:<a@b.c> SIZE=5", b"RCPT TO:<ayna@x.y>",
     b"RCPT TO:<nobody@x.y>", b"DATA", b".", b"..", b"text", b"BDAT 3", b"BDAT 9 LAST", b"RSET",
     b"NOOP", b"QUIT", b"AUTH PLAIN AGF5bmEAc2VjcmV0", b"AUTH LOGIN", b"YXluYQ==", b"c2VjcmV0",
     b"AUTH OAUTHBEARER", b"*", b"VRFY", b"", b"\xff", b"\0", b"a\rb", b"a\nb"]
)  # fmt: skip
TALK = st.lists(LINES | st.binary(max_size=8), max_size=40).map(b"\r\n".join)


@settings(max_examples=300, deadline=None)
@given(TALK, st.sampled_from(sorted(OFFERS)), st.integers(0, 1000))
def test_any_talk_is_the_same_however_it_comes(talk: bytes, offer: str, seed: int) -> None:
    heard: list[tuple[bytes, list[Command], list[bytes]]] = []
    for cut in (whole, bytewise, at_random(seed)):
        desk = Desk(offer, tls=offer == "submission")
        desk.start()
        out = b"".join(desk.feed(piece) for piece in cut(talk + b"\r\n"))
        heard.append((out, [c for c in desk.commands if c != Chunk(b"")], desk.messages))
        for line in out.splitlines():
            assert re.match(rb"[2345]\d\d[ -]", line)
    assert heard[0] == heard[1] == heard[2]
