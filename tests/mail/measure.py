"""What the pure part of mail costs here: `python -m tests.mail.measure`. CPU time, best of many."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from kerwen.mail import dkim, dmarc, match, message, spf, structure, texts, words
from kerwen.mail.dkim_keys import SigningKey
from kerwen.mail.flags import Flags
from kerwen.mail.match import Body, Candidate, Header
from kerwen.mail.preview import preview
from kerwen.mail.render import render
from kerwen.smtp import replies
from kerwen.smtp.commands import Command, DataEnd
from tests.smtp.desk import Desk

from .zone import Zone

TURKMEN = "Täze ýylyňyz gutly bolsun maşgalaňyz bilen bagtly boluň hormatly dostlar sargyt".split()  # noqa: SIM905
RUSSIAN = "поездка счёт обновление расписание повестка доставка фотографии проект вопрос".split()  # noqa: SIM905
ENGLISH = "the quick brown fox jumps over lazy dog while order budget contract invoice is".split()  # noqa: SIM905


def text(size: int, seed: int) -> str:
    """Lines of words in three languages."""
    chance = random.Random(seed)
    lines, length = [], 0
    while length < size:
        line = " ".join(chance.choices(TURKMEN + RUSSIAN + ENGLISH, k=9)) + "."
        lines.append(line)
        length += len(line.encode())
    return "\r\n".join(lines)


def mail(size: int, attachment: int = 0) -> bytes:
    """A message with a text and its HTML, of about `size` bytes, and an attachment."""
    plain = text(size // 3, 1)
    html = "".join(f'<p style="margin:0">{line}</p>\r\n' for line in plain.split("\r\n"))
    wide = base64.encodebytes(random.Random(2).randbytes(attachment * 3 // 4))
    lines = [
        "Received: from mail.x.example (mail.x.example [192.0.2.1])",
        "\tby mx.kerwen.example with ESMTPS id q1; Tue, 24 Nov 2026 09:00:01 +0500",
        "From: =?utf-8?B?0JzQsNGA0LjRjyDQmNCy0LDQvdC+0LLQsA==?= <maria@x.example>",
        'To: "Orazow, Batyr" <batyr@kerwen.example>, ayna@kerwen.example',
        "Subject: =?UTF-8?Q?Re=3A_t=C3=A4ze_hasabat?= and more",
        "Date: Tue, 24 Nov 2026 09:00:00 +0500",
        "Message-ID: <m1@x.example>",
        "In-Reply-To: <m0@x.example>",
        "References: <a@x.example> <m0@x.example>",
        "MIME-Version: 1.0",
        'Content-Type: multipart/mixed; boundary="=_mixed"',
        "",
        "--=_mixed",
        'Content-Type: multipart/alternative; boundary="=_alt"',
        "",
        "--=_alt",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        plain,
        "--=_alt",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        f"<html><body>{html}</body></html>",
        "--=_alt--",
    ]
    if attachment:
        lines += [
            "--=_mixed",
            'Content-Type: application/pdf; name="a.pdf"',
            "Content-Transfer-Encoding: base64",
            "",
            wide.decode().replace("\n", "\r\n"),
        ]
    return "\r\n".join([*lines, "--=_mixed--", ""]).encode()


def cost(deed: Callable[[], object], seconds: float = 0.4) -> float:
    """µs of CPU, the best of several rounds."""
    best, spent = 1e9, 0.0
    rounds = 1
    while spent < seconds:
        before = time.process_time()
        for _ in range(rounds):
            deed()
        took = time.process_time() - before
        spent += took
        best = min(best, took / rounds)
        rounds = max(1, min(1000, int(0.01 / max(took / rounds, 1e-7))))
    return best * 1e6


def show(name: str, deed: Callable[[], object]) -> None:
    """One line."""
    print(f"{name:44} {cost(deed):10.1f} µs")


def reading() -> None:
    for raw in (mail(1500), mail(4200), mail(4200, 1 << 20), mail(4200, 5 << 20)):
        root = message.scan(raw)
        found = texts.texts(raw, root)
        said = [*found.plain, *found.html]
        print(f"--- {len(raw)} bytes")
        show("scan", lambda raw=raw: message.scan(raw))
        show("envelope", lambda root=root: structure.envelope(root.fields))
        show("bodystructure", lambda root=root: structure.bodystructure(root))
        show("texts", lambda raw=raw, root=root: texts.texts(raw, root))
        show("preview", lambda found=found: preview(found))
        show("words", lambda said=said: words.body(said))
        show("all: render", lambda raw=raw: render(raw))
    packed = msgspec.msgpack.encode(render(mail(1500)))
    print(f"rendered record of the first, packed: {len(packed)} bytes")


def searching() -> None:
    record = render(mail(4200)).words
    one = Candidate(1, 1, Flags(), 0, 1, words=record)
    print("--- search, per message")
    show("a word that is not in the body", lambda: in_body(one))
    show("a word that is in the subject", lambda: in_subject(one))


in_body = match.predicate(Body("kelebek"), 0)
in_subject = match.predicate(Header(b"subject", "hasabat"), 0)


def signing() -> None:
    raw = mail(4200)
    end = message.scan(raw).body
    header, body = raw[:end], raw[end:]
    rsa = SigningKey("x.example", "r", generate_private_key(65537, 2048))
    ed = SigningKey("x.example", "e", Ed25519PrivateKey.generate())
    zone = Zone(f"{rsa.record_name} TXT {rsa.record}\n{ed.record_name} TXT {ed.record}\n"
                "x.example TXT v=spf1 a:m.x.example include:y.example -all\n"
                "m.x.example A 192.0.2.1\ny.example TXT v=spf1 ip4:192.0.2.7 -all\n"
                "_dmarc.x.example TXT v=DMARC1; p=reject")  # fmt: skip
    made = dkim.sign(header, body, [rsa, ed], 1)
    print("--- proofs")
    show("RSA-2048 alone", lambda: rsa.sign(b"d" * 32))
    show("Ed25519 alone", lambda: ed.sign(b"d" * 32))
    show("DKIM: sign with both", lambda: dkim.sign(header, body, [rsa, ed], 1))
    show("DKIM: verify both", lambda: zone.ask(dkim.verify(made + header, body, 2)))
    show("SPF", lambda: zone.ask(spf.check_mail_from("192.0.2.7", "a@x.example", "h")))
    show("DMARC", lambda: zone.ask(dmarc.check("x.example", "x.example", ["x.example"])))
    large = mail(4200, 5 << 20)
    end = message.scan(large).body
    show("DKIM: sign 5 MB with Ed25519", lambda: dkim.sign(large[:end], large[end:], [ed], 1))


def talking() -> None:
    print("--- SMTP, the server's side without a socket")
    small = mail(1500)
    for name, raw in (("2 KB", small), ("5 MB", mail(4200, 5 << 20))):
        desk = Desk("no tls")
        desk.start()
        desk.feed(b"EHLO x\r\n")
        desk.protocol._mails = -(10**9)
        wire = raw.replace(b"\r\n.", b"\r\n..") + b".\r\n"

        def one(desk: Desk = desk, wire: bytes = wire) -> None:
            desk.feed(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<ayna@x.example>\r\nDATA\r\n")
            found: list[Command] = []
            for at in range(0, len(wire), 1 << 16):
                found = desk.protocol.feed(wire[at : at + (1 << 16)])
            assert isinstance(found[-1], DataEnd)
            desk.protocol.reply(replies.OK)
            desk.commands.clear()

        show(f"one message of {name}", one)


if __name__ == "__main__":
    reading()
    searching()
    signing()
    talking()
