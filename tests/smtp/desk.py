"""A session in miniature: answers what the protocol asks, as the transcripts expect.

It knows ayna and batyr, a mailbox that is full, one that defers, and one password.
"""

from __future__ import annotations

from kerwen.base.errors import Reason, Refused, Unavailable, Unready
from kerwen.smtp import replies
from kerwen.smtp.address import Address
from kerwen.smtp.commands import (
    Answer,
    Chunk,
    ChunkEnd,
    Command,
    Data,
    DataEnd,
    Gone,
    Hello,
    Login,
    Mail,
    Quit,
    Rcpt,
    Reset,
    Spoiled,
    StartTls,
    Token,
)
from kerwen.smtp.protocol import Offer, Protocol, Stage
from kerwen.smtp.replies import Reply

OFFERS = {
    "mx": Offer(host="mx.kerwen.example", size_max=1000),
    "submission": Offer(
        host="mx.kerwen.example", size_max=1000, login=True, login_required=True, tls_required=True
    ),
    "small": Offer(host="mx.kerwen.example", size_max=1000, recipients_max=2, mails_max=2),
    "no tls": Offer(host="mx.kerwen.example", tls=False),
}


class Desk:
    """Feeds a protocol and answers; keeps what was received and every command that came."""

    def __init__(self, offer: str = "mx", *, tls: bool = False) -> None:
        self.protocol = Protocol(OFFERS[offer], tls=tls)
        self.commands: list[Command] = []
        self.messages: list[bytes] = []
        self.gone = False
        self._message = b""

    def start(self) -> bytes:
        return self.protocol.greet()

    def feed(self, data: bytes) -> bytes:
        """What goes back."""
        out = b""
        found = self.protocol.feed(data)
        while found:
            for place, command in enumerate(found):
                assert place == len(found) - 1 or isinstance(command, Chunk), "one at a time"
                self._note(command)
                if isinstance(command, Gone):
                    self.gone = True
                elif not isinstance(command, Chunk):
                    out += self.protocol.reply(self._answer(command))
            found = self.protocol.feed(b"")
        return out

    def _note(self, command: Command) -> None:
        last = self.commands[-1] if self.commands else None
        if isinstance(command, Spoiled) and isinstance(last, Chunk):
            self.commands.pop()  # how much of a spoilt message came is nobody's business
        if isinstance(command, Chunk) and isinstance(last, Chunk):
            self.commands[-1] = Chunk(last.data + command.data)
        else:
            self.commands.append(command)
        if isinstance(command, Chunk):
            self._message += command.data
        if isinstance(command, Spoiled | Hello | Reset | Mail):
            self._message = b""

    def _answer(self, command: Command) -> Reply:
        try:
            return self._reply(command)
        except Refused as error:
            return replies.refusal(error)
        except Unavailable as error:
            return replies.unavailability(error)

    def _reply(self, command: Command) -> Reply:
        match command:
            case Answer():
                return command.reply
            case Hello():
                return self.protocol.hello_reply()
            case Mail(sender=sender):
                if sender is not None and sender.local == "spammer":
                    raise Refused(Reason.MAIL_POLICY, "Go away")
                return replies.SENDER_OK
            case Rcpt(recipient=recipient):
                return self._recipient(recipient)
            case Data():
                return replies.GO_AHEAD
            case ChunkEnd(size=size):
                return replies.reply(250, "2.0.0", f"{size} bytes")
            case DataEnd(size=size):
                assert size == len(self._message)
                self.messages.append(self._message)
                self._message = b""
                return replies.received(f"q{len(self.messages)}")
            case Reset():
                return replies.RESET
            case StartTls():
                return replies.READY_FOR_TLS
            case Login(user=user, password=password):
                if (user, password) != ("ayna", "secret"):
                    raise Refused(Reason.WRONG_PASSWORD, "Wrong name or password")
                return replies.LOGGED_IN
            case Token(token=token):
                if token != "good":
                    raise Refused(Reason.UNKNOWN_TOKEN, "This token is not good")
                return replies.LOGGED_IN
            case Quit():
                return replies.BYE
        raise AssertionError(command)

    def _recipient(self, recipient: Address) -> Reply:
        match recipient.local:
            case "ayna" | "batyr" | "мерген" | "Postmaster":
                return replies.RECIPIENT_OK
            case "full":
                raise Refused(Reason.MAILBOX_FULL, "The mailbox is full")
            case "grey":
                raise Unavailable(Unready.GREYLISTED)
            case "stop":
                raise Unavailable(Unready.STOPPING)
        raise Refused(Reason.UNKNOWN_RECIPIENT, "Nobody here has this address")

    def shake_hands(self) -> None:
        assert self.protocol.stage is Stage.TLS
        self.protocol.forget()
        self.protocol.tls_started()
