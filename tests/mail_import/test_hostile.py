"""Another server that talks nonsense, hangs up, or lies: the import ends with a line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from kerwen.base.errors import Refused
from kerwen.mail.client import imap_source
from kerwen.mail.client.imap_source import Account, Away, Folder, ImapSource

GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] here\r\n"


def serve(answers: Callable[[bytes, bytes], bytes | None]) -> int:
    """A server for one connection: each command (tag, rest) gets an answer; None hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        line, _ = listening.accept()
        with listening, line, line.makefile("rb") as file:
            line.sendall(GREETING)
            for told in file:
                tag, _, rest = told.strip().partition(b" ")
                said = answers(tag, rest)
                if said is None:
                    return
                line.sendall(said)

    threading.Thread(target=talk, daemon=True).start()
    return int(listening.getsockname()[1])


def polite(
    lists: bytes, fetch: bytes = b"", exists: bytes = b"3"
) -> Callable[[bytes, bytes], bytes]:
    def answer(tag: bytes, rest: bytes) -> bytes:
        word = rest.split(b" ")[0].upper()
        more = {
            b"CAPABILITY": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
            b"AUTHENTICATE": b"",
            b"LIST": lists,
            b"STATUS": b"* STATUS x (MESSAGES %s)\r\n" % exists,
            b"EXAMINE": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\n",
            b"UID": fetch,
        }
        if word == b"AUTHENTICATE":
            return b"+ \r\n"
        if word not in more:  # what AUTHENTICATE asked for comes without a tag
            return b"".join((b"", _TAG[0], b" OK in\r\n"))
        return more[word] + tag + b" OK done\r\n"

    def remember(tag: bytes, rest: bytes) -> bytes:
        if rest:
            _TAG[0] = tag
        return answer(tag, rest)

    return remember


_TAG = [b""]


def source(port: int) -> ImapSource:
    made = ImapSource(Account("127.0.0.1", port, "u", "p", "none"), None)
    made.sign_in()
    return made


@pytest.mark.parametrize(
    "lists",
    [
        b"* LIST\r\n",
        b"* LIST () NIL\r\n",
        b'* LIST (\\HasNoChildren) "\xff" "x"\r\n',
        b'* LIST () "/" {3}\r\nabc\r\n',
        b'* LIST () "/" "&broken"\r\n',
        b'* LIST () "/" ""\r\n',
    ],
)
def test_lists_that_are_broken(lists: bytes) -> None:
    made = source(serve(polite(lists)))
    for folder in made.folders():
        assert isinstance(folder, Folder)
        assert "\x00" not in folder.target
    made.close()


@pytest.mark.parametrize(
    "fetch",
    [
        b"* 1 FETCH (UID x RFC822.SIZE 3)\r\n",
        b"* 1 FETCH (UID 1 RFC822.SIZE 3 FLAGS (\\Seen $\xff)"
        b' INTERNALDATE "99-Xxx-0000 99:99:99 +9999")\r\n',
        b"* 1 FETCH (UID 99999999999 RFC822.SIZE 3)\r\n",
        b"* 1 FETCH (RFC822.SIZE 3 UID 2)\r\n* 2 FETCH (UID 2 RFC822.SIZE 3)\r\n",
        b"* 1 FETCH (UID 3 BODY[] {5}\r\nhello)\r\n",
        b"",
    ],
)
def test_messages_that_are_broken(fetch: bytes) -> None:
    made = source(serve(polite(b'* LIST () "/" "INBOX"\r\n', fetch)))
    (folder,) = made.folders()
    assert made.open_(folder) == 7
    for heads in made.heads(0):
        assert all(1 <= head.uid < 9 for head in heads)
        for part in imap_source.batches(heads):
            made.fetch(part, folder)
    made.close()


def test_a_server_that_hangs_up_or_says_no() -> None:
    with pytest.raises(Away):
        source(serve(lambda tag, rest: None))
    with pytest.raises((Refused, Away)):
        source(serve(lambda tag, rest: tag + b" NO never\r\n"))
    gone = ImapSource(Account("127.0.0.1", 1, "u", "p", "none"), None)
    with pytest.raises(Away):
        gone.sign_in()
