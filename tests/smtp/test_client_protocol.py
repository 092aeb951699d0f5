"""The client's side: against tables of what servers say, and against our own server's side."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerwen.base import limits
from kerwen.smtp.client_protocol import (
    Broken,
    ClientProtocol,
    Done,
    Envelope,
    Event,
    Ready,
    Recipient,
    Security,
    SendBody,
    Stage,
    StartTls,
    Step,
    Verdict,
)
from kerwen.smtp.protocol import Stage as ServerStage

from .desk import Desk

MESSAGE = b"Subject: x\r\n\r\n.one\r\ntwo\r\n"


def envelope(*recipients: str, **more: object) -> Envelope:
    told: dict[str, object] = {
        "sender": "ayna@kerwen.example",
        "recipients": tuple(Recipient(one) for one in recipients or ("a@x.example",)),
        "size": len(MESSAGE),
    }
    return Envelope(**(told | more))  # type: ignore[arg-type]


class Talk:
    """A client that is told what a server says; sends the body when asked."""

    def __init__(self, security: Security = Security.NONE) -> None:
        self.client = ClientProtocol("mx.kerwen.example", security)
        self.events: list[Event] = []
        self.said = b""

    def hear(self, *lines: str) -> bytes:
        """What the client says to these lines."""
        for line in lines:
            for event in self.client.feed(line.encode() + b"\r\n"):
                self._happened(event)
        out = self.client.take()
        self.said += out
        return out

    def send(self, one: Envelope) -> bytes:
        self.events += self.client.send(one)
        return self.client.take()

    def _happened(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, SendBody):
            for at in range(0, len(MESSAGE), 5):
                self.client.body(MESSAGE[at : at + 5])
            self.client.end_body()

    @property
    def verdicts(self) -> list[tuple[Verdict, Step, str]]:
        results = [e.results for e in self.events if isinstance(e, Done | Broken)][-1]
        return [(r.verdict, r.step, r.status) for r in results]


def ready(*keywords: str, security: Security = Security.NONE) -> Talk:
    talk = Talk(security)
    assert talk.hear("220 mx.x.example ESMTP") == b"EHLO mx.kerwen.example\r\n"
    lines = ["mx.x.example", *keywords]
    assert talk.hear(*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}") == b""
    assert talk.events == [Ready()]
    return talk


BODY = b"Subject: x\r\n\r\n..one\r\ntwo\r\n.\r\n"


def test_one_message_one_command_at_a_time() -> None:
    talk = ready("SIZE 1000", "8BITMIME")
    said = talk.send(envelope("a@x.example", "b@x.example", eight_bit=True))
    assert said == b"MAIL FROM:<ayna@kerwen.example> SIZE=25 BODY=8BITMIME\r\n"
    assert talk.hear("250 2.1.0 ok") == b"RCPT TO:<a@x.example>\r\n"
    assert talk.hear("250 2.1.5 ok") == b"RCPT TO:<b@x.example>\r\n"
    assert talk.hear("550 5.1.1 unknown") == b"DATA\r\n"
    assert talk.hear("354 go") == BODY
    assert talk.hear("250-2.0.0 it is", "250 2.0.0 queued") == b""
    assert talk.verdicts == [
        (Verdict.SENT, Step.END, "2.0.0"),
        (Verdict.NEVER, Step.RCPT, "5.1.1"),
    ]
    assert talk.events[-1] == Ready()
    talk.client.quit()
    assert talk.client.take() == b"QUIT\r\n"
    talk.hear("221 bye")
    assert talk.client.stage is Stage.CLOSED


def test_pipelining() -> None:
    talk = ready("PIPELINING")
    assert talk.send(envelope("a@x.example", "b@x.example")) == (
        b"MAIL FROM:<ayna@kerwen.example>\r\nRCPT TO:<a@x.example>\r\n"
        b"RCPT TO:<b@x.example>\r\nDATA\r\n"
    )
    assert talk.hear("250 ok", "450 busy", "250 ok", "354 go") == BODY
    talk.hear("250 queued")
    assert talk.verdicts == [
        (Verdict.LATER, Step.RCPT, "4.0.0"),
        (Verdict.SENT, Step.END, "2.0.0"),
    ]
    # and a second message on the same connection
    assert talk.send(envelope()).startswith(b"MAIL FROM")
    assert talk.hear("250 ok", "250 ok", "354 go", "451 4.3.0 disk") == BODY
    assert talk.verdicts == [(Verdict.LATER, Step.END, "4.3.0")]


N, L, SENT = Verdict.NEVER, Verdict.LATER, Verdict.SENT

# (lines that answer MAIL, RCPT a, RCPT b, DATA, what follows; what is said last; results)
PIPELINED = [
    (["250", "250", "250", "354", "550 5.7.1 spam"], b"", [(N, Step.END, "5.7.1")] * 2),
    (["250", "550", "550", "554", "250"], b"RSET\r\n", [(N, Step.RCPT, "5.0.0")] * 2),
    (["250", "250", "250", "250", "250"], b"RSET\r\n", [(L, Step.DATA, "4.5.0")] * 2),
    (["250", "550", "451", "354", "554"], b".\r\n",
     [(N, Step.RCPT, "5.0.0"), (L, Step.RCPT, "4.0.0")]),
    (["550 5.1.8 no", "503", "503", "503", "250"], b"RSET\r\n", [(N, Step.MAIL, "5.1.8")] * 2),
    (["450 4.7.1 wait", "503", "503", "354", "250"], b".\r\n", [(L, Step.MAIL, "4.7.1")] * 2),
    (["250", "250", "250", "451 4.3.0 no", "250"], b"RSET\r\n", [(L, Step.DATA, "4.3.0")] * 2),
    (["250", "250", "552 5.5.3 too many", "354", "250"], BODY,
     [(SENT, Step.END, "2.0.0"), (L, Step.RCPT, "5.5.3")]),
]  # fmt: skip


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(("lines", "last", "results"), PIPELINED)
def test_results(
    lines: list[str], last: bytes, results: list[tuple[Verdict, Step, str]], pipelining: bool
) -> None:
    talk = ready(*(["PIPELINING"] if pipelining else ["SIZE"]))
    talk.send(envelope("a@x.example", "b@x.example"))
    if not pipelining and lines[1][0] in "45" and lines[2][0] in "45":
        # what a server without pipelining is never asked
        lines = lines[:1] + (lines[1:3] if lines[0][0] == "2" else []) + ["250"]
        last = b"RSET\r\n"
    for line in lines:
        out = talk.hear(line)
        if out and out != b"DATA\r\n":
            said = out
    if last and (pipelining or last != BODY):
        assert said == last
    assert talk.verdicts == results
    assert talk.events[-1] == Ready()


BREAKS = [
    (["554 no"], (L, Step.GREETING, False)),
    (["521 never"], (N, Step.GREETING, False)),
    (["220 x", "421 4.3.2 bye"], (L, Step.HELLO, False)),
    (["220 x", "550 no", "550 no"], (N, Step.HELLO, False)),
    (["nonsense"], (L, Step.GREETING, False)),
    (["250-x", "220 y"], (L, Step.GREETING, False)),
    (["220 x", "250 x", "+", "250 ok", "421 busy"], (L, Step.RCPT, False)),
    (["220 x", "250 x", "+", "250", "250", "250", "354 go", "421 later"], (L, Step.END, False)),
    (["220 x", "250 x", "+", "250", "250", "250", "354 go", "!"], (L, Step.END, True)),
    (["220 x", "250 x", "+", "250 ok", "!"], (L, Step.RCPT, False)),
    (["220 x", "250 x", "250 unasked"], (L, Step.MAIL, False)),
    (["!"], (L, Step.GREETING, False)),
]


@pytest.mark.parametrize(("lines", "broken"), BREAKS)
def test_broken_connections(lines: list[str], broken: tuple[Verdict, Step, bool]) -> None:
    talk = Talk()
    for line in lines:
        if line == "+":
            talk.send(envelope("a@x.example", "b@x.example"))
        elif line == "!":
            talk.events += talk.client.closed()
        else:
            talk.hear(line)
    last = talk.events[-1]
    assert isinstance(last, Broken)
    assert (last.verdict, last.step, last.unsure) == broken
    assert talk.client.stage is Stage.CLOSED
    assert len(last.results) == (2 if "+" in lines else 0)
    assert all(r.verdict is not Verdict.SENT for r in last.results)
    assert talk.client.feed(b"250 more\r\n") == []
    assert talk.client.closed() == []


def test_a_reply_before_the_end_of_the_message_is_no_success() -> None:
    talk = ready()
    talk.send(envelope())
    for line in ("250 ok", "250 ok"):
        talk.hear(line)
    client = talk.client
    assert client.feed(b"354 go\r\n") == [SendBody()]
    client.body(b"half")
    (broken,) = client.feed(b"250 thank you\r\n")
    assert isinstance(broken, Broken)
    assert [r.verdict for r in broken.results] == [Verdict.LATER]


def test_helo_where_ehlo_is_not_known() -> None:
    talk = Talk(Security.IF_OFFERED)
    talk.hear("220 old")
    assert talk.hear("502 what?") == b"HELO mx.kerwen.example\r\n"
    talk.hear("250 hello")
    assert talk.events == [Ready()]
    assert talk.send(envelope()) == b"MAIL FROM:<ayna@kerwen.example>\r\n"


def test_an_idle_connection_may_end() -> None:
    talk = ready()
    assert talk.client.closed() == []
    assert talk.client.stage is Stage.CLOSED


# --- TLS ----------------------------------------------------------------------------------------


def shaking(security: Security) -> Talk:
    talk = Talk(security)
    talk.hear("220 x")
    assert talk.hear("250-x", "250-STARTTLS", "250 DSN") == b"STARTTLS\r\n"
    talk.hear("220 go", "250 injected")
    assert talk.events == [StartTls()]
    return talk


@pytest.mark.parametrize("security", [Security.IF_OFFERED, Security.REQUIRED])
def test_tls(security: Security) -> None:
    talk = shaking(security)
    talk.events += talk.client.tls_started()
    assert talk.hear() == b"EHLO mx.kerwen.example\r\n"
    talk.hear("250 x")
    assert talk.events == [StartTls(), Ready()]
    assert talk.client.tls
    assert talk.client.extensions == {}  # what was heard in clear is forgotten


def test_tls_that_fails() -> None:
    talk = shaking(Security.IF_OFFERED)
    (broken,) = talk.client.tls_failed("certificate is for another name")
    assert isinstance(broken, Broken)
    assert (broken.step, broken.verdict) == (Step.TLS, Verdict.LATER)


def test_tls_that_is_not_offered() -> None:
    talk = Talk(Security.REQUIRED)
    talk.hear("220 x", "250 x")
    assert isinstance(talk.events[-1], Broken)
    talk = Talk(Security.IF_OFFERED)
    talk.hear("220 x", "250 x")
    assert talk.events == [Ready()]


@pytest.mark.parametrize(
    ("security", "kind"), [(Security.IF_OFFERED, Ready), (Security.REQUIRED, Broken)]
)
def test_tls_that_is_refused(security: Security, kind: type[Event]) -> None:
    talk = Talk(security)
    talk.hear("220 x", "250-x", "250 STARTTLS", "454 4.7.0 not now")
    assert isinstance(talk.events[-1], kind)


# --- what the server can do ---------------------------------------------------------------------


def test_dsn_is_passed_on() -> None:
    talk = ready("DSN", "PIPELINING")
    asked = Recipient("a@x.example", ("FAILURE", "DELAY"), "rfc822;a+b@x.example")
    never = Recipient("b@x.example", (), None)
    said = talk.send(envelope(recipients=(asked, never), ret_full=True, envelope_id="id=1 я"))
    assert said == (
        b"MAIL FROM:<ayna@kerwen.example> RET=FULL ENVID=id+3D1+20?\r\n"
        b"RCPT TO:<a@x.example> NOTIFY=DELAY,FAILURE ORCPT=rfc822;a+2Bb@x.example\r\n"
        b"RCPT TO:<b@x.example> NOTIFY=NEVER\r\nDATA\r\n"
    )


@pytest.mark.parametrize(
    ("keywords", "more", "status"),
    [
        (["SIZE 20"], {}, "5.3.4"),
        (["PIPELINING"], {"utf8": True}, "5.6.7"),
        (["SIZE 0"], {}, None),
        (["SIZE 25"], {}, None),
        (["SMTPUTF8", "8BITMIME"], {"utf8": True, "eight_bit": True}, None),
    ],
)
def test_what_the_server_cannot_take(
    keywords: list[str], more: dict[str, object], status: str | None
) -> None:
    talk = ready(*keywords)
    said = talk.send(envelope(**more))
    if status is None:
        assert said.startswith(b"MAIL FROM:")
        assert (b" SMTPUTF8" in said) == ("utf8" in more)
    else:
        assert said == b""
        assert talk.verdicts == [(Verdict.NEVER, Step.MAIL, status)]
        assert talk.client.stage is Stage.READY


def test_no_more_recipients_than_the_server_says() -> None:
    talk = ready("LIMITS MAILMAX=5 RCPTMAX=2", "PIPELINING")
    assert talk.client.recipients_max == 2
    said = talk.send(envelope("a@x.example", "b@x.example", "c@x.example"))
    assert said.count(b"RCPT") == 2
    talk.hear("250 ok", "250 ok", "250 ok", "354 go", "250 ok")
    done = talk.events[-2]
    assert isinstance(done, Done)
    assert [r.address for r in done.rest] == ["c@x.example"]
    assert len(done.results) == 2


def test_replies_without_end() -> None:
    client = ClientProtocol("h")
    (broken,) = client.feed(b"220-" + b"x" * (limits.SMTP_REPLY_LINE_MAX + 1))
    assert isinstance(broken, Broken)
    client = ClientProtocol("h")
    for _ in range(10_000):
        client.feed(b"220-x\r\n")
    assert len(client._lines) == limits.SMTP_REPLY_LINES_MAX


# --- against our own server ---------------------------------------------------------------------


def pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    while data:
        size = chance.randint(1, 30)
        yield data[:size]
        data = data[size:]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["ayna", "batyr", "nobody", "full", "grey"]), min_size=1, max_size=5),
    st.lists(st.sampled_from([b".", b"a", b"\r\n", b"\r\n."]), max_size=20).map(b"".join),
    st.integers(0, 1000),
)
def test_both_sides_understand_each_other(names: list[str], message: bytes, seed: int) -> None:
    chance = random.Random(seed)
    desk, client = Desk(), ClientProtocol("mx.x.example", Security.IF_OFFERED)
    results: list[Verdict] = []
    to_client, sent = desk.start(), False
    while True:
        events = [e for piece in pieces(to_client, chance) for e in client.feed(piece)]
        for event in events:
            if isinstance(event, StartTls):
                desk.shake_hands()
                client.tls_started()
            elif isinstance(event, Ready) and not sent:
                sent = True
                people = tuple(f"{name}@kerwen.example" for name in names)
                client.send(envelope(*people, size=len(message)))
            elif isinstance(event, SendBody):
                client.body(message)
                client.end_body()
            elif isinstance(event, Done):
                results = [r.verdict for r in event.results]
                client.quit()
        out = client.take()
        if not out:
            break
        to_client = b"".join(desk.feed(piece) for piece in pieces(out, chance))
    good = [name in ("ayna", "batyr") for name in names]
    assert [verdict is Verdict.SENT for verdict in results] == good
    assert len(desk.messages) == any(good)
    if any(good):
        assert desk.messages[0].rstrip(b"\r\n") == message.rstrip(b"\r\n")
    assert desk.protocol.stage is ServerStage.CLOSED


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["220 x", "250 x", "250-x", "250-PIPELINING", "250 STARTTLS",
       "354 go", "421 x", "450 x", "550 5.1.1 x", "", "x", "999 x", "250"]), max_size=20),
       st.booleans())  # fmt: skip
def test_whatever_a_server_says(lines: list[str], tls: bool) -> None:
    """No error, one outcome for a message, and never a success that nobody promised."""
    talk = Talk(Security.IF_OFFERED if tls else Security.NONE)
    sent = False
    for line in lines:
        before = len(talk.events)
        talk.hear(line)
        for event in talk.events[before:]:
            if isinstance(event, StartTls):
                talk.client.tls_started()
            elif isinstance(event, Ready) and not sent:
                sent = True
                talk.send(envelope())
    talk.events += talk.client.closed()
    outcomes = [e for e in talk.events if isinstance(e, Done | Broken) and e.results]
    assert len(outcomes) == sent
    if any(r.verdict is Verdict.SENT for e in outcomes for r in e.results):
        assert any(line.startswith("354") for line in lines)


USER, PASSWORD = "batyr", "säher"


def logged_in(*keywords: str, tls: bool = True) -> Talk:
    talk = Talk(Security.REQUIRED)
    talk.client = ClientProtocol("mx.kerwen.example", Security.REQUIRED, (USER, PASSWORD), tls=tls)
    talk.hear("220 relay")
    talk.hear("250-relay", *(f"250-{one}" for one in keywords), "250 HELP")
    return talk


def test_logging_in() -> None:
    talk = logged_in("AUTH LOGIN PLAIN")
    assert talk.said.endswith(b"AUTH PLAIN AGJhdHlyAHPDpGhlcg==\r\n")
    assert talk.client.stage is Stage.LOGIN
    talk.hear("235 2.7.0 welcome")
    assert talk.events == [Ready()]
    talk = logged_in("AUTH LOGIN")
    assert talk.said.endswith(b"AUTH LOGIN\r\n")
    assert talk.hear("334 VXNlcm5hbWU6") == b"YmF0eXI=\r\n"
    assert talk.hear("334 UGFzc3dvcmQ6") == b"c8OkaGVy\r\n"
    talk.hear("235 ok")
    assert talk.events == [Ready()]


@pytest.mark.parametrize(
    ("keywords", "answers"),
    [
        (["AUTH PLAIN"], ["535 5.7.8 no"]),
        (["AUTH PLAIN"], ["334 more"]),
        (["AUTH LOGIN"], ["334 a", "334 b", "334 c"]),
        (["AUTH CRAM-MD5"], []),
        (["SIZE 1"], []),
    ],
)
def test_a_wrong_password_fails_no_message(keywords: list[str], answers: list[str]) -> None:
    talk = logged_in(*keywords)
    for line in answers:
        talk.hear(line)
    (broken,) = talk.events
    assert isinstance(broken, Broken)
    assert broken.verdict is Verdict.LATER
    assert PASSWORD not in broken.why


def test_a_password_is_never_said_in_clear() -> None:
    talk = logged_in("AUTH PLAIN", tls=False)
    assert b"AUTH" not in talk.said
    talk = Talk()
    talk.client = ClientProtocol("us.example", Security.REQUIRED, (USER, PASSWORD))
    talk.hear("220 relay", "250-relay", "250-AUTH PLAIN", "250 STARTTLS")
    assert talk.said == b"EHLO us.example\r\nSTARTTLS\r\n"


def test_require_tls() -> None:
    talk = ready("REQUIRETLS")
    assert talk.send(envelope(require_tls=True)).endswith(b"> REQUIRETLS\r\n")
    talk = ready("SIZE")
    assert talk.send(envelope(require_tls=True)) == b""
    assert talk.verdicts == [(Verdict.NEVER, Step.MAIL, "5.7.30")]


def test_what_the_server_calls_itself() -> None:
    assert ready().client.peer == "mx.x.example"
